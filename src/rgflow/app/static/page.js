// Drawers and the tour: what the page does without the server.
window.rgflow = {
  // The page by name, and the one before it in this tab, whose work is gone on with.
  name: crypto.getRandomValues(new Uint32Array(4)).join("-"), before: sessionStorage.rgflow || "",
  touched: false,  // by anybody, since it was loaded
  opened() {  // the panel that somebody has opened, if it isn't the first
    const [first, ...others] = document.querySelectorAll("#tabs [role=tab]");
    return others.find((tab) => tab.ariaSelected === "true")?.innerText ?? "";
  },
  resume(panel) {  // that of the page before, unless another was opened by now
    const tab = [...document.querySelectorAll("#tabs [role=tab]")].find((one) => one.innerText === panel);
    if (tab && !this.opened() && tab.ariaSelected !== "true") tab.click();
  },
  settle() { document.querySelector("#settle")?.click(); },
  open(name) {
    this.settle();  // whatever a slider shows is what is exported
    const drawer = document.getElementById("drawer-" + name), shown = drawer.classList.contains("shown");
    this.shut();
    if (!shown) {
      drawer.classList.add("shown");
      drawer.querySelector("button, input, textarea")?.focus();
    }
  },
  close(name) {
    document.getElementById("drawer-" + name).classList.remove("shown");
    document.getElementById("open-" + name)?.focus();
  },
  async lost() {  // the server: the page is loaded again as soon as it answers
    const note = document.createElement("div");
    note.id = "lost"; note.role = "status";
    note.textContent = "The server has stopped. This page continues as soon as it is back.";
    document.body.append(note);
    while (!await fetch("health").then((answer) => answer.ok, () => false))
      await new Promise((resolve) => setTimeout(resolve, 2000));
    location.reload();
  },
  // What is under way, in words, for whoever waits longer than half a second.
  waiting: 0, ticking: 0,
  busy(words) {
    this.waiting++; clearInterval(this.ticking);
    const start = performance.now(), place = document.getElementById("doing");
    this.ticking = setInterval(() => {
      const seconds = Math.round((performance.now() - start) / 1000);
      place.textContent = `${words} … ${seconds ? `${seconds} s` : ""}`;
    }, 500);
  },
  rest() {
    if (--this.waiting > 0) return;
    this.waiting = 0; clearInterval(this.ticking); document.getElementById("doing").textContent = "";
  },
  save() {
    document.querySelector("#canvas canvas").toBlob((blob) => download(blob, "shown-at-left.png"));
  },
  shut() {
    for (const one of document.querySelectorAll(".drawer.shown")) one.classList.remove("shown");
  },
  // One sentence of help for whatever the pointer or the keyboard is at, shown below the image.
  help: {
    "status": "What the image is, and its bits per dimension: the lower, the more typical it is for the model.",
    "upload": "A picture on your computer. It is sent to the machine that serves this page and isn't kept there.",
    "take-own": "Encode the picture and make it the current image.",
    "mix-own": "Encode the picture and make it the second image in Mix.",
    "open-folder": "Open the run in that folder.",
    "save-image": "The current image.",
    "save-shown": "The current image, samples, mixtures and completions in one picture.",
    "save-canvas": "The image on the left as you see it, with everything drawn over it.",
    "save-latents": "The latents of the image, for use in Python.",
    "meanings": "Click a latent to get a slider for it.",
    "card": "What is known about the model: its data, size and likelihood.",
    "strip": "The image from coarse to fine, as each level of the model sees it. Choose a level to see its latents.",
    "purpose": "The model of this page. Choose another one under Models.",
    "canvas": "The current image. Click a pixel to see which latents change it; under Repair, paint.",
    "open-models": "Choose a model, and see what is known about it.",
    "open-own": "Open a picture of your own.",
    "open-meaning": "What is known about the meaning of this model's latents.",
    "open-export": "Save the image or its latents as a file.",
    "undo": "Undo the last step (Ctrl+Z).",
    "redo": "Redo the step (Ctrl+Shift+Z).",
    "open-tour": "A tour of this page in two minutes.",
    "crop": "The part to use, as the model sees it.",
    "zoom": "Use a smaller part of the picture.",
    "across": "Where the part lies, from left to right.", "down": "Where the part lies, from top to bottom.",
    "model": "The model of this page.",
    "folder": "A folder on the machine that serves this page.",
    "export-scale": "Size of each pixel of the image in the file.",
    ...Object.assign({}, ...PANELS.map((panel) => panel.help)),
  },
  explain(target) {
    for (let one = target; one && one !== document.body; one = one.parentElement) {
      const found = this.help[one.id] ?? this.help[one.id.replace(/\d+$/, "#")];
      if (found) { document.getElementById("help").textContent = found; return; }
      if (one.classList.contains("drawer-close")) { document.getElementById("help").textContent = "Close this drawer (Esc)."; return; }
    }
    document.getElementById("help").textContent = "";
  },
  steps: [
    ["#canvas", "The current image", "Everything here works on this image; its pixels are drawn as squares. The number below it, in bits per dimension, says how surprising the model finds it: the lower, the more typical. The model can score the image, encode it into latents, and decode it again exactly."],
    ...PANELS.flatMap((panel) => panel.steps),
    ["#open-own", "Your own image", "Upload a picture, and see how unusual each level of it is for the model. A model knows only images like those it was trained on; all others look unusual to it."],
    ["#open-models", "Models", "Choose another model, or a run of your own. The card shows its training data and its likelihood."],
    ["#open-meaning", "Meaning", "What is known about the meaning of this model's latents: which of them carries most information about the colour, angle or position of something. Click one to get a slider for it."],
    ["#open-export", "Export", "Save images and latents as files."],
    ["#undo", "Undo", "You can't break anything: every step can be undone."],
  ],
  tour(at = 0) {
    document.getElementById("tour")?.remove();
    for (const one of document.querySelectorAll(".toured")) one.classList.remove("toured");
    this.shut();
    if (at < 0 || at >= this.steps.length) { document.getElementById("open-tour")?.focus(); return; }
    const [target, title, words, performed] = this.steps[at];
    const found = document.querySelector(target);
    if (target.startsWith("#tab-")) found.click();
    const perform = (tries) => {  // once the panel is there
      const one = document.querySelector(performed);
      if (one) one.click(); else if (tries) setTimeout(perform, 100, tries - 1);
    };
    if (performed) perform(50);
    if (target.startsWith("#open-")) this.open(target.replace("#open-", ""));
    (target.startsWith("#tab-") ? document.getElementById("right") : found).classList.add("toured");
    const box = document.createElement("div");
    box.id = "tour"; box.role = "dialog"; box.ariaLabel = "Tour: " + title; box.tabIndex = -1;
    box.innerHTML = `<h3></h3><p></p><footer><span>${at + 1} of ${this.steps.length}</span></footer>`;
    box.querySelector("h3").textContent = title;
    box.querySelector("p").textContent = words;
    const button = (label, to) => {
      const one = document.createElement("button");
      one.textContent = label; one.type = "button";
      one.addEventListener("click", () => this.tour(to));
      box.querySelector("footer").append(one);
      return one;
    };
    button("End", -1);
    if (at) button("Back", at - 1);
    const next = button(at + 1 < this.steps.length ? "Next" : "Done", at + 1);
    box.addEventListener("keydown", (event) => {
      if (event.key === "ArrowRight") this.tour(at + 1);
      if (event.key === "ArrowLeft" && at) this.tour(at - 1);
    });
    document.body.append(box);
    next.focus();
  },
};
// The server has answered for the first time: from now on the page has a stream that stays open.
window.rgflow.connected = new Promise((resolve) => { window.rgflow.connect = resolve; });
// What is left behind is found again by a page in its place, but not by a copy of the tab.
delete sessionStorage.rgflow;
addEventListener("pagehide", () => { sessionStorage.rgflow = window.rgflow.name; });
addEventListener("pageshow", () => { delete sessionStorage.rgflow; });
for (const kind of ["click", "keydown"])
  document.addEventListener(kind, () => { window.rgflow.touched = true; }, true);
