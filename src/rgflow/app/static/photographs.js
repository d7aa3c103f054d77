"use strict";
const $ = id => document.getElementById(id), TILE = 512;
const canvas = $("view"), ctx = canvas.getContext("2d");
let photo = null;          // {id, name, width, height, version}
let scale = 1, x0 = 0, y0 = 0;   // pixels of the screen per pixel, and the corner in pixels
const marks = new Map();   // squares of what is marked, each made when first painted: {pen, left, top}
let overlay = null;        // {image, top, left, height, width}: the map of surprise
let other = null;          // the name of a second picture, to mix this one with
let noted = "";            // what was done to it, in words
let mixture = null;        // {shown, left, top, step}: what is mixed of the view
let split = 0.5, compared = false, busy = false, level = 0;
const tiles = new Map();

const say = (text, wrong = false) => { $("said").textContent = text; $("said").className = wrong ? "wrong" : ""; };
const clamp = (x, low, high) => Math.min(Math.max(x, low), high);
const size = () => [canvas.clientWidth, canvas.clientHeight];

// ------------------------------------------------------------------------------------- drawing

let asked = false;
const draw = () => { if (!asked) { asked = true; requestAnimationFrame(paintAll); } };

function tile(row, column, zoom, original) {
  const key = [photo.id, original ? 0 : photo.version, original, row, column, zoom, level].join();
  let found = tiles.get(key);
  if (found) { tiles.delete(key); tiles.set(key, found); return found; }
  const image = new Image();
  found = { image, ready: false };
  image.onload = () => { found.ready = true; document.body.dataset.shown = String(photo?.version); draw(); };
  image.src = `photographs/${photo.id}/tile?row=${row}&column=${column}&zoom=${zoom}&original=${original}&level=${level}&version=${photo.version}`;
  tiles.set(key, found);
  if (tiles.size > 400) tiles.delete(tiles.keys().next().value);
  return found;
}

function layer(original) {
  const [w, h] = size(), zoom = clamp(Math.floor(-Math.log2(scale * devicePixelRatio) + 0.01), 0, 8), edge = TILE * 2 ** zoom;
  const last = [Math.ceil(photo.height / edge) - 1, Math.ceil(photo.width / edge) - 1];
  for (let r = Math.max(Math.floor(y0 / edge), 0); r <= Math.min(Math.floor((y0 + h / scale) / edge), last[0]); r++)
    for (let c = Math.max(Math.floor(x0 / edge), 0); c <= Math.min(Math.floor((x0 + w / scale) / edge), last[1]); c++) {
      const wide = Math.min(edge, photo.width - c * edge), high = Math.min(edge, photo.height - r * edge);
      const place = [(c * edge - x0) * scale, (r * edge - y0) * scale, wide * scale, high * scale];
      const found = tile(r, c, zoom, original);
      if (found.ready) ctx.drawImage(found.image, ...place);
      else {  // the version before, rather than nothing
        for (let v = photo.version - 1; !original && v >= Math.max(photo.version - 8, 0); v--) {
          const older = tiles.get([photo.id, v, false, r, c, zoom, level].join());
          if (older?.ready) { ctx.drawImage(older.image, ...place); break; }
        }
      }
    }
}

function paintAll() {
  asked = false;
  const [w, h] = size(), ratio = devicePixelRatio;
  if (canvas.width !== Math.round(w * ratio) || canvas.height !== Math.round(h * ratio)) {
    canvas.width = Math.round(w * ratio); canvas.height = Math.round(h * ratio);
  }
  ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
  ctx.clearRect(0, 0, w, h);
  if (!photo) return;
  ctx.imageSmoothingEnabled = scale < 1;
  layer(false);
  if (mixture) ctx.drawImage(mixture.shown, (mixture.left - x0) * scale, (mixture.top - y0) * scale, mixture.shown.width * mixture.step * scale, mixture.shown.height * mixture.step * scale);
  if (other) mixSoon();
  if (compared) {
    ctx.save(); ctx.beginPath(); ctx.rect(0, 0, split * w, h); ctx.clip(); ctx.clearRect(0, 0, w, h); layer(true); ctx.restore();
  } else {
    if (overlay) {
      ctx.globalAlpha = 0.75;
      ctx.drawImage(overlay.shown, (overlay.left - x0) * scale, (overlay.top - y0) * scale, overlay.width * scale, overlay.height * scale);
      ctx.globalAlpha = 1;
    }
    ctx.globalAlpha = 0.6;
    const onScreen = x => Math.round(x * ratio) / ratio;  // so that no seams are seen
    for (const { pen, left, top } of marks.values()) {
      const [x, y, right, bottom] = [left - x0, top - y0, left + pen.canvas.width - x0, top + pen.canvas.height - y0].map(one => onScreen(one * scale));
      ctx.drawImage(pen.canvas, x, y, right - x, bottom - y);
    }
    ctx.globalAlpha = 1;
  }
  $("divider").style.left = `${split * 100}%`;
  $("where").textContent = `${photo.name}, ${photo.width}×${photo.height}, ${(100 * scale).toFixed(0)} %`;
}

