// The picture on the screen, and the pictures that are open.
"use strict";
const canvas = $("view"), ctx = canvas.getContext("2d");
const above = $("above"), over = above.getContext("2d");   // outlines, which are animated
let photo = null;          // {id, name, width, height, lossy, lossless, before, version, learned}
let scale = 1, x0 = 0, y0 = 0;   // pixels of the screen per pixel, and the corner in pixels
let overlay = null;        // parts of the map of surprise: {image, shown, top, left, step}
let split = 0.5, compared = false, level = 0;
let veil = null;           // what is marked, as it is on the screen
let hover = null, cursor = null;   // places in the picture: of the pointer, and of the keyboard
let finds = null, find = 0;   // boxes of separate marks, and which one is shown
const tiles = new Map(), views = new Map();

const clamp = (x, low, high) => Math.min(Math.max(x, low), high);
const size = () => [canvas.clientWidth, canvas.clientHeight];
const zoomOf = ratio => clamp(Math.floor(-Math.log2(scale * ratio) + 0.01), 0, 8);   // 2^zoom pixels in one of the screen
const thousands = number => number.toLocaleString("en");
const count = (number, word) => `${thousands(number)} ${word}${number === 1 ? "" : "s"}`;

// ------------------------------------------------------------------------------------- drawing

let asked = false;
const draw = () => { if (!asked) { asked = true; requestAnimationFrame(paintAll); } };

function tile(row, column, zoom, original) {
  const key = [photo.id, original ? 0 : photo.version, original, row, column, zoom].join();
  let found = tiles.get(key);
  if (found) { tiles.delete(key); tiles.set(key, found); return found; }
  const image = new Image();
  found = { image, ready: false };
  image.onload = () => { found.ready = true; draw(); };
  image.onerror = () => setTimeout(() => { tiles.delete(key); draw(); }, 2000);
  image.src = `photographs/${photo.id}/tile?row=${row}&column=${column}&zoom=${zoom}&original=${original}&version=${photo.version}`;
  tiles.set(key, found);
  if (tiles.size > 400) tiles.delete(tiles.keys().next().value);
  return found;
}

// Until all tiles in view are there, for a while at the most.
async function visible() {
  const end = performance.now() + 3000;
  do {
    draw(); await new Promise(requestAnimationFrame);
  } while (performance.now() < end && [...tiles.values()].some(one => !one.ready));
}

function layer(original) {   // of averages of squares, if a level is chosen: tiles that are reduced more
  const [w, h] = size(), zoom = Math.max(zoomOf(devicePixelRatio), level), step = 2 ** zoom, edge = TILE * step;
  const last = [Math.ceil(photo.height / edge) - 1, Math.ceil(photo.width / edge) - 1];
  ctx.save(); ctx.beginPath(); ctx.rect(-x0 * scale, -y0 * scale, photo.width * scale, photo.height * scale); ctx.clip();
  for (let r = Math.max(Math.floor(y0 / edge), 0); r <= Math.min(Math.floor((y0 + h / scale) / edge), last[0]); r++)
    for (let c = Math.max(Math.floor(x0 / edge), 0); c <= Math.min(Math.floor((x0 + w / scale) / edge), last[1]); c++) {
      let found = tile(r, c, zoom, original);   // or of a version before, rather than nothing
      for (let v = photo.version - 1; !found?.ready && !original && v >= Math.max(photo.version - 8, 0); v--)
        found = tiles.get([photo.id, v, false, r, c, zoom].join());
      if (found?.ready) ctx.drawImage(found.image, (c * edge - x0) * scale, (r * edge - y0) * scale, found.image.width * step * scale, found.image.height * step * scale);
    }
  ctx.restore();
}

