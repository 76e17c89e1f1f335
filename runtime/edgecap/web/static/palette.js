// Colours from the style sheet, so that they follow light and dark, and the drawing that uses them.
import { minus } from "./dom.js";

export function palette() {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const stops = ["--s0", "--s1", "--s2", "--s3"].map((name) => {
    const number = parseInt(colour(name).slice(1), 16);
    return [number >> 16, (number >> 8) & 255, number & 255];
  });
  const table = new Uint32Array(256);
  for (let value = 0; value < 256; value++) {
    const place = (value / 255) * (stops.length - 1), low = Math.min(stops.length - 2, Math.floor(place));
    const [r, g, b] = stops[low].map((part, i) => Math.round(part + (stops[low + 1][i] - part) * (place - low)));
    table[value] = (255 << 24) | (b << 16) | (g << 8) | r;  // little-endian, as all browsers' machines are
  }
  return { table, ink: colour("--ink"), soft: colour("--soft"), line: colour("--line"), accent: colour("--accent"),
    faint: colour("--faint"), onAccent: colour("--on-accent"), card: colour("--card"), empty: colour("--s0") };
}

export function paint(canvas, stream, events, colours, span) {
  const pen = canvas.getContext("2d"), { width, height } = canvas;
  const scale = width / Math.max(1, canvas.clientWidth), unit = (pixels) => pixels * scale;
  const start = stream.head - span, x = (seconds) => ((seconds - start) / span) * width;
  const lane = unit(26), axis = unit(18), level = Math.round((height - lane - axis) * 0.3);
  const top = lane + unit(4), deep = height - lane - axis - level - unit(8);
  pen.fillStyle = colours.card;
  pen.fillRect(0, 0, width, height);
  pen.font = `${unit(13)}px system-ui, sans-serif`;
  pen.textBaseline = "middle";

  for (const event of events) {
    // An open event is solid up to where its sound was last detected, and faint after that.
    const left = Math.max(0, x(event.start)), heard = Math.min(width, x(event.end));
    const right = event.open ? width : heard;
    if (right <= left) continue;
    pen.fillStyle = colours.faint;
    pen.fillRect(left, 0, right - left, lane);
    pen.fillStyle = colours.accent;
    pen.fillRect(left, 0, Math.max(unit(2), heard - left), lane);
    pen.fillStyle = colours.card;
    pen.fillRect(left, 0, unit(1), lane);
    pen.save();
    pen.beginPath();
    pen.rect(left, 0, right - left - unit(4), lane);
    pen.clip();
    pen.fillStyle = colours.onAccent;
    pen.fillText(event.text, left + unit(6), lane / 2);
    pen.restore();
  }

  pen.fillStyle = colours.empty;
  pen.fillRect(0, top, width, deep);
  const ring = stream.ring.width, seconds = stream.columnSeconds;
  const oldest = Math.max(start / seconds, stream.next - ring + 1, 0);
  const newest = Math.min(stream.head / seconds, stream.next);
  for (let from = oldest; from < newest;) {
    const within = from % ring, count = Math.min(newest - from, ring - within);
    pen.drawImage(stream.ring, within, 0, count, stream.bands,
      x(from * seconds), top, (count * seconds / span) * width, deep);
    from += count;
  }

  const base = top + deep + unit(4);
  pen.strokeStyle = colours.accent;
  pen.lineWidth = unit(1.5);
  pen.beginPath();
  let drawing = false;
  for (const [at, value] of stream.levels) {
    if (value === null || at < start - 1 || at > stream.head + 0.2) { drawing = false; continue; }
    const y = base + level * Math.min(1, Math.max(0, value / -90));
    if (drawing) pen.lineTo(x(at), y); else pen.moveTo(x(at), y);
    drawing = true;
  }
  pen.stroke();

  pen.fillStyle = colours.soft;
  for (let back = 0; back <= span; back += 10) {
    const text = back ? minus(`-${back} s`) : "now", place = x(stream.head - back);
    const size = pen.measureText(text).width;
    pen.fillText(text, Math.min(width - size - unit(2), Math.max(unit(2), place - size / 2)), height - axis / 2);
  }
}
