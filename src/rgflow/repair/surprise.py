"""Regions where an image is unlike those that a flow was trained on.

The log-likelihood of an image has a term for every block of every layer (`rgflow.repair.terms`).
What the blocks leave behind, the latents, should look like draws from the prior, and the density of
a latent site tells whether it does.

Every one of these numbers is compared with clean images: −log of the share of them with a value as
low is its *surprise*, in nats. In clean images its mean is 1, and independent surprises add up
(Fisher's method). The surprise of a site belongs to its pixel, that of a block is shared by the
pixels below the block, and the sum over all levels, smoothed over about the width of a block, is
the map of surprise. It proposes where to inpaint (paper, section 4.6).

All places of a level are compared with the same clean numbers. Distinguishing positions, counting
too probable values as improbable, or taking the highest level instead of the sum doesn't find
corruptions of MSDS1 better.

Letters in shapes: N images; C channels; H, W rows and columns; h level; p, q rows and columns of
blocks.
"""

import hashlib
import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from annotated_types import Len
from numpy.typing import NDArray
from scipy.ndimage import (  # type: ignore[attr-defined]  # which are found when it runs
    binary_dilation,
    binary_fill_holes,
    gaussian_filter,
)
from torch import Tensor

from rgflow.bijectors.cellwise import Cellwise
from rgflow.files import write_json
from rgflow.flow import Flow
from rgflow.lattice import Mask
from rgflow.reading import DamagedError, instance, read_json
from rgflow.repair.terms import LocalTerms, local_terms

FILE = "surprise.json"
"""Where a reference is kept in the folder of a model."""
FORMAT = 2
"""Version of this file."""
IMAGES_AT_ONCE = 64
"""Images that are evaluated together, to limit memory."""
HALVINGS = 4
"""Below the quantile of 2^−4, tails are assumed exponential: it is the last that 2^4 clean images,
the fewest allowed, determine."""
MIN_EXCESS = 1e-3
"""The smallest mean excess of a tail, in nats, so that rounding is never surprising."""
CEILING = 1e6
"""The highest surprise of a number, in nats, and that of NaN."""
EDGE_SHARE = 0.65
"""Height at which a region ends, as a share of the way from the median to its peak. Among 0.5 to
0.8 it gives the largest overlap with squares of 6 and 10 pixels in generated images of MSDS1
(validation) that still finds 0.8 of their pixels."""
SMOOTHING_SIGMA = 3.0
"""Standard deviation of the smoothing, in pixels; at half its height it is 7 pixels wide."""


