"""The panel Latents: which there are, what they change, and how to move them."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import gradio as gr
import torch

from rgflow.analysis.fields import ReceptiveFields
from rgflow.app import moving, views
from rgflow.app.page import Page, set_view, slider
from rgflow.app.panel import Panel
from rgflow.app.workspace import SAMPLE_TEMPERATURE, Workspace
from rgflow.figures import heat
from rgflow.figures.charts import level_colours
from rgflow.latents import Address
from rgflow.lattice import Lattice, Mask

SLIDER_END = 6.0
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
            for k in range(moving.MAX_SLIDERS)
        ]
        with gr.Row():
            clear = gr.Button("Clear sliders", size="sm", min_width=60, elem_id="unchoose")
            zero = gr.Button("Zero level", size="sm", min_width=60, elem_id="zero")
            anew = gr.Button("Redraw level", size="sm", min_width=60, elem_id="anew")
        revision = gr.Number(0, precision=0, visible="hidden")

        def updates(work: Workspace) -> list[Any]:
            if work.view.panel == self.title:
                with page.sessions.computing.released():  # they may not be found yet
                    work.opened.fields  # noqa: B018
            return self.atlas_of_level(work)

        page.on(level.input, set_view("level"), [level])
        page.on(atlas.choose, self.choose, event=True)
        page.live(sliders, revision, moving.preview, moving.set_values)
        page.on(clear.click, moving.clear_chosen)
        page.on(zero.click, lambda work: moving.zero(work, work.level))
        page.on(anew.click, self.redraw)
        page.show([level, atlas, hint], updates)
        page.show([*sliders, revision], self.values, lambda work: work.slider_revision)

    def atlas_of_level(self, work: Workspace) -> list[Any]:
        """The levels, the receptive fields to choose from, and which these are."""
        levels = [(str(h), h) for h in reversed(range(work.opened.flow.levels))]
        radio = gr.update(choices=levels, value=work.level)
        if work.view.panel != self.title:
            return [radio, gr.skip(), gr.skip()]
        if work.view.pixel:
            words = (
                f"Latents of level {work.level} that change pixel {work.view.pixel} most. Choose "
                f"one for a slider; click the pixel again to see the strongest of all."
            )
        else:
            words = (
                f"The strongest latents of level {work.level} (row, column, colour): bright where "
                f"they change the image. Choose one for a slider, or click a pixel to see what "
                f"changes it."
            )
        return [radio, _atlas(work.opened.fields, shown_latents(work), work.state.chosen), words]

    def values(self, work: Workspace) -> list[Any]:
        """The values of the sliders, and the revision that they belong to."""
        channels = work.opened.flow.image_shape[0]
        pairs = zip(work.state.chosen, moving.values(work), strict=True)
        found: list[Any] = [
            gr.update(
                visible=True,
                label=views.name(address, channels),
                value=round(value, 2),
                minimum=min(-SLIDER_END, math.floor(value)),  # it may be far from what is usual
                maximum=max(SLIDER_END, math.ceil(value)),
            )
            for address, value in pairs
        ]
        hidden = gr.update(visible=False, value=0)
        return [*found, *[hidden] * (moving.MAX_SLIDERS - len(found)), work.slider_revision]

    def choose(self, work: Workspace, event: gr.EventData) -> None:
        """Add or remove the slider of a latent."""
        latents, channels = shown_latents(work), work.opened.flow.image_shape[0]
        captions = [views.short(one, channels) for one in latents]
        moving.choose(work, views.choice(event, latents, captions))

    def redraw(self, work: Workspace) -> None:
        """Draw the latents of the shown level anew, with another seed every time."""
        moving.redraw(work, work.level, work.revision + 1, SAMPLE_TEMPERATURE)

    def drawn(self, work: Workspace) -> str:
        """The image with outlines of what the chosen latents change, or what changes a pixel."""
        outlines = _cones(work)
        if work.view.pixel and not work.state.chosen:
            outlines = _inference(work, *work.view.pixel)
        elif work.view.pixel:
            pixel = work.opened.flow.lattice.box(*work.view.pixel, 1, 1)
            outlines.append((pixel, PIXEL_COLOUR))
        return views.canvas(work, outlines=outlines)

    def legend(self, work: Workspace) -> str:
        """What the outlines mean, as HTML."""
        lattice, view = work.opened.flow.lattice, work.view
        if not isinstance(lattice, Lattice):
            return ""
        if work.state.chosen:
            return (
                "Yellow: where the last chosen latent changes samples most. Other outlines: how "
                "far each latent could reach."
            )
        if not view.pixel:
            return ""
        squares = " ".join(
            f'<span style="color:{colour}">■</span> {h}'
            for h, colour in reversed(list(enumerate(level_colours(lattice.levels))))
        )
        return f"Outlined: the sites of latents that depend on the white pixel, by level: {squares}"


def _atlas(found: ReceptiveFields, addresses: Sequence[Address], chosen: Sequence[Address]) -> str:
    """Receptive fields as a sheet."""
    channels, items = len(found.strengths), []
    for one in addresses:
        _, i, j, c = one
        title = f"{views.name(one, channels)}: strength {found.strengths[c, i, j]:.2g}"
        field = heat(found.field(one)).permute(1, 2, 0).numpy()
        caption = views.short(one, channels)
        items.append(views.item(field, caption, title=title, chosen=one in chosen))
    empty = "No latent of this level changes this pixel noticeably: try a coarser level."
    return views.sheet(items, size=64, empty=empty)


def shown_latents(work: Workspace) -> list[Address]:
    """The latents of the current level that change the picked pixel most or, without a pixel, the
    whole image."""
    found, level = work.opened.fields, work.level
    if not work.view.pixel:
        return found.strongest(MAX_FIELDS, level)
    row, column = work.view.pixel
    windows, values = found.windows[level], found.fields[level]
    inside = (windows.rows == row)[:, :, None] & (windows.columns == column)[:, None, :]
    strengths = torch.where(inside, values, 0.0).amax((1, 2))
    order = strengths.argsort(descending=True, stable=True)[:MAX_FIELDS].tolist()
    return [tuple(windows.addresses[k].tolist()) for k in order if strengths[k] > 0]


def _cones(work: Workspace) -> list[tuple[Mask, str]]:
    """Where the last chosen latent acts strongly, and the generation cones of all chosen ones, each
    with its colour."""
    lattice, chosen = work.opened.flow.lattice, work.state.chosen
    found: list[tuple[Mask, str]] = []
    if chosen:
        field = work.opened.fields.field(chosen[-1])
        found.append(((field > STRONG_SHARE * field.max()).numpy(), FIELD_COLOUR))
    if not isinstance(lattice, Lattice):
        return found
    return found + [
        (lattice.generation_cone(lattice.site(h, i, j)), colour)
        for (h, i, j, _), colour in zip(chosen, SLIDER_COLOURS, strict=False)
    ]


def _inference(work: Workspace, row: int, column: int) -> list[tuple[Mask, str]]:
    """The sites of the latents that a pixel reaches, by level, and the pixel."""
    lattice = work.opened.flow.lattice
    if not isinstance(lattice, Lattice):
        return []
    pixel = lattice.box(row, column, 1, 1)
    cone = lattice.inference_cone(pixel)
    colours = level_colours(lattice.levels)
    marks = [(cone & (lattice.site_levels == h), colours[h]) for h in range(lattice.levels)]
    return [*marks, (pixel, PIXEL_COLOUR)]
