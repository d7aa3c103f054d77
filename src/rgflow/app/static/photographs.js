"use strict";
const canvas = $("view"), ctx = canvas.getContext("2d");
let photo = null;          // {id, name, width, height, lossy, lossless, before, version}
let scale = 1, x0 = 0, y0 = 0;   // pixels of the screen per pixel, and the corner in pixels
let overlay = null;        // parts of the map of surprise: {image, shown, top, left, step}
let other = null;          // the name of a second picture, to mix this one with
let noted = "";            // what was done to it, in words
let mixture = null;        // {shown, left, top, step}: what is mixed of the view
let split = 0.5, compared = false, level = 0;
const tiles = new Map();

const clamp = (x, low, high) => Math.min(Math.max(x, low), high);
const size = () => [canvas.clientWidth, canvas.clientHeight];
const zoomOf = ratio => clamp(Math.floor(-Math.log2(scale * ratio) + 0.01), 0, 8);   // 2^zoom pixels in one of the screen
const thousands = number => number.toLocaleString("en");

// ------------------------------------------------------------------------------------- drawing

let asked = false;
const draw = () => { if (!asked) { asked = true; requestAnimationFrame(paintAll); } };

function tile(row, column, zoom, original) {
  const key = [photo.id, original ? 0 : photo.version, original, row, column, zoom, level].join();
  let found = tiles.get(key);
  if (found) { tiles.delete(key); tiles.set(key, found); return found; }
  const image = new Image();
  found = { image, ready: false };
  image.onload = () => { found.ready = true; draw(); };
  image.onerror = () => tiles.delete(key);
  image.src = `photographs/${photo.id}/tile?row=${row}&column=${column}&zoom=${zoom}&original=${original}&level=${level}&version=${photo.version}`;
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

function layer(original) {
  const [w, h] = size(), zoom = zoomOf(devicePixelRatio), edge = TILE * 2 ** zoom;
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
    ctx.globalAlpha = 0.75;
    for (const { shown, left, top, step } of overlay ?? [])
      ctx.drawImage(shown, (left - x0) * scale, (top - y0) * scale, shown.width * step * scale, shown.height * step * scale);
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

// ------------------------------------------------------------------------------------- opening

function show(shown) {
  photo = shown;
  tiles.clear(); putAway(); unmap(); compare(Boolean(photo.before)); see(0); $("seeing").open = false;
  $("level").min = -clamp(Math.floor(Math.log2(Math.max(photo.width, photo.height))) - 2, 1, 9);
  $("compare").textContent = photo.before ? `Beside ${photo.before}` : "Before and after";
  $("drawn").replaceChildren();
  $("formats").hidden = !photo.lossy;
  for (const kind of ["lossy", "lossless"])
    for (const one of document.querySelectorAll("." + kind)) one.textContent = photo[kind];
  document.body.dataset.photo = sessionStorage.photo = photo.id;
  fit();
}

async function opened(answer) {
  const found = await answer.json(), mask = found.mask && await decoded(found.mask);
  show({ ...found, mask: null });
  past = []; now = 0;
  if (mask) did({ words: "the marks of the example", mark: () => markFrom(mask, 0, 0) });
  else remark();
  return found;
}

function sending(file) {
  if (file.size > MAX_BYTES) throw new Error(`Expected a file of at most ${MAX_BYTES / 1e6} MB; ${file.name} has ${(file.size / 1e6).toFixed(1)} MB: make it smaller first.`);
  const form = new FormData(); form.append("file", file);
  return { method: "POST", body: form };
}

const upload = file => doing(`Opening ${file.name}…`, async () => {
  const found = await opened(await ask("photographs", sending(file)));
  say(`${found.name} is open${found.notes ? `: ${found.notes}` : ""}. Mark the damage, or press Find damage.`);
});

const example = name => doing(`Opening ${name}…`, async () => {
  await opened(await ask(`photographs/examples/${encodeURIComponent(name)}`, { method: "POST" }));
  say("This photograph is damaged, and the damage is marked in red: press Repair.");
});

// After the page is loaded again, the picture is as it was.
async function resume() {
  const answer = sessionStorage.photo && await fetch(`photographs/${sessionStorage.photo}`);
  if (!answer?.ok) { example(EXAMPLES[0]); return; }
  doing("Opening it again…", async () => {
    const found = await opened(answer);
    say(`${found.name} is open as you left it. Earlier steps can't be undone; marks are gone.`);
  });
}

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
  if (key === mixedFor || busy()) return;
  mixedFor = key; clearTimeout(mixTimer); mixTimer = setTimeout(mixInView, 120, key);
}
async function mixInView(key) {
  if (busy()) mixedFor = "";
  if (key !== mixedFor) return;
  const region = mixed(), step = 2 ** region.zoom, start = performance.now(), name = other, mine = new Job(true);
  const shown = new OffscreenCanvas(Math.ceil(region.width / step), Math.ceil(region.height / step)), pen = shown.getContext("2d");
  pen.imageSmoothingEnabled = false; delete document.body.dataset.mixed;
  let first = true;
  say(`Mixing the view with ${name}${noted}…`);
  try {
    await working("mix", region, async line => {
      if (!line.mixed) return;
      const image = await decoded(line.mixed);
      if (key !== mixedFor) return;
      if (first) {  // whatever was there before stays below
        if (mixture) pen.drawImage(mixture.shown, (mixture.left - region.left) / step, (mixture.top - region.top) / step, mixture.shown.width * mixture.step / step, mixture.shown.height * mixture.step / step);
        mixture = { shown, left: region.left, top: region.top, step }; document.body.dataset.mixed = String(performance.now() - start); first = false;
      }
      pen.drawImage(image, (line.left - region.left) / step, (line.top - region.top) / step, image.width * line.step / step, image.height * line.step / step);
      draw();
    });
    document.body.dataset.mixed = "all";
    say(`Coarse structure of ${photo.name} with the fine detail of ${name}${noted}. Keep the mixture mixes the whole picture at full size.`);
  } catch (error) {
    if (job !== mine || busy()) { if (key === mixedFor) mixedFor = ""; }   // something else came between
    else say(error instanceof Stopped ? "Stopped: move or zoom to go on mixing." : error.message, !(error instanceof Stopped));
  } finally { mine.end(); }
}

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
  let step = null;   // from the first result on, as what it hides isn't known before
  try {
    const found = await working("repair", region, async line => {
      if (line.version === undefined || step) return;
      await visible();
      step = { words: "the repair", clears: true, change: true };
      unmap(); did(step);
    });
    say(`${thousands(found.pixels)} pixels repaired in ${found.seconds.toFixed(1)} s. Before and after shows the changes; Save at full size saves them.${photo.lossy ? ` ${photo.lossy} files have traces around damage: if some stay, mark a little wider.` : ""}${found.pixels > 20000 ? " Large areas come out smooth." : ""}`);
  } catch (error) { take(step); throw error; }
});

