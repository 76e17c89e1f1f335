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

// Days and times are those of the machine that listens, wherever the browser is.
const there = (iso) => new Date(iso.slice(0, 19));
export const dayOf = (iso) => iso.slice(0, 10);
export const timeOnly = (iso) => there(iso).toLocaleTimeString();

export function timeOf(iso) {
  const date = there(iso);
  return date.toDateString() === new Date().toDateString() ? date.toLocaleTimeString() : date.toLocaleString();
}

export function dayName(day, length = "long") {
  const date = new Date(`${day}T12:00:00`), today = new Date();
  const year = date.getFullYear() === today.getFullYear() ? {} : { year: "numeric" };
  const name = date.toLocaleDateString(undefined, { weekday: length, day: "numeric", month: length, ...year });
  return date.toDateString() === today.toDateString() ? `Today, ${name}` : name;
}

export function span(seconds) {
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const minutes = Math.floor(seconds / 60), rest = String(Math.floor(seconds % 60)).padStart(2, "0");
  return minutes < 60 ? `${minutes}:${rest} min`
    : `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}:${rest} h`;
}

export const minus = (text) => String(text).replace("-", "−");
export const many = (count, what) => `${count} ${what}${count === 1 ? "" : "s"}`;

export function loudness(dbfs) {
  return dbfs >= -1 ? "too loud" : dbfs >= -20 ? "loud" : dbfs >= -40 ? "medium" : dbfs >= -60 ? "soft" : "very soft";
}

export const sure = (event) => `${Math.round(100 * event.confidence)} %`;
export const percent = (score) => `${Math.round(100 * Math.exp(score))} %`;

export function beams(list) {
  return list.map((beam) => make("li", {}, make("span", { class: "score" }, percent(beam.score)), beam.text));
}

// The server's answer to what is sent, or an error that can be shown.
export async function post(path, fields) {
  const answer = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" },
    body: JSON.stringify(fields) }).catch(() => null);
  const saved = await answer?.json().catch(() => null);
  return answer?.ok && saved ? saved : { error: saved?.error ?? "This could not be saved; is edgecap still running?" };
}

export async function get(path, query) {
  const answer = await fetch(`${path}?${query}`).catch(() => null);
  return answer?.ok ? answer.json() : null;
}
