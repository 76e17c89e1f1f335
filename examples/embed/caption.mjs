// A wav to a sentence under Node, with onnxruntime-node and the modules of the web page: captioner.js, frontend.js and
// search.js, which `edgecap export --web` writes and which lie beside this file. Each has one step of BUNDLE.md.
//
//     npm install onnxruntime-node
//     node caption.mjs BUNDLE SOUND.wav [--tokens]      one line for each ten seconds
import { readFileSync } from "node:fs";
import { join } from "node:path";
import * as ort from "onnxruntime-node";
import { Captioner } from "./captioner.js";

// Mono samples in [-1, 1], Float32Array, of a wav with 16 bits and the model's rate.
function readWav(path, rate) {
  const bytes = readFileSync(path);
  let channels = 0, format = "", data = bytes.subarray(0, 0);
  for (let at = 12, size; at + 8 <= bytes.length; at += 8 + size + (size % 2)) {
    const name = bytes.toString("latin1", at, at + 4), body = at + 8;
    size = bytes.readUInt32LE(at + 4);
    if (name === "data") data = bytes.subarray(body, body + size);
    if (name !== "fmt ") continue;
    channels = bytes.readUInt16LE(body + 2);
    format = `${bytes.readUInt16LE(body + 14)} bits at ${bytes.readUInt32LE(body + 4)} Hz`;
  }
  if (format !== `16 bits at ${rate} Hz`) {
    const command = `ffmpeg -i ${path} -ar ${rate} -c:a pcm_s16le other.wav`;
    throw new Error(`${path} is not 16 bits at ${rate} Hz; type: ${command}`);
  }
  return Float32Array.from({ length: Math.floor(data.length / (2 * channels)) }, (_, frame) => {
    let sum = 0;
    for (let channel = 0; channel < channels; channel++) sum += data.readInt16LE(2 * (frame * channels + channel));
    return sum / channels / 32768;
  });
}

async function main(bundle, sound, ...options) {
  const manifest = JSON.parse(readFileSync(join(bundle, "manifest.json"), "utf8"));
  const read = (role) => readFileSync(join(bundle, manifest.files.find((file) => file.role === role).name));
  const graphs = { encode: read("encode"), decode: read("decode") };
  const captioner = await Captioner.load(ort, manifest, JSON.parse(read("vocabulary")), graphs);
  const samples = readWav(sound, captioner.rate);
  for (const [start, end] of captioner.windows(samples.length)) {
    const { text, beams } = await captioner.caption(samples.subarray(start, end));
    console.log(options.includes("--tokens") && beams.length ? beams[0].tokens.join(" ") : text);
  }
}

main(...process.argv.slice(2)).catch((error) => {
  console.error(error.message);
  process.exitCode = 1;
});