let search = null;   // the last one: of which picture and region, and its step, if it marked something
const find = region => doing("Looking for damage…", async () => {
  compare(false);
  const found = [], step = { words: "the search", mark: () => { for (const one of found) one(); } };
  let pixels = 0, end = "";
  try {
    await working("find", { ...region, sensitivity: Number($("sensitivity").value) }, async line => {
      if (!line.mask) return;
      const image = await decoded(line.mask), { left, top } = line;
      found.push(() => markFrom(image, left, top)); found.at(-1)();
      pixels += line.pixels;
    });
  } catch (error) {
    if (!(error instanceof Stopped)) throw error;
    end = "Stopped before the end. ";
  } finally {
    if (found.length) did(step, true);
    search = { of: photo, region, step: found.length ? step : null };
  }
  say(pixels ? `${end}${thousands(pixels)} pixels look damaged and are marked in red. Unmark what isn't damaged, then press Repair what is marked.` : `${end}No damage was found: raise the sensitivity, or mark it yourself.`);
});
$("sensitivity").onchange = () => {   // shows at once what it changes, unless something was done since
  if (search?.of !== photo || (search.step && past[now - 1] !== search.step) || busy()) return;
  take(search.step); find(search.region);
};
$("find").onclick = () => find({ left: 0, top: 0, width: photo.width, height: photo.height });
$("find-here").onclick = () => find(inView());
$("clear").onclick = () => {
  if (!bounds()) { say("Nothing is marked."); return; }
  did({ words: "unmarking all", clears: true }); say("All marks are removed.");
};

