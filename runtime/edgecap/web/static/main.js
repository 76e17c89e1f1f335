// The server says first what the page is: the live page, or the demo, which only captions sounds.
import { Events } from "./events.js";
import { Feed } from "./feed.js";
import { Now } from "./now.js";
import { Picture } from "./picture.js";
import { Settings } from "./settings.js";
import { Sounds } from "./sounds.js";
import { Status } from "./status.js";
import { Recent } from "./teach.js";
import { show } from "./dom.js";

const answer = await fetch("about");
if (answer.status === 401) location.reload();
const about = await answer.json();
document.title = about.live ? "edgecap: live captions" : "edgecap: demo";
show("model", `Model ${about.model} (${about.licence}), edgecap ${about.version}.`);
new Sounds(about.media);
if (about.live) {
  for (const id of ["now", "picture", "events", "state"]) document.getElementById(id).hidden = false;
  document.getElementById("summary").hidden = !about.summaries;
  const settings = about.adjustable ? [new Settings()] : [];
  const events = new Events(), now = new Now(), picture = new Picture(about), state = new Status();
  new Recent();
  new Feed({
    hello(data) {
      if (data.anew) for (const part of [events, now, picture, state]) part.clear();
      data.events.forEach((event, i, all) => { if (event.open || i === all.length - 1) now.take(event); });
      for (const event of data.events) picture.take(event);
      for (const status of data.status) for (const part of [now, picture, state, ...settings]) part.status(status);
      for (const sound of data.sounds) picture.fill(sound);
      events.greeted(data.events);
    },
    change(event) { for (const part of [events, now, picture]) part.take(event); },
    status(status) { for (const part of [now, picture, state, ...settings]) part.status(status); },
    sound(sound) { picture.sound(sound); },
  }, (connected) => now.connected(connected));
} else {
  show("connection", "demo");
}
document.getElementById("sounds").hidden = false;
document.documentElement.dataset.ready = "";
