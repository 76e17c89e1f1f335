// What is heard at this moment: a caption, quiet, or why nothing can be heard.
import { beams, byId, loudness, show, sure, timeOf } from "./dom.js";

export class Now {
  #open = new Map();  // events that go on
  #newest = null;
  #statuses = new Map();
  #connected = true;

  clear() {
    this.#open.clear();
    this.#newest = null;
    this.#statuses.clear();
  }

  take(event) {
    if (event.open) this.#open.set(event.id, event);
    else this.#open.delete(event.id);
    if (!this.#newest || event.id >= this.#newest.id) this.#newest = event;
    this.#draw();
  }

  status(status) {
    this.#statuses.set(status.number, status);
    this.#draw();
  }

  connected(connected) {
    this.#connected = connected;
    this.#draw();
  }

  // The live region changes only with the text, so that a screen reader reads each caption once.
  #draw() {
    const statuses = [...this.#statuses.values()];
    const going = Math.max(0, ...this.#open.keys());
    const event = this.#open.get(going) ?? this.#newest;
    const open = Boolean(event?.open) && this.#connected;
    const calm = open ? ["", ""] : this.#calm(statuses);
    this.#reveal("calm", calm[0]);
    this.#reveal("calm-since", calm[1]);
    byId("last").hidden = !event || open;
    byId("caption").classList.toggle("over", Boolean(event) && !open);
    if (event) {
      show("caption", statuses.length > 1 ? `${event.source}: ${event.text}` : event.text);
      const when = event.open ? `since ${timeOf(event.began)}` : `${timeOf(event.began)} to ${timeOf(event.ended)}`;
      show("since", `${when}, ${loudness(event.level_dbfs)}, confidence ${sure(event)}`);
    }
    const faults = statuses.filter((one) => one.fault);
    this.#reveal("fault", faults.map((one) => `${one.source}: ${one.fault}`).join("; "));
    const kept = statuses.find((one) => one.kept)?.kept;
    this.#reveal("kept", kept ? `Sound is kept in ${kept}` : "");
    const spoken = statuses.find((one) => one.source === event?.source) ?? statuses[0];
    byId("guesses").hidden = !spoken?.beams.length;
    byId("beams").replaceChildren(...beams(spoken?.beams ?? []));
  }

  // Large text and small text while no event goes on.
  #calm(statuses) {
    const since = (some) => `since ${timeOf(some.map((one) => one.since).sort().at(-1))}`;
    if (!this.#connected) return ["Not connected", "What is heard now cannot be shown."];
    if (statuses.length === 0) return ["", ""];
    if (statuses[0].settings?.paused) return ["Paused", `${since(statuses)}; nothing is described, shown or kept.`];
    const working = statuses.filter((one) => !one.fault);
    if (working.length === 0) return ["Nothing can be heard", since(statuses)];
    if (working.some((one) => one.gate)) return ["Listening …", "There is sound, but no caption of it yet."];
    return ["Quiet", since(working)];
  }

  #reveal(id, text) {
    byId(id).hidden = !text;
    show(id, text);
  }
}
