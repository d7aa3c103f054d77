"""Enlarging whole photographs that were reduced in the ways that programs do it, beside what these
programs enlarge with; of the seven photographs, which a flow must not have learned from."""

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from PIL.Image import Resampling
from skimage.metrics import structural_similarity
from skimage.registration import phase_cross_correlation
from skimage.transform import rescale

from reproducing.measures.pictures import Pixels, beside, means, perceptual_distance, psnr, saved
from reproducing.measures.subject import Found, MeasuredFlow, Picture
from rgflow import load_flow
from rgflow.data import patches
from rgflow.photographs.denoising import denoise
from rgflow.photographs.enlarging import enlarge

QUALITY = 85
"""Of the JPEGs."""
BORDER = 8
"""Pixels at the edges that PSNR leaves out."""
SHOWN = ("chelsea", "coffee", "motorcycle")
"""Of the picture."""


class Reduction(NamedTuple):
    """A way to make a photograph smaller, and how the result is enlarged."""

    reduced: Callable[[Pixels], Pixels]
    factor: int = 2
    denoised: bool = False
    """Whether pixels first move within what compression explains, as with `rgflow enlarge`."""


def averaged(x: Pixels) -> Pixels:
    """Rounded averages of 2×2 pixels, which OpenCV's INTER_AREA gives as well."""
    return np.asarray(Image.fromarray(x).reduce(2))


def compressed(x: Pixels) -> Pixels:
    """The averages, as they come back from a JPEG."""
    return saved(averaged(x), QUALITY)[0]


def bicubic(x: Pixels) -> Pixels:
    """Pillow's bicubic resize, whose kernel grows with the factor."""
    return resized(x, (x.shape[0] // 2, x.shape[1] // 2), Resampling.BICUBIC)


def blurred(x: Pixels) -> Pixels:
    """scikit-image's rescale: a Gaussian of 0.8 pixels, and then linear interpolation."""
    how = {"channel_axis": 2, "preserve_range": True, "anti_aliasing": True}
    small = rescale(x, 0.5, anti_aliasing_sigma=(0.8, 0.8, 0), **how)
    return small.round().clip(0, 255).astype(np.uint8)


def sites(x: Pixels) -> Pixels:
    """Every second pixel, both ways."""
    return np.ascontiguousarray(x[::2, ::2])


OF_AVERAGES = {
    "averages": Reduction(averaged),
    "bicubic": Reduction(bicubic),
    "averages, ×4": Reduction(lambda x: averaged(averaged(x)), 4),
    "JPEG": Reduction(compressed),
    "JPEG, denoised": Reduction(compressed, denoised=True),
    "blurred": Reduction(blurred),
}
OF_SITES = {"sites": Reduction(sites), "averages": Reduction(averaged)}
"""The latter shows what comes of averages that are taken for sites."""


def enlarging_of_photographs(subject: MeasuredFlow) -> Found:
    """Whole photographs, reduced and enlarged to what they were: PSNR, SSIM, LPIPS, the shift
    against the photograph in pixels, and seconds of the processor; by the flow, likeliest and drawn
    at temperature 1, and by interpolation."""
    of = OF_AVERAGES if subject.flow.config.geometry.averages else OF_SITES
    rows, shown, distance = [], {}, perceptual_distance()
    for case, reduction in of.items():
        for name, truth in whole_photographs():
            small = reduction.reduced(truth)
            results = {}
            for method, make in methods(subject, case, reduction).items():
                start = time.process_time()
                large = results[method] = make(small, truth.shape[:2])
                seconds = time.process_time() - start
                inside = slice(BORDER, -BORDER), slice(BORDER, -BORDER)
                rows.append(
                    {
                        "reduced": case,
                        "photograph": name,
                        "method": method,
                        "psnr": psnr(large[inside], truth[inside]),
                        "ssim": float(structural_similarity(large, truth, channel_axis=2)),
                        "lpips": distance(large, truth),
                        "shift": shift(large, truth),
                        "seconds": seconds,
                    }
                )
            if of is OF_AVERAGES and case == "averages" and name in SHOWN:
                shown[name] = results | {"truth": truth}
    keys = ("psnr", "ssim", "lpips", "shift", "seconds")
    found = Found(numbers={"rows": rows, "means": means(rows, keys, by="reduced")})
    if shown:
        caption = "Photographs enlarged by a factor of 2, and the truth; at 200 %."
        found.pictures["enlarged"] = Picture(beside(shown, 128), caption)
    return found


def whole_photographs() -> Iterator[tuple[str, Pixels]]:
    """The seven photographs by name, without the rows and columns beyond multiples of 4."""
    for name in patches.PHOTOGRAPHS:
        x = patches.photograph(name).transpose(1, 2, 0)
        height, width = (edge - edge % 4 for edge in x.shape[:2])
        yield name, np.ascontiguousarray(x[:height, :width])


def methods(
    subject: MeasuredFlow, case: str, reduction: Reduction
) -> dict[str, Callable[[Pixels, tuple[int, ...]], Pixels]]:
    """By name: a small picture and the size of the large one, to the large one."""
    interpolation = resized if case != "sites" else aligned
    photos = load_flow("photos") if reduction.denoised else None
    noise = saved(np.zeros((8, 8, 3), np.uint8), QUALITY)[1] / 2

    def flow(x: Pixels, size: tuple[int, ...], temperature: float | None = None) -> Pixels:
        image = torch.from_numpy(x.transpose(2, 0, 1).copy())
        if photos:
            image = denoise(photos, image, noise)
        generator = torch.Generator().manual_seed(0)
        large = enlarge(
            subject.flow, image, reduction.factor, temperature=temperature, generator=generator
        )
        return large.cpu().numpy().transpose(1, 2, 0)

    return {
        "flow": flow,
        "drawn": lambda x, size: flow(x, size, temperature=1.0),
        "Lanczos": lambda x, size: interpolation(x, size, Resampling.LANCZOS),
        "bicubic": lambda x, size: interpolation(x, size, Resampling.BICUBIC),
    }


def resized(x: Pixels, size: tuple[int, ...], kind: Resampling) -> Pixels:
    """What Pillow resizes a picture to."""
    return np.asarray(Image.fromarray(x).resize((size[1], size[0]), kind))


def aligned(x: Pixels, size: tuple[int, ...], kind: Resampling) -> Pixels:
    """OpenCV's interpolation between pixels that stay where they are, at even places: nothing is
    moved by half a pixel."""
    import cv2

    flag = {Resampling.LANCZOS: cv2.INTER_LANCZOS4, Resampling.BICUBIC: cv2.INTER_CUBIC}[kind]
    to = np.array([[0.5, 0, 0], [0, 0.5, 0]])
    how: dict[str, Any] = {"flags": flag | cv2.WARP_INVERSE_MAP, "borderMode": cv2.BORDER_REPLICATE}
    return np.asarray(cv2.warpAffine(x, to, (size[1], size[0]), **how), np.uint8)


def shift(x: Pixels, truth: Pixels) -> float:
    """How far a picture is from where it should be, in pixels: the length of the shift at which it
    correlates best with the truth, to 0.01 pixels, beneath a window that hides the edges."""

    def seen(x: Pixels) -> NDArray[np.float64]:
        grey = x.mean(2)
        return (grey - grey.mean()) * np.outer(*map(np.hanning, grey.shape))

    pair = seen(truth), seen(x)
    found = phase_cross_correlation(*pair, upsample_factor=100, normalization=None)[0]
    return float(np.hypot(*found))
