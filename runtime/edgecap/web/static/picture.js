// Timeline, spectrogram and level on one canvas that moves with the sound. Columns come in pieces, up to 30 a second;
// the picture runs a little behind the newest one and evens them out. It stops when nothing comes, when the page is
// hidden and when it is paused; with the preference for reduced motion it moves once a second.
import { byId, minus, show } from "./dom.js";
import { palette, paint } from "./palette.js";

const SPAN = 30;
const RING = 1200;
const BEHIND = 0.2;
const FRAME = 28;
const STILL = 1000;
const REST = 2000;
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
    byId("level").setAttribute("aria-valuetext",
      `${minus(status.level.toFixed(0))} decibels, ${status.gate ? "sound" : "quiet"}`);
  }

  sound({ source, at, level, columns }) {
    const stream = this.#stream(source);
    stream.push(at, level, Uint8Array.from(atob(columns), (sign) => sign.charCodeAt(0)), this.colours);
    if (stream !== this.#shown) return;
    if (!this.still.matches) this.#level(level);  // else it follows the status, once a second
    if (this.#frame || this.#paused) return;
    this.#drawn = performance.now() - FRAME;
    this.#frame = requestAnimationFrame((now) => this.#run(now));
  }

  #stream(source) {
    let stream = this.#streams.get(source);
    if (!stream) {
      stream = new Stream(this.about.bands, this.about.column_seconds);
      this.#streams.set(source, stream);
      byId("source").append(new Option(source || "the source", source));
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
    show("decibels", `${minus(level.toFixed(0))} dBFS`);
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

// The columns of one source in a ring a little wider than the canvas.
class Stream {
  constructor(bands, columnSeconds) {
    this.bands = bands;
    this.columnSeconds = columnSeconds;
    this.ring = new OffscreenCanvas(RING, bands);
    this.pen = this.ring.getContext("2d");
    this.bytes = new Uint8Array(RING * bands);
    this.levels = [];
    this.next = -1;
    this.newest = 0;
    this.head = 0;
    this.came = 0;
  }

  push(at, level, bytes, colours) {
    const count = bytes.length / this.bands, end = Math.round(at / this.columnSeconds);
    let first = this.next;
    if (Math.abs(end - count - this.next) > 5) {  // sound was lost, or no browser was connected
      first = end - count;
      const gap = Math.min(RING, Math.max(0, first - this.next));
      for (let i = first - gap; i < first; i++) this.bytes.fill(0, this.#place(i), this.#place(i) + this.bands);
      this.#paint(first - gap, gap, colours);
      this.levels.push([at, null]);
    }
    for (let i = 0; i < count; i++) {
      this.bytes.set(bytes.subarray(i * this.bands, (i + 1) * this.bands), this.#place(first + i));
    }
    this.#paint(first, count, colours);
    this.next = first + count;
    this.newest = at;
    this.levels.push([at, level]);
    if (this.levels.length > 1200) this.levels.splice(0, 200);
    if (performance.now() - this.came > REST || Math.abs(at - BEHIND - this.head) > 1) this.head = at - BEHIND;
    this.came = performance.now();
  }

  // The head follows the newest sound like a clock, a little faster or slower where needed.
  move(seconds) {
    const error = this.newest - BEHIND - this.head;
    this.head += Math.min(seconds, 1.5) * (1 + Math.max(-0.5, Math.min(0.5, error)));
  }

  repaint(colours) {
    this.#paint(0, RING, colours);
  }

  #place(index) {
    return (((index % RING) + RING) % RING) * this.bands;
  }

  #paint(first, count, { table }) {
    if (count <= 0) return;
    for (let done = 0; done < count;) {
      const x = this.#place(first + done) / this.bands, width = Math.min(count - done, RING - x);
      const image = new ImageData(width, this.bands), pixels = new Uint32Array(image.data.buffer);
      for (let column = 0; column < width; column++) {
        const place = (x + column) * this.bands;
        for (let band = 0; band < this.bands; band++) {
          pixels[(this.bands - 1 - band) * width + column] = table[this.bytes[place + band]];
        }
      }
      this.pen.putImageData(image, x, 0);
      done += width;
    }
  }
}
