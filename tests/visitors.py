"""The explorer as people use it: its server as a process, and Chromium in front of it."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
SERVER = """
import sys
def hear(event, what):
    if event in ("socket.connect", "socket.getaddrinfo"):
        print("asks", what[event == "socket.connect"], file=sys.stderr, flush=True)
sys.addaudithook(hear)
{before}
from rgflow.cli import main
sys.exit(main())
"""
"""The command `rgflow`, which tells of everybody whom it asks for something."""
FAST_SETTINGS = """
from rgflow.app import models, server
from rgflow.app.panels import repair
models.FIELD_DRAWS, repair.PARTICLES, repair.SWEEPS = 2, 8, 2
server.LATENTS = "msds1-best"  # which opens sooner than faces
"""
"""With fewer particles and draws than usual, everything takes less long."""
TIMEOUT = 120
"""Seconds after which something won't come any more; enough for a busy machine."""


def free_port():
    """A port at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def serving(folder, *arguments, port=None, before=""):
    """The address of a server that runs in a folder, after some Python."""
    port = port or free_port()
    command = [
        sys.executable,
        "-c",
        SERVER.replace("{before}", before),
        "app",
        *arguments,
        "--port",
        str(port),
    ]
    address = f"http://127.0.0.1:{port}"
    with open(folder / "server.txt", "w") as log:
        server = subprocess.Popen(
            command,
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | {"XDG_DATA_HOME": str(folder)},  # where pictures are kept
        )
    try:
        deadline = time.monotonic() + TIMEOUT
        while True:
            try:
                health(address)
                break
            except OSError:
                assert server.poll() is None, (folder / "server.txt").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.2)
        yield address
    finally:
        server.terminate()
        server.wait(TIMEOUT)
    said = (folder / "server.txt").read_text()
    assert "Traceback" not in said, said
    asked = [line for line in said.splitlines() if line.startswith("asks ")]
    assert all("127.0.0.1" in line or "localhost" in line for line in asked), asked


def process_of(address):
    """The folder of the server's process in `/proc`; none where the system has no such thing."""
    port = address.rpartition(":")[2].encode()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes().split(b"\0")
            if b"--port" in words and words[words.index(b"--port") + 1] == port:
                return process
    return None


def most_memory(address):
    """The most memory that the server ever had, in MB; 0 where the system doesn't tell."""
    process = process_of(address)
    lines = (process / "status").read_text().splitlines() if process else []
    return next((int(line.split()[1]) / 1024 for line in lines if line[:5] == "VmHWM"), 0)


def health(address):
    """What the server says of itself."""
    with urllib.request.urlopen(f"{address}/health", timeout=30) as answer:
        return json.load(answer)


def program(address):
    """Asks a server as a page of its own does: with the cookie and the origin."""
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    opener.addheaders = [("Origin", address)]
    opener.open(f"{address}/photographs").close()
    return opener


