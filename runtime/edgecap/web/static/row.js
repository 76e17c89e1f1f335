// One event in the list. Where its sound is kept, a button opens its panel.
import { loudness, make, span, sure, timeOnly } from "./dom.js";
import { panel } from "./panel.js";

export function row(event, words) {
  const more = [span(event.end - event.start), loudness(event.level_dbfs), `confidence ${sure(event)}`, event.source];
  const label = make("span", { class: "label" });
  const item = make("li", { class: `event ${event.open ? "open" : "ended"}`, tabindex: "-1" },
    make("div", {},
      make("time", { datetime: event.began }, timeOnly(event.began)),
      make("span", { class: "text" }, ...marked(event.text, words)), ...badges(event),
      make("span", { class: "more" }, more.filter(Boolean).join(" · ")), label));
  const labelled = (text) => {
    event.label = text;
    label.textContent = text ? `It was: ${text}` : "";
  };
  labelled(event.label ?? "");
  if (event.sound) item.append(opener(event, item, labelled));
  return item;
}

// Sounds with a name: in the event of a caption their names, in one of their own what it is.
function badges(event) {
  const names = event.named ? ["named sound"] : (event.sounds ?? []).map((sound) => sound.name);
  return names.flatMap((name) => [" ", make("span", { class: "badge" }, name)]);
}

function opener(event, item, labelled) {
  const about = `“${event.text}”, ${timeOnly(event.began)}`, button = make("button", { type: "button", class: "play" });
  let open = null;
  const say = () => {
    button.textContent = open ? "Close" : "Play";
    button.setAttribute("aria-expanded", Boolean(open));
    button.setAttribute("aria-label", `${button.textContent} the sound of ${about}`);
  };
  button.addEventListener("click", () => {
    open?.remove();
    open = open ? null : panel(event, about, labelled);
    say();
    if (!open) return;
    item.append(open);
    const audio = open.querySelector("audio");
    for (const other of document.querySelectorAll("audio")) if (other !== audio) other.pause();
    audio.focus();
    audio.play().catch(() => {});  // a reason is told by "error"
  });
  say();
  return button;
}

function marked(text, words) {
  const parts = [];
  let rest = text;
  while (rest) {
    const places = words.map((word) => [rest.toLowerCase().indexOf(word), word.length]).filter(([at]) => at >= 0);
    if (places.length === 0) break;
    const [at, length] = places.reduce((a, b) => (b[0] < a[0] ? b : a));
    parts.push(rest.slice(0, at), make("mark", {}, rest.slice(at, at + length)));
    rest = rest.slice(at + length);
  }
  return [...parts, rest];
}
