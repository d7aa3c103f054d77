"""Finding damage of photographs: of prints as scans have it, and of one colour in files."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import (  # type: ignore[attr-defined]  # which are found when it runs
    binary_dilation,
    median_filter,
)
from skimage.measure import label
from sklearn.metrics import roc_auc_score

from reproducing.measures.pictures import (
    Pixels,
    Random,
    beside,
    blocks,
    crops,
    dead,
    grouped,
    means,
    perceptual_distance,
    psnr,
    repair_methods,
    saved,
    scratches,
    text,
)
from reproducing.measures.subject import Found, MeasuredFlow, Picture
from reproducing.others import pictures
from rgflow.cells import Mask
from rgflow.figures.charts import blank, plain, rendered
from rgflow.photographs import simulation
from rgflow.photographs.damage import SENSITIVITY, find_damage, seen_through
from rgflow.photographs.damage import Damage as FoundDamage
from rgflow.photographs.simulation import VISIBLE, Damage, Scan, Simulator

QUALITIES = (None, 90, 75)
"""Of the JPEGs in which damage is looked for; none: a PNG."""
Damaged = Callable[[Pixels, Random], tuple[Pixels, Mask, Mask, Pixels]]
"""Damages a picture: the picture, where it is damaged, where that is seen, and the truth."""


def flat(make: Callable[[tuple[int, int], Random], Mask], value: int | None) -> Damaged:
    """Shapes of one grey level, or pixels of any colour, on a picture that wasn't scanned."""

    def made(x: Pixels, random: Random) -> tuple[Pixels, Mask, Mask, Pixels]:
        hole = make(x.shape[:2], random)
        colour = random.integers(256, size=x.shape) if value is None else value
        found = np.where(hole[..., None], colour, x).astype(np.uint8)
        return found, hole, np.abs(found.astype(int) - x).max(2) > VISIBLE, x

    return made


def scanned(*kinds: Damage) -> Damaged:
    """Damage of a print that was scanned, by settings that the detector wasn't trained with."""
    scan = Scan(blur=(0.2, 0.5), noise=(1, 3), gain=(0.9, 1.05), gamma=(0.9, 1.1), compressed=0)
    simulator = Simulator(chances=[(kind, 1.0) for kind in kinds], scan=scan)

    def made(x: Pixels, random: Random) -> tuple[Pixels, Mask, Mask, Pixels]:
        found = simulator(x.transpose(2, 0, 1), random)
        picture, truth = (x.transpose(1, 2, 0) for x in (found.picture, found.truth))
        return picture, found.mask, found.mask, truth

    return made


LIGHT, DARK = ((225, 255),), ((10, 60),)
SCRATCHES = simulation.Scratches(
    number=(1, 2), width=(1, 2.6), softness=(0.4, 0.8), opacity=(0.3, 0.8), shades=LIGHT,
    bend=(-0.002, 0.002), length=(30, 300),
)  # fmt: skip
SPECKS = simulation.Specks(number=(5, 20), width=(0.7, 2.5), opacity=(0.3, 0.9), shades=LIGHT)
DUST = simulation.Dust(number=(1, 4), width=(3, 9), opacity=(0.4, 0.9), shades=LIGHT + DARK)
HAIRS = simulation.Hairs(
    number=(0.5, 1), width=(1, 2.5), opacity=(0.5, 0.9), bend=(-0.02, 0.02), shake=0.03,
    shades=LIGHT + DARK,
)  # fmt: skip
FOLDS, DARK_FOLDS = (
    simulation.Folds(number=(0.1, 0.3), width=(3, 7), opacity=(0.4, 0.8), shades=shades)
    for shades in (LIGHT, DARK)
)
PRINTS = {
    "soft scratches": scanned(SCRATCHES),
    "soft dust": scanned(SPECKS, DUST),
    "hairs": scanned(HAIRS),
    "folds": scanned(FOLDS),
    "dark folds": scanned(DARK_FOLDS),
}
FLAT = {
    "scratches, white": flat(scratches, 255),
    "scratches, grey": flat(scratches, 128),
    "text, white": flat(text, 255),
    "dead pixels, one in 200": flat(dead(0.005), None),
    "8×8 blocks, 2 %, black": flat(blocks(8, 0.02), 0),
    "black dust, 3 %": flat(dead(0.03), 0),
}
DAMAGE: dict[str, tuple[Damaged, int | None]] = {
    **{name: (made, None) for name, made in (PRINTS | FLAT).items()},
    **{f"{name}, JPEG": (made, 90) for name, made in (PRINTS | FLAT).items()},
    **{f"{name}, JPEG 75": (made, 75) for name, made in PRINTS.items()},
}
"""By name: what damages a picture, and the quality of a JPEG."""


