// The microphone live: a caption of the last window every HOP seconds, events of captions that say the same, and the
// columns of the picture. It gives events and statuses as the live page's server does.
import { FrontEnd, loudestLevel } from "./frontend.js";
import { openMicrophone } from "./microphone.js";
import { Resampler } from "./resample.js";

const HOP = 2;
const FIRST = 1;  // seconds before the first caption
const SAME = 0.5;  // share of words from which two captions are of one event
const GROUP = 3;  // frames of a column, as edgecap.web.spectrum has it
const LOWEST = -45, HIGHEST = 30;  // decibels of a byte of 0 and of 255

export class Listener {
  #microphone = null;
  #busy = false;
  #event = null;
  #count = 0;

  // `show` has functions for what is heard: change(event), status(status), sound(sound).
  constructor(model, show) {
    Object.assign(this, { model, show, frontEnd: new FrontEnd(model.manifest.front_end) });
    this.rate = model.manifest.front_end.sample_rate;
    this.window = (model.manifest.encoder.window_frames - 1) * model.manifest.front_end.hop_length;
    this.picture = { bands: this.frontEnd.constants.n_mels,
      column_seconds: (GROUP * this.frontEnd.constants.hop_length) / this.rate };
  }

  // Throws what the browser gives where the microphone may or can not be used.
  async start(lost) {
    Object.assign(this, { resampler: null, heard: 0, due: FIRST * this.rate, samples: new Float32Array(0),
      rest: new Float32Array(0), beams: [], gate: false, since: now(), began: Date.now() });
    this.#microphone = await openMicrophone((block, rate) => this.#take(block, rate), lost);
  }

  async stop() {
    await this.#microphone?.close();
    this.#microphone = null;
    this.#end();
  }

  #take(block, rate) {
    this.resampler ??= new Resampler(rate, this.rate);
    const samples = this.resampler.push(block), level = samples.length ? loudestLevel(samples, this.rate) : -120;
    this.samples = joined(this.samples, samples).slice(-this.window);
    this.heard += samples.length;
    this.#columns(samples, level);
    if (this.heard >= this.due && !this.#busy) this.#caption();
    this.#status(level);
  }

  async #caption() {
    this.due = this.heard + HOP * this.rate;
    this.#busy = true;
    const end = this.heard / this.rate;
    try {
      const recent = loudestLevel(this.samples.subarray(-HOP * this.rate), this.rate);
      const sounds = recent >= this.model.manifest.silence.threshold_dbfs;
      if (sounds !== this.gate) this.since = now();
      this.gate = sounds;
      if (!sounds) {
        this.beams = [];
        return this.#end();
      }
      const caption = await this.model.caption(this.samples);
      if (!this.#microphone || caption.silent) return undefined;
      this.beams = caption.beams;
      this.#tell(caption, end);
    } finally {
      this.#busy = false;
    }
    return undefined;
  }

  // A caption that shares its words with the event that goes on is one more of it; the surest gives the text.
  #tell({ text, score, level_dbfs }, end) {
    if (this.#event && alike(this.#event.text, text) < SAME) this.#end();
    const before = this.#event ?? { id: ++this.#count, source: "", start: Math.max(0, end - HOP), open: true,
      began: at(this.began + 1000 * Math.max(0, end - HOP)), text, score, level_dbfs };
    const better = score > before.score ? { text, score } : {};
    const confidence = Math.exp(Math.max(score, before.score));
    this.#event = { ...before, ...better, confidence, end, ended: at(this.began + 1000 * end),
      level_dbfs: Math.max(level_dbfs, before.level_dbfs) };
    this.show.change(this.#event);
  }

  #end() {
    if (this.#event) this.show.change({ ...this.#event, open: false });
    this.#event = null;
  }

  #status(level) {
    this.show.status({ number: 0, source: "", fault: "", kept: "", since: this.since, gate: this.gate, level,
      beams: this.beams });
  }

  #columns(samples, level) {
    const { n_fft, hop_length, n_mels, compression, power, amin, log_offset } = this.frontEnd.constants;
    this.rest = joined(this.rest, samples);
    const frames = Math.max(0, Math.floor((this.rest.length - n_fft) / hop_length) + 1);
    const columns = Math.floor(frames / GROUP);
    if (columns === 0) return;
    const energies = this.frontEnd.energies(this.rest);
    this.rest = this.rest.slice(columns * GROUP * hop_length);
    const decibels = (energy) => compression === "log" ? (power === 1 ? 20 : 10) * Math.log10(energy + log_offset)
      : 10 * Math.log10(Math.max(energy, amin));
    const bytes = Uint8ClampedArray.from({ length: columns * n_mels }, (_, i) => {
      const column = Math.floor(i / n_mels), band = i % n_mels;
      let sum = 0;
      for (let frame = 0; frame < GROUP; frame++) sum += decibels(energies[(column * GROUP + frame) * n_mels + band]);
      return ((sum / GROUP - LOWEST) * 255) / (HIGHEST - LOWEST);
    });
    const end = (this.heard - this.rest.length) / this.rate;
    this.show.sound({ source: "", at: end, level, columns: btoa(String.fromCharCode(...bytes)) });
  }
}

function joined(a, b) {
  const both = new Float32Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}

// Share of the words of two captions that they have in common.
export function alike(one, other) {
  const [a, b] = [new Set(one.split(" ")), new Set(other.split(" "))];
  return [...a].filter((word) => b.has(word)).length / new Set([...a, ...b]).size;
}

// Local time as ISO 8601 without a zone, as the live page has it.
const at = (milliseconds) => new Date(milliseconds - 60000 * new Date(milliseconds).getTimezoneOffset())
  .toISOString().slice(0, 23);
const now = () => at(Date.now());
