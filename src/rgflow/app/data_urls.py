"""Pictures and masks as data URLs, as both pages show them."""

import io
from base64 import b64decode, b64encode

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rgflow.cells import Mask
from rgflow.data.opening import picture_file


def png(pixels: NDArray[np.uint8]) -> bytes:
    """A PNG file, compressed quickly, of [H, W], or [H, W, C] with 1, 3 or 4 channels."""
    content = io.BytesIO()
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels)
    image.save(content, "PNG", compress_level=1)
    return content.getvalue()


def png_url(pixels: NDArray[np.uint8]) -> str:
    """The data URL of a picture, [H, W] or [H, W, C] as for `png`."""
    return f"data:image/png;base64,{b64encode(png(pixels)).decode()}"


def mask_url(mask: Mask) -> str:
    """The data URL of a mask [H, W], as a picture that is transparent elsewhere."""
    values = np.zeros((*mask.shape, 4), dtype=np.uint8)
    values[mask] = 255
    return png_url(values)


def mask_from(url: str, height: int, width: int) -> Mask:
    """The mask [height, width] of a data URL: the pixels that are at least half opaque.

    Raises:
        ValueError: If it isn't a PNG picture of this size.
    """
    try:
        content = b64decode(url.partition(",")[2], validate=True)
        with picture_file(io.BytesIO(content), width * height, ["PNG"]) as image:
            if image.size != (width, height):
                raise ValueError
            return np.asarray(image.convert("RGBA"))[..., 3] >= 128
    except Exception as error:  # the only class Pillow's errors have in common
        raise ValueError(
            f"Expected a mask of {width}×{height} pixels, as a PNG picture; got something else."
        ) from error
