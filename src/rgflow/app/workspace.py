"""What one person has open: the current image, how it came about, and what can be undone.

Everything that changes the image is a method here; each of them calls one function of the package
and notes the same call as Python (`rgflow.app.recipe`). Latents are in float64, so that images
decode to what they were and the Python gives the same pixels.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rgflow.analysis.mixing import Shares, mix
from rgflow.analysis.traversals import move, prior_scale
from rgflow.app.recipe import ARRAYS, Recipe, array
from rgflow.app.shelf import Opened
from rgflow.figures import to_bytes
from rgflow.latents import Address, Latents
from rgflow.lattice import Mask
from rgflow.local import Edit, LocalFlow
from rgflow.model import RGFlow
from rgflow.repair.comparison import Filled, fill
from rgflow.repair.particles import maps_once

MOST_CHOSEN = 4
"""Latents that have a slider at the same time."""
ROUNDED = 1e-4
"""How far what a slider shows may be from where its latent is."""
MOST_UNDONE = 100
"""Moments that are kept."""
PARTICLES, SWEEPS, STEPS, DRAWS = 64, 3, 300, 100
"""How holes are filled in: by particles, or by a climb."""
CLIMBS = 3
"""Climbs from different starts, as one gives one answer."""


@dataclass(frozen=True, eq=False)
class Subject:
    """An image, with its latents.

    Attributes:
        image: uint8 [C, H, W].
        latents: Of this one image, in float64.
        recipe: How they came about.
        what: The same in a few words.
    """

    image: Tensor
    latents: Latents
    recipe: Recipe
    what: str


@dataclass(frozen=True, eq=False)
class Moment:
    """All that undoing brings back.

    Attributes:
        subject: The current image.
        base: What resets lead to: the image before latents were moved.
        other: The image to mix with.
        chosen: Latents that have sliders.
        mask: What is to be repaired.
        original: The image before it was repaired.
    """

    subject: Subject
    base: Subject
    mask: Mask
    other: Subject | None = None
    chosen: tuple[Address, ...] = ()
    original: Subject | None = None


@dataclass(eq=False)
class View:
    """How the page looks; none of it can be undone, as nothing is lost by it.

    Attributes:
        panel: Which panel is open.
        level: Whose latents the atlas shows.
        pixel: The row and column picked.
        overlay: Whether fields and cones lie over the image.
        brush: Width of a stroke, in pixels.
        erase: Whether strokes erase.
        listed: The latents that the atlas shows.
    """

    panel: str = "Sample"
    level: int | None = None
    pixel: tuple[int, int] | None = None
    overlay: bool = True
    brush: int = 3
    erase: bool = False
    listed: list[Address] = field(default_factory=list)

    def show(self, panel: str) -> None:
        """Open a panel."""
        self.panel = panel


@dataclass(eq=False)
class Workspace:
    """What one person has open.

    Attributes:
        opened: The model.
        moment: Now.
        directions: Saved by name.
        samples: What the sample panel shows.
        mixtures: What the mix panel shows.
        completions: What the repair panel shows.
        view: How the page looks.
        pending: Where sliders of latents stand that are still being moved.
        stopping: Set to stop a repair that is under way.
        revision: Counts the changes of the image.
    """

    opened: Opened
    moment: Moment = field(init=False)
    directions: dict[str, tuple[Latents, Recipe]] = field(default_factory=dict)
    samples: list[Subject] = field(default_factory=list)
    mixtures: list[Subject] = field(default_factory=list)
    completions: list[Subject] = field(default_factory=list)
    view: View = field(default_factory=View)
    pending: list[float] | None = None
    stopping: bool = False
    revision: int = 0
    _past: list[Moment] = field(default_factory=list)
    _future: list[Moment] = field(default_factory=list)
    _made: dict[str, tuple[tuple[Any, ...], Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        first = self.sample([0], 1.0)[0]
        self.moment = self._fresh(first)

    # ---------------------------------------------------------------- now, before and after

    @property
    def subject(self) -> Subject:
        """The current image."""
        return self.moment.subject

    def go(self, moment: Moment) -> None:
        """To another moment, from which one can come back."""
        self._past = [*self._past, self.moment][-MOST_UNDONE:]
        self._future = []
        self._to(moment)

    def undo(self) -> bool:
        """Back to the moment before; false if there is none."""
        return self._step(self._past, self._future)

    def redo(self) -> bool:
        """Forward again; false if nothing was undone."""
        return self._step(self._future, self._past)

    def _step(self, source: list[Moment], target: list[Moment]) -> bool:
        if not source:
            return False
        target.append(self.moment)
        self._to(source.pop())
        return True

    def _to(self, moment: Moment) -> None:
        self.moment, self.pending = moment, None
        self.revision += 1

    @property
    def undoable(self) -> tuple[int, int]:
        """How many steps can be undone, and done again."""
        return len(self._past), len(self._future)

    def _fresh(self, subject: Subject) -> Moment:
        """The moment at which this is the image, and nothing has been done to it."""
        empty = np.zeros(self.opened.flow.image_shape[1:], dtype=bool)
        return Moment(subject=subject, base=subject, mask=empty)

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

    def take(self, subject: Subject) -> None:
        """Make this the current image; what to mix with and which latents have sliders stays."""
        now, self.completions = self.moment, []
        self.go(replace(self._fresh(subject), other=now.other, chosen=now.chosen))

    # ---------------------------------------------------------------- sample

    def sample(self, seeds: Iterable[int], temperature: float | list[float]) -> list[Subject]:
        """Draw images, one for every seed."""
        flow, seeds = self.opened.flow, list(seeds)
        z = flow.draw_each(seeds, temperature).to(torch.float64)
        return [
            self._subject(z.select(slice(k, k + 1)), drawn(seed, temperature), f"sample {seed}")
            for k, seed in enumerate(seeds)
        ]

    def _subject(self, z: Latents, recipe: Recipe, what: str) -> Subject:
        with torch.no_grad():
            image = to_bytes(self.opened.exact.decode(z))[0]
        return Subject(image, z, recipe, what)

    # ---------------------------------------------------------------- own images

    def encode(self, image: Tensor, what: str) -> Subject:
        """An image of one's own, uint8 [C, H, W]."""
        with torch.no_grad():
            z = self.opened.exact.encode(image[None])
        recipe = Recipe(
            f"flow.encode(torch.from_numpy({array(image[None])}), dtype=torch.float64)",
            imports=ARRAYS,
        )
        return self._subject(z, recipe, what)

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
        if self.pending is not None:
            values, self.pending = self.pending, None
            self.set(values)

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
            self.change(self._subject(z, recipe, "latents moved"))

    def change(self, subject: Subject) -> None:
        """A changed version of the current image."""
        self.go(replace(self.moment, subject=subject))

    def reset(self) -> None:
        """Back to the image before latents were moved."""
        self.change(self.moment.base)

    def zero(self, level: int) -> None:
        """Set all latents of a level to 0."""
        z, recipe = self.subject.latents, self.subject.recipe
        new = z.replace(level, torch.zeros_like(z.levels[level]))
        code = f"{{0}}.replace({level}, torch.zeros_like({{0}}.levels[{level}]))"
        self.change(self._subject(new, Recipe(code, (recipe,)), f"level {level} at 0"))

    def redraw(self, level: int, seed: int, temperature: float) -> None:
        """Draw all latents of a level anew, and keep the rest."""
        z, recipe = self.subject.latents, self.subject.recipe
        new = self.opened.flow.draw_each([seed], temperature).to(torch.float64)
        self.change(
            self._subject(
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
            self._subject(
                self.subject.latents.replace(level, base.latents.levels[level]),
                Recipe(
                    f"{{0}}.replace({level}, {{1}}.levels[{level}])",
                    (self.subject.recipe, base.recipe),
                ),
                f"level {level} as it was",
            )
        )

    # ---------------------------------------------------------------- directions

    def save_direction(self, name: str) -> None:
        """Save what has been moved, the way from the image before to this one, by name.

        Raises:
            ValueError: If nothing was moved.
        """
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
        self.directions[name] = direction, recipe

    def add_direction(self, name: str, amount: float) -> None:
        """Go along a saved direction, so many times as far as it was when it was saved."""
        if not math.isfinite(amount):
            raise ValueError(f"Expected a finite number of times; got {amount}.")
        direction, source = self.directions[name]
        recipe = Recipe(
            f"move({{0}}, {{1}}, {amount!r}, add=True)",
            (self.subject.recipe, source),
            ("from rgflow.analysis.traversals import move",),
        )
        z = move(self.subject.latents, direction, amount, add=True)
        self.change(self._subject(z, recipe, f"{name} × {amount:g}"))

    # ---------------------------------------------------------------- mix

    def swap(self) -> None:
        """Make the other image the current one, and this the other."""
        now = self.moment
        if now.other:
            self.go(replace(self._fresh(now.other), other=now.subject, chosen=now.chosen))

    def remember(self, other: Subject) -> None:
        """Mix with this one."""
        self.go(replace(self.moment, other=other))

    def mixed(self, shares: list[Shares]) -> list[Subject]:
        """The current image mixed with the other in every one of some ways.

        Raises:
            ValueError: If there is no other.
        """
        if self.moment.other is None:
            raise ValueError("Expected a second image to mix with: draw one first.")
        first, second = self.subject, self.moment.other
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

    # ---------------------------------------------------------------- repair

    def paint(self, mask: Mask) -> None:
        """Mark what is to be repaired."""
        self.go(replace(self.moment, mask=mask))

    def expected(self) -> dict[str, Any]:
        """How holes are filled in, as `fill` takes it."""
        if maps_once(self.opened.flow):
            return {"particles": PARTICLES, "sweeps": SWEEPS}
        return {"particles": 0, "steps": STEPS, "draws": DRAWS}

    def repair(self, seed: int, progress: Callable[[int, float, Tensor], None]) -> list[Subject]:
        """Fill in what is marked, until `stopping` is set, if it ever is.

        Args:
            seed: Of whatever is random.
            progress: Told of every step: its number, log p in nats, and the image then.

        Returns:
            The best, then other possible ones.
        """
        found, before = list[Subject](), 0
        for k in range(1 if self.expected()["particles"] else CLIMBS):
            steps = 0
            now = self.subject.image

            def see(images: Tensor) -> None:
                nonlocal now
                now = to_bytes(images)[0]

            def after(_: str, step: int, log_p: Tensor) -> bool:
                nonlocal steps
                steps = step
                progress(before + step, log_p.max().item(), now)  # noqa: B023
                return self.stopping

            filled = next(
                fill(
                    self.opened.flow,
                    self.subject.image[None],
                    self.moment.mask,
                    seed=seed + k,
                    progress=after,
                    preview=see,
                    **self.expected(),
                )
            )
            found += self._repaired(filled, steps, seed + k)
            before += steps
            if self.stopping:
                break
        return found

    def _repaired(self, filled: Filled, steps: int, seed: int) -> list[Subject]:
        """What was found in so many steps, as images."""
        settings = ", ".join(f"{name}={value}" for name, value in self.expected().items())
        code = (
            f"next(fill(flow, figures.to_bytes(flow.decode({{0}})), {array(self.moment.mask)}, "
            f"seed={seed}, progress=lambda name, step, log_p: step >= {steps}, {settings}))"
        )
        images = [to_bytes(filled.images)[0]]
        parts = [f"figures.to_bytes({code}.images)"]
        if filled.completions:
            samples = filled.completions[0].samples
            images += list(samples)
            parts += [f"{code}.completions[0].samples[{k}][None]" for k in range(len(samples))]
        subjects = []
        for image, part in zip(images, parts, strict=True):
            recipe = Recipe(
                f"flow.encode({part}, dtype=torch.float64)",
                (self.subject.recipe,),
                (*ARRAYS, "from rgflow.repair.comparison import fill"),
            )
            with torch.no_grad():
                z = self.opened.exact.encode(image[None])
            subjects.append(self._subject(z, recipe, "repaired"))
        return subjects

    def accept(self, subject: Subject) -> None:
        """Make a repaired image the current one; the original is kept to compare with."""
        original = self.moment.original or self.subject
        self.go(replace(self.moment, subject=subject, base=subject, original=original))


def drawn(seed: int, temperature: float | list[float]) -> Recipe:
    """The recipe of a sample."""
    return Recipe(f"flow.draw_each([{seed}], {temperature}).to(torch.float64)")
