// What buttons, keys and pointers do.
"use strict";
$("open").onclick = () => $("file").click();
$("file").onchange = event => { const files = [...event.target.files]; event.target.value = ""; if (files.length) upload(files); };
addEventListener("dragover", () => { $("drop").hidden = false; });
addEventListener("dragleave", event => { if (!event.relatedTarget) $("drop").hidden = true; });
listen((files, kind) => { $("drop").hidden = true; if (files.length) upload(files); else if (kind === "drop") say("Expected picture files; something else was dropped.", true); });

// --------------------------------------------------------------------------------------- tasks

const grain = () => ({ grain: Number($("grain").value) });
$("repair").onclick = () => doing("Repairing…", async () => {
  const region = { ...await marked(), ...grain() };
  see(0);
  let veiled = false;
  try {
    const found = await working("repair", region, async line => {
      if (line.version === undefined || veiled || line.done) return;
      await visible();
      veiled = true; unmap(); marks.clear(); draw();   // from the first result on, as what they hide isn't known before
    });
    await visible();
    say(`${count(found.pixels, "pixel")} repaired in ${found.seconds.toFixed(1)} s. Before and after shows the changes; Save at full size saves them.${photo.lossy ? ` ${photo.lossy} files have traces around damage: if some stay, mark a little wider.` : ""}${found.deep ? " Where an area is wider than 16 pixels, it comes from elsewhere in the picture; Sample completions offers others, and Copy from a place lets you choose." : ""}`);
  } catch (error) { remark(); throw error; }
});

$("grain").addEventListener("change", () => { if (!busy()) say("The next repair has this grain; to change one, undo it and repair again."); });

// What is found is a map of probabilities, so that the slider shows at once what it changes.
let searched = null;   // the last search: {id, maps: [{data, left, top}], step: what it marked, if anything}
function found({ data, left, top }) {
  const least = 255 * (1 - Number($("sensitivity").value)), shown = new ImageData(data.width, data.height);
  let pixels = 0;
  for (let k = 0; k < data.data.length; k += 4) if (data.data[k] > least) { shown.data[k + 3] = 255; pixels++; }
  return { image: canvasOf(shown), shown, left, top, pixels };
}
const brush = ({ image, left, top }) => paint([left, top, left + image.width, top + image.height], pen => pen.drawImage(image, left, top));
async function keep(all, end = "") {   // what is found, as a step
  const marks = [], pixels = all.reduce((sum, one) => sum + one.pixels, 0);
  for (const { shown, left, top, pixels } of all) if (pixels) marks.push({ image: await urlOf(shown), left, top });
  searched.step = null;
  if (marks.length) { await mark("the search", marks); searched.step = steps[done - 1]; }
  say(pixels ? `${end}${count(pixels, "pixel")} ${pixels === 1 ? "looks" : "look"} damaged, and ${pixels === 1 ? "is" : "are"} marked. Move the sensitivity to mark more or less, unmark what isn't damaged, then press Repair what is marked.` : `${end}No damage was found: raise the sensitivity, or mark it yourself.`);
}
const search = region => doing("Looking for damage…", async () => {
  compare(false); see(0);
  searched = { id: photo.id, at: done, maps: [], step: null };
  const all = [];
  let end = "";
  try {
    await working("find", region, async line => {
      if (!line.map) return;
      searched.maps.push({ data: pixelsOf(await decoded(line.map)), left: line.left, top: line.top });
      all.push(found(searched.maps.at(-1))); brush(all.at(-1));
    });
  } catch (error) {
    if (!(error instanceof Stopped)) { remark(); throw error; }
    end = "Stopped before the end. ";
  }
  await keep(all, end);
});
const again = () => searched?.id === photo?.id && searched.maps.length && !busy() && done === searched.at + (searched.step ? 1 : 0) && (!searched.step || steps[done - 1] === searched.step);
$("sensitivity").addEventListener("input", () => {
  if (!again()) return;
  if (searched.step) { done--; remark(); done++; }
  const all = searched.maps.map(found);
  all.forEach(brush);
  say(`${count(all.reduce((sum, one) => sum + one.pixels, 0), "pixel")} would be marked.`);
});
let changing = 0;   // waits for the job before, as keys are faster
$("sensitivity").addEventListener("change", function change() {
  clearTimeout(changing);
  if (busy()) changing = setTimeout(change, 100);
  else if (again()) doing("Marking…", async () => {
    if (searched.step) { await ask(`photographs/${photo.id}/undo`, { method: "POST" }); done--; }
    await keep(searched.maps.map(found));
  });
});
$("find").onclick = () => search({ left: 0, top: 0, width: photo.width, height: photo.height });
$("find-here").onclick = () => search(inView());
$("clear").onclick = () => {
  if (!bounds()) { say("Nothing is marked."); return; }
  did({ words: "unmarking all", clears: true }); say("All marks are removed.");
};

