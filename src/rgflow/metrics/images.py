"""How near images come to others: PSNR, SSIM, and PSNR of features.

Images are compared as they would be saved. Reals in [0, 256) become the 8-bit grey levels that they
stand for, ⌊x⌋, and those are divided by 255, so that the data range is 1 and an error of one grey
level is 1/255. PSNR is then that of 8-bit files with a peak of 255, and noise that dequantised an
image counts as no error.

Letters in shapes: N images; C channels; H, W rows and columns; F features.
"""

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from skimage.metrics import structural_similarity
from torch import Tensor, nn

from rgflow.checks import check_whole
from rgflow.lattice import Mask, Sites
from rgflow.text import mean_and_error

Extractor = Callable[[Tensor], Tensor | Sequence[Tensor]]
"""From uint8 images [N, C, H, W] to features [N, …], or to several kinds of them."""

FID_INCEPTION = "torch_fidelity.feature_extractor_inceptionv3.FeatureExtractorInceptionV3"
"""The class of the Inception network that FID is defined by; that of torchmetrics is derived from
it."""
POOL3 = 2048
"""How many features FID takes from it."""
OVERSHOOT = 15
"""How far beyond [0, 256) pixels may lie: the inverse of the logit map reaches 14.3 beyond."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric of images, each compared with its truth.

    Attributes:
        name: Of the metric.
        values: Of every image.
        mean: Over the images.
        standard_error: Of the mean, over the images; NaN of a single image.
        settings: Whatever else the numbers depend on.
    """

    name: str
    values: tuple[float, ...]
    mean: float
    standard_error: float
    settings: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Psnr(Metric):
    """Peak signal-to-noise ratios, in dB.

    That of an image that equals its truth is infinite, and so would be every mean over it. So
    `mean` and `standard_error` are over the images that differ. Where the numbers of identical
    images differ, that favours whoever has fewer; the pooled ratio doesn't, for all images count.

    Attributes:
        identical: How many images equal their truth. If all do, the mean is infinite.
        pooled: The ratio of the mean squared error over all images.
        pooled_error: Its standard error over the images, to first order; NaN of a single image.
    """

    identical: int
    pooled: float
    pooled_error: float


def psnr(images: Tensor, truth: Tensor, masks: Mask | None = None) -> Psnr:
    """PSNR = −10 log10(mean squared error) of images, or of regions of them, data range 1.

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
        >>> found.values[0], round(found.values[1], 1), found.identical
        (inf, 20.0, 1)
        >>> round(psnr(images, truth, Sites(height=8, width=8).box(0, 0, 4, 4)).mean, 1)
        14.0
    """
    first, second = map(_unit, _levels(images, truth))
    squares = (first - second).square()
    if masks is None:
        return _psnr("PSNR", squares.flatten(1).mean(1), 1.0)
    n, channels, height, width = images.shape
    regions = torch.tensor(Sites(height=height, width=width).masks(masks, n))[:, None]
    sizes = regions.flatten(1).sum(1)
    if not sizes.all():
        raise ValueError("Expected regions of at least one pixel each; got an empty mask.")
    errors = (squares * regions).sum((1, 2, 3)) / (sizes * channels)
    return _psnr("PSNR of the region", errors, 1.0)


