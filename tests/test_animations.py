"""Animations: frames in their order, and their colours."""

import numpy as np
import pytest
from PIL import Image

from rgflow.figures.animations import animate
from rgflow.files import PART

GREYS = (0, 80, 160, 240)
FRAMES = [Image.new("RGB", (31, 20), (v, v, v)) for v in GREYS]


def seen(path):
    """The grey of every frame, and how long it is seen."""
    with Image.open(path) as file:
        out = []
        for k in range(file.n_frames):
            file.seek(k)
            out.append((file.convert("RGB").getpixel((5, 5))[0], file.info["duration"]))
        return out


def test_a_gif_goes_there_and_back(tmp_path):
    animate(FRAMES, tmp_path / "a.gif", milliseconds=100)
    assert seen(tmp_path / "a.gif") == [(v, 100) for v in (0, 80, 160, 240, 160, 80)]
    assert Image.open(tmp_path / "a.gif").info["loop"] == 0
    animate(FRAMES, tmp_path / "b.gif", back=False)
    assert seen(tmp_path / "b.gif") == [(v, 80) for v in GREYS]
    assert not list(tmp_path.glob(f".*{PART}"))


def test_smaller_pictures_are_filled_up(tmp_path):
    animate([FRAMES[0], Image.new("RGB", (3, 3))], tmp_path / "a.gif", back=False)
    with Image.open(tmp_path / "a.gif") as file:
        assert file.size == (31, 20)
        file.seek(1)
        assert file.convert("RGB").getpixel((5, 5)) == (255, 255, 255)


def test_colours_survive(tmp_path):
    pixels = np.random.default_rng(0).integers(256, size=(8, 8, 3), dtype=np.uint8)
    pixels = pixels.repeat(2, 0).repeat(2, 1)
    frame = Image.fromarray(pixels)
    animate([frame], tmp_path / "a.gif")
    shown = np.asarray(Image.open(tmp_path / "a.gif").convert("RGB")).astype(int)
    assert abs(shown - pixels).max() <= 8


def test_mistakes(tmp_path):
    with pytest.raises(ValueError, match="at least one picture to animate"):
        animate([], tmp_path / "a.gif")
    with pytest.raises(ValueError, match="milliseconds to be at least 10"):
        animate(FRAMES, tmp_path / "a.gif", milliseconds=5)
    assert not list(tmp_path.iterdir())


def test_few_pixels_keep_their_colours(tmp_path):
    page = np.full((200, 300, 3), 250, dtype=np.uint8)
    page[:, :, 0] -= np.arange(300, dtype=np.uint8)[None] // 3  # many shades, nearly white
    page[10:14, 10:14] = (30, 90, 160)
    page[20:22, 20:22] = (90, 30, 160)
    animate([Image.fromarray(page)] * 2, tmp_path / "page.gif", milliseconds=100)
    found = np.asarray(Image.open(tmp_path / "page.gif").convert("RGB")).astype(int)
    assert np.abs(found[12, 12] - (30, 90, 160)).max() <= 8
    assert np.abs(found[20, 20] - (90, 30, 160)).max() <= 8
