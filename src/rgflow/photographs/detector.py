"""The network that finds damage, and what shines through it.

It says how probable damage is at every pixel, and which levels it had without it. A U-Net
(Ronneberger et al. 2015, arXiv 1505.04597) with batch normalisation, which once trained doesn't
depend on the picture; so parts of a picture give what the whole one gives.
`experiments/detector/train.py` trains it on damage that
`rgflow.photographs.simulation` makes of photographs, textures and pages.

Letters in shapes: N pictures; H, W rows and columns.
"""

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter  # type: ignore[attr-defined]  # found when it runs
from scipy.special import expit, logit
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from rgflow import tensors
from rgflow.cells import Mask
from rgflow.numerics import bfloat16_pays

WEIGHTS = Path(__file__).with_name("detector.safetensors")
DOWN = ((6, 24, 24), (24, 40, 40), (40, 64, 64), (64, 88, 88, 88))
"""Channels before, between and after the convolutions at full size, 1/2, 1/4 and 1/8."""
UP = ((88 + 64, 64), (64 + 40, 40, 24), (24 + 24, 24))
"""The same on the way back, where what was seen at this size comes in as well."""
UNIT, RIM = 8, 88
"""Rows and columns are whole multiples of `UNIT`; a pixel depends on at most `RIM` pixels on every
side: 24 of the mean of what surrounds it, 2 + 4 + 8 + 24 of the way down, 4 + 4 + 1 of the way up,
and the rest of a square of 8×8."""
CERTAIN, AROUND, LEAST_PIXELS = 0.98, 513, 256**2
"""A probability that hardly anything but damage has; the edge of the square in which what is
certain makes the rest more probable; and the size of the crops that calibrate probabilities:
smaller pictures count for less. The first two were chosen on validation photographs."""
EDGE = 1200
"""Largest edge in pixels of the parts that are searched at a time, for memory."""


class Convolution(nn.Module):
    """A convolution of 3×3, normalised, with ReLU."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.weights = nn.Conv2d(before, after, 3, padding=1, bias=False)
        self.norm: nn.BatchNorm2d | None = nn.BatchNorm2d(after)

    def forward(self, x: Tensor, before: Tensor | None = None) -> Tensor:
        """Features [N, `after`, H, W] of `x`, [N, `before`, H, W]; or of `x` enlarged twice, and of
        those that there were at that size `before`, [N, C, 2H, 2W]."""
        if before is not None and self.norm:
            x = torch.cat((F.interpolate(x, scale_factor=2.0), before), 1)
        if before is None or self.norm:
            x = self.weights(x)
            return F.relu(self.norm(x) if self.norm else x, inplace=True)
        # Four pixels of what is enlarged are the same one, so kernels of 2×2 take fewer products.
        small, own = self.weights.weight.split((x.shape[1], before.shape[1]), 1)
        kernels = torch.cat([of for rows in _halves(small, 2) for of in _halves(rows, 3)])
        out = F.conv2d(before, own, self.weights.bias, padding=1)
        parts = F.conv2d(F.pad(x, (1, 1, 1, 1)), kernels).chunk(4, 1)
        for (i, j), part in zip(product((0, 1), (0, 1)), parts, strict=True):
            out[..., i::2, j::2] += part[..., i : i + x.shape[2], j : j + x.shape[3]]
        return F.relu(out, inplace=True)

    def fuse(self) -> None:
        """Let the convolution do what the trained normalisation does."""
        assert self.norm
        self.weights, self.norm = fuse_conv_bn_eval(self.weights, self.norm), None


def _halves(kernels: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Kernels of 3 for the first and the second of two pixels that are the same, of 2."""
    a, b, c = kernels.unbind(axis)
    return torch.stack((a, b + c), axis), torch.stack((a + b, c), axis)


class Detector(nn.Module):
    """The network, and the calibration of its probabilities (`evidence`), [3]."""

    calibration: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = (
            nn.ModuleList(nn.Sequential(*map(Convolution, of, of[1:])) for of in part)
            for part in (DOWN, UP)
        )
        self.last = nn.Conv2d(UP[-1][-1], 5, 1)
        self.register_buffer("calibration", torch.tensor([0.0, 1.0, 0.0]))

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of pixels of levels [N, 3, H, W]: the log-odds of damage [N, H, W]; the levels without it
        [N, 3, H, W], if there is; and the logarithm of their standard error [N, 1, H, W]."""
        x, seen = _beside_surroundings(pixels / 64 - 2), list[Tensor]()
        x = x.contiguous(memory_format=torch.channels_last)
        for number, layers in enumerate(self.down):
            x = layers(F.max_pool2d(x, 2) if number else x)
            seen.append(x)
        for layers, before in zip(self.up, reversed(seen[:-1]), strict=True):
            first, *others = layers.children()
            x = first(x, before)
            for layer in others:
                x = layer(x)
        out = self.last(x).float()
        return out[:, 0], pixels + 64 * out[:, 1:4], out[:, 4:] + math.log(64)

    def fused(self) -> "Detector":
        """The same network, faster, which can't be trained any more."""
        for layer in self.eval().requires_grad_(False).modules():
            if isinstance(layer, Convolution):
                layer.fuse()
        return self


