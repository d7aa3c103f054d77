"""Flows for tests: every bijector and every option, with every parameter random."""

from collections.abc import Container, Iterable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rgflow import FlowConfig, make_flow
from rgflow.bijectors import MapSpec
from rgflow.config import FAMILIES, MarginalPixels
from rgflow.flow import Flow
from rgflow.kinds import options_of

BIJECTORS: dict[str, dict[str, Any]] = {
    "affine-paper": {"map": "affine", "conditioner": "paper"},
    "affine-released": {"map": "affine", "conditioner": "released"},
    "affine-trunk": {"map": "affine", "conditioner": "trunk"},
    "cube": {"map": "cube", "conditioner": "trunk", "bins": 5},
    "cube-paper": {"map": "cube", "conditioner": "paper", "bins": 4},
    "cube-released": {"map": "cube", "conditioner": "released", "bins": 4, "depth": 2},
    "coarse-to-fine": {"map": "coarse_to_fine", "splits": 1},
    "coarse-to-finest": {"map": "coarse_to_fine", "components": 2, "splits": 2, "m": 4},
}

MIXTURES = {name for name in BIJECTORS if name.startswith("coarse")}
"""Those that don't start as the identity."""

OPEN: dict[str, Any] = {
    "map": "window",
    "depth": 1,
    "pixels": "uniform",
    "geometry": {"kind": "windows", "reach": 2, "boundary": "open"},
    "shared": True,
    "height": 16,
    "width": 16,
}
AVERAGES = OPEN | {"geometry": OPEN["geometry"] | {"kind": "block-spins"}}
PHASES = OPEN | {"geometry": OPEN["geometry"] | {"period": 4, "shared_phases": True}}
LEVELS = OPEN | {"level_embedding": 3}
"""Maps know their level."""

OPTIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "open": {"boundary": "open"},
    "released-order": {"order": "released"},
    "released-order-open": {"order": "released", "boundary": "open"},
    "tree": {"disentanglers": False, "depth": 2},
    "m2": {"m": 2, "levels": 2},
    "m8": {"m": 8},
    "m6": {"m": 6, "height": 12, "width": 12},
    "stems": {"map": "coarse_to_fine", "splits": 1, "stem": 12},
    "edges": {"m": (4, 2), "hidden": (6, 12)},
    "edges-open": {"m": (2, 4), "boundary": "open"},
    "edges-mixtures": {**BIJECTORS["coarse-to-finest"], "m": (4, 2), "stem": 8},
    "not-square": {"height": 8, "width": 16},
    "one-level": {"levels": 1},
    "depths": {"depth": (1, 2), "blocks": 2},
    "shared": {"shared": True},
    "shared-open": {"shared": True, "boundary": "open"},
    "grey": {"channels": 1},
    "four-channels": {"channels": 4},
    "gaussian": {"prior": "gaussian"},
    "wide-prior": {"prior": {"kind": "laplace", "scale": 2.0}},
    "marginal": {"pixels": "marginal"},
    "fields": {"pixels": None, "channels": 2},
    "positions": {"position_embedding": 3},
    "positions-shared-open": {"position_embedding": 3, "shared": True, "boundary": "open"},
    "positions-cube": {**BIJECTORS["cube"], "pixels": "marginal", "position_embedding": 2},
    "positions-mixtures": {**BIJECTORS["coarse-to-fine"], "stem": 8, "position_embedding": 2},
    "windows": {
        "geometry": {"kind": "windows", "reach": 1, "boundary": "open"},
        "channels": 2,
        "conditioner": "trunk",
        "shared": True,
        "depth": 1,
    },
    "window": {
        "map": "window",
        "pixels": "uniform",
        "geometry": {"kind": "windows", "reach": 1},
    },
    "window-open": {
        "map": "window",
        "components": 2,
        "pixels": "uniform",
        "geometry": {
            "kind": "windows",
            "period": 4,
            "reach": 2,
            "boundary": "open",
        },
        "shared": True,
        "height": 16,
        "width": 8,
    },
    "window-photos": {
        "map": "window",
        "pixels": "uniform",
        "geometry": {"kind": "windows", "period": 4, "reach": 3, "boundary": "open"},
        "channels": 2,
        "shared": True,
    },
    "window-shared-from": {
        "map": "window",
        "pixels": "uniform",
        "geometry": {"kind": "block-spins", "reach": 2, "coarse_reach": 2, "boundary": "open"},
        "channels": 1,
        "shared": True,
        "shared_from": 1,
        "level_embedding": 2,
        "height": 16,
        "width": 8,
    },
    "window-averages": {
        "map": "window",
        "pixels": "uniform",
        "geometry": {"kind": "block-spins", "period": 4, "reach": 1, "coarse_reach": 1},
        "channels": 2,
    },
    "window-averages-open": {
        "map": "window",
        "pixels": "uniform",
        "channels": 1,
        "geometry": {
            "kind": "block-spins",
            "reach": 2,
            "coarse_reach": 3,
            "boundary": "open",
            "inside": (15, 7),
        },
        "shared": True,
        "height": 16,
        "width": 8,
        "position_embedding": 2,
    },
    "window-phases": {
        "map": "window",
        "pixels": "uniform",
        "geometry": {"kind": "windows", "period": (4, 2), "reach": (3, 2), "shared_phases": True},
        "channels": 2,
        "height": 8,
        "width": 16,
    },
    "window-phases-open": {
        "map": "window",
        "pixels": "uniform",
        "geometry": {
            "kind": "windows",
            "period": 4,
            "reach": 2,
            "boundary": "open",
            "shared_phases": True,
            "inside": (15, 7),
        },
        "channels": 1,
        "height": 16,
        "width": 8,
        "shared": True,
    },
    "window-phases-averages": {
        "map": "window",
        "pixels": "uniform",
        "geometry": {
            "kind": "block-spins",
            "period": 4,
            "reach": 2,
            "coarse_reach": 2,
            "shared_phases": True,
        },
        "channels": 1,
        "position_embedding": 2,
    },
    "window-positions": {
        "map": "window",
        "pixels": "uniform",
        "channels": 1,
        "geometry": {"kind": "windows", "reach": 1},
        "position_embedding": 2,
    },
    "window-copies": {
        "map": "window",
        "components": 2,
        "copies": 5,
        "pixels": "uniform",
        "geometry": {
            "kind": "windows",
            "period": 4,
            "reach": 3,
            "boundary": "open",
            "shared_phases": True,
        },
    },
    "window-copies-averages": {
        "map": "window",
        "components": 1,
        "copies": 3,
        "pixels": "uniform",
        "geometry": {"kind": "block-spins", "reach": 2, "coarse_reach": 2},
        "shared": True,
    },
    "levels": {"level_embedding": 2, "shared": True, "conditioner": "trunk"},
    "levels-from-one": {
        **BIJECTORS["coarse-to-fine"],
        "m": 2,
        "height": 16,
        "width": 8,
        "shared": True,
        "shared_from": 1,
        "level_embedding": 2,
        "position_embedding": 2,
    },
    "window-levels": {
        "map": "window",
        "components": 2,
        "pixels": "uniform",
        "geometry": {"kind": "windows", "reach": 2, "boundary": "open"},
        "shared": True,
        "level_embedding": 2,
        "channels": 2,
    },
    "site": {
        "map": {"kind": "site", "hidden": 8, "bins": 4},
        "geometry": {"kind": "windows", "period": (2, 4), "reach": 1},
        "channels": 2,
        "pixels": None,
    },
    "site-odd": {
        "map": {"kind": "site", "hidden": 8, "bins": 3, "odd": True},
        "geometry": {"kind": "windows", "period": 4, "reach": 3},
        "channels": 1,
        "shared": True,
        "shared_from": 1,
        "height": 16,
        "width": 16,
        "pixels": None,
        "prior": "gaussian",
    },
    "site-open": {
        "map": {"kind": "site", "hidden": 8, "bins": 4},
        "geometry": {"kind": "windows", "reach": 2, "boundary": "open"},
        "channels": 1,
        "pixels": None,
    },
    "checkpointing": {"checkpointing": True},
    "cube-logit": {**BIJECTORS["cube"], "pixels": "logit"},
    "cube-marginal": {**BIJECTORS["cube"], "pixels": "marginal"},
    "cube-gaussian": {**BIJECTORS["cube"], "pixels": "marginal", "prior": "gaussian"},
    "cube-fields": {**BIJECTORS["cube"], "pixels": None, "prior": "gaussian"},
    "cube-checkpointing": {**BIJECTORS["cube"], "pixels": "marginal", "checkpointing": True},
    "cube-shared-open": {**BIJECTORS["cube"], "shared": True, "boundary": "open"},
}

