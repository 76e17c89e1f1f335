// A few seconds of the microphone as a WAV file.
import { openMicrophone } from "./microphone.js";

export class Recorder {
  #end = () => {};

  stop() {
    this.#end();
  }

  async record(seconds, tick) {
    const blocks = [];
    const microphone = await openMicrophone((block, rate) => {
      blocks.push(block);
      if (blocks.length * block.length >= seconds * rate) this.#end();
    });
    try {
      tick(seconds);
      let left = seconds;
      const timer = setInterval(() => tick(Math.max(0, --left)), 1000);
      await new Promise((done) => { this.#end = done; });
      clearInterval(timer);
      return wav(blocks, microphone.rate);
    } finally {
      await microphone.close();
    }
  }
}

// RIFF WAVE, 16-bit PCM, mono.
function wav(blocks, rate) {
  const length = blocks.reduce((sum, block) => sum + block.length, 0);
  const view = new DataView(new ArrayBuffer(44 + 2 * length));
  const text = (place, word) => [...word].forEach((sign, i) => view.setUint8(place + i, sign.charCodeAt(0)));
  text(0, "RIFF"); view.setUint32(4, 36 + 2 * length, true); text(8, "WAVEfmt ");
  view.setUint32(16, 16, true); view.setUint16(20, 1, true); view.setUint16(22, 1, true);
  view.setUint32(24, rate, true); view.setUint32(28, 2 * rate, true); view.setUint16(32, 2, true);
  view.setUint16(34, 16, true); text(36, "data"); view.setUint32(40, 2 * length, true);
  let place = 44;
  for (const block of blocks) {
    for (const sample of block) {
      view.setInt16(place, Math.max(-1, Math.min(1, sample)) * 32767, true);
      place += 2;
    }
  }
  return new Blob([view], { type: "audio/wav" });
}
