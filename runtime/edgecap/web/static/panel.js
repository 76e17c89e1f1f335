// What can be done with the kept sound of an event: it is heard, seen as a spectrogram, and said what it was.
import { get, make, post, span } from "./dom.js";
import { drawn } from "./drawing.js";
import { teachForm } from "./teach.js";

// What stands below the sound, each a function of the event and of what it calls with a new label: add others here.
const ACTIONS = [labelForm, (event) => teachForm(() => named(event))];

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
  const head = make("span", { class: "head" }), words = make("figcaption"), figure = make("figure");
  get("picture", new URLSearchParams(named(event))).then((picture) => {
    if (!picture) return figure.replaceWith(make("p", { class: "more" }, "There is no picture of this sound."));
    const { seconds, start, end } = picture, { canvas, frame, mark, place } = drawn(picture, `Spectrogram of ${about}`);
    frame.append(head);
    figure.append(frame, words);
    mark(start, end);
    words.textContent = `${span(seconds)} of sound. The event lies between the lines, from ${span(start)} to `
      + `${span(Math.min(end, seconds))}.`;
    audio.addEventListener("timeupdate", () => { head.style.left = place(audio.currentTime); });
    canvas.addEventListener("click", (at) => { audio.currentTime = seconds * at.offsetX / canvas.clientWidth; });
  });
  return figure;
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