function fit() {
  const [w, h] = size();
  scale = Math.min(w / photo.width, h / photo.height, 4);
  x0 = (photo.width - w / scale) / 2; y0 = (photo.height - h / scale) / 2;
  draw();
}

function zoomBy(factor, x = size()[0] / 2, y = size()[1] / 2) {
  const next = clamp(scale * factor, 0.01, 40);
  x0 += x / scale - x / next; y0 += y / scale - y / next; scale = next;
  draw();
}

// -------------------------------------------------------------------------------------- asking

async function ask(path, body, { quiet } = {}) {
  const answer = await fetch(path, body).catch(() => { throw new Error("The server doesn't answer: is it still running?"); });
  if (answer.ok) return answer;
  let detail = `The server answered with status ${answer.status}.`;
  try { const told = (await answer.json()).detail; detail = typeof told === "string" ? told : "The server refused this: check the values."; } catch {}
  throw new Error(detail);
}

async function doing(words, work) {
  if (busy) return;
  busy = true; document.body.dataset.busy = "true";
  for (const one of document.querySelectorAll("#tools button")) one.disabled = true;
  say(words);
  try { await work(); } catch (error) { say(error.message, true); }
  busy = false; document.body.dataset.busy = "false";
  for (const one of document.querySelectorAll("#tools button")) one.disabled = !photo && !one.closest("#examples");
  $("progress").hidden = true;
  draw();
}

async function working(what, region, onLine = () => {}) {
  const answer = await ask(`photographs/${photo.id}/${what}`, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(region ?? {}),
  });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "", result = null;
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    const lines = (rest + value).split("\n"); rest = lines.pop();
    for (const line of lines.map(one => JSON.parse(one))) {
      if (line.error) throw new Error(line.error);
      if (line.progress !== undefined) { $("progress").hidden = false; $("progress").value = line.progress; }
      if (line.version !== undefined) { photo.version = line.version; draw(); }
      await onLine(line);
      if (line.done) result = line;
    }
  }
  if (!result) throw new Error("The connection was lost: try again.");
  return result;
}

async function opened(answer) {
  const found = await answer.json();
  photo = { ...found, version: 0 };
  tiles.clear(); overlay = null; putAway(); level = 0; $("level").value = 0; $("level").dispatchEvent(new Event("input"));
  $("surprise").setAttribute("aria-pressed", "false"); $("bits").textContent = ""; $("drawn").replaceChildren();
  marks.clear();
  if (found.mask) await markFrom(found.mask, 0, 0);
  $("save").href = `photographs/${photo.id}/export`;
  document.body.dataset.photo = photo.id;
  fit();
  return found;
}

function sending(file) {
  if (file.size > LARGEST) throw new Error(`Expected a file of at most ${LARGEST / 1e6} MB; ${file.name} has ${(file.size / 1e6).toFixed(1)} MB: make it smaller first.`);
  const form = new FormData(); form.append("file", file);
  return { method: "POST", body: form };
}

const upload = file => doing(`Opening ${file.name}…`, async () => {
  const found = await opened(await ask("photographs", sending(file)));
  say(`${found.name} is open${found.notes ? `: ${found.notes}` : ""}. Mark the damage, or press Find damage in view.`);
});

const example = name => doing(`Opening ${name}…`, async () => {
  await opened(await ask(`photographs/examples/${encodeURIComponent(name)}`, { method: "POST" }));
  say("This photograph is damaged, and the damage is marked in red: press Repair.");
});

// ------------------------------------------------------------------------------- two pictures

