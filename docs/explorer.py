"""Pictures of the explorer for the documentation: `python docs/explorer.py`.

Needs the extra `dev`, and Chromium.
"""

import io
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Browser

from rgflow.figures.panels import stacked

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from visitors import Visitor, chromium, serving, write

OUT = Path(__file__).parent / "images"
WIDTH = 800
"""Of the animation, in pixels."""


def shot(me: Visitor) -> Image.Image:
    """The page as a picture."""
    return Image.open(io.BytesIO(me.page.screenshot())).convert("RGB")


def frame(me: Visitor) -> Image.Image:
    """The same for the animation."""
    whole = shot(me)
    height = WIDTH * whole.height // whole.width
    return whole.resize((WIDTH, height), Image.Resampling.LANCZOS)


def animate(frames: list[Image.Image], path: Path) -> None:
    """Write pictures of one size as a GIF, each seen for a quarter of a second.

    They have one palette and no dithering, so that what stands still doesn't flicker; it is of all
    colours alike, so that a white page doesn't take those of the picture on it.
    """
    half = tuple((edge + 1) // 2 for edge in frames[0].size)
    small = [frame.resize(half, Image.Resampling.NEAREST) for frame in frames]
    pixels = np.asarray(stacked(small, 0)).reshape(-1, 3)
    once = np.unique(pixels.astype(np.int32) @ (1 << 16, 1 << 8, 1), return_index=True)[1]
    palette = Image.fromarray(pixels[once][None]).quantize(256)
    first, *rest = (f.quantize(palette=palette, dither=Image.Dither.NONE) for f in frames)
    first.save(path, save_all=True, append_images=rest, duration=250, loop=0)


def take(me: Visitor) -> None:
    """Choose a face, move latents, mix it with another, complete its mouth, and take pictures."""
    page = me.page
    page.locator("#samples button").nth(7).wait_for()
    frames = [frame(me)] * 4
    me.change("#samples button", 1)
    frames += [frame(me)] * 3
    me.panel("Latents")
    page.locator("#atlas button").first.wait_for()
    frames += [frame(me)] * 4
    me.click("#atlas button")
    page.locator("#latent-0 input[type=range]").wait_for()
    time.sleep(1)
    frames += [frame(me)] * 4
    box = page.locator("#latent-0 input[type=range]").bounding_box()
    assert box
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, y)
    page.mouse.down()
    for share in (0.54, 0.6, 0.52, 0.44, 0.36, 0.28, 0.36, 0.44, 0.52, 0.6, 0.68, 0.72):
        page.mouse.move(box["x"] + share * box["width"], y)
        time.sleep(1)
        frames.append(frame(me))
    page.mouse.up()
    time.sleep(2)
    shot(me).save(OUT / "explorer.png", optimize=True)
    me.panel("Mix")
    me.click("#use-second")
    me.panel("Sample")
    me.change("#samples button", 3)
    me.panel("Mix")
    page.locator("#mixtures button").nth(6).wait_for()
    frames += [frame(me)] * 4
    for number in (5, 4, 3):
        me.change("#mixtures button", number)
        frames += [frame(me)] * 3
    me.panel("Sample")
    me.change("#samples button", 1)
    me.panel("Repair")
    me.wait("() => document.querySelector('#canvas canvas').style.cursor === 'crosshair'")
    write(me, "brush", 9)
    for row in (18, 20, 22):  # the mouth
        me.stroke((row, 12), (row, 20))
    time.sleep(1)
    frames += [frame(me)] * 3
    me.click("#repair")
    while not me.items("#completions"):
        time.sleep(0.5)
        frames.append(frame(me))
    frames += [frame(me)] * 6
    animate(frames, OUT / "explorer.gif")


def take_photographs(browser: Browser, address: str) -> None:
    """Repair the photograph with which the page of photographs begins, and compare."""
    page = browser.new_page(viewport={"width": 1100, "height": 640})
    page.goto(address)
    page.wait_for_function("document.body.dataset.photo && document.body.dataset.busy === 'false'")
    page.click("#repair")
    page.locator("#said", has_text="pixels repaired").wait_for()
    page.click("#compare")
    time.sleep(2)
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    picture.save(OUT / "photographs-page.jpg", quality=88)


def main() -> None:
    """Start the page, take the pictures, and stop it."""
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder)) as address,
        chromium() as browser,
    ):
        take(Visitor(browser, address))
        take_photographs(browser, address)


if __name__ == "__main__":
    main()
