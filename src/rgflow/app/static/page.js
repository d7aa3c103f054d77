// The header of both pages, and what keys do.
const KEYS = { "Ctrl+Z; Ctrl+Y": "undo; redo", "arrows in the image": "choose a pixel", "Enter in the image": "show which latents change it; under Repair, paint it", "?": "these keys" };
const begin = () => {
  document.body.insertAdjacentHTML("afterbegin", HEADER);
  document.body.insertAdjacentHTML("beforeend", `<dialog id="keys" aria-labelledby="keys-title"><h2 id="keys-title">Keys</h2><dl>${Object.entries(KEYS).map(([key, does]) => `<dt>${key}</dt><dd>${does}</dd>`).join("")}</dl><form method="dialog"><button>Close</button></form></dialog>`);
  document.getElementById("show-help").onclick = () => document.getElementById("keys").showModal();
};
if (document.body) begin(); else addEventListener("DOMContentLoaded", begin);
// Help and waiting: what the page does without the server.
window.rgflow = {
  // The page by name, and those before it in this tab, whose work is gone on with.
  name: crypto.getRandomValues(new Uint32Array(4)).join("-"), before: sessionStorage.rgflow || "",
  async watch() {  // the server, which may end, or be killed and started again
    const rest = () => new Promise((resolve) => setTimeout(resolve, 2000));
    const began = () => fetch("../health").then(async (answer) => answer.ok && (await answer.json()).started).catch(() => false);
    const first = await began();
    for (let missed = 0; missed < 2 && !this.ended;) {   // one may be missed on the way
      await rest();
      const now = await began();
      missed = now === first ? 0 : missed + (now ? 2 : 1);
    }
    clearInterval(this.ticking); document.body.dataset.lost = true;
    document.getElementById("doing")?.replaceChildren("The server has stopped. This page continues as soon as it is back.");
    while (!await began()) await rest();
    location.reload();
  },
  // What is under way, in words, for whoever waits longer than half a second.
  waiting: [], ticking: 0,
  busy(words) {
    this.waiting.push(words); clearInterval(this.ticking); document.body.dataset.doing = this.waiting.join();
    const start = performance.now(), place = document.getElementById("doing");
    this.ticking = setInterval(() => {
      const seconds = Math.round((performance.now() - start) / 1000);
      place.textContent = `${words} … ${seconds ? `${seconds} s` : ""}`;
    }, 500);
  },
  rest() {
    this.waiting.shift(); document.body.dataset.doing = this.waiting.join();
    if (!this.waiting.length) { clearInterval(this.ticking); document.getElementById("doing").textContent = ""; }
  },
  // One sentence of help for whatever the pointer or the keyboard is at, shown below the image.
  help: {
    "status": "What the image is, and its bits per dimension: the lower, the more typical it is for the model.",
    "model": "The model of this page. Choose another one, or type the folder of a run.",
    "own": "Open a picture of your own, up to 10 MB; its centre becomes the current image. The machine that serves this page deletes it after a day without use.",
    "save-image": "Save the current image, with a square of 8×8 pixels for every pixel.",
    "save-latents": "Save the latents of the image, for use in Python: flow.decode(Latents.load(file)).",
    "strip": "The image from coarse to fine, as each level of the model sees it.",
    "purpose": "What the model of this page has learned.",
    "canvas": "The current image. Click a pixel to see which latents change it; under Repair, paint.",
    "undo": "Undo the last step (Ctrl+Z).",
    "redo": "Redo the step (Ctrl+Shift+Z).",
    ...Object.assign({}, ...PANELS),
  },
  explain(target) {
    let found = "";
    for (let one = target; !found && one && one !== document.body; one = one.parentElement)
      found = this.help[one.id] ?? this.help[one.id.replace(/\d+$/, "#")] ?? "";
    document.getElementById("help")?.replaceChildren(found);   // which comes after the header
  },
};
window.rgflow.watch();
// The server has answered for the first time: from now on the page has a stream that stays open.
window.rgflow.connected = new Promise((resolve) => { window.rgflow.connect = () => { window.rgflow.before = ""; resolve(); }; });
// What is left behind is found again by a page in its place, but not by a copy of the tab.
delete sessionStorage.rgflow;
addEventListener("pagehide", () => { sessionStorage.rgflow = [window.rgflow.name, window.rgflow.before].join().slice(0, 200); });
addEventListener("pageshow", () => { delete sessionStorage.rgflow; });
for (const kind of ["mouseover", "focusin"])
  document.addEventListener(kind, (event) => window.rgflow.explain(event.target));
listen(([file]) => {
  if (!file) return;
  const input = document.querySelector("input[type=file]"), chosen = new DataTransfer();
  chosen.items.add(file); input.files = chosen.files; input.dispatchEvent(new Event("change", { bubbles: true }));
});
// Gradio tells of a slider's end only by the mouse: with the keyboard it is when keys rest.
let resting = null;
for (const kind of ["keyup", "change"])
  document.addEventListener(kind, (event) => {
    if (!event.target.closest?.("[id^=latent-], [id^=share-]")) return;
    clearTimeout(resting);
    resting = setTimeout(() => document.querySelector("#settle")?.click(), kind === "change" ? 300 : 1000);
  });
document.addEventListener("pointerdown", () => clearTimeout(resting));  // the next slider may be in motion
// Numbers stay within their range, before anybody else sees them.
document.addEventListener("input", (event) => {
  const { target } = event;
  if (target.type !== "number" || Number.isNaN(target.valueAsNumber)) return;
  const [least, most] = [target.min, target.max].map((x, k) => x === "" ? [-Infinity, Infinity][k] : Number(x));
  const within = Math.min(most, Math.max(least, target.valueAsNumber));
  if (within !== target.valueAsNumber) target.value = within;
}, true);
document.addEventListener("keydown", (event) => {
  const writing = event.target.matches?.("input:not([type=range], [type=checkbox], [type=radio]), textarea, [contenteditable=true]");
  const key = event.key.toLowerCase(), control = event.ctrlKey || event.metaKey;
  const does = writing ? null : control && key === "z" ? (event.shiftKey ? "#redo" : "#undo") : control && key === "y" ? "#redo" : key === "?" ? "#show-help" : null;
  if (does) { document.querySelector(does)?.click(); event.preventDefault(); }
});
