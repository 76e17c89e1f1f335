// What can be changed while edgecap listens. Those in force come with each status; a form that is being edited is left
// alone, and only what was changed in it is sent.
import { byId, show } from "./dom.js";

const words = (text) => text.toLowerCase().split(/[\s,]+/).filter(Boolean);
const percent = (score) => Math.round(100 * Math.exp(score));

export class Settings {
  #now = null;
  #edited = false;

  constructor() {
    byId("settings").hidden = false;
    const form = byId("adjust");
    form.addEventListener("input", () => { this.#edited = true; this.#reveal(); });
    form.addEventListener("submit", (event) => { event.preventDefault(); this.#send(this.#changes()); });
    byId("listening").addEventListener("click", () => this.#send({ paused: !this.#now?.paused }, false));
  }

  status({ settings }) {
    if (!settings || JSON.stringify(settings) === JSON.stringify(this.#now)) return;
    this.#now = settings;
    byId("listening").setAttribute("aria-pressed", settings.paused);
    if (!this.#edited) this.#fill();
  }

  #fill() {
    const { gate, hop, min_score: least, min_confidence: sure, only, ignore } = this.#now, level = typeof gate === "number";
    byId("gate").value = level ? "level" : gate;
    if (level) byId("gate-dbfs").value = gate;
    byId("hop").value = hop;
    byId("least").value = percent(least);
    byId("broader").value = Math.round(100 * sure);
    byId("only").value = only.join(", ");
    byId("ignore").value = ignore.join(", ");
    this.#reveal();
  }

  #reveal() {
    const level = byId("gate").value === "level";
    byId("gate-level").hidden = byId("gate-dbfs").disabled = !level;
  }

  #changes() {
    const gate = byId("gate").value, least = Number(byId("least").value);
    const broader = Number(byId("broader").value), before = this.#now ?? {};
    const asked = {
      gate: gate === "level" ? Number(byId("gate-dbfs").value) : gate,
      hop: Number(byId("hop").value),
      min_score: least === percent(before.min_score) ? before.min_score : Math.max(-1000, Math.log(least / 100)),
      min_confidence: broader === Math.round(100 * before.min_confidence) ? before.min_confidence : broader / 100,
      only: words(byId("only").value),
      ignore: words(byId("ignore").value),
    };
    return Object.fromEntries(Object.entries(asked).filter(([name, value]) =>
      JSON.stringify(value) !== JSON.stringify(before[name])));
  }

  async #send(changes, form = true) {
    const answer = await fetch("settings", { method: "POST", headers: { "Content-Type": "application/json" },
      body: JSON.stringify(changes) }).catch(() => null);
    const said = await answer?.json().catch(() => null);
    if (!answer?.ok) return show("adjusted", said?.error ?? "This could not be sent; is edgecap still running?");
    if (form) this.#edited = false;
    this.status(said);
    show("adjusted", "paused" in changes ? (changes.paused ? "Paused." : "Listening again.")
      : said.applied ? "Changed." : "This will change as soon as edgecap has time for it.");
  }
}
