// The list of events, by day, the newest on top. It holds those that the filters let through: the server's, and new ones
// as they come. An event is known by its beginning and its microphone, in memory and in a journal alike.
import { byId, dayName, dayOf, get, make, many, show } from "./dom.js";
import { Filters } from "./filters.js";
import { Hours } from "./hours.js";
import { row } from "./row.js";

const MOST = 1000;
const RECENT = 200;

export class Events {
  #filters = new Filters(() => this.#ask());
  #hours = new Hours((day, hour) => this.#filters.choose(day, hour));
  #recent = new Map();  // key → event, as the stream told; newer than what a journal says of it
  #rows = new Map();    // key → { event, item }
  #days = new Map();    // day → { section, name, count, list }
  #counts = new Map();  // day → events, by the server's count
  #asked = 0;

  constructor() {
    byId("older").addEventListener("click", () => this.#older());
  }

  clear() {
    this.#recent.clear();
    this.#empty();
  }

  #empty() {
    this.#rows.clear();
    this.#days.clear();
    byId("list").replaceChildren();
  }

  // Only the row that changed is replaced: a page may be open for weeks, on a phone.
  take(event) {
    const day = dayOf(event.began), known = this.#counts.has(day);
    if (this.#filters.matches(event) && !this.#rows.has(key(event))) {
      this.#counts.set(day, (this.#counts.get(day) ?? 0) + 1);
    }
    this.#remember(event);
    this.#tidy();
    if (!known && this.#counts.has(day)) this.#ask(false);  // a day more to choose
  }

  async greeted(events) {
    for (const event of events) this.#remember(event);
    this.#tidy();
    await this.#ask(false);
  }

  #remember(event) {
    const label = event.label ?? this.#recent.get(key(event))?.label;
    this.#recent.set(key(event), label === undefined ? event : { ...event, label });
    if (this.#recent.size > RECENT) this.#recent.delete(this.#recent.keys().next().value);
    this.#put(event);
  }

  #put(given) {
    const recent = this.#recent.get(key(given)), known = this.#rows.get(key(given));
    const event = recent ? { ...recent, label: given.label ?? recent.label } : given;  // labels are the server's
    if (recent) this.#recent.set(key(event), event);
    if (!this.#filters.matches(event)) {  // a better caption may have taken it out
      known?.item.remove();
      this.#rows.delete(key(event));
      return;
    }
    if (known && SHOWN.every((name) => (known.event[name] ?? "") === (event[name] ?? ""))) return;
    const item = row(event, this.#filters.words);
    if (known) known.item.replaceWith(item);
    else this.#insert(event, item);
    this.#rows.set(key(event), { event, item });
  }

  #insert(event, item) {
    const { list } = this.#day(dayOf(event.began));
    const began = (other) => other.querySelector("time").dateTime;
    if (list.lastChild && began(list.lastChild) >= event.began) return list.append(item);
    list.insertBefore(item, [...list.children].find((other) => began(other) < event.began) ?? null);
  }

  #day(day) {
    if (!this.#days.has(day)) {
      const name = document.createTextNode(""), count = make("span"), list = make("ol", { class: "list" });
      const section = make("div", {}, make("h3", { class: "day" }, name, " ", count), list);
      this.#days.set(day, { section, name, count, list });
      const older = [...this.#days.keys()].filter((other) => other < day).sort().at(-1);
      byId("list").insertBefore(section, older ? this.#days.get(older).section : null);
    }
    return this.#days.get(day);
  }

  #tidy() {
    while (this.#rows.size > MOST) {
      const oldest = [...this.#rows].reduce((a, b) => (b[1].event.began < a[1].event.began ? b : a));
      oldest[1].item.remove();
      this.#rows.delete(oldest[0]);
      byId("older").hidden = false;
    }
    for (const [day, { section, name, count, list }] of this.#days) {
      name.data = dayName(day);  // today's changes at midnight
      count.textContent = many(Math.max(list.children.length, this.#counts.get(day) ?? 0), "event");
      if (list.children.length === 0) { section.remove(); this.#days.delete(day); }
    }
    byId("scroller").hidden = byId("saving").hidden = this.#rows.size === 0;
    byId("none").hidden = this.#rows.size > 0 || this.#filters.active;
    byId("by-hour").hidden = !byId("none").hidden;
  }

  // Asks the server for the newest events, and how many there are on which day.
  async #ask(anew = true) {
    const asked = ++this.#asked, filters = this.#filters;
    byId("summary").href = `summary?day=${filters.day}`;
    byId("export").href = `export?${filters.query()}`;
    for (const form of ["labels", "raven"]) byId(form).href = `export?${filters.query({ as: form })}`;
    const [past, overview] = await Promise.all([get("past", filters.query()), get("overview", filters.query({ day: "" }))]);
    if (asked !== this.#asked) return;
    this.#hours.ask(filters.query({ day: "", hours: "" }));
    if (anew) this.#empty();
    this.#counts = new Map(overview?.days);
    filters.offer(overview?.days ?? [], overview?.sources ?? []);
    for (const event of [...this.#recent.values(), ...past?.events ?? []]) this.#put(event);
    byId("older").hidden = !past?.more;
    this.#tidy();
    const counted = filters.day ? [this.#counts.get(filters.day) ?? 0] : [...this.#counts.values()];
    const total = Math.max(this.#rows.size, counted.reduce((a, b) => a + b, 0));
    const found = total === 0 ? "No event matches." : total === 1 ? "1 event matches." : `${total} events match.`;
    const said = overview ? found : `${many(this.#rows.size, "event")} shown; there may be more.`;
    show("found", past ? (filters.active ? said : "") : "The events cannot be searched now; try again.");
  }

  async #older() {
    const asked = this.#asked, shown = [...this.#rows.values()].map((one) => one.event.began).sort();
    const past = await get("past", this.#filters.query({ before: new Date(shown[0]).getTime() / 1000 }));
    if (asked !== this.#asked) return;
    for (const event of past?.events ?? []) this.#put(event);
    this.#tidy();
    byId("older").hidden = !past?.more;
    show("found", past?.events.length ? `${many(past.events.length, "older event")}.` : "There are no older events.");
    if (past?.events.length) this.#rows.get(key(past.events[0])).item.focus();
  }
}

const SHOWN = ["text", "score", "level_dbfs", "ended", "open", "sound", "label"];
const key = (event) => `${event.began} ${event.source}`;