// Separate marks, one after another.
const step = by => doing("Looking at the marks…", async () => {
  if (!finds) { finds = (await working("parts", await marked())).parts; find = by > 0 ? -1 : 0; }
  find = (find + by + finds.length) % finds.length;
  compare(false); lookAt(finds[find]);
  say(`Mark ${find + 1} of ${finds.length}: ${count(finds[find].pixels, "pixel")}.`);
});
$("next").onclick = () => step(1); $("back").onclick = () => step(-1);
$("drop-find").onclick = async () => {
  const of = finds?.[find];
  if (!of) { say("Choose a mark by Next or Previous first."); return; }
  const rest = finds.filter(one => one !== of);
  await mark("unmarking one", [{ erase: true, image: of.mask, left: of.left, top: of.top }]);
  finds = rest; find = Math.min(find, rest.length - 1);
  if (rest.length) { lookAt(rest[find]); say(`Unmarked. Mark ${find + 1} of ${rest.length} is next.`); } else say("Unmarked; that was the last mark.");
};
for (const [id, how] of [["grow", "source-over"], ["shrink", "destination-in"]]) $(id).onclick = () => doing("Changing the marks…", async () => {
  const box = around(2), data = pixelsOf(painted(box));   // all are moved by a pixel, and drawn onto or out of one another
  for (let k = 3; k < data.data.length; k += 4) data.data[k] = data.data[k] >= 128 ? 255 : 0;
  const before = canvasOf(data), now = canvasOf(data), pen = now.getContext("2d");
  pen.globalCompositeOperation = how;
  for (const x of [-1, 0, 1]) for (const y of [-1, 0, 1]) pen.drawImage(before, x, y);
  await mark(`${id}ing the marks`, [{ image: await urlOf(pixelsOf(now)), left: box.left, top: box.top }], true);
  say(bounds() ? "Marks are changed by a pixel on every side." : "Nothing is left of the marks.");
});
$("save-marks").onclick = () => doing("Saving the marks…", async () => {
  around();
  const whole = painted({ left: 0, top: 0, width: photo.width, height: photo.height }), pen = whole.getContext("2d");
  pen.globalCompositeOperation = "source-in"; pen.fillStyle = "#fff"; pen.fillRect(0, 0, whole.width, whole.height);
  pen.globalCompositeOperation = "destination-over"; pen.fillStyle = "#000"; pen.fillRect(0, 0, whole.width, whole.height);
  const name = `${photo.name.replace(/\.[^.]*$/, "")}-mask.png`;
  download(await whole.convertToBlob({ type: "image/png" }), name);
  say(`Saved as ${name}: white where something is marked, as rgflow repair --mask takes it.`);
});
$("open-marks").onclick = () => $("mask").click();
$("mask").onchange = event => {
  const [file] = event.target.files; event.target.value = "";
  if (file) doing("Opening the marks…", async () => {
    const image = await createImageBitmap(file).catch(() => { throw new Error(`Expected a picture with white marks; ${file.name} isn't one, or is damaged.`); });
    if (image.width !== photo.width || image.height !== photo.height) throw new Error(`Expected marks of ${photo.width}×${photo.height} pixels, like the picture; ${file.name} has ${image.width}×${image.height}.`);
    const whole = pixelsOf(image), values = whole.data;
    let any = false;
    for (let k = 0; k < values.length; k += 4) { const white = values[k + 3] >= 128 && values[k] + values[k + 1] + values[k + 2] >= 384; values[k + 3] = white ? 255 : 0; any ||= white; }
    if (!any) throw new Error(`Expected marks that are white somewhere; ${file.name} is black.`);
    await mark("opening marks", [{ image: await urlOf(whole), left: 0, top: 0 }]);
    say("The marks are added: press Repair what is marked.");
  });
};
$("open-infrared").onclick = () => $("infrared").click();
$("infrared").onchange = event => {
  const [file] = event.target.files; event.target.value = "";
  if (file) doing("Reading the infrared scan…", async () => {
    const body = new FormData(); body.append("file", file);
    const found = await (await ask(`photographs/${photo.id}/infrared?sensitivity=${$("sensitivity").value}`, { method: "POST", body })).json();
    if (!found.pixels) { say("The infrared scan shows no damage at this sensitivity."); return; }
    await mark("the infrared scan", [{ image: found.mask, left: 0, top: 0 }]);
    say(`${count(found.pixels, "pixel")} marked: press Repair what is marked.`);
  });
};

