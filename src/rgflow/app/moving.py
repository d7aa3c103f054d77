"""Moving latents of the current image: those that have sliders, and whole levels."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from rgflow.analysis.traversals import prior_scale
from rgflow.app.workspace import Workspace
from rgflow.figures import to_bytes
from rgflow.latents import Address, Latents
from rgflow.local import Edit, LocalFlow
from rgflow.model import RGFlow

MAX_SLIDERS = 4
"""Latents that have a slider at the same time, as more don't fit the page."""
SLIDER_ROUNDING = 0.00501
"""The largest difference between a latent and its slider, which shows two decimals."""


def unit(work: Workspace) -> float:
    """The scale of the prior, which is the unit of sliders."""
    return prior_scale(work.opened.flow)


def values(work: Workspace) -> list[float]:
    """The values of the chosen latents, in units of the prior's scale."""
    z = work.image.latents
    return [z[address].item() / unit(work) for address in work.state.chosen]


def choose(work: Workspace, address: Address) -> None:
    """Add a slider for a latent, or remove the one it has; a fifth replaces the oldest."""
    chosen = [one for one in work.state.chosen if one != address]
    if len(chosen) == len(work.state.chosen):
        chosen = [*chosen, address][-MAX_SLIDERS:]
    work.commit(replace(work.state, chosen=tuple(chosen)))


def clear_chosen(work: Workspace) -> None:
    """Remove all sliders."""
    work.commit(replace(work.state, chosen=()))


def preview(work: Workspace, new: Sequence[float]) -> Tensor:
    """The image with the chosen latents at other values, which wait to be applied; values beyond
    these latents are left out. Only the cones of these latents are evaluated.

    Returns:
        uint8 [C, H, W].
    """
    flow, chosen = work.opened.exact, work.state.chosen
    work.pending = lambda: set_values(work, new)
    z = _moved(work, new)
    edit: Edit | None = None
    if isinstance(flow, RGFlow):
        edit = work.cached("edit", (work.image, chosen), lambda: _editing(work, flow))
    with torch.no_grad():
        return to_bytes(edit.paste(edit.decode(edit.of_latents(z))) if edit else flow.decode(z))[0]


def _editing(work: Workspace, flow: RGFlow) -> Edit | None:
    """An edit of the chosen latents; none if latents have led to pixels out of range."""
    mask = np.zeros(flow.image_shape[1:], dtype=bool)
    for _, i, j, _ in work.state.chosen:
        mask[i, j] = True
    with torch.no_grad():
        image = flow.decode(work.image.latents)
        inside = bool(((image >= 0) & (image < 256)).all())
        return LocalFlow(flow, image).edit(mask) if inside else None


def _moves(work: Workspace, new: Sequence[float]) -> Iterator[tuple[Address, float]]:
    """The chosen latents that move, with their new values."""
    for address, value, now in zip(work.state.chosen, new, values(work), strict=False):
        if abs(value - now) > SLIDER_ROUNDING:
            yield address, value


def _moved(work: Workspace, new: Sequence[float]) -> Latents:
    z = work.image.latents
    for address, value in _moves(work, new):
        z = z.set(address, value * unit(work))
    return z


def set_values(work: Workspace, new: Sequence[float]) -> None:
    """Set the chosen latents, in units of the prior's scale."""
    if any(_moves(work, new)):
        work.edit(_moved(work, new), "latents moved")


def zero(work: Workspace, level: int) -> None:
    """Set all latents of a level to 0."""
    z = work.image.latents
    work.edit(z.replace(level, torch.zeros_like(z.levels[level])), f"level {level} at 0")


def redraw(work: Workspace, level: int, seed: int, temperature: float) -> None:
    """Draw the latents of a level again, and keep the others.

    Args:
        work: The workspace.
        level: The level.
        seed: Of the draw.
        temperature: Of the draw.
    """
    new = work.opened.flow.draw_each([seed], temperature).to(torch.float64)
    z = work.image.latents.replace(level, new.levels[level])
    work.edit(z, f"level {level} drawn anew")
