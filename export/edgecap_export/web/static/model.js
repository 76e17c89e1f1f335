// The page's side of worker.js, and what a browser must have for it.

// The smallest module with a vector instruction: v128.const, drop.
const SIMD = [0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 10, 23, 1, 21, 0, 253, 12,
  ...new Array(16).fill(0), 26, 11];

// What is missing in this browser, as a sentence; empty where nothing is.
export function missing() {
  const advice = "Use a present version of Firefox, Chrome, Edge or Safari (16.4 or later).";
  if (!globalThis.WebAssembly?.validate(new Uint8Array(SIMD))) {
    return `This browser has no WebAssembly SIMD, which the model needs. ${advice}`;
  }
  return globalThis.DecompressionStream ? "" : `This browser cannot unpack the program that runs the model. ${advice}`;
}

export class Model {
  #waiting = new Map();
  #next = 0;

  constructor() {
    this.worker = new Worker("worker.js", { type: "module" });
    this.worker.addEventListener("message", ({ data }) => {
      const { done, failed } = this.#waiting.get(data.id);
      this.#waiting.delete(data.id);
      if ("error" in data) failed(new Error(data.error));
      else done(data.result);
    });
    // A worker whose own files do not come sends no message.
    this.worker.addEventListener("error", (event) => {
      for (const { failed } of this.#waiting.values()) failed(new Error(event.message || "its program did not come"));
      this.#waiting.clear();
    });
  }

  // Throws where a file does not come or the runtime refuses the graphs. More than one thread needs an isolated page, and
  // makes the processors work twice as long for a caption (docs/web-export.md).
  async load(threads = 1) {
    Object.assign(this, await this.#ask("load", { threads }));
    return this;
  }

  caption(samples) {
    return this.#ask("caption", { samples });
  }

  windows(length) {
    return this.#ask("windows", { length });
  }

  #ask(kind, more = {}) {
    return new Promise((done, failed) => {
      this.#waiting.set(++this.#next, { done, failed });
      this.worker.postMessage({ id: this.#next, kind, ...more });
    });
  }
}
