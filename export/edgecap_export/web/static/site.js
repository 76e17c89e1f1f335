// The page without a server: the model, sounds that are dropped, and the microphone, all in this browser.
import { byId, show } from "./dom.js";
import { decodeFile } from "./decode.js";
import { Listener } from "./listener.js";
import { refusal } from "./microphone.js";
import { Model, missing } from "./model.js";
import { Now } from "./now.js";
import { Picture } from "./picture.js";
import { row } from "./row.js";
import { Sounds } from "./sounds.js";

const MOST_EVENTS = 200;

function problem(text) {
  byId("problem").hidden = !text;
  show("problem", text);
}

// Resolves when everything is kept for use without a network, so that it is downloaded once; at once where the browser
// keeps nothing (a private window, or an address without https), or where a file is not as it was exported.
async function kept() {
  const workers = navigator.serviceWorker;
  if (!workers || workers.controller) return;
  try {
    const { active, installing } = await workers.register("sw.js");
    if (active || !installing) return;
    await new Promise((done) => {
      workers.addEventListener("controllerchange", done, { once: true });
      installing.addEventListener("statechange", () => { if (installing.state === "redundant") done(); });
    });
  } catch {
    // the page works without it
  }
}

async function* captions(model, file, name) {
  const rate = model.manifest.front_end.sample_rate;
  let samples = new Float32Array(0);
  try {
    samples = await decodeFile(file, rate);
  } catch {
    // told below
  }
  if (samples.length === 0) {
    yield { error: `${name} has no sound that this browser can read; try it as wav, flac, ogg or mp3.` };
    return;
  }
  const duration = samples.length / rate;
  for (const [start, end] of await model.windows(samples.length)) {
    try {
      const caption = await model.caption(samples.slice(start, end));
      yield { ...caption, start: start / rate, end: end / rate, duration };
    } catch (error) {
      yield { error: `${name} could not be captioned (${error.message}); reload the page and try again.` };
      return;
    }
  }
}

function listening(model) {
  const now = new Now(), events = new Map(), button = byId("start");
  let listener = null, picture = null;
  const stop = async (reason = "") => {
    const before = listener;
    listener = null;
    button.textContent = "Listen";
    show("connection", "ready");
    problem(reason);
    await before?.stop();
    byId("now").hidden = true;
  };
  const view = {
    change(event) {
      now.take(event);
      picture.take(event);
      const item = row(event, []);
      if (events.has(event.id)) events.get(event.id).replaceWith(item);
      else byId("heard-list").prepend(item);
      events.set(event.id, item);
      for (const [id, old] of events) if (events.size > MOST_EVENTS) { old.remove(); events.delete(id); }
      byId("heard").hidden = false;
    },
    status(status) { now.status(status); picture.status(status); },
    sound(sound) { picture.sound(sound); },
  };
  button.addEventListener("click", async () => {
    if (listener) return stop();
    problem("");
    show("connection", "waiting for the microphone …");
    for (const id of ["now", "picture"]) byId(id).hidden = false;
    listener = new Listener(model, view);
    picture ??= new Picture(listener.picture);
    button.textContent = "Stop listening";
    try {
      await listener.start(() => stop("The microphone is gone; connect it and listen again."));
      now.connected(true);
      show("connection", "listening");
    } catch (error) {
      byId("picture").hidden = events.size === 0;
      await stop(`${refusal(error)} Allow it in the browser's settings of this page, or drop a sound file below.`);
    }
    return undefined;
  });
  button.disabled = !navigator.mediaDevices;
  if (!navigator.mediaDevices) show("listen-note", "Browsers give their microphone only to https and to localhost.");
}

async function begin() {
  document.title = "edgecap in this browser";
  const reason = missing();
  if (reason) return problem(reason);
  show("connection", "getting the model, once …");
  await kept();
  show("connection", "loading the model …");
  const loading = performance.now();
  let model = null;
  try {
    model = await new Model().load();
  } catch (error) {
    show("connection", "no model");
    return problem(`The model does not load (${error.message}). Reload the page; if that does not help, export it again.`);
  }
  const { name, licence } = model.manifest;
  show("model", `Model ${name} (${licence.name}). No sound leaves this browser.`);
  byId("sounds").hidden = false;
  new Sounds(true, (file, given) => captions(model, file, given));
  listening(model);
  show("connection", "ready");
  document.documentElement.dataset.loaded = ((performance.now() - loading) / 1000).toFixed(3);
  document.documentElement.dataset.threads = model.threads;
  return undefined;
}

await begin();
document.documentElement.dataset.ready = "";
