// A picture, and the part of it that is taken. props.value says what picture; a drag or the arrow
// keys move the part, which triggers "move" with its middle, as shares of the picture.
const frame = element.querySelector(".crop");
const picture = frame.querySelector("img"), part = frame.querySelector("div");
let shown = null, middle = [0.5, 0.5], held = null;

const zoom = () => Number(document.querySelector("#zoom input[type=range]")?.value || 1);
const tell = () => trigger("move", { x: middle[0], y: middle[1] });

// Width and height of the part, as shares of the picture.
function extent() {
  const { width, height, columns, rows } = shown, scale = Math.min(width / columns, height / rows) / zoom();
  return [columns * scale / width, rows * scale / height];
}

// The place nearest to another at which the part lies within the picture. The server does the same,
// so that zooming, of which it learns by itself, leaves the middle as it is.
const within = (place) => {
  const size = extent();
  return place.map((at, k) => Math.min(1 - size[k] / 2, Math.max(size[k] / 2, at)));
};

function draw() {
  frame.hidden = !shown;
  if (!shown) return;
  const size = extent(), place = within(middle);
  const percent = (share) => 100 * share + "%";
  part.style.left = percent(place[0] - size[0] / 2); part.style.top = percent(place[1] - size[1] / 2);
  part.style.width = percent(size[0]); part.style.height = percent(size[1]);
}

function update() {
  shown = props.value ? JSON.parse(props.value) : null;
  middle = [0.5, 0.5];
  if (shown) picture.src = shown.picture; else picture.removeAttribute("src");
  draw();
}

const at = (event) => {
  const box = frame.getBoundingClientRect();
  return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
};

frame.addEventListener("pointerdown", (event) => {
  if (!shown || event.button > 0) return;
  event.preventDefault(); part.focus();
  frame.setPointerCapture(event.pointerId);
  const place = at(event), size = extent();
  middle = within(middle);
  const inside = place.every((share, k) => Math.abs(share - middle[k]) <= size[k] / 2);
  if (!inside) middle = within(place);  // it comes to where one points
  held = place.map((share, k) => share - middle[k]);
  draw();
});
frame.addEventListener("pointermove", (event) => {
  if (held) { middle = within(at(event).map((share, k) => share - held[k])); draw(); }
});
for (const kind of ["pointerup", "pointercancel"])
  frame.addEventListener(kind, () => { if (held) { held = null; tell(); } });
part.addEventListener("keydown", (event) => {
  const step = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] }[event.key];
  if (!step || !shown) return;
  middle = within(within(middle).map((share, k) => share + step[k] / 50));
  event.preventDefault(); draw(); tell();
});
document.addEventListener("input", (event) => { if (event.target.closest?.("#zoom")) draw(); });

watch("value", update);
update();
