"""What all flows of images have in common: they map images to latents level by level, and back.

Letters in shapes: N images; C channels; H, W rows and columns; D = C·H·W.
"""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Literal, Self

import torch
from torch import Tensor

from rgflow import checkpoint, kinds, pretrained
from rgflow.bijectors.base import sum_event
from rgflow.checkpoint import Storage
from rgflow.checks import check_name, check_whole, per_level
from rgflow.config import FlowConfig
from rgflow.hierarchy import Hierarchy
from rgflow.latents import Latents
from rgflow.numerics import name_of


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


class Flow(Hierarchy):
    """A normalizing flow of images that leaves the latents of one level behind after the other.

    This is all that `RGFlow` and the baselines have in common. Images are uint8, or already
    dequantised reals in [0, 256), [N, C, H, W]. With `pixels=None` they are real-valued fields.
    Log-densities are in nats, per unit of those numbers: bits per dimension are −log_prob/(D·ln 2).
    A flow whose config has `labels` needs the label of every image, whole numbers [N], wherever
    `labels` is an argument; labels with names [N, K], in alphabetical order.

    Args:
        config: The architecture.

    Raises:
        ValueError: If the config contradicts itself, or an image doesn't fit.
    """

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
        x, log_prob = self.from_images(self.to_reals(images, generator))
        given = self.given(labels, len(x))
        if self.domain == "cube":  # the prior's density and the quantile's log-det cancel
            return log_prob + self.log_det(x, given)
        for stage in self.infer(x, given):
            log_prob = log_prob + stage.log_det + sum_event(self.prior.log_prob(stage.factored_out))
        return log_prob

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
        """
        check_whole("draws", draws, 1)
        check_whole("batch_size", batch_size, 1)
        if self.pixels is None or images.dtype != torch.uint8:
            what = "fields" if self.pixels is None else name_of(images.dtype)
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
        """log p(x) level by level: the share of the prior and of the log-determinant. Arguments are
        the same as of `log_prob`."""
        x, pixels = self.from_images(self.to_reals(images, generator))
        priors, log_dets = [], []
        for stage in self.infer(x, self.given(labels, len(x))):
            z, log_det = stage.factored_out, stage.log_det
            if self.domain == "cube":
                z, more = self.quantile.transform(z)
                log_det = log_det + more
            priors.append(sum_event(self.prior.log_prob(z)))
            log_dets.append(log_det)
        return Terms(torch.stack(priors, 1), torch.stack(log_dets, 1), pixels)

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
        message += name_of(self.dtype)
        if self.dtype != torch.float64:
            z = self._encode(x.double(), labels)
            still = self._lost(images, z, labels)
            message += f", so all {len(images)} are encoded in float64"
            message += f" ({still} still not without loss)" if still else ""
        warnings.warn(f"{message}.", LosslessWarning, stacklevel=2)
        return z

    def _encode(self, x: Tensor, labels: Tensor | None) -> Latents:
        """The latents of dequantised images, in their number format."""
        flow = self.in_dtype(x.dtype)
        u, _ = flow.from_images(x)
        stages = flow.infer(u, flow.given(labels, len(x)))
        return Latents(
            tuple(flow.from_domain(stage.factored_out) for stage in stages), self.lattice
        )

    @torch.no_grad()
    def _lost(self, x8: Tensor, z: Latents, labels: Tensor | None) -> int:
        """How many images don't come back from their latents."""
        return int((self.decode(z, labels=labels).floor() != x8).flatten(1).any(1).sum())

    def decode(self, latents: Latents, *, labels: Tensor | None = None) -> Tensor:
        """The images of latents: x = G(z), reals [N, C, H, W] in the dtype of the latents.

        The logit map can give values slightly outside [0, 256); they are returned unchanged.

        Raises:
            ValueError: If the latents belong to a flow with another geometry.
        """
        return self._decode(latents, labels)[0]

    def _decode(self, latents: Latents, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """The images of latents, and the log-determinant of the map from the steps' domain [N]."""
        flow = self.fitting(latents)
        stages = flow.generate(flow.from_latents(latents), flow.given(labels, len(latents)))
        log_det: Tensor | float = 0.0
        for stage in stages:
            log_det = log_det + stage.log_det
        x, preprocess = flow.to_images(stage.x)
        return x, log_det + preprocess

    def decode_and_log_prob(
        self, latents: Latents, *, labels: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The images of latents, as `decode`, and log p of each [N], in one pass.

        Raises:
            ValueError: As for `decode`.
        """
        x, log_det = self._decode(latents, labels)
        if self.domain == "cube":
            return x, -log_det
        return x, sum((sum_event(self.prior.log_prob(z)) for z in latents.levels), -log_det)

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
        given = self.given(labels, len(source))
        if isinstance(source, Latents):
            flow = self.fitting(source)
            stages = list(flow.generate(flow.from_latents(source), given))[::-1]
        else:
            flow = self
            stages = list(flow.infer(flow.from_images(flow.to_reals(source))[0], given))
        grids = [stage.x[:, : flow.config.channels] for stage in stages]
        return [flow.from_domain(x) if space == "flow" else flow.to_images(x)[0] for x in grids]

    # ---------------------------------------------------------------- sampling

    def draw(
        self,
        n: int,
        temperature: float | Sequence[float] = 1.0,
        generator: torch.Generator | None = None,
    ) -> Latents:
        """Draw latents of n images from the prior.

        Args:
            n: Number of images.
            temperature: T of p^(1/T), or one per level, level 0 first (paper, Appendix D).
            generator: Source of randomness; the same generator state gives the same draws. With a
                CPU generator, they are the same on all devices.

        Raises:
            ValueError: If there are no images, or temperatures for another number of levels.
        """
        n = check_whole("the number of images", n, 1)
        temperatures = enumerate(per_level("temperature", temperature, self.levels))
        levels = (self._draw(n, level, each, generator) for level, each in temperatures)
        return Latents(tuple(levels), self.lattice)

    def _draw(
        self, n: int, level: int, temperature: float, generator: torch.Generator | None
    ) -> Tensor:
        """The latents of one level of n images."""
        source = generator.device if generator else self.device
        shape = self.lattice.latent_shape(level, self.config.channels)
        like = torch.empty(n, *shape, dtype=self.dtype, device=source)
        return self.prior.tempered(temperature).sample_like(like, generator).to(self.device)

    def draw_each(
        self, seeds: Iterable[int], temperature: float | Sequence[float] = 1.0
    ) -> Latents:
        """Draw latents of images with a seed each, so that an image depends on its own seed alone.
        The other arguments are those of `draw`; a `ValueError` if there are no seeds."""
        generator = torch.Generator()
        return Latents.cat(self.draw(1, temperature, generator.manual_seed(seed)) for seed in seeds)

    @torch.no_grad()
    def sample(
        self,
        n: int,
        temperature: float | Sequence[float] = 1.0,
        generator: torch.Generator | None = None,
        *,
        labels: Tensor | None = None,
    ) -> Tensor:
        """Draw n images, [N, C, H, W], within [0, 256); the arguments are those of `draw`."""
        return self.bounded(self.decode(self.draw(n, temperature, generator), labels=labels))

    def sample_and_log_prob(
        self, n: int, generator: torch.Generator | None = None, *, labels: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Draw n images [N, C, H, W], as `decode` gives them, and their log-densities in nats [N],
        in one pass; gradients reach all parameters. The other arguments are those of `log_prob`.

        Example:
            >>> from rgflow import AffineMap, FlowConfig, RGFlow
            >>> map = AffineMap(depth=1, hidden=16)
            >>> flow = RGFlow(FlowConfig(height=8, width=8, map=map, pixels=None))
            >>> x, log_p = flow.sample_and_log_prob(4)
            >>> torch.allclose(log_p, flow.log_prob(x), rtol=1e-4)
            True
        """
        return self.decode_and_log_prob(self.draw(n, generator=generator), labels=labels)

    def sample_levels(
        self, n: int, level: int = 0, generator: torch.Generator | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """Draw n images x^(h) of a level and of all above it, in about the time that these levels
        take.

        Args:
            n: Number of images.
            level: The lowest level h.
            generator: Source of randomness.

        Returns:
            The images of every level, the lowest first, [n, C, H/2^h, W/2^h], as `coarse` gives
            them, and the log-densities of the first [n].

        Raises:
            ValueError: If the flow has no such level.

        Example:
            >>> from rgflow import AffineMap, FlowConfig, RGFlow
            >>> map = AffineMap(depth=1, hidden=16)
            >>> flow = RGFlow(FlowConfig(height=16, width=16, map=map, pixels=None))
            >>> [x.shape[2:] for x in flow.sample_levels(5, 1)[0]]
            [torch.Size([8, 8]), torch.Size([4, 4])]
        """
        self.lattice.check_level(level)
        drawn = [self._draw(n, h, 1.0, generator) for h in range(level, self.levels)]
        images, log_q = [], drawn[-1].new_zeros(n)
        needed = [*drawn[:1] * level, *map(self.to_domain, drawn)]  # the first aren't looked at
        for stage in islice(self.generate(needed, self.given(None, n)), self.levels - level):
            image, log_det = self.to_images(stage.x[:, : self.config.channels])
            images.append(image)
            log_q = log_q - stage.log_det
        if self.domain == "real":
            log_q = sum((sum_event(self.prior.log_prob(z)) for z in drawn), log_q)
        return images[::-1], log_q - log_det

    # ---------------------------------------------------------------- other sizes, files

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
        flow.load_weights_from(self)
        return flow.train(self.training)

    def save_pretrained(self, folder: str | Path, storage: Storage | None = None) -> None:
        """Write weights (safetensors) and config (JSON) into a folder. Each file replaces the one
        before it only when it is complete.

        Args:
            folder: The folder to write; it is created if it doesn't exist.
            storage: `"float16"` halves the file; a flow loaded from it computes in this flow's
                format, with the rounded weights. None: nothing is rounded.

        Raises:
            ValueError: If float16 can't hold the weights.
            OSError: If the folder can't be written.
        """
        state, dtype = self.state_dict(), name_of(self.dtype)
        checkpoint.save(Path(folder), self.config, state, dtype, storage)

    @classmethod
    def from_pretrained(
        cls, name: str | Path, *, trust: str | Sequence[str] = (), revision: str | None = None
    ) -> Self:
        """Load a flow from a folder, by the name of a model, or from `owner/name` on the Hugging
        Face hub. They are tried in this order, so a local folder wins.

        Loading runs no code that comes with a model, and imports no module that its config names.

        Args:
            name: Name of the folder or the model.
            trust: Modules with bijectors of your own, or such bijectors (`module.Class`), which are
                imported first, as by `rgflow.kinds.trust`.
            revision: Branch, tag or commit of a model on the hub; none: the newest.

        Raises:
            FileNotFoundError: If there is no such model; the message says where to get one.
            PermissionError: If a file may not be read.
            ValueError: If the config or the weights are damaged or don't belong together, or the
                flow has a custom bijector that hasn't been imported.
        """
        kinds.trust(trust)
        folder = pretrained.folder_of(name, revision)
        values, dtype = checkpoint.load_config(folder)
        config = FlowConfig.from_dict(values)
        state = checkpoint.load_weights(folder)
        checkpoint.check_size(cls.least_parameters(config), state, folder)
        flow = cls(config).to(getattr(torch, dtype))
        checkpoint.fill(flow, state, folder)
        return flow.eval()
