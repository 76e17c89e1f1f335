// A file to mono samples. Browsers decode to the rate of a context, with a filter of their own, so the file's own rate is
// looked for first; what gives none is decoded at 48 kHz, from where the model's rate is reached by `Resampler`.
import { Resampler } from "./resample.js";

const USUAL = 48000;
const OPPOSITE = -0.9;  // correlation of channels below which one is the other with the opposite sign

// Float32Array at `rate`. Throws where the browser reads no sound in the file.
export async function decodeFile(file, rate) {
  const bytes = await file.arrayBuffer(), own = rateOf(new Uint8Array(bytes));
  const context = new OfflineAudioContext(1, 1, own >= 8000 && own <= 96000 ? own : USUAL);
  const sound = await context.decodeAudioData(bytes);
  return new Resampler(sound.sampleRate, rate).push(mono(sound), true);
}

// Samples per second of WAV, FLAC and Ogg Vorbis; 0 for what is something else.
export function rateOf(bytes) {
  const view = new DataView(bytes.buffer), text = (at, size) => String.fromCharCode(...bytes.subarray(at, at + size));
  if (text(0, 4) === "fLaC" && bytes.length > 20) return (bytes[18] << 12) | (bytes[19] << 4) | (bytes[20] >> 4);
  if (text(0, 4) === "OggS" && text(29, 6) === "vorbis" && bytes.length > 44) return view.getUint32(40, true);
  if (text(0, 4) !== "RIFF") return 0;
  for (let at = 12; at + 16 <= bytes.length; at += 8 + view.getUint32(at + 4, true)) {
    if (text(at, 4) === "fmt ") return view.getUint32(at + 12, true);
  }
  return 0;
}

// The mean of the channels, with inverted ones turned back, as edgecap.audio.samples makes it.
function mono(sound) {
  const channels = Array.from({ length: sound.numberOfChannels }, (_, i) => sound.getChannelData(i));
  if (channels.length === 1) return channels[0];
  const product = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);
  const energies = channels.map((channel) => product(channel, channel));
  const loudest = energies.indexOf(Math.max(...energies)), mixed = new Float32Array(sound.length);
  channels.forEach((channel, i) => {
    const opposite = product(channel, channels[loudest]) < OPPOSITE * Math.sqrt(energies[i] * energies[loudest]);
    for (let at = 0; at < mixed.length; at++) mixed[at] += (opposite ? -1 : 1) * channel[at] / channels.length;
  });
  return mixed;
}
