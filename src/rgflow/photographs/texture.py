"""Deep holes filled with what the photograph holds elsewhere.

Deep inside a hole a pixel is so uncertain that its mean is a blur. There every small square is
taken from somewhere else, such that squares agree with one another and with what is known around
them: from coarse to fine, the nearest squares and means of them in turn (Wexler, Shechtman and
Irani 2007, "Space-time completion of video", doi 10.1109/TPAMI.2007.60). The nearest ones come from
neighbours and by chance (Barnes et al. 2009, "PatchMatch", doi 10.1145/1531326.1531330).

Letters in shapes: C channels; H, W rows and columns; k patches; s pixels of a patch; F features.
"""

from collections.abc import Callable

import numpy as np
import torch
from scipy.ndimage import (  # type: ignore[attr-defined]  # which are found when it runs
    binary_dilation,
    distance_transform_cdt,
    distance_transform_edt,
)
from torch import Tensor
from torch.nn import functional as F

from rgflow.cells import Mask

REACH = 3
"""Pixels from the centre of a patch to its edge. This and all other numbers were chosen on
photographs of wallpapers that no model learned from."""
SHALLOW = 6
"""Depth of the hole in the coarsest image."""
ROUNDS = 2, 12
"""How often patches are searched and averaged, at least, and in the coarsest image."""
ROUGH = 1.7
"""Weight of differences of neighbouring pixels beside their levels: smooth patches would be near to
everything."""
MEAN, SHIFT = 0.6, 10.0
"""Weight of the mean level of a patch beside what differs from it, and by how many levels it is
moved to that of its place."""
FADE = 0.45
"""Factor by which the weight of a patch falls with every pixel from the edge of the hole."""
STEPS, SHRINK = (2, 1), 3
VARIETY = 0.3
"""Share of the coarsest image, elsewhere for every seed, from which nothing is taken."""
COMPARED, SEARCHED = 1 << 24, 1 << 17
"""Pairs of patches up to which all are compared; and patches above which those of the coarser image
are taken as they are."""
AT_ONCE = 1 << 14
"""Patches that are compared or averaged together, for memory."""


