"""How near images come to others: PSNR and SSIM.

Images are compared as they would be saved. Reals in [0, 256) become the 8-bit grey levels that they
stand for, ⌊x⌋, and those are divided by 255, so that the data range is 1 and an error of one grey
level is 1/255. PSNR is then that of 8-bit files with a peak of 255, and noise that dequantised an
image counts as no error.

Letters in shapes: N images; C channels; H, W rows and columns.
"""

import math
import warnings
from dataclasses import dataclass

import torch
from skimage.metrics import structural_similarity
from torch import Tensor

from rgflow.lattice import Mask, Sites
from rgflow.text import mean_and_error

OVERSHOOT = 15
"""How far beyond [0, 256) pixels may lie: the inverse of the logit map reaches 14.3 beyond."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric of images, each compared with its truth.

    Attributes:
        name: Of the metric.
        values: Of every image.
        mean: Over the images whose values are finite, as the PSNR of an image that equals its
            truth is not; infinite if there are none.
        standard_error: Of the mean, over the images; NaN of a single image.
    """

    name: str
    values: tuple[float, ...]
    mean: float
    standard_error: float


def psnr(images: Tensor, truth: Tensor, masks: Mask | None = None) -> Metric:
    """PSNR = −10 log10(mean squared error), in dB, of images, or of regions of them, data range 1.

    Where all but a share s of the pixels is intact, the PSNR of the whole image is that of the
    region and 10 log10(1/s): 10.1 dB more for 10×10 pixels of 32×32.

    Args:
        images: [N, C, H, W], uint8 or reals in [0, 256).
        truth: As many, of the same size.
        masks: The regions that count, [H, W] for all images alike or [N, H, W]; none: all.

    Raises:
        ValueError: If shapes don't fit, a number isn't finite or far beyond [0, 256), or a region
            is empty.

    Warns:
        UserWarning: If both look as if they were in [0, 1].

    Example:
        >>> truth = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
        >>> images = truth.clone()
        >>> images[1, :, :4, :4] = 51
        >>> found = psnr(images, truth)
        >>> found.values[0], round(found.values[1], 1)
        (inf, 20.0)
        >>> round(psnr(images, truth, Sites(height=8, width=8).box(0, 0, 4, 4)).mean, 1)
        14.0
    """
    first, second = map(_unit, _levels(images, truth))
    squares = (first - second).square()
    if masks is None:
        return _metric("PSNR", -10 * squares.flatten(1).mean(1).log10())
    n, channels, height, width = images.shape
    regions = torch.tensor(Sites(height=height, width=width).masks(masks, n))[:, None]
    sizes = regions.flatten(1).sum(1)
    if not sizes.all():
        raise ValueError("Expected regions of at least one pixel each; got an empty mask.")
    errors = (squares * regions).sum((1, 2, 3)) / (sizes * channels)
    return _metric("PSNR of the region", -10 * errors.log10())


def ssim(images: Tensor, truth: Tensor) -> Metric:
    """The structural similarity index of Wang et al. (2004), averaged over channels.

    As there, with a Gaussian window of 11×11 pixels and σ = 1.5; images with a shorter edge get
    the largest odd window that fits, with a σ in the same proportion. Pixels whose window reaches
    beyond the image don't count, so at the outermost ones an error has little weight.

    Takes images [N, C, H, W], raises and warns as `psnr` does; a `ValueError` too if an edge is
    below 3.

    Example:
        >>> truth = torch.randint(256, (2, 3, 16, 16), dtype=torch.uint8)
        >>> ssim(truth, truth).mean
        1.0
    """
    first, second = (_unit(x).numpy() for x in _levels(images, truth))
    radius = min(5, (min(first.shape[2:]) - 1) // 2)
    if radius < 1:
        raise ValueError(
            f"Expected images of at least 3×3 pixels for SSIM; got {first.shape[2]}×"
            f"{first.shape[3]}."
        )
    values = [
        structural_similarity(
            x,
            y,
            channel_axis=0,
            data_range=1.0,
            gaussian_weights=True,
            sigma=1.5 * radius / 5,
            win_size=2 * radius + 1,
            use_sample_covariance=False,
        )
        for x, y in zip(first, second, strict=True)
    ]
    return _metric("SSIM", torch.tensor(values))


def _metric(name: str, values: Tensor) -> Metric:
    finite = values[values.isfinite()]
    mean, error = mean_and_error(finite) if len(finite) else (math.inf, math.nan)
    return Metric(name=name, values=tuple(values.tolist()), mean=mean, standard_error=error)


def _levels(images: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """The 8-bit images that images and their truth stand for, uint8, if they can be compared."""
    if images.ndim != 4 or not len(images) or images.shape != truth.shape:
        raise ValueError(
            "Expected images and their truth of one shape [N, C, H, W]; got "
            f"{list(images.shape)} and {list(truth.shape)}."
        )
    both = images.detach(), truth.detach()
    for x in both:
        if not x.isfinite().all():
            raise ValueError("Expected finite pixels; got NaN or infinite ones.")
        low, high = x.min().item(), x.max().item()
        if low < -OVERSHOOT or high > 256 + OVERSHOOT:
            raise ValueError(
                f"Expected pixels in [0, 256); got {low:g} to {high:g}: scale them to that range."
            )
    if all(x.is_floating_point() and x.max() <= 1 and ((x > 0) & (x < 1)).any() for x in both):
        warnings.warn(
            "Expected pixels in [0, 256); got none above 1, which all count as black or nearly so: "
            "multiply them by 255 if they are in [0, 1].",
            stacklevel=3,
        )
    first, second = (x.clamp(0, 255).to(torch.uint8) for x in both)
    return first, second


def _unit(levels: Tensor) -> Tensor:
    """8-bit images as reals in [0, 1], in float64 and on the CPU."""
    return levels.cpu().double() / 255