// Draws at full size, side by side, to choose from.
let choosing = null;   // what draws them
const drawing = (what, more = {}, words = number => `Draw ${number + 1}`, made = "Drawn") => doing("Drawing…", async () => {
  const region = await marked(48), of = photo;
  let shown = [];
  see(0); $("drawn").replaceChildren(); choosing = job;
  const compared = () => {   // ×4, from the mean of all
    const sum = shown[0] && new Float32Array(shown[0].data.data.length);
    for (const { data } of shown) for (let k = 0; k < sum.length; k++) sum[k] += data.data[k] / shown.length;
    for (const { pen, data } of shown) {
      const seen = new ImageData(data.width, data.height);
      for (let k = 0; k < sum.length; k++) seen.data[k] = k % 4 === 3 ? 255 : $("differences").checked ? 128 + 4 * (data.data[k] - sum[k]) : data.data[k];
      pen.putImageData(seen, 0, 0);
    }
  };
  $("differences").onchange = compared;
  let found = null, end = "";
  try {
    found = await working(what, { ...region, ...more, seed: Math.floor(Math.random() * 1e9), count: 3 }, async line => {
      if (!line.drawn) return;
      const first = !shown.length;
      if (shown[0]?.draft) { shown = []; $("drawn").replaceChildren(); }
      const image = await decoded(line.drawn), button = document.createElement("button"), one = document.createElement("canvas"), pen = one.getContext("2d"), label = document.createElement("span");
      one.width = image.width; one.height = image.height;
      shown.push({ pen, data: pixelsOf(image), draft: line.draft });
      one.role = "img"; one.ariaLabel = label.textContent = line.draft ? "A draft, being refined" : words(line.number, line); button.append(one, label);
      button.disabled = line.draft; button.onclick = () => using(line.number, of);
      $("drawn").append(button); compared();
      if (first) $("choices").showModal();   // a choice closes it, though others may still come
    });
  } catch (error) { if (!(error instanceof Stopped && shown.length)) { $("choices").close(); throw error; } end = "Stopped. "; }
  if (!$("choices").open) say("None is used.");
  else say(`${end}${found ? `${made} in ${found.seconds.toFixed(1)} s: choose` : "Choose"} one to use it.`);
});
async function using(number, of) {   // also while others are drawn
  $("choices").close();
  if (busy()) { job.stop(); while (busy()) await new Promise(requestAnimationFrame); }
  await doing("Applying it…", async () => {
    const found = await (await ask(`photographs/${of.id}/take/${number}`, { method: "POST" })).json();
    photo.version = found.version;
    await visible();
    unmap(); did(found.step, true);
    say("Applied. Undo reverts it.");
  });
}
$("none").onclick = () => $("choices").close();
$("choices").onclose = () => { if (!busy()) say("None is used."); else if (job === choosing) job.stop(); };
$("complete").onclick = () => drawing("complete");
$("redraw").onclick = () => drawing("redraw", { levels: Number($("levels").value), temperature: Number($("temperature").value) });
$("copy").onclick = async () => {
  if (!bounds()) { say("Nothing is marked: mark what is to be filled first.", true); return; }
  pick("source"); say("Click the place to copy from: what lies there comes to the middle of what is marked.");
};
function copyFrom([x, y]) {
  const [left, top, right, bottom] = bounds() ?? [];
  pick("brush");
  if (left === undefined) { say("Nothing is marked: mark what is to be filled first.", true); return; }
  drawing("copied", { across: Math.round(x - (left + right) / 2), down: Math.round(y - (top + bottom) / 2) }, (number, { how }) => number ? how : `${how}; this fits best`, "Copied");
}

