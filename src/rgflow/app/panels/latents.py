"""The panel Latents: which there are, what they change, and how to move them."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import gradio as gr
import numpy as np
import torch
from torch import Tensor

from rgflow import latents
from rgflow.analysis.traversals import prior_scale
from rgflow.app import views
from rgflow.app.data_urls import png_url
from rgflow.app.page import Page, set_view, slider
from rgflow.app.panel import Panel
from rgflow.app.workspace import SAMPLE_TEMPERATURE, Workspace
from rgflow.figures import heat, to_bytes
from rgflow.figures.charts import level_colours
from rgflow.latents import Address
from rgflow.lattice import Lattice, Mask
from rgflow.local import Edit, LocalFlow
from rgflow.model import RGFlow

MAX_SLIDERS = 4
"""Latents that have a slider at the same time, as more don't fit the page."""
SLIDER_ROUNDING = 0.00501
"""The largest difference between a latent and its slider, which shows two decimals."""
SLIDER_END = 4.0
"""The end of the sliders, in units of the prior's scale."""
SLIDER_COLOURS = ("#4cc9f0", "#f72585", "#90be6d", "#f9c74f")
"""Of the outlines of latents that have sliders, as in `style.css`."""
PIXEL_COLOUR, FIELD_COLOUR = "#ffffff", "#ffd640"
"""Of the outlines of the picked pixel, and of where the last chosen latent acts strongly."""
MAX_FIELDS = 48
"""Receptive fields that are shown at a time."""
STRONG_SHARE = 0.25
"""A latent acts strongly where its field is above this share of its maximum."""


