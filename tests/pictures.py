"""What is in pictures that were drawn, and pictures as commands write them."""

import numpy as np
from torch import Tensor

from rgflow.figures import to_bytes
from rgflow.photographs.pictures import encoded, named


def shows(picture, image: Tensor, scale: int) -> bool:
    """Whether an image [C, H, W] stands somewhere in a picture, enlarged by a whole number."""
    large = to_bytes(image).repeat_interleave(scale, 1).repeat_interleave(scale, 2)
    wanted, found = large.permute(1, 2, 0).numpy(), np.asarray(picture)
    height, width = wanted.shape[:2]
    return any(
        np.array_equal(found[y : y + height, x : x + width], wanted)
        for y, x in np.argwhere((found == wanted[0, 0]).all(-1))
    )


def written(image, path):
    """The file of a picture that is written without loss, with an ending that can hold it."""
    path = named(image, path)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(encoded(image, path))
    return path
