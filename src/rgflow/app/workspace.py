"""What one person has open: the current image, how it came about, and what can be undone.

Everything that changes the image is a method here; each of them calls one function of the package
and notes the same call as Python (`rgflow.app.recipe`).
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rgflow.analysis.mixing import Shares, mix
from rgflow.analysis.traversals import move, prior_scale
from rgflow.app.history import Direction, History, Moment, fresh
from rgflow.app.recipe import Recipe
from rgflow.app.shelf import Opened
from rgflow.app.subject import Subject, decoded, drawn, encoded, sampled
from rgflow.figures import to_bytes
from rgflow.latents import Address, Latents
from rgflow.lattice import Mask
from rgflow.local import Edit, LocalFlow
from rgflow.model import RGFlow
from rgflow.repair.corruptions import corrupt

MOST_CHOSEN = 4
"""Latents that have a slider at the same time."""
USUAL = 0.8
"""Temperature at which images are drawn where nothing is said of it."""
FARTHEST = 100
"""Times that one may go along a saved direction."""
ROUNDED = 0.00501
"""How far what a slider shows may be from where its latent is."""


@dataclass(eq=False)
class View:
    """How the page looks; none of it can be undone, as nothing is lost by it.

    Attributes:
        panel: Which panel is open.
        level: Whose latents the atlas shows; none: those of the highest.
        pixel: The row and column picked.
        overlay: Whether fields and cones lie over the image.
        direction: The saved move that is to be applied.
        listed: The latents that the atlas shows.
        middle: Of the part that is taken of a picture of one's own, as shares of its width and
            its height.
        mixtures: What the mix panel shows.
        film: An animation: of what kind, of which moment, and as HTML.
        sent: What components show, or what that depends on, by the number of the first of them.
    """

    panel: str = "Sample"
    level: int | None = None
    pixel: tuple[int, int] | None = None
    overlay: bool = True
    direction: str | None = None
    listed: list[Address] = field(default_factory=list)
    middle: tuple[float, float] = (0.5, 0.5)
    mixtures: list[Subject] = field(default_factory=list)
    film: tuple[str, Moment, str] | None = None
    sent: dict[int, object] = field(default_factory=dict)

    def show(self, panel: str) -> None:
        """Open a panel."""
        self.panel = panel


class Workspace(History):
    """What one person has open.

    Args:
        opened: The model to begin with.

    Attributes:
        view: How the page looks.
        pending: Where sliders of latents stand that are still being moved.
        mixing: Where those of shares stand.
        footing: The revision of which sliders tell; it stays while only they move.
        repairing: Whether a repair is under way.
        stopping: Set to stop it.
    """

    def __init__(self, opened: Opened) -> None:
        super().__init__(fresh(opened, sampled(opened, [0], USUAL)[0]))
        self.view = View()
        self.pending: list[float] | None = None
        self.mixing: list[float] | None = None
        self.footing = 0
        self.repairing = self.stopping = False
        self._directions: dict[Opened, dict[str, Direction]] = {}
        self._made: dict[str, tuple[tuple[Any, ...], Any]] = {}

    # ---------------------------------------------------------------- now, before and after

    @property
    def opened(self) -> Opened:
        """The model."""
        return self.moment.opened

    @property
    def subject(self) -> Subject:
        """The current image."""
        return self.moment.subject

    @property
    def level(self) -> int:
        """Whose latents are looked at; the highest to begin with."""
        top = self.opened.flow.levels - 1
        return top if self.view.level is None else min(self.view.level, top)

    def _to(self, moment: Moment) -> None:
        if moment.opened is not self.opened:
            self.view.level = self.view.pixel = self.view.direction = None
        self.pending = self.mixing = None
        super()._to(moment)
        self.footing = self.revision

    def open(self, opened: Opened) -> None:
        """Begin anew with another model; a repair that is under way has nothing to be for."""
        self.stopping = True
        new = fresh(opened, sampled(opened, [0], USUAL)[0])
        self.go(replace(new, forgotten=self.moment.forgotten))

    def take(self, subject: Subject) -> None:
        """Make this the current image; samples, the image to mix with and which latents have
        sliders stay."""
        self.go(self._kept(subject))

    def _kept(self, subject: Subject) -> Moment:
        now = self.moment
        new = fresh(self.opened, subject)
        return replace(
            new,
            samples=now.samples,
            other=now.other,
            chosen=now.chosen,
            forgotten=now.forgotten,
        )

    def change(self, subject: Subject) -> None:
        """A changed version of the current image, if it is another at all."""
        if torch.equal(subject.latents.flat(), self.subject.latents.flat()):
            return
        self.go(
            replace(
                self.moment,
                subject=subject,
                first=None,
                shares=(),
                completions=(),
                said="",
                curve=(),
            )
        )

    def once(self, name: str, key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
        """What was made last by this name, if it was from the same things; otherwise anew."""
        if name not in self._made or self._made[name][0] != key:
            self._made[name] = key, make()
        return self._made[name][1]

    def likelihood(self) -> str:
        """How likely the current image is, in words."""
        flow = self.opened.flow

        def found() -> float:
            with torch.no_grad():
                return flow.unit(flow.log_prob(self.subject.image[None])[0]).item()

        return f"{self.once('likelihood', (self.subject,), found):.3f} {flow.unit.name}"

    # ---------------------------------------------------------------- sample

    def sample(self, seeds: Iterable[int], temperature: float | list[float]) -> None:
        """Draw images, one for every seed, and take the first."""
        found = sampled(self.opened, seeds, temperature)
        self.go(replace(self._kept(found[0]), samples=tuple(found)))

    # ---------------------------------------------------------------- own images

    def encode(self, image: Tensor, what: str) -> Subject:
        """An image of one's own, uint8 [C, H, W]."""
        return encoded(self.opened, image, what)

    # ---------------------------------------------------------------- latents

    @property
    def unit(self) -> float:
        """The prior's own scale, in which sliders count."""
        return prior_scale(self.opened.flow)

    def values(self) -> list[float]:
        """Of the chosen latents, in units of the prior's scale."""
        z = self.subject.latents
        return [z[address].item() / self.unit for address in self.moment.chosen]

    def choose(self, address: Address) -> None:
        """Give a latent a slider, or take it away again; the oldest gives way."""
        chosen = [one for one in self.moment.chosen if one != address]
        if len(chosen) == len(self.moment.chosen):
            chosen = [*chosen, address][-MOST_CHOSEN:]
        self.go(replace(self.moment, chosen=tuple(chosen)))

    def unchoose(self) -> None:
        """Take all sliders away."""
        self.go(replace(self.moment, chosen=()))

    def preview(self, values: list[float]) -> Tensor:
        """The image with the chosen latents at other values, uint8 [C, H, W]: only what their
        cones reach is evaluated anew."""
        flow, chosen = self.opened.exact, self.moment.chosen
        self.pending = values
        if not isinstance(flow, RGFlow):
            return to_bytes(flow.decode(self._moved(values)))[0]
        edit: Edit | None = self.once("edit", (self.subject, chosen), self._editing)
        with torch.no_grad():
            if edit is None:
                return to_bytes(flow.decode(self._moved(values)))[0]
            new = edit.of_latents(self._moved(values))
            return to_bytes(edit.paste(edit.decode(new)))[0]

    def _editing(self) -> Edit | None:
        """The chosen latents as those that may change; none if the image isn't within the range
        of pixels, as latents may lead a little beyond it."""
        flow = self.opened.exact
        assert isinstance(flow, RGFlow)
        mask = np.zeros(flow.image_shape[1:], dtype=bool)
        for _, i, j, _ in self.moment.chosen:
            mask[i, j] = True
        with torch.no_grad():
            image = flow.decode(self.subject.latents)
            inside = bool(((image >= 0) & (image < 256)).all())
            return LocalFlow(flow, image).edit(mask) if inside else None

    def settle(self) -> None:
        """Take sliders that were moved as they are."""
        footing = self.footing
        if self.pending is not None:
            values, self.pending = self.pending, None
            self.set(values)
        if self.mixing is not None:
            shares, self.mixing = self.mixing, None
            self.mix(shares)
        self.footing = footing

    def _moved(self, values: list[float]) -> Latents:
        z = self.subject.latents
        for address, value in self._moves(values):
            z = z.set(address, value * self.unit)
        return z

    def _moves(self, values: list[float]) -> Iterator[tuple[Address, float]]:
        """The chosen latents that move, and where to; sliders show rounded values."""
        pairs = zip(self.moment.chosen, values, self.values(), strict=True)
        return ((address, new) for address, new, now in pairs if abs(new - now) > ROUNDED)

    def set(self, values: list[float]) -> None:
        """Set the chosen latents."""
        recipe, z = self.subject.recipe, self.subject.latents
        for address, value in self._moves(values):
            z = z.set(address, value * self.unit)
            recipe = Recipe(f"{{0}}.set({address}, {value * self.unit!r})", (recipe,))
        if recipe is not self.subject.recipe:
            self.change(decoded(self.opened, z, recipe, "latents moved"))

    def reset(self) -> None:
        """Back to the image before latents were moved."""
        self.change(self.moment.base)

    def zero(self, level: int) -> None:
        """Set all latents of a level to 0."""
        z, recipe = self.subject.latents, self.subject.recipe
        new = z.replace(level, torch.zeros_like(z.levels[level]))
        code = f"{{0}}.replace({level}, torch.zeros_like({{0}}.levels[{level}]))"
        self.change(decoded(self.opened, new, Recipe(code, (recipe,)), f"level {level} at 0"))

    def redraw(self, level: int, seed: int, temperature: float) -> None:
        """Draw all latents of a level anew, and keep the rest."""
        z, recipe = self.subject.latents, self.subject.recipe
        new = self.opened.flow.draw_each([seed], temperature).to(torch.float64)
        self.change(
            decoded(
                self.opened,
                z.replace(level, new.levels[level]),
                Recipe(
                    f"{{0}}.replace({level}, {{1}}.levels[{level}])",
                    (recipe, drawn(seed, temperature)),
                ),
                f"level {level} drawn anew",
            )
        )

    def restore(self, level: int) -> None:
        """Give a level the latents that it had before any were moved."""
        base = self.moment.base
        self.change(
            decoded(
                self.opened,
                self.subject.latents.replace(level, base.latents.levels[level]),
                Recipe(
                    f"{{0}}.replace({level}, {{1}}.levels[{level}])",
                    (self.subject.recipe, base.recipe),
                ),
                f"level {level} as it was",
            )
        )

    # ---------------------------------------------------------------- directions

    @property
    def directions(self) -> dict[str, Direction]:
        """Of this model, by name."""
        found = self._directions.get(self.opened, {})
        return {name: one for name, one in found.items() if one not in self.moment.forgotten}

    def save_direction(self, name: str) -> None:
        """Save what has been moved, the way from the image before to this one, by name.

        Raises:
            ValueError: If nothing was moved, or a saved move has this name.
        """
        if name in self.directions:
            raise ValueError(
                f"Expected a name that no saved move has; got “{name}”: write another, or delete "
                f"that move first."
            )
        z, base = self.subject.latents, self.moment.base.latents
        change = z.flat() - base.flat()
        if not change.any():
            raise ValueError(
                "Expected an image whose latents were moved: move a slider first, then save the "
                "way there as a direction."
            )
        direction = Latents.from_flat(change, z.lattice, z.channels)
        recipe = Recipe(
            "Latents.from_flat({0}.flat() - {1}.flat(), flow.lattice, flow.config.channels)",
            (self.subject.recipe, self.moment.base.recipe),
            ("from rgflow.latents import Latents",),
        )
        self._directions.setdefault(self.opened, {})[name] = Direction(direction, recipe)

    def add_direction(self, name: str, amount: float) -> None:
        """Go along a saved direction, so many times as far as it was when it was saved."""
        if not abs(amount) <= FARTHEST:  # nor is it, if it is no number
            raise ValueError(f"Expected −{FARTHEST} to {FARTHEST} times; got {amount:g}.")
        direction = self.directions[name]
        recipe = Recipe(
            f"move({{0}}, {{1}}, {amount!r}, add=True)",
            (self.subject.recipe, direction.recipe),
            ("from rgflow.analysis.traversals import move",),
        )
        z = move(self.subject.latents, direction.change, amount, add=True)
        self.change(decoded(self.opened, z, recipe, f"{name} × {amount:g}"))

    def forget_direction(self, name: str) -> None:
        """Delete a saved direction."""
        now = self.moment
        self.go(replace(now, forgotten=now.forgotten | {self.directions[name]}))

    # ---------------------------------------------------------------- mix

    @property
    def first(self) -> Subject:
        """What is mixed with the other: the current image, or what it is a mixture of."""
        return self.moment.first or self.subject

    def swap(self) -> None:
        """Make the other image the current one, and this the other."""
        if self.moment.other:
            self.go(replace(self._kept(self.moment.other), other=self.first))

    def remember(self, other: Subject) -> None:
        """Mix with this one."""
        self.go(replace(self.moment, other=other, first=None, shares=()))

    def mixed(self, shares: list[Shares]) -> list[Subject]:
        """The first image mixed with the other in every one of some ways.

        Raises:
            ValueError: If there is no other.
        """
        if self.moment.other is None:
            raise ValueError("Expected a second image to mix with: draw one first.")
        first, second = self.first, self.moment.other
        found = mix(self.opened.exact, first.latents, second.latents, shares)
        return [
            Subject(
                to_bytes(image),
                first.latents.mix(second.latents, share),
                Recipe(f"{{0}}.mix({{1}}, {share})", (first.recipe, second.recipe)),
                "mixture",
            )
            for image, share in zip(found.images[0], found.shares, strict=True)
        ]

    def preview_mixed(self, shares: list[float]) -> Tensor:
        """The image with these shares of the other, uint8 [C, H, W]."""
        found = self.mixed([tuple(shares)])[0].image
        self.mixing = shares
        return found

    def mix(self, shares: list[float]) -> None:
        """Make a mixture the current image; all shares 0 give the first again."""
        if shares == list(self.moment.shares or [0.0] * len(shares)):
            return
        first = self.first
        subject = self.mixed([tuple(shares)])[0] if any(shares) else first
        self.change(subject)
        self.amend(replace(self.moment, first=first, shares=tuple(shares)))

    # ---------------------------------------------------------------- repair

    def damage(self, seed: int) -> None:
        """Put noise into a square of the image, for something to be found and repaired."""
        image = self.subject.image[None]
        edge = max(2, min(image.shape[2:]) // 5)
        found, original = corrupt(image, "noise", size=edge, seed=seed).images[0], self.subject
        self.take(self.encode(found, f"{original.what}, damaged"))
        self.amend(replace(self.moment, original=original))

    def paint(self, mask: Mask) -> None:
        """Mark what is to be repaired; completions were of what was marked before."""
        self.go(replace(self.moment, mask=mask, completions=(), said="", curve=()))

    def say(self, words: str) -> None:
        """What the repair panel says from now on."""
        self.amend(replace(self.moment, said=words, curve=()))

    def offer(
        self, start: Moment, found: list[Subject], said: str, curve: Iterable[float] = ()
    ) -> bool:
        """Show completions of a moment, found along a curve of log p, and take the first unless the
        image or the mask is another by now; whether it was taken. Those of another model are of no
        use."""
        now = self.moment
        if now.opened is not start.opened:
            return False
        same = now.subject is start.subject and now.mask is start.mask
        if not same:
            said += " The image is another by now: choose a completion to go on with that one."
        # Without its own start, as every moment would keep all before it.
        start = replace(start, start=None)
        offered = replace(now, completions=tuple(found), start=start, said=said, curve=tuple(curve))
        if same:
            self.go(_repaired(offered, found[0]))
        else:
            self.amend(offered)
        return same

    def accept(self, subject: Subject) -> None:
        """Make a completion the current image."""
        self.go(_repaired(self.moment, subject))


def _repaired(moment: Moment, subject: Subject) -> Moment:
    """With a completion as the image; what was repaired is kept to compare with."""
    start = moment.start
    assert start
    original = start.original or start.subject
    return replace(
        moment,
        subject=subject,
        base=subject,
        first=None,
        shares=(),
        mask=start.mask,
        original=original,
    )