for (const factor of [2, 4]) $(`enlarge-${factor}`).onclick = () => doing("Enlarging…", async () => {
  see(0);
  const found = await working("enlarge", { factor });
  await show(found.opened);
  say(`Enlarged to ${photo.width}×${photo.height} pixels in ${found.seconds.toFixed(1)} s${photo.notes ? ` (${photo.notes})` : ""}.${photo.before ? ` Left of the line is ${photo.before}: drag the line.` : ""} The picture before is still open, in the strip above.`);
});

const percent = share => `${Math.max(100 * share, 0.1).toFixed(1)} %`;
$("learn").onclick = () => doing("Learning this picture…", async () => {
  const { shares, seconds } = await working("learn");
  photo.learned = Boolean(shares.length); learnt();
  say(shares.length ? `Learned in ${Math.round(seconds)} s: the models now predict this picture ${percent(Math.min(...shares))}${shares.length > 1 ? ` to ${percent(Math.max(...shares))}` : ""} better, and work with what they learned.` : "Nothing was learned that helps: this picture is as the models expected, or the time was too short.");
});
$("forget").onclick = () => doing("Forgetting…", async () => {
  await ask(`photographs/${photo.id}/forget`, { method: "POST" });
  photo.learned = false; learnt(); say("The models work as before.");
});
function learnt() { $("forget").hidden = !photo.learned; }

// All open pictures, one after another; what goes wrong with one doesn't stop the others.
const each = (words, what, region, told) => doing(`${words}…`, async () => {
  const wrong = [], found = [], all = [...open];
  for (const [number, one] of all.entries()) {
    const note = $("strip").querySelector(`[data-id="${one.id}"] span`);
    say(`${words}: ${called(one)}, ${number + 1} of ${all.length}…`);
    try {
      const { pixels } = await working(what, region(one), line => { if (line.progress !== undefined) note.textContent = `${Math.round(100 * line.progress)} %`; }, one);
      note.textContent = `${pixels ? "✓" : "nothing found:"} ${called(one)}`; found.push(pixels);
    } catch (error) { note.textContent = `not done: ${called(one)}`; if (error instanceof Stopped || error instanceof Lost) throw error; wrong.push(`${called(one)}: ${error.message}`); }
  }
  await show(await (await ask(`photographs/${photo.id}`)).json(), false);
  if (wrong.length) throw new Error(`${all.length - wrong.length} of ${all.length} are done. ${wrong[0]}`);
  say(`${count(all.length, "picture")} ${told}: ${count(found.reduce((sum, one) => sum + one, 0), "pixel")} repaired in all, nothing found on ${found.filter(one => !one).length}. Look at each, then save all as one archive.`);
});
$("mend-all").onclick = () => each("Finding and repairing", "mend", () => ({ sensitivity: Number($("sensitivity").value), ...grain() }), "searched");
$("mark-all").onclick = async () => {
  if (!bounds()) { say("Nothing is marked: mark on one picture what is to be repaired on all.", true); return; }
  const region = { ...await marked(), ...grain() }, { width, height } = photo;
  each("Repairing", "repair", one => { if (one.width !== width || one.height !== height) throw new Error(`it has another size than ${photo.name}.`); return region; }, "taken");
};
$("save-all").onclick = () => {
  const link = document.createElement("a"); link.href = `photographs/archive?like=${$("like-all").checked}`; link.download = ""; link.click();
  say(`${count(open.length, "picture")} and a contact sheet are saved in one archive, by the browser.`);
};

$("save").onclick = () => doing("Saving…", async () => {
  const like = Boolean(photo.lossy) && $("like").checked;
  const answer = await ask(`photographs/${photo.id}/export?like=${like}`), blob = await answer.blob();
  const name = decodeURIComponent(answer.headers.get("Content-Disposition").split("UTF-8''")[1]);
  download(blob, name);
  say(`Saved as ${name}, ${megabytes(blob.size)}.`);
});

