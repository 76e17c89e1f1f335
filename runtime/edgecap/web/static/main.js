// The server says first what the page is: the live page, or the demo, which only captions sounds.
import { Events } from "./events.js";
import { Feed } from "./feed.js";
import { Now } from "./now.js";
import { Picture } from "./picture.js";
import { Sounds } from "./sounds.js";
import { show } from "./dom.js";

const answer = await fetch("about");
if (answer.status === 401) location.reload();
const about = await answer.json();
document.title = about.live ? "edgecap: live captions" : "edgecap: demo";
show("model", `Model ${about.model} (${about.licence}), edgecap ${about.version}.`);
new Sounds();
if (about.live) {
  for (const id of ["now", "picture", "events", "state"]) document.getElementById(id).hidden = false;
  const events = new Events();
  const now = new Now();
  const picture = new Picture(about);
  new Feed({
    hello(data) {
      if (data.anew) for (const part of [events, now, picture]) part.clear();
      for (const event of data.events) { events.take(event); now.take(event); picture.take(event); }
      for (const status of data.status) { now.status(status); picture.status(status); }
      events.greeted();
    },
    change(event) { events.change(event); now.take(event); picture.take(event); },
    status(status) { now.status(status); picture.status(status); },
    sound(sound) { picture.sound(sound); },
  });
} else {
  show("connection", "demo");
}
document.getElementById("sounds").hidden = false;
document.documentElement.dataset.ready = "";