COLOURS = dict(zip(PRINTS, ("#1f6fb4", "#c8500a", "#2a8f5a", "#6a4c93", "#222b36"), strict=True))
"""Of the curves of damage of prints."""
SENSITIVITIES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)


def damage_of_photographs(
    subject: MeasuredFlow, *, count: int = 20, edge: int = 256, of: str = "seven"
) -> Found:
    """How well damage is found (`found_damage`) in crops of a set of pictures; and what is marked
    of the whole ones, which have none."""
    marked = {
        name: float(find_damage(torch.from_numpy(x[:3])).found.mean())
        for name, x in pictures((of,)).items()
    }
    numbers = found_damage(crops(count, edge, of))
    caption = "Precision against recall by sensitivity, 2 to 98 %; dots: the default"
    return Found(
        numbers={**numbers, "marked": marked, "mean_marked": fmean(marked.values())},
        pictures={"curves": Picture(curves(numbers["by_sensitivity"]), caption)},
    )


def curves(by_sensitivity: Mapping[str, Mapping[str, Sequence[float]]]) -> Image.Image:
    """Precision against recall of damage of prints by sensitivity, in PNG and in JPEG."""
    figure = blank(9, 3.2)
    figure.set_layout_engine("constrained")
    for column, (title, saved_as) in enumerate(
        {"PNG": "", "JPEG 90": ", JPEG", "JPEG 75": ", JPEG 75"}.items()
    ):
        axes = figure.add_subplot(1, 3, column + 1, xlim=(0, 1), ylim=(0, 1.02))
        plain(axes, "recall", "" if column else "precision", title)
        for kind, colour in COLOURS.items():
            of = by_sensitivity[kind + saved_as]
            recall, precision = np.array(of["recall"]), np.array(of["precision"])
            right = recall > 0  # where nothing is marked, precision isn't defined
            axes.plot(recall[right], precision[right], color=colour, label=kind)
            usual = SENSITIVITIES.index(SENSITIVITY)
            axes.plot(recall[usual], precision[usual], "o", color=colour, markersize=5)
    handles = axes.get_legend_handles_labels()
    figure.legend(*handles, loc="outside right center", frameon=False, labelcolor="linecolor")
    return rendered(figure)


def repairs_of_prints(
    subject: MeasuredFlow, *, count: int = 20, edge: int = 256, of: str = "seven"
) -> Found:
    """Scans of scratched and dusty prints of a set of pictures, repaired where they are damaged, a
    pixel farther, and where that is found: PSNR of what is damaged, LPIPS of the whole, seconds of
    the processor."""
    fills, distance = repair_methods(subject), perceptual_distance()

    def layers(x: Pixels, hole: Mask) -> Pixels:
        image, filled = (
            torch.from_numpy(y.transpose(2, 0, 1).copy()) for y in (x, fills["flow"](x, hole))
        )
        return seen_through(image, hole, filled).numpy().transpose(1, 2, 0)

    methods = fills | {"flow": layers, "holes": fills["flow"]}
    make, one, rows, shown = scanned(SCRATCHES, SPECKS, DUST, HAIRS), np.ones((3, 3)), [], {}
    for name, quality in (("PNG", None), ("JPEG", 90)):
        random = np.random.default_rng(0)
        for number, whole in enumerate(crops(count, edge, of)):
            damaged, hole, _, truth = make(whole, random)
            x, found = _searched(damaged, quality)
            masks = {"true": hole, "grown": binary_dilation(hole, one), "found": found.found}
            for kind, mask in masks.items():
                results = {"truth": truth, "damaged": x}
                for method, fill in methods.items():
                    start = sum(os.times()[:4])
                    made = np.where(mask[..., None], fill(x, mask), x) if mask.any() else x
                    seconds, results[method] = sum(os.times()[:4]) - start, made
                    rows.append(
                        {
                            "damage": f"{name}, {kind}",
                            "crop": number,
                            "method": method,
                            "psnr": psnr(made[hole], truth[hole]),
                            "lpips": distance(made, truth),
                            "seconds": seconds,
                        }
                    )
                if number == 1:
                    shown[f"{name}, {kind}"] = results
    numbers = {"rows": rows, "means": means(rows, ("psnr", "lpips", "seconds"))}
    picture = Picture(beside(shown, 96), "A scan of a damaged print, and repairs of it.")
    return Found(numbers=numbers, pictures={"prints": picture})


