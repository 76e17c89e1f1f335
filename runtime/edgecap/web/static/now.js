// The caption of the moment, and the figures of each source.
import { beams, byId, make, minus, show, span, timeOf } from "./dom.js";

export class Now {
  #event = null;
  #statuses = new Map();

  clear() {
    this.#event = null;
    this.#statuses.clear();
  }

  // The live region changes only with the text, so that a screen reader reads each caption once.
  take(event) {
    if (this.#event && event.id < this.#event.id) return;
    this.#event = event;
    show("caption", this.#statuses.size > 1 ? `${event.source}: ${event.text}` : event.text);
    byId("caption").classList.toggle("over", !event.open);
    const end = event.open ? "" : ` until ${timeOf(event.ended)}`;
    show("since", `since ${timeOf(event.began)}${end}, score ${minus(event.score.toFixed(2))}, `
      + `${minus(event.level_dbfs.toFixed(0))} dBFS`);
  }

  status(status) {
    this.#statuses.set(status.number, status);
    const statuses = [...this.#statuses.values()];
    this.#warn("fault", statuses.filter((one) => one.fault).map((one) => `${one.source}: ${one.fault}`).join("; "));
    this.#warn("kept", status.kept && `Sound is kept in ${status.kept}`);
    const spoken = statuses.find((one) => one.source === this.#event?.source) ?? status;
    byId("beams").replaceChildren(...beams(spoken.beams));
    byId("figures").replaceChildren(...statuses.flatMap((one) => this.#figures(one, statuses.length > 1)));
  }

  #warn(id, text) {
    byId(id).hidden = !text;
    show(id, text);
  }

  #figures(status, named) {
    const floor = status.floor === null ? "" : `, floor ${minus(status.floor)} dBFS`;
    const heat = status.celsius === null ? "unknown"
      : `${status.celsius.toFixed(0)} °C${status.throttled ? ", throttled" : ""}`;
    const rows = [
      ["Gate", (status.gate ? "open" : "quiet") + floor],
      ["A caption every", `${status.hop} s` + (status.hop > status.asked_hop ? ` (configured: ${status.asked_hop} s)` : "")],
      ["Real-time factor", `${(100 * status.load).toFixed(1)} % (${(1000 * status.seconds).toFixed(0)} ms a caption)`],
      ["Delay of captions", `${(1000 * status.latency).toFixed(0)} ms`],
      ["Hops skipped", status.dropped],
      ["Sound lost", `${status.lost} s, ${status.overflows} overflows`],
      ["Temperature", heat],
      ["Sound so far", `${span(status.heard)}, ${status.events} events`],
      ["Sound kept", status.kept || "none"],
    ];
    if (named) rows.unshift(["Source", status.source]);
    return rows.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, String(value))));
  }
}