const drawing = complete => doing("Drawing…", async () => {
  const region = await marked(16), of = photo;
  $("drawn").replaceChildren();
  const found = await working(complete ? "complete" : "redraw", { ...region, levels: Number($("levels").value), temperature: Number($("temperature").value), seed: Math.floor(Math.random() * 1e9), count: 3 }, line => {
    if (!line.drawn) return;
    const button = document.createElement("button"), image = document.createElement("img");
    image.src = line.drawn; image.alt = `Draw ${line.number + 1}`; button.title = "Use this one"; button.append(image);
    button.onclick = () => using(line.number, of);
    $("drawn").append(button); $("drawn").scrollIntoView({ block: "nearest" });
    say("Drawing others; click one to use it.");
  }).catch(error => { throw error instanceof Stopped ? new Stopped($("drawn").childElementCount ? "Stopped: click one to use it." : "Stopped.") : error; });
  say(`Three draws in ${found.seconds.toFixed(1)} s: click one to use it.`);
});
async function using(number, of) {   // also while others are drawn
  if (busy()) { job.stop(); while (busy()) await new Promise(requestAnimationFrame); }
  await doing("Applying it…", async () => {
    photo.version = (await (await ask(`photographs/${of.id}/take/${number}`, { method: "POST" })).json()).version;
    await visible();
    unmap(); did({ words: "using a draw", clears: true, change: true });
    say("Applied. Undo reverts it.");
  });
}
$("complete").onclick = () => drawing(true);
$("redraw").onclick = () => drawing(false);

for (const factor of [2, 4]) $(`enlarge-${factor}`).onclick = () => doing("Enlarging…", async () => {
  const from = photo, found = await working("enlarge", { factor });
  const to = { ...from, ...found, version: 0 };
  show(to); did({ words: "enlarging", clears: true, from, to });
  say(`Enlarged to ${to.width}×${to.height} pixels in ${found.seconds.toFixed(1)} s${to.notes ? ` (${to.notes})` : ""}.${to.before ? ` Left of the line is ${to.before}: drag the line.` : ""} Save at full size saves it; Undo goes back.`);
});

$("save").onclick = () => doing("Saving…", async () => {
  const like = Boolean(photo.lossy) && $("like").checked;
  const answer = await ask(`photographs/${photo.id}/export?like=${like}`), blob = await answer.blob();
  const name = decodeURIComponent(answer.headers.get("Content-Disposition").split("UTF-8''")[1]);
  download(blob, name);
  say(`Saved as ${name}, ${(blob.size / 1e6).toFixed(1)} MB.`);
});

$("keep").onclick = () => doing("Mixing the whole picture at full size…", async () => {
  const found = await working("keep", mixed());
  putAway(); unmap(); did({ words: "the mixture", mark: null, change: true });
  say(`Mixed in ${found.seconds.toFixed(1)} s. Save at full size saves it; Undo reverts it.`);
});
$("away").onclick = () => { putAway(); say("The other picture is closed."); };
for (const one of ["fine", "share"]) $(one).addEventListener("input", draw);

function unmap() { overlay = null; $("surprise").setAttribute("aria-pressed", "false"); draw(); }
function shade() {
  const from = 4 * Number($("threshold").value);
  for (const part of overlay ?? []) {
    const shown = part.shown = new OffscreenCanvas(part.image.width, part.image.height), pen = shown.getContext("2d");
    pen.drawImage(part.image, 0, 0);
    const data = pen.getImageData(0, 0, shown.width, shown.height);
    for (let k = 0; k < data.data.length; k += 4) {
      const over = data.data[k] - from;
      data.data[k] = 255; data.data[k + 1] = 200 - Math.min(over * 2, 200); data.data[k + 2] = 0; data.data[k + 3] = over > 0 ? 255 : 0;
    }
    pen.putImageData(data, 0, 0);
  }
  draw();
}
$("surprise").onclick = () => {
  if ($("surprise").getAttribute("aria-pressed") === "true") { unmap(); return; }
  doing("Computing the map of surprise in view…", async () => {
    compare(false); unmap(); overlay = [];
    const zoom = zoomOf(devicePixelRatio);
    let end = "";
    try {
      await working("surprise", { ...inView(), zoom }, async line => {
        if (line.map) { overlay.push({ image: await decoded(line.map), top: line.top, left: line.left, step: 2 ** zoom }); shade(); }
      });
    } catch (error) {
      if (!overlay.length || !(error instanceof Stopped)) { unmap(); throw error; }
      end = "Stopped before the end. ";
    }
    $("surprise").setAttribute("aria-pressed", "true");
    say(`${end}Coloured pixels are less likely than usual, given all others, by more nats than the threshold. Pixels of a wide scratch or a block make one another likely: Find damage looks for these.`);
  });
};
const sides = () => photo.before ? [photo.before, "rgflow"] : ["before", "after"];
function compare(on) {
  compared = on; $("compare").setAttribute("aria-pressed", String(on)); $("divider").hidden = !on; draw();
  if (on) for (const [k, words] of sides().entries()) $("divider").querySelectorAll("b")[k].textContent = words;
}
$("compare").onclick = () => {
  compare(!compared);
  say(compared ? `Left of the line: ${sides()[0]}; right of it: ${sides()[1]}. Drag the line.` : "");
};
$("divider").onpointerdown = event => { event.target.setPointerCapture(event.pointerId); };
$("divider").onpointermove = event => { if (event.buttons) { split = clamp((event.clientX - $("stage").getBoundingClientRect().left) / size()[0], 0.01, 0.99); draw(); } };
$("in").onclick = () => zoomBy(1.6); $("out").onclick = () => zoomBy(1 / 1.6); $("fit").onclick = () => photo && fit();
for (const slider of document.querySelectorAll(".slider input")) {
  const output = slider.parentElement.querySelector("output");
  slider.addEventListener("input", () => {
    output.textContent = slider.id === "level" ? (slider.value === "0" ? "1" : `1/${2 ** -slider.value}`) : slider.value;
  });
  slider.dispatchEvent(new Event("input"));
}
$("level").addEventListener("input", () => {
  level = Math.abs($("level").value); draw();
  say(level ? `Averages of squares of ${2 ** level}×${2 ** level} pixels: what the coarser levels hold.` : "");
});
function see(value) { $("level").value = value; $("level").dispatchEvent(new Event("input")); }
$("seeing").ontoggle = () => { if ($("seeing").open !== level > 0) see($("seeing").open ? $("level").min : 0); };
$("threshold").addEventListener("input", shade);