async function openOther(path, body) {
  const found = await (await ask(`photographs/${photo.id}/second${path}`, body)).json();
  other = found.name; noted = found.notes ? ` (${found.notes})` : ""; mixture = null; mixedFor = ""; $("mixed").hidden = false; $("mixing").open = true;
  say(`${found.name} is ready to mix with${noted}.`);
}
const uploadOther = file => doing(`Opening ${file.name}…`, async () => openOther("", sending(file)));
const exampleOther = name => doing(`Opening ${OTHERS[name]}…`, () => openOther(`/${encodeURIComponent(name)}`, { method: "POST" }));
function putAway() { other = mixture = null; mixedFor = ""; $("mixed").hidden = true; draw(); }

let mixedFor = "", mixTimer = 0;   // what the mixture is of
const mixed = () => ({ ...inView(), levels: Number($("fine").value), share: Number($("share").value), zoom: clamp(Math.ceil(-Math.log2(scale) - 0.01), 0, 8) });
function mixSoon() {
  const key = JSON.stringify([mixed(), photo.version, other]);
  if (key === mixedFor || busy) return;
  mixedFor = key; clearTimeout(mixTimer); mixTimer = setTimeout(mixInView, 120, key);
}
async function mixInView(key) {
  const region = mixed(), step = 2 ** region.zoom, start = performance.now(), name = other;
  const shown = new OffscreenCanvas(Math.ceil(region.width / step), Math.ceil(region.height / step)), pen = shown.getContext("2d");
  pen.imageSmoothingEnabled = false; delete document.body.dataset.mixed;
  let first = true;
  say(`Mixing the view with ${name}${noted}…`);
  try {
    const found = await working("mix", region, async line => {
      if (!line.mixed || key !== mixedFor) return;
      const image = new Image(); image.src = line.mixed; await image.decode();
      if (key !== mixedFor) return;
      if (first) {  // whatever was there before stays below
        if (mixture) pen.drawImage(mixture.shown, (mixture.left - region.left) / step, (mixture.top - region.top) / step, mixture.shown.width * mixture.step / step, mixture.shown.height * mixture.step / step);
        mixture = { shown, left: region.left, top: region.top, step }; document.body.dataset.mixed = String(performance.now() - start); first = false;
      }
      pen.drawImage(image, (line.left - region.left) / step, (line.top - region.top) / step, image.width * line.step / step, image.height * line.step / step);
      draw();
    });
    if (!found.superseded && key === mixedFor) { document.body.dataset.mixed = "all"; say(`Coarse structure of ${photo.name} with the fine detail of ${name}${noted}. Keep the mixture mixes the whole picture at full size.`); }
  } catch (error) { if (key === mixedFor) say(error.message, true); }
}

// --------------------------------------------------------------------------------------- marks

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

function stroke(from, to, erase) {
  const width = Number($("brush").value), ends = [0, 1].map(k => [from[k], to[k]]);
  paint([...ends.map(of => Math.min(...of) - width), ...ends.map(of => Math.max(...of) + width)], pen => {
    pen.strokeStyle = "rgb(255 60 40)"; pen.lineCap = pen.lineJoin = "round"; pen.lineWidth = width;
    pen.beginPath(); pen.moveTo(...from); pen.lineTo(to[0] + 0.01, to[1]); pen.stroke();
  }, erase);
}

async function markFrom(url, left, top) {
  const image = new Image(); image.src = url; await image.decode();
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
  if (!box) throw new Error("Expected some pixels to be marked; none are: paint over the damage, or press Find damage in view.");
  const left = Math.max(box[0] - margin, 0), top = Math.max(box[1] - margin, 0);
  const width = Math.min(box[2] + margin, photo.width) - left, height = Math.min(box[3] + margin, photo.height) - top;
  const part = new OffscreenCanvas(width, height), whole = part.getContext("2d");
  for (const one of marks.values()) whole.drawImage(one.pen.canvas, one.left - left, one.top - top);
  const blob = await part.convertToBlob({ type: "image/png" });
  const mask = await new Promise(done => { const reader = new FileReader(); reader.onload = () => done(reader.result); reader.readAsDataURL(blob); });
  return { top, left, width, height, mask };
}

function unmark() { marks.clear(); draw(); }

function inView() {
  const [w, h] = size(), left = clamp(Math.floor(x0), 0, photo.width - 1), top = clamp(Math.floor(y0), 0, photo.height - 1);
  return { left, top, width: clamp(Math.ceil(x0 + w / scale), left + 1, photo.width) - left, height: clamp(Math.ceil(y0 + h / scale), top + 1, photo.height) - top };
}

// -------------------------------------------------------------------------------------- events

