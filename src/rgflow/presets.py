"""Named settings, those of the paper (Appendix A, B and G) and small ones for a CPU."""

from dataclasses import replace
from typing import Any, Literal

from rgflow.actions import Action, BlumeCapel, FreeField, Ising, Phi4, Potts, Spins
from rgflow.checks import check_name
from rgflow.config import (
    AffineMap,
    CoarseToFineMap,
    ConvolutionalMap,
    CubeMap,
    FlowConfig,
    GaussianPrior,
    MarginalPixels,
    SiteMap,
    StateMap,
    TrainConfig,
    UniformPixels,
    WindowMap,
)
from rgflow.geometries import Blocks, BlockSpins, Squeeze, Windows
from rgflow.objectives import PathGradient, Reinforce

_PAPER = TrainConfig(model=FlowConfig(map=AffineMap(depth=(8, 6, 4, 2)), compute_dtype="auto"))
_FAST = TrainConfig(
    model=FlowConfig(
        geometry=Blocks(m=8),
        map=CubeMap(depth=2, conditioner="trunk", hidden=256, blocks=2),
        pixels=MarginalPixels(),
        compute_dtype="auto",
    ),
    batch_size=32,
    lr=4e-3,
    betas=(0.9, 0.99),
    schedule="cosine",
)
_BEST = replace(
    _FAST,
    model=replace(
        _FAST.model,
        # The same 8×8 pixels at levels 0 and 1, then all there are.
        geometry=Blocks(m=(8, 4, 8), disentanglers=False),
        map=CoarseToFineMap(
            depth=1,
            hidden=(32, 96, 24),
            blocks=1,
            splits=3,  # every variable by itself
            stem=128,
        ),
    ),
    optimizer="muon",
)
_M4 = replace(
    _BEST,
    model=replace(
        _BEST.model,
        geometry=Blocks(m=4, disentanglers=False),
        map=CoarseToFineMap(depth=1, hidden=96, blocks=1, splits=2, stem=128),
    ),
)
_SMALL = TrainConfig(
    model=FlowConfig(map=AffineMap(depth=2, hidden=128, blocks=2), compute_dtype="auto"),
    lr=2e-3,
    schedule="cosine",
)
_TINY = TrainConfig(
    model=replace(
        _FAST.model,
        geometry=Blocks(m=4),
        map=CubeMap(depth=1, conditioner="trunk", hidden=32, blocks=1),
    ),
    batch_size=32,
    lr=4e-3,
    betas=(0.9, 0.99),
    schedule="cosine",
)

_REAL_NVP = TrainConfig(
    model=FlowConfig(
        geometry=Squeeze(),
        levels=3,
        map=ConvolutionalMap(hidden=32, blocks=4),
        compute_dtype="auto",
    ),
    schedule="cosine",
)


_PHOTOS = TrainConfig(
    model=FlowConfig(
        levels=4,
        geometry=Windows(period=4, reach=3, boundary="open"),
        map=WindowMap(hidden=224),
        pixels=UniformPixels(),
        shared=True,
        compute_dtype="auto",
    ),
    batch_size=16,
    lr=4e-3,
    betas=(0.9, 0.99),
    schedule="cosine",
    optimizer="muon",
    flip=True,
)
_WINDOWS = replace(
    _PHOTOS,
    model=replace(
        _PHOTOS.model,
        geometry=Windows(period=2, reach=3),
        shared=False,
    ),
    flip=False,
)


def _fields(
    length: int, action: Action, period: int | tuple[int, ...] = 4, **settings: Any
) -> TrainConfig:
    """A flow that learns an action on a square lattice: windows whose top level is drawn site by
    site, with odd maps, and the last half exactly."""
    return TrainConfig(
        model=FlowConfig(
            height=length,
            width=length,
            channels=1,
            geometry=Windows(period=period, reach=3, exact=action),
            map=SiteMap(hidden=48, odd=True),
            prior=GaussianPrior(),
            pixels=None,
        ),
        objective=PathGradient(action=action),
        data="none",
        lr=5e-3,
        betas=(0.9, 0.99),
        schedule="cosine",
        validate_count=1000,
        **settings,
    )


def _spins(length: int, action: Spins, **settings: Any) -> TrainConfig:
    """The same for spins."""
    base = _fields(length, FreeField(), **settings)  # whose action, geometry and map are replaced
    symmetry: Literal["permutation", "reversal"]
    symmetry = "permutation" if action.exchangeable else "reversal"
    return replace(
        base,
        model=replace(
            base.model,
            geometry=Windows(period=4, reach=3, exact=action),
            map=StateMap(spins=action.states, symmetry=symmetry),
        ),
        objective=Reinforce(action=action),
    )


def _with_depth(config: TrainConfig, depth: int) -> TrainConfig:
    return replace(config, model=replace(config.model, map=AffineMap(depth=depth)))


