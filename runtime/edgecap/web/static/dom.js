// Small helpers. Text is always set as text, so that nothing from a file or a model is parsed as markup.
export const byId = (id) => document.getElementById(id);

export function show(id, text) {
  const element = byId(id);
  if (element.textContent !== text) element.textContent = text;
}

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export function timeOf(iso) {
  const date = new Date(iso);
  const today = date.toDateString() === new Date().toDateString();
  return today ? date.toLocaleTimeString() : date.toLocaleString();
}

export function span(seconds) {
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const minutes = Math.floor(seconds / 60), rest = String(Math.floor(seconds % 60)).padStart(2, "0");
  return minutes < 60 ? `${minutes}:${rest} min`
    : `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}:${rest} h`;
}

export const minus = (text) => String(text).replace("-", "−");

export function beams(list) {
  return list.map((beam) => make("li", {},
    make("span", { class: "score" }, minus(beam.score.toFixed(2))), beam.text));
}