for (const kind of ["mouseover", "focusin"])
  document.addEventListener(kind, (event) => window.rgflow.explain(event.target));
// A click beside a drawer closes it, but not one on the bar, which may be about what it shows.
document.addEventListener("pointerdown", (event) => {
  if (!event.target.closest?.(".drawer, #bar, #tour, .toast-wrap, [role=listbox], [role=option]")) window.rgflow.shut();
});
// Files that the server would refuse aren't sent.
for (const kind of ["change", "drop"])
  document.addEventListener(kind, (event) => {
    const { target, dataTransfer } = event, place = document.getElementById("refused");
    if (!target.closest?.("#upload")) return;
    const large = [...(dataTransfer || target).files || []].find((one) => one.size > MAX_UPLOAD);
    place.textContent = large ? `Expected a file of at most ${MAX_UPLOAD / 1e6} MB; ${large.name} has ${(large.size / 1e6).toFixed(1)} MB: make the picture smaller first.` : "";
    if (!large) return;
    event.preventDefault(); event.stopImmediatePropagation();
    if (!dataTransfer) target.value = "";
  }, true);
// A picture that is dropped or pasted anywhere opens as if it had been chosen.
const given = (event, files) => {
  const file = [...files || []][0];
  if (!file || event.target.closest?.("#upload")) return;
  event.preventDefault();
  document.getElementById("open-own")?.click();
  document.querySelector("#upload button[aria-label=Clear]")?.click();
  const put = (left) => {
    const input = document.querySelector("#upload input[type=file]");
    if (!input) return left && setTimeout(put, 50, left - 1);
    const transfer = new DataTransfer();
    transfer.items.add(file); input.files = transfer.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  };
  setTimeout(put, 50, 40);
};
document.addEventListener("dragover", (event) => { if (!event.target.closest?.("#upload")) event.preventDefault(); });
document.addEventListener("drop", (event) => given(event, event.dataTransfer?.files));
document.addEventListener("paste", (event) => given(event, event.clipboardData?.files));
// Gradio tells of a slider's end only by the mouse: with the keyboard it is when keys rest.
let resting = null;
for (const kind of ["keyup", "change"])
  document.addEventListener(kind, (event) => {
    if (!event.target.closest?.("[id^=latent-], [id^=share-]")) return;
    clearTimeout(resting);
    resting = setTimeout(() => window.rgflow.settle(), kind === "change" ? 300 : 1000);
  });
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
  if (event.key === "Escape" && event.target.getAttribute?.("aria-expanded") !== "true") {
    const shown = document.querySelector(".drawer.shown");
    if (document.getElementById("tour")) window.rgflow.tour(-1);
    else if (shown) window.rgflow.close(shown.id.replace("drawer-", ""));
  }
  if ((event.ctrlKey || event.metaKey) && !writing && event.key.toLowerCase() === "z") {
    document.querySelector(event.shiftKey ? "#redo" : "#undo")?.click();
    event.preventDefault();
  }
});
