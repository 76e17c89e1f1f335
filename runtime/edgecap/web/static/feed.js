// The stream of events. The browser reconnects by itself and sends the id of its last event; where it gives up (the
// server refused it), this does the same.
import { show } from "./dom.js";

const RETRY = 5000;
const LOST = "connection lost; trying again";

export class Feed {
  #last = "";
  #away = LOST;

  constructor(takers, connected) {
    this.takers = takers;
    this.connected = connected;
    this.open();
  }

  open() {
    const source = new EventSource(`events?last=${encodeURIComponent(this.#last)}`);
    source.onopen = () => { this.#away = LOST; show("connection", "live"); this.connected(true); };
    source.onerror = () => this.#lost(source);
    for (const [kind, take] of Object.entries(this.takers)) {
      source.addEventListener(kind, (message) => {
        this.#last = message.lastEventId || this.#last;
        take(JSON.parse(message.data));
      });
    }
    source.addEventListener("bye", () => { this.#away = "edgecap has stopped; waiting for it to start"; });
  }

  async #lost(source) {
    show("connection", this.#away);
    this.connected(false);
    if (source.readyState !== EventSource.CLOSED) return;
    await new Promise((done) => setTimeout(done, RETRY));
    const answer = await fetch("about").catch(() => null);
    if (answer?.status === 401) location.reload();
    else this.open();
  }
}