$("file").onchange = event => { if (event.target.files[0]) upload(event.target.files[0]); event.target.value = ""; };
addEventListener("dragover", event => { event.preventDefault(); $("drop").hidden = false; });
addEventListener("dragleave", event => { if (!event.relatedTarget) $("drop").hidden = true; });
$("other").onchange = event => { if (event.target.files[0]) uploadOther(event.target.files[0]); event.target.value = ""; };
addEventListener("dragover", event => $("mixing").classList.toggle("over", Boolean(photo && event.target.closest?.("#mixing"))));
addEventListener("drop", event => { event.preventDefault(); $("drop").hidden = true; $("mixing").classList.remove("over"); const file = event.dataTransfer.files[0]; if (file) (photo && event.target.closest?.("#mixing") ? uploadOther : upload)(file); else say("Expected a picture file; something else was dropped.", true); });
addEventListener("paste", event => { const file = event.clipboardData?.files[0]; if (file) upload(file); });

$("repair").onclick = () => doing("Repairing…", async () => {
  const region = await marked();
  unmark();
  const found = await working("repair", region);
  overlay = null; $("surprise").setAttribute("aria-pressed", "false");
  say(`${found.pixels.toLocaleString("en")} pixels repaired in ${found.seconds.toFixed(1)} s. Before and after shows the changes; Save at full size saves them.`);
});
$("find").onclick = () => doing("Looking for damage…", async () => {
  const region = inView(), found = await working("find", region);
  if (!found.pixels) { say("No damage was found in view: mark it yourself, or zoom in."); return; }
  await markFrom(found.mask, region.left, region.top);
  say(`${found.pixels.toLocaleString("en")} pixels look damaged and are marked in red. Unmark what isn't damaged, then press Repair.`);
});
$("clear").onclick = () => { unmark(); say("All marks are removed."); };
$("undo").onclick = () => doing("Undoing…", async () => { photo.version = (await (await ask(`photographs/${photo.id}/undo`, { method: "POST" })).json()).version; say("Undone."); });
const drawing = complete => doing("Drawing…", async () => {
  const region = await marked(16);
  const found = await working("redraw", { ...region, complete, levels: Number($("levels").value), temperature: Number($("temperature").value), seed: Math.floor(Math.random() * 1e9), count: 3 });
  $("drawn").replaceChildren(...found.drawn.map((url, number) => {
    const button = document.createElement("button"), image = document.createElement("img");
    image.src = url; image.alt = `Draw ${number + 1}`; button.title = "Use this one"; button.append(image);
    button.onclick = () => doing("Applying it…", async () => {
      const blob = await (await fetch(url)).blob();
      const answer = await ask(`photographs/${photo.id}/take?top=${region.top}&left=${region.left}`, { method: "POST", body: blob });
      photo.version = (await answer.json()).version; unmark(); say("Applied. Undo reverts it.");
    });
    return button;
  }));
  say(`Three draws in ${found.seconds.toFixed(1)} s: click one to use it.`);
});
$("complete").onclick = () => drawing(true);
$("redraw").onclick = () => drawing(false);

$("keep").onclick = () => doing("Mixing the whole picture at full size…", async () => {
  const found = await working("mix/all", mixed());
  putAway();
  say(`Mixed in ${found.seconds.toFixed(1)} s. Save at full size saves it; Undo reverts it.`);
});
$("away").onclick = () => { putAway(); say("The other picture is closed."); };
for (const one of ["fine", "share"]) $(one).addEventListener("input", draw);

