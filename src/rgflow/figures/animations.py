"""Animations: a sequence of pictures as GIF or MP4."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rgflow.checks import check_installed, check_name, check_whole
from rgflow.figures.panels import pasted, stacked
from rgflow.files import replacing

FORMATS = ("gif", "mp4")


def animate(
    frames: Sequence[Image.Image], path: Path, *, milliseconds: int = 80, back: bool = True
) -> None:
    """Write pictures as an animation that goes on forever, GIF or MP4 by the name of the file.

    Args:
        frames: One or more pictures; the smaller ones are filled up with white.
        path: The file, which ends in .gif or .mp4.
        milliseconds: How long each is seen; a GIF counts in tens of them.
        back: Whether they are also seen in reverse order before it starts anew.

    Raises:
        ValueError: If the name has another ending, there are no frames, or MP4 is asked for without
            the package that writes it.
        OSError: If the file can't be written.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "greys.gif"
        >>> animate([Image.new("RGB", (8, 8), (v, v, v)) for v in (0, 100, 200)], path)
        >>> Image.open(path).n_frames
        4
    """
    check_format(path.suffix[1:])
    check_whole("milliseconds", milliseconds, 10)
    if not frames:
        raise ValueError("Expected at least one picture to animate; got none.")
    size = max(frame.width for frame in frames), max(frame.height for frame in frames)
    frames = [pasted(size, (frame, (0, 0))) for frame in frames]
    whole = [*frames, *frames[-2:0:-1]] if back else list(frames)
    write = _write_gif if path.suffix == ".gif" else _write_mp4
    with replacing(path) as part:
        write(whole, part, milliseconds)


def check_format(name: str) -> None:
    """Raise a `ValueError` unless animations can be written in this format."""
    check_name("the format of an animation", name, FORMATS)
    if name == "mp4":
        why, other = "which writes MP4", ", or ask for a GIF"
        check_installed("imageio-ffmpeg", why, "video", other=other)


def _write_gif(frames: Sequence[Image.Image], path: Path, milliseconds: int) -> None:
    # One palette for all frames, and no dithering: what stands still doesn't flicker.
    width, height = ((edge + 1) // 2 for edge in frames[0].size)
    small = [frame.resize((width, height), Image.Resampling.NEAREST) for frame in frames]
    # Of all colours alike, so that a white page doesn't take those of the picture on it.
    palette = Image.fromarray(_colours(np.asarray(stacked(small, 0).convert("RGB")))[None])
    palette = palette.quantize(256)
    first, *rest = (f.quantize(palette=palette, dither=Image.Dither.NONE) for f in frames)
    options = {"save_all": True, "append_images": rest, "duration": milliseconds, "loop": 0}
    first.save(path, format="GIF", **options)


def _colours(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Every colour of a picture [H, W, 3] once, in order, [n, 3]."""
    red, green, blue = picture.reshape(-1, 3).T.astype(np.int32)
    there = np.zeros(1 << 24, dtype=bool)  # far faster than to sort all pixels
    there[red << 16 | green << 8 | blue] = True
    codes = np.flatnonzero(there)
    return np.stack((codes >> 16, codes >> 8 & 255, codes & 255), 1).astype(np.uint8)


def _write_mp4(frames: Sequence[Image.Image], path: Path, milliseconds: int) -> None:
    from imageio_ffmpeg import write_frames

    width, height = frames[0].size
    even = (width + width % 2, height + height % 2)  # H.264 takes no others
    writer = write_frames(
        str(path),
        even,
        fps=1000 / milliseconds,
        quality=8,
        macro_block_size=2,
        output_params=["-f", "mp4"],
    )
    writer.send(None)
    try:
        for frame in frames:
            writer.send(pasted(even, (frame, (0, 0))).tobytes())
    finally:
        writer.close()
