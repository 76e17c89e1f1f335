// The log-mel front end: the arithmetic of edgecap.audio.frontend, for the constants of a bundle's manifest. Knows
// nothing about models or browsers; runs under Node too.
const LEAST_MEAN_POWER = 1e-10;
const LEVEL_FLOOR = -120;

export class FrontEnd {
  // `constants` is the manifest's `front_end`.
  constructor(constants) {
    this.constants = constants;
    this.transform = new Transform(constants.n_fft);
    this.window = hann(constants.win_length, constants.n_fft);
    this.bank = melBank(constants);
  }

  frames(samples) {
    return Math.floor(samples / this.constants.hop_length) + 1;
  }

  // The value of digital silence, which pads a short clip.
  get silence() {
    const { compression, amin, log_offset } = this.constants;
    return compression === "decibel" ? 10 * Math.log10(amin) : Math.log(log_offset);
  }

  // Log-mel of one clip, more than n_fft / 2 samples, as Float32Array (n_mels, columns): the clip's own frames, and
  // behind them silence.
  logMel(samples, columns = this.frames(samples.length)) {
    const { n_mels: bands } = this.constants, count = this.frames(samples.length);
    const energies = this.energies(reflected(samples, this.constants.n_fft >> 1));
    const output = new Float32Array(bands * columns).fill(this.silence);
    this.#compress(energies);
    for (let frame = 0; frame < count; frame++) {
      for (let band = 0; band < bands; band++) output[band * columns + frame] = energies[frame * bands + band];
    }
    return output;
  }

  // Mel energies of every complete frame of samples that are padded already: (frames, n_mels).
  energies(padded) {
    const { n_fft: size, hop_length: hop, n_mels: bands, power } = this.constants;
    const count = Math.max(0, Math.floor((padded.length - size) / hop) + 1), mel = new Float64Array(count * bands);
    const { firsts, starts, weights } = this.bank;
    for (let frame = 0; frame < count; frame++) {
      const spectrum = this.transform.powers(padded, frame * hop, this.window);
      if (power === 1) for (let bin = 0; bin < spectrum.length; bin++) spectrum[bin] = Math.sqrt(spectrum[bin]);
      for (let band = 0; band < bands; band++) {
        let sum = 0;
        const shift = firsts[band] - starts[band];
        for (let i = starts[band]; i < starts[band + 1]; i++) sum += weights[i] * spectrum[i + shift];
        mel[frame * bands + band] = sum;
      }
    }
    return mel;
  }

  // Energies of one clip to logarithms, in place: at the clip's level, with the clip's own floor.
  #compress(mel) {
    const { compression, amin, top_db, log_offset, clip_level, power } = this.constants;
    const decibel = compression === "decibel";
    if (decibel) for (let i = 0; i < mel.length; i++) mel[i] = Math.max(mel[i], amin);
    let factor = 1;
    if (clip_level !== null) {
      let sum = 0;
      for (let i = 0; i < mel.length; i++) sum += power === 1 ? mel[i] * mel[i] : mel[i];
      const mean = sum / mel.length;
      factor = 10 ** ((clip_level - 10 * Math.log10(Math.max(mean, LEAST_MEAN_POWER))) / (power === 1 ? 20 : 10));
    }
    let highest = -Infinity;
    for (let i = 0; i < mel.length; i++) {
      mel[i] = decibel ? 10 * Math.log10(mel[i] * factor) : Math.log(mel[i] * factor + log_offset);
      highest = Math.max(highest, mel[i]);
    }
    if (decibel) for (let i = 0; i < mel.length; i++) mel[i] = Math.max(mel[i], highest - top_db);
  }
}

// RMS level of the loudest 100 ms in dBFS, each block without its mean, as edgecap.audio.samples measures it.
export function loudestLevel(samples, rate) {
  const length = Math.max(1, Math.min(Math.round(0.1 * rate), samples.length));
  let largest = 0;
  for (let start = 0; start + length <= samples.length; start += length) {
    largest = Math.max(largest, variance(samples.subarray(start, start + length)));
  }
  largest = Math.max(largest, variance(samples.subarray(-length)));
  return largest > 0 ? Math.max(LEVEL_FLOOR, 10 * Math.log10(largest)) : LEVEL_FLOOR;
}

