"""What flows computed before the walk through the layers was made one: written once.

    python tests/before.py

writes `tests/fixtures/before.safetensors`: configs and weights of small random flows of every kind,
and in float64 their log-densities, the terms of these, latents and samples; and those of the
package's models and of the released code's fixture.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from flows import CASES, random_flow
from reproducing.released import load_released
from rgflow import load_flow, tensors
from rgflow.flow import Flow
from rgflow.pretrained import shipped

HERE = Path(__file__).parent
FILE = HERE / "fixtures" / "before.safetensors"


def images_of(flow: Flow, n: int) -> Tensor:
    """Images, or fields, that don't depend on any flow."""
    shape = (n, *flow.image_shape)
    generator = torch.Generator().manual_seed(3)
    if flow.pixels is None:
        return torch.randn(shape, generator=generator, dtype=torch.float64)
    return torch.randint(256, shape, generator=generator, dtype=torch.uint8)


@torch.no_grad()
def computed(flow: Flow, every: int = 1) -> dict[str, Tensor]:
    """Log-densities, their terms, latents and samples in float64; of the latter two each
    `every`th number."""
    flow = flow.double().eval()
    images = images_of(flow, 2)
    z = flow.encode(images, dtype=torch.float64)
    drawn = flow.draw(2, 0.7, torch.Generator().manual_seed(5))
    samples = flow.bounded(flow.decode(drawn))
    terms = flow.terms(images)
    return {
        "log_prob": flow.log_prob(images),
        "terms": torch.cat((terms.prior, terms.log_det, terms.pixels[:, None]), 1),
        "latents": z.flat()[:, ::every].contiguous(),
        "samples": samples.flatten(1)[:, ::every].contiguous(),
    }


def every_model() -> Iterator[tuple[str, Flow, int]]:
    """The package's models and the released code's: name, flow, which numbers are kept."""
    for name in shipped():
        yield name, load_flow(name), 17
    for name in ("colour", "grey"):
        path = HERE / "fixtures" / "released" / f"{name}.state"
        yield f"released-{name}", load_released(path), 1


def main() -> None:
    """Write the file."""
    found: dict[str, Tensor] = {}
    configs = {}
    for seed, (name, options) in enumerate(CASES.items()):
        flow = random_flow(torch.float32, seed=seed, **options)
        configs[name] = flow.config.to_dict()
        for parameter in flow.parameters():
            parameter.data.copy_(parameter.data.half())  # so that all formats hold it
        for key, value in flow.state_dict().items():
            exact = torch.equal(value.half().to(value.dtype), value)
            found[f"{name}/weights/{key}"] = value.half() if exact else value.clone()
        found |= {f"{name}/{key}": value for key, value in computed(flow).items()}
    for name, flow, every in every_model():
        found |= {f"{name}/{key}": value for key, value in computed(flow, every).items()}
    tensors.save(FILE, found, {"configs": json.dumps(configs)})


if __name__ == "__main__":
    main()
