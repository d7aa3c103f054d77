// The current image: every pixel of the model a square. It is drawn from props.value, and tells the
// server by two events what a person does: "pick" (a pixel is chosen) and "stroke" (a mask painted).
const canvas = element.querySelector("canvas");
const context = canvas.getContext("2d");
let shown = null;      // what props.value says
let mask = null;       // one byte per pixel
let cursor = null;     // [row, column] of the keyboard
let painting = null;   // what a stroke sets, 1 or 0; none: no stroke under way
let last = null;

const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

function pixels(width, height, colour) {
  const sheet = new OffscreenCanvas(width, height), into = sheet.getContext("2d");
  const data = into.createImageData(width, height);
  for (let k = 0; k < width * height; k++) data.data.set(colour(k), 4 * k);
  into.putImageData(data, 0, 0);
  return sheet;
}

function lay(sheet) {
  context.imageSmoothingEnabled = false;
  context.drawImage(sheet, 0, 0, canvas.width, canvas.height);
}

// Around all marked pixels, along the edges that they don't share.
function outline(marks, colour, width) {
  const { width: w, height: h } = shown, x = canvas.width / w, y = canvas.height / h;
  context.beginPath();
  for (let i = 0; i < h; i++) for (let j = 0; j < w; j++) {
    if (!marks[i * w + j]) continue;
    if (!i || !marks[(i - 1) * w + j]) { context.moveTo(j * x, i * y); context.lineTo((j + 1) * x, i * y); }
    if (i == h - 1 || !marks[(i + 1) * w + j]) { context.moveTo(j * x, (i + 1) * y); context.lineTo((j + 1) * x, (i + 1) * y); }
    if (!j || !marks[i * w + j - 1]) { context.moveTo(j * x, i * y); context.lineTo(j * x, (i + 1) * y); }
    if (j == w - 1 || !marks[i * w + j + 1]) { context.moveTo((j + 1) * x, i * y); context.lineTo((j + 1) * x, (i + 1) * y); }
  }
  // Dark and light beside the colour, so that one of them is seen on any image.
  context.lineWidth = width + 4; context.strokeStyle = "rgba(0,0,0,.55)"; context.stroke();
  context.lineWidth = width + 2; context.strokeStyle = "rgba(255,255,255,.8)"; context.stroke();
  context.lineWidth = width; context.strokeStyle = colour; context.stroke();
}

function draw() {
  if (!shown) return;
  const { width, height, rgb, outlines, paint } = shown;
  lay(pixels(width, height, (k) => [rgb[3 * k], rgb[3 * k + 1], rgb[3 * k + 2], 255]));
  for (const one of outlines) outline(one.marks, one.colour, 2);
  if (paint) {  // what has been filled in is to be seen
    if (!shown.filled || painting !== null) lay(pixels(width, height, (k) => [230, 60, 60, mask[k] ? 110 : 0]));
    outline(mask, "#ff5050", 2);
  }
  if (cursor && document.activeElement === canvas) {
    const x = canvas.width / width, y = canvas.height / height;
    context.setLineDash([4, 3]); context.lineWidth = 2; context.strokeStyle = "#ffffff";
    context.strokeRect(cursor[1] * x, cursor[0] * y, x, y); context.setLineDash([]);
  }
}

function update() {
  if (!props.value) return;
  const value = JSON.parse(props.value);
  if (shown && value.order < shown.order) return;  // overtaken by a later one
  shown = { ...value, rgb: bytes(value.rgb),
            outlines: value.outlines.map((one) => ({ ...one, marks: bytes(one.marks) })) };
  if (painting === null) mask = bytes(value.mask);
  const edge = 448, scale = Math.max(1, Math.floor(edge / Math.max(value.width, value.height)));
  if (canvas.width !== value.width * scale || canvas.height !== value.height * scale) {
    canvas.width = value.width * scale; canvas.height = value.height * scale;
  }
  canvas.style.width = Math.round((edge * value.width) / Math.max(value.width, value.height)) + "px";
  canvas.setAttribute("aria-label", value.label);
  canvas.style.cursor = value.paint ? "crosshair" : "pointer";
  canvas.dataset.revision = value.revision;
  canvas.dataset.pixels = value.rgb;
  draw();
}

function at(event) {
  const box = canvas.getBoundingClientRect();
  const place = (share, size) => Math.min(size - 1, Math.max(0, Math.floor(share * size)));
  return [place((event.clientY - box.top) / box.height, shown.height),
          place((event.clientX - box.left) / box.width, shown.width)];
}

const mark = () => document.querySelector("#erase input").checked ? 0 : 1;

function dab([i, j]) {
  const r = (document.querySelector("#brush input").value - 1) / 2;
  for (let a = Math.ceil(i - r); a <= i + r; a++) for (let b = Math.ceil(j - r); b <= j + r; b++)
    if (a >= 0 && b >= 0 && a < shown.height && b < shown.width) mask[a * shown.width + b] = painting;
}

function along(from, to) {
  const steps = Math.max(Math.abs(to[0] - from[0]), Math.abs(to[1] - from[1]), 1);
  for (let k = 0; k <= steps; k++)
    dab([0, 1].map((axis) => Math.round(from[axis] + (k / steps) * (to[axis] - from[axis]))));
}

const tell = () => trigger("stroke", { marked: [...mask.keys()].filter((k) => mask[k]) });

canvas.addEventListener("pointerdown", (event) => {
  if (!shown || event.button > 0) return;
  canvas.focus();
  const place = (cursor = at(event));
  if (!shown.paint) { trigger("pick", { row: place[0], column: place[1] }); draw(); return; }
  canvas.setPointerCapture(event.pointerId);
  painting = mark(); last = place; dab(place); draw();
});
canvas.addEventListener("pointermove", (event) => {
  if (painting === null) return;
  const place = at(event); along(last, place); last = cursor = place; draw();
});
const lift = () => { if (painting !== null) { painting = null; tell(); draw(); } };
canvas.addEventListener("pointerup", lift);
canvas.addEventListener("pointercancel", lift);
canvas.addEventListener("focus", () => { cursor = cursor || [0, 0]; draw(); });
canvas.addEventListener("blur", draw);
canvas.addEventListener("keydown", (event) => {
  const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
  if (step) {
    cursor = [Math.min(shown.height - 1, Math.max(0, cursor[0] + step[0])),
              Math.min(shown.width - 1, Math.max(0, cursor[1] + step[1]))];
  } else if (event.key === "Enter" || event.key === " ") {
    if (shown.paint) { painting = mark(); dab(cursor); painting = null; tell(); }
    else trigger("pick", { row: cursor[0], column: cursor[1] });
  } else return;
  event.preventDefault(); draw();
});

watch("value", update);
update();