def _beside_surroundings(x: Tensor) -> Tensor:
    """Pixels, and how far they are from the mean of what surrounds them, in its deviations."""

    def mean(y: Tensor) -> Tensor:
        blocks = F.pad(F.avg_pool2d(y, UNIT), (1, 1, 1, 1), "replicate")
        blocks = F.avg_pool2d(blocks, 3, 1)
        return F.interpolate(blocks, scale_factor=float(UNIT), mode="bilinear")

    middle = mean(x)
    deviation = (mean((x**2).mean(1, keepdim=True)) - (middle**2).mean(1, keepdim=True)).clamp(0)
    return torch.cat((x, (x - middle) / (deviation.sqrt() + 0.06)), 1)


@cache
def detector() -> Detector:
    """The trained network."""
    network = Detector()
    network.load_state_dict({name: x.float() for name, x in tensors.load(WEIGHTS)[0].items()})
    return network.fused()


def examine(
    image: Tensor,
    *,
    where: Mask | None = None,
    progress: Callable[[float], None] | None = None,
) -> Iterator[tuple[tuple[slice, ...], Tensor, Tensor, Tensor]]:
    """What the network says of a photograph, part by part.

    Args:
        image: uint8 [1 or 3, H, W].
        where: What the parts have to cover, [H, W]; None: all.
        progress: Called with the share of the work that is done.

    Yields:
        Rows and columns of a part, h and w of them; how probable damage is there, [h, w]; the
        levels without it, [3, h, w], and their standard errors, [h, w].
    """
    pixels = image.cpu().expand(3, -1, -1)
    parts = list(product(*map(_pieces, image.shape[1:])))
    for number, part in enumerate(parts):
        if where is not None:
            part = _around(where, part)
        if part[0].start < part[0].stop:
            seen = [slice(max(of.start - RIM, 0), of.stop + RIM) for of in part]
            x = pixels[:, *seen].float()[None]
            x = F.pad(x, (0, -x.shape[3] % UNIT, 0, -x.shape[2] % UNIT), mode="replicate")
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16_pays()):
                found = torch.cat([y.reshape(-1, *y.shape[-2:]) for y in detector()(x)])
            own = (
                slice(of.start - k.start, of.stop - k.start)
                for of, k in zip(part, seen, strict=True)
            )
            found = found[:, *own]
            yield part, found[0].sigmoid(), found[1:4], found[4].exp()
        if progress:
            progress((number + 1) / len(parts))


def _pieces(size: int) -> list[slice]:
    """An edge of a picture in about equal pieces of at most `EDGE`."""
    step = -(-size // -(-size // EDGE) // UNIT) * UNIT
    return [slice(first, min(first + step, size)) for first in range(0, size, step)]


def _around(where: Mask, part: tuple[slice, ...]) -> tuple[slice, ...]:
    """The rows and columns of a part in which all is that is marked there."""
    marked, found = where[part], list[slice]()
    for axis, of in enumerate(part):
        at = np.flatnonzero(marked.any(1 - axis))
        first, last = (at[0], at[-1] + UNIT) if len(at) else (0, 0)
        first, last = (of.start + k // UNIT * UNIT for k in (first, last))
        found.append(slice(first, min(last, of.stop)))
    return tuple(found)


def calibrated(probability: NDArray[np.float32], apart: Mask | None = None) -> NDArray[np.float32]:
    """How probable damage is, pixel by pixel, [H, W].

    Args:
        probability: As `examine` gives it, [H, W].
        apart: As for `evidence`.

    Example:
        >>> image = torch.full((3, 40, 60), 99, dtype=torch.uint8)
        >>> image[:, 7, 20:50] = 255
        >>> (_, probability, _, _), = examine(image)
        >>> found = calibrated(probability.numpy())
        >>> found.shape, bool(found[7, 35] > 100 * found[30, 35])
        ((40, 60), True)
    """
    weights = detector().calibration.numpy()

    def rows_from(top: int) -> NDArray[np.float32]:  # at a time, for memory
        rows = slice(max(top - AROUND, 0), top + 2 * AROUND)
        seen = evidence(probability[rows], None if apart is None else apart[rows])
        return np.asarray(expit(seen[top - rows.start :][:AROUND] @ weights))

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        return np.concatenate(list(pool.map(rows_from, range(0, len(probability), AROUND))))


def evidence(probability: NDArray[np.float32], apart: Mask | None = None) -> NDArray[np.float32]:
    """By what probabilities are calibrated, [H, W, 3]: one; the log-odds of `examine`; and how much
    around certainly is damaged, as damage rarely comes alone.

    Args:
        probability: As `examine` gives it, [H, W].
        apart: What is damaged in another way, which says nothing of the rest, [H, W].
    """
    certain = probability > CERTAIN if apart is None else (probability > CERTAIN) & ~apart
    around = uniform_filter(certain.astype(np.float32), AROUND).clip(0)
    around *= min(certain.size / LEAST_PIXELS, 1)
    odds = logit(probability.clip(1e-5, 1 - 1e-5))
    return np.stack([np.ones_like(odds), odds, np.log(around + 1e-4)], -1)
