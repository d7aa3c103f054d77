// Drawers and the tour: what the page does without the server.
window.rgflow = {
  // The page by name, and the one before it in this tab, whose work is gone on with.
  name: crypto.getRandomValues(new Uint32Array(4)).join("-"), before: sessionStorage.rgflow || "",
  touched: false,  // by anybody, since it was loaded
  opened() {  // the panel that somebody has opened, if it isn't the first
    const tab = document.querySelector("#tabs [role=tab][aria-selected=true]:not(#tab-sample-button)");
    return tab ? tab.innerText : "";
  },
  resume(panel) {  // that of the page before, unless another was opened by now
    const tab = document.getElementById(`tab-${panel.toLowerCase()}-button`);
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
    note.textContent = "The server has ended. This page goes on as soon as it is back.";
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
  shade() { document.body.classList.toggle("dark"); },
  save() {
    document.querySelector("#canvas canvas").toBlob((blob) => {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(blob); link.download = "shown-at-left.png"; link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    });
  },
  shut() {
    for (const one of document.querySelectorAll(".drawer.shown")) one.classList.remove("shown");
  },
  // One sentence of help for whatever the pointer or the keyboard is at, shown below the image.
  help: {
    "status": "What the image is, and its bits per dimension: the lower, the more usual the model finds it.",
    "tab-sample-button": "Draw new images.", "tab-latents-button": "Take the image apart: which latents change what.",
    "tab-mix-button": "The coarse of one image with the fine of another.", "tab-repair-button": "Fill in what is missing or wrong.",
    "temperature": "How far all levels may stray at once.", "film": "Press Play again to go back to the maps.",
    "mix-film": "Press Animate again to go back to the mixtures.",
    "upload": "A picture on your computer; it is sent to the machine that serves this page, and kept by nobody.",
    "take-own": "Encode the picture, and look at it here.", "mix-own": "Encode the picture, and mix the current image with it.",
    "open-folder": "Open the run in that folder.",
    "save-image": "The current image.", "save-shown": "The current image, samples, mixtures and completions on one sheet.",
    "save-canvas": "What you see at the left, with all that lies over it.",
    "save-fields": "The strongest receptive fields of every level; with a pixel picked, those that are listed.", "save-path": "From the first image to the second, level by level and all at once.",
    "save-latent": "The last chosen latent moved to and fro.", "save-odd": "How surprising every place of the image is, level by level.",
    "save-repair": "Log p, step by step, while the hole was filled in.", "save-latents": "The numbers behind the image, for use in Python.",
    "psnr": "Peak signal-to-noise ratio: how near it comes to the image before; above 40 dB one hardly sees a difference.",
    "code": "Copy it into a file, and run it with Python.", "meanings": "Click a latent to get a slider for it.",
    "card": "What is known of the model: its data, its size, its likelihood.",
    "progress": "log p, step by step: how likely the model finds the whole image. It may fall; the likeliest that was met is kept.",
    "strip": "The image from coarse to fine: what each level of the model sees. Choose one to see its latents.",
    "fresh": "Every press of Draw takes the next seeds; without it, the same seeds give the same images.",
    "purpose": "What this page is about; another model can be chosen under Models.",
    "hint": "Which latents are listed.",
    "canvas": "The current image. Click a pixel to see which latents change it; under Repair, paint.",
    "open-models": "Which model is asked, and what is known of it.",
    "open-own": "Open a picture of your own.",
    "open-meaning": "What the latents of this model are known to mean.",
    "open-export": "Save the image, its latents, or an animation as a file.",
    "open-python": "The code that makes the current image again.",
    "undo": "Take back the last step (Ctrl+Z).", "redo": "Do it again (Ctrl+Shift+Z).",
    "open-tour": "Two minutes through everything.", "shade": "Dark or light.",
    "seed": "The first seed of the next images; the same seed gives the same image, always.", "count": "How many images are drawn.",
    "draw": "Draw images with these settings.", "samples": "Choose an image to look into.",
    "temperature-0": "How far the finest details may stray.", "temperature-#": "How far this level may stray.",
    "temperature": "How far all levels may stray, one like the other.",
    "level": "Coarse levels change much of an image, level 0 a few pixels.",
    "overlay": "Lay the map of the last chosen latent and its outline over the image.",
    "strongest": "List the latents that change images most.",
    "atlas": "Each map is one latent: bright where it changes the image. Choose one to move it.",
    "latent-#": "The value of this latent; 0 is the most typical.",
    "reset": "Back to the image before latents were moved.", "unchoose": "Take the sliders away; the image stays.",
    "zero": "Set all latents of this level to their most typical value.",
    "anew": "Draw this level at random, and keep the others.", "back": "Give this level what it had before.",
    "play": "Move the last chosen latent to and fro.", "name": "A name for what you have moved.",
    "save-direction": "Save what was moved, to use it on other images.",
    "directions": "What you have saved.", "times": "How far to go: 1 as far as it was, −1 the other way.",
    "apply-direction": "Move this image in the same way.", "forget-direction": "Delete the saved move; Undo brings it back.",
    "mix-seed": "Seed of the second image.", "draw-second": "Draw an image to mix with.",
    "use-second": "Make the current image the second; then choose another as the current one.",
    "swap": "Exchange the two images.", "animate-mix": "Show the path from one image to the other.",
    "mixtures": "Levels below Θ are of the second image. Choose a mixture to keep it.",
    "share-#": "0 is the first image, 1 the second.",
    "linear": "All levels alike: ordinary interpolation, to compare with.",
    "brush": "Width of the brush, in pixels of the model.", "erase": "Strokes erase instead of marking.",
    "clear-mask": "Unmark everything.", "find": "Let the model mark what it finds improbable: a damaged place, or what it has never seen.", "damage": "Put noise into a square of the image, to see what the model makes of it.",
    "hole-seed": "Another seed gives other completions.", "repair": "Fill in what is marked.",
    "stop": "Stop, and keep the best so far.", "completions": "What may be there. Choose one to keep it.",
    "crop": "The part that is taken; drag it, or use the arrow keys.", "zoom": "Take a smaller part of the picture.", "model": "The model of this page.",
    "folder": "A folder on the machine that serves this page.",
    "export-scale": "How large each pixel is drawn.", "film-kind": "The format of animations.",
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
    ["#canvas", "The current image", "Everything here is about this image, whose pixels are drawn as squares. The number below it, bits per dimension, says how surprised the model is: the lower, the more usual. The model can score it, take it apart into latents, and build it again exactly."],
    ["#tab-sample-button", "Sample", "The model invents images. Press Draw, then choose one: it becomes the current image. A lower temperature gives more typical images. (Everything works while the tour is open.)"],
    ["#tab-latents-button", "Latents", "As physics does with matter, the model looks at small blocks, sets their fine detail aside as independent numbers, the latents, and hands what is coarse to the next level, which does the same. Each map shows where one latent changes the image: choose one, and move its slider. A coarse one may change everything, a fine one a few pixels."],
    ["#tab-mix-button", "Mix", "As levels are independent, two images can be mixed level by level. Draw a second one, and choose Θ = 1: the coarse of the first, what is where and in which colours, with the finest detail of the second. At the highest Θ all is of the second."],
    ["#tab-repair-button", "Repair", "Paint over a part of the image with the mouse, or press Damage it and Find what is odd; then Repair. The model fills in what fits to the rest, in several ways, and looks only at latents that the hole depends on."],
    ["#open-own", "Your own image", "Upload a picture, and see how unusual it is for the model at every level. A model knows only the kind of images that it has learned from; others will surprise it."],
    ["#open-models", "Models", "Choose another model, or a run of your own. The card says what it was trained on, and how well."],
    ["#open-meaning", "Meaning", "What latents of this model are known to mean: which of them tells most about the colour, the angle or the place of something. Click one to get a slider for it."],
    ["#open-export", "Export", "Save images, animations and latents as files."],
    ["#open-python", "Python", "Whatever you did, here is the code that does it again."],
    ["#undo", "Undo", "Nothing can be broken: every step can be undone. Have fun."],
  ],
  tour(at = 0) {
    document.getElementById("tour")?.remove();
    for (const one of document.querySelectorAll(".toured")) one.classList.remove("toured");
    this.shut();
    if (at < 0 || at >= this.steps.length) { document.getElementById("open-tour")?.focus(); return; }
    const [target, title, words] = this.steps[at];
    const found = document.querySelector(target);
    if (target.startsWith("#tab-")) found.click();
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
    const aside = /^#(tab|open)-/.test(target);  // what it speaks of isn't to be covered
    box.classList.toggle("wide", aside);
    document.body.append(box);
    const spot = found.getBoundingClientRect(), size = box.getBoundingClientRect();
    const within = (at, most) => Math.max(16, Math.min(at, most - 16)) + "px";
    box.style.left = within(aside ? 20 : target === "#canvas" ? spot.right + 24 : spot.left, innerWidth - size.width);
    box.style.top = within(aside ? innerHeight : target === "#canvas" ? spot.top + 24 : spot.bottom + 12, innerHeight - size.height);
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
// The button says what it leads to, whoever made the page dark.
new MutationObserver(() => {
  const button = document.getElementById("shade");
  const label = document.body?.classList.contains("dark") ? "Light" : "Dark";
  if (button && button.textContent.trim() !== label) button.textContent = label;
}).observe(document.documentElement, { attributeFilter: ["class"], childList: true, subtree: true });
// A click beside a drawer closes it, but not one on the bar, which may be about what it shows.
document.addEventListener("pointerdown", (event) => {
  if (!event.target.closest?.(".drawer, #bar, #tour, .toast-wrap, [role=listbox], [role=option]")) window.rgflow.shut();
});
// Files that the server would refuse aren't sent.
for (const kind of ["change", "drop"])
  document.addEventListener(kind, (event) => {
    const { target, dataTransfer } = event, place = document.getElementById("refused");
    if (!target.closest?.("#upload")) return;
    const large = [...(dataTransfer || target).files || []].find((one) => one.size > LARGEST_UPLOAD);
    place.textContent = large ? `Expected a file of at most ${LARGEST_UPLOAD / 1e6} MB; ${large.name} has ${(large.size / 1e6).toFixed(1)}: make the picture smaller first.` : "";
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
    if (!event.target.closest?.("[id^=latent-], [id^=share-], #linear")) return;
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
