// One event in the list, and its sound where it is kept.
import { loudness, make, percent, span, timeOnly } from "./dom.js";

export function row(event, words) {
  const more = [span(event.end - event.start), loudness(event.level_dbfs), `confidence ${percent(event.score)}`,
    event.source];
  return make("li", { class: `event ${event.open ? "open" : "ended"}`, tabindex: "-1" },
    make("div", {},
      make("time", { datetime: event.began }, timeOnly(event.began)),
      make("span", { class: "text" }, ...marked(event.text, words)),
      make("span", { class: "more" }, more.filter(Boolean).join(" · "))),
    ...(event.sound ? [player(event)] : []));
}

function player(event) {
  const button = make("button", { type: "button", class: "play",
    "aria-label": `Play the sound of “${event.text}”, ${timeOnly(event.began)}` }, "Play");
  button.addEventListener("click", () => {
    for (const other of document.querySelectorAll("audio")) other.pause();
    const audio = make("audio", { controls: "", src: `sound?name=${encodeURIComponent(event.sound)}`,
      "aria-label": `The sound of “${event.text}”` });
    audio.addEventListener("error", () => audio.replaceWith(make("span", { role: "status", class: "more" },
      "This sound is no longer kept, or the browser cannot play FLAC.")));
    button.replaceWith(audio);
    audio.focus();
    audio.play().catch(() => {});  // a reason is told by "error"
  });
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
