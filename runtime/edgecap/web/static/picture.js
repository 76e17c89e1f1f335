// Timeline, spectrogram and level on one canvas that moves with the sound. Columns come in pieces, up to 30 a second;
// the picture runs a little behind the newest one and evens them out. It stops when nothing comes, when the page is
// hidden and when it is paused; with the preference for reduced motion it moves once a second.
import { byId, loudness, show } from "./dom.js";
import { palette, paint } from "./palette.js";
import { REST, Stream } from "./stream.js";

const SPAN = 30;
const FRAME = 28;
const STILL = 1000;
const LOWEST = -90;

export class Picture {
  #events = new Map();
  #streams = new Map();
  #names = new Map();
  #shown = null;
  #paused = false;
  #frame = 0;
  #drawn = 0;

  constructor(about) {
    this.about = about;
    this.canvas = byId("canvas");
    this.still = matchMedia("(prefers-reduced-motion: reduce)");
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#recolour());
    new ResizeObserver(() => this.#resize()).observe(this.canvas);
    byId("pause").addEventListener("click", () => this.#pause());
    byId("source").addEventListener("change", (event) => this.#choose(event.target.value));
    this.colours = palette();
  }

  clear() {
    this.#events.clear();
  }

  take(event) {
    if (!this.#events.has(event.id) && this.#events.size >= 50) this.#events.delete(this.#events.keys().next().value);
    this.#events.set(event.id, event);
  }

  status(status) {
    const known = this.#names.get(status.number);
    this.#names.set(status.number, status.source);
    // A microphone gets its name when it is open.
    if (known !== undefined && known !== status.source) this.#forget(known);
    const stream = this.#stream(status.source);
    if (stream !== this.#shown) return;
    this.#level(status.level);
    byId("level").setAttribute("aria-valuenow", Math.max(LOWEST, status.level).toFixed(0));
    byId("level").setAttribute("aria-valuetext", `${loudness(status.level)}, ${status.gate ? "sound" : "quiet"}`);
  }

  // The last half minute, as it was before this page was opened.
  fill({ source, at, columns, levels }) {
    if (!columns) return;
    const stream = this.#stream(source);
    stream.fill(at, bytes(levels), bytes(columns), this.colours);
    if (stream === this.#shown) this.#begin();
  }

  sound({ source, at, level, columns }) {
    const stream = this.#stream(source);
    stream.push(at, level, bytes(columns), this.colours);
    if (stream !== this.#shown) return;
    this.#begin();
    if (!this.still.matches) this.#level(level);  // else it follows the status, once a second
    if (this.#frame || this.#paused) return;
    this.#drawn = performance.now() - FRAME;
    this.#frame = requestAnimationFrame((now) => this.#run(now));
  }

  #begin() {
    if (!this.canvas.hidden) return;
    this.canvas.hidden = false;
    byId("no-picture").hidden = true;
    this.#resize();
  }

  #stream(source) {
    let stream = this.#streams.get(source);
    if (!stream) {
      stream = new Stream(this.about.bands, this.about.column_seconds);
      this.#streams.set(source, stream);
      byId("source").append(new Option(source || "microphone", source));
      byId("source-choice").hidden = this.#streams.size < 2;
      this.#shown ??= stream;
    }
    return stream;
  }

  #forget(source) {
    if (this.#shown === this.#streams.get(source)) this.#shown = null;
    this.#streams.delete(source);
    [...byId("source").options].find((option) => option.value === source)?.remove();
  }

  #choose(source) {
    this.#shown = this.#streams.get(source);
    this.#draw();
  }

  #level(level) {
    byId("bar").style.transform = `scaleX(${Math.min(1, Math.max(0, 1 - level / LOWEST)).toFixed(3)})`;
    show("loudness", loudness(level));
  }

  #pause() {
    this.#paused = !this.#paused;
    byId("pause").setAttribute("aria-pressed", this.#paused);
  }

  #run(now) {
    this.#frame = 0;
    const stream = this.#shown;
    if (this.#paused || now - stream.came > REST) return;
    this.#frame = requestAnimationFrame((next) => this.#run(next));
    if (now - this.#drawn < (this.still.matches ? STILL : FRAME)) return;
    stream.move((now - this.#drawn) / 1000);
    this.#drawn = now;
    this.#draw();
  }

  #resize() {
    const scale = Math.min(2, devicePixelRatio || 1);
    this.canvas.width = Math.max(1, Math.round(this.canvas.clientWidth * scale));
    this.canvas.height = Math.max(1, Math.round(this.canvas.clientHeight * scale));
    this.#draw();
  }

  #recolour() {
    this.colours = palette();
    for (const stream of this.#streams.values()) stream.repaint(this.colours);
    this.#draw();
  }

  #draw() {
    if (!this.#shown) return;
    const source = [...this.#streams].find(([, stream]) => stream === this.#shown)[0];
    const events = [...this.#events.values()].filter((event) => !event.source || event.source === source);
    paint(this.canvas, this.#shown, events, this.colours, SPAN);
  }
}

const bytes = (text) => Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
