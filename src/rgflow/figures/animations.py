"""Animations: a sequence of pictures as GIF."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from rgflow.checks import check_whole
from rgflow.figures.panels import pasted, stacked
from rgflow.files import replacing


def animate(
    frames: Sequence[Image.Image], path: Path, *, milliseconds: int = 80, back: bool = True
) -> None:
    """Write pictures as a GIF that goes on forever.

    Args:
        frames: One or more pictures; the smaller ones are filled up with white.
        path: The file.
        milliseconds: How long each is seen; a GIF counts in tens of them.
        back: Whether they are also seen in reverse order before it starts anew.

    Raises:
        ValueError: If there are no frames.
        OSError: If the file can't be written.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "greys.gif"
        >>> animate([Image.new("RGB", (8, 8), (v, v, v)) for v in (0, 100, 200)], path)
        >>> Image.open(path).n_frames
        4
    """
    check_whole("milliseconds", milliseconds, 10)
    if not frames:
        raise ValueError("Expected at least one picture to animate; got none.")
    size = max(frame.width for frame in frames), max(frame.height for frame in frames)
    frames = [pasted(size, (frame, (0, 0))) for frame in frames]
    frames = [*frames, *frames[-2:0:-1]] if back else frames
    # One palette for all frames, and no dithering: what stands still doesn't flicker.
    half = ((size[0] + 1) // 2, (size[1] + 1) // 2)
    small = [frame.resize(half, Image.Resampling.NEAREST) for frame in frames]
    pixels = np.asarray(stacked(small, 0)).reshape(-1, 3)
    # Of all colours alike, so that a white page doesn't take those of the picture on it.
    once = np.unique(pixels.astype(np.int32) @ (1 << 16, 1 << 8, 1), return_index=True)[1]
    palette = Image.fromarray(pixels[once][None]).quantize(256)
    first, *rest = (f.quantize(palette=palette, dither=Image.Dither.NONE) for f in frames)
    with replacing(path) as part:
        first.save(
            part, format="GIF", save_all=True, append_images=rest, duration=milliseconds, loop=0
        )
