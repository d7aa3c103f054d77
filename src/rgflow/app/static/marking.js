// What is marked, and the history of all that was done.
"use strict";
const TILE = 512;
const marks = new Map();   // squares of what is marked, each made when first painted: {pen, left, top}

function paint([left, top, right, bottom], onto, erase = false) {  // on all squares that a box touches
  for (let y = Math.max(Math.floor(top / TILE), 0) * TILE; y < Math.min(bottom, photo.height); y += TILE)
    for (let x = Math.max(Math.floor(left / TILE), 0) * TILE; x < Math.min(right, photo.width); x += TILE) {
      const key = `${x},${y}`;
      if (!marks.has(key)) {
        if (erase) continue;
        const pen = new OffscreenCanvas(Math.min(TILE, photo.width - x), Math.min(TILE, photo.height - y)).getContext("2d");
        pen.translate(-x, -y); marks.set(key, { pen, left: x, top: y });
      }
      const { pen } = marks.get(key);
      pen.globalCompositeOperation = erase ? "destination-out" : "source-over";
      onto(pen);
    }
  draw();
}

// A mark is a line of some width, an area (a width of 0), or the opaque pixels of an image.
function apply({ erase = false, places = [], width = 0, image, left = 0, top = 0 }) {
  if (image) { const of = images.get(image); paint([left, top, left + of.width, top + of.height], pen => pen.drawImage(of, left, top), erase); return; }
  if (!places.length) return;
  const [xs, ys] = [0, 1].map(k => places.map(one => one[k]));
  paint([Math.min(...xs) - width, Math.min(...ys) - width, Math.max(...xs) + width, Math.max(...ys) + width], pen => {
    pen.strokeStyle = pen.fillStyle = "#000"; pen.lineCap = pen.lineJoin = "round"; pen.lineWidth = width;
    pen.beginPath(); pen.moveTo(...places[0]);
    for (const place of places.slice(1)) pen.lineTo(...place);
    if (!width) pen.fill();
    else { if (places.length === 1) pen.lineTo(places[0][0] + 0.01, places[0][1]); pen.stroke(); }
  }, erase);
}

function pixelsOf(image) {
  const pen = new OffscreenCanvas(image.width, image.height).getContext("2d", { willReadFrequently: true });
  pen.drawImage(image, 0, 0);
  return pen.getImageData(0, 0, image.width, image.height);
}

function canvasOf(data) {
  const found = new OffscreenCanvas(data.width, data.height);
  found.getContext("2d").putImageData(data, 0, 0);
  return found;
}
// A PNG file with a bit for every pixel, opaque where one is marked: of megapixels, the browser's own takes seconds.
const CRC = Uint32Array.from({ length: 256 }, (_, n) => { for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1; return n; });
function chunk(kind, data) {
  const all = new Uint8Array(data.length + 12), view = new DataView(all.buffer);
  view.setUint32(0, data.length); all.set(new TextEncoder().encode(kind), 4); all.set(data, 8);
  let crc = -1;
  for (const one of all.subarray(4, -4)) crc = CRC[(crc ^ one) & 255] ^ (crc >>> 8);
  view.setUint32(data.length + 8, ~crc);
  return all;
}
async function urlOf({ data, width, height }) {
  const edge = (width + 7 >> 3) + 1, rows = new Uint8Array(edge * height), head = new DataView(new ArrayBuffer(13));
  for (let y = 0, k = 3; y < height; y++)
    for (let x = 0; x < width; x++, k += 4) if (data[k] >= 128) rows[y * edge + 1 + (x >> 3)] |= 128 >> (x & 7);
  head.setUint32(0, width); head.setUint32(4, height); head.setUint16(8, 0x103);   // one bit, of a palette
  const packed = await new Response(new Blob([rows]).stream().pipeThrough(new CompressionStream("deflate"))).arrayBuffer();
  const parts = [["IHDR", new Uint8Array(head.buffer)], ["PLTE", [0, 0, 0, 0, 0, 0]], ["tRNS", [0, 255]], ["IDAT", new Uint8Array(packed)], ["IEND", []]];
  return dataUrl(new Blob([Uint8Array.of(137, 80, 78, 71, 13, 10, 26, 10), ...parts.map(one => chunk(...one))], { type: "image/png" }));
}

const images = new Map();   // of marks, by their data URLs
async function decoded(url) {
  const image = new Image(); image.src = url; await image.decode();
  return image;
}
const ready = step => Promise.all((step.marks ?? []).filter(one => one.image && !images.has(one.image)).map(async one => images.set(one.image, await decoded(one.image))));

function bounds() {  // of what is marked; squares without marks are dropped
  let box = null;
  for (const [key, { pen, left, top }] of marks) {
    const { data, width, height } = pen.getImageData(0, 0, pen.canvas.width, pen.canvas.height);
    let found = null;
    for (let k = 3, y = 0; y < height; y++)
      for (let x = 0; x < width; x++, k += 4)
        if (data[k] >= 128) found = found ? [Math.min(found[0], x), found[1], Math.max(found[2], x), y] : [x, y, x, y];
    if (!found) { marks.delete(key); continue; }
    const [l, t, r, b] = [left + found[0], top + found[1], left + found[2] + 1, top + found[3] + 1];
    box = box ? [Math.min(box[0], l), Math.min(box[1], t), Math.max(box[2], r), Math.max(box[3], b)] : [l, t, r, b];
  }
  return box;
}

