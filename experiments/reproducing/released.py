"""Models trained with the paper's released code (github.com/hongyehu/RG-Flow): its `.state` files.

Letters in shapes: C channels; m edge of a block, D = C·m² its variables.
"""

import re
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from rgflow.bijectors import cut
from rgflow.checks import MAX_LEVELS, check_name, check_whole
from rgflow.config import AffineMap, FlowConfig, GaussianPrior, LaplacePrior
from rgflow.files import expanded
from rgflow.geometries import Blocks
from rgflow.model import RGFlow
from rgflow.reading import DamagedError
from rgflow.tensors import load_torch

Weights = dict[str, Tensor]
_RENAMED = {"bias": "bias", "weight_g": "length", "weight_v": "direction", "scale": "beta"}


def load_released(path: str | Path, prior: Literal["laplace", "gaussian"] | None = None) -> RGFlow:
    """The flow in a `.state` file of the released code, with equal log-densities and samples.

    Only tensors are read, never arbitrary pickled objects. Everything about the architecture is
    read off their shapes.

    Args:
        path: The file.
        prior: `"laplace"` or `"gaussian"`, if it isn't plain from the scale that is stored.

    Returns:
        The flow, in evaluation mode. Its log-density is per unit of [0, 256), and the released
        code's per unit of [0, 1): the two differ by D·ln 256.

    Raises:
        FileNotFoundError: If there is no such file.
        PermissionError: If it may not be read.
        ValueError: If it isn't such a file, or holds something that can't be imported.

    Example:
        >>> flow = load_released("tests/fixtures/released/colour.state")
        >>> flow.config.map.depth, flow.config.geometry.order, flow.config.map.conditioner
        ((2, 1, 1), 'released', 'released')
    """
    path = expanded(path)
    try:
        content = load_torch(path)
        weights = {str(name).removeprefix("module."): x for name, x in content["flow"].items()}
        config = _config(weights, prior)
        if sum(x.numel() for x in weights.values()) < RGFlow.least_parameters(config):
            raise DamagedError("its weights are too few for the flow that their names describe")
        flow = RGFlow(config).to(weights["prior.scale"].dtype)
        _fill(flow, weights)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"Expected a .state file of the released code; none at {path}."
        ) from error
    except (DamagedError, RuntimeError, AttributeError, LookupError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"Expected a .state file of the released code, read as weights only; {path} isn't one, "
            f"or is damaged ({reason})."
        ) from error
    return flow.eval()


def _config(weights: Weights, prior: Literal["laplace", "gaussian"] | None) -> FlowConfig:
    """The architecture, from the shapes of the weights."""
    channels, m = (weights["layers.0.mask_left"].shape[axis] for axis in (0, 1))
    layers = _count(weights, r"layers\.(\d+)\.")
    depths = [_count(weights, rf"layers\.{k}\.s_layers\.(\d+)\.") for k in range(0, layers, 2)]
    if not min(depths) or layers != 2 * len(depths):
        raise ValueError(
            "Expected a flow of affine couplings, two layers at each level; the file holds another "
            "kind, such as the autoregressive one, which can't be imported."
        )
    block = "layers.0.s_layers.0.res_blocks."
    if _count(weights, block.replace(".", r"\.") + r"0\.(\d+)\.") != 6:
        raise ValueError("Expected three linear layers in a residual block; the file has others.")
    levels = check_whole("levels", len(depths), 1, MAX_LEVELS)
    scale = weights["prior.scale"].item()
    if prior is None:
        prior = "gaussian" if abs(scale - 1) < 1e-6 else "laplace"
    check_name("prior", prior, ("laplace", "gaussian"))
    map = AffineMap(
        depth=tuple(depths),
        conditioner="released",
        hidden=len(weights[block + "0.1.bias"]),
        blocks=_count(weights, block.replace(".", r"\.") + r"(\d+)\."),
    )
    return FlowConfig(
        height=m << (levels - 1),
        width=m << (levels - 1),
        channels=channels,
        levels=levels,
        geometry=Blocks(m=m, order="released"),
        map=map,
        prior=(GaussianPrior if prior == "gaussian" else LaplacePrior)(scale=scale),
    )


def _count(weights: Weights, pattern: str) -> int:
    """How many numbers there are at a place in the names: 0, 1, 2 and so on."""
    found = {int(match[1]) for name in weights if (match := re.match(pattern, name))}
    if found and max(found) >= len(found):
        raise ValueError(
            f"Expected weights numbered from 0 on; number {min(set(range(len(found))) - found)} is "
            f"missing beside {max(found)}: take an undamaged file."
        )
    return len(found)


@torch.no_grad()
def _fill(flow: RGFlow, weights: Weights) -> None:
    """Copy every weight to its place; strict both ways, and as to shapes."""
    config = flow.config
    m = flow.lattice.layers(0)[0].tile
    order = cut(torch.arange(config.channels * m**2).reshape(1, -1, m, m), m)[0]
    state = flow.state_dict()
    filled, used = set(), set()
    kinds = "|".join(_RENAMED)
    for name, value in weights.items():
        match = re.fullmatch(
            r"layers\.(\d+)\.([st])_layers\.(\d+)\."
            rf"(?:res_blocks\.(\d+)\.(\d+)\.({kinds})|scale\.scale)",
            name,
        )
        if not match:
            continue
        layer, kind, depth, block, place, what = match.groups()
        prefix = f"steps.{int(layer) // 2}.layers.bijectors.{int(layer) % 2}.bijector.bijectors."
        prefix += f"{depth}.conditioner."
        target = prefix + "scale"
        if block is not None:
            target = f"{prefix}blocks.{block}.layers.{place}.{_RENAMED[what]}"
        if target not in state:
            continue
        there = state[target][0 if kind == "s" else 1]
        shape = (*there.shape, 1) if what == "weight_g" else tuple(there.shape)
        if value.shape != shape or not value.isfinite().all():
            raise ValueError(
                f"Expected {name} to be finite numbers of shape {list(shape)}; got "
                f"{'some that are not' if value.shape == shape else list(value.shape)}: take an "
                f"undamaged file."
            )
        there.copy_(value[order] if block is None else _reordered(value, order, int(place), what))
        filled.add((target, kind))
        used.add(name)
    kept = {name for name in weights if "mask_" in name or "saved_" in name or "prior" in name}
    left = set(weights) - used - kept
    if left or len(filled) != 2 * len(state):
        stray = f", and {len(left)} that don't belong, such as {min(left)}" if left else ""
        raise ValueError(
            f"Expected the weights of all couplings and no others; got {len(filled)} of "
            f"{2 * len(state)}{stray}."
        )


def _reordered(value: Tensor, order: Tensor, place: int, what: str) -> Tensor:
    """A weight with the variables of a block in this package's order (even half first).

    Place 0 is the activation of the block's variables, 1 the linear layer that takes them, 5 the
    one that gives them.
    """
    if what == "weight_g":
        value = value[:, 0]
    if place == 1 and what == "weight_v":
        return value[:, order]
    return value[order] if place in (0, 5) else value
