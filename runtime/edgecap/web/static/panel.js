// What can be done with the kept sound of an event: it is heard, seen as a spectrogram, and said what it was.
import { get, make, span } from "./dom.js";
import { palette } from "./palette.js";

// What stands below the sound, each a function of the event and of what it calls with a new label: add others here.
const ACTIONS = [labelForm, teachForm];

export function panel(event, about, labelled) {
  const audio = make("audio", { controls: "", src: `sound?name=${encodeURIComponent(event.sound)}`,
    "aria-label": `The sound of ${about}` });
  audio.addEventListener("error", () => audio.replaceWith(make("span", { role: "status", class: "more" },
    "This sound is no longer kept, or the browser cannot play FLAC.")));
  return make("div", { class: "panel", role: "group", "aria-label": `The sound of ${about}` },
    audio, spectrogram(event, about, audio), ...ACTIONS.map((action) => action(event, labelled)));
}

// How the server knows an event.
const named = ({ began, source }) => ({ began, source });

function spectrogram(event, about, audio) {
  const canvas = make("canvas", { role: "img", "aria-label": `Spectrogram of ${about}` });
  const part = make("span", { class: "part" }), head = make("span", { class: "head" }), words = make("figcaption");
  const figure = make("figure", {}, make("div", {}, canvas, part, head), words);
  get("picture", new URLSearchParams(named(event))).then((picture) => {
    if (!picture) return figure.replaceWith(make("p", { class: "more" }, "There is no picture of this sound."));
    const { seconds, start, end } = picture, place = (at) => `${(100 * Math.min(1, at / seconds)).toFixed(2)}%`;
    draw(canvas, picture);
    follow(canvas, () => draw(canvas, picture));
    part.style.left = place(start);
    part.style.right = `calc(100% - ${place(end)})`;
    words.textContent = `${span(seconds)} of sound. The event lies between the lines, from ${span(start)} to `
      + `${span(Math.min(end, seconds))}.`;
    audio.addEventListener("timeupdate", () => { head.style.left = place(audio.currentTime); });
    canvas.addEventListener("click", (at) => { audio.currentTime = seconds * at.offsetX / canvas.clientWidth; });
  });
  return figure;
}

// Draws again in other colours, for as long as the canvas is on the page.
function follow(canvas, again) {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const changed = () => (canvas.isConnected ? again() : dark.removeEventListener("change", changed));
  dark.addEventListener("change", changed);
}

function draw(canvas, { columns, bands }) {
  const values = Uint8Array.from(atob(columns), (sign) => sign.charCodeAt(0)), { table } = palette();
  const width = Math.max(1, values.length / bands), image = new ImageData(width, bands);
  const pixels = new Uint32Array(image.data.buffer);
  values.forEach((value, i) => { pixels[(bands - 1 - i % bands) * width + Math.floor(i / bands)] = table[value]; });
  canvas.width = width;
  canvas.height = bands;
  canvas.getContext("2d").putImageData(image, 0, 0);
}

function labelForm(event, labelled) {
  const field = make("input", { type: "text", maxlength: "200", required: "", autocomplete: "off",
    value: event.label || event.text });
  const back = make("button", { type: "button" }, "Remove the label"), said = make("p", { role: "status" });
  const form = make("form", {}, make("label", { class: "wide" }, "It was ", field),
    make("button", { type: "submit" }, "Save"), back);
  back.hidden = !event.label;
  const send = async (text) => {
    const saved = await post("label", { ...named(event), text });
    if (saved.error) {
      said.textContent = saved.error;
      return;
    }
    back.hidden = !saved.label;
    labelled(saved.label);
    said.textContent = saved.label ? `Saved with its sound in ${saved.folder}, where both stay until you delete them.`
      : "The label and the copy of its sound are removed.";
  };
  form.addEventListener("submit", (submit) => { submit.preventDefault(); send(field.value); });
  back.addEventListener("click", () => { send(""); field.focus(); });
  return make("div", {}, form, said);
}

// The sound becomes an example of one that edgecap will name.
function teachForm(event) {
  const field = make("input", { type: "text", maxlength: "60", required: "", autocomplete: "off",
    placeholder: "our doorbell" });
  const more = make("input", { type: "checkbox" }), said = make("p", { role: "status" });
  const button = make("button", { type: "submit" }, "Teach");
  const form = make("form", {}, make("label", { class: "wide" }, "Teach edgecap: this is ", field),
    make("label", {}, more, " one more example of it"), button);
  form.addEventListener("submit", async (submit) => {
    submit.preventDefault();
    button.disabled = true;
    said.textContent = "Learning…";
    const learnt = await post("teach", { ...named(event), name: field.value, more: more.checked });
    button.disabled = false;
    said.textContent = learnt.error ?? [`Learnt “${learnt.name}” from ${learnt.examples}`
      + ` example${learnt.examples === 1 ? "" : "s"}; recognised from now on.`, ...learnt.notes].join(" ");
  });
  return make("div", {}, form, said);
}

// The server's answer, or an error that can be shown.
async function post(path, fields) {
  const answer = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" },
    body: JSON.stringify(fields) }).catch(() => null);
  const saved = await answer?.json().catch(() => null);
  return answer?.ok && saved ? saved : { error: saved?.error ?? "This could not be saved; is edgecap still running?" };
}
