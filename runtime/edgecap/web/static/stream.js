// The columns of one source in a ring a little wider than the canvas, and its levels.
const RING = 1200;
const BEHIND = 0.2;
const UNKNOWN = 255;
export const REST = 2000;

export class Stream {
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
    if (level !== undefined) this.levels.push([at, level]);
    if (this.levels.length > 1200) this.levels.splice(0, 200);
    if (performance.now() - this.came > REST || Math.abs(at - BEHIND - this.head) > 1) this.head = at - BEHIND;
    this.came = performance.now();
  }

  // All that is known of the past at once; a level is a byte a column.
  fill(at, levels, bytes, colours) {
    this.next = Math.round(at / this.columnSeconds) - levels.length;
    this.push(at, undefined, bytes, colours);
    this.levels = [...levels].map((level, i) => [at - (levels.length - 1 - i) * this.columnSeconds,
      level === UNKNOWN ? null : -level]);
    this.head = at - BEHIND;
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