function paintAll() {
  asked = false;
  const [w, h] = size(), ratio = devicePixelRatio;
  for (const one of [canvas, above])
    if (one.width !== Math.round(w * ratio) || one.height !== Math.round(h * ratio)) { one.width = Math.round(w * ratio); one.height = Math.round(h * ratio); }
  ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
  ctx.clearRect(0, 0, w, h);
  veil = null;
  if (!photo) { outline(); return; }
  ctx.imageSmoothingEnabled = scale < 1 && !level;
  layer(false);
  if (compared) {
    ctx.save(); ctx.beginPath(); ctx.rect(0, 0, split * w, h); ctx.clip(); ctx.clearRect(0, 0, w, h); layer(true); ctx.restore();
  } else {
    ctx.globalAlpha = 0.75;
    for (const { shown, left, top, step } of overlay ?? [])
      ctx.drawImage(shown, (left - x0) * scale, (top - y0) * scale, shown.width * step * scale, shown.height * step * scale);
    if (marks.size && $("seen").checked) {
      veil = new OffscreenCanvas(canvas.width, canvas.height);
      const pen = veil.getContext("2d"), onScreen = x => Math.round(x * scale * ratio);  // so that no seams are seen
      pen.imageSmoothingEnabled = scale < 1;
      for (const { pen: { canvas: of }, left, top } of marks.values()) {
        const [x, y, right, bottom] = [left - x0, top - y0, left + of.width - x0, top + of.height - y0].map(onScreen);
        if (right > 0 && bottom > 0 && x < veil.width && y < veil.height) pen.drawImage(of, x, y, right - x, bottom - y);
      }
      pen.globalCompositeOperation = "source-in"; pen.fillStyle = $("colour").value; pen.fillRect(0, 0, veil.width, veil.height);
      ctx.globalAlpha = 0.45; ctx.drawImage(veil, 0, 0, w, h);
    }
    ctx.globalAlpha = 1;
  }
  edge = veil && edgeOf(veil);
  $("divider").style.left = `${split * 100}%`; $("divider").setAttribute("aria-valuenow", Math.round(100 * split));
  $("where").textContent = `${called(photo)}, ${photo.width}×${photo.height}, ${(100 * scale).toFixed(0)} %`;
  outline();
}

// What lies just outside of the marks, however small they are on the screen.
let edge = null, phase = 0;
function edgeOf(of) {
  const found = new OffscreenCanvas(of.width, of.height), pen = found.getContext("2d"), d = 1.5 * devicePixelRatio;
  for (const x of [-d, 0, d]) for (const y of [-d, 0, d]) if (x || y) pen.drawImage(of, x, y);
  pen.globalCompositeOperation = "destination-out"; pen.drawImage(of, 0, 0);
  return found;
}
const stripes = (() => {
  const one = new OffscreenCanvas(8, 8), pen = one.getContext("2d");
  pen.fillStyle = "#fff"; pen.fillRect(0, 0, 8, 8); pen.fillStyle = "#000";
  for (let k = 0; k < 8; k++) for (let j = 0; j < 4; j++) pen.fillRect((k + j) % 8, k, 1, 1);
  return over.createPattern(one, "repeat");
})();
function outline() {
  const ratio = devicePixelRatio;
  over.setTransform(1, 0, 0, 1, 0, 0); over.globalCompositeOperation = "source-over";
  over.clearRect(0, 0, above.width, above.height);
  if (!photo) return;
  if (edge) {
    over.drawImage(edge, 0, 0);
    over.globalCompositeOperation = "source-in"; over.fillStyle = stripes;
    over.translate(phase, 0); over.fillRect(-8, 0, above.width + 16, above.height);
    over.setTransform(1, 0, 0, 1, 0, 0); over.globalCompositeOperation = "source-over";
  }
  over.setTransform(ratio, 0, 0, ratio, 0, 0);
  const on = ([x, y]) => [(x - x0) * scale, (y - y0) * scale];
  const twice = path => { for (const [colour, width] of [["#000", 3], ["#fff", 1.2]]) { over.strokeStyle = colour; over.lineWidth = width; over.beginPath(); path(); over.stroke(); } };
  if (finds?.[find]) { const { left, top, width, height } = finds[find], [x, y] = on([left, top]); twice(() => over.rect(x - 6, y - 6, width * scale + 12, height * scale + 12)); }
  if (line && line.kind !== "brush") {
    const { places, width } = shape(line);
    twice(() => { over.moveTo(...on(places[0])); for (const place of places.slice(1)) over.lineTo(...on(place)); if (!width) over.closePath(); });
  }
  const at = cursor ?? hover;
  if (!at || compared || tool() === "move") return;
  const [x, y] = on(at), round = ["brush", "line"].includes(tool());
  twice(() => { if (round) over.arc(x, y, Math.max(breadth() * scale / 2, 1.5), 0, 7); if (!round || cursor) { over.moveTo(x - 9, y); over.lineTo(x + 9, y); over.moveTo(x, y - 9); over.lineTo(x, y + 9); } });
}
const still = matchMedia("(prefers-reduced-motion: reduce)");
setInterval(() => { if (edge && !still.matches && !document.hidden) { phase = (phase + 1) % 8; outline(); } }, 120);

