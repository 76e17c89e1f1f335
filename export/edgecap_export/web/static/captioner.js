// Samples of one window to its caption, by the two ONNX graphs of a bundle. `ort` is onnxruntime-web or onnxruntime-node:
// the caller gives it, so that this runs in a browser's worker and under Node.
import { FrontEnd, loudestLevel } from "./frontend.js";
import { beamSearch, sentence } from "./search.js";

const SHORTEST_TAIL = 1;  // seconds at the end of a long sound that are captioned if no window had them

export class Captioner {
  // `graphs` are the contents of the files of the roles "encode" and "decode", `vocabulary` the list of words.
  static async load(ort, manifest, vocabulary, graphs, options = {}) {
    const open = (graph) => ort.InferenceSession.create(graph, options);
    return new Captioner(ort, manifest, vocabulary, await open(graphs.encode), await open(graphs.decode));
  }

  constructor(ort, manifest, vocabulary, encoder, decoder) {
    Object.assign(this, { ort, manifest, vocabulary, encoder, decoder, frontEnd: new FrontEnd(manifest.front_end) });
    const { n_fft, hop_length } = manifest.front_end, { window_frames, frames_per_memory } = manifest.encoder;
    this.rate = manifest.front_end.sample_rate;
    this.longest = (window_frames - 1) * hop_length;  // samples of a window
    this.shortest = Math.max((frames_per_memory - 1) * hop_length, (n_fft >> 1) + 1);
  }

  // Beginning and end of the windows of a sound, in samples, as `edgecap caption` cuts them.
  windows(length) {
    const cut = [];
    for (let start = 0; start < length; start += this.longest) {
      const end = Math.min(length, start + this.longest);
      if (start === 0 || end - start >= Math.min(this.longest, SHORTEST_TAIL * this.rate)) cut.push([start, end]);
    }
    return cut;
  }

  // The caption of at most one window: Float32Array in [-1, 1], mono, at `rate`.
  async caption(samples, beam = this.manifest.decoder.default_beam) {
    const { manifest, vocabulary } = this, level = loudestLevel(samples, this.rate);
    if (level < manifest.silence.threshold_dbfs) {
      return { text: manifest.silence.caption, score: null, level_dbfs: level, silent: true, beams: [] };
    }
    const memory = await this.encode(samples);
    const { max_tokens: maxTokens, search } = manifest.decoder, { start, end } = manifest.vocabulary;
    const hypotheses = search === "in-graph"
      ? await this.#search(memory, beam) : await beamSearch(this.#decode(memory, beam), { beam, maxTokens, start, end });
    const beams = hypotheses.slice(0, beam).map(({ tokens, score }) =>
      ({ text: sentence(tokens, vocabulary, manifest.vocabulary), score, tokens }));
    return { text: beams[0].text, score: beams[0].score, level_dbfs: level, silent: false, beams };
  }

  // What the decoder needs of a window: { cross_keys, cross_values, memory_length }.
  async encode(samples) {
    const { encoder } = this.manifest, { n_mels } = this.manifest.front_end, columns = encoder.window_frames;
    const clip = new Float32Array(Math.max(samples.length, this.shortest));
    clip.set(samples);
    const frames = this.frontEnd.frames(clip.length);
    const length = Math.min(encoder.memory_frames, Math.max(1, Math.floor(frames / encoder.frames_per_memory)));
    const memory_length = this.#integers([length]), mel = this.frontEnd.logMel(clip, columns);
    const log_mel = new this.ort.Tensor("float32", mel, [1, n_mels, columns]);
    const { cross_keys, cross_values } = await this.encoder.run({ log_mel, memory_length });
    return { cross_keys, cross_values, memory_length };
  }

  // The hypotheses { tokens, score } of a graph that searches by itself, best first.
  async #search({ cross_keys, cross_values, memory_length }, beam) {
    const { max_tokens } = this.manifest.decoder, { end } = this.manifest.vocabulary;
    const clip = (memory) => new this.ort.Tensor("float32", memory.data, [1, ...memory.dims]);
    const { tokens, scores } = await this.decoder.run({
      memory_length, beams: this.#integers([beam]), cross_keys: clip(cross_keys), cross_values: clip(cross_values),
    });
    const rows = Array.from(scores.data, (score, row) => {
      const all = Array.from(tokens.data.subarray(row * max_tokens, (row + 1) * max_tokens), Number);
      return { tokens: all.slice(0, (all.indexOf(end) + 1) || max_tokens), score };
    }).filter(({ score }) => Number.isFinite(score));  // minus infinity: fewer captions than beams
    if (!rows.length) throw new Error("the decoder gives log-probabilities that are not numbers");
    return rows;
  }

  // One step of the decoder, as `beamSearch` wants it. A graph that is fixed to more beams gets copies of the last one.
  #decode(memory, beam) {
    const { layers, heads, head_dim, max_tokens, beams } = this.manifest.decoder, rows = beams || beam;
    if (beam > rows) throw new RangeError(`this model's decoder takes at most ${rows} beams, not ${beam}`);
    const shape = [layers, rows, heads, max_tokens, head_dim], row = heads * max_tokens * head_dim;
    const filled = (values) => Array.from({ length: rows }, (_, i) => values[Math.min(i, beam - 1)]);
    let keys = new Float32Array(layers * rows * row), values = keys;
    return async (tokens, position, parents) => {
      const order = filled(parents);
      if (position > 0) [keys, values] = [keys, values].map((cache) => reordered(cache, order, layers, row));
      const answer = await this.decoder.run({
        ...memory,
        tokens: this.#integers(filled(tokens)),
        position: this.#integers([position]),
        self_keys: new this.ort.Tensor("float32", keys, shape),
        self_values: new this.ort.Tensor("float32", values, shape),
      });
      keys = answer.new_self_keys.data;
      values = answer.new_self_values.data;
      return answer.log_probs.data.subarray(0, beam * this.manifest.vocabulary.size);
    };
  }

  #integers(values) {
    return new this.ort.Tensor("int64", BigInt64Array.from(values, BigInt), [values.length]);
  }
}

// A cache (layers, rows, …) whose row i is the row order[i] of the one given.
function reordered(cache, order, layers, row) {
  if (order.every((from, to) => from === to)) return cache;
  const changed = new Float32Array(cache.length);
  for (let layer = 0; layer < layers; layer++) {
    order.forEach((from, to) => {
      const start = (layer * order.length + from) * row;
      changed.set(cache.subarray(start, start + row), (layer * order.length + to) * row);
    });
  }
  return changed;
}