class Latents(Panel):
    """Which latents there are, what they change, and how to move them."""

    title = "Latents"
    help = "Take the image apart: which latents change what."
    opening = "Computing receptive fields"
    hints: ClassVar = {
        "level": "Latents of coarse levels change much of an image, those of level 0 a few pixels.",
        "hint": "Which latents are listed.",
        "atlas": "Each map shows one latent, bright where it changes the image. Choose one to get "
        "a slider for it.",
        "latent-#": "The value of this latent; 0 is the most typical.",
        "unchoose": "Remove the sliders; the image stays the same.",
        "zero": "Set all latents of this level to their most typical value.",
        "anew": "Redraw the latents of this level and keep the others.",
    }

    def build(self, page: Page) -> None:
        """Make the components."""
        level = gr.Radio(
            [], label="Level of the receptive fields, from coarse to fine", elem_id="level"
        )
        atlas = page.sheet("Receptive fields", elem_id="atlas")
        hint = gr.Markdown(elem_id="hint")
        sliders = [
            slider(-SLIDER_END, SLIDER_END, 0, step=0.05, visible=False, elem_id=f"latent-{k}")
            for k in range(MAX_SLIDERS)
        ]
        with gr.Row():
            clear = gr.Button("Clear sliders", size="sm", min_width=60, elem_id="unchoose")
            no = gr.Button("Zero level", size="sm", min_width=60, elem_id="zero")
            anew = gr.Button("Redraw level", size="sm", min_width=60, elem_id="anew")
        revision = gr.Number(0, precision=0, visible="hidden")

        def updates(work: Workspace) -> list[Any]:
            if work.view.panel == self.title:
                with page.sessions.computing.released():  # they may not be found yet
                    work.opened.fields(work.level, work.view.pixel)
            return self.atlas_of_level(work)

        page.on(level.input, set_view("level"), [level], words=self.opening)
        page.on(page.canvas.pick, pick, event=True)
        page.on(atlas.choose, self.choose, event=True)
        page.live(sliders, revision, preview, set_values)
        page.on(clear.click, lambda work: work.commit(replace(work.state, chosen=())))
        page.on(no.click, lambda work: zero(work, work.level))
        # With another seed every time.
        page.on(anew.click, lambda work: redraw(work, work.level, work.revision + 1))
        page.show([level, atlas, hint], updates)
        page.show([*sliders, revision], self.slider_values, lambda work: work.slider_revision)

    def atlas_of_level(self, work: Workspace) -> list[Any]:
        """The levels, the receptive fields to choose from, and which these are."""
        levels = [(str(h), h) for h in reversed(range(work.opened.flow.levels))]
        radio = gr.update(choices=levels, value=work.level)
        if work.view.panel != self.title:
            return [radio, gr.skip(), gr.skip()]
        found, maps = work.opened.fields(work.level, work.view.pixel), list[dict[str, Any]]()
        most, flow = len(found.of_level(work.level)), work.opened.flow
        count = flow.image_shape[0] * int((flow.lattice.site_levels == work.level).sum())
        if work.view.pixel:
            near = f", of the {most} next to it" if most < count else ""
            words = (
                f"Latents of level {work.level} that change pixel {work.view.pixel} most{near}. "
                f"Choose one for a slider; click the pixel again to see the strongest of all."
            )
        else:
            some = f"; the strongest of {most} of all {count:,}" if most < count else ""
            words = (
                f"Latents of level {work.level} (label, or row, column, colour{some}): bright "
                f"where they change the image. Choose one for a slider, or click a pixel to see "
                f"what changes it."
            )
        for one in shown_latents(work):
            _, i, j, c = one
            name, caption = views.names(work, one)
            title = f"{name}: strength {found.strengths[c, i, j]:.2g}"
            url = png_url(heat(found.field(one)).permute(1, 2, 0).numpy())
            shown = {"url": url, "caption": caption, "title": title}
            maps.append({**shown, "chosen": one in work.state.chosen})
        empty = "No latent of this level changes this pixel noticeably: try a coarser level."
        return [radio, views.sheet(maps, size=64, empty=empty), words]

    def slider_values(self, work: Workspace) -> list[Any]:
        """The values of the sliders, and the revision that they belong to."""
        found: list[Any] = [
            gr.update(
                visible=True,
                label=views.names(work, address)[0],
                value=round(value, 2),
                minimum=min(-SLIDER_END, math.floor(value)),  # it may be far from what is usual
                maximum=max(SLIDER_END, math.ceil(value)),
            )
            for address, value in zip(work.state.chosen, values(work), strict=True)
        ]
        hidden = gr.update(visible=False, value=0)
        return [*found, *[hidden] * (MAX_SLIDERS - len(found)), work.slider_revision]

    def choose(self, work: Workspace, event: gr.EventData) -> None:
        """Add or remove the slider of a latent."""
        shown = shown_latents(work)
        captions = [views.names(work, one)[1] for one in shown]
        choose(work, views.choice(event, shown, captions))

    def drawn(self, work: Workspace) -> str:
        """The image with outlines of what the chosen latents change, or what changes a pixel."""
        return views.canvas(work, outlines=_outlines(work))

    def legend(self, work: Workspace) -> str:
        """What the outlines mean, as HTML."""
        lattice, view = work.opened.flow.lattice, work.view
        if not isinstance(lattice, Lattice):
            return ""
        if work.state.chosen:
            return "Yellow: where the last one acts most. Other outlines: how far each can reach."
        if not view.pixel:
            return ""
        squares = " ".join(
            f'<span style="color:{colour}">■</span> {h}'
            for h, colour in reversed(list(enumerate(level_colours(lattice.levels))))
        )
        return f"Outlined: the sites of latents that depend on the white pixel, by level: {squares}"


# ---------------------------------------------------------------- changes


def pick(work: Workspace, event: gr.EventData) -> None:
    """Pick a pixel of the image; the one that is picked is put back."""
    row, column = int(event.row), int(event.column)
    height, width = work.opened.flow.image_shape[1:]
    if 0 <= row < height and 0 <= column < width:
        work.view.pixel = None if work.view.pixel == (row, column) else (row, column)


def choose(work: Workspace, address: Address) -> None:
    """Add a slider for a latent, or remove the one it has; a fifth replaces the oldest."""
    chosen = [one for one in work.state.chosen if one != address]
    if len(chosen) == len(work.state.chosen):
        chosen = [*chosen, address][-MAX_SLIDERS:]
    work.commit(replace(work.state, chosen=tuple(chosen)))


def values(work: Workspace) -> list[float]:
    """The values of the chosen latents, in units of the prior's scale."""
    z, unit = work.image.latents, prior_scale(work.opened.flow)
    return [z[address].item() / unit for address in work.state.chosen]