REAL_NVP: dict[str, dict[str, Any]] = {
    "real-nvp": {"geometry": "squeeze", "levels": 2, "hidden": 6},
    "real-nvp-scales": {"geometry": "squeeze", "levels": 3, "hidden": 4, "blocks": 1},
    "real-nvp-one-scale": {"geometry": "squeeze", "levels": 1, "hidden": 6, "width": 4},
    "real-nvp-marginal": {
        "geometry": "squeeze", "levels": 2, "hidden": 6, "prior": "gaussian",
        "pixels": "marginal", "checkpointing": True,
    },
    "real-nvp-fields": {"geometry": "squeeze", "levels": 2, "hidden": 6, "pixels": None},
}  # fmt: skip

CASES = BIJECTORS | OPTIONS | REAL_NVP
"""Every bijector kind, every option of a flow, and the baseline."""

REPRESENTATIVE = {
    "affine-released", "cube", "coarse-to-fine", "open", "released-order", "tree", "stems",
    "edges-open", "not-square", "depths", "shared-open", "marginal", "fields", "positions-cube",
    "windows", "window-photos", "window-levels", "window-averages", "window-copies", "site",
    "site-odd", "checkpointing", "real-nvp",
}  # fmt: skip
"""Every kind of map, of networks, of geometries and of pixels, and both boundaries."""


def by_day(names: Iterable[Any], few: Container[Any] = REPRESENTATIVE) -> list[Any]:
    """Values of a test's parameter, of which all but a few are left to the night."""
    return [x if x in few else pytest.param(x, marks=pytest.mark.slow) for x in names]


def spec_of_square(m: int, channels: int = 3, **more: Any) -> MapSpec:
    """Of cells that write m×m sites."""
    return MapSpec(channels=channels, sites=m * m, **more)


def config(**options: Any) -> FlowConfig:
    """A small flow's config, with one map per layer and one block per network. Options of the
    geometry and the map may stand beside those of the flow."""
    small: dict[str, Any] = {"height": 8, "width": 8, "depth": 1, "hidden": 8, "blocks": 1}
    given = small | {"geometry": "blocks"} | options
    convolutional = given["geometry"] == "squeeze"
    given = {"map": "convolutional" if convolutional else "affine"} | given
    for part in ("geometry", "map"):
        kind = given[part] if isinstance(given[part], dict) else {"kind": given[part]}
        of = FAMILIES[part].kinds.get(kind["kind"], FAMILIES[part])
        given[part] = {name: given.pop(name) for name in options_of(of) if name in given} | kind
    left = [name for name in small if name not in options and name not in options_of(FlowConfig)]
    return FlowConfig.from_dict({name: x for name, x in given.items() if name not in left})


def randomise(module: nn.Module, strength: float = 0.5, seed: int = 0) -> None:
    """Move every parameter by random numbers, of a size that suits its fan-in."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
            fan_in = parameter.shape[-1] if parameter.ndim > 1 else 1
            parameter += strength / fan_in**0.5 * noise


def random_flow(
    dtype: torch.dtype = torch.float64, seed: int = 0, strength: float | None = None, **options: Any
) -> Flow:
    """A small flow with every parameter, and the marginal distribution, random."""
    torch.manual_seed(seed)
    flow = make_flow(config(**options)).to(dtype)
    # Splines on the real line are ill-conditioned where steep, and mixtures even more, which
    # measure one variable by the spread of others.
    steep = {"coarse_to_fine": 0.2, "window": 0.2, "site": 0.3}
    randomise(flow, strength or steep.get(flow.config.map.kind, 0.5), seed)
    if isinstance(flow.config.pixels, MarginalPixels):
        flow.fit_pixels(random_images(flow, 50, seed=seed + 1).sqrt().mul(16).to(torch.uint8))
    return flow.eval()


def random_images(flow: Flow, n: int, seed: int = 0) -> Tensor:
    """Uniform noise as images: reals in [0, 256), or a field of numbers around 0."""
    generator = torch.Generator().manual_seed(seed)
    config = flow.config
    shape = (n, config.channels, config.height, config.width)
    if config.pixels is None:
        return torch.randn(shape, generator=generator, dtype=flow.dtype)
    return torch.rand(shape, generator=generator, dtype=flow.dtype) * 255.9


def propagator(shape, mass2):
    """⟨φ_0 φ_x⟩ of the free field on a periodic lattice, an array of its shape."""
    angles = np.meshgrid(*(2 * np.pi * np.arange(n) / n for n in shape), indexing="ij")
    return np.fft.ifftn(1 / (mass2 + sum(2 - 2 * np.cos(angle) for angle in angles))).real