const mode = () => document.querySelector("[name=mode]:checked").value;
for (const one of document.querySelectorAll("[name=mode]")) one.onchange = () => { canvas.className = mode() === "pan" ? "pan" : ""; };
const pointers = new Map();
let space = false, last = null;
const at = event => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
const inPicture = ([x, y]) => [x0 + x / scale, y0 + y / scale];
const moves = event => mode() === "pan" || space || event.buttons === 4 || pointers.size > 1 || compared || busy();
canvas.onpointerdown = event => {
  if (!photo) return;
  canvas.setPointerCapture(event.pointerId); pointers.set(event.pointerId, at(event)); last = at(event);
  if (compared && mode() !== "pan" && !busy()) say("The picture moves while before and after are compared: press that button again to mark.");
  if (pointers.size > 1) lift(false);   // two fingers zoom
  else if (!moves(event)) begin(inPicture(last), mode() === "erase");
};
canvas.onpointermove = event => {
  if (!photo || !pointers.has(event.pointerId)) return;
  const now = at(event);
  if (pointers.size === 2) {
    const [other] = [...pointers].filter(([id]) => id !== event.pointerId).map(([, place]) => place), before = pointers.get(event.pointerId);
    const apart = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]);
    zoomBy(clamp(apart(now, other) / Math.max(apart(before, other), 1), 0.5, 2), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
    x0 -= (now[0] - before[0]) / 2 / scale; y0 -= (now[1] - before[1]) / 2 / scale;
  } else if (line) lead(inPicture(now));
  else { x0 -= (now[0] - last[0]) / scale; y0 -= (now[1] - last[1]) / scale; draw(); }
  pointers.set(event.pointerId, now); last = now;
};
canvas.onpointerup = canvas.onpointercancel = event => { pointers.delete(event.pointerId); lift(); };
canvas.addEventListener("wheel", event => { event.preventDefault(); if (photo) zoomBy(Math.exp(-event.deltaY * 0.0015), ...at(event)); }, { passive: false });
addEventListener("keydown", event => { if (event.code === "Space" && event.target === canvas) { space = true; event.preventDefault(); } });
addEventListener("keyup", event => { if (event.code === "Space") space = false; });
new ResizeObserver(draw).observe(canvas);
// What was said last is about what was done last.
$("tools").addEventListener("click", event => { if (event.target.closest("button, summary, input") && !busy()) say(""); }, true);
$("tools").addEventListener("input", () => { if (!busy()) say(""); }, true);

for (const name of EXAMPLES) {
  const button = document.createElement("button"); button.textContent = name; button.onclick = () => example(name); $("examples").append(button);
}
for (const name of Object.keys(OTHERS)) {
  const button = document.createElement("button"); button.textContent = OTHERS[name]; button.onclick = () => exampleOther(name); $("others").append(button);
}
resume();
