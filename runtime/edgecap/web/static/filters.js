// Which events are listed: words, day, time of day, microphone and confidence. The server is asked with the same fields.
import { byId, dayName, dayOf } from "./dom.js";

const TYPING = 250;
const FIELDS = ["words", "day", "hours", "microphone", "confidence"];

export class Filters {
  #timer = 0;

  constructor(changed) {
    const now = () => { clearTimeout(this.#timer); changed(); };
    byId("search").addEventListener("submit", (event) => { event.preventDefault(); now(); });
    byId("words").addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(now, TYPING);
    });
    for (let hour = 0; hour < 24; hour++) byId("hours").append(new Option(`${hour} to ${hour + 1}`, `${hour}-${hour + 1}`));
    for (const id of FIELDS.slice(1)) byId(id).addEventListener("change", now);
  }

  get active() {
    return FIELDS.some((id) => byId(id).value.trim());
  }

  get words() {
    return byId("words").value.toLowerCase().split(/\s+/).filter(Boolean);
  }

  get day() {
    return byId("day").value;
  }

  query(more = {}) {
    return new URLSearchParams({ words: this.words.join(" "), day: this.day, hours: byId("hours").value, source: byId("microphone").value,
      confidence: byId("confidence").value, ...more });
  }

  matches(event) {
    const { value: source } = byId("microphone"), text = event.text.toLowerCase();
    return (!this.day || dayOf(event.began) === this.day) && (!source || event.source === source)
      && event.confidence >= Number(byId("confidence").value) && within(byId("hours").value, event.began)
      && this.words.every((word) => text.includes(word));
  }

  // One hour of one day; those of a day and hour that are chosen already are let go.
  choose(day, hour) {
    const hours = `${hour}-${hour + 1}`, again = this.day === day && byId("hours").value === hours;
    if (!again && ![...byId("day").options].some((option) => option.value === day)) byId("day").append(new Option(day, day));
    byId("day").value = again ? "" : day;
    byId("hours").value = again ? "" : hours;
    byId("hours").dispatchEvent(new Event("change"));
  }

  // What there is to choose from; what is chosen stays.
  offer(days, sources) {
    options("day", days.map(([day, count]) => [`${dayName(day, "short")} (${count})`, day]));
    options("microphone", sources.filter(Boolean).map((source) => [source, source]));
    byId("microphone-choice").hidden = byId("microphone").options.length < 3;
  }
}

// Whether a time lies in "22-6", which may cross midnight.
function within(hours, began) {
  const [first, last] = hours.split("-").map(Number), hour = Number(began.slice(11, 13));
  return !hours || (first < last ? first <= hour && hour < last : hour >= first || hour < last);
}

function options(id, named) {
  const select = byId(id), chosen = select.value;
  const all = chosen && !named.some(([, value]) => value === chosen) ? [[chosen, chosen], ...named] : named;
  if (all.map(([name]) => name).join("\n") === [...select.options].slice(1).map((one) => one.text).join("\n")) return;
  select.replaceChildren(select.options[0], ...all.map(([name, value]) => new Option(name, value)));
  select.value = chosen;
}
