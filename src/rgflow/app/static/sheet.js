// Small pictures side by side, each of which can be chosen: a click or Enter triggers "choose".
const place = element.querySelector(".sheet");
function update() {
  const value = props.value ? JSON.parse(props.value) : { items: [], size: 64 };
  const focused = [...place.children].indexOf(document.activeElement);
  const captions = value.items.map(one => one.caption).join();
  if (captions !== place.captions) place.scrollTop = 0;   // others: the first ones matter most
  place.captions = captions;
  place.style.setProperty("--size", value.size + "px");
  place.replaceChildren(...value.items.map((one, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.title = one.title || one.caption;
    button.ariaPressed = one.chosen ? "true" : "false";
    const picture = document.createElement("img"), caption = document.createElement("span");
    picture.src = one.url; picture.alt = ""; caption.textContent = one.caption;
    button.append(picture, caption);
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
