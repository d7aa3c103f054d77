// Latents in tables, each of which can be chosen: a click triggers "choose".
element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-address]");
  if (!button) return;
  trigger("choose", { address: button.dataset.address });
  window.rgflow.close("meaning");  // what it leads to lies below
});