function variance(block) {
  let sum = 0, squares = 0;
  for (let i = 0; i < block.length; i++) sum += block[i];
  const mean = sum / block.length;
  for (let i = 0; i < block.length; i++) squares += (block[i] - mean) * (block[i] - mean);
  return squares / block.length;
}

// Both ends reflected by `half` samples, the outermost one not repeated.
function reflected(samples, half) {
  if (samples.length <= half) throw new RangeError(`a clip needs more than ${half} samples, not ${samples.length}`);
  const padded = new Float32Array(samples.length + 2 * half), last = samples.length - 1;
  padded.set(samples, half);
  for (let i = 1; i <= half; i++) {
    padded[half - i] = samples[i];
    padded[half + last + i] = samples[last - i];
  }
  return padded;
}

// The periodic Hann window, in the middle of the transform.
function hann(length, size) {
  const window = new Float64Array(size), left = (size - length) >> 1;
  for (let i = 0; i < length; i++) window[left + i] = 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / length);
  return window.map(Math.fround);
}

// Triangular HTK bands: band b has the weights starts[b] to starts[b + 1], for the bins from firsts[b].
function melBank({ sample_rate, n_fft, n_mels, f_min, f_max, mel_slopes }) {
  const inHertz = mel_slopes === "hertz", round = inHertz ? Math.fround : Number;
  const lowest = toMel(f_min), highest = toMel(f_max), bins = (n_fft >> 1) + 1;
  const edges = inHertz ? publishedEdges(lowest, highest, n_mels + 2)
    : Array.from({ length: n_mels + 2 }, (_, i) => lowest + (i * (highest - lowest)) / (n_mels + 1));
  const firsts = new Int32Array(n_mels), starts = new Int32Array(n_mels + 1), used = [];
  for (let band = 0; band < n_mels; band++) {
    const [left, top, right] = edges.slice(band, band + 3), rise = round(top - left), fall = round(right - top);
    const weights = Array.from({ length: bins }, (_, bin) => {
      if (!inHertz && bin === 0) return 0;  // TensorFlow leaves the constant component out of every band
      const hertz = ((sample_rate / 2) * bin) / (bins - 1), place = inHertz ? Math.fround(hertz) : toMel(hertz);
      return Math.fround(Math.max(0, Math.min(round(round(place - left) / rise), round(round(right - place) / fall))));
    });
    firsts[band] = Math.max(0, weights.findIndex((weight) => weight > 0));
    used.push(...weights.slice(firsts[band], weights.findLastIndex((weight) => weight > 0) + 1));
    starts[band + 1] = used.length;
  }
  return { firsts, starts, weights: Float64Array.from(used) };
}

const toMel = (hertz) => 2595 * Math.log10(1 + hertz / 700);

// Edges in hertz, rounded to float32 after each operation as torchaudio rounds them.
function publishedEdges(lowest, highest, count) {
  const round = Math.fround, step = round(round(highest - lowest) / round(count - 1));
  return Array.from({ length: count }, (_, i) => {
    const mel = round(i < count >> 1 ? round(lowest) + step * i : round(highest) - step * (count - 1 - i));
    return round(700 * round(round(10 ** round(mel / 2595)) - 1));
  });
}

// The Fourier transform of one length: where it is a power of two, of half as many complex numbers, else the sums as
// they are written.
class Transform {
  constructor(size) {
    this.size = size;
    this.cosines = Float64Array.from({ length: size }, (_, i) => Math.cos((2 * Math.PI * i) / size));
    this.sines = Float64Array.from({ length: size }, (_, i) => -Math.sin((2 * Math.PI * i) / size));
    this.output = new Float64Array((size >> 1) + 1);
    this.fast = size >= 8 && (size & (size - 1)) === 0;
    if (!this.fast) return;
    const points = size >> 1, bits = Math.log2(points);
    this.real = new Float64Array(points);
    this.imaginary = new Float64Array(points);
    // Where in the frame the pairs of samples lie that become the numbers of `real` and `imaginary`.
    this.order = Int32Array.from({ length: points }, (_, i) => {
      let reverse = 0;
      for (let bit = 0; bit < bits; bit++) reverse |= ((i >> bit) & 1) << (bits - 1 - bit);
      return 2 * reverse;
    });
  }

