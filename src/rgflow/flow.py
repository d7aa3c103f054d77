"""What all flows of images have in common: images to latents level by level, and back.

Letters in shapes: N images; C channels; H, W rows and columns; D = C·H·W.
"""

import copy
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import ClassVar, Literal, Protocol, Self, cast

import torch
from torch import Tensor, nn

from rgflow import bijectors, checkpoint
from rgflow.bijectors.base import Bijector, Compose, Domain, Inverse, Quantile, sum_event
from rgflow.bijectors.coarse_to_fine import CoarseToFine
from rgflow.bijectors.coupling import CubeCoupling
from rgflow.bijectors.dequantizer import Dequantizer
from rgflow.bijectors.pixels import LEVELS, Marginal, dequantize, largest, make_pixels
from rgflow.conditioners import GroupedLinear
from rgflow.config import Architecture, FlowConfig, check_name, check_whole, per_level
from rgflow.latents import Latents
from rgflow.lattice import Sites
from rgflow.numerics import Unit, training_dtype
from rgflow.priors import Convention, make_prior

Temperatures = float | Sequence[float] | Latents
"""One temperature, one per level (level 0 first), or one per latent (paper, Appendix D)."""


class LosslessWarning(UserWarning):
    """Says in which number format images were encoded, where it isn't the flow's own."""


@dataclass(frozen=True, eq=False)
class Terms:
    """The log-likelihood of N images, in nats, as the sum of its parts.

    Attributes:
        prior: Σ log p(z^(h)) for every level, [N, levels].
        log_det: The log-determinant of every level's step, [N, levels]; on the unit cube with that
            of the prior's quantile function.
        pixels: The log-determinant of the pixel map, [N].
    """

    prior: Tensor
    log_det: Tensor
    pixels: Tensor

    @property
    def total(self) -> Tensor:
        """log p(x), [N]."""
        return self.prior.sum(1) + self.log_det.sum(1) + self.pixels


