// How the listener is, in plain words, and the technical figures with what they mean.
import { byId, make, many, minus, percent, span } from "./dom.js";

export class Status {
  #statuses = new Map();

  clear() {
    this.#statuses.clear();
  }

  status(status) {
    this.#statuses.set(status.number, status);
    const all = [...this.#statuses.values()], named = all.length > 1;
    byId("figures").replaceChildren(...all.flatMap((one) => rows(plain(one), named && one.source)));
    byId("details").replaceChildren(...all.flatMap((one) => rows(technical(one), named && one.source)));
  }
}

function plain(status) {
  const behind = status.dropped || status.lost >= 1 || status.overflows;
  const heat = status.celsius === null ? "unknown"
    : `${status.celsius.toFixed(0)} °C${status.throttled ? ", too hot: it slows down" : ""}`;
  return [
    ["Hears", status.settings?.paused ? "nothing: paused" : status.fault ? `nothing: ${status.fault}` : status.gate ? "sound" : "quiet"],
    ["Has listened for", `${span(status.heard)}, ${many(status.events, "event")}`],
    ["Describes sound", `every ${status.hop} s` + (status.hop > status.asked_hop ? `, not every ${status.asked_hop} s:`
      + " this machine is too slow or too hot" : "")],
    ["Missed so far", behind ? `${many(status.dropped, "caption")}, ${status.lost} s of sound` : "nothing"],
    ["Temperature", heat],
    ["Sound kept", status.kept || "none"],
  ];
}

function technical(status) {
  const floor = status.floor === null ? "no noise floor" : `noise floor ${minus(status.floor)} dBFS`;
  return [
    ["Level", `${minus(status.level)} dBFS`, "of the newest tenth of a second"],
    ["Gate", `${status.gate ? "open" : "closed"}, ${floor}`, "the model runs only while sound is above the noise"],
    ["Best caption now", status.beams.length ? `${percent(status.beams[0].score)}, score `
      + minus(status.beams[0].score.toFixed(2)) : "none", "of the last window, whether it became an event or not"],
    ["Real-time factor", `${(100 * status.load).toFixed(1)} %`,
      `a caption takes ${(1000 * status.seconds).toFixed(0)} ms of the time from one to the next`],
    ["Delay of captions", `${(1000 * status.latency).toFixed(0)} ms`, "from the end of a sound's window to its caption"],
    ["Hops skipped", status.dropped, "captions that were due while the one before was still being made"],
    ["Overflows", status.overflows, "times that the system lost sound before edgecap saw it"],
    ["Windows", `${many(status.captions, "caption")}, ${status.quiet} quiet`, "quiet ones do not need the model"],
  ];
}

function rows(figures, source) {
  const all = source ? [["Microphone", source], ...figures] : figures;
  return all.map(([name, value, meaning]) => make("div", {}, make("dt", {}, name),
    make("dd", {}, String(value), ...(meaning ? [make("small", {}, meaning)] : []))));
}
