"""The panel Mix: the coarse levels of one image with the fine levels of another."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import gradio as gr
from torch import Tensor

from rgflow.analysis.mixing import every_threshold, mix
from rgflow.app import views
from rgflow.app.models import LatentImage
from rgflow.app.page import MAX_LEVELS, Page, level_sliders, level_updates, seed_field, seed_from
from rgflow.app.panel import Panel
from rgflow.app.workspace import SAMPLE_TEMPERATURE, Workspace
from rgflow.figures import to_bytes


class Mix(Panel):
    """The coarse levels of one image with the fine levels of another."""

    title = "Mix"
    help = "The coarse of one image with the fine of another."
    hints: ClassVar = {
        "mix-seed": "Seed of the second image.",
        "draw-second": "Draw an image to mix with.",
        "use-second": "Make the current image the second one; then choose another current image.",
        "swap": "Swap the two images.",
        "mixtures": "Levels below Θ come from the second image. Choose a mixture to make it the "
        "current image.",
        "share-#": "0 is the first image, 1 the second.",
    }

    def build(self, page: Page) -> None:
        """Make the components."""
        gr.Markdown(
            "Combine the coarse levels of the **current image** with the fine levels of a "
            "**second**. The threshold Θ is the number of levels that come from the second, the "
            "finest. Draw a second image, or take the current one and then choose another."
        )
        with gr.Row():
            seed = seed_field(100, "mix-seed")
            other = gr.Button("Draw a second", size="sm", min_width=80, elem_id="draw-second")
            use = gr.Button("Take the current", size="sm", min_width=80, elem_id="use-second")
            swap = gr.Button("Swap", size="sm", min_width=60, elem_id="swap")
        second = page.sheet("Second image and mixtures", elem_id="mixtures")
        gr.Markdown("Share of the second image at each level:")
        with gr.Row():
            sliders = level_sliders("share", minimum=0, maximum=1, value=0, step=0.05)
        revision = gr.Number(0, precision=0, visible="hidden")

        def draw(work: Workspace, seed: float) -> None:
            set_second(work, work.opened.sampled([seed_from(seed)], SAMPLE_TEMPERATURE)[0])

        page.on(other.click, draw, [seed], words="Drawing")
        page.on(use.click, lambda work: set_second(work, work.image))
        page.on(swap.click, exchange)
        page.on(second.choose, self.choose, event=True, words="Mixing")
        page.live(sliders, revision, preview, set_shares)
        page.show([second], lambda work: [self.second_images(work)])
        page.show([*sliders, revision], self.values, lambda work: work.slider_revision)
        page.show([swap], lambda work: [gr.update(interactive=work.state.second is not None)])

    def second_images(self, work: Workspace) -> str:
        """The second image and the mixtures at every threshold, to choose from."""
        second = work.state.second
        if second is None or work.view.panel != self.title:
            return views.sheet([], empty="No second image yet.")
        if second is first(work):
            return views.sheet(
                [],
                empty="The current image is now the second: draw or choose another as the first to "
                "mix the two.",
            )
        ways, key = every_threshold(work.opened.flow.levels), (first(work), second)
        mixed = work.cached("mixtures", key, lambda: mixtures(work, ways))
        shares = tuple(_shares(work))
        chosen = next((m for m, way in zip(mixed, ways, strict=True) if tuple(way) == shares), None)
        return views.images([second, *mixed], _captions(len(ways)), chosen=chosen)

    def choose(self, work: Workspace, event: gr.EventData) -> None:
        """Make a mixture the current image."""
        ways = every_threshold(work.opened.flow.levels)
        if shares := views.choice(event, [(), *ways], _captions(len(ways))):
            set_shares(work, [float(share) for share in shares])

    def values(self, work: Workspace) -> list[Any]:
        """The values of the sliders, and the revision that they belong to."""
        able = work.state.second not in (None, first(work))
        shares = [*_shares(work), *[0.0] * MAX_LEVELS]
        found = [
            gr.update(**update, value=round(share, 2), interactive=able)
            for update, share in zip(level_updates(work), shares, strict=False)
        ]
        return [*found, work.slider_revision]


def first(work: Workspace) -> LatentImage:
    """What is mixed with the second image: the current image, or what it is a mixture of."""
    return work.state.first or work.image


def set_second(work: Workspace, second: LatentImage) -> None:
    """Set the image to mix with."""
    work.commit(replace(work.state, second=second, first=None, shares=()))


def exchange(work: Workspace) -> None:
    """Exchange the first and the second image."""
    if work.state.second:
        work.take(work.state.second, second=first(work))


def mixtures(work: Workspace, shares: Sequence[Sequence[float]]) -> list[LatentImage]:
    """Mixtures of the first image and the second.

    Args:
        work: The workspace.
        shares: For each mixture, the share of the second image at each level, finest first.

    Raises:
        ValueError: If there is no second image.
    """
    if work.state.second is None:
        raise ValueError("Expected a second image to mix with; there is none: draw one first.")
    one, other = first(work).latents, work.state.second.latents
    images = mix(work.opened.exact, one, other, shares)[0]
    return [
        LatentImage(to_bytes(image), one.mix(other, share), "mixture")
        for image, share in zip(images, shares, strict=True)
    ]


def mixture(work: Workspace, shares: Sequence[float]) -> LatentImage:
    """One mixture of them; the last one is kept, as a slider shows it before it is applied."""
    key = (first(work), work.state.second, tuple(shares))
    return work.cached("mixture", key, lambda: mixtures(work, [shares])[0])


def preview(work: Workspace, shares: Sequence[float]) -> Tensor:
    """The image with other shares of the second, which wait to be applied; of more than the model
    has levels, the first count.

    Returns:
        uint8 [C, H, W].
    """
    shares = shares[: work.opened.flow.levels]
    found = mixture(work, shares).pixels
    work.pending = lambda: set_shares(work, shares)
    return found


def set_shares(work: Workspace, shares: Sequence[float]) -> None:
    """Make a mixture the current image; shares of 0 give the first image again."""
    shares = shares[: work.opened.flow.levels]
    if list(shares) == list(work.state.shares or [0.0] * len(shares)):
        return
    one = first(work)
    work.change(mixture(work, shares) if any(shares) else one)
    work.amend(replace(work.state, first=one, shares=tuple(shares)))


def _shares(work: Workspace) -> list[float]:
    """The share of the second image at each level."""
    return list(work.state.shares or [0.0] * work.opened.flow.levels)


def _captions(ways: int) -> list[str]:
    return ["second", "Θ = 0: first", *(f"Θ = {k}" for k in range(1, ways))]
