// Runs in the browser's audio thread: passes on the samples in blocks of 4,096.
class Taker extends AudioWorkletProcessor {
  #block = new Float32Array(4096);
  #filled = 0;

  process([[channel]]) {
    if (!channel) return true;
    this.#block.set(channel, this.#filled);
    this.#filled += channel.length;
    if (this.#filled === this.#block.length) {
      this.port.postMessage(this.#block.slice());
      this.#filled = 0;
    }
    return true;
  }
}
registerProcessor("taker", Taker);
