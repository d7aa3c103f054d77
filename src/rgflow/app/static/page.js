// Drawers and the tour: what the page does without the server.
window.rgflow = {
  open(name) {
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
  shut() {
    for (const one of document.querySelectorAll(".drawer.shown")) one.classList.remove("shown");
  },
  steps: [
    ["#canvas", "The current image", "Everything here is about this image: 32 × 32 pixels, each drawn as a square. The model can score it, take it apart into latents, and build it again exactly."],
    ["#tab-sample-button", "Sample", "The model invents images. Press Draw, then choose one. A lower temperature gives more typical images."],
    ["#tab-latents-button", "Latents", "The model describes an image by independent numbers, the latents, on levels from fine to coarse. Each small map shows where one latent changes the image. Choose a map and move its slider: a coarse latent can recolour all ovals at once, a fine one a single pixel."],
    ["#tab-mix-button", "Mix", "Take the coarse levels of one image and the fine levels of another: Θ tells where one ends and the other begins."],
    ["#tab-repair-button", "Repair", "Paint over a part of the image, and the model fills in what fits to the rest, in several ways if you like."],
    ["#open-own", "Your own image", "Upload a picture, and see how unusual it is for the model at every level. The model of this page knows small ovals; on a photograph it will be surprised."],
    ["#open-python", "Python", "Whatever you did, here is the code that does it again."],
    ["#undo", "Undo", "Nothing can be broken: every step can be undone. Have fun."],
  ],
  tour(at = 0) {
    document.getElementById("tour")?.remove();
    for (const one of document.querySelectorAll(".toured")) one.classList.remove("toured");
    if (at < 0 || at >= this.steps.length) { document.getElementById("open-tour")?.focus(); return; }
    this.shut();
    const [target, title, words] = this.steps[at];
    const found = document.querySelector(target);
    if (target.startsWith("#tab-")) found?.click();
    found?.classList.add("toured");
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
      if (event.key === "Escape") this.tour(-1);
      if (event.key === "ArrowRight") this.tour(at + 1);
      if (event.key === "ArrowLeft" && at) this.tour(at - 1);
    });
    document.body.append(box);
    if (found) {
      const spot = found.getBoundingClientRect(), size = box.getBoundingClientRect();
      const beside = spot.right + size.width + 24 < innerWidth && spot.height > 200;
      const left = beside ? spot.right + 16 : Math.min(spot.left, innerWidth - size.width - 16);
      const top = beside ? spot.top + 24 : Math.min(spot.bottom + 12, innerHeight - size.height - 16);
      box.style.left = Math.max(16, left) + "px"; box.style.top = Math.max(16, top) + "px";
    }
    next.focus();
  },
};
document.addEventListener("keydown", (event) => {
  const writing = event.target.matches?.("input, textarea, [contenteditable=true]");
  if (event.key === "Escape") window.rgflow.shut();
  if ((event.ctrlKey || event.metaKey) && !writing && event.key.toLowerCase() === "z") {
    document.querySelector(event.shiftKey ? "#redo" : "#undo")?.click();
    event.preventDefault();
  }
});