class _Level:
    """An image at one size, and the patches that cover its hole.

    Args:
        x: Levels, whatever they are in the hole, [C, H, W].
        hole: What to fill, [H, W].
        barred: What nothing is taken from, [H, W].
    """

    def __init__(self, x: Tensor, hole: Mask, barred: Mask) -> None:
        self.x, self.hole, self.barred = x, hole, barred
        self.limits = torch.tensor(hole.shape)
        edge, whole = np.ones((2 * REACH + 1,) * 2, dtype=bool), np.zeros_like(hole)
        whole[REACH:-REACH, REACH:-REACH] = True
        self.places = torch.from_numpy(np.argwhere(binary_dilation(hole, edge) & whole))
        self.sources = torch.from_numpy(~binary_dilation(barred, edge) & whole)
        depth = distance_transform_cdt(hole, "chessboard")[*self.places.T].astype(np.float32)
        self.trust = torch.from_numpy(FADE**depth)
        self.number = torch.full(hole.shape, -1)
        self.number[*self.places.T] = torch.arange(len(self.places))
        reach = torch.arange(-REACH, REACH + 1)
        self._offsets = (reach[:, None] * hole.shape[1] + reach).flatten()

    def halved(self) -> "_Level":
        """At half the size; a square is missing if most of it is."""
        even = [0, -self.hole.shape[1] % 2, 0, -self.hole.shape[0] % 2]

        def means(of: Tensor) -> Tensor:
            return F.avg_pool2d(F.pad(of[None], even, "replicate"), 2)[0]

        hole, barred = (torch.from_numpy(of)[None].float() for of in (self.hole, self.barred))
        known = means(1 - hole)
        x = torch.where(known > 0, means(self.x * (1 - hole)) / known, means(self.x))
        return _Level(x, (known[0] < 0.5).numpy(), (means(barred)[0] > 0).numpy())

    def pixels(self, centres: Tensor) -> Tensor:
        """Numbers of the pixels of patches around centres [k, 2], [k, s]."""
        return (centres[:, 0] * self.hole.shape[1] + centres[:, 1])[:, None] + self._offsets

    def features(self) -> Tensor:
        """Levels, and how much they change nearby, [H·W, F]."""
        down, across = self.x.diff(dim=1).abs(), self.x.diff(dim=2).abs()
        rough = F.pad(down, (0, 0, 0, 1)) + F.pad(across, (0, 1))
        rough = rough.mean(0, keepdim=True)[None]
        rough = F.avg_pool2d(F.pad(rough, (2, 2, 2, 2), "replicate"), 5, 1)[0]
        return torch.cat((self.x, ROUGH * rough)).flatten(1).T.contiguous()

    def patches(self, features: Tensor, centres: Tensor) -> Tensor:
        """Features of patches [k, 2], with less weight of the mean of their levels, [k, s·F]."""
        found = features[self.pixels(centres)]
        levels = found[:, :, : len(self.x)]
        levels -= (1 - MEAN**0.5) * levels.mean(1, keepdim=True)
        return found.flatten(1)

    def fill(self, nearest: Tensor, apart: Tensor) -> None:
        """Fill the hole with means of the patches that cover it.

        Args:
            nearest: Centres of the patches to take, [k, 2].
            apart: How far they are from what is there, [k].
        """
        flat = self.x.flatten(1)
        scale = (apart.median() / 6).clamp(min=1)  # a level: no edges where it is smooth
        weights = self.trust * torch.exp(-(apart - apart.min()) / scale).clamp(min=1e-12)
        total = torch.zeros(flat.shape[1])
        means = torch.zeros_like(flat)
        parts = zip(*(x.split(AT_ONCE) for x in (self.places, nearest, weights)), strict=True)
        for places, centres, weight in parts:
            here = self.pixels(places)
            values = flat[:, self.pixels(centres)]
            shift = flat[:, here].mean(2) - values.mean(2)
            values += shift.clamp(-SHIFT, SHIFT)[:, :, None]
            each = weight[:, None].expand(here.shape)
            total.index_add_(0, here.flatten(), each.flatten())
            means.index_add_(1, here.flatten(), (each * values).flatten(1))
        hole = torch.from_numpy(self.hole).flatten()
        self.x = torch.where(hole & (total > 0), means / total, flat).view_as(self.x)

    def search(
        self, nearest: Tensor, sources: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Nearer patches than some [k, 2], with their distances, [k]."""
        features, every = self.features(), sources.nonzero()
        if len(every) * len(self.places) <= COMPARED:
            theirs = self.patches(features, every)
            parts = self.places.split(AT_ONCE)
            found = [torch.cdist(self.patches(features, of), theirs).min(1) for of in parts]
            apart = torch.cat([one.values for one in found]) ** 2 / theirs.shape[1]
            return every[torch.cat([one.indices for one in found])], apart
        own = torch.cat([self.patches(features, part) for part in self.places.split(AT_ONCE)])
        nearest, apart = nearest.clone(), torch.full((len(nearest),), torch.inf)

        def offer(centres: Tensor) -> None:
            inside = ((centres >= 0) & (centres < self.limits)).all(1)
            inside[inside.clone()] = sources[*centres[inside].T]
            for some in inside.nonzero()[:, 0].split(AT_ONCE):
                theirs = self.patches(features, centres[some])
                new = (theirs.sub_(own[some]) ** 2).mean(1)
                better = new < apart[some]
                nearest[some[better]] = centres[some[better]]
                apart[some[better]] = new[better]

        offer(nearest)
        for step in STEPS:
            for way in torch.tensor([(0, step), (step, 0), (0, -step), (-step, 0)]):
                there = torch.clamp(self.places + way, torch.zeros(2).long(), self.limits - 1)
                at = self.number[*there.T]
                offer(torch.where((at >= 0)[:, None], nearest[at] - way, nearest))
            radius = int(self.limits.max())
            while radius:
                moved = torch.randint(-radius, radius + 1, nearest.shape, generator=generator)
                offer(nearest + moved)
                radius //= SHRINK
        return nearest, apart


def textured(
    image: Tensor,
    hole: Mask,
    *,
    barred: Mask | None = None,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> Tensor:
    """Fill a hole with what the photograph holds elsewhere; of a large one, give a part around it.

    Args:
        image: uint8 [C, H, W]; what it holds inside the hole has no influence.
        hole: What is missing, [H, W].
        barred: What else nothing is taken from, [H, W].
        seed: Every seed gives another result.
        progress: Called with the share of the work that is done.

    Returns:
        uint8 [C, H, W]; where nothing can be taken, what is known next to a pixel.

    Example:
        >>> image = (torch.arange(60) % 5 * 50).byte().repeat(3, 40, 1)
        >>> hole = np.zeros((40, 60), dtype=bool)
        >>> hole[10:22, 20:32] = True
        >>> torch.equal(textured(image, hole), image)
        True
    """
    generator = torch.Generator().manual_seed(seed)
    barred = hole if barred is None else hole | barred
    x = image.cpu()
    near = distance_transform_edt(barred, return_distances=False, return_indices=True)
    levels = [_Level(x[:, *torch.from_numpy(near)].float(), hole, barred)]
    while distance_transform_cdt(levels[-1].hole, "chessboard").max() > SHALLOW:
        coarser = levels[-1].halved() if min(levels[-1].hole.shape) > 8 * REACH else levels[-1]
        if coarser is levels[-1] or not coarser.sources.any():
            break
        levels.append(coarser)
    nearest: Tensor | None = None
    for number, level in reversed(list(enumerate(levels))):
        sources, rounds = level.sources, max(ROUNDS[1] >> (len(levels) - 1 - number), ROUNDS[0])
        if not sources.any() or not len(level.places):
            continue
        every = sources.nonzero()
        by_chance = every[torch.randint(len(every), (len(level.places),), generator=generator)]
        if nearest is None:
            field = torch.rand(1, 1, 6, 6, generator=generator)
            field = F.interpolate(field, level.hole.shape, mode="bicubic")[0, 0]
            sources = sources & (field >= field[sources].quantile(VARIETY))
            nearest = by_chance
        else:
            nearest = _finer(levels[number + 1], nearest, level, by_chance)
            rough = F.interpolate(levels[number + 1].x[None], scale_factor=2.0, mode="bilinear")
            rough = rough[0, :, : level.hole.shape[0], : level.hole.shape[1]]
            level.x = torch.where(torch.from_numpy(level.hole), rough, level.x)
            level.fill(nearest, torch.ones(len(nearest)))
        for turn in range(rounds if len(nearest) <= SEARCHED else 0):
            nearest, apart = level.search(nearest, sources, generator)
            level.fill(nearest, apart)
            if progress:
                progress(1 - (number + 1 - (turn + 1) / rounds) / len(levels))
    filled = levels[0].x.round().clamp(0, 255).to(torch.uint8)
    return torch.where(torch.from_numpy(hole), filled, x).to(image.device)


def _finer(coarse: _Level, nearest: Tensor, level: _Level, by_chance: Tensor) -> Tensor:
    """Patches [k, 2] at twice the size, those by chance where there is none."""
    there = distance_transform_edt(coarse.number < 0, return_distances=False, return_indices=True)
    near = torch.from_numpy(there)[:, *torch.minimum(level.places // 2, coarse.limits - 1).T]
    found = 2 * (nearest[coarse.number[*near]] - near.T) + level.places
    inside = ((found >= 0) & (found < level.limits)).all(1)
    inside[inside.clone()] = level.sources[*found[inside].T]
    return torch.where(inside[:, None], found, by_chance)