  // Squared magnitudes of the bins 0 to size / 2 of the frame from `start`, under a window; the next call overwrites
  // them.
  powers(samples, start, window) {
    if (this.fast) {
      this.#load(samples, start, window);
      for (let half = 4; half < this.size >> 1; half *= 2) this.#pass(half);
      this.#split();
    } else this.#sums(samples, start, window);
    return this.output;
  }

  // The windowed samples, two as one complex number, after the first two passes, whose factors are 1 and -i.
  #load(samples, start, window) {
    const { real, imaginary, order } = this;
    for (let i = 0; i < order.length; i += 4) {
      const a = order[i], b = order[i + 1], c = order[i + 2], d = order[i + 3];
      const ar = samples[start + a] * window[a], ai = samples[start + a + 1] * window[a + 1];
      const br = samples[start + b] * window[b], bi = samples[start + b + 1] * window[b + 1];
      const cr = samples[start + c] * window[c], ci = samples[start + c + 1] * window[c + 1];
      const dr = samples[start + d] * window[d], di = samples[start + d + 1] * window[d + 1];
      const pr = ar + br, pi = ai + bi, qr = ar - br, qi = ai - bi;
      const rr = cr + dr, ri = ci + di, sr = cr - dr, si = ci - di;
      real[i] = pr + rr;
      imaginary[i] = pi + ri;
      real[i + 1] = qr + si;
      imaginary[i + 1] = qi - sr;
      real[i + 2] = pr - rr;
      imaginary[i + 2] = pi - ri;
      real[i + 3] = qr - si;
      imaginary[i + 3] = qi + sr;
    }
  }

  // One radix-2 pass: transforms of `half` numbers to transforms of twice as many.
  #pass(half) {
    const { cosines, sines, real, imaginary, size } = this, points = size >> 1, step = points / half;
    for (let first = 0; first < points; first += 2 * half) {
      for (let a = first, turn = 0; a < first + half; a++, turn += step) {
        const b = a + half, c = cosines[turn], s = sines[turn], br = real[b], bi = imaginary[b];
        const re = br * c - bi * s, im = br * s + bi * c, ar = real[a], ai = imaginary[a];
        real[b] = ar - re;
        imaginary[b] = ai - im;
        real[a] = ar + re;
        imaginary[a] = ai + im;
      }
    }
  }

  // The transform of real samples out of that of their pairs, as squared magnitudes: bins k and points - k together.
  #split() {
    const { cosines, sines, real, imaginary, output } = this, points = real.length;
    output[0] = (real[0] + imaginary[0]) ** 2;
    output[points] = (real[0] - imaginary[0]) ** 2;
    for (let k = 1, m = points - 1; k <= m; k++, m--) {
      const er = real[k] + real[m], ei = imaginary[k] - imaginary[m];
      const or = imaginary[k] + imaginary[m], oi = real[m] - real[k];
      const re = or * cosines[k] - oi * sines[k], im = or * sines[k] + oi * cosines[k];
      output[k] = ((er + re) * (er + re) + (ei + im) * (ei + im)) / 4;
      output[m] = ((er - re) * (er - re) + (ei - im) * (ei - im)) / 4;
    }
  }

  #sums(samples, start, window) {
    const { size, cosines, sines, output } = this;
    for (let bin = 0; bin <= size >> 1; bin++) {
      let re = 0, im = 0;
      for (let i = 0; i < size; i++) {
        const sample = samples[start + i] * window[i], turn = (bin * i) % size;
        re += sample * cosines[turn];
        im += sample * sines[turn];
      }
      output[bin] = re * re + im * im;
    }
  }
}
