// Teaching: a sound becomes an example of one that edgecap will name.
import { byId, make, many, post, show, span } from "./dom.js";
import { drawn } from "./drawing.js";

// `example` gives the fields by which the server knows the sound; `learnt` is called with what to say once it is.
export function teachForm(example, learnt) {
  const field = make("input", { type: "text", maxlength: "60", required: "", autocomplete: "off", dir: "auto",
    placeholder: "our doorbell" });
  const more = make("input", { type: "checkbox" }), said = make("p", { role: "status" });
  const button = make("button", { type: "submit" }, "Teach");
  const form = make("form", {}, make("label", { class: "wide" }, "Teach edgecap: this is ", field),
    make("label", {}, more, " one more example of it"), button);
  form.addEventListener("submit", async (submit) => {
    submit.preventDefault();
    button.disabled = true;
    said.textContent = "Learning…";
    const lesson = await post("teach", { ...example(), name: field.value, more: more.checked });
    button.disabled = false;
    said.textContent = lesson.error ?? [`Learnt “${lesson.name}” from ${many(lesson.examples, "example")};`
      + " recognised from now on.", ...lesson.notes].join(" ");
    if (!lesson.error) learnt?.(said.textContent);
  });
  return make("div", {}, form, said);
}

// The last ten seconds of a microphone: taken aside on the server, shown, narrowed, and taught or discarded.
export class Recent {
  constructor() {
    byId("recent").hidden = false;
    byId("take").addEventListener("click", () => this.#take());
  }

  async #take() {
    const source = byId("source").value, taken = await post("take", { source });
    if (taken.error) return show("take-said", taken.error);
    show("take-said", "");
    const second = (label, value) => {
      const field = make("input", { type: "number", min: "0", max: taken.seconds, step: "0.1", value, required: "" });
      return [field, make("label", {}, `${label} `, field)];
    };
    const all = taken.seconds.toFixed(1), [from, fromLabel] = second("From second", "0.0"), [to, toLabel] = second("to", all);
    const { frame, mark } = drawn(taken, `Spectrogram of the last ${span(taken.seconds)} of ${source}`);
    const limit = () => mark(Number(from.value), Math.max(Number(from.value), Number(to.value)));
    for (const field of [from, to]) field.addEventListener("input", limit);
    limit();
    const close = (words) => {
      byId("taken").replaceChildren();
      show("take-said", words);
      byId("take").focus();
    };
    const form = teachForm(() => ({ taken: taken.taken, from: Number(from.value), to: Number(to.value) }), close);
    const discard = make("button", { type: "button" }, "Discard");
    discard.addEventListener("click", () => {
      post("drop", { taken: taken.taken });
      close("Discarded.");
    });
    byId("taken").replaceChildren(make("div", { class: "panel", role: "group", "aria-label": "What was just heard" },
      make("figure", {}, frame), make("div", { class: "row" }, fromLabel, toLabel, discard), form));
    form.querySelector("input").focus();
  }
}