const dataUrl = blob => new Promise(done => { const reader = new FileReader(); reader.onload = () => done(reader.result); reader.readAsDataURL(blob); });
function around(margin = 0) {  // what is marked: a box with some surroundings
  const box = bounds();
  if (!box) throw new Error("Nothing is marked: paint over the damage, or press Find damage.");
  const left = Math.max(box[0] - margin, 0), top = Math.max(box[1] - margin, 0);
  return { top, left, width: Math.min(box[2] + margin, photo.width) - left, height: Math.min(box[3] + margin, photo.height) - top };
}
function painted({ left, top, width, height }) {  // what is marked in a box
  const part = new OffscreenCanvas(width, height), whole = part.getContext("2d");
  for (const one of marks.values()) whole.drawImage(one.pen.canvas, one.left - left, one.top - top);
  return part;
}
const marked = async margin => { const box = around(margin); return { ...box, mask: await urlOf(pixelsOf(painted(box))) }; };

// ------------------------------------------------------------------------------------- history

// The server keeps all steps: {words, marks, clears: whether marks before it are gone, change: whether
// pixels were changed}. What is marked is painted again from them.
let steps = [], done = 0;   // done: how many of them aren't undone
let sent = Promise.resolve(), unsent = 0;   // what is on its way to the server

function did(step, known = false) {   // known: by the server
  const at = done;
  steps.length = at; steps.push(step); done++;
  finds = null;
  if (!known) send(photo.id, { ...step, at });
  remark();
}

const mark = async (words, found, clears = false) => { const step = { words, marks: found, clears }; await ready(step); did(step); };

function send(id, step) {
  unsent++;
  sent = sent.then(async () => {
    for (;;) {
      try { await ask(`photographs/${id}/steps`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(step), signal: null }); break; } catch (error) {
        say(error instanceof Lost ? "The server doesn't answer. What you mark is kept here, and sent when it is back." : error.message, true);
        if (!(error instanceof Lost)) break;
        await new Promise(rest => setTimeout(rest, 1000));
      }
    }
    if (!--unsent && $("said").textContent.startsWith("The server doesn't answer.")) say(`The server is back, and has what you marked.${busy() ? ` ${job.words}` : ""}`);
  });
}
addEventListener("beforeunload", event => { if (unsent || busy()) event.preventDefault(); });

function remark() {
  marks.clear();
  const shown = steps.slice(0, done);
  for (const step of shown.slice(Math.max(shown.findLastIndex(one => one.clears), 0))) for (const one of step.marks ?? []) apply(one);
  $("undo").title = done ? `Undo ${steps[done - 1].words} (Ctrl+Z)` : "Undo (Ctrl+Z)";
  draw();
}

const travel = way => {
  if (way < 0 ? !done : done === steps.length) { say(`There is nothing to ${way < 0 ? "undo" : "redo"}.`); return; }
  const step = steps[way < 0 ? done - 1 : done];
  return doing(way < 0 ? "Undoing…" : "Doing it again…", async () => {
    const found = await (await ask(`photographs/${photo.id}/${way < 0 ? "undo" : "redo"}`, { method: "POST" })).json();
    photo.version = found.version; done = found.done; finds = null;
    if (step.change) unmap();
    remark();
    say(`${way < 0 ? "Undone" : "Done again"}: ${step.words}.`);
  });
};
$("undo").onclick = () => travel(-1); $("redo").onclick = () => travel(1);

// --------------------------------------------------------------------------------------- tools

const TOOLS = { move: "moves the picture", brush: "marks what you paint over", line: "marks a straight line", rectangle: "marks a rectangle", lasso: "marks what you draw around", source: "chooses the place to copy from" };
const tool = () => document.querySelector("[name=tool]:checked").value;
const breadth = () => Math.max(Number($("brush").value) / scale, 1);   // of the brush, in pixels of the picture
let line = null;   // what is being drawn: {places, erase, width, kind}

function begin(place, erase) {
  line = { places: [place], erase, width: breadth(), kind: tool() };
  if (line.kind === "brush") apply(line);
  draw();
}

function lead(place) {
  if (line.kind === "brush") { apply({ ...line, places: [line.places.at(-1), place] }); line.places.push(place); }
  else if (line.kind === "lasso") line.places.push(place);
  else line.places[1] = place;
  draw();
}

function shape({ places, erase, width, kind }) {   // the mark of what was drawn
  const round = ([x, y]) => [Math.round(x * 8) / 8, Math.round(y * 8) / 8];
  if (kind !== "rectangle") return { erase, places: places.map(round), width: kind === "lasso" ? 0 : width };
  const [[a, b], [c, d]] = [places[0], places[1] ?? places[0]], low = (p, q) => Math.floor(Math.min(p, q)), high = (p, q) => Math.ceil(Math.max(p, q));
  return { erase, width: 0, places: [[low(a, c), low(b, d)], [high(a, c), low(b, d)], [high(a, c), high(b, d)], [low(a, c), high(b, d)]] };
}

function lift(keep = true) {
  if (!line) return;
  const drawn = line; line = null;
  if (!keep) { remark(); return; }
  did({ words: drawn.erase ? "unmarking" : "marking", marks: [shape(drawn)] });
  say(drawn.erase ? "Unmarked." : "Marked: press Repair what is marked.");
}