PRESETS: dict[str, TrainConfig] = {
    "celeba": replace(_PAPER, data="celeba", crop=148, flip=True),
    "cifar10": replace(_PAPER, data="cifar10", flip=True),
    "chairs": replace(_with_depth(_PAPER, 8), data="chairs", crop=300, flip=True),
    "msds1": replace(_with_depth(_PAPER, 4), data="msds1"),
    "msds2": replace(_with_depth(_PAPER, 4), data="msds2"),
    "msds1-small": replace(_SMALL, data="msds1"),
    "msds2-small": replace(_SMALL, data="msds2"),
    "msds1-fast": replace(_FAST, data="msds1"),
    "msds2-fast": replace(_FAST, data="msds2"),
    "msds1-best": replace(_BEST, data="msds1"),
    "msds2-best": replace(_BEST, data="msds2"),
    "patches-best": replace(_BEST, data="patches", flip=True),
    "photos": replace(_PHOTOS, data="wallpapers"),
    "photos-averages": replace(
        _PHOTOS,
        data="wallpapers",
        model=replace(_PHOTOS.model, geometry=BlockSpins(boundary="open")),
    ),
    "photos-small": replace(
        _PHOTOS,
        data="wallpapers",
        model=replace(
            _PHOTOS.model,
            geometry=Windows(period=2, reach=2, boundary="open"),
            map=WindowMap(hidden=128),
        ),
    ),
    "msds1-windows": replace(_WINDOWS, data="msds1"),
    "msds2-windows": replace(_WINDOWS, data="msds2"),
    "faces": replace(
        _WINDOWS,
        data="faces",
        train_count=25_000,
        model=replace(
            _WINDOWS.model,
            height=64,
            width=64,
            levels=6,  # up to 2×2 sites, so that a face is one
            geometry=Windows(
                period=(2, 4, 8, 8, 4, 2),
                reach=(3, 4, 4, 4, 3, 1),
                boundary="open",
                shared_phases=True,
            ),
            map=WindowMap(hidden=216, copies=4),
            position_embedding=8,
        ),
    ),
    "faces-paper": replace(
        _SMALL,
        data="faces",
        train_count=25_000,
        batch_size=16,
        model=replace(_SMALL.model, height=64, width=64),
    ),
    "msds1-m4": replace(_M4, data="msds1"),
    "msds2-m4": replace(_M4, data="msds2"),
    "msds1-tiny": replace(_TINY, data="msds1"),
    "free-8": _fields(8, FreeField(mass2=1.0), batch_size=256),
    "free-16": _fields(16, FreeField(mass2=1.0), batch_size=128),
    "ising-16": _spins(16, Ising(), batch_size=256),
    "ising-32": _spins(32, Ising(), batch_size=128),
    "ising-64": _spins(64, Ising(), batch_size=64),
    "potts-32": _spins(32, Potts(), batch_size=128),
    "blume-capel-16": _spins(16, BlumeCapel(), batch_size=256),
    "phi4-6": _fields(6, Phi4.albergo(-4, 6.975), 6, batch_size=512),
    "phi4-12": _fields(12, Phi4.albergo(-4, 5.276), (4, 6), batch_size=256),
    "phi4-32": _fields(32, Phi4.albergo(-4, 4.572), batch_size=64),
    "phi4-64": _fields(64, Phi4.albergo(-4, 4.398), batch_size=32),
    "msds1-realnvp": replace(_REAL_NVP, data="msds1"),
    "msds2-realnvp": replace(_REAL_NVP, data="msds2"),
}
"""Every preset by name. `photos…` and `…-windows` are of overlapping windows, the former with one
set of weights for all levels, so of images of any size; the coarse images of `photos-averages` are
averages, those of the others every second pixel. `faces` is of windows that know their places, and
has labels as conditions where `model.labels` names them. `…-small` and `faces-paper` are the
paper's architecture at a size for a CPU. `…-best` is a tree of blocks on the tiles of MSDS, with
mixtures from coarse to fine, `…-m4` is the same with the paper's blocks and levels, though without
disentanglers, and `…-fast` has couplings on the unit cube. `free-…`, `ising-…` and `phi4-…` learn
lattice fields from an action: the free field with m² = 1, φ⁴ with m² = −4 at a correlation length
of about L/4 (arXiv:1904.12072), and, like `potts-…` and `blume-capel-…`, spins at their transition.
`…-tiny` is for trying things out, and `…-realnvp` is the baseline."""

CONTINUED: dict[str, Any] = {"lr": 1.5e-3, "muon_lr": 7e-3, "validate_every": 30.0, "patience": 3}
"""Settings for going on from `photos` with a folder of pictures, of which there may be few; chosen
on parts of photographs of `wallpapers` for validation."""


def preset(name: str) -> TrainConfig:
    """The settings of this name.

    Raises:
        ValueError: If there are none; the message names the nearest.

    Example:
        >>> preset("celeba").model.map.depth
        (8, 6, 4, 2)
    """
    check_name("preset", name, PRESETS)
    return PRESETS[name]