// ----------------------------------------------------------------------------------- surprise

function unmap() { overlay = null; $("surprise").setAttribute("aria-pressed", "false"); draw(); }
function shade() {   // those that are expected least
  if (!overlay) return;
  const values = new Uint32Array(256), share = 10 ** Number($("threshold").value) / 100;
  for (const { data } of overlay) for (let k = 0; k < data.data.length; k += 4) values[data.data[k]]++;
  const total = values.reduce((sum, one) => sum + one, 0);
  let from = 256, above = 0;
  while (from > 1 && above + values[from - 1] <= share * total) above += values[--from];
  from = Math.min(from, 255);
  for (const part of overlay) {
    const seen = new ImageData(part.data.width, part.data.height);
    for (let k = 0; k < seen.data.length; k += 4) {
      const over = part.data.data[k] - from;
      seen.data.set([255, 200 - clamp(over * 4, 0, 200), 0, over >= 0 ? 255 : 0], k);
    }
    part.shown = canvasOf(seen);
  }
  draw();
  return from / 4;
}
const surprised = nats => say(`Coloured are the ${10 ** Number($("threshold").value)} % of the pixels in view that are least expected, each at least ${nats > 30 ? "10¹³" : thousands(Number(Math.exp(nats).toPrecision(1)))} times less likely than usual. Pixels of a wide scratch expect one another: Find damage looks for these.`);
$("surprise").onclick = () => {
  if ($("surprise").getAttribute("aria-pressed") === "true") { unmap(); return; }
  doing("Computing the map of surprise in view…", async () => {
    compare(false); see(0); unmap(); overlay = [];
    const zoom = zoomOf(devicePixelRatio);
    try {
      await working("surprise", { ...inView(), zoom }, async line => {
        if (!line.map) return;
        overlay.push({ data: pixelsOf(await decoded(line.map)), top: line.top, left: line.left, step: 2 ** zoom }); shade();
      });
    } catch (error) { if (!overlay?.length || !(error instanceof Stopped)) { unmap(); throw error; } }
    $("surprise").setAttribute("aria-pressed", "true");
    surprised(shade());
  });
};
$("threshold").addEventListener("input", () => { if (overlay) surprised(shade()); });

// ------------------------------------------------------------------------------ what is shown

const sides = () => photo.before ? [photo.before, "rgflow"] : ["before", "after"];
function compare(on) {
  compared = on; $("compare").setAttribute("aria-pressed", String(on)); $("divider").hidden = !on; draw();
  if (on) for (const [k, words] of sides().entries()) $("divider").querySelectorAll("b")[k].textContent = words;
}
$("compare").onclick = () => {
  see(0); compare(!compared);
  say(compared ? `Left of the line: ${sides()[0]}; right of it: ${sides()[1]}. Drag the line, or move it by arrow keys.` : "");
};
const divide = share => { split = clamp(share, 0.01, 0.99); draw(); };
$("divider").onpointerdown = event => { event.target.setPointerCapture(event.pointerId); };
$("divider").onpointermove = event => { if (event.buttons) divide((event.clientX - $("stage").getBoundingClientRect().left) / size()[0]); };
$("divider").onkeydown = event => { const by = { ArrowLeft: -0.02, ArrowRight: 0.02, Home: -1, End: 1 }[event.key]; if (by) { divide(split + by); event.preventDefault(); event.stopPropagation(); } };
$("in").onclick = () => zoomBy(1.6); $("out").onclick = () => zoomBy(1 / 1.6); $("fit").onclick = () => photo && fit();
const SAYS = { level: value => value === 0 ? "none" : `${2 ** value}×${2 ** value}`, levels: value => `${2 ** value}×${2 ** value}`, threshold: value => `${Number((10 ** value).toPrecision(2))} %` };
for (const slider of document.querySelectorAll(".slider input")) {
  const tell = () => { slider.parentElement.querySelector("output").textContent = (SAYS[slider.id] ?? String)(Number(slider.value)); };
  if (["sensitivity", "grain", "brush"].includes(slider.id)) {
    slider.value = sessionStorage[slider.id] ?? slider.value;
    slider.addEventListener("input", () => { sessionStorage[slider.id] = slider.value; });
  }
  slider.addEventListener("input", tell); tell();
}
$("level").addEventListener("input", () => {
  level = Number($("level").value); draw();
  if (level) say(`Averages of squares of ${2 ** level}×${2 ** level} pixels: what the model knows before it adds finer detail.`);
});
function see(value) { if (level !== value) { $("level").value = value; $("level").dispatchEvent(new Event("input")); } }
$("seeing").ontoggle = () => { if (!$("seeing").open) see(0); };
for (const id of ["colour", "seen", "brush"]) $(id).addEventListener("input", draw);

