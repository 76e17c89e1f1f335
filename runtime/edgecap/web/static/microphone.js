// The microphone's samples in blocks, without the browser's voice filters. `take` gets each block with its rate, `ended` is
// called where the system takes the microphone away. Throws what the browser gives where it may or can not be used.
export async function openMicrophone(take, ended = () => {}) {
  const stream = await navigator.mediaDevices.getUserMedia(
    { audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false } });
  const context = new AudioContext();
  const close = async () => {
    for (const track of stream.getTracks()) track.stop();
    await context.close();
  };
  try {
    await context.audioWorklet.addModule("worklet.js");
    const node = new AudioWorkletNode(context, "taker", { numberOfOutputs: 1, channelCount: 1 });
    node.port.onmessage = (message) => take(message.data, context.sampleRate);
    context.createMediaStreamSource(stream).connect(node).connect(context.destination);  // it writes silence there
    for (const track of stream.getTracks()) track.addEventListener("ended", ended);
    await context.resume();
  } catch (error) {
    await close();
    throw error;
  }
  return { rate: context.sampleRate, close };
}

// Why the microphone cannot be used, as a sentence.
export function refusal(error) {
  return error.name === "NotAllowedError" ? "The browser was not allowed to use the microphone."
    : `The microphone cannot be used (${error.message}).`;
}
