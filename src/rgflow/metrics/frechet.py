"""Fréchet distances between sets of images: FID, and the same over other features.

Features of images are fitted by a Gaussian for either set, and d² between N(μ1, S1) and N(μ2, S2)
is

    |μ1 − μ2|² + tr S1 + tr S2 − 2 tr (S1 S2)^½

(Dowson and Landau 1982). It's called FID only where the features are those that FID is defined by
(Heusel et al. 2017), in all other cases FD, with a name. There are two kinds here: `inception`
over the user's own file of weights, and `pixel_components`.

d² is biased: even two sets of the same kind are at a distance, which falls about as 1/N. So it is
compared only between sets of the same size, and every result holds both sizes and its *floor*: how
far as many real images are that were set aside.

Letters in shapes: N images of one set, M of the other; C channels; H, W rows and columns; F
features.
"""

import hashlib
import io
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from sklearn.decomposition import PCA
from torch import Tensor

from rgflow import tensors
from rgflow.checks import check_whole
from rgflow.files import expanded
from rgflow.reading import DamagedError, opened
from rgflow.tensors import load_torch

FID_WEIGHTS = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
"""SHA-256 of the Inception of 2015-12-05 in PyTorch's format, as pytorch-fid and torch-fidelity
publish it: pt_inception-2015-12-05-6726825d.pth."""
POOL3 = 2048
"""How many features FID takes from Inception."""
GROUPS = 10
"""Into which images are split for the standard error."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Features:
    """What a Fréchet distance is over.

    Attributes:
        name: Of the features; FD-`name` is what the distance is called.
        extract: From uint8 images [N, C, H, W], on the CPU, to features [N, F].
        resizing: What becomes of the size of images, in words.
        weights: SHA-256 of the numbers that the features are computed with.
    """

    name: str
    extract: Callable[[Tensor], Tensor]
    resizing: str
    weights: str

    @property
    def distance_name(self) -> str:
        """What the distance over them is called: FID if the weights are those, else FD-`name`."""
        return "FID" if self.weights == FID_WEIGHTS else f"FD-{self.name}"


@dataclass(frozen=True, kw_only=True)
class FrechetDistance:
    """How far samples are from real images, and how far other real images are from these.

    The standard errors are by the jackknife over 10 groups of images of both sets; NaN of fewer
    than 10 images. Near the floor they are up to √2 times too large. They don't know of the bias,
    which `distance` and `floor` share.

    Attributes:
        name: FID, or FD-something.
        distance: d² of the samples to the training images.
        standard_error: Its standard error.
        floor: d² of as many test images to the same training images.
        floor_error: Its standard error.
        samples: Number of samples, and of test images.
        references: Number of training images.
        dim: Number of features F.
        resizing: What became of the size of images before.
        temperature: Of the samples; one for all latents, or one per level.
        seed: Of the first sample; sample k has `seed` + k.
        weights: SHA-256 of the numbers that the features are computed with.
    """

    name: str
    distance: float
    standard_error: float
    floor: float
    floor_error: float
    samples: int
    references: int
    dim: int
    resizing: str
    temperature: float | Sequence[float]
    seed: int
    weights: str


def compare(
    samples: Tensor,
    references: Tensor,
    others: Tensor,
    features: Features,
    *,
    temperature: float | Sequence[float] = 1.0,
    seed: int = 0,
    batch_size: int = 100,
    progress: Callable[[int], None] | None = None,
) -> FrechetDistance:
    """The Fréchet distance of samples to training images, beside its floor.

    Args:
        samples: [N, C, H, W], uint8.
        references: Training images, [M, C, H, W], uint8.
        others: Test images, as many as samples.
        features: What the distance is over.
        temperature, seed: Of the samples, for the record.
        batch_size: Images at a time.
        progress: Called with the number of images that were done since the last call.

    Raises:
        ValueError: If there are more or fewer test images than samples, a set has fewer than 2
            images, or the features don't take them.

    Example:
        >>> images = torch.randint(256, (60, 3, 8, 8), dtype=torch.uint8)
        >>> train, test, samples = images.split(20)
        >>> found = compare(samples // 2, train, test, pixel_components(train, 4))
        >>> found.name, found.distance > found.floor
        ('FD-PCA4', True)
    """
    if len(others) != len(samples):
        raise ValueError(
            f"Expected as many test images as samples, as distances of sets of different sizes "
            f"can't be compared; got {len(others)} and {len(samples)}."
        )
    x, y, z = (
        torch.cat(list(extract(images, features, batch_size, progress)))
        for images in (samples, references, others)
    )
    distance, error = _with_error(x, y)
    floor, floor_error = _with_error(z, y)
    return FrechetDistance(
        name=features.distance_name,
        distance=distance,
        standard_error=error,
        floor=floor,
        floor_error=floor_error,
        samples=len(x),
        references=len(y),
        dim=x.shape[1],
        resizing=features.resizing,
        temperature=temperature,
        seed=seed,
        weights=features.weights,
    )


@torch.no_grad()
def extract(
    images: Tensor,
    features: Features,
    batch_size: int,
    progress: Callable[[int], None] | None = None,
) -> Iterator[Tensor]:
    """The features of 8-bit images, batch by batch, in float64 and on the CPU.

    Args:
        images: uint8 [N, C, H, W].
        features: What extracts them.
        batch_size: Images at a time.
        progress: Called with the number of images after every batch.

    Returns:
        Features of every batch, [B, F].

    Raises:
        ValueError: If a feature isn't finite.
    """
    for batch in images.split(batch_size):
        found = features.extract(batch).reshape(len(batch), -1).double().cpu()
        if not found.isfinite().all():
            raise ValueError("Expected finite features; got NaN or infinite ones.")
        if progress:
            progress(len(batch))
        yield found


def frechet_distance(first: Tensor, second: Tensor) -> float:
    """d² between the Gaussians that fit two sets of features, [N, F] and [M, F], in float64; 0 of
    equal sets.

    With S1 = A1ᵀA1 and S2 = A2ᵀA2, tr (S1 S2)^½ is the sum of the singular values of A1A2ᵀ. The A
    are triangular and come from QR decompositions of the features less their mean: no covariance is
    formed or inverted, so that fewer images than features are no problem, and nothing is complex.

    Raises:
        ValueError: If a set has fewer than 2 images, or the numbers of features differ.

    Example:
        >>> x = torch.tensor([[0.0], [2.0]])  # mean 1, variance 2
        >>> y = torch.tensor([[10.0], [14.0]])  # mean 12, variance 8
        >>> round(frechet_distance(x, y), 6)  # 11² + (√8 − √2)²
        123.0
    """
    if first.ndim != 2 or first.shape[1:] != second.shape[1:]:
        raise ValueError(
            f"Expected features [N, F] of two sets of images; got {list(first.shape)} and "
            f"{list(second.shape)}."
        )
    if min(len(first), len(second)) < 2:
        raise ValueError(
            f"Expected at least 2 images in either set; got {len(first)} and {len(second)}."
        )
    first, second = first.double(), second.double()
    if torch.equal(first, second):
        return 0.0
    (mean1, a1), (mean2, a2) = (_fit(features) for features in (first, second))
    traces = a1.square().sum() + a2.square().sum()
    overlap = torch.linalg.svdvals(a1 @ a2.T).sum()
    return max(((mean1 - mean2).square().sum() + traces - 2 * overlap).item(), 0.0)


def _fit(features: Tensor) -> tuple[Tensor, Tensor]:
    """The mean [F] of features [N, F], and a factor A [min(N, F), F] of their covariance AᵀA."""
    mean = features.mean(0)
    return mean, torch.linalg.qr(features - mean, mode="r").R / (len(features) - 1) ** 0.5


def _with_error(first: Tensor, second: Tensor) -> tuple[float, float]:
    """d² between two sets of features and its standard error.

    By the jackknife: one group of either set is left out in turn. A bootstrap would be worse, as
    images that are drawn twice make sets look smaller than they are.
    """
    whole = frechet_distance(first, second)
    if min(len(first), len(second)) < GROUPS:
        return whole, math.nan
    parts = [
        frechet_distance(*(x[torch.arange(len(x)) % GROUPS != k] for x in (first, second)))
        for k in range(GROUPS)
    ]
    variance = torch.tensor(parts, dtype=torch.float64).var(correction=0)
    return whole, ((GROUPS - 1) * variance).sqrt().item()


# ---------------------------------------------------------------- kinds of features


def pixel_components(images: Tensor, count: int = 64) -> Features:
    """The leading principal components of the pixels of training images, in [0, 1].

    They need no network and suit images of any kind, but know of a set no more than a Gaussian
    does: neither edges nor shapes.

    Raises:
        ValueError: If there are fewer images or pixels than components.
    """
    pixels = images.flatten(1).float().numpy() / 255
    check_whole("the number of components", count, 1, min(pixels.shape))
    pca = PCA(count, svd_solver="randomized", random_state=0).fit(pixels)
    mean, components = torch.from_numpy(pca.mean_), torch.from_numpy(pca.components_)
    return Features(
        name=f"PCA{count}",
        extract=lambda x8: (x8.flatten(1).float() / 255 - mean) @ components.T,
        resizing="none, {}×{}".format(*images.shape[2:]),
        weights=hashlib.sha256(mean.numpy().tobytes() + components.numpy().tobytes()).hexdigest(),
    )


def inception(path: str | Path, device: torch.device | str = "cpu") -> Features:
    """The 2048 features that FID takes from an Inception network, with weights from a file.

    Nothing is downloaded. The network is that of torch-fidelity, and images are resized as by
    TensorFlow 1, which FID is defined with. The distance is called FID only of the file that
    pytorch-fid and torch-fidelity publish, known by its hash; of any other FD-*the file's name*.

    Args:
        path: Weights as a state dict of PyTorch, which loads without running code, or safetensors.
        device: Where the network computes.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, needs pickle, is of another network, or doesn't have the hash
            that its name says; or torchmetrics or torch-fidelity isn't installed.
    """
    path = expanded(path)
    with opened(path, "a file with the weights of Inception") as file:
        weights = hashlib.file_digest(file, "sha256").hexdigest()
    digits = FID_WEIGHTS[:8]  # which its name ends with, by the convention of torch.hub
    if digits in path.name and weights != FID_WEIGHTS:
        raise ValueError(
            f"Expected {path} to have the SHA-256 that its name says, {digits}…; got "
            f"{weights[:8]}…: it's damaged or another file; get it anew, or rename it."
        )
    network = _inception(_state(path), path).to(device)

    def pool3(x8: Tensor) -> Tensor:
        if x8.shape[1] != 3:
            raise ValueError(f"Expected images of 3 channels for Inception; got {x8.shape[1]}.")
        return network(x8.to(device))

    return Features(
        name=path.stem,
        extract=pool3,
        resizing="bilinear to 299×299, as TensorFlow 1",
        weights=weights,
    )


def _state(path: Path) -> dict[str, Tensor]:
    """The tensors in a file, by name; loading them runs no code."""
    try:
        state = tensors.load(path)[0] if path.suffix == ".safetensors" else load_torch(path)
    except DamagedError as error:
        raise ValueError(
            f"Expected a state dict of PyTorch, or safetensors, which load without running code; "
            f"{path} is damaged or something else ({error})."
        ) from error
    if not isinstance(state, dict) or not all(isinstance(x, Tensor) for x in state.values()):
        raise ValueError(f"Expected a state dict, tensors by name; {path} holds something else.")
    return state


def _inception(state: dict[str, Tensor], path: Path) -> Any:
    """FID's network with these weights."""
    # The network loads its weights with pickle and would download them if it got none, so what it
    # gets is a file in memory that was written here.
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    try:
        from torchmetrics.image.fid import NoTrainInceptionV3

        return NoTrainInceptionV3("inception-v3-compat", [str(POOL3)], cast(str, file), False)
    except ImportError as error:  # or, of torch-fidelity, when it is made
        raise ValueError(
            "Expected the packages torchmetrics and torch-fidelity, which Inception needs; they "
            "aren't installed; run pip install 'rgflow[fid]'."
        ) from error
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:100]
        raise ValueError(
            f"Expected the weights of FID's Inception; those in {path} don't fit it ({reason}…)."
        ) from error
