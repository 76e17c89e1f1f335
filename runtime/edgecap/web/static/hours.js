// How many events there were in each hour of the newest days: a table, asked for while it is open. One of its cells is in
// the order of the Tab key; the arrow keys lead to the others.
import { byId, dayName, get, make, many } from "./dom.js";

const MOST = 31;
const HOURS = [...Array(24).keys()];
const MOVES = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

export class Hours {
  #query = "";
  #asked = 0;
  #choose;

  constructor(choose) {
    this.#choose = choose;
    byId("by-hour").addEventListener("toggle", () => this.#fill());
    byId("heat").addEventListener("keydown", (event) => move(event));
  }

  ask(query) {
    this.#query = query;
    return this.#fill();
  }

  async #fill() {
    if (!byId("by-hour").open) return;
    const asked = ++this.#asked, answer = await get("hours", this.#query);
    if (asked !== this.#asked) return;
    if (!answer) return byId("heat").replaceChildren("The events cannot be counted now; try again.");
    const days = new Map();
    for (const [day, hour, count] of answer.hours) {
      if (!days.has(day) && days.size === MOST) break;
      days.set(day, (days.get(day) ?? new Map()).set(hour, count));
    }
    const focused = document.activeElement?.dataset.at, most = Math.max(1, ...answer.hours.map(([, , count]) => count));
    byId("heat").replaceChildren(make("table", {},
      make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "Day"),
        ...HOURS.map((hour) => make("th", { scope: "col" }, String(hour))))),
      make("tbody", {}, ...[...days].map(([day, counts]) => make("tr", {},
        make("th", { scope: "row" }, dayName(day, "short")),
        ...HOURS.map((hour) => this.#cell(day, hour, counts.get(hour), most)))))));
    const cells = [...byId("heat").querySelectorAll("button")];
    const first = cells.find((cell) => cell.dataset.at === focused) ?? cells[0];
    if (first) first.tabIndex = 0;
    if (focused) first?.focus();
  }

  #cell(day, hour, count, most) {
    if (!count) return make("td");
    const button = make("button", { type: "button", tabindex: "-1", "data-at": `${day} ${hour}`,
      "aria-label": `${dayName(day, "short")}, ${hour} to ${hour + 1}: ${many(count, "event")}` }, String(count));
    button.addEventListener("click", () => this.#choose(day, hour));
    return make("td", { class: `heat${Math.ceil(4 * Math.log1p(count) / Math.log1p(most))}` }, button);
  }
}

// To the next cell in this direction that has events.
function move(event) {
  const step = MOVES[event.key], rows = [...byId("heat").querySelectorAll("tbody tr")];
  const cell = event.target.closest("td");
  if (!step || !cell) return;
  event.preventDefault();
  let row = rows.indexOf(cell.parentElement), column = cell.cellIndex;
  for (;;) {
    row += step[0];
    column += step[1];
    const next = rows[row]?.cells[column];
    if (!next || column < 1) return;
    const button = next.querySelector("button");
    if (!button) continue;
    event.target.tabIndex = -1;
    button.tabIndex = 0;
    return button.focus();
  }
}
