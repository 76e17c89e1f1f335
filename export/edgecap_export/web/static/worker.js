// The model in a thread of its own, so that the page never waits for it. It answers messages { id, kind, … }.
import * as ort from "./ort/onnxruntime-web.js";
import { Captioner } from "./captioner.js";

let captioner = null;

const kinds = {
  async load({ threads }) {
    ort.env.wasm.numThreads = globalThis.crossOriginIsolated ? threads : 1;
    ort.env.wasm.wasmBinary = await unpacked("ort/onnxruntime-web.bin");
    const [manifest, vocabulary] = await Promise.all(["manifest", "vocabulary"].map(
      async (name) => JSON.parse(new TextDecoder().decode(await bytes(`model/${name}.json`)))));
    const [encode, decode] = await Promise.all(["encode", "decode"].map(async (name) =>
      new Uint8Array(await bytes(`model/${name}.onnx`))));
    captioner = await Captioner.load(ort, manifest, vocabulary, { encode, decode }, { executionProviders: ["wasm"] });
    return { manifest, threads: ort.env.wasm.numThreads };
  },
  async caption({ samples }) {
    const began = performance.now(), caption = await captioner.caption(samples);
    return { ...caption, seconds: (performance.now() - began) / 1000 };
  },
  windows({ length }) {
    return captioner.windows(length);
  },
};

// One message after the other: the session runs one graph at a time.
let last = Promise.resolve();
addEventListener("message", ({ data }) => {
  last = last.then(async () => {
    try {
      postMessage({ id: data.id, result: await kinds[data.kind](data) });
    } catch (error) {
      postMessage({ id: data.id, error: String(error?.message ?? error) });
    }
  });
});

async function bytes(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(`${path}: status ${answer.status}`);
  return answer.arrayBuffer();
}

// A file that the export compressed, since not every server does; one that a server unpacked is taken as it is.
async function unpacked(path) {
  const packed = await bytes(path), start = new Uint8Array(packed, 0, 2);
  if (start[0] !== 0x1f || start[1] !== 0x8b) return packed;
  return new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}