class Step(Protocol):
    """One step of a flow, as `Flow` uses it: what goes up, what stays (z^(h)), and back."""

    domain: Domain

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What goes up (at the top nothing), what stays, and the log-determinant [N]."""
        ...

    def inverse(self, up: Tensor, stay: Tensor) -> Tensor:
        """What came to this step, from what came down and what had stayed."""
        ...


class Flow(nn.Module):
    """A normalizing flow of images in steps, each of which leaves the latents of one level behind.

    This is all that `RGFlow` and the baselines have in common; they say what a step is. Images are
    uint8, or reals in [0, 256) that are dequantised already, [N, C, H, W]. With `pixels=None` they
    are real-valued fields. Log-densities are in nats, per unit of those numbers: bits per dimension
    are −log_prob/(D·ln 2).

    Args:
        config: The architecture.

    Raises:
        ValueError: If the config contradicts itself, or an image doesn't fit.
    """

    architecture: ClassVar[Architecture]

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        if config.architecture != self.architecture:
            raise ValueError(
                f"Expected a config of the architecture {self.architecture}; got "
                f"{config.architecture}: make_flow picks the class that fits."
            )
        self.config = config
        self.lattice = self.make_lattice()
        self.prior = make_prior(config)
        self.steps = cast(Sequence[Step], nn.ModuleList(self.make_steps()))
        self.domain = self.steps[0].domain
        self.quantile = Quantile(self.prior, (config.channels, None, None))
        self.pixels = make_pixels(config)
        self.entry = self._make_entry()
        for module in self.modules():
            if hasattr(module, "compute_dtype"):  # a network
                setattr(module, "compute_dtype", training_dtype(config.compute_dtype))  # noqa: B010

    def make_lattice(self) -> Sites:
        """The geometry of the latents; called once."""
        raise NotImplementedError

    def make_steps(self) -> Iterable[nn.Module]:
        """The steps, level 0 first, each as `Step` says; called once, after `make_lattice`."""
        raise NotImplementedError

    def _make_entry(self) -> Bijector | None:
        """From images to the domain in which the steps work; none if they are there already."""
        maps = [self.pixels] if self.pixels else []
        if self.config.dequantization == "variational":
            maps.insert(0, Dequantizer(self.config.channels))
        if (maps[-1].codomain if maps else "real") != self.domain:
            maps.append(self.quantile if self.domain == "real" else Inverse(self.quantile))
        return Compose(maps) if maps else None

    @property
    def dim(self) -> int:
        """D = C·H·W, the number of latents of an image."""
        return self.config.channels * self.config.height * self.config.width

    @property
    def unit(self) -> Unit:
        """What its negative log-likelihoods are reported in: bits/dim, or nats/site of fields."""
        if self.config.pixels is None:
            return Unit.of_fields(self.config.height * self.config.width)
        return Unit.of_images(self.dim)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.config.channels, self.config.height, self.config.width

    @property
    def levels(self) -> int:
        """Number of levels."""
        return self.lattice.levels

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the parameters."""
        return next((p.dtype for p in self.parameters()), torch.get_default_dtype())

    @property
    def device(self) -> torch.device:
        """Where the parameters are, or if there are none the buffers."""
        held = chain(self.parameters(), self.buffers())
        return next((tensor.device for tensor in held), torch.device("cpu"))

    def compile_maps(self, on: bool = True) -> bool:
        """Compile maps of the unit cube for training; the first step then takes longer.

        Needs a C++ compiler on a CPU. Everything outside training stays as it is.

        Args:
            on: Whether to; otherwise the plain functions are used again.

        Returns:
            Whether there are any.
        """
        bijectors = [m for m in self.modules() if isinstance(m, CubeCoupling | CoarseToFine)]
        for bijector in bijectors:
            bijector.compile_kernels(on)
        return bool(bijectors)

    # ---------------------------------------------------------------- likelihood

    def forward(self, images: Tensor) -> Tensor:
        """The same as `log_prob`, so that wrappers for distributed training work."""
        return self.log_prob(images)

    def log_prob(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """log p(x) in nats (paper, eq. 1).

        Args:
            images: [N, C, H, W].
            generator: Where the noise that dequantises uint8 comes from; none: ½ everywhere.

        Returns:
            Log-densities [N].
        """
        x = self._reals(images, generator, self.dtype)
        levels, log_dets, entry = self._infer(x)
        total = entry + log_dets.sum(1)
        if self.domain == "cube":
            return total  # the prior's density and the quantile function's log-det cancel
        return total + sum(sum_event(self.prior.log_prob(z)) for z in levels)

    def terms(self, images: Tensor, generator: torch.Generator | None = None) -> Terms:
        """log p(x) level by level: the share of the prior and of the log-determinant.

        Args:
            images: [N, C, H, W].
            generator: As for `log_prob`.
        """
        x = self._reals(images, generator, self.dtype)
        levels, log_dets, entry = self._infer(x)
        latents, quantile_log_dets = self._to_latents(levels)
        prior = [sum_event(self.prior.log_prob(z)) for z in latents.levels]
        return Terms(torch.stack(prior, 1), log_dets + quantile_log_dets, entry)

    # ---------------------------------------------------------------- encode and decode

    def encode(
        self,
        images: Tensor,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
    ) -> Latents:
        """The latents of images: z = R(x).

        Deterministic unless a generator is given, and lossless for uint8 either way:
        `decode(encode(x8)).floor()` is x8. This is checked, and where the flow's own number format
        can't hold it, all is encoded in float64 and a `LosslessWarning` says so. The dtype of the
        latents tells `decode` what to compute in.

        Args:
            images: [N, C, H, W].
            generator: Where the noise that dequantises uint8 comes from; none: ½ everywhere.
            dtype: The number format to compute in; none: as above, given means unchecked.
        """
        x = self._reals(images, generator, dtype or self.dtype)
        z = self._encode(x)
        if dtype is not None or images.dtype != torch.uint8:
            return z
        if not (lost := self._lost(images, z)):
            return z
        message = f"{lost} of {len(images)} images aren't encoded without loss in "
        message += _name(self.dtype)
        if self.dtype != torch.float64:
            z = self._encode(x.double())
            still = self._lost(images, z)
            message += f", so all {len(images)} are encoded in float64"
            message += f" ({still} still not without loss)" if still else ""
        warnings.warn(f"{message}.", LosslessWarning, stacklevel=2)
        return z

    def _encode(self, x: Tensor) -> Latents:
        """The latents of dequantised images, in their number format."""
        flow = self._in(x.dtype)
        with flow.exactly():
            return flow._to_latents(flow._infer(x)[0])[0]

    @torch.no_grad()
    def _lost(self, x8: Tensor, z: Latents) -> int:
        """How many images don't come back from their latents."""
        return int((self.decode(z).floor() != x8).flatten(1).any(1).sum())

    def decode(self, latents: Latents) -> Tensor:
        """The images of latents: x = G(z), reals [N, C, H, W] in the dtype of the latents.

        The logit map also has values somewhat outside [0, 256); they come back as they are.

        Raises:
            ValueError: If the latents belong to a flow of another geometry.
        """
        flow = self._for(latents)
        with flow.exactly():
            return flow._leave(flow.generate(flow._from_latents(latents))[0])

    def coarse(
        self, source: Tensor | Latents, space: Literal["pixels", "flow"] = "pixels"
    ) -> list[Tensor]:
        """The images x^(h) of every level, x^(0) first: [N, C, H/2^h, W/2^h] (paper, Fig. 5a).

        Where a flow has more channels at a level than an image, they are the first of them.

        Args:
            source: Images, which are encoded on the way up, or latents, which are decoded on the
                way down; the result is the same for an image and its latents.
            space: `"pixels"` maps the values back to those of images; `"flow"` leaves them in the
                flow's own space, that of the prior.
        """
        check_name("space", space, ("pixels", "flow"))
        flow = self._for(source) if isinstance(source, Latents) else self
        stages: list[Tensor] = []
        with flow.exactly():
            if isinstance(source, Latents):
                stages = flow.generate(flow._from_latents(source))
            else:
                flow._infer(flow._reals(source, None, flow.dtype), stages)
        stages = [x[:, : flow.config.channels] for x in stages]
        if space == "flow":
            return [flow.from_domain(x) for x in stages]
        return [flow._leave(x) for x in stages]

    def _for(self, latents: Latents) -> Self:
        """This flow in the number format of latents, which must be of its geometry."""
        if latents.lattice != self.lattice or latents.channels != self.config.channels:
            raise ValueError(
                f"Expected latents of {self.config.channels} channels on {self.lattice}; "
                f"got {latents.channels} channels on {latents.lattice}."
            )
        return self._in(latents.levels[-1].dtype)

    @contextmanager
    def exactly(self) -> Iterator[None]:
        """Networks in the parameters' number format, also in the middle of training."""
        training = self.training
        if training:
            self.eval()
        try:
            yield
        finally:
            if training:
                self.train()

    @contextmanager
    def roughly(self) -> Iterator[None]:
        """Networks in bfloat16, as while training."""
        training = self.training
        networks = [m for m in self.modules() if hasattr(m, "compute_dtype")]
        before = [network.compute_dtype for network in networks]
        for network in networks:
            setattr(network, "compute_dtype", torch.bfloat16)  # noqa: B010
        self.train()
        try:
            yield
        finally:
            self.train(training)
            for network, dtype in zip(networks, before, strict=True):
                setattr(network, "compute_dtype", dtype)  # noqa: B010

    # ---------------------------------------------------------------- sampling

    def draw(
        self,
        n: int,
        temperature: Temperatures = 1.0,
        generator: torch.Generator | None = None,
        convention: Convention = "density",
    ) -> Latents:
        """Draw latents of n images from the prior.

        Args:
            n: Number of images.
            temperature: T of p^(1/T); one, one per level, or one per latent (a `Latents` of one
                image or of n).
            generator: Source of randomness; the same generator state gives the same draws. With one
                of the CPU they are the same on all devices.
            convention: `"density"`, or the released code's `"scale"`.

        Raises:
            ValueError: If temperatures are of another number of images, or of levels.
        """
        n = check_whole("the number of images", n, 1)
        if isinstance(temperature, Latents) and len(temperature) not in (1, n):
            raise ValueError(
                f"Expected temperatures of 1 image or of {n}, as many as are drawn; got those of "
                f"{len(temperature)}."
            )
        source = generator.device if generator else self.device
        levels = []
        for level, t in enumerate(self._temperatures(temperature)):
            shape = self.lattice.latent_shape(level, self.config.channels)
            like = torch.empty(n, *shape, dtype=self.dtype, device=source)
            t = t.to(like) if isinstance(t, Tensor) else t
            z = self.prior.tempered(t, convention).sample_like(like, generator)
            levels.append(z.to(self.device))
        return Latents(tuple(levels), self.lattice)

    def draw_each(
        self,
        seeds: Iterable[int],
        temperature: float | Sequence[float] = 1.0,
        convention: Convention = "density",
    ) -> Latents:
        """Draw latents of images that have a seed each: an image is the same among any others.

        Args:
            seeds: One for every image.
            temperature: As for `draw`.
            convention: As for `draw`.

        Raises:
            ValueError: If there are no seeds.
        """
        generator = torch.Generator()
        return Latents.cat(
            self.draw(1, temperature, generator.manual_seed(seed), convention) for seed in seeds
        )

    @torch.no_grad()
    def sample(
        self,
        n: int,
        temperature: Temperatures = 1.0,
        generator: torch.Generator | None = None,
        convention: Convention = "density",
        low_precision: bool = False,
    ) -> Tensor:
        """Draw n images, [N, C, H, W], within [0, 256); the arguments are those of `draw`.

        With `low_precision` the networks compute in bfloat16: faster where that pays, and good
        enough to look at, but encoding such images doesn't give back the latents exactly.
        """
        z = self.draw(n, temperature, generator, convention)
        if low_precision:
            with self.roughly():
                x = self._leave(self.generate(self._from_latents(z))[0])
        else:
            x = self.decode(z)
        return self.bounded(x)

    def _temperatures(self, temperature: Temperatures) -> Sequence[float | Tensor]:
        if isinstance(temperature, Latents):
            self._for(temperature)
            return temperature.levels
        return per_level("temperature", temperature, self.levels)

    # ---------------------------------------------------------------- pixel statistics, files

    def fit_pixels(self, images: Tensor) -> None:
        """Set what is taken from training images, uint8 [N, C, H, W], before training: with
        `pixels="marginal"` the distribution of each channel, otherwise nothing."""
        if isinstance(self.pixels, Marginal):
            self._check_images(images)
            self.pixels.fit(images)
            for module in self.modules():
                if isinstance(module, CoarseToFine):
                    module.fit(self.pixels)

    def save_pretrained(
        self, folder: str | Path, storage: checkpoint.Storage | None = None
    ) -> None:
        """Write weights (safetensors) and config (JSON) into a folder.

        Args:
            folder: Where to; it is made if it isn't there.
            storage: `"float16"` halves the file; what is loaded again computes in this flow's
                format, with the weights as rounded. None: nothing is rounded.

        Raises:
            ValueError: If float16 can't hold the weights.
        """
        checkpoint.save(self, self.config.to_dict(), _name(self.dtype), folder, storage)

    @classmethod
    def from_pretrained(cls, name: str | Path, *, trust: str | Sequence[str] = ()) -> Self:
        """Load a flow: of a folder, of a model that the package brings along, or of `owner/name` on
        the Hugging Face hub; in this order, so that a local folder wins.

        Loading runs no code that comes with a model, and imports no module that its config names.

        Args:
            name: Of the folder or the model.
            trust: Modules with bijectors of your own, or such bijectors (`module.Class`), which are
                imported first, as by `rgflow.bijectors.trust`.

        Raises:
            FileNotFoundError: If there is none; it lists the models of the package.
            PermissionError: If a file may not be read.
            ValueError: If the config or the weights are damaged or don't belong together, or the
                flow has a bijector of somebody's own that hasn't been imported.
        """
        bijectors.trust(trust)
        folder = checkpoint.find(name)
        values, dtype = checkpoint.load_config(folder)
        config = FlowConfig.from_dict(values)
        state = checkpoint.load_weights(folder)
        checkpoint.check_size(cls.least_parameters(config), state, folder)
        flow = cls(config).to(getattr(torch, dtype))
        checkpoint.fill(flow, state, folder)
        return flow.eval()

    @classmethod
    def least_parameters(cls, config: FlowConfig) -> int:
        """Fewer parameters than a flow of a config has, but of the same order: what can be known
        before anything is made."""
        return 0

    # ---------------------------------------------------------------- inside

    def _infer(
        self, x: Tensor, stages: list[Tensor] | None = None
    ) -> tuple[list[Tensor], Tensor, Tensor]:
        """Images to what each level leaves behind, in the steps' domain.

        Returns:
            One tensor per level, log-determinants [N, levels], and that of the entry [N].
        """
        x, entry = self.entry(x) if self.entry else (x, x.new_zeros(len(x)))
        levels, log_dets = [], []
        for step in self.steps:
            if stages is not None:
                stages.append(x)
            x, stay, log_det = step(x)
            levels.append(stay)
            log_dets.append(log_det)
        return levels, torch.stack(log_dets, 1), entry

    def to_domain(self, y: Tensor) -> Tensor:
        """From the space of the prior to the domain in which the steps work, element by element."""
        return self.prior.to_cube(y) if self.domain == "cube" else y

    def from_domain(self, x: Tensor) -> Tensor:
        """The inverse of `to_domain`."""
        return self.prior.from_cube(x) if self.domain == "cube" else x

    def to_own_space(self, images: Tensor) -> Tensor:
        """Images [N, C, …], or any pixels of them, in the flow's own space, that of the prior."""
        return self.from_domain(self.entry(images)[0] if self.entry else images)

    def from_own_space(self, y: Tensor) -> Tensor:
        """The inverse of `to_own_space`; what would lie outside [0, 256), where the logit map has
        values too, becomes the nearest inside."""
        return self.bounded(self._leave(self.to_domain(y)))

    def bounded(self, images: Tensor) -> Tensor:
        """Images with values outside [0, 256) set to the nearest inside; fields stay."""
        return images.clamp(0, largest(images.dtype)) if self.pixels else images

    def generate(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """The inverse of `_infer` up to the entry: x^(h) of every level, x^(0) first."""
        stages = [levels[-1][:, :, :0, :0]]
        for step, stay in zip(reversed(self.steps), reversed(levels), strict=True):
            stages.insert(0, step.inverse(stages[0], stay))
        return stages[:-1]

    def _leave(self, x: Tensor) -> Tensor:
        """From the steps' domain to images."""
        return self.entry.inverse(x)[0] if self.entry else x

    def _to_latents(self, levels: Sequence[Tensor]) -> tuple[Latents, Tensor | float]:
        """From the steps' domain to latents, with the log-determinants [N, levels]."""
        if self.domain == "real":
            return Latents(tuple(levels), self.lattice), 0.0
        mapped = [self.quantile.transform(u) for u in levels]
        latents = Latents(tuple(z for z, _ in mapped), self.lattice)
        return latents, torch.stack([log_det for _, log_det in mapped], 1)

    def _from_latents(self, latents: Latents) -> Sequence[Tensor]:
        return [self.to_domain(z) for z in latents.levels]

    def _in(self, dtype: torch.dtype) -> Self:
        """This flow, or a copy of it in another number format."""
        return self if dtype == self.dtype else copy.deepcopy(self).to(dtype)

    def frozen(self, dtype: torch.dtype | None = None) -> Self:
        """This flow for use only: its parameters are fixed, and those of linear layers normed once.

        Parameters are shared with this flow, unless a number format other than its own is asked
        for; so training it further would leave the copy half changed.

        Args:
            dtype: The number format; none: the flow's own.
        """
        flow = self._in(dtype or self.dtype)
        fixed = {id(p): nn.Parameter(p.detach(), requires_grad=False) for p in flow.parameters()}
        flow = copy.deepcopy(flow, fixed).eval()
        for module in flow.modules():
            if isinstance(module, GroupedLinear):
                module.fix()
        return flow

    def _reals(
        self, images: Tensor, generator: torch.Generator | None, dtype: torch.dtype
    ) -> Tensor:
        self._check_images(images)
        if images.dtype == torch.uint8:
            return dequantize(images, generator, dtype)
        x = images.to(dtype)
        return x.clamp(max=largest(dtype)) if self.pixels else x  # float64 below 256 may round up

    def _check_images(self, images: Tensor) -> None:
        expected = self.image_shape
        if not isinstance(images, Tensor):
            raise ValueError(
                f"Expected images as a tensor; got {type(images).__name__}: use torch.from_numpy "
                f"for an array."
            )
        if images.ndim != 4 or tuple(images.shape[1:]) != expected or not len(images):
            raise ValueError(
                f"Expected images of shape [N, {', '.join(map(str, expected))}]; got "
                f"{list(images.shape)}: resize or convert them, or build the flow for their size."
            )
        if self.pixels is not None and images.dtype == torch.uint8:
            return
        if not images.dtype.is_floating_point:
            wanted = "uint8 images, or reals in [0, 256)" if self.pixels else "real-valued fields"
            raise ValueError(f"Expected {wanted}; got {_name(images.dtype)}.")
        if not torch.isfinite(images).all():
            bad = int((~torch.isfinite(images)).sum())
            raise ValueError(f"Expected finite values; got {bad} that are NaN or infinite.")
        if self.pixels is None:
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


def _is_scaled(images: Tensor) -> bool:
    """Whether images in [0, 1] are 8-bit ones divided by 255. Black ones have no values in between,
    and with the noise that dequantises them they have others."""
    levels, error = 255 * images, 255 * torch.finfo(images.dtype).eps
    between = (images > 0) & (images < 1)
    return bool(between.any() and ((levels - levels.round()).abs() <= error).all())


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
