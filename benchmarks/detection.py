"""How well corrupted regions are found whose place isn't known, beside two simple detectors.

    python benchmarks/detection.py RUN [--images 100] [--clean 500]

RUN is the run folder of an RG-Flow. Its validation images say what is usual, its test images are
corrupted: 10×10 pixels of each, in four ways.

The surprise of places is compared with two detectors that know no images: how much pixels vary
nearby, and how far they are from what biharmonic inpainting makes of them. Both are smoothed as the
map of surprise is. Of windows of 3 to 13 and of 2 to 8 pixels, theirs are those that do best, on
average over all kinds, on squares of 10×10 pixels in MSDS1.

Writes benchmarks/results/detection.json,
docs/images/detection.png and docs/images/surprise.png; the result doesn't depend on the machine.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import rankdata
from steps import write
from torch import Tensor
from torch.nn import functional as F

from rgflow import data
from rgflow.checks import check_name, check_whole
from rgflow.figures.charts import INK, PALE, RED, SOFT, blank, plain, rendered
from rgflow.figures.surprise import surprises
from rgflow.flow import Flow
from rgflow.lattice import Mask
from rgflow.repair.biharmonic import biharmonic
from rgflow.repair.surprise import Reference, make_reference, smoothed, surprise
from rgflow.text import mean_and_error
from rgflow.training.optimisation import prepare_machine
from rgflow.training.run import Run

ROOT = Path(__file__).parents[1]
SIZE, FALSE_ALARMS, SEED = 10, 0.05, 0
"""Edge of a damaged square in pixels, share of clean images in which something may be found, and
seed of the damage."""
WORDS = {
    "noise": "uniform noise",
    "constant": "one colour",
    "other": "patch of another image",
    "elsewhere": "patch from elsewhere",
}
COLOURS = {"surprise": RED, "biharmonic": INK, "variance": SOFT}
"""Of the detectors."""


# ------------------------------------------------------------------------------- corrupted images


Kind = Literal["noise", "constant", "other", "elsewhere"]
"""Uniform noise; one colour; the same place of another image; another place of the same image."""
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, kw_only=True, eq=False)
class Corrupted:
    """Images [N, C, H, W] with one square of each replaced, and the squares as masks [N, H, W]."""

    images: Tensor
    masks: Mask


def corrupt(images: Tensor, kind: Kind, *, size: int = 10, seed: int = 0) -> Corrupted:
    """Replace a square of every image, at a random place.

    Args:
        images: uint8 [N, C, H, W].
        kind: What to replace it with.
        size: Edge of the squares.
        seed: Seed; what becomes of an image also depends on its index.

    Raises:
        ValueError: If the images aren't uint8 or are too small, or a single image has no other to
            take a patch from.

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
    return Corrupted(images=out, masks=masks)


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


def detections(found: Sequence[Detection]) -> Image.Image:
    """How well corruptions of several kinds are found, by every detector.

    Args:
        found: One result per kind, as `detection` gives them.
    """
    figure = blank(8, 1.2 + 0.45 * len(found))
    axes = figure.subplots()
    for column, (name, colour) in enumerate(COLOURS.items()):
        scores = [result.auc[name] for result in found]
        means, errors = zip(*((s.mean, s.standard_error) for s in scores), strict=True)
        axes.errorbar(means, range(len(found)), xerr=errors, color=colour, fmt="o")
        lines = [(-0.8, name), *((row, f"{mean:.3f}") for row, mean in enumerate(means))]
        for row, text in lines:
            axes.text(
                1.2 + 0.36 * column, row, text, color=colour, ha="center", va="center",
                transform=axes.get_yaxis_transform(), weight="bold" if text == name else None,
            )  # fmt: skip
    axes.grid(axis="y", color=PALE)
    axes.set_axisbelow(True)
    axes.axvline(0.5, color=SOFT, lw=1, ls=(0, (4, 3)))
    axes.set_yticks(range(len(found)), [WORDS[result.kind] for result in found])
    axes.set_ylim(len(found) - 0.5, -0.5)
    plain(axes, "area under the ROC over pixels; by chance 0.5")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    figure.subplots_adjust(left=0.25, right=0.6, top=0.85, bottom=0.21)
    return rendered(figure)


def picture(flow: Any, reference: Reference, images: torch.Tensor, path: Path) -> None:
    """An image with each kind of corruption, and one without."""
    made = [corrupt(images[k : k + 2], kind, size=SIZE, seed=k) for k, kind in enumerate(KINDS)]
    x8 = torch.cat([*(part.images[:1] for part in made), images[len(KINDS) : len(KINDS) + 1]])
    truth = np.concatenate([part.masks[:1] for part in made])
    truth = np.concatenate((truth, np.zeros_like(truth[:1])))
    found = surprise(flow, x8, reference)
    rows = [*KINDS, "clean"]
    surprises(x8, found, found.propose(FALSE_ALARMS), truth=truth, rows=rows).save(path)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", help="the run folder of an RG-Flow")
    parser.add_argument("--images", type=int, default=100, help="test images to corrupt")
    parser.add_argument("--clean", type=int, default=500, help="validation images")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/detection.json")
    parser.add_argument("--pictures", type=Path, default=ROOT / "docs/images")
    arguments = parser.parse_args()
    prepare_machine()
    run = Run.open(arguments.run)
    flow, n = run.flow(), arguments.images
    config = run.config()
    clean = torch.from_numpy(
        data.load_for(config, "validation", count=arguments.clean).images.copy()
    )
    test = torch.from_numpy(data.load_for(config, "test", count=2 * n).images.copy())
    start = time.perf_counter()
    reference = make_reference(flow, clean)
    seconds = {"reference": time.perf_counter() - start}
    start = time.perf_counter()
    untouched = surprise(flow, test[n:], reference)
    seconds["surprise, per image"] = (time.perf_counter() - start) / len(untouched.map)
    rows = detection(flow, reference, test[:n], size=SIZE, false_alarms=FALSE_ALARMS, seed=SEED)
    for row in rows:
        scores = "  ".join(
            f"{name} {row.auc[name].mean:.3f} ± {row.auc[name].standard_error:.3f}"
            for name in ("surprise", "variance", "biharmonic")
        )
        print(
            f"{row.kind:<10} {scores}  noticed {row.noticed:.2f}  covered {row.covered.mean:.2f}  "
            f"overlap {row.overlap.mean:.2f}  changed {row.changed:.2f}"
        )
    alarms = float(untouched.propose(FALSE_ALARMS).masks.any((1, 2)).mean())
    print(f"something is proposed in {100 * alarms:.3g} % of {len(untouched.map)} clean images")
    write(
        arguments.out,
        data=config.data,
        training=run.record().get("result"),
        clean_images=reference.images,
        size=SIZE,
        seed=SEED,
        false_alarms={"asked": FALSE_ALARMS, "found": alarms, "images": len(untouched.map)},
        seconds=seconds,
        rows=[asdict(row) for row in rows],
    )
    detections(rows).save(arguments.pictures / "detection.png")
    picture(flow, reference, test[n:], arguments.pictures / "surprise.png")


if __name__ == "__main__":
    main()
