"""Latents as columns of a table, one row per image, and which columns are of a level or a place.

Letters in shapes: N images; C channels; H, W rows and columns of the image.
"""

import numpy as np
from numpy.typing import NDArray

from rgflow.analysis.labels import Box
from rgflow.latents import Latents
from rgflow.lattice import Lattice

PENALTIES = (10.0, 100.0, 1000.0, 10_000.0, 100_000.0)
"""Penalties on squared weights from which each linear model chooses. The largest shrink
uninformative latents to almost nothing, so that a held-out R² isn't far below 0."""


def columns(z: Latents) -> NDArray[np.float32]:
    """Latents as columns in the order of the image layout, [N, C·H·W]."""
    x: NDArray[np.float32] = z.image().detach().flatten(1).float().cpu().numpy()
    return x


def reaching(z: Latents, box: Box | None) -> NDArray[np.bool_]:
    """Which columns of `columns` are latents whose generation cone meets a box, [C·H·W].

    These are the latents of the box's inference cone; all, if there is no box or the flow has no
    cones.
    """
    if box is None or not isinstance(z.lattice, Lattice):
        return np.ones(z.image()[0].numel(), dtype=bool)
    return np.tile(z.lattice.inference_cone(z.lattice.box(*box)).ravel(), z.channels)


def level_of(z: Latents) -> NDArray[np.int64]:
    """The level of every column of `columns`, [C·H·W]."""
    return np.tile(z.lattice.site_levels.ravel(), z.channels)
