// The spectrogram of a sound that has ended, with lines around a part of it.
import { make } from "./dom.js";
import { palette } from "./palette.js";

// The picture in its frame, what marks a part of it, and where a second lies.
export function drawn(picture, label) {
  const canvas = make("canvas", { role: "img", "aria-label": label }), part = make("span", { class: "part" });
  const place = (at) => `${(100 * Math.min(1, at / picture.seconds)).toFixed(2)}%`;
  const mark = (start, end) => {
    part.style.left = place(start);
    part.style.right = `calc(100% - ${place(end)})`;
  };
  draw(canvas, picture);
  follow(canvas, () => draw(canvas, picture));
  return { canvas, frame: make("div", {}, canvas, part), mark, place };
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
