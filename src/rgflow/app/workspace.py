"""The workspace of one page: the current image, how it was made, and what can be undone.

Every change of the image is a method here, which calls one function of the package.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rgflow.analysis.mixing import Shares, mix
from rgflow.analysis.traversals import prior_scale
from rgflow.app.history import History, State, initial
from rgflow.app.latent_image import LatentImage, decoded, encoded, sampled
from rgflow.app.models import OpenModel
from rgflow.figures import to_bytes
from rgflow.latents import Address, Latents
from rgflow.lattice import Mask
from rgflow.local import Edit, LocalFlow
from rgflow.model import RGFlow

DRAWS = 4
"""Draws of the noise with which bits per dimension are taken."""
MOST_CHOSEN = 4
"""Latents that have a slider at the same time."""
USUAL = 0.8
"""Temperature of samples, unless the user sets another."""
ROUNDED = 0.00501
"""The largest difference between what a slider shows and its latent."""


@dataclass(eq=False)
class View:
    """How the page looks. Undo doesn't restore this.

    Attributes:
        panel: The panel that is open.
        level: The level whose latents are shown; none: the highest.
        pixel: The row and column picked.
        overlay: Whether fields and cones are drawn over the image.
        listed: The latents whose receptive fields are shown.
        crop_centre: The centre of the crop of an uploaded picture, as shares of its width and its
            height.
        mixtures: What the mix panel shows.
        sent: What components show, or what that depends on, by the number of the first of them.
    """

    panel: str = "Sample"
    level: int | None = None
    pixel: tuple[int, int] | None = None
    overlay: bool = True
    listed: list[Address] = field(default_factory=list)
    crop_centre: tuple[float, float] = (0.5, 0.5)
    mixtures: list[LatentImage] = field(default_factory=list)
    sent: dict[int, object] = field(default_factory=dict)

    def show(self, panel: str) -> None:
        """Open a panel."""
        self.panel = panel


class Workspace(History):
    """The workspace of one page.

    Args:
        opened: The model to begin with.

    Attributes:
        view: How the page looks.
        pending: Values of latents whose sliders are still being moved.
        mixing: Shares whose sliders are still being moved.
        slider_revision: The revision that the sliders show; it stays while only they move.
        repairing: Whether a repair is running.
        stopping: Set to stop it.
    """

    def __init__(self, opened: OpenModel) -> None:
        super().__init__(initial(opened, sampled(opened, [0], USUAL)[0]))
        self.view = View()
        self.pending: list[float] | None = None
        self.mixing: list[float] | None = None
        self.slider_revision = 0
        self.repairing = self.stopping = False
        self._cache: dict[str, tuple[tuple[Any, ...], Any]] = {}

    # ---------------------------------------------------------------- the current state

    @property
    def opened(self) -> OpenModel:
        """The model."""
        return self.state.opened

    @property
    def image(self) -> LatentImage:
        """The current image."""
        return self.state.image

    @property
    def level(self) -> int:
        """The level whose latents are shown."""
        top = self.opened.flow.levels - 1
        return top if self.view.level is None else min(self.view.level, top)

    def amend(self, state: State) -> None:
        """As for `History`; what is moved but not applied is dropped."""
        if state.opened is not self.opened:
            self.view.level = self.view.pixel = None
        self.pending = self.mixing = None
        super().amend(state)
        self.slider_revision = self.revision

    def open(self, opened: OpenModel) -> None:
        """Start again with another model, and stop a running repair."""
        self.stopping = True
        self.commit(initial(opened, sampled(opened, [0], USUAL)[0]))

    def take(self, image: LatentImage) -> None:
        """Make this the current image; samples, the second image and sliders stay."""
        self.commit(self._kept(image))

    def _kept(self, image: LatentImage) -> State:
        now = self.state
        return replace(
            initial(self.opened, image),
            samples=now.samples,
            second=now.second,
            chosen=now.chosen,
        )

    def change(self, image: LatentImage) -> None:
        """Replace the current image by a changed version, if it differs."""
        if not torch.equal(image.latents.flat(), self.image.latents.flat()):
            reset: dict[str, Any] = {"completions": (), "message": "", "curve": ()}
            self.commit(replace(self.state, image=image, first=None, shares=(), **reset))

    def _edit(self, z: Latents, caption: str) -> None:
        """Change the latents of the current image."""
        self.change(decoded(self.opened, z, self._after(caption)))

    def _after(self, change: str) -> str:
        """What the image is called after a change: the name that it had before any stays."""
        return f"{self.state.base.caption}, {change}"

    def cached(self, name: str, key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
        """The last value of this name, made again if the key has changed."""
        if name not in self._cache or self._cache[name][0] != key:
            self._cache[name] = key, make()
        return self._cache[name][1]

    def likelihood(self) -> str:
        """The likelihood of the current image, in words."""
        flow = self.opened.flow

        def found() -> float:
            return flow.bits_per_dim(self.image.pixels[None], draws=DRAWS).item()

        return f"{self.cached('likelihood', (self.image,), found):.3f} {flow.unit.name}"

    def sample(self, seeds: Iterable[int], temperature: float | list[float]) -> None:
        """Draw images, one for every seed, and take the first."""
        found = sampled(self.opened, seeds, temperature)
        self.commit(replace(self._kept(found[0]), samples=tuple(found)))

    def encode(self, pixels: Tensor, caption: str) -> LatentImage:
        """An image of the user's own, uint8 [C, H, W]."""
        return encoded(self.opened, pixels, caption)

    # ---------------------------------------------------------------- latents

    @property
    def unit(self) -> float:
        """The scale of the prior, which is the unit of sliders."""
        return prior_scale(self.opened.flow)

    def values(self) -> list[float]:
        """The values of the chosen latents, in units of the prior's scale."""
        z = self.image.latents
        return [z[address].item() / self.unit for address in self.state.chosen]

    def choose(self, address: Address) -> None:
        """Add a slider for a latent, or remove it; the oldest makes room for a fifth."""
        chosen = [one for one in self.state.chosen if one != address]
        if len(chosen) == len(self.state.chosen):
            chosen = [*chosen, address][-MOST_CHOSEN:]
        self.commit(replace(self.state, chosen=tuple(chosen)))

    def clear_chosen(self) -> None:
        """Remove all sliders."""
        self.commit(replace(self.state, chosen=()))

    def preview(self, values: list[float]) -> Tensor:
        """The image with the chosen latents at other values, uint8 [C, H, W]. Only their cones are
        evaluated."""
        flow, chosen = self.opened.exact, self.state.chosen
        self.pending = values
        z = self._moved(values)
        edit: Edit | None = None
        if isinstance(flow, RGFlow):
            edit = self.cached("edit", (self.image, chosen), self._editing)
        with torch.no_grad():
            return to_bytes(
                edit.paste(edit.decode(edit.of_latents(z))) if edit else flow.decode(z)
            )[0]

    def _editing(self) -> Edit | None:
        """An edit of the chosen latents; none if pixels of the image are out of range, as latents
        may lead a little beyond it."""
        flow = self.opened.exact
        assert isinstance(flow, RGFlow)
        mask = np.zeros(flow.image_shape[1:], dtype=bool)
        for _, i, j, _ in self.state.chosen:
            mask[i, j] = True
        with torch.no_grad():
            image = flow.decode(self.image.latents)
            inside = bool(((image >= 0) & (image < 256)).all())
            return LocalFlow(flow, image).edit(mask) if inside else None

    def apply_pending(self) -> None:
        """Apply sliders that were moved."""
        revision = self.slider_revision
        if self.pending is not None:
            values, self.pending = self.pending, None
            self.set(values)
        if self.mixing is not None:
            shares, self.mixing = self.mixing, None
            self.mix(shares)
        self.slider_revision = revision

    def _moved(self, values: list[float]) -> Latents:
        z = self.image.latents
        for address, value in self._moves(values):
            z = z.set(address, value * self.unit)
        return z

    def _moves(self, values: list[float]) -> Iterator[tuple[Address, float]]:
        """The chosen latents that move, with their new values; sliders show rounded ones."""
        pairs = zip(self.state.chosen, values, self.values(), strict=True)
        return ((address, new) for address, new, now in pairs if abs(new - now) > ROUNDED)

    def set(self, values: list[float]) -> None:
        """Set the chosen latents."""
        if any(self._moves(values)):
            self._edit(self._moved(values), "latents moved")

    def reset(self) -> None:
        """Go back to the image before latents were moved."""
        self.change(self.state.base)

    def zero(self, level: int) -> None:
        """Set all latents of a level to 0."""
        z = self.image.latents
        self._edit(z.replace(level, torch.zeros_like(z.levels[level])), f"level {level} at 0")

    def redraw(self, level: int, seed: int, temperature: float) -> None:
        """Draw the latents of a level again, and keep the others."""
        new = self.opened.flow.draw_each([seed], temperature).to(torch.float64)
        self._copy_level(level, new, "drawn anew")

    def restore(self, level: int) -> None:
        """Restore the latents that a level had before any were moved."""
        self._copy_level(level, self.state.base.latents, "as it was")

    def _copy_level(self, level: int, source: Latents, how: str) -> None:
        """Take the latents of a level from another image."""
        z = self.image.latents.replace(level, source.levels[level])
        self._edit(z, f"level {level} {how}")

    # ---------------------------------------------------------------- mixing

    @property
    def first(self) -> LatentImage:
        """What is mixed with the second: the current image, or what it is a mixture of."""
        return self.state.first or self.image

    def swap(self) -> None:
        """Exchange the first and the second image."""
        if self.state.second:
            self.commit(replace(self._kept(self.state.second), second=self.first))

    def set_second(self, second: LatentImage) -> None:
        """Set the image to mix with."""
        self.commit(replace(self.state, second=second, first=None, shares=()))

    def mixed(self, shares: list[Shares]) -> list[LatentImage]:
        """Mixtures of the first image and the second, one for each tuple of shares; a `ValueError`
        if there is no second image."""
        if self.state.second is None:
            raise ValueError("Expected a second image to mix with: draw one first.")
        first, second = self.first, self.state.second
        found = mix(self.opened.exact, first.latents, second.latents, shares)
        return [
            LatentImage(
                to_bytes(image),
                first.latents.mix(second.latents, share),
                "mixture",
            )
            for image, share in zip(found.images[0], found.shares, strict=True)
        ]

    def preview_mixed(self, shares: list[float]) -> Tensor:
        """The image with these shares of the second, uint8 [C, H, W]."""
        found = self.mixed([tuple(shares)])[0].pixels
        self.mixing = shares
        return found

    def mix(self, shares: list[float]) -> None:
        """Make a mixture the current image; shares of 0 give the first again."""
        if shares == list(self.state.shares or [0.0] * len(shares)):
            return
        first = self.first
        self.change(self.mixed([tuple(shares)])[0] if any(shares) else first)
        self.amend(replace(self.state, first=first, shares=tuple(shares)))

    # ---------------------------------------------------------------- repair

    def damage(self, seed: int) -> None:
        """Put noise into a square of the image, to be found and repaired."""
        found, original = self.image.pixels.clone(), self.image
        channels, height, width = found.shape
        edge, random = max(2, min(height, width) // 5), np.random.default_rng((seed, 0))
        columns = width - edge + 1
        i, j = divmod(int(random.integers((height - edge + 1) * columns)), columns)
        noise = random.integers(256, size=(channels, edge, edge), dtype=np.uint8)
        found[:, i : i + edge, j : j + edge] = torch.from_numpy(noise)
        self.take(self.encode(found, f"{original.caption}, damaged"))
        self.amend(replace(self.state, original=original))

    def paint(self, mask: Mask) -> None:
        """Mark what to repair; the completions of the mask before are dropped."""
        self.commit(replace(self.state, mask=mask, completions=(), message="", curve=()))

    def show_message(self, message: str) -> None:
        """Set what the repair panel says."""
        self.amend(replace(self.state, message=message, curve=()))

    def show_completions(
        self, start: State, found: list[LatentImage], message: str, curve: Iterable[float] = ()
    ) -> bool:
        """Show completions of a state, and the log p of the steps that led to them. Take the first,
        unless the image or the mask has changed since; those of another model are dropped. Returns
        whether the first was taken.
        """
        now = self.state
        if now.opened is not start.opened:
            return False
        same = now.image is start.image and now.mask is start.mask
        if not same:
            message += " The image has changed meanwhile: choose a completion to use it anyway."
        # Without its own start, as every state would keep all before it.
        offered = replace(
            now,
            completions=tuple(found),
            start=replace(start, start=None),
            message=message,
            curve=tuple(curve),
        )
        if same:
            self.commit(_repaired(offered, found[0]))
        else:
            self.amend(offered)
        return same

    def accept(self, image: LatentImage) -> None:
        """Make a completion the current image."""
        self.commit(_repaired(self.state, image))


def _repaired(state: State, image: LatentImage) -> State:
    """The state with a completion as the image, and the repaired image to compare with."""
    start = state.start
    assert start
    original = start.original or start.image
    new = replace(state, image=image, base=image, mask=start.mask, original=original)
    return replace(new, first=None, shares=())
