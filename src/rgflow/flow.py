"""What all flows of images have in common: they map images to latents level by level, and back.

Letters in shapes: N images; C channels; H, W rows and columns; D = C·H·W.
"""

import copy
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Literal, Protocol, Self, cast

import torch
from torch import Tensor, nn

from rgflow import bijectors, checkpoint, pretrained
from rgflow.bijectors.base import (
    Bijector,
    Compose,
    Context,
    Domain,
    Inverse,
    Quantile,
    sum_event,
)
from rgflow.bijectors.pixels import LEVELS, Marginal, dequantize, largest, make_pixels
from rgflow.checks import check_name, check_whole, per_level
from rgflow.config import FlowConfig
from rgflow.geometries import Squeeze
from rgflow.latents import Latents
from rgflow.lattice import Sites
from rgflow.numerics import Precision, Unit
from rgflow.priors import Convention, make_prior

Temperatures = float | Sequence[float] | Latents
"""One temperature, one per level (level 0 first), or one per latent (paper, Appendix D)."""


class LosslessWarning(UserWarning):
    """Says in which number format images were encoded if it isn't the flow's own."""


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
    """One step of a flow, as `Flow` uses it: to a coarse grid and latents z^(h), and back."""

    domain: Domain

    def __call__(self, x: Tensor, context: Context | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """The coarse grid (at the top nothing), what is factored out, and the log-determinant
        [N]."""
        ...

    def inverse(
        self, coarse: Tensor, factored_out: Tensor, context: Context | None = None
    ) -> tuple[Tensor, Tensor]:
        """The input of this step, and the log-determinant [N]."""
        ...


class Flow(nn.Module):
    """A normalizing flow of images in steps, each of which leaves the latents of one level behind.

    This is all that `RGFlow` and the baselines have in common; they define what a step is. Images
    are uint8, or already dequantised reals in [0, 256), [N, C, H, W]. With `pixels=None` they
    are real-valued fields. Log-densities are in nats, per unit of those numbers: bits per dimension
    are −log_prob/(D·ln 2). A flow whose config has `labels` needs the label of every image, whole
    numbers [N], wherever `labels` is an argument.

    Args:
        config: The architecture.

    Raises:
        ValueError: If the config contradicts itself, or an image doesn't fit.
    """

    squeezes: ClassVar[bool] = False
    """Whether it takes configs of the geometry squeeze."""

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        if isinstance(config.geometry, Squeeze) != self.squeezes:
            raise ValueError(
                f"Expected a geometry that {type(self).__name__} has; got "
                f"{type(config.geometry).__name__}: make_flow picks the class that fits."
            )
        self.config = config
        self.lattice = self.make_lattice()
        self.config = config = replace(config, levels=self.lattice.levels)
        self.prior = make_prior(config.prior)
        self.steps = cast(Sequence[Step], nn.ModuleList(self.make_steps()))
        self.domain = self.steps[0].domain
        self.quantile = Quantile(self.prior, (config.channels, None, None))
        self.pixels = make_pixels(config.pixels, config.channels) if config.pixels else None
        self.preprocess = self._make_preprocess()
        self.labels = nn.Embedding(config.labels, config.label_embedding) if config.labels else None
        self.precision = Precision()
        for module in self.modules():
            if isinstance(getattr(module, "precision", None), Precision):
                setattr(module, "precision", self.precision)  # noqa: B010
        self._copies = _Copies()
        self.register_load_state_dict_pre_hook(_with_old_names)

    def make_lattice(self) -> Sites:
        """The geometry of the latents; called once."""
        raise NotImplementedError

    def make_steps(self) -> Iterable[nn.Module]:
        """The steps, level 0 first, each as `Step` says; called once, after `make_lattice`."""
        raise NotImplementedError

    def _make_preprocess(self) -> Bijector | None:
        """From images to the domain in which the steps work; none if they are there already."""
        maps = [self.pixels] if self.pixels else []
        if (maps[-1].codomain if maps else "real") != self.domain:
            maps.append(self.quantile if self.domain == "real" else Inverse(self.quantile))
        return Compose(maps) if maps else None

    @property
    def dim(self) -> int:
        """D = C·H·W, the number of latents of an image."""
        return self.config.channels * self.config.height * self.config.width

    @property
    def unit(self) -> Unit:
        """The unit of reported negative log-likelihoods: bits/dim, or nats/site for fields."""
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
        """The device of the parameters, or of the buffers if there are no parameters."""
        held = chain(self.parameters(), self.buffers())
        return next((tensor.device for tensor in held), torch.device("cpu"))

    def compile_maps(self, on: bool = True) -> bool:
        """Compile the kernels of maps for use within `fast`; the first step then takes longer.

        Needs a C++ compiler on a CPU. Everything outside `fast` stays as it is.

        Args:
            on: Whether to compile; otherwise the plain functions are used again.

        Returns:
            Whether any map has such kernels.
        """
        found = [bijector.compile_kernels(on) for bijector in self.maps()]
        return any(found)

    def maps(self) -> Iterator[Bijector]:
        """All bijectors, also those within others."""
        return (module for module in self.modules() if isinstance(module, Bijector))

    @contextmanager
    def fast(self, networks: torch.dtype | None = None) -> Iterator[None]:
        """A context for training steps: networks in a lower precision, compiled kernels.

        Outside it, everything is exact, whether the flow is in training mode or not. Inside it, the
        values of images aren't checked.

        Args:
            networks: The number format of the networks, such as bfloat16; none: the parameters'.
        """
        with self.precision.changed(networks=networks, fast=True):
            yield

    # ---------------------------------------------------------------- likelihood

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """The same as `log_prob`, so that wrappers for distributed training work."""
        return self.log_prob(images, labels=labels)

    def log_prob(
        self,
        images: Tensor,
        generator: torch.Generator | None = None,
        *,
        labels: Tensor | None = None,
    ) -> Tensor:
        """log p(x) in nats (paper, eq. 1).

        For uint8 without a generator, this is the density at the middle of every grey level, which
        doesn't bound the probability of bytes: the density may be higher there than elsewhere.
        `bits_per_dim` gives a bound.

        Args:
            images: [N, C, H, W].
            generator: Source of the noise that dequantises uint8; none: ½ everywhere.
            labels: Labels of the images, [N].

        Returns:
            Log-densities [N].
        """
        x = self.to_reals(images, generator)
        wanted = self.domain == "real" or not self.writes_last
        with self.precision.changed(latents=wanted):
            levels, log_dets, log_det = self.infer(x, self.context(labels, len(x)))
        return self._log_prob(levels, log_det + log_dets.sum(1))

    @property
    def writes_last(self) -> bool:
        """Whether no layer reads what another one has written on the way to the latents, so that
        likelihoods on the cube don't need it."""
        return False

    def _log_prob(self, levels: Sequence[Tensor], log_det: Tensor) -> Tensor:
        """log p of images from what their levels factor out, in the steps' domain, and log |det| of
        the map there [N]."""
        if self.domain == "cube":
            return log_det  # the prior's density and the quantile function's log-det cancel
        return log_det + sum(sum_event(self.prior.log_prob(z)) for z in levels)

    @torch.no_grad()
    def bits_per_dim(
        self,
        images: Tensor,
        *,
        draws: int = 1,
        seed: int = 0,
        labels: Tensor | None = None,
        batch_size: int = 500,
    ) -> Tensor:
        """Bits per dimension of 8-bit images: an upper bound, in expectation, on −log₂ P(x8)/D.

        The density is averaged over noise, E[log p(x8 + u)] ≤ log P(x8) by Jensen's inequality
        (Theis et al. 2016, section 3.1), so every draw is an unbiased estimate of the bound.

        Args:
            images: uint8 [N, C, H, W].
            draws: Number of draws of the noise over which the log-densities are averaged.
            seed: Seed of the noise; the noise of an image also depends on its index.
            labels: Labels of the images, [N].
            batch_size: Images at a time.

        Returns:
            Bits per dimension [N].

        Raises:
            ValueError: If the images aren't uint8, or the flow is for real-valued fields, or for
                images smaller than its grid.

        Example:
            >>> from rgflow import AffineMap, FlowConfig, RGFlow
            >>> flow = RGFlow(FlowConfig(height=8, width=8, map=AffineMap(depth=1, hidden=16)))
            >>> x8 = torch.randint(256, (2, 3, 8, 8), dtype=torch.uint8)
            >>> flow.bits_per_dim(x8, draws=2).shape
            torch.Size([2])
        """
        check_whole("draws", draws, 1)
        check_whole("batch_size", batch_size, 1)
        if self.pixels is None or images.dtype != torch.uint8:
            what = "fields" if self.pixels is None else _name(images.dtype)
            raise ValueError(
                f"Expected uint8 images, as bits are of bytes; got {what}: use log_prob."
            )
        if inside := self.config.geometry.inside:
            raise ValueError(
                f"Expected a flow whose images fill its grid; got one of {inside[0]}×{inside[1]} "
                f"pixels: use rgflow.photographs.bits."
            )
        generator, total = torch.Generator().manual_seed(seed), torch.zeros(len(images))
        for _ in range(draws):
            for start in range(0, len(images), batch_size):
                part = slice(start, start + batch_size)
                of_part = None if labels is None else labels[part]
                found = self.log_prob(images[part], generator, labels=of_part)
                total[part] += found.to(total)
        return self.unit(total / draws).to(images.device)

    def terms(
        self,
        images: Tensor,
        generator: torch.Generator | None = None,
        *,
        labels: Tensor | None = None,
    ) -> Terms:
        """log p(x) level by level: the share of the prior and of the log-determinant.

        Args:
            images: [N, C, H, W].
            generator: As for `log_prob`.
            labels: Labels of the images, [N].
        """
        x = self.to_reals(images, generator)
        levels, log_dets, preprocess = self.infer(x, self.context(labels, len(x)))
        latents, quantile_log_dets = self.to_latents(levels)
        prior = [sum_event(self.prior.log_prob(z)) for z in latents.levels]
        return Terms(torch.stack(prior, 1), log_dets + quantile_log_dets, preprocess)

    # ---------------------------------------------------------------- encode and decode

    def encode(
        self,
        images: Tensor,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        *,
        labels: Tensor | None = None,
    ) -> Latents:
        """The latents of images: z = R(x).

        Deterministic unless a generator is given, and lossless for uint8 either way:
        `decode(encode(x8)).floor()` is x8. This is checked by decoding. If the precision of the
        flow's own number format is too low, all images are encoded in float64 and a
        `LosslessWarning` says so. The dtype of the latents determines in which format `decode`
        computes.

        Args:
            images: [N, C, H, W].
            generator: Source of the noise that dequantises uint8; none: ½ everywhere.
            dtype: The number format to compute in; none: as above. If it is given, nothing is
                decoded or checked.
            labels: Labels of the images, [N].
        """
        x = self.to_reals(images, generator, dtype or self.dtype)
        z = self._encode(x, labels)
        if dtype is not None or images.dtype != torch.uint8:
            return z
        if not (lost := self._lost(images, z, labels)):
            return z
        message = f"{lost} of {len(images)} images aren't encoded without loss in "
        message += _name(self.dtype)
        if self.dtype != torch.float64:
            z = self._encode(x.double(), labels)
            still = self._lost(images, z, labels)
            message += f", so all {len(images)} are encoded in float64"
            message += f" ({still} still not without loss)" if still else ""
        warnings.warn(f"{message}.", LosslessWarning, stacklevel=2)
        return z

    def _encode(self, x: Tensor, labels: Tensor | None) -> Latents:
        """The latents of dequantised images, in their number format."""
        flow = self._in(x.dtype)
        return flow.to_latents(flow.infer(x, flow.context(labels, len(x)))[0])[0]

    @torch.no_grad()
    def _lost(self, x8: Tensor, z: Latents, labels: Tensor | None) -> int:
        """How many images don't come back from their latents."""
        return int((self.decode(z, labels=labels).floor() != x8).flatten(1).any(1).sum())

    def decode(self, latents: Latents, *, labels: Tensor | None = None) -> Tensor:
        """The images of latents: x = G(z), reals [N, C, H, W] in the dtype of the latents.

        The logit map can give values slightly outside [0, 256); they are returned as they are.

        Raises:
            ValueError: If the latents belong to a flow with another geometry.
        """
        return self._decode(latents, labels)[0]

    def _decode(self, latents: Latents, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """The images of latents, and the log-determinant of the map from the steps' domain [N]."""
        flow = self._for(latents)
        context = flow.context(labels, len(latents))
        stages, log_det = flow.generate(flow.from_latents(latents), context)
        x, preprocess = flow.to_images(stages[0])
        return x, log_det + preprocess

    def decode_and_log_prob(
        self, latents: Latents, *, labels: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The images of latents, as `decode`, and log p of each [N], in one pass.

        Raises:
            ValueError: As for `decode`.
        """
        x, log_det = self._decode(latents, labels)
        return x, self._log_prob(self.from_latents(latents), -log_det)

    def coarse(
        self,
        source: Tensor | Latents,
        space: Literal["pixels", "flow"] = "pixels",
        *,
        labels: Tensor | None = None,
    ) -> list[Tensor]:
        """The images x^(h) of every level, x^(0) first: [N, C, H/2^h, W/2^h] (paper, Fig. 5a).

        Where a flow has more channels at a level than an image has, these are the first ones.

        Args:
            source: Images, which are encoded from fine to coarse, or latents, which are decoded
                from coarse to fine; the result is the same for an image and its latents.
            space: `"pixels"` maps the values back to those of images; `"flow"` leaves them in the
                flow's own space, that of the prior.
            labels: Labels of the images, [N].
        """
        check_name("space", space, ("pixels", "flow"))
        flow = self._for(source) if isinstance(source, Latents) else self
        stages: list[Tensor] = []
        context = flow.context(labels, len(source))
        if isinstance(source, Latents):
            stages = flow.generate(flow.from_latents(source), context)[0]
        else:
            flow.infer(flow.to_reals(source), context, stages)
        stages = [x[:, : flow.config.channels] for x in stages]
        if space == "flow":
            return [flow.from_domain(x) for x in stages]
        return [flow.to_images(x)[0] for x in stages]

    def _for(self, latents: Latents) -> Self:
        """This flow in the number format of latents, which must be of its geometry."""
        if latents.lattice != self.lattice or latents.channels != self.config.channels:
            raise ValueError(
                f"Expected latents of {self.config.channels} channels on {self.lattice}; "
                f"got {latents.channels} channels on {latents.lattice}."
            )
        return self._in(latents.levels[-1].dtype)

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
            generator: Source of randomness; the same generator state gives the same draws. With a
                CPU generator, they are the same on all devices.
            convention: `"density"`, or the released code's `"scale"`.

        Raises:
            ValueError: If the temperatures are for another number of images or levels.
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
        """Draw latents of images with a seed each: an image depends on its own seed alone.

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
        *,
        labels: Tensor | None = None,
    ) -> Tensor:
        """Draw n images, [N, C, H, W], within [0, 256); the arguments are those of `draw`.

        With `low_precision` the networks compute in bfloat16: faster on machines that support it,
        and good enough to look at, but encoding such images doesn't give back the latents exactly.
        """
        z = self.draw(n, temperature, generator, convention)
        with self.fast(torch.bfloat16) if low_precision else nullcontext():
            return self.bounded(self.decode(z, labels=labels))

    def sample_and_log_prob(
        self,
        n: int,
        generator: torch.Generator | None = None,
        *,
        labels: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Draw n images and their log-densities in one pass; gradients reach all parameters.

        The logit map can give values slightly outside [0, 256), which `log_prob` rejects.

        Args:
            n: Number of images.
            generator: Source of randomness.
            labels: Labels of the images, [N].

        Returns:
            The images as `decode` gives them, [N, C, H, W], and log p of each in nats [N].

        Example:
            >>> from rgflow import AffineMap, FlowConfig, RGFlow
            >>> map = AffineMap(depth=1, hidden=16)
            >>> flow = RGFlow(FlowConfig(height=8, width=8, map=map, pixels=None))
            >>> x, log_p = flow.sample_and_log_prob(4)
            >>> torch.allclose(log_p, flow.log_prob(x), rtol=1e-4)
            True
        """
        return self.decode_and_log_prob(self.draw(n, generator=generator), labels=labels)

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
            self.check_images(images)
            self.pixels.count(images)
            for bijector in self.maps():
                bijector.fit(self.pixels)

    def save_pretrained(
        self, folder: str | Path, storage: checkpoint.Storage | None = None
    ) -> None:
        """Write weights (safetensors) and config (JSON) into a folder.

        Args:
            folder: The folder to write; it is created if it doesn't exist.
            storage: `"float16"` halves the file; a flow loaded from it computes in this flow's
                format, with the rounded weights. None: nothing is rounded.

        Raises:
            ValueError: If float16 can't hold the weights.
        """
        checkpoint.save(self, self.config.to_dict(), _name(self.dtype), folder, storage)

    def push_to_hub(
        self, repository: str, storage: checkpoint.Storage | None = None, **options: Any
    ) -> str:
        """Upload weights and config to the Hugging Face hub, from which `from_pretrained` loads
        them. To upload a model with its card, use `rgflow ship --push`.

        Args:
            repository: `owner/name`; it is created if it doesn't exist.
            storage: As for `save_pretrained`.
            options: As for `huggingface_hub.ModelHubMixin.push_to_hub`: `private`, `token`,
                `branch`, `create_pr`, `commit_message`.

        Returns:
            The address of the repository.

        Raises:
            OSError: If huggingface_hub isn't installed, or the hub rejects the upload.
            ValueError: If float16 can't hold the weights.
        """
        with TemporaryDirectory() as place:
            self.save_pretrained(place, storage)
            return pretrained.push_to_hub(Path(place), repository, **options)

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        trust: str | Sequence[str] = (),
        revision: str | None = None,
    ) -> Self:
        """Load a flow from a folder, by the name of a model, or from `owner/name` on the Hugging
        Face hub. They are tried in this order, so a local folder wins.

        Loading runs no code that comes with a model, and imports no module that its config names.

        Args:
            name: Name of the folder or the model.
            trust: Modules with bijectors of your own, or such bijectors (`module.Class`), which are
                imported first, as by `rgflow.bijectors.trust`.
            revision: Branch, tag or commit of a model on the hub; none: the newest.

        Raises:
            FileNotFoundError: If there is no such model; the message says where to get one.
            PermissionError: If a file may not be read.
            ValueError: If the config or the weights are damaged or don't belong together, or the
                flow has a custom bijector that hasn't been imported.
        """
        bijectors.trust(trust)
        folder = pretrained.folder_of(name, revision)
        values, dtype = checkpoint.load_config(folder)
        config = FlowConfig.from_dict(values)
        state = checkpoint.load_weights(folder)
        checkpoint.check_size(cls.least_parameters(config), state, folder)
        flow = cls(config).to(getattr(torch, dtype))
        checkpoint.fill(flow, state, folder)
        return flow.eval()

    @classmethod
    def least_parameters(cls, config: FlowConfig) -> int:
        """A lower bound, of the right order, on the number of parameters; known before anything is
        built."""
        return 0

    # ---------------------------------------------------------------- inside

    def context(self, labels: Tensor | None, images: int) -> Context | None:
        """What the maps know of every one of so many images; none: nothing.

        Raises:
            ValueError: If there are no labels and the flow needs them, or the other way round.
        """
        if labels is not None and not isinstance(labels, Tensor):
            raise ValueError(
                f"Expected labels as a tensor; got {type(labels).__name__}: use torch.tensor."
            )
        if self.labels is None:
            if labels is not None:
                raise ValueError(
                    "Expected no labels, as this flow has none: give them to one of a config with "
                    "labels=NUMBER."
                )
            return None
        if labels is None or labels.shape != (images,) or labels.dtype.is_floating_point:
            got = "none" if labels is None else f"{_name(labels.dtype)} {list(labels.shape)}"
            raise ValueError(
                f"Expected a label for each image, whole numbers [{images}] from 0 to "
                f"{self.labels.num_embeddings - 1}; got {got}."
            )
        labels = labels.to(self.device).long()
        if labels.min() < 0 or labels.max() >= self.labels.num_embeddings:
            raise ValueError(
                f"Expected labels from 0 to {self.labels.num_embeddings - 1}; the lowest is "
                f"{labels.min().item()}, the highest {labels.max().item()}."
            )
        embedding = self.labels(labels)
        return Context(embedding[:, :0], embedding)

    def refuse_labels(self, what: str) -> None:
        """Raise a `ValueError` if this flow has labels, for methods that can't use them."""
        if self.labels is not None:
            raise ValueError(
                f"Expected a flow without labels for {what}, which can't be given any yet; got one "
                f"of {self.labels.num_embeddings}."
            )

    def infer(
        self, x: Tensor, context: Context | None = None, stages: list[Tensor] | None = None
    ) -> tuple[list[Tensor], Tensor, Tensor]:
        """Dequantised images to what each level factors out, in the steps' domain.

        Args:
            x: Reals [N, C, H, W], as `to_reals` makes them.
            context: What is known of every image, as `context` makes it.
            stages: A list to which x^(h) of every level is added.

        Returns:
            One tensor per level, log-determinants [N, levels], and that of `preprocess` [N].
        """
        x, preprocess = self.preprocess(x) if self.preprocess else (x, x.new_zeros(len(x)))
        levels, log_dets = [], []
        for step in self.steps:
            if stages is not None:
                stages.append(x)
            x, factored_out, log_det = step(x, context)
            levels.append(factored_out)
            log_dets.append(log_det)
        return levels, torch.stack(log_dets, 1), preprocess

    def to_domain(self, y: Tensor) -> Tensor:
        """From the space of the prior to the domain in which the steps work, element by element."""
        return self.prior.to_cube(y) if self.domain == "cube" else y

    def from_domain(self, x: Tensor) -> Tensor:
        """The inverse of `to_domain`."""
        return self.prior.from_cube(x) if self.domain == "cube" else x

    def to_own_space(self, images: Tensor) -> Tensor:
        """Images [N, C, …], or any pixels of them, in the flow's own space, that of the prior."""
        return self.from_domain(self.preprocess(images)[0] if self.preprocess else images)

    def from_own_space(self, y: Tensor) -> Tensor:
        """The inverse of `to_own_space`; what would lie outside [0, 256), where the logit map has
        values too, becomes the nearest inside."""
        return self.bounded(self.to_images(self.to_domain(y))[0])

    def bounded(self, images: Tensor) -> Tensor:
        """Images with values outside [0, 256) set to the nearest inside; fields stay."""
        return images.clamp(0, largest(images.dtype)) if self.pixels else images

    def generate(
        self, levels: Sequence[Tensor], context: Context | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """The inverse of `infer` up to `preprocess`: x^(h) of every level, x^(0) first, and the
        log-determinant [N]."""
        stages = [levels[-1][:, :, :0, :0]]
        total: Tensor | float = 0.0
        for step, factored_out in zip(reversed(self.steps), reversed(levels), strict=True):
            x, log_det = step.inverse(stages[0], factored_out, context)
            stages.insert(0, x)
            total = total + log_det
        return stages[:-1], cast(Tensor, total)

    def to_images(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """From the steps' domain to images: the inverse of `preprocess`, with its log-determinant
        [N]."""
        return self.preprocess.inverse(x) if self.preprocess else (x, x.new_zeros(len(x)))

    def to_latents(self, levels: Sequence[Tensor]) -> tuple[Latents, Tensor | float]:
        """From the steps' domain to latents, with the log-determinants [N, levels]."""
        if self.domain == "real":
            return Latents(tuple(levels), self.lattice), 0.0
        mapped = [self.quantile.transform(u) for u in levels]
        latents = Latents(tuple(z for z, _ in mapped), self.lattice)
        return latents, torch.stack([log_det for _, log_det in mapped], 1)

    def from_latents(self, latents: Latents) -> Sequence[Tensor]:
        """The inverse of `to_latents`."""
        return [self.to_domain(z) for z in latents.levels]

    def _in(self, dtype: torch.dtype) -> Self:
        """This flow, or a copy of it in another number format, made anew if weights changed."""
        return self if dtype == self.dtype else cast(Self, self._copies.of(self, dtype))

    def frozen(self, dtype: torch.dtype | None = None) -> Self:
        """This flow for inference only: its parameters are fixed, and weight norms are computed
        once.

        Parameters are shared with this flow, unless a number format other than its own is asked
        for; so training it further would leave the copy half changed.

        Args:
            dtype: The number format; none: the flow's own.
        """
        flow = self._in(dtype or self.dtype)
        fixed = {id(p): nn.Parameter(p.detach(), requires_grad=False) for p in flow.parameters()}
        flow = copy.deepcopy(flow, fixed).eval()
        for bijector in flow.maps():
            bijector.freeze()
        return flow

    def resized(self, height: int, width: int) -> Self:
        """This flow for images of another size, with the same weights.

        If levels share their weights, there are as many as fit; otherwise their number stays. If
        the geometry takes any size, the grid may be larger than the images (`rgflow.photographs`).

        Args:
            height: Rows.
            width: Columns.

        Raises:
            ValueError: If a level has weights of its own that another size would need more of, or
                the size doesn't fit.

        Example:
            >>> from rgflow import AffineMap, FlowConfig, RGFlow
            >>> map = AffineMap(depth=1, hidden=16)
            >>> flow = RGFlow(FlowConfig(height=8, width=8, map=map, shared=True))
            >>> flow.resized(16, 24).sample(1).shape
            torch.Size([1, 3, 16, 24])
        """
        same = (height, width) == self.image_shape[1:]
        levels = None if self.config.shared and not same else self.levels
        geometry, (height, width) = self.config.geometry.fitted((height, width), levels)
        config = replace(self.config, height=height, width=width, levels=levels, geometry=geometry)
        if config.position_embedding and not same:
            raise ValueError(
                f"Expected a flow without position_embedding, which has numbers for every place; "
                f"got {config.position_embedding}: train one without it to use other sizes."
            )
        flow = type(self)(config).to(self.device, self.dtype)
        flow.take_weights(self)
        return flow.train(self.training)

    def take_weights(self, other: Self) -> None:
        """Load the weights of a flow that differs from this one only in the size of images; a
        `ValueError` if it lacks some."""
        self.load_state_dict(other.state_dict())

    def to_reals(
        self,
        images: Tensor,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """Images as reals in [0, 256), or fields, in a number format (none: the flow's own), after
        `check_images`."""
        self.check_images(images)
        dtype = dtype or self.dtype
        if images.dtype == torch.uint8:
            return dequantize(images, generator, dtype)
        x = images.to(dtype)
        return x.clamp(max=largest(dtype)) if self.pixels else x  # float64 below 256 may round up

    def check_images(self, images: Tensor) -> None:
        """Raise a `ValueError` unless these are images, or fields, of this flow, [N, C, H, W]."""
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
        if self.precision.fast:
            return  # what follows waits for the device
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


class _Copies:
    """Copies of a flow in other number formats, valid as long as its weights don't change; a copied
    flow starts with none."""

    def __init__(self) -> None:
        self._held: dict[torch.dtype, tuple[object, Flow]] = {}

    def of(self, flow: Flow, dtype: torch.dtype) -> Flow:
        tensors = chain(flow.parameters(), flow.buffers())
        now = [(id(x), x.data_ptr(), x._version, x.requires_grad) for x in tensors]
        found = self._held.get(dtype)
        if found and found[0] == now:
            return found[1]
        made = copy.deepcopy(flow).to(dtype)
        self._held = {} if torch.is_inference_mode_enabled() else {dtype: (now, made)}
        return made

    def __deepcopy__(self, memo: object) -> "_Copies":
        return _Copies()


def _with_old_names(flow: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Weights by their names of now: `preprocess` was `entry`."""
    for name in [name for name in state if name.startswith(f"{prefix}entry.")]:
        new = f"{prefix}preprocess.{name.removeprefix(f'{prefix}entry.')}"
        state[new] = state.pop(name)


def _is_scaled(images: Tensor) -> bool:
    """Whether images in [0, 1] are 8-bit ones divided by 255. Black ones have no values in between,
    and with the noise that dequantises them they have others."""
    levels, error = 255 * images, 255 * torch.finfo(images.dtype).eps
    between = (images > 0) & (images < 1)
    return bool(between.any() and ((levels - levels.round()).abs() <= error).all())


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