@contextlib.contextmanager
def chromium():
    """A browser; a test is skipped where there is none."""
    if not BROWSER:
        pytest.skip("needs Chromium, which isn't installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=BROWSER, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


def named():
    """The folder for screenshots that the environment names; empty if none."""
    return os.environ.get("RGFLOW_SCREENSHOTS", "")


def album(folder):
    """The folder for screenshots and measurements: RGFLOW_SCREENSHOTS, or one in the given."""
    found = Path(named()).absolute() if named() else folder / "screenshots"
    found.mkdir(parents=True, exist_ok=True)
    return found


CURSOR = "document.querySelector('#canvas canvas').style.cursor"
"""The cursor over the image, which tells what a click would do."""
MOVE = """value => {
  const slider = document.querySelector("#latent-0 input[type=range]");
  const canvas = document.querySelector("#canvas canvas"), start = performance.now();
  window.latency = null;
  new MutationObserver((_, watcher) => {
    window.latency = performance.now() - start; watcher.disconnect();
  }).observe(canvas, { attributes: true, attributeFilter: ["data-revision", "data-pixels"] });
  slider.value = value;
  slider.dispatchEvent(new Event("input", { bubbles: true }));
}"""
"""Moves a slider, and takes the time until the canvas is drawn anew, in milliseconds."""


def settings(browser, dark=False):
    """What all pages of a person share."""
    return browser.new_context(
        viewport={"width": 1280, "height": 800},
        color_scheme="dark" if dark else "light",
        accept_downloads=True,
    )


class Visitor:
    """A person with the page open.

    Args:
        browser: In which.
        address: Of the server.
        pictures: A folder for screenshots.
        dark: Whether the person likes it dark.
        context: Where the page is opened, and other people's may have been before, whose scripts
            needn't be fetched and compiled again; by default in one of its own.
    """

    def __init__(self, browser, address, pictures=None, dark=False, context=None):
        self.context = context or settings(browser, dark)
        self.shared = context is not None
        self.root, self.address, self.pictures = address, f"{address}/latents", pictures
        self.messages, self.requests, self.answers = [], [], []
        self.page = self.context.new_page()
        self.page.set_default_timeout(1000 * TIMEOUT)
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.messages.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("websocket", lambda socket: self.requests.append(socket.url))
        self.page.on("response", self._response)
        self.page.goto(f"{self.address}/")
        self.wait("() => document.querySelector('#canvas canvas')?.dataset.revision")
        self.wait("() => document.querySelector('#purpose')?.innerText")  # comes after the image

    def _console(self, message):
        if message.type == "error":  # Gradio warns of its own streams
            self.messages.append(message.text)

    def _response(self, response):
        if response.status >= 400:
            self.answers.append((response.status, response.url))

    def close(self):
        """Leave."""
        for page in self.context.pages if self.shared else ():
            page.close()
        if not self.shared:
            self.context.close()

    # ------------------------------------------------------------ what is seen

    def wait(self, condition, argument=None):
        """Wait until something is true of the page."""
        return self.page.wait_for_function(condition, arg=argument, polling=50).json_value()

    @property
    def revision(self):
        """How often the image has changed."""
        return int(self.page.locator("#canvas canvas").get_attribute("data-revision"))

    @property
    def pixels(self):
        """The image on the canvas, as text."""
        return self.page.locator("#canvas canvas").get_attribute("data-pixels")

    def text(self, selector):
        """The words of an element."""
        return self.page.locator(selector).inner_text()

    def reads(self, selector, words):
        """Wait until an element has these words, as parts of a page come one after another."""
        self.page.locator(selector, has_text=words).wait_for()

    def items(self, sheet):
        """How many small pictures a sheet has."""
        return self.page.locator(f"{sheet} button").count()

    def shoot(self, name):
        """Take a screenshot."""
        if self.pictures:
            self.page.wait_for_timeout(300)
            self.page.screenshot(path=self.pictures / f"{name}.png")

    # ------------------------------------------------------------ what is done

    def click(self, selector, number=0):
        """Click an element."""
        self.page.locator(selector).nth(number).click()

    def changing(self, act, what="revision"):
        """Do something, and wait until the image changes, in its number or in its pixels."""
        before = self.page.evaluate(
            "what => document.querySelector('#canvas canvas').dataset[what]", what
        )
        act()
        self.wait(
            "([what, before]) => document.querySelector('#canvas canvas').dataset[what] !== before",
            [what, before],
        )

    def change(self, selector, number=0):
        """Click, and wait until the image changes."""
        self.changing(lambda: self.click(selector, number))

    def panel(self, name):
        """Open a panel."""
        self.click(f"#tab-{name.lower()}-button")
        self.page.locator(f"#tab-{name.lower()}").wait_for(state="visible")

    def upload(self, path):
        """Open a picture of one's own."""
        self.page.set_input_files("input[type=file]", path)

    def warned(self, words):
        """Wait for a message, which has to be one sentence, and close it."""
        toast = self.page.locator(".toast-body", has_text=words)
        said = toast.first.inner_text().rsplit("Expected", 1)[1].strip()
        assert said.endswith(".")
        assert said.count(".\n") == 0
        assert "Traceback" not in said
        toast.first.locator(".toast-close").click()
        toast.wait_for(state="detached")  # so there was one

    def drag(self, slider, share):
        """Drag the knob of a slider to a share of its way."""
        box = self.page.locator(f"{slider} input[type=range]").bounding_box()
        now, least, most = self.page.locator(f"{slider} input[type=range]").evaluate(
            "one => [one.value, one.min, one.max].map(Number)"
        )
        start = (now - least) / (most - least)
        middle, knob = box["y"] + box["height"] / 2, 14  # the knob stays inside
        place = [box["x"] + knob / 2 + p * (box["width"] - knob) for p in (start, share)]
        self.page.mouse.move(place[0], middle)
        self.page.mouse.down()
        self.page.mouse.move(place[1], middle, steps=8)
        self.page.mouse.up()

    def slide(self, value):
        """Move the slider of the first latent, and don't wait."""
        self.page.evaluate(MOVE, value)

    def latency(self):
        """The milliseconds from there until the image was drawn anew."""
        return self.wait("() => window.latency")

    def stroke(self, *places):
        """Draw a stroke over pixels (row, column) of the 32 × 32 image."""
        box = self.page.locator("#canvas canvas").bounding_box()
        edge = box["width"] / 32
        points = [(box["x"] + (j + 0.5) * edge, box["y"] + (i + 0.5) * edge) for i, j in places]
        self.page.mouse.move(*points[0])
        self.page.mouse.down()
        for point in points[1:]:
            self.page.mouse.move(*point, steps=6)
        self.page.mouse.up()

    def marked(self):
        """The pixels (row, column) that are painted over: all of each, or nothing of it."""
        return self.page.evaluate(MARKED)

    def fits(self):
        """Check that nothing has to be scrolled, and that there aren't too many sliders."""
        height = self.page.evaluate("document.documentElement.scrollHeight")
        assert height <= 800, height
        assert self.page.evaluate("document.documentElement.scrollWidth") <= 1280
        sliders = self.page.locator("#right input[type=range]")
        assert sum(one.is_visible() for one in sliders.all()) <= 6

    def content(self):
        """Check that nothing went wrong, and that nothing was asked of anybody else."""
        assert not self.messages, self.messages
        assert not self.answers, self.answers
        inside = (self.address, f"{self.root}/health", "data:", "blob:")
        outside = [url for url in self.requests if not url.startswith(inside)]
        assert not outside, outside
        assert any(url.startswith(self.address) for url in self.requests)


MARKED = """() => {
  const canvas = document.querySelector("#canvas canvas"), edge = canvas.width / 32;
  const real = atob(canvas.dataset.pixels), found = [];
  const seen = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  for (let i = 0; i < 32; i++) for (let j = 0; j < 32; j++) {
    const colours = [0.35, 0.65].flatMap((a) => [0.35, 0.65].map((b) => {
      const k = 4 * (Math.floor((i + a) * edge) * canvas.width + Math.floor((j + b) * edge));
      return [seen[k], seen[k + 1], seen[k + 2]].join();
    }));
    if (new Set(colours).size > 1) throw new Error(`Half of pixel ${i}, ${j} is painted.`);
    const bare = [0, 1, 2].map((c) => real.charCodeAt(3 * (32 * i + j) + c)).join();
    if (colours[0] !== bare) found.push([i, j]);
  }
  return found;
}"""


# ---------------------------------------------------------------- what most of them do


def draw(me, seed=0, count=3):
    """Draw a few images."""
    me.page.fill("#seed input", str(seed))
    me.page.fill("#count input[type=number]", str(count))
    me.change("#draw")
    me.wait(f"() => document.querySelectorAll('#samples button').length === {count}")


def atlas(me):
    """Open the panel of latents, and wait for its maps."""
    me.panel("Latents")
    me.page.locator("#atlas button").first.wait_for()


def write(me, name, value):
    """Type a number."""
    me.page.fill(f"#{name} input[type=number]", str(value))
    me.page.keyboard.press("Tab")
