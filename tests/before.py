"""What flows computed before the core was made anew: written once, compared for ever.

    python tests/before.py

writes `tests/fixtures/before.safetensors`: configs, weights, and in float64 the log-densities,
latents and samples of small flows of every kind, and those of the package's models and of the
released code's fixture. Names of weights and forms of configs are those of then, so that reading
the file also tests that old folders are read.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flows import random_flow
from rgflow import load_flow, tensors
from rgflow.flow import Flow
from rgflow.pretrained import shipped
from rgflow.released import load_released

HERE = Path(__file__).parent
FILE = HERE / "fixtures" / "before.safetensors"

KINDS: dict[str, dict[str, Any]] = {
    "affine": {"bijector": "affine", "m": 4},
    "spline": {"bijector": "spline", "conditioner": "trunk", "bins": 4},
    "mixture": {"bijector": "mixture", "conditioner": "trunk", "components": 2},
    "autoregressive": {"bijector": "autoregressive", "bins": 3, "m": 2},
    "cube": {"bijector": "cube", "conditioner": "released", "bins": 4, "pixels": "marginal"},
    "coarse_to_fine": {"bijector": "coarse_to_fine", "splits": 2, "stem": 4, "pixels": "marginal"},
    "real_nvp": {"architecture": "real_nvp", "levels": 2, "hidden": 4},
}
VARIANTS: list[dict[str, Any]] = [
    {},
    {"boundary": "open", "width": 16, "channels": 2},
    {"order": "released", "shared": True, "prior": "gaussian"},
    {"disentanglers": False, "prior": "student", "depth": (2, 1), "levels": 2, "channels": 2},
    {"m": (2, 4), "hidden": (4, 8), "prior_scale": 2.0, "channels": 2},
]
NOT_OF_REAL_NVP = ("order", "shared", "boundary", "disentanglers", "m", "depth")


def small(kind: str, variant: int) -> dict[str, Any]:
    """The config of one small flow, as it was written then."""
    one = {"height": 8, "width": 8, "channels": 1, "depth": 1, "hidden": 6, "blocks": 1, "m": 2}
    changed = VARIANTS[variant]
    if kind == "real_nvp":
        changed = {key: x for key, x in changed.items() if key not in NOT_OF_REAL_NVP}
        changed.pop("hidden", None)
    extra: dict[str, Any] = {}
    if variant == 1 and kind in ("affine", "spline", "mixture", "autoregressive"):
        extra["channel_mixing"] = True
    if variant == 4 and kind not in ("autoregressive", "real_nvp"):
        extra["position_embedding"] = 2
    if variant == 3:
        extra["dequantization"] = "variational"
    if variant == 2 and kind in ("affine", "autoregressive", "real_nvp"):
        extra["pixels"] = None
    return {**one, **KINDS[kind], **changed, **extra}


def images_of(flow: Flow, n: int) -> Tensor:
    """Images, or fields, that don't depend on any flow."""
    shape = (n, *flow.image_shape)
    generator = torch.Generator().manual_seed(3)
    if flow.pixels is None:
        return torch.randn(shape, generator=generator, dtype=torch.float64)
    return torch.randint(256, shape, generator=generator, dtype=torch.uint8)


@torch.no_grad()
def computed(flow: Flow, every: int = 1) -> dict[str, Tensor]:
    """Log-densities, latents and samples in float64; of the latter two each `every`th number."""
    flow = flow.double().eval()
    images = images_of(flow, 2)
    z = flow.encode(images, dtype=torch.float64)
    drawn = flow.draw(2, 0.7, torch.Generator().manual_seed(5))
    samples = flow.bounded(flow.decode(drawn))
    return {
        "log_prob": flow.log_prob(images),
        "latents": z.flat()[:, ::every].contiguous(),
        "samples": samples.flatten(1)[:, ::every].contiguous(),
    }


def every_flow() -> Iterator[tuple[str, Flow, int]]:
    """The package's models and the released code's: name, flow, which numbers are kept."""
    for name in shipped():
        if name != "photos":  # younger than the file
            yield name, load_flow(name), 17
    for name in ("colour", "grey"):
        yield name, load_released(HERE / "fixtures" / "released" / f"{name}.state"), 1


def main() -> None:
    """Write the file."""
    found: dict[str, Tensor] = {}
    configs: dict[str, Any] = {}
    for kind in KINDS:
        for variant in range(len(VARIANTS)):
            name = f"{kind}-{variant}"
            flow = random_flow(torch.float32, seed=variant, **small(kind, variant))
            configs[name] = flow.config.to_dict()
            for parameter in flow.parameters():
                parameter.data.copy_(parameter.data.half())  # so that all formats hold it
            for key, value in flow.state_dict().items():
                exact = torch.equal(value.half().to(value.dtype), value)
                found[f"{name}/weights/{key}"] = value.half() if exact else value.clone()
            found |= {f"{name}/{key}": value for key, value in computed(flow).items()}
    for name, flow, every in every_flow():
        found |= {f"{name}/{key}": value for key, value in computed(flow, every).items()}
    tensors.save(FILE, found, {"configs": json.dumps(configs)})


if __name__ == "__main__":
    main()
