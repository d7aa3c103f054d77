"""The README's pictures of the explorer, taken of the page itself: `python docs/explorer.py`.

Needs the extra `app`, playwright, and Chromium; with another browser than Debian's, its path.
"""

import io
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from rgflow.figures.animations import animate

OUT = Path(__file__).parent / "images"
BROWSER = sys.argv[1] if len(sys.argv) > 1 else "/usr/bin/chromium"
SIZE = {"width": 1280, "height": 800}
WIDTH = 800
"""Of the animation, in pixels."""
PATIENCE = 60_000
"""Milliseconds that anything may take."""


def free_port() -> int:
    """A port at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def shot(page: Page) -> Image.Image:
    """The page as a picture."""
    return Image.open(io.BytesIO(page.screenshot())).convert("RGB")


def frame(page: Page) -> Image.Image:
    """The same for the animation."""
    whole = shot(page)
    height = WIDTH * whole.height // whole.width
    return whole.resize((WIDTH, height), Image.Resampling.LANCZOS)


def revision(page: Page) -> str:
    """What the canvas shows, to tell when it changes."""
    return str(page.locator("#canvas canvas").get_attribute("data-pixels"))


def changed(page: Page, before: str) -> None:
    """Wait until the canvas shows something else."""
    page.wait_for_function(
        "before => document.querySelector('#canvas canvas').dataset.pixels !== before", arg=before
    )
    time.sleep(0.2)


def take(page: Page) -> None:
    """Draw images, move a latent, and take pictures of it all."""
    page.click("#draw")
    page.wait_for_selector("#samples button")
    frames = [frame(page)] * 3
    before = revision(page)
    page.click("#samples button >> nth=3")
    changed(page, before)
    frames += [frame(page)] * 3
    page.click("#tab-latents-button")
    page.wait_for_selector("#atlas button")
    frames += [frame(page)] * 4
    for k in range(3):
        page.click(f"#atlas button >> nth={k}")
        page.wait_for_selector(f"#latent-{k} input")
    time.sleep(2)
    frames += [frame(page)] * 4
    box = page.locator("#latent-0 input[type=range]").bounding_box()
    assert box
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, y)
    page.mouse.down()
    for share in (0.54, 0.6, 0.66, 0.72, 0.78, 0.7, 0.6, 0.5, 0.4, 0.32, 0.26):
        page.mouse.move(box["x"] + share * box["width"], y)
        time.sleep(2)
        frames.append(frame(page))
    page.mouse.up()
    time.sleep(3)
    shot(page).save(OUT / "explorer.png", optimize=True)
    page.click("#tab-repair-button")
    time.sleep(2)
    place = page.locator("#canvas canvas").bounding_box()
    assert place
    page.mouse.move(place["x"] + 150, place["y"] + 140)
    page.mouse.down()
    for k in range(5):
        page.mouse.move(place["x"] + 150 + 22 * k, place["y"] + 140 + (k % 2) * 40)
    page.mouse.up()
    time.sleep(2)
    frames += [frame(page)] * 3
    page.click("#repair")
    for _ in range(40):
        time.sleep(0.5)
        if page.locator("#completions button").count():
            break
        frames.append(frame(page))
    frames += [frame(page)] * 6
    animate(frames, OUT / "explorer.gif", milliseconds=250, back=False)


def main() -> None:
    """Start the page, take the pictures, and stop it."""
    port = free_port()
    command = [sys.executable, "-m", "rgflow", "app", "--port", str(port)]
    with tempfile.TemporaryDirectory() as folder, subprocess.Popen(command, cwd=folder) as server:
        try:
            with sync_playwright() as play:
                browser = play.chromium.launch(
                    executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"]
                )
                page = browser.new_page(viewport=SIZE)
                page.set_default_timeout(PATIENCE)
                for _ in range(240):
                    try:
                        page.goto(f"http://127.0.0.1:{port}")
                        break
                    except Exception:  # it isn't there yet
                        time.sleep(0.5)
                page.wait_for_selector("#canvas canvas[data-revision]")
                take(page)
                browser.close()
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
