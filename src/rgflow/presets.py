"""Named settings: the paper's (Appendix A, B and G), and small ones for a CPU."""

from dataclasses import replace

from rgflow.checks import check_name
from rgflow.config import FlowConfig, TrainConfig

_PAPER = TrainConfig(model=FlowConfig(depth=(8, 6, 4, 2), compute_dtype="auto"))
_FAST = TrainConfig(
    model=FlowConfig(
        m=8,
        depth=2,
        bijector="cube",
        conditioner="trunk",
        hidden=256,
        blocks=2,
        pixels="marginal",
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
        m=(8, 4, 8),  # the same 8×8 pixels at levels 0 and 1, then all there are
        disentanglers=False,
        depth=1,
        bijector="coarse_to_fine",
        conditioner="paper",
        hidden=(32, 96, 24),
        blocks=1,
        splits=3,  # every variable by itself
        stem=128,
    ),
    optimizer="muon",
)
_M4 = replace(_BEST, model=replace(_BEST.model, m=4, splits=2, hidden=96))
_SMALL = TrainConfig(
    model=FlowConfig(depth=2, hidden=128, blocks=2, compute_dtype="auto"),
    lr=2e-3,
    schedule="cosine",
)
_TINY = TrainConfig(
    model=replace(_FAST.model, m=4, hidden=32, blocks=1, depth=1),
    batch_size=32,
    lr=4e-3,
    betas=(0.9, 0.99),
    schedule="cosine",
)

_REAL_NVP = TrainConfig(
    model=FlowConfig(architecture="real_nvp", levels=3, hidden=32, blocks=4, compute_dtype="auto"),
    schedule="cosine",
)

PRESETS: dict[str, TrainConfig] = {
    "celeba": replace(_PAPER, data="celeba", crop=148, flip=True),
    "cifar10": replace(_PAPER, data="cifar10", flip=True),
    "chairs": replace(
        _PAPER, model=replace(_PAPER.model, depth=8), data="chairs", crop=300, flip=True
    ),
    "msds1": replace(_PAPER, model=replace(_PAPER.model, depth=4), data="msds1"),
    "msds2": replace(_PAPER, model=replace(_PAPER.model, depth=4), data="msds2"),
    "msds1-small": replace(_SMALL, data="msds1"),
    "msds2-small": replace(_SMALL, data="msds2"),
    "msds1-fast": replace(_FAST, data="msds1"),
    "msds2-fast": replace(_FAST, data="msds2"),
    "msds1-best": replace(_BEST, data="msds1"),
    "msds2-best": replace(_BEST, data="msds2"),
    "patches-best": replace(_BEST, data="patches", flip=True),
    "msds1-m4": replace(_M4, data="msds1"),
    "msds2-m4": replace(_M4, data="msds2"),
    "msds1-tiny": replace(_TINY, data="msds1"),
    "msds1-realnvp": replace(_REAL_NVP, data="msds1"),
    "msds2-realnvp": replace(_REAL_NVP, data="msds2"),
}
"""Every preset by name. `…-small` is the paper's architecture at a size for a CPU. `…-best` learns
most in minutes, with mixtures told from coarse to fine, `…-m4` is the same with the paper's blocks
and levels, though without disentanglers, and `…-fast` has couplings on the unit cube. `…-tiny` is
for trying things out, and `…-realnvp` is the baseline."""


def preset(name: str) -> TrainConfig:
    """The settings of this name.

    Raises:
        ValueError: If there are none; the message names the nearest.

    Example:
        >>> preset("celeba").model.depth
        (8, 6, 4, 2)
    """
    check_name("preset", name, PRESETS)
    return PRESETS[name]
