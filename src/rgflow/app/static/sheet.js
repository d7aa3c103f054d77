// Small pictures side by side, each of which can be chosen: a click or Enter triggers "choose".
const place = element.querySelector(".sheet");
const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

function picture(one) {
  const canvas = document.createElement("canvas");
  canvas.width = one.width; canvas.height = one.height;
  const into = canvas.getContext("2d"), data = into.createImageData(one.width, one.height);
  const rgb = bytes(one.rgb);
  for (let k = 0; k < one.width * one.height; k++)
    data.data.set([rgb[3 * k], rgb[3 * k + 1], rgb[3 * k + 2], 255], 4 * k);
  into.putImageData(data, 0, 0);
  return canvas;
}

function update() {
  const value = props.value ? JSON.parse(props.value) : { items: [], size: 64 };
  const focused = [...place.children].indexOf(document.activeElement);
  place.style.setProperty("--size", value.size + "px");
  place.replaceChildren(...value.items.map((one, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.title = button.ariaLabel = one.title || one.caption;
    button.ariaPressed = one.chosen ? "true" : "false";
    button.append(picture(one));
    const caption = document.createElement("span");
    caption.textContent = one.caption;
    button.append(caption);
    button.addEventListener("click", () => trigger("choose", { index, caption: one.caption }));
    return button;
  }));
  if (!value.items.length && value.empty) {
    const words = document.createElement("p");
    words.textContent = value.empty;
    place.append(words);
  }
  if (focused >= 0 && place.children[focused]) place.children[focused].focus();
}

watch("value", update);
update();
