"""Images as the page of latents shows them: the values of its canvas and its sheets."""

import base64
import json
from collections.abc import Iterable, Sequence
from itertools import count
from typing import Any, TypeVar

import gradio as gr
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from rgflow.app.data_urls import png_url
from rgflow.app.models import LatentImage
from rgflow.app.workspace import Workspace
from rgflow.latents import Address
from rgflow.lattice import Mask

T = TypeVar("T")

ORDER = count()
"""Numbers the values of the canvas, as answers may overtake each other."""


def packed(values: NDArray[Any]) -> str:
    """Bytes of an array, such as [H, W, 3], as text."""
    return base64.b64encode(np.ascontiguousarray(values, dtype=np.uint8).tobytes()).decode()


def rgb(image: Tensor) -> NDArray[np.uint8]:
    """An image [C, H, W] in colour, [H, W, 3]."""
    pixels: NDArray[np.uint8] = image.permute(1, 2, 0).numpy()
    return pixels.repeat(3 // pixels.shape[2], 2)


def canvas(
    work: Workspace,
    *,
    image: Tensor | None = None,
    outlines: Iterable[tuple[Mask, str]] = (),
    paint: bool = False,
) -> str:
    """The current image, as `canvas.js` draws it.

    Args:
        image: Another image to show instead, uint8 [C, H, W].
        outlines: Masks [H, W] to draw the edges of, each with a colour.
        paint: Whether a mask is painted instead of pixels picked. Once it has been filled in, only
            its edge is drawn.
    """
    shown = work.image.pixels if image is None else image
    height, width = shown.shape[1:]
    return json.dumps(
        {
            "order": next(ORDER),
            "revision": work.revision,
            "width": width,
            "height": height,
            "rgb": packed(rgb(shown)),
            "outlines": [
                {"marks": packed(mask.astype(np.uint8)), "colour": c} for mask, c in outlines
            ],
            "mask": packed(work.state.mask.astype(np.uint8)),
            "paint": paint,
            "filled": bool(work.state.completions),
            "label": f"The current image, {work.image.caption}, {width} by {height} pixels. Arrow "
            f"keys move a cursor, Enter {'paints' if paint else 'picks a pixel'}.",
        }
    )


def sheet(items: Sequence[dict[str, Any]], *, size: int = 88, empty: str = "") -> str:
    """Small pictures side by side, as `sheet.js` draws them: each has a `url` and a `caption`."""
    return json.dumps({"items": list(items), "size": size, "empty": empty})


def images(
    found: Sequence[LatentImage],
    captions: Sequence[str],
    chosen: LatentImage | None = None,
    **more: Any,
) -> str:
    """Images as a sheet, one of which may be marked."""
    items = [
        {"url": png_url(rgb(one.pixels)), "caption": caption, "chosen": one is chosen}
        for one, caption in zip(found, captions, strict=True)
    ]
    return sheet(items, **more)


def choice(event: gr.EventData, things: Sequence[T], captions: Sequence[str]) -> T:
    """The thing whose picture was chosen from a sheet.

    Args:
        event: Tells the number and the caption of the picture.
        things: What the sheet shows now.
        captions: Of their pictures.

    Raises:
        ValueError: If the sheet shows something else by now.
    """
    index, caption = int(event.index), str(event.caption)
    if not (index < len(things) and captions[index] == caption):
        raise ValueError(
            f"Expected one of the pictures shown now; {caption!r} is one of those shown before: "
            f"choose again."
        )
    return things[index]


def names(work: Workspace, address: Address) -> tuple[str, str]:
    """A latent in words and, shorter, within one level."""
    h, i, j, c = address
    channels, about = work.opened.flow.image_shape[0], work.opened.names.get(address)
    colour = ("red", "green", "blue")[c] if channels == 3 else f"channel {c}"
    first = f"{about}: " if about else ""
    return f"{first}level {h}, row {i}, column {j}, {colour}", about or f"{i}, {j} {colour}"
