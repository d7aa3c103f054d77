"""A map of images to latents level by level, and back: what flows of images define.

Letters in shapes: N images; C channels; H, W rows and columns; D = C·H·W.
"""

import copy
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, ClassVar, Self, TypeVar, cast

import torch
from torch import Tensor, nn

from rgflow.bijectors.base import Bijector, Context
from rgflow.config import FlowConfig
from rgflow.images import ImageSpace
from rgflow.latents import Latents
from rgflow.lattice import Sites
from rgflow.numerics import Unit


@dataclass(frozen=True, eq=False)
class Stage:
    """One level of N images, on the way to the latents or back.

    Attributes:
        x: The grid x^(h) of the level, [N, channels, H/2^h, W/2^h].
        factored_out: What the level leaves behind, in the domain of the steps.
        log_det: The log-determinant of the level's map in the direction of the way, [N].
    """

    x: Tensor
    factored_out: Tensor
    log_det: Tensor


AnyModule = TypeVar("AnyModule", bound=nn.Module)


class Copies:
    """The copy of a module in another number format, valid as long as the module's weights don't
    change. A copied module starts with none."""

    def __init__(self) -> None:
        self._held: dict[torch.dtype, tuple[object, nn.Module]] = {}

    def of(self, module: AnyModule, dtype: torch.dtype) -> AnyModule:
        """The copy, made anew if weights changed."""
        tensors = chain(module.parameters(), module.buffers())
        now = [(id(x), x.data_ptr(), x._version, x.requires_grad) for x in tensors]
        found = self._held.get(dtype)
        if found and found[0] == now:
            return cast(AnyModule, found[1])
        made = copy.deepcopy(module).to(dtype)
        self._held = {} if torch.is_inference_mode_enabled() else {dtype: (now, made)}
        return made

    def __reduce__(self) -> tuple[type["Copies"], tuple[()]]:
        return Copies, ()


class Hierarchy(ImageSpace):
    """A map of images that leaves the latents of one level behind after the other. A subclass
    defines its geometry, what maps each level, and the two ways through the levels.

    Args:
        config: The architecture.

    Raises:
        ValueError: If the config contradicts itself.
    """

    squeezes: ClassVar[bool] = False
    """Whether it takes configs of the geometry squeeze."""
    steps: Any
    """What maps each level, level 0 first."""

    def __init__(self, config: FlowConfig) -> None:
        super().__init__(config)
        if config.geometry.squeezes != self.squeezes:
            raise ValueError(
                f"Expected a geometry that {type(self).__name__} has; got "
                f"{type(config.geometry).__name__}: make_flow picks the class that fits."
            )
        self.lattice = self.make_lattice()
        self.config = replace(config, levels=self.lattice.levels)
        self.steps = nn.ModuleList(self.make_steps())
        self.connect(self.steps[0].domain)
        self._copies = Copies()
        self.register_load_state_dict_pre_hook(_with_old_names)

    def make_lattice(self) -> Sites:
        """The geometry of the latents; called once."""
        raise NotImplementedError

    def make_steps(self) -> Iterable[nn.Module]:
        """What maps each level, level 0 first; called once, after `make_lattice`."""
        raise NotImplementedError

    def infer(self, x: Tensor, given: Context | None = None) -> Iterator[Stage]:
        """The levels of images towards the latents, level 0 first.

        Args:
            x: In the domain of the steps, [N, C, H, W], as `from_images` gives it.
            given: What is known of every image, as `given` makes it.
        """
        raise NotImplementedError

    def generate(
        self,
        levels: Sequence[Tensor],
        given: Context | None = None,
        coarse: Tensor | None = None,
    ) -> Iterator[Stage]:
        """The levels of images towards pixels, the highest first: the inverse of `infer`.

        Args:
            levels: What every level factors out, in the domain of the steps, level 0 first. If
                these are the lowest levels only, `coarse` is needed.
            given: What is known of every image, as `given` makes it.
            coarse: The grid above these levels, [N, channels, h, w].
        """
        raise NotImplementedError

    def log_det(self, x: Tensor, given: Context | None = None) -> Tensor:
        """The log-determinant of `infer` of all levels together, [N]; arguments as there."""
        return sum((stage.log_det for stage in self.infer(x, given)), x.new_zeros(len(x)))

    def load_weights_from(self, other: Self) -> None:
        """Load the weights of a flow that differs from this one only in the size of images; a
        `ValueError` if it lacks some."""
        self.load_state_dict(other.state_dict())

    @classmethod
    def least_parameters(cls, config: FlowConfig) -> int:
        """A lower bound, of the right order, on the number of parameters; known before anything is
        built."""
        return 0

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
    def levels(self) -> int:
        """Number of levels."""
        return self.lattice.levels

    def maps(self) -> Iterator[Bijector]:
        """All bijectors, also those within others."""
        return (module for module in self.modules() if isinstance(module, Bijector))

    def fit_pixels(self, images: Tensor) -> None:
        """Set what is taken from training images, uint8 [N, C, H, W], before training: with
        `pixels="marginal"` the distribution of each channel, otherwise nothing."""
        if self.pixels is not None:
            self.check_images(images)
            if (counts := self.pixels.count(images)) is not None:
                for bijector in self.maps():
                    bijector.fit(counts)

    def compile_maps(self, on: bool = True) -> bool:
        """Compile the kernels of maps for use within `fast`, or use the plain functions again. The
        first step then takes longer; on a CPU it needs a C++ compiler.

        Returns:
            Whether any map has such kernels.
        """
        found = [bijector.compile_kernels(on) for bijector in self.maps()]
        return any(found)

    @contextmanager
    def fast(self, networks: torch.dtype | None = None) -> Iterator[None]:
        """A context for training steps: networks in a lower precision, such as bfloat16 (none: the
        parameters'), compiled kernels, and no checks of the values of images. Outside it,
        everything is exact, whether the flow is in training mode or not."""
        with self.precision.changed(networks=networks, fast=True):
            yield

    def check_latents(self, latents: Latents) -> None:
        """Raise a `ValueError` unless latents are of this flow's geometry."""
        if latents.lattice != self.lattice or latents.channels != self.config.channels:
            raise ValueError(
                f"Expected latents of {self.config.channels} channels on {self.lattice}; "
                f"got {latents.channels} channels on {latents.lattice}."
            )

    def fitting(self, latents: Latents) -> Self:
        """This flow in the number format of latents, which must be of its geometry; otherwise a
        `ValueError`."""
        self.check_latents(latents)
        return self.in_dtype(latents.levels[-1].dtype)

    def in_dtype(self, dtype: torch.dtype) -> Self:
        """This flow, or a copy of it in another number format, made anew if weights changed."""
        return self if dtype == self.dtype else self._copies.of(self, dtype)

    def frozen(self, dtype: torch.dtype | None = None) -> Self:
        """This flow for inference only, with fixed parameters, which it shares with this one unless
        another number format is asked for; so training this one further leaves the copy half
        changed. What depends on parameters alone is computed once."""
        flow = self.in_dtype(dtype or self.dtype)
        fixed = {id(p): nn.Parameter(p.detach(), requires_grad=False) for p in flow.parameters()}
        made = copy.deepcopy(flow, fixed).eval()
        for bijector in made.maps():
            bijector.freeze()
        return made


def _with_old_names(flow: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Rename weights that an earlier version stored: `preprocess` was `entry`."""
    for name in [name for name in state if name.startswith(f"{prefix}entry.")]:
        new = f"{prefix}preprocess.{name.removeprefix(f'{prefix}entry.')}"
        state[new] = state.pop(name)
