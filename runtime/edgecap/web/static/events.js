// The list of events: the newest on top, older ones on request, and a search that asks the server.
import { byId, make, minus, show, span, timeOf } from "./dom.js";

const TYPING = 250;
const MOST = 500;
const PAGE = 50;

export class Events {
  #newest = new Map();
  #rows = new Map();
  #older = [];
  #results = null;
  #timer = 0;
  #asked = 0;
  #asking = false;
  #unseen = false;  // whether the server has older events than those in the list

  constructor() {
    byId("search").addEventListener("submit", (event) => { event.preventDefault(); this.#search(); });
    byId("words").addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#search(), TYPING);
    });
    byId("older").addEventListener("click", () => this.#more(true));
  }

  clear() {
    this.#newest.clear();
    this.#older = [];
  }

  take(event) {
    this.#newest.set(event.id, event);
    if (this.#newest.size <= MOST) return;
    const [id, oldest] = this.#newest.entries().next().value;
    this.#newest.delete(id);
    this.#rows.delete(id);
    this.#older.unshift(oldest);
    if (this.#older.length > MOST) { this.#older.pop(); this.#unseen = true; }
  }

  // Only the row that changed is replaced: a page may be open for weeks, on a phone.
  change(event) {
    this.take(event);
    if (this.#results) return;
    const fresh = row(event, []);
    if (this.#rows.has(event.id)) this.#rows.get(event.id).replaceWith(fresh);
    else byId("list").prepend(fresh);
    this.#rows.set(event.id, fresh);
    while (byId("list").children.length > 2 * MOST) byId("list").lastChild.remove();
    byId("none").hidden = true;
  }

  greeted() {
    if (this.#older.length === 0) this.#more(false);
    this.draw();
  }

  draw() {
    const words = this.#words();
    const shown = this.#shown();
    const rows = shown.map((event) => row(event, words));
    byId("list").replaceChildren(...rows);
    this.#rows = new Map(this.#results ? [] : shown.slice(0, this.#newest.size).map((event, i) => [event.id, rows[i]]));
    byId("none").hidden = shown.length > 0 || this.#results !== null;
  }

  #shown() {
    return this.#results ?? [...[...this.#newest.values()].reverse(), ...this.#older];
  }

  #words() {
    return byId("words").value.toLowerCase().split(/\s+/).filter(Boolean);
  }

  async #search() {
    clearTimeout(this.#timer);
    const words = this.#words(), asked = ++this.#asked;
    if (words.length === 0) {
      this.#results = null;
      show("found", "");
      byId("older").hidden = !this.#unseen;
      this.draw();
      return;
    }
    const events = await past(words, null);
    if (asked !== this.#asked) return;
    this.#results = events ?? [];
    const count = this.#results.length;
    const what = words.join(" ");
    const many = count === PAGE ? `The newest ${PAGE} events` : count > 1 ? `${count} events`
      : count ? "1 event" : "No event";
    show("found", events ? `${many} with “${what}”.` : "The search failed; try again.");
    byId("older").hidden = count < PAGE;
    this.draw();
  }

  async #more(wanted) {
    if (this.#asking) return;
    this.#asking = true;
    const results = this.#results, into = results ?? this.#older, shown = this.#shown();
    const events = await past(results ? this.#words() : [], shown.at(-1) ?? null) ?? [];
    this.#asking = false;
    into.push(...events);
    if (!results) this.#unseen = events.length === PAGE;
    if (results === this.#results) byId("older").hidden = events.length < PAGE;
    this.draw();
    if (!wanted) return;
    show("found", events.length ? `${events.length} older events.` : "There are no older events.");
    byId("list").children[shown.length]?.focus();
  }
}

async function past(words, last) {
  const query = new URLSearchParams({ words: words.join(" ") });
  if (last) query.set("before", new Date(last.began).getTime() / 1000);
  const answer = await fetch(`past?${query}`).catch(() => null);
  return answer?.ok ? (await answer.json()).events : null;
}

function row(event, words) {
  const level = minus(event.level_dbfs.toFixed(0)), score = minus(event.score.toFixed(2));
  const more = [span(event.end - event.start), `${level} dBFS`, `score ${score}`, event.source];
  return make("li", { class: event.open ? "open" : "ended", tabindex: "-1" },
    make("time", { datetime: event.began }, timeOf(event.began)),
    make("span", { class: "text" }, ...marked(event.text, words)),
    make("span", { class: "more" }, more.filter(Boolean).join(" · ")));
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
