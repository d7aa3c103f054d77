"""Biharmonic inpainting: what it reproduces, what it leaves alone, and any mask."""

import math

import numpy as np
import pytest
import torch

from rgflow import Lattice
from rgflow.repair.biharmonic import biharmonic

EDGE = 16
LATTICE = Lattice(height=EDGE, width=EDGE)
BOX = LATTICE.box(3, 8, 5, 6)


def random_images(n: int = 2, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, 3, EDGE, EDGE, generator=generator, dtype=torch.float64) * 256


def strokes():
    """A diagonal brush stroke, and a dot."""
    mask = np.abs(np.subtract.outer(np.arange(EDGE), np.arange(EDGE))) < 2
    mask[12, 3] = True
    return mask


MASKS = {
    "box": BOX,
    "pixel": LATTICE.box(7, 7, 1, 1),
    "corner": LATTICE.box(0, 0, 4, 5),
    "both-sides": LATTICE.box(4, 0, 6, 3) | LATTICE.box(4, 13, 6, 3),
    "several": LATTICE.box(1, 1, 3, 3) | LATTICE.box(9, 8, 4, 4),
    "strokes": strokes(),
    "checkerboard": np.indices((EDGE, EDGE)).sum(0) % 2 == 0,
    "all-but-one": ~LATTICE.box(5, 5, 1, 1),
}


def test_cubic_surfaces_are_biharmonic():
    """Of degree 3 in both, Δ²x = 0, and so is its discretisation far from the image's edge."""
    y, x = np.mgrid[:EDGE, :EDGE] / (EDGE - 1)
    surface = 20 + 60 * x + 90 * x * y**2 - 40 * x**3 + 30 * y**3
    images = torch.tensor(np.stack([surface, 255 - surface, surface.T]))[None]
    filled = biharmonic(images.masked_fill(torch.tensor(BOX), 7.0), BOX)
    torch.testing.assert_close(filled, images, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
def test_any_mask(name, dtype):
    mask, images = MASKS[name], random_images().to(dtype)
    filled = biharmonic(images, mask)
    assert filled.dtype == dtype
    assert torch.equal(filled[:, :, ~mask], images[:, :, ~mask])
    for image, new in zip(images, filled, strict=True):
        for channel, values in zip(image, new, strict=True):
            known = channel[~mask]
            assert values.min() == known.min()
            assert values.max() == known.max()
    # Nothing of what was in the region is left.
    other = images.clone()
    other[:, :, mask] = 3
    assert torch.equal(biharmonic(other, mask), filled)


def test_new_values_are_smooth():
    images = random_images() * 0 + torch.linspace(50, 150, EDGE, dtype=torch.float64)[:, None]
    filled = biharmonic(images, MASKS["both-sides"])
    torch.testing.assert_close(filled, images)


def test_integers_are_rounded_to_the_nearest():
    images = random_images().to(torch.uint8)
    as_reals = biharmonic(images.double(), BOX)
    torch.testing.assert_close(biharmonic(images, BOX).double(), (as_reals + 0.5).floor())


def test_every_image_has_its_own_mask():
    masks = np.stack([BOX, MASKS["several"], BOX & False])
    images = random_images(3)
    filled = biharmonic(images, masks)
    for k in range(2):
        assert torch.equal(filled[k : k + 1], biharmonic(images[k : k + 1], masks[k]))
    assert torch.equal(filled[2], images[2])
    assert torch.equal(biharmonic(images, BOX & False), images)


def test_the_edges_do_not_wrap():
    mask, images = LATTICE.box(5, 12, 4, 4), random_images()
    other = images.clone()
    other[..., :4] = images[..., :4].flip(2)  # the lowest and the highest stay
    assert torch.equal(biharmonic(other, mask)[:, :, mask], biharmonic(images, mask)[:, :, mask])


def test_bad_input():
    images = random_images()
    for mask, message in (
        (BOX | True, "leave some pixels known; got one that covers all"),
        (np.stack([BOX, BOX | True]), "covers all"),
        (BOX[1:], "boolean mask of shape"),
        (BOX.astype(int), "boolean mask of shape"),
        (np.stack([BOX] * 3), "boolean mask of shape"),
    ):
        with pytest.raises(ValueError, match=message):
            biharmonic(images, mask)
    with pytest.raises(ValueError, match=r"images \[N, C, H, W\]; got \[3, 16, 16\]"):
        biharmonic(images[0], BOX)
    images[0, 0, 0, 0] = math.nan
    with pytest.raises(ValueError, match="finite pixels around"):
        biharmonic(images, BOX)
    images = random_images()
    images[:, :, BOX] = math.nan
    assert biharmonic(images, BOX).isfinite().all()
