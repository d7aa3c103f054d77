"""Traversals: how images change while one of their latents, or a direction, is varied.

Letters in shapes: N images; V values; C channels; H, W rows and columns; D = C·H·W.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rgflow.analysis.fields import (
    Change,
    FieldSettings,
    plain_push,
    plain_temperature,
    redraw,
    replacements,
    resolved,
)
from rgflow.analysis.jacobians import Space
from rgflow.analysis.levels import Progress, decode_each, mixed_temperature
from rgflow.checks import check_whole
from rgflow.flow import Flow
from rgflow.latents import Address, Latents
from rgflow.text import mean_and_error


def traverse(
    flow: Flow,
    latents: Latents,
    along: Address | Latents,
    values: Sequence[float],
    *,
    add: bool = False,
    progress: Progress | None = None,
) -> Tensor:
    """Vary one latent, or a direction, of some images (paper, Figs. 4 and 6).

    Args:
        flow: The flow.
        latents: Of N images.
        along: What to vary, as for `move`.
        values: Its V values, in units of the latents; `prior_scale` gives that of the prior.
        add: Add them to the current values instead of replacing these.
        progress: As for `decode`, N·V images in all.

    Returns:
        Images [N, V, C, H, W].

    Raises:
        ValueError: If there is no such latent, the direction doesn't fit, or a value isn't finite.

    Example:
        >>> from rgflow import AffineMap, FlowConfig, RGFlow
        >>> flow = RGFlow(FlowConfig(height=16, width=16, map=AffineMap(depth=1, hidden=8)))
        >>> z = flow.draw_each([0, 1], fig6_temperature(flow.levels))
        >>> traverse(flow, z, (1, 0, 2, 0), [-2, 0, 2]).shape
        torch.Size([2, 3, 3, 16, 16])
    """
    if not values or not all(map(math.isfinite, values)):
        raise ValueError(f"Expected one or more finite values; got {list(values)}.")
    moved = [move(latents, along, value, add=add) for value in values]
    return decode_each(flow, moved, progress=progress)


def move(latents: Latents, along: Address | Latents, value: float, *, add: bool = False) -> Latents:
    """Set one latent, or the coordinate along a direction, to a value.

    Args:
        latents: Of N images.
        along: The address (h, i, j, c) of a latent, or a direction d, the latents of one image:
            the coordinate along it is ⟨z, d⟩/⟨d, d⟩, and what is orthogonal to it stays.
        value: The value.
        add: Add it to the current value instead of replacing it.

    Raises:
        ValueError: If there is no such latent, or the direction doesn't fit.

    Example:
        >>> from rgflow import AffineMap, FlowConfig, RGFlow
        >>> flow = RGFlow(FlowConfig(height=16, width=16, map=AffineMap(depth=1, hidden=8)))
        >>> z = flow.draw_each([0, 1])
        >>> direction = z.map(torch.zeros_like).select(slice(1)).set((0, 0, 1, 2), 2.0)
        >>> move(z, direction, 3.0)[0, 0, 1, 2]  # twice the direction's 2
        tensor([6., 6.])
    """
    if not isinstance(along, Latents):
        return latents.set(along, latents[along] + value if add else value)
    _check_direction(along, latents)
    z, d = latents.flat(), along.flat().to(latents.levels[-1])
    share = value if add else value - z @ d.T / d.square().sum()
    return Latents.from_flat(z + share * d, latents.lattice, latents.channels)


def _check_direction(direction: Latents, latents: Latents) -> None:
    mine, theirs = (z.lattice for z in (direction, latents))
    if mine != theirs or direction.channels != latents.channels or len(direction) != 1:
        raise ValueError(
            f"Expected a direction in the latents of one image of {latents.channels} channels on "
            f"{theirs}; got {len(direction)} of {direction.channels} channels on {mine}."
        )
    size = direction.flat().norm().item()
    if not 0 < size < math.inf:
        raise ValueError(f"Expected a direction of finite length above 0; got {size}.")


@dataclass(frozen=True, kw_only=True, eq=False)
class FieldAlong(FieldSettings):
    """The receptive field of a direction.

    Attributes:
        field: [H, W].
        strength: Its mean over all pixels.
        error: Standard error of the strength over the draws; NaN with a single draw.
    """

    field: Tensor
    strength: float
    error: float


@torch.no_grad()
def field_along(
    flow: Flow,
    direction: Latents,
    *,
    draws: int = 16,
    temperature: float | Sequence[float] = 1.0,
    seed: int = 0,
    space: Space | None = None,
    change: Change | None = None,
) -> FieldAlong:
    """The receptive field of a direction d: E |∂G/∂z · d|, summed over channels.

    With `redraw`, images move along the direction by a distance drawn from the prior; with `step`,
    by 1.

    Args:
        flow: The flow.
        direction: The latents of one image.
        draws, temperature, seed, space, change: As for `receptive_fields`.

    Raises:
        ValueError: If a number is out of range, or the direction doesn't fit.
    """
    temperature = plain_temperature(temperature)
    check_whole("draws", draws, 1)
    check_whole("seed", seed, 0)
    change, space = resolved(flow, change, space)
    fields = []
    for k in range(draws):
        z = flow.draw_each([seed + k], temperature)
        _check_direction(direction, z)
        tangent = direction.image().to(z.levels[-1])
        if change == "derivative":
            changes = plain_push(flow, z, space)(tangent)
        else:
            other = replacements(flow, z, seed + k, temperature, change)
            distance = other.levels[-1].flatten()[0] if change == "redraw" else 1.0
            new = Latents.from_image(z.image() + distance * tangent, z.lattice)
            changes = redraw(flow, z, new, space)(tangent, flow.levels - 1)
        fields.append(changes[0].abs().sum(0).cpu())
    drawn = torch.stack(fields)
    strength, error = mean_and_error(drawn.mean((1, 2)))
    return FieldAlong(
        field=drawn.mean(0),
        strength=strength,
        error=error,
        space=space,
        change=change,
        temperature=temperature,
        draws=draws,
        seed=seed,
    )


def fig6_temperature(levels: int) -> tuple[float, ...]:
    """The mixed temperature of the paper's Fig. 6: 0.2 at level 0, 0.6 above."""
    return mixed_temperature(levels, 1, 0.2, 0.6)


def prior_scale(flow: Flow) -> float:
    """The prior's own unit of the latents: b of a Laplace, σ of a normal."""
    return float(getattr(flow.prior, "scale", 1.0))