def preview(work: Workspace, new: Sequence[float]) -> Tensor:
    """The image with the chosen latents at other values, which wait to be applied. Only the cones
    of these latents are evaluated.

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


def set_values(work: Workspace, new: Sequence[float]) -> None:
    """Set the chosen latents, in units of the prior's scale; more values are left out."""
    work.edit(_moved(work, new), "latents moved")


def zero(work: Workspace, level: int) -> None:
    """Set all latents of a level to 0."""
    z = work.image.latents
    work.edit(z.replace(level, torch.zeros_like(z.levels[level])), f"level {level} at 0")


def redraw(work: Workspace, level: int, seed: int, temperature: float = SAMPLE_TEMPERATURE) -> None:
    """Draw the latents of a level again, and keep the others.

    Args:
        work: The work.
        level: The level.
        seed: Of the draw.
        temperature: T of p^(1/T).
    """
    new = work.opened.flow.draw_each([seed], temperature).to(torch.float64)
    z = work.image.latents.replace(level, new.levels[level])
    work.edit(z, f"level {level} drawn anew")


def _editing(work: Workspace, flow: RGFlow) -> Edit | None:
    """An edit of the chosen latents; none if latents have led to pixels out of range."""
    mask = np.zeros(flow.image_shape[1:], dtype=bool)
    for _, i, j, _ in work.state.chosen:
        mask[i, j] = True
    with torch.no_grad():
        image = flow.decode(work.image.latents)
        inside = bool(((image >= 0) & (image < 256)).all())
        return LocalFlow(flow, image).edit(mask) if inside else None


def _moved(work: Workspace, new: Sequence[float]) -> latents.Latents:
    z, unit = work.image.latents, prior_scale(work.opened.flow)
    for address, value, now in zip(work.state.chosen, new, values(work), strict=False):
        if abs(value - now) > SLIDER_ROUNDING:
            z = z.set(address, value * unit)
    return z


# ---------------------------------------------------------------- pictures


def shown_latents(work: Workspace) -> list[Address]:
    """The latents of the current level that change the picked pixel most or, without a pixel, those
    that have a name, and then those that change the whole image most."""
    level = work.level
    found = work.opened.fields(level, work.view.pixel)
    if not work.view.pixel:
        known = set(map(tuple, found.windows[level].addresses.tolist()))
        named = [one for one in work.opened.names if one in known]
        others = (one for one in found.strongest(MAX_FIELDS, level) if one not in named)
        return [*named, *others][:MAX_FIELDS]
    row, column = work.view.pixel
    windows, values = found.windows[level], found.fields[level]
    inside = (windows.rows == row)[:, :, None] & (windows.columns == column)[:, None, :]
    strengths = torch.where(inside, values, 0.0).amax((1, 2))
    order = strengths.argsort(descending=True, stable=True)[:MAX_FIELDS].tolist()
    return [tuple(windows.addresses[k].tolist()) for k in order if strengths[k] > 0]


def _outlines(work: Workspace) -> list[tuple[Mask, str]]:
    """Masks, each with its colour: where the last chosen latent acts strongly, the generation cones
    of all chosen ones or, without any, the sites of the latents that the picked pixel reaches, by
    level; and that pixel."""
    lattice, chosen, picked = work.opened.flow.lattice, work.state.chosen, work.view.pixel
    found: list[tuple[Mask, str]] = []
    if chosen:
        field = work.opened.field(chosen[-1])
        found.append(((field > STRONG_SHARE * field.max()).numpy(), FIELD_COLOUR))
    if isinstance(lattice, Lattice):
        for (h, i, j, _), colour in zip(chosen, SLIDER_COLOURS, strict=False):
            found.append((lattice.generation_cone(lattice.site(h, i, j)), colour))
    if picked:
        pixel = lattice.box(*picked, 1, 1)
        if isinstance(lattice, Lattice) and not chosen:
            cone = lattice.inference_cone(pixel)
            for h, colour in enumerate(level_colours(lattice.levels)):
                found.append((cone & (lattice.site_levels == h), colour))
        found.append((pixel, PIXEL_COLOUR))
    return found
