"""The latents z = {z^(h)} of a batch of images: one tensor per level, and other views of them.

Letters in shapes: N images; C channels; H, W rows and columns; D = C·H·W.
"""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rgflow import tensors
from rgflow.checks import per_level
from rgflow.config.earlier import flow_of_earlier
from rgflow.lattice import Lattice, Sites, SqueezeSites
from rgflow.reading import DamagedError, json_in

Address = tuple[int, int, int, int]
"""(h, i, j, c): level, pixel position of the site, channel (paper, eq. 10)."""

_LATTICES: dict[str, type[Sites]] = {"Lattice": Lattice, "SqueezeSites": SqueezeSites}


@dataclass(frozen=True, eq=False)
class Latents:
    """Latents of N images.

    Args:
        levels: z^(h) for every level, level 0 first. For an RG-Flow: [N, 3, C, rows/2, columns/2]
            with the rows and columns of that level's grid, where the 3 are the sublattices (0, 1),
            (1, 0) and (1, 1) that stay; at the top [N, C, rows, columns].
        lattice: The geometry.

    Raises:
        ValueError: If the shapes don't fit the lattice.

    Example:
        >>> lattice = Lattice(height=8, width=8)
        >>> z = Latents.from_flat(torch.arange(192.0)[None], lattice, channels=3)
        >>> [tuple(level.shape) for level in z.levels]
        [(1, 3, 3, 4, 4), (1, 3, 4, 4)]
        >>> z[1, 2, 0, 1] == z.image()[:, 1, 2, 0]
        tensor([True])
        >>> z.set((1, 2, 0, 1), 5.0)[1, 2, 0, 1]
        tensor([5.])
    """

    levels: tuple[Tensor, ...]
    lattice: Sites

    def __post_init__(self) -> None:
        if len(self.levels) != self.lattice.levels:
            raise ValueError(
                f"Expected latents of {self.lattice.levels} levels; got {len(self.levels)}."
            )
        channels = self.channels
        for level, z in enumerate(self.levels):
            expected = (len(self), *self.lattice.latent_shape(level, channels))
            if z.shape != expected:
                raise ValueError(
                    f"Expected latents of shape {expected} at level {level}; got {tuple(z.shape)}."
                )

    @property
    def channels(self) -> int:
        """Channels C."""
        return self.levels[-1].shape[-3]

    def __len__(self) -> int:
        return len(self.levels[-1])

    @classmethod
    def from_flat(cls, flat: Tensor, lattice: Sites, channels: int) -> "Latents":
        """From vectors [N, D], whose order is level 0 first; the tensors are views of it. A
        `ValueError` if D isn't C·H·W."""
        shapes = [lattice.latent_shape(level, channels) for level in range(lattice.levels)]
        sizes = [torch.Size(shape).numel() for shape in shapes]
        if flat.ndim != 2 or flat.shape[1] != sum(sizes):
            raise ValueError(
                f"Expected vectors of shape [N, {sum(sizes)}]; got {list(flat.shape)}."
            )
        parts = zip(flat.split(sizes, 1), shapes, strict=True)
        return cls(tuple(part.reshape(-1, *shape) for part, shape in parts), lattice)

    @classmethod
    def from_image(cls, image: Tensor, lattice: Sites) -> "Latents":
        """From the image layout [N, C, H, W], in which each latent stands at its site; a
        `ValueError` if it is of another size."""
        if image.ndim != 4 or image.shape[2:] != (lattice.height, lattice.width):
            raise ValueError(
                f"Expected latents in the image layout [N, C, {lattice.height}, {lattice.width}]; "
                f"got {list(image.shape)}."
            )
        channels, order = image.shape[1], torch.as_tensor(lattice.site_order, device=image.device)
        shapes = [lattice.latent_shape(level, channels) for level in range(lattice.levels)]
        sizes = [torch.Size(shape).numel() // channels for shape in shapes]
        parts = image.flatten(2).index_select(2, order).split(sizes, 2)
        levels = [
            part.reshape(len(part), channels, -1, *shape[-2:]).transpose(1, 2).reshape(-1, *shape)
            for part, shape in zip(parts, shapes, strict=True)
        ]
        return cls(tuple(levels), lattice)

    def flat(self) -> Tensor:
        """All latents as vectors [N, D], level 0 first."""
        return torch.cat([z.flatten(1) for z in self.levels], 1)

    def image(self) -> Tensor:
        """All latents in the image layout [N, C, H, W]: each at its site (address (h, i, j, c) at
        [:, c, i, j])."""
        parts = [
            z.reshape(len(z), -1, *z.shape[-3:]).transpose(1, 2).flatten(2) for z in self.levels
        ]
        order = torch.as_tensor(self.lattice.site_order, device=parts[0].device)
        image = torch.cat(parts, 2).index_select(2, order.argsort())
        return image.unflatten(2, (self.lattice.height, self.lattice.width))

    def __getitem__(self, address: Address) -> Tensor:
        """The latent at one address, [N]; a `ValueError` if there is none."""
        level, index = self._index(address)
        return self.levels[level][index]

    def set(self, address: Address, value: Tensor | float) -> "Latents":
        """The same latents with the one at an address set to a number or to [N] numbers."""
        level, index = self._index(address)
        z = self.levels[level].clone()
        z[index] = value
        return self.replace(level, z)

    def replace(self, level: int, z: Tensor) -> "Latents":
        """The same latents with all of one level replaced, in the shape of `levels`."""
        self.lattice.check_level(level)
        return Latents((*self.levels[:level], z, *self.levels[level + 1 :]), self.lattice)

    def mix(self, other: "Latents", share: float | Sequence[float]) -> "Latents":
        """(1 − λ)·self + λ·other, with one λ or one per level, level 0 first (section 4.5).

        Hyperbolic mixing (eq. 15) of A's levels h ≥ Θ with B's h < Θ is
        `a.mix(b, [1.0] * Θ + [0.0] * (levels − Θ))`. A level with λ of 0 or 1 is taken as it is.

        Raises:
            ValueError: If the lattices differ, or the shares aren't one finite number, or one per
                level.
        """
        mine = (self.lattice, self.channels, len(self), self.levels[-1].dtype)
        others = (other.lattice, other.channels, len(other), other.levels[-1].dtype)
        if mine != others:
            raise ValueError(
                f"Expected as many images of the same size and flow, in the same number format; "
                f"got {mine} and {others}."
            )
        shares = per_level("share", share, len(self.levels))
        if not all(map(math.isfinite, shares)):
            raise ValueError(f"Expected finite shares; got {shares}.")
        mixed = [
            a if t == 0 else b if t == 1 else torch.lerp(a, b, t)
            for a, b, t in zip(self.levels, other.levels, shares, strict=True)
        ]
        return Latents(tuple(mixed), self.lattice)

    def map(self, function: Callable[[Tensor], Tensor]) -> "Latents":
        """These latents with a function that keeps the shape of tensors applied to every level,
        such as torch.abs."""
        return Latents(tuple(function(z) for z in self.levels), self.lattice)

    def to(self, *where: Any, **named: Any) -> "Latents":
        """The latents on another device, in another number format, or both, in any order."""
        return self.map(lambda z: reduce(Tensor.to, where, z).to(**named))

    def select(self, images: slice | Tensor) -> "Latents":
        """The latents of some of the images: a slice, a mask [N] or numbers [K]."""
        return self.map(lambda z: z[images])

    @staticmethod
    def cat(batches: Iterable["Latents"]) -> "Latents":
        """The latents of several batches as one; a `ValueError` if there are none, or they come
        from different flows."""
        batches = list(batches)
        if not batches:
            raise ValueError("Expected at least one batch of latents; got none.")
        first = batches[0]
        for other in batches:
            if (other.lattice, other.channels) != (first.lattice, first.channels):
                raise ValueError(
                    f"Expected latents of one flow; got {first.channels} channels on "
                    f"{first.lattice} and {other.channels} channels on {other.lattice}."
                )
        levels = zip(*(batch.levels for batch in batches), strict=True)
        return Latents(tuple(torch.cat(level) for level in levels), first.lattice)

    def save(self, path: str | Path) -> None:
        """Write to one safetensors file, with the lattice in its metadata; an `OSError` if it can't
        be written."""
        geometry = {type(self.lattice).__name__: json.dumps(self.lattice.to_dict())}
        tensors.save(Path(path), {f"level{h}": z for h, z in enumerate(self.levels)}, geometry)

    @classmethod
    def load(cls, path: str | Path) -> "Latents":
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            PermissionError: If it may not be read.
            ValueError: If it doesn't hold latents.
        """
        try:
            held, metadata = tensors.load(Path(path))
            ((name, geometry),) = metadata.items()
            values = json_in(geometry)
            # A lattice of many levels takes memory, so their number is compared first.
            if not isinstance(values, dict) or values.get("levels") != len(held):
                raise DamagedError("its lattice has other levels")
            if name == "Lattice" and "geometry" not in values:  # of an earlier version: only blocks
                size = ("height", "width", "levels")
                options = {key: values.pop(key) for key in list(values) if key not in size}
                values["geometry"] = {"kind": "blocks", **options}
            lattice = _LATTICES[name].from_dict(flow_of_earlier(values))
            return cls(tuple(held[f"level{h}"] for h in range(lattice.levels)), lattice)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"Expected a file of latents, as Latents.save writes it; "
                f"{path} isn't one, or is damaged ({error})."
            ) from error

    def _index(self, address: Address) -> tuple[int, tuple[slice | int, ...]]:
        """Level of an address, and its index into that level's tensor."""
        level, i, j, c = address
        self.lattice.check_site(level, i, j)
        if not 0 <= c < self.channels:
            raise ValueError(f"Expected a channel of 0 to {self.channels - 1}; got {c}.")
        step = self.lattice.stride(level)
        sublattice = self.lattice.offsets(level).index((i % step, j % step))
        place = (c, i // step, j // step)
        if self.levels[level].ndim == 4:  # one sublattice, the top of an RG-Flow
            return level, (slice(None), *place)
        return level, (slice(None), sublattice, *place)


def split(x: Tensor) -> tuple[Tensor, Tensor]:
    """A level's grid [N, C, 2n, 2k]: what goes up [N, C, n, k], what stays [N, 3, C, n, k]."""
    n, k = x.shape[2] // 2, x.shape[3] // 2
    x = x.reshape(*x.shape[:2], n, 2, k, 2)
    stay = torch.stack((x[:, :, :, 0, :, 1], x[:, :, :, 1, :, 0], x[:, :, :, 1, :, 1]), 1)
    return x[:, :, :, 0, :, 0], stay


def interleave(up: Tensor, stay: Tensor) -> Tensor:
    """The inverse of `split`."""
    images, channels, n, k = up.shape
    x = torch.cat((up[:, None], stay), 1).reshape(images, 2, 2, channels, n, k)
    return x.permute(0, 3, 4, 1, 5, 2).reshape(images, channels, 2 * n, 2 * k)