// ----------------------------------------------------------------------------------- pointers

for (const [name, words] of Object.entries(TOOLS)) {
  const label = document.createElement("label"), input = document.createElement("input");
  Object.assign(input, { type: "radio", name: "tool", value: name, checked: name === "brush" });
  label.append(input, name); label.title = words; label.hidden = name === "source"; $("kinds").append(label);
  input.onchange = () => pick(name);
}
function pick(name) {
  document.querySelector(`[name=tool][value=${name}]`).checked = true;
  canvas.className = name; lift(false); hover = null; draw();
  say(`The pointer ${TOOLS[name]}.`);
}

const pointers = new Map();
let space = false, last = null;
const at = event => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
const inPicture = ([x, y]) => [x0 + x / scale, y0 + y / scale];
const moves = event => tool() === "move" || space || event.buttons === 4 || pointers.size > 1 || compared;
const held = () => { if (busy()) say("Marking has to wait for what is under way; Stop ends it.", true); return busy(); };
canvas.onpointerdown = event => {
  if (!photo) return;
  cursor = null;
  canvas.setPointerCapture(event.pointerId); pointers.set(event.pointerId, at(event)); last = at(event);
  if (compared && tool() !== "move" && !busy()) say("The picture moves while before and after are compared: press that button again to mark.");
  if (pointers.size > 1) lift(false);   // two fingers zoom
  else if (moves(event) || held()) return;
  else if (tool() === "source") copyFrom(inPicture(last));
  else begin(inPicture(last), $("erase").checked !== event.altKey);
};
canvas.onpointermove = event => {
  if (!photo) return;
  const now = at(event);
  hover = event.pointerType === "touch" ? null : inPicture(now);
  if (!pointers.has(event.pointerId)) { outline(); return; }
  if (pointers.size === 2) {
    const [other] = [...pointers].filter(([id]) => id !== event.pointerId).map(([, place]) => place), before = pointers.get(event.pointerId);
    const apart = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]);
    zoomBy(clamp(apart(now, other) / Math.max(apart(before, other), 1), 0.5, 2), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
    x0 -= (now[0] - before[0]) / 2 / scale; y0 -= (now[1] - before[1]) / 2 / scale;
  } else if (line) lead(inPicture(now));
  else if (moves(event)) { x0 -= (now[0] - last[0]) / scale; y0 -= (now[1] - last[1]) / scale; draw(); }
  pointers.set(event.pointerId, now); last = now;
};
canvas.onpointerup = event => { pointers.delete(event.pointerId); lift(); };
canvas.onpointercancel = event => { pointers.delete(event.pointerId); lift(false); };
canvas.onpointerleave = () => { hover = null; outline(); };
canvas.addEventListener("wheel", event => { event.preventDefault(); if (photo) zoomBy(Math.exp(-event.deltaY * 0.0015), ...at(event)); }, { passive: false });

// --------------------------------------------------------------------------------------- keys