def found_damage(photographs: Sequence[Pixels]) -> dict[str, Any]:
    """How well damage is found: the area under the ROC curve of the detector's probabilities, of
    what a repair goes by, and of a noise residual (what a median filter takes away); precision and
    recall of what is marked, where marks beside damage count as right, and damage that can't be
    seen doesn't count; the share of shapes marked at least by half, by default and where a
    thousandth of undamaged pixels would be; what is marked of undamaged pictures; precision and
    recall of all crops' pixels together by sensitivity; and what a probability of 0.9 means."""
    undamaged, limits, seconds = {}, {}, 0.0
    levels = 1 - np.array(SENSITIVITIES)[:, None]
    size = sum(x[..., 0].size for x in photographs)
    for quality in QUALITIES:
        start = time.process_time()
        clean = [_searched(x, quality)[1] for x in photographs]
        seconds += time.process_time() - start
        every = np.concatenate([one.marks.ravel() for one in clean])
        limits[quality] = float(np.quantile(every, 0.999))
        marked = [int(one.found.sum()) for one in clean]
        name = "PNG" if quality is None else f"JPEG {quality}"
        undamaged[name] = {
            "pixels": marked,
            "share": sum(marked) / size,
            "limit": limits[quality],
            "by_sensitivity": (every > levels).mean(1).tolist(),
        }
    rows, certain = [], []
    counts = {name: np.zeros((4, len(SENSITIVITIES))) for name in DAMAGE}
    for name, (make, quality) in DAMAGE.items():
        random = np.random.default_rng(0)
        for truth in photographs:
            damaged, hole, seen, _ = make(truth, random)
            if not seen.any():
                continue
            x, found = _searched(damaged, quality)
            near = binary_dilation(hole, np.ones((3, 3)))
            maps = {
                "detector": found.probability,
                "marks": found.marks,
                "noise residual": np.abs(x - median_filter(x, (3, 3, 1)).astype(float)).sum(2),
            }
            certain.append(seen[np.abs(found.probability - 0.9) < 0.05])
            of = found.marks.ravel(), found.marks[near], found.marks[seen]
            marked, right, recalled = ((marks > levels).sum(1) for marks in of)
            counts[name] += [right, marked, recalled, np.full(len(levels), seen.sum())]
            rows.append(
                {
                    "damage": name,
                    "auc": {
                        method: float(roc_auc_score(seen.ravel(), of.ravel()))
                        for method, of in maps.items()
                    },
                    "precision": float((found.found & near).sum() / max(found.found.sum(), 1)),
                    "recall": float((found.found & seen).sum() / seen.sum()),
                    "shapes": _shapes(seen, found.found),
                    "shapes_at_limit": _shapes(seen, found.marks > limits[quality]),
                }
            )
    keys = ("precision", "recall", "shapes", "shapes_at_limit")
    by_damage = {
        name: {
            "auc": {method: fmean(row["auc"][method] for row in of) for method in of[0]["auc"]},
            **{key: fmean(row[key] for row in of) for key in keys},
        }
        for name, of in grouped(rows).items()
    }
    return {
        "means": by_damage,
        "undamaged": undamaged,
        "sensitivities": list(SENSITIVITIES),
        "by_sensitivity": {
            name: {
                "precision": (right / np.maximum(marked, 1)).tolist(),
                "recall": (recalled / visible).tolist(),
            }
            for name, (right, marked, recalled, visible) in counts.items()
        },
        "right_at_0.9": float(np.concatenate(certain).mean()),
        "seconds_per_megapixel": 1e6 * seconds / (3 * size),
    }


def _shapes(damage: Mask, marked: Mask) -> float:
    """The share of shapes marked at least by half; parts two pixels apart are one."""
    names = label(binary_dilation(damage, np.ones((3, 3))), connectivity=2) * damage
    sizes = np.bincount(names.ravel())[1:]
    of_each = np.bincount(names[marked], minlength=len(sizes) + 1)[1:]
    return float((2 * of_each >= sizes).mean())


def _searched(x: Pixels, quality: int | None) -> tuple[Pixels, FoundDamage]:
    """A picture as it is saved, and what is found in it."""
    seen = saved(x, quality)[0]
    return seen, find_damage(torch.from_numpy(seen.transpose(2, 0, 1).copy()))
