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

function stroke(from, to, erase, width) {
  const ends = [0, 1].map(k => [from[k], to[k]]);
  paint([...ends.map(of => Math.min(...of) - width), ...ends.map(of => Math.max(...of) + width)], pen => {
    pen.strokeStyle = "rgb(255 60 40)"; pen.lineCap = pen.lineJoin = "round"; pen.lineWidth = width;
    pen.beginPath(); pen.moveTo(...from); pen.lineTo(to[0] + 0.01, to[1]); pen.stroke();
  }, erase);
}

async function decoded(url) {
  const image = new Image(); image.src = url; await image.decode();
  return image;
}

function markFrom(image, left, top) {
  paint([left, top, left + image.width, top + image.height], pen => pen.drawImage(image, left, top));
}

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

async function marked(margin = 0) {  // with some surroundings
  const box = bounds();
  if (!box) throw new Error("Expected some pixels to be marked; none are: paint over the damage, or press Find damage.");
  const left = Math.max(box[0] - margin, 0), top = Math.max(box[1] - margin, 0);
  const width = Math.min(box[2] + margin, photo.width) - left, height = Math.min(box[3] + margin, photo.height) - top;
  const part = new OffscreenCanvas(width, height), whole = part.getContext("2d");
  for (const one of marks.values()) whole.drawImage(one.pen.canvas, one.left - left, one.top - top);
  const blob = await part.convertToBlob({ type: "image/png" });
  const mask = await new Promise(done => {
    const reader = new FileReader(); reader.onload = () => done(reader.result); reader.readAsDataURL(blob);
  });
  return { top, left, width, height, mask };
}

// ------------------------------------------------------------------------------------- history

// Every step has words for it, and says by functions what it marks (`mark`), whether marks before it
// are gone (`clears`), whether the server has changed pixels (`change`), and between which two
// pictures it leads, if it does (`from`, `to`). Marks are painted again from the steps.
let past = [], now = 0;   // all steps, and how many of them aren't undone

function did(step, painted = false) {   // painted: its marks are there already
  past.length = now; past.push(step); now++;
  if (!painted) remark();
}

function take(step) {  // a step that came to nothing, back
  if (past.at(-1) === step) { past.pop(); now = past.length; remark(); }
}

function remark() {
  marks.clear();
  const steps = past.slice(0, now);
  for (const step of steps.slice(Math.max(steps.findLastIndex(one => one.clears), 0))) step.mark?.();
  draw();
}

const travel = (step, back) => doing(back ? "Undoing…" : "Doing it again…", async () => {
  if (step.change) {
    const answer = await ask(`photographs/${photo.id}/${back ? "undo" : "redo"}`, { method: "POST" });
    photo.version = (await answer.json()).version;
    overlay = null;
  }
  if (step.to) show(back ? step.from : step.to);
  now += back ? -1 : 1;
  remark();
  say(`${back ? "Undone" : "Done again"}: ${step.words}.`);
});
const undo = () => { if (now) return travel(past[now - 1], true); say("There is nothing to undo."); };
const redo = () => { if (now < past.length) return travel(past[now], false); say("There is nothing to redo."); };
$("undo").onclick = undo; $("redo").onclick = redo;
addEventListener("keydown", event => {
  if (!(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "z" || !photo || line || busy()) return;
  event.preventDefault();
  if (event.shiftKey) redo(); else undo();
});

// ------------------------------------------------------------------------------------- strokes

let line = null;   // the stroke under way: {places, erase, width}

function begin(place, erase) {
  line = { places: [place], erase, width: Number($("brush").value) };
  stroke(place, place, erase, line.width);
}

function lead(place) {
  stroke(line.places.at(-1), place, line.erase, line.width);
  line.places.push(place);
}

function lift(keep = true) {
  if (!line) return;
  const { places, erase, width } = line;
  line = null;
  if (!keep) { remark(); return; }
  did({
    words: erase ? "unmarking" : "marking",
    mark: () => { for (const [k, to] of places.entries()) stroke(places[Math.max(k - 1, 0)], to, erase, width); },
  }, true);
  say(erase ? "Unmarked." : "Marked in red: press Repair what is marked.");
}