@dataclass(frozen=True, kw_only=True)
class Tail:
    """The lower tail of a number's distribution over clean images.

    Attributes:
        quantiles: Those of 1, 1/2, … 1/16.
        excess: Mean distance below the last quantile of the values below it; there the tail is
            assumed exponential, so that values lower than any seen are still distinguished.
    """

    quantiles: Annotated[tuple[float, ...], Len(HALVINGS + 1, HALVINGS + 1)]
    excess: float

    @classmethod
    def of(cls, values: Tensor) -> "Tail":
        """The tail of some numbers […].

        Example:
            >>> tail = Tail.of(-torch.arange(1601.0))
            >>> tail.quantiles
            (0.0, -800.0, -1200.0, -1400.0, -1500.0)
            >>> round(tail.excess, 1)
            50.5
        """
        numbers = values.detach().double().flatten().cpu().numpy()
        quantiles = np.quantile(numbers, 0.5 ** np.arange(HALVINGS + 1))
        below = numbers[numbers < quantiles[-1]]
        excess = (quantiles[-1] - below).mean() if len(below) else 0.0
        return cls(quantiles=tuple(quantiles.tolist()), excess=max(float(excess), MIN_EXCESS))

    def surprise(self, values: Tensor) -> Tensor:
        """−log of the share of clean images whose number is as low, in nats, for numbers […]."""
        numbers = values.detach().double().cpu().numpy()
        numbers = np.where(np.isnan(numbers), -np.inf, numbers)  # as odd as can be
        steps = np.arange(HALVINGS, -1, -1) * math.log(2)
        inside = np.interp(numbers, self.quantiles[::-1], steps)
        beyond = np.maximum(self.quantiles[-1] - numbers, 0) / self.excess
        total = np.minimum(inside + beyond, CEILING)
        return torch.from_numpy(np.asarray(total)).to(values)

    def below(self, share: float) -> float:
        """The number that a share of clean images lies below: the inverse of `surprise`."""
        nats = -math.log(share)
        steps = np.arange(HALVINGS + 1) * math.log(2)
        inside = float(np.interp(nats, steps, self.quantiles))
        return inside - max(nats - steps[-1], 0.0) * self.excess


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The terms of the log-likelihood of clean images, pooled over all places of a level.

    Attributes:
        sites: The log-density of latent sites, for every level.
        blocks: The terms of blocks, for every level and layer.
        highest: Minus the highest surprise in the map of an image.
        images: Number of clean images.
        data: Their data set.
        model: A hash of the weights; a frozen copy of a flow, or one in another number format,
            counts as another.
        pictures: Which images of the data set they were, as given to `kept_reference`.
    """

    sites: tuple[Tail, ...]
    blocks: tuple[tuple[Tail, ...], ...]
    highest: Tail
    images: int
    data: str
    model: str
    pictures: str = ""

    def save(self, folder: str | Path) -> None:
        """Write to `surprise.json` in the folder of a model, made if it isn't there."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        write_json(Path(folder) / FILE, {"format": FORMAT, **asdict(self)})

    @classmethod
    def load(cls, folder: str | Path) -> "Reference":
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            PermissionError: If it may not be read.
            ValueError: If it doesn't hold a reference.
        """
        path = Path(folder) / FILE
        try:
            content = read_json(path, "a file as Reference.save writes it")
            if content.pop("format", None) != FORMAT:
                raise DamagedError("it is of another format")
            return instance(cls, content)
        except ValueError as error:
            raise ValueError(
                f"Expected a file as Reference.save writes it; {path} isn't one, or is damaged "
                f"({error}): delete it, and it is made anew."
            ) from error


def _fingerprint(flow: Flow) -> str:
    """A hash of the weights."""
    found = hashlib.sha256()
    for name, tensor in flow.state_dict().items():
        found.update(name.encode())
        found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def make_reference(
    flow: Flow,
    images: Tensor,
    *,
    data: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> Reference:
    """The terms of the log-likelihood of clean images.

    Args:
        flow: An RG-Flow.
        images: [N, C, H, W], a few hundred clean images like those it was trained on.
        data: Name of their data set.
        progress: Called with the number of images done so far, and in all.

    Raises:
        ValueError: If the flow has no blocks, there are fewer than 16 images, or a term of their
            log-likelihood isn't finite.
    """
    if len(images) < 1 << HALVINGS:
        raise ValueError(
            f"Expected at least {1 << HALVINGS} clean images, better hundreds; got {len(images)}."
        )
    parts = list(_terms(flow, images, progress))
    if lost := sum(int((~part.finite).sum()) for part in parts):
        raise ValueError(
            f"Expected clean images with finite log-likelihoods; {lost} of {len(images)} have "
            f"none: take other images, or a flow that has learned them."
        )
    latents, levels = torch.cat([part.latents for part in parts]).cpu(), flow.lattice.site_levels
    sites = tuple(Tail.of(latents[:, levels == h]) for h in range(flow.levels))
    of_layers = zip(*(part.blocks for part in parts), strict=True)  # by level
    blocks = tuple(
        tuple(Tail.of(torch.cat(layer)) for layer in zip(*level, strict=True))
        for level in of_layers
    )
    maps = torch.cat([_maps(flow, part, sites, blocks) for part in parts])
    highest = maps.sum(1).amax((1, 2))
    return Reference(
        sites=sites,
        blocks=blocks,
        highest=Tail.of(-highest),
        images=len(images),
        data=data,
        model=_fingerprint(flow),
    )


def kept_reference(
    folder: str | Path,
    flow: Flow,
    images: Callable[[], Tensor],
    *,
    data: str = "",
    pictures: str | None = "",
    progress: Callable[[int, int], None] | None = None,
) -> Reference:
    """The reference in the folder of a model, created if it is missing or outdated.

    Args:
        folder: The folder of the model.
        flow: The flow in it.
        images: Gives clean images, [N, C, H, W]; called only if they are needed.
        data: Their data set; a reference of another data set is replaced.
        pictures: Which images of the data set they are, such as the name of their cache entry,
            which changes with the files and their crop; a reference of other images is replaced.
            None: accept any.
        progress: As for `make_reference`.

    Raises:
        ValueError: If the file is damaged, or as for `make_reference`.
    """
    if (Path(folder) / FILE).is_file():
        found = Reference.load(folder)
        same = pictures in (None, found.pictures)
        if same and (found.model, found.data) == (_fingerprint(flow), data):
            return found
    made = make_reference(flow, images(), data=data, progress=progress)
    made = replace(made, pictures=pictures or "")
    with suppress(OSError):  # where nothing can be written it is as good for now
        made.save(folder)
    return made


@dataclass(frozen=True, kw_only=True, eq=False)
class Proposal:
    """Regions of images that may be corrupted.

    Attributes:
        masks: [N, H, W]; empty where nothing is odd.
        highest: The highest surprise in the map of every image, in nats per pixel [N].
        threshold: What it must exceed.
        false_alarms: The share of clean images for which it does.
    """

    masks: Mask
    highest: Tensor
    threshold: float
    false_alarms: float

    def sentence(self, image: int) -> str:
        """What was found in an image, in words."""
        pixels, highest = int(self.masks[image].sum()), self.highest[image].item()
        share = f"{100 * self.false_alarms:.3g} %"
        usual = f"{self.threshold:.2f}, which {share} of clean images exceed"
        if not pixels:
            return f"Nothing is odd: the highest surprise is {highest:.2f} nats, below {usual}."
        return f"{pixels} pixels are odd: surprise of up to {highest:.2f} nats, above {usual}."


@dataclass(frozen=True, kw_only=True, eq=False)
class Surprise:
    """How improbable every place of N images is, in nats per pixel; about 1 in clean images.

    Attributes:
        levels: The surprise of the blocks and latents of each level, [N, levels, H, W].
        reference: What they were compared with.
    """

    levels: Tensor
    reference: Reference

    @property
    def map(self) -> Tensor:
        """The sum over all levels, [N, H, W]."""
        return self.levels.sum(1)

    def propose(self, false_alarms: float = 0.05) -> Proposal:
        """Propose regions in images whose highest peak exceeds those of most clean images.

        A region is what lies above a share of the height of the highest peak (`EDGE_SHARE`),
        measured from the median of the image. Holes are filled, and a margin of one pixel is added:
        a pixel too many is only redrawn, a pixel too few misleads the repair. What is far less
        surprising than another region is left out, as that region raises the surprise of all
        others; it is found once that region is repaired.

        In a share `false_alarms` of clean images, something is proposed, too.

        Raises:
            ValueError: If that share isn't between 0 and 1.
        """
        if not 0 < false_alarms < 1:
            raise ValueError(
                f"Expected a share of false alarms between 0 and 1; got {false_alarms:g}."
            )
        threshold = -self.reference.highest.below(false_alarms)
        found = self.map.nan_to_num(CEILING, CEILING)
        return Proposal(
            masks=np.stack([_region(field, threshold) for field in found.double().cpu().numpy()]),
            highest=found.amax((1, 2)),
            threshold=threshold,
            false_alarms=false_alarms,
        )


def surprise(flow: Flow, images: Tensor, reference: Reference) -> Surprise:
    """Map how improbable every place of images is, compared with clean images.

    Args:
        flow: An RG-Flow.
        images: [N, C, H, W].
        reference: As `make_reference` makes it with the same flow.

    Raises:
        ValueError: If the flow has no blocks, the reference is of another, or an image doesn't fit.

    Example:
        >>> from rgflow import AffineMap, FlowConfig, MarginalPixels, RGFlow
        >>> map, pixels = AffineMap(depth=1, hidden=16), MarginalPixels()
        >>> flow = RGFlow(FlowConfig(height=16, width=16, map=map, pixels=pixels))
        >>> clean = torch.randint(100, 110, (32, 3, 16, 16), dtype=torch.uint8)
        >>> flow.fit_pixels(clean)
        >>> damaged = clean[:2].clone()
        >>> damaged[0, :, 4:10, 4:10] = 255
        >>> found = surprise(flow, damaged, make_reference(flow, clean))
        >>> found.levels.shape, found.map[0].argmax() // 16 in range(4, 10)
        (torch.Size([2, 3, 16, 16]), True)
    """
    if reference.model != _fingerprint(flow):
        raise ValueError(
            "Expected a reference made with this flow; got one of other weights: make it anew."
        )
    tails = reference.sites, reference.blocks
    parts = [_maps(flow, terms, *tails) for terms in _terms(flow, images)]
    return Surprise(levels=torch.cat(parts), reference=reference)


def _terms(
    flow: Flow,
    images: Tensor,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[LocalTerms]:
    """The terms of many images, batch by batch."""
    done = 0
    for part in images.split(IMAGES_AT_ONCE):
        with torch.no_grad():
            yield local_terms(flow, part.to(flow.device))
        done += len(part)
        if progress:
            progress(done, len(images))


def _maps(
    flow: Flow,
    terms: LocalTerms,
    sites: tuple[Tail, ...],
    blocks: tuple[tuple[Tail, ...], ...],
) -> Tensor:
    """The surprise of every level, [N, levels, H, W], smoothed, on the CPU."""
    found = []
    site_levels = torch.from_numpy(flow.lattice.site_levels).to(terms.latents.device)
    for level, (step, site) in enumerate(zip(flow.steps, sites, strict=True)):
        field = site.surprise(terms.latents) * (site_levels == level)
        for layer, values, tail in zip(
            step.cellwise, terms.blocks[level], blocks[level], strict=True
        ):
            shares = tail.surprise(values) / (layer.cells.written << 2 * level)
            field = field + _spread(layer, shares)
        found.append(field)
    return smoothed(torch.stack(found, 1).cpu(), periodic=flow.config.geometry.periodic)


def smoothed(fields: Tensor, *, periodic: bool) -> Tensor:
    """Fields […, H, W] averaged over places nearby, with Gaussian weights."""
    edges = "wrap" if periodic else "nearest"
    numbers = fields.detach().cpu().numpy()
    average = gaussian_filter(numbers, SMOOTHING_SIGMA, mode=edges, axes=(-2, -1))
    return torch.from_numpy(average).to(fields.device)


def _spread(layer: Cellwise, values: Tensor) -> Tensor:
    """One value per cell [N, p, q] at all pixels below what it writes, [N, H, W]; 0 elsewhere."""
    empty = values.new_zeros(len(values), layer.channels, *layer.cells.grid)
    (dim,) = layer.bijector.event_shape
    grid = layer.write(empty, values.reshape(-1, 1).expand(-1, dim or 0))[:, 0]
    each = 1 << layer.cells.level
    return grid.repeat_interleave(each, 1).repeat_interleave(each, 2)


def _region(field: NDArray[np.float64], threshold: float) -> Mask:
    """What is near the height of a field [H, W], if that is above a threshold."""
    highest = field.max()
    if highest <= threshold:
        return np.zeros(field.shape, dtype=bool)
    usual = min(np.median(field), threshold)  # the median is odd if most of the image is
    return binary_dilation(binary_fill_holes(field > usual + EDGE_SHARE * (highest - usual)))