let fitted = "";   // the view that shows all of the picture
const viewed = () => [scale, x0, y0].join();
function fit() {
  const [w, h] = size();
  scale = Math.min(w / photo.width, h / photo.height, 4);
  x0 = (photo.width - w / scale) / 2; y0 = (photo.height - h / scale) / 2;
  fitted = viewed();
  draw();
}

function zoomBy(factor, x = size()[0] / 2, y = size()[1] / 2) {
  const next = clamp(scale * factor, 0.01, 40);
  x0 += x / scale - x / next; y0 += y / scale - y / next; scale = next;
  draw();
}

function lookAt({ left, top, width, height }) {   // a box, in the middle
  const [w, h] = size();
  scale = clamp(Math.min(w / (width + 80), h / (height + 80)), Math.min(w / photo.width, h / photo.height), 4);
  x0 = left + width / 2 - w / scale / 2; y0 = top + height / 2 - h / scale / 2;
  draw();
}

function inView() {
  const [w, h] = size(), left = clamp(Math.floor(x0), 0, photo.width - 1), top = clamp(Math.floor(y0), 0, photo.height - 1);
  return { left, top, width: clamp(Math.ceil(x0 + w / scale), left + 1, photo.width) - left, height: clamp(Math.ceil(y0 + h / scale), top + 1, photo.height) - top };
}

// ------------------------------------------------------------------------------ open pictures

async function show(found, listed = true) {
  if (photo) views.set(photo.id, [scale, x0, y0]);
  photo = found; steps = found.steps; done = found.done; finds = cursor = null; images.clear();
  await Promise.all(steps.map(ready));
  tiles.clear(); unmap(); compare(Boolean(photo.before)); see(0);
  $("level").max = clamp(Math.floor(Math.log2(Math.max(photo.width, photo.height))) - 2, 1, 9);
  $("compare").textContent = photo.before ? `Beside ${photo.before}` : "Before and after";
  $("formats").hidden = !photo.lossy;
  document.body.dataset.photo = sessionStorage.photo = photo.id;
  for (const kind of ["lossy", "lossless"]) for (const one of document.querySelectorAll("." + kind)) one.textContent = photo[kind];
  if (views.has(photo.id)) [scale, x0, y0] = views.get(photo.id); else fit();
  remark(); learnt();
  if (listed) await list();
}

