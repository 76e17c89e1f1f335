// Samples to another rate, block by block: a windowed sinc, with the pass band of soxr's high quality, so that captions
// are those of a file that edgecap reads. Runs under Node too.
const PASS = 0.913;  // of half the lower rate; above it the filter falls until that half
const ATTENUATION = 110;  // decibels

export class Resampler {
  #held = new Float32Array(0);
  #taken = 0;  // samples before #held
  #given = 0;

  constructor(source, target) {
    const common = divisor(source, target), lower = Math.min(source, target) / source;  // of the source's half rate
    this.up = target / common;
    this.down = source / common;
    if (this.up === this.down) return;
    // even, so that a sum of all weights can be taken in fours
    this.half = 2 * Math.ceil((ATTENUATION - 8) / (2.285 * Math.PI * lower * (1 - PASS)) / 4);
    const cutoff = (lower * (1 + PASS)) / 2, beta = 0.1102 * (ATTENUATION - 8.7), scale = bessel(beta);
    this.phases = Array.from({ length: this.up }, (_, phase) => Float32Array.from({ length: 2 * this.half }, (__, i) => {
      const place = i - this.half + 1 - phase / this.up, x = Math.PI * cutoff * place, edge = place / this.half;
      const window = Math.abs(edge) >= 1 ? 0 : bessel(beta * Math.sqrt(1 - edge * edge)) / scale;
      return cutoff * (x === 0 ? 1 : Math.sin(x) / x) * window;
    }));
  }

  // Converted samples that are ready after `block`; the last block brings the rest.
  push(block, last = false) {
    if (this.up === this.down) return block;
    const { up, down, half, phases } = this, before = this.#taken === 0 && this.#held.length === 0 ? half - 1 : 0;
    const held = new Float32Array(before + this.#held.length + block.length + (last ? half : 0));
    held.set(this.#held, before);
    held.set(block, before + this.#held.length);
    if (before) this.#taken = -before;
    const end = this.#taken + held.length - (last ? half : 0);
    const output = new Float32Array(Math.ceil(((end - this.#taken + half) * up) / down) + 1);
    let count = 0;
    for (;; this.#given++) {
      const place = Math.floor((this.#given * down) / up), first = place - half + 1 - this.#taken;
      if (last ? this.#given * down >= end * up : first + 2 * half > held.length) break;
      const weights = phases[(this.#given * down) % up];
      let [a, b, c, d] = [0, 0, 0, 0];  // sums that do not wait for each other
      for (let i = 0, at = first; i < weights.length; i += 4, at += 4) {
        a += weights[i] * held[at];
        b += weights[i + 1] * held[at + 1];
        c += weights[i + 2] * held[at + 2];
        d += weights[i + 3] * held[at + 3];
      }
      output[count++] = a + b + c + d;
    }
    const next = Math.max(0, Math.floor((this.#given * down) / up) - half + 1 - this.#taken);
    this.#held = held.slice(next);
    this.#taken += next;
    return output.subarray(0, count);
  }
}

function divisor(a, b) {
  return b === 0 ? a : divisor(b, a % b);
}

// The modified Bessel function of order 0.
function bessel(x) {
  let sum = 1, term = 1;
  for (let k = 1; term > 1e-12 * sum; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}