async function showSurprise() {
  const region = inView(), found = await working("surprise", region);
  const image = new Image(); image.src = found.map; await image.decode();
  overlay = { ...region, image }; shade();
}
function shade() {
  if (!overlay) return;
  const shown = new OffscreenCanvas(overlay.width, overlay.height), pen = shown.getContext("2d");
  pen.drawImage(overlay.image, 0, 0);
  const data = pen.getImageData(0, 0, shown.width, shown.height), from = 4 * Number($("threshold").value);
  for (let k = 0; k < data.data.length; k += 4) {
    const over = data.data[k] - from;
    data.data[k] = 255; data.data[k + 1] = 200 - Math.min(over * 2, 200); data.data[k + 2] = 0; data.data[k + 3] = over > 0 ? 255 : 0;
  }
  pen.putImageData(data, 0, 0); overlay.shown = shown; draw();
}
$("surprise").onclick = () => {
  const on = $("surprise").getAttribute("aria-pressed") !== "true";
  if (!on) { overlay = null; $("surprise").setAttribute("aria-pressed", "false"); draw(); return; }
  doing("Computing the map of surprise…", async () => { await showSurprise(); $("surprise").setAttribute("aria-pressed", "true"); say("Coloured pixels are less likely than usual, given all others, by more nats than the threshold."); });
};
$("count").onclick = () => doing("Counting…", async () => {
  const found = await working("bits");
  $("bits").textContent = `${found.bits.toFixed(3)} bits per sub-pixel; PNG needs ${found.png.toFixed(3)}. Levels from fine to coarse: ${found.levels.slice(0, 6).map(one => one.toFixed(2)).join(", ")}.`;
  say("Counted.");
});
$("compare").onclick = () => { compared = !compared; $("compare").setAttribute("aria-pressed", String(compared)); $("divider").hidden = !compared; draw(); };
$("divider").onpointerdown = event => { event.target.setPointerCapture(event.pointerId); };
$("divider").onpointermove = event => { if (event.buttons) { split = clamp((event.clientX - $("stage").getBoundingClientRect().left) / size()[0], 0.01, 0.99); draw(); } };
$("in").onclick = () => zoomBy(1.6); $("out").onclick = () => zoomBy(1 / 1.6); $("fit").onclick = () => photo && fit();
for (const slider of document.querySelectorAll(".slider input")) {
  const output = slider.parentElement.querySelector("output");
  slider.addEventListener("input", () => {
    output.textContent = slider.id === "level" ? (slider.value === "0" ? "fine" : `1/${2 ** slider.value}`) : slider.value;
  });
  slider.dispatchEvent(new Event("input"));
}
$("level").addEventListener("input", () => { level = Number($("level").value); draw(); });
$("threshold").addEventListener("input", shade);

const mode = () => document.querySelector("[name=mode]:checked").value;
for (const one of document.querySelectorAll("[name=mode]")) one.onchange = () => { canvas.className = mode() === "pan" ? "pan" : ""; };
const pointers = new Map();
let space = false, last = null;
const at = event => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
const inPicture = ([x, y]) => [x0 + x / scale, y0 + y / scale];
canvas.onpointerdown = event => { if (!photo) return; canvas.setPointerCapture(event.pointerId); pointers.set(event.pointerId, at(event)); last = at(event); if (moves(event)) return; stroke(inPicture(last), inPicture(last), mode() === "erase"); };
const moves = event => mode() === "pan" || space || event.buttons === 4 || pointers.size > 1 || compared;
canvas.onpointermove = event => {
  if (!photo || !pointers.has(event.pointerId)) return;
  const now = at(event);
  if (pointers.size === 2) {
    const [other] = [...pointers].filter(([id]) => id !== event.pointerId).map(([, place]) => place), before = pointers.get(event.pointerId);
    const apart = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]);
    zoomBy(clamp(apart(now, other) / Math.max(apart(before, other), 1), 0.5, 2), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
    x0 -= (now[0] - before[0]) / 2 / scale; y0 -= (now[1] - before[1]) / 2 / scale;
  } else if (moves(event)) { x0 -= (now[0] - last[0]) / scale; y0 -= (now[1] - last[1]) / scale; draw(); }
  else stroke(inPicture(last), inPicture(now), mode() === "erase");
  pointers.set(event.pointerId, now); last = now;
};
canvas.onpointerup = canvas.onpointercancel = event => pointers.delete(event.pointerId);
canvas.addEventListener("wheel", event => { event.preventDefault(); if (photo) zoomBy(Math.exp(-event.deltaY * 0.0015), ...at(event)); }, { passive: false });
addEventListener("keydown", event => { if (event.code === "Space" && event.target === canvas) { space = true; event.preventDefault(); } if ((event.ctrlKey || event.metaKey) && event.key === "z" && photo) { event.preventDefault(); $("undo").click(); } });
addEventListener("keyup", event => { if (event.code === "Space") space = false; });
new ResizeObserver(draw).observe(canvas);

for (const name of EXAMPLES) {
  const button = document.createElement("button"); button.textContent = name; button.onclick = () => example(name); $("examples").append(button);
}
for (const name of Object.keys(OTHERS)) {
  const button = document.createElement("button"); button.textContent = OTHERS[name]; button.onclick = () => exampleOther(name); $("others").append(button);
}
example(EXAMPLES[0]);
