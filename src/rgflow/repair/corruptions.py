"""Images with a corrupted region, and how well its place is found.

`rgflow.repair.surprise` is compared with two detectors that know no images: how much pixels vary
nearby, and how far they are from what biharmonic inpainting makes of them. Both are smoothed as the
map of surprise is. Of windows of 3 to 13 and of 2 to 8 pixels, theirs are those that do best, on
average over all kinds, on squares of 10×10 pixels in MSDS1.

Letters in shapes: N images; C channels; H, W rows and columns.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor
from torch.nn import functional as F

from rgflow.checks import check_name, check_whole
from rgflow.flow import Flow
from rgflow.lattice import Mask
from rgflow.repair.biharmonic import biharmonic
from rgflow.repair.surprise import Reference, smoothed, surprise
from rgflow.text import mean_and_error

Kind = Literal["noise", "constant", "other", "elsewhere"]
"""Uniform noise; one colour; the same place of another image; another place of the same image."""
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, kw_only=True, eq=False)
class Corrupted:
    """Images of which one square each was replaced.

    Attributes:
        images: With the corruption, uint8 [N, C, H, W].
        masks: The squares, [N, H, W].
        kind: What they were replaced with.
    """

    images: Tensor
    masks: Mask
    kind: Kind


def corrupt(images: Tensor, kind: Kind, *, size: int = 10, seed: int = 0) -> Corrupted:
    """Replace a square of every image, at a random place.

    Args:
        images: uint8 [N, C, H, W].
        kind: What with.
        size: Edge of the squares.
        seed: With the place of an image among the others it decides what becomes of it.

    Raises:
        ValueError: If the images aren't uint8 or too small, or a patch is wanted of a single one.

    Example:
        >>> black = torch.zeros(2, 3, 16, 16, dtype=torch.uint8)
        >>> found = corrupt(black, "constant", size=5)
        >>> found.masks.sum((1, 2)).tolist(), len(found.images[0].flatten(1).unique(dim=1).T)
        ([25, 25], 2)
    """
    check_name("the kind of corruption", kind, KINDS)
    check_whole("size", size, 1)
    if images.dtype != torch.uint8 or images.ndim != 4:
        raise ValueError(
            f"Expected uint8 images [N, C, H, W] to corrupt; got {images.dtype} of shape "
            f"{list(images.shape)}."
        )
    n, channels, *shape = images.shape
    corners = np.indices([max(edge - size + 1, 0) for edge in shape]).reshape(2, -1).T
    if kind == "elsewhere":  # there must be room for a second square beside the first
        corners = corners[((corners >= size) | (corners + 2 * size <= shape)).any(1)]
    if not len(corners):
        raise ValueError(
            f"Expected smaller squares than {size}×{size} for images of {shape[0]}×{shape[1]}."
        )
    if kind == "other" and n < 2:
        raise ValueError("Expected at least two images to take patches from; got one.")
    out, masks = images.clone(), np.zeros((n, *shape), dtype=bool)
    for k in range(n):
        random = np.random.default_rng((seed, k))
        corner = corners[random.integers(len(corners))]
        if kind == "noise":
            numbers = random.integers(256, size=(channels, size, size), dtype=np.uint8)
            patch = torch.from_numpy(numbers)
        elif kind == "constant":
            patch = torch.from_numpy(random.integers(256, size=(channels, 1, 1), dtype=np.uint8))
        elif kind == "other":
            patch = _patch(images[(k + random.integers(1, n)) % n], corner, size)
        else:
            apart = corners[(np.abs(corners - corner) >= size).any(1)]
            patch = _patch(images[k], apart[random.integers(len(apart))], size)
        _patch(out[k], corner, size)[...] = patch
        _patch(torch.from_numpy(masks[k]), corner, size)[...] = True
    return Corrupted(images=out, masks=masks, kind=kind)


def _patch(image: Tensor, corner: NDArray[np.int64], size: int) -> Tensor:
    """A square of an image […, H, W], as a view."""
    i, j = corner.tolist()
    return image[..., i : i + size, j : j + size]


# ------------------------------------------------------------------------------- simple detectors


def local_variance(images: Tensor, window: int = 13) -> Tensor:
    """How much pixels vary in a square around each, summed over the channels, [N, H, W].

    Args:
        images: [N, C, H, W].
        window: Edge of the square, odd; at the edges of the image there is less of it.
    """
    x = images.double()

    def mean(values: Tensor) -> Tensor:
        return F.avg_pool2d(values, window, 1, window // 2, count_include_pad=False)

    return smoothed((mean(x**2) - mean(x) ** 2).sum(1), periodic=False)


def biharmonic_residual(images: Tensor, window: int = 2) -> Tensor:
    """How far every small square is from its biharmonic inpainting, [N, H, W].

    Args:
        images: [N, C, H, W].
        window: Edge of the squares that the images are cut into. A quarter of them, no two of which
            touch, are filled in at a time.

    Returns:
        Squared differences, summed over the channels.
    """
    x = images.double()
    rows, columns = (np.arange(edge) // window % 2 for edge in x.shape[2:])
    filled = torch.zeros_like(x)
    for quarter in range(4):
        mask = np.add.outer(2 * rows, columns) == quarter
        filled = torch.where(torch.from_numpy(mask).to(x.device), biharmonic(x, mask), filled)
    return smoothed(((filled - x) ** 2).sum(1), periodic=False)


# ------------------------------------------------------------------------------- how well they do


def roc_auc(scores: Tensor, masks: Mask) -> NDArray[np.float64]:
    """Area under the receiver operating characteristic over the pixels of every image, [N].

    It is the chance that a corrupted pixel scores higher than one that isn't; ties count half.

    Args:
        scores: [N, H, W].
        masks: Which pixels are corrupted, [N, H, W]; some of every image, not all.

    Raises:
        ValueError: If none or all of an image are.

    Example:
        >>> scores = torch.tensor([[[1.0, 2.0, 3.0, 3.0]]])
        >>> roc_auc(scores, np.array([[[False, True, False, True]]]))
        array([0.625])
    """
    ranks = rankdata(scores.flatten(1).detach().cpu().numpy(), axis=1)
    inside = masks.reshape(len(masks), -1)
    positive = inside.sum(1)
    if not ((positive > 0) & (positive < inside.shape[1])).all():
        raise ValueError(
            "Expected some pixels of every image to be corrupted, and some not; got an image with "
            "none or all of them: take smaller regions, but no empty ones."
        )
    total = (ranks * inside).sum(1) - positive * (positive + 1) / 2
    return total / (positive * (inside.shape[1] - positive))


@dataclass(frozen=True, kw_only=True)
class Score:
    """A mean over images.

    Attributes:
        mean: The mean.
        standard_error: Its standard error over the images.
    """

    mean: float
    standard_error: float

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> "Score":
        """That of one number per image."""
        mean, error = mean_and_error(values)
        return cls(mean=mean, standard_error=error)


@dataclass(frozen=True, kw_only=True)
class Detection:
    """How well corruptions of one kind are found.

    Attributes:
        kind: Which.
        images: Number of images.
        changed: Share of the pixels of the squares that the corruption changed at all.
        auc: Area under the ROC over pixels, by detector: `surprise`, `surprise, level 0` and so on,
            `variance` and `biharmonic`.
        changed_auc: The same with changed pixels against those outside the squares.
        noticed: Share of the images for which a region was proposed.
        covered: Share of the squares that the proposed mask covers.
        overlap: Pixels in mask and square, as a share of those in either.
    """

    kind: Kind
    images: int
    changed: float
    auc: dict[str, Score]
    changed_auc: dict[str, Score]
    noticed: float
    covered: Score
    overlap: Score


def detection(
    flow: Flow,
    reference: Reference,
    images: Tensor,
    *,
    kinds: Sequence[Kind] = KINDS,
    size: int = 10,
    false_alarms: float = 0.05,
    seed: int = 0,
) -> list[Detection]:
    """Corrupt images, and look for the place.

    Args:
        flow: An RG-Flow.
        reference: What is usual, as `make_reference` finds it.
        images: Clean ones, uint8 [N, C, H, W], not those of the reference.
        kinds: Of corruption.
        size: Edge of the corrupted squares.
        false_alarms: The share of clean images in which something is proposed.
        seed: As for `corrupt`.

    Raises:
        ValueError: As for `corrupt`, `surprise` and `roc_auc`, or if a corruption changes nothing.
    """
    images, found = images.cpu(), []
    for kind in kinds:
        made = corrupt(images, kind, size=size, seed=seed)
        ours = surprise(flow, made.images, reference)
        scores = {"surprise": ours.map}
        scores |= {f"surprise, level {h}": x for h, x in enumerate(ours.levels.unbind(1))}
        scores["variance"] = local_variance(made.images)
        scores["biharmonic"] = biharmonic_residual(made.images)
        changed = (made.images != images).any(1).numpy()
        if not changed.any():
            raise ValueError(
                f"Expected a corruption that changes pixels; got {kind!r}, which leaves all of "
                f"{len(images)} images as they are: take other images, or another kind."
            )
        masks = ours.propose(false_alarms).masks
        both = (masks & made.masks).sum((1, 2))
        found.append(
            Detection(
                kind=kind,
                images=len(images),
                changed=float(changed.sum() / made.masks.sum()),
                auc={name: Score.of(roc_auc(x, made.masks)) for name, x in scores.items()},
                changed_auc={
                    name: _on_changed(x, made.masks, changed) for name, x in scores.items()
                },
                noticed=float(masks.any((1, 2)).mean()),
                covered=Score.of(both / made.masks.sum((1, 2))),
                overlap=Score.of(both / (masks | made.masks).sum((1, 2))),
            )
        )
    return found


def _on_changed(scores: Tensor, masks: Mask, changed: Mask) -> Score:
    """The area that changed pixels have; images without any aren't counted."""
    counted = torch.from_numpy(changed | ~masks)
    areas = [
        roc_auc(scores[k, counted[k]][None], changed[k][counted[k].numpy()][None])
        for k in np.flatnonzero(changed.any((1, 2))).tolist()
    ]
    return Score.of(np.concatenate(areas))
