// A file that was dropped or chosen, or a recording of this browser's microphone, and its captions with their beams.
// `ask` makes the captions: it gives documents as the server's answer to /caption has them, a line each.
import { beams, byId, loudness, make, percent, show, span, sure } from "./dom.js";
import { refusal } from "./microphone.js";
import { Recorder } from "./recorder.js";

const MOST = 64 * 2 ** 20;
const SECONDS = 5;

export class Sounds {
  #recorder = null;
  #busy = false;

  constructor(media, ask = fromServer) {
    this.ask = ask;
    const drop = byId("drop"), file = byId("file");
    if (media) {  // what phones record
      file.accept = "audio/*,video/mp4,video/webm,.m4a,.aac,.webm,.mp4,.opus";
      show("file-note", "wav, flac, ogg, opus, mp3, m4a, webm and others, at most 64 MiB");
    }
    file.addEventListener("change", async () => {
      if (file.files[0]) await this.send(file.files[0], file.files[0].name);
      file.value = "";  // so that the same file can be chosen again
    });
    for (const kind of ["dragover", "dragleave", "drop"]) {
      // The whole page accepts a file, so that one dropped beside the frame does not replace the page.
      document.addEventListener(kind, (event) => {
        event.preventDefault();
        drop.classList.toggle("over", kind === "dragover");
        const dropped = kind === "drop" && event.dataTransfer.files[0];
        if (dropped) this.send(dropped, dropped.name);
      });
    }
    byId("record").addEventListener("click", () => this.#record());
    if (!navigator.mediaDevices) {
      byId("record").disabled = true;
      show("record-note", "Browsers give their microphone only to https and to localhost. Open the page on the machine "
        + "that runs edgecap, or through a proxy with https.");
    }
  }

  async send(body, name) {
    if (this.#busy) return show("progress", "One sound at a time: another is being captioned.");
    if (body.size > MOST) return show("progress", `${name} is larger than 64 MiB; type: edgecap caption FILE`);
    this.#busy = true;
    show("progress", `Captioning ${name} …`);
    try {
      await this.#captions(body, name);
    } catch {
      show("progress", `${name} could not be sent; is edgecap still running?`);
    } finally {
      this.#busy = false;
    }
  }

  async #captions(body, name) {
    const list = make("ol", { class: "list" }), texts = [];
    let problem = "";
    for await (const caption of this.ask(body, name)) {
      if (caption.error || caption.note) { problem = caption.error ?? caption.note; continue; }
      if (texts.length === 0) byId("captions").prepend(make("li", {}, make("h3", {}, name), list));
      texts.push(caption.text);
      list.append(row(caption));
    }
    show("progress", problem || (texts.length === 1 ? `${name}: ${texts[0]}` : `${name}: ${texts.length} captions`));
  }

  async #record() {
    if (this.#recorder) return this.#recorder.stop();
    const button = byId("record");
    let wav = null;
    try {
      this.#recorder = new Recorder();
      show("progress", "Waiting for the microphone …");
      wav = await this.#recorder.record(SECONDS, (left) => {
        if (left === SECONDS) {
          button.textContent = "Stop recording";
          show("progress", "Recording …");
        }
        show("left", `${left.toFixed(0)} s left`);
      });
    } catch (error) {
      show("progress", refusal(error));
    } finally {
      this.#recorder = null;
      button.textContent = `Record ${SECONDS} seconds`;
      show("left", "");
    }
    if (wav) await this.send(wav, "recording");
  }
}

async function* fromServer(body, name) {
  const answer = await fetch(`caption?name=${encodeURIComponent(name)}`,
    { method: "POST", body, headers: { "Content-Type": "application/octet-stream" } });
  if (!answer.ok) {
    const { error } = await answer.json().catch(() => ({}));
    yield { error: error ?? `${name} was refused by a proxy on the way, with status ${answer.status}.` };
    return;
  }
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ""; ;) {
    const { value, done } = await reader.read();
    const lines = (rest + (value ?? "")).split("\n");
    rest = lines.pop();
    for (const line of lines) yield JSON.parse(line);
    if (done) return;
  }
}

function row(caption) {
  const part = caption.start > 0 || caption.end < caption.duration - 0.01
    ? [make("time", {}, `${span(caption.start)} to ${span(caption.end)}`)] : [];
  const facts = caption.silent ? "so quiet that the model did not run"
    : `${loudness(caption.level_dbfs)} · confidence ${caption.confidence == null ? percent(caption.score) : sure(caption)}`;
  return make("li", {}, ...part, make("span", { class: "text" }, caption.text), make("span", { class: "more" }, facts),
    ...(caption.beams.length ? [make("ol", { class: "beams", "aria-label": "Candidates with their confidence" },
      ...beams(caption.beams))] : []));
}