function arrow([x, y]) {   // moves the picture, or the place of the keyboard in it
  if (tool() === "move" || compared) { x0 += 40 * x / scale; y0 += 40 * y / scale; draw(); return; }
  const [w, h] = size(), by = Math.max(4 / scale, 1), seen = inView();
  cursor ??= [seen.left + seen.width / 2, seen.top + seen.height / 2];
  cursor = [clamp(cursor[0] + by * x, 0, photo.width), clamp(cursor[1] + by * y, 0, photo.height)];
  if (line) lead(cursor);
  x0 = clamp(x0, cursor[0] - (w - 30) / scale, cursor[0] - 30 / scale); y0 = clamp(y0, cursor[1] - (h - 30) / scale, cursor[1] - 30 / scale);
  draw();
}
const press = id => () => { if (!$(id).disabled) $(id).click(); };
const wider = by => { $("brush").value = Math.round(Number($("brush").value) * by + Math.sign(by - 1)); $("brush").dispatchEvent(new Event("input")); };
const KEYS = [   // what they do, their names, and which they are; those of the picture have the focus there
  ["open pictures", "Ctrl+O", { "^o": press("open") }],
  ["save at full size", "Ctrl+S", { "^s": press("save") }],
  ["undo; redo", "Ctrl+Z; Ctrl+Y or Ctrl+Shift+Z", { "^z": () => travel(-1), "^y": () => travel(1), "^Z": () => travel(1) }],
  ["repair what is marked", "Ctrl+Enter", { "^Enter": press("repair") }],
  ["stop; cancel a stroke, or copying", "Esc", { Escape: () => { if (line) lift(false); else if (busy()) job.stop(); else if (tool() === "source") pick("brush"); } }],
  ["find damage", "F", { f: press("find") }],
  ["next mark; previous; unmark this one", "N; P; Delete", { n: press("next"), p: press("back"), Delete: press("drop-find") }],
  ["move, brush, line, rectangle, lasso", "V, B, L, R, O", { v: () => pick("move"), b: () => pick("brush"), l: () => pick("line"), r: () => pick("rectangle"), o: () => pick("lasso") }],
  ["unmark instead of marking, and back", "E, or hold Alt", { e: press("erase") }],
  ["narrower brush; wider", "[ ; ]", { "[": () => wider(1 / 1.15), "]": () => wider(1.15) }],
  ["before and after", "C", { c: press("compare") }],
  ["zoom in; out; fit; full size", "+; −; 0; 1", { "+": () => zoomBy(1.25), "=": () => zoomBy(1.25), "-": () => zoomBy(0.8), "−": () => zoomBy(0.8), 0: press("fit"), 1: () => zoomBy(1 / scale / devicePixelRatio) }],
  ["these keys", "?", { "?": press("show-help") }],
  ["in the picture: move it, or the place of the brush; eight times as far", "arrows; Shift+arrows", {}],
  ["in the picture: begin a stroke, and end it", "Enter", {}],
  ["in the picture: move it, as the middle button does", "hold the space bar and drag", {}],
];
const keys = Object.assign({}, ...KEYS.map(([, , which]) => which));
for (const [what, names] of KEYS) { const name = document.createElement("dt"), does = document.createElement("dd"); name.textContent = names; does.textContent = what; $("keys").querySelector("dl").append(name, does); }
$("show-help").onclick = () => $("keys").showModal();
addEventListener("keydown", event => {
  if (document.querySelector("dialog[open]")) return;
  const here = event.target === canvas, by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (here && photo && by) arrow(by.map(one => one * (event.shiftKey ? 8 : 1)));
  else if (here && photo && event.key === "Enter" && !event.ctrlKey) {
    arrow([0, 0]);
    if (line) lift(); else if (tool() === "move" || compared || held()) return; else if (tool() === "source") copyFrom(cursor); else begin(cursor, $("erase").checked !== event.altKey);
  } else if (here && event.code === "Space") space = true;
  else {
    const control = event.ctrlKey || event.metaKey, act = keys[control ? `^${event.key}` : event.key] ?? (control ? null : keys[event.key.toLowerCase()]);
    if (!act || event.target.matches("select") || (event.target.matches("input[type=range]") && /^[-+0-9]$/.test(event.key))) return;
    if (photo || ["^o", "?"].includes(control ? `^${event.key}` : event.key)) act();
  }
  event.preventDefault();
});
addEventListener("keyup", event => { if (event.code === "Space") space = false; });
new ResizeObserver(() => { if (photo && fitted === viewed()) fit(); else draw(); }).observe(canvas);
// What was said last is about what was done last.
for (const kind of ["click", "input"]) $("tools").addEventListener(kind, event => { if (event.target.closest("button, summary, input, select") && !busy()) say(""); }, true);

for (const name of EXAMPLES) {
  const button = document.createElement("button"); button.textContent = name; button.onclick = () => example(name); $("examples").append(button);
}
resume();