def ssim(images: Tensor, truth: Tensor) -> Metric:
    """The structural similarity index of Wang et al. (2004), averaged over channels.

    As there, with a Gaussian window of 11×11 pixels and σ = 1.5; images with a shorter edge get
    the largest odd window that fits, with a σ in the same proportion. Pixels whose window reaches
    beyond the image don't count, so at the outermost ones an error has little weight.

    Args:
        images: [N, C, H, W], uint8 or reals in [0, 256).
        truth: As many, of the same size.

    Raises:
        ValueError: If shapes don't fit, a number isn't finite or far beyond [0, 256), or an edge
            is below 3.

    Warns:
        UserWarning: As for `psnr`.

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
    settings = {
        "win_size": 2 * radius + 1,
        "sigma": 1.5 * radius / 5,
        "K1": 0.01,
        "K2": 0.03,
        "data_range": 1.0,
        "gaussian_weights": True,
        "use_sample_covariance": False,
    }
    values = tuple(
        float(structural_similarity(x, y, channel_axis=0, **settings))
        for x, y in zip(first, second, strict=True)
    )
    mean, error = mean_and_error(values)
    return Metric(name="SSIM", values=values, mean=mean, standard_error=error, settings=settings)


def feature_psnr(
    images: Tensor, truth: Tensor, extractor: Extractor, name: str, *, batch_size: int = 64
) -> Psnr:
    """PSNR of the features that a network finds in images (paper, Table F1).

    The squared error is averaged over the features of an image. The data range, which the paper
    doesn't tell, is that of the truth: the largest of the features of all its images less the
    smallest. So numbers compare only for the same truth and the same extractor.

    The result is named "feature PSNR (…)" after the extractor. The name "inception" makes it
    "Inception-PSNR", and is accepted of the network that FID is defined by alone.

    Args:
        images: [N, C, H, W], uint8 or reals in [0, 256).
        truth: As many, of the same size.
        extractor: From uint8 images to features; a module is expected in evaluation mode.
        name: Of the extractor.
        batch_size: Images at a time.

    Raises:
        ValueError: If shapes don't fit, a number isn't finite or far beyond [0, 256), the extractor
            is training, all features are the same, or the name promises what the extractor isn't.

    Warns:
        UserWarning: As for `psnr`.

    Example:
        >>> truth = torch.randint(256, (2, 3, 16, 16), dtype=torch.uint8)
        >>> def means(x8):
        ...     return x8.float().mean((2, 3))
        >>> feature_psnr(255 - truth, truth, means, "channel means").name
        'feature PSNR (channel means)'
    """
    check_whole("batch_size", batch_size, 1)
    if isinstance(extractor, nn.Module) and extractor.training:
        raise ValueError(
            "Expected an extractor in evaluation mode; got one that is training; call its eval()."
        )
    found, expected = (
        torch.cat(list(extract(levels, extractor, batch_size))) for levels in _levels(images, truth)
    )
    data_range = (expected.max() - expected.min()).item()
    if data_range == 0:
        raise ValueError("Expected features that differ; got the same number everywhere.")
    errors = (found - expected).square().mean(1)
    return _psnr(_feature_name(extractor, name, expected.shape[1]), errors, data_range)


def _feature_name(extractor: Extractor, name: str, count: int) -> str:
    """What the PSNR of some features may be called."""
    if name.lower() != "inception":
        return f"feature PSNR ({name})"
    classes = [f"{kind.__module__}.{kind.__qualname__}" for kind in type(extractor).__mro__]
    if FID_INCEPTION not in classes or count != POOL3:
        raise ValueError(
            f"Expected the {POOL3} features of a {FID_INCEPTION} for Inception-PSNR; got {count} "
            f"of a {classes[0]}; give it another name."
        )
    return "Inception-PSNR"


@torch.no_grad()
def extract(
    images: Tensor,
    extractor: Extractor,
    batch_size: int,
    progress: Callable[[int], None] | None = None,
) -> Iterator[Tensor]:
    """The features of 8-bit images, batch by batch, [N, F] in float64 and on the CPU.

    Args:
        images: [N, C, H, W], uint8.
        extractor: From such images to features.
        batch_size: Images at a time.
        progress: Called with the number of images of every batch that is done.

    Raises:
        ValueError: If a feature isn't finite.
    """
    for batch in images.split(batch_size):
        found = extractor(batch)
        kinds = [found] if isinstance(found, Tensor) else found
        features = torch.cat([kind.reshape(len(batch), -1).double().cpu() for kind in kinds], 1)
        if not features.isfinite().all():
            raise ValueError("Expected finite features; got NaN or infinite ones.")
        if progress:
            progress(len(batch))
        yield features


def _psnr(name: str, errors: Tensor, data_range: float) -> Psnr:
    """Ratios from the mean squared error of every image, [N]."""
    ratios = (10 * torch.log10(data_range**2 / errors)).tolist()
    finite = [ratio for ratio in ratios if ratio < math.inf]
    mean, error = mean_and_error(finite) if finite else (math.inf, math.nan)
    pooled, pooled_error = mean_and_error(errors.tolist())
    return Psnr(
        name=name,
        values=tuple(ratios),
        mean=mean,
        standard_error=error,
        settings={"data_range": data_range},
        identical=len(ratios) - len(finite),
        pooled=10 * math.log10(data_range**2 / pooled) if pooled else math.inf,
        pooled_error=10 / math.log(10) * pooled_error / pooled if pooled else math.nan,
    )


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
