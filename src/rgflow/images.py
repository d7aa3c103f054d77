"""Between images and what the layers of a flow work in: checks, pixel maps, labels.

Letters in shapes: N images; C channels; H, W rows and columns; D = C·H·W.
"""

import warnings
from itertools import chain

import torch
from torch import Tensor, nn

from rgflow.bijectors.base import Bijector, Compose, Context, Domain, Inverse, Quantile
from rgflow.bijectors.pixels import LEVELS, dequantize, largest
from rgflow.bijectors.states import States
from rgflow.checks import short
from rgflow.config import FlowConfig
from rgflow.latents import Latents
from rgflow.numerics import Precision, name_of


class ImageSpace(nn.Module):
    """The images of a flow, its own space, which is that of the prior, and the domain in which its
    layers work; the base of all flows.

    Args:
        config: Of the flow.
    """

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        self.config = config
        self.prior = config.prior.make()

    def connect(self, domain: Domain) -> None:
        """Make the maps between images and the domain of the layers, once these are made, and have
        all parts share one precision."""
        config, self.domain = self.config, domain
        self.quantile = Quantile(self.prior, (config.channels, None, None))
        self.pixels = config.pixels.make(config.channels) if config.pixels else None
        self.preprocess = self._make_preprocess()
        rows = sum(config.classes)  # those of all labels, one after another
        self.labels = nn.Embedding(rows, config.label_embedding) if rows else None
        self.precision = Precision()
        for module in self.modules():
            if isinstance(getattr(module, "precision", None), Precision):
                setattr(module, "precision", self.precision)  # noqa: B010

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.config.channels, self.config.height, self.config.width

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the parameters."""
        return next((p.dtype for p in self.parameters()), torch.get_default_dtype())

    @property
    def device(self) -> torch.device:
        """The device of the parameters, or of the buffers if there are no parameters."""
        held = chain(self.parameters(), self.buffers())
        return next((tensor.device for tensor in held), torch.device("cpu"))

    def _make_preprocess(self) -> Bijector | None:
        """From images to the domain of the steps; none if they are there already."""
        maps: list[Bijector] = [self.pixels] if self.pixels else []
        if self.config.map.states:
            maps.append(States(self.config.map.states))
        if (maps[-1].codomain if maps else "real") != self.domain:
            maps.append(self.quantile if self.domain == "real" else Inverse(self.quantile))
        return Compose(maps) if maps else None

    def check_images(self, images: Tensor) -> None:
        """Raise a `ValueError` unless these are images, or fields, of this flow, [N, C, H, W]."""
        shape, fields = self.image_shape, self.pixels is None
        if not isinstance(images, Tensor):
            raise ValueError(
                f"Expected images as a tensor; got {type(images).__name__}: use torch.from_numpy "
                f"for an array."
            )
        if images.ndim != 4 or tuple(images.shape[1:]) != shape or not len(images):
            raise ValueError(
                f"Expected images of shape [N, {', '.join(map(str, shape))}]; got "
                f"{list(images.shape)}: resize or convert them, or build the flow for their size."
            )
        if not fields and images.dtype == torch.uint8:
            return
        if not images.dtype.is_floating_point:
            wanted = "real-valued fields" if fields else "uint8 images, or reals in [0, 256)"
            raise ValueError(f"Expected {wanted}; got {name_of(images.dtype)}.")
        states = States(self.config.map.states)
        if self.config.map.states and not states.are(images):
            raise ValueError(
                f"Expected fields of the states {short(states.values)}; got other values."
            )
        if self.precision.fast:
            return
        if not torch.isfinite(images).all():
            bad = int((~torch.isfinite(images)).sum())
            raise ValueError(f"Expected finite values; got {bad} that are NaN or infinite.")
        if fields:
            return
        low, high = images.min().item(), images.max().item()
        if low < 0 or high >= LEVELS:
            raise ValueError(
                f"Expected reals in [0, 256), or uint8; got values from {low:g} to {high:g}."
            )
        if high <= 1 and _is_scaled(images):
            warnings.warn(
                "Images whose values are multiples of 1/255 up to 1 are taken for almost black "
                "ones: multiply them by 255 and round to uint8, if white is 1.",
                stacklevel=4,
            )

    def to_reals(
        self,
        images: Tensor,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """Images as reals in [0, 256), or fields, in a number format (none: the flow's own), after
        `check_images`; uint8 is dequantised as for `log_prob`."""
        self.check_images(images)
        dtype = dtype or self.dtype
        if images.dtype == torch.uint8:
            return dequantize(images, generator, dtype)
        x = images.to(dtype)
        return x.clamp(max=largest(dtype)) if self.pixels else x  # float64 below 256 may round up

    def given(self, labels: Tensor | None, images: int) -> Context | None:
        """What the maps know of every image: its labels, embedded. A `ValueError` if labels are
        missing or superfluous.

        Args:
            labels: Labels of the images, [N]; where there are several, [N, K], in the order of
                their names.
            images: Number of images, N.
        """
        check_labels(labels, images, self.config)
        if labels is None or self.labels is None:
            return None
        classes = torch.tensor(self.config.classes, device=self.device)
        rows = labels.to(self.device).long().view(images, -1) + classes.cumsum(0) - classes
        embedding = self.labels(rows).sum(1)
        return Context(embedding[:, :0], embedding)

    def refuse_labels(self, what: str) -> None:
        """Raise a `ValueError` if this flow has labels, for methods that can't use them."""
        if self.labels is not None:
            raise ValueError(
                f"Expected a flow without labels for {what}, which can't be given any yet; got one "
                f"with labels {short(self.config.labels)}."
            )

    def from_images(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images, reals [N, C, …], to the domain of the steps, with the log-determinant [N]."""
        return self.preprocess(images) if self.preprocess else (images, _zeros(images))

    def to_images(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The inverse of `from_images`, with its log-determinant [N]."""
        return self.preprocess.inverse(x) if self.preprocess else (x, _zeros(x))

    def bounded(self, images: Tensor) -> Tensor:
        """Images of any shape, values outside [0, 256) set to the nearest inside; fields stay."""
        return images.clamp(0, largest(images.dtype)) if self.pixels else images

    def to_domain(self, y: Tensor) -> Tensor:
        """From the space of the prior to the domain of the steps, element by element."""
        return self.prior.to_cube(y) if self.domain == "cube" else y

    def from_domain(self, x: Tensor) -> Tensor:
        """The inverse of `to_domain`."""
        return self.prior.from_cube(x) if self.domain == "cube" else x

    def from_latents(self, latents: Latents) -> list[Tensor]:
        """Latents in the domain of the steps, level 0 first, in the same shapes."""
        return [self.to_domain(z) for z in latents.levels]

    def to_own_space(self, images: Tensor) -> Tensor:
        """Images [N, C, …], or any pixels of them, in the flow's own space, that of the prior."""
        return self.from_domain(self.from_images(images)[0])

    def from_own_space(self, y: Tensor) -> Tensor:
        """The inverse of `to_own_space`, within [0, 256), beyond which the logit map has values
        too."""
        return self.bounded(self.to_images(self.to_domain(y))[0])


def _zeros(x: Tensor) -> Tensor:
    return x.new_zeros(len(x))


def _is_scaled(images: Tensor) -> bool:
    """Whether images in [0, 1] are 8-bit ones divided by 255. Black ones have no values in between,
    and with the noise that dequantises them they have others."""
    levels, error = 255 * images, 255 * torch.finfo(images.dtype).eps
    between = (images > 0) & (images < 1)
    return bool(between.any() and ((levels - levels.round()).abs() <= error).all())


def check_labels(labels: Tensor | None, images: int, config: FlowConfig) -> None:
    """Check that every image has the labels of a flow, or that none has any if the flow has none.

    Args:
        labels: Whole numbers [N], or [N, K] of several labels.
        images: Number of images, N.
        config: Of the flow.

    Raises:
        ValueError: If labels are missing, superfluous or no class of the flow.
    """
    if labels is not None and not isinstance(labels, Tensor):
        raise ValueError(
            f"Expected labels as a tensor; got {type(labels).__name__}: use torch.tensor."
        )
    if not config.classes:
        if labels is not None:
            raise ValueError(
                "Expected no labels, as this flow has none: give them to one of a config with "
                "labels=NUMBER."
            )
        return
    names, of = [""], ""
    shape = [images]
    if isinstance(config.labels, dict):
        names = [f" {name}" for name in config.labels]
        shape, of = [images, len(names)], f", its{','.join(names)}"
    if labels is None or list(labels.shape) != shape or labels.dtype.is_floating_point:
        got = "none" if labels is None else f"{name_of(labels.dtype)} {list(labels.shape)}"
        raise ValueError(
            f"Expected a label for each image{of}, whole numbers {shape} from 0 to "
            f"{max(config.classes) - 1}; got {got}."
        )
    columns = labels.view(images, -1).T
    for name, classes, column in zip(names, config.classes, columns, strict=True):
        if column.min() < 0 or column.max() >= classes:
            raise ValueError(
                f"Expected labels{name} from 0 to {classes - 1}; the lowest is "
                f"{column.min().item()}, the highest {column.max().item()}."
            )