const called = one => one.before ? `${one.name}, enlarged` : one.name;
let open = [];
async function list() {
  open = await (await ask("photographs/open", { signal: null })).json();
  const focus = $("strip").contains(document.activeElement) && document.activeElement.dataset.id;
  $("strip").replaceChildren(...open.map(one => {
    const item = document.createElement("li"), button = document.createElement("button"), image = document.createElement("img"), words = document.createElement("span"), close = document.createElement("button");
    image.src = `photographs/${one.id}/small?version=${one.version}`; image.alt = ""; words.textContent = called(one);
    button.append(image, words); button.title = `${words.textContent}: ${one.width}×${one.height}`; button.onclick = () => choose(one.id);
    button.dataset.id = one.id; if (one.id === photo?.id) button.setAttribute("aria-current", "true");
    close.textContent = "×"; close.className = "close"; close.ariaLabel = close.title = `Close ${words.textContent}`; close.onclick = () => shut(one);
    item.append(button, close);
    return item;
  }));
  if (focus !== false) ($("strip").querySelector(`[data-id="${focus}"]`) ?? $("strip").querySelector("[aria-current]"))?.focus();
  const strip = $("strip"), now = strip.querySelector("[aria-current]")?.parentElement;
  if (now) strip.scrollLeft = now.offsetLeft - strip.offsetLeft - (strip.clientWidth - now.offsetWidth) / 2;   // scrollIntoView would move where Tab begins
}

const choose = id => doing("Opening it…", async () => {
  await show(await (await ask(`photographs/${id}`)).json());
  say(`${called(photo)} is shown${done ? `, with ${count(done, "step")} to undo` : ""}.`);
});

const shut = one => {
  if (one.done && !confirm(`Close ${one.name}? What was done to it can't be got back; save it first to keep it.`)) return;
  doing("Closing it…", async () => {
    await ask(`photographs/${one.id}/close`, { method: "POST" });
    views.delete(one.id);
    await list();
    if (one.id !== photo?.id) { say(`${one.name} is closed.`); return; }
    const next = open.at(-1);
    if (next) await show(await (await ask(`photographs/${next.id}`)).json());
    else { photo = null; steps = []; done = 0; marks.clear(); delete document.body.dataset.photo; $("where").textContent = ""; draw(); }
    say(`${one.name} is closed.`);
  });
};

const megabytes = bytes => bytes < 1e5 ? `${Math.max(Math.round(bytes / 1e3), 1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;

const upload = files => doing(`Opening ${files.length === 1 ? files[0].name : count(files.length, "picture")}…`, async () => {
  const wrong = [];
  let found = null, stopped = null;
  for (const [number, file] of files.entries()) {
    if (files.length > 1) say(`Opening ${file.name}, ${number + 1} of ${files.length}…`);
    try {
      if (file.size > MAX_BYTES) throw new Error(`Expected a file of at most ${MAX_BYTES / 1e6} MB; ${file.name} has ${megabytes(file.size)}: make it smaller first.`);
      const body = new FormData(); body.append("file", file);
      found = await (await ask("photographs", { method: "POST", body })).json();
    } catch (error) {
      if (error instanceof Stopped || error instanceof Lost) { stopped = error instanceof Lost ? error : new Stopped(`Stopped: ${number} of ${files.length} were read.`); break; }
      wrong.push(error.message);
    }
  }
  if (found) await show(found);
  if (stopped) throw stopped;
  if (wrong.length) throw new Error(`${found ? `${count(files.length - wrong.length, "picture")} opened. ` : ""}${wrong.length > 1 ? `${wrong.length} files weren't, the first as this: ` : ""}${wrong[0]}`);
  say(`${files.length === 1 ? `${found.name} is open` : `${files.length} pictures were opened`}${found.notes ? `: ${found.notes}` : ""}. Mark the damage, or press Find damage.`);
}, true);

const example = name => doing(`Opening ${name}…`, async () => {
  await show(await (await ask(`photographs/examples/${encodeURIComponent(name)}`, { method: "POST" })).json());
  say("This photograph is damaged, and the damage is marked: press Repair what is marked.");
}, true);

// After the page is loaded again, or the server started again, everything is as it was.
async function resume() {
  await list().catch(error => say(error.message, true));
  const before = open.find(one => one.id === sessionStorage.photo) ?? open.at(-1);
  if (!before) { example(EXAMPLES[0]); return; }
  doing("Opening it again…", async () => {
    await show(await (await ask(`photographs/${before.id}`)).json());
    say(`${photo.name} is open as you left it${done ? `, with ${count(done, "step")} to undo` : ""}.`);
  });
}
