"""Do models that come with the package know training images better than others?

    python benchmarks/overfitting.py [MODEL ...] [--out benchmarks/results/overfitting.json]

Of models of MSDS, all if none is named: bits per dimension of the first 10,000 training images, of
as many images of the generator from a seed that nothing else uses, and of the test images, by the
model's card. Where levels leave what goes up as it is, also the bits per image of each level, of
the values that end there. What was found of other models stays in the file. Takes minutes a model.
"""

import argparse
import json
import math
from datetime import date
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rgflow import RGFlow, data, load_flow
from rgflow.data.source import Split
from rgflow.evaluation import evaluate
from rgflow.files import replacing
from rgflow.flow import Flow
from rgflow.pretrained import Card, shipped
from rgflow.repair.terms import local_terms
from rgflow.training.run import processor

COUNT = 10_000
UNUSED = 20261125
"""A seed of the generator that nothing else uses, but the tests that check the same."""


def measured(name: str) -> dict[str, Any]:
    """What a model is worth on images that it has seen, and on others."""
    flow, card = load_flow(name), Card.read(shipped()[name])

    def bits(split: Split, seed: int) -> dict[str, Any]:
        images = torch.tensor(data.load(card.config.data, split, count=COUNT, seed=seed).images)
        found = evaluate(flow, images, seed=1, subset=0)
        told = {"nll": found.nll, "standard_error": found.standard_error}
        return told | ({"levels": by_level(flow, images)} if once(flow) else {})

    seen, unseen, test = bits("train", 0), bits("test", UNUSED), card.likelihood
    gap_error = math.hypot(seen["standard_error"], unseen["standard_error"])
    error = math.hypot(test.standard_error, unseen["standard_error"])
    return {
        "command": f"python benchmarks/overfitting.py {name}",
        "date": date.today().isoformat(),
        "processor": processor(),
        "seed": UNUSED,
        "training": seen,
        "unseen": unseen,
        "test": {"nll": test.nll, "standard_error": test.standard_error},
        "gap": {"nll": unseen["nll"] - seen["nll"], "standard_error": gap_error},
        "unseen_to_test_in_standard_errors": (unseen["nll"] - test.nll) / error,
    }


def once(flow: Flow) -> bool:
    """Whether every value is mapped once, at the level where it ends."""
    config = flow.config
    return config.bijector == "coarse_to_fine" and config.depth == 1 and not config.disentanglers


@torch.no_grad()
def by_level(flow: Flow, images: Tensor) -> list[dict[str, float]]:
    """Bits per image of the values that end at each level, level 0 first."""
    assert isinstance(flow, RGFlow)
    ends, parts = torch.as_tensor(flow.lattice.site_levels), []
    for some in images.split(500):
        terms = local_terms(flow, some, torch.Generator().manual_seed(1))
        of_blocks = [
            torch.stack([x.flatten(1).sum(1) for x in layers]).sum(0) for layers in terms.blocks
        ]
        of_pixels = [(terms.pixels * (ends == h)).sum((1, 2)) for h in range(flow.levels)]
        parts.append(torch.stack(of_blocks, 1) + torch.stack(of_pixels, 1))
    bits = -torch.cat(parts).double() / math.log(2)
    means, errors = bits.mean(0).tolist(), (bits.std(0) / len(bits) ** 0.5).tolist()
    return [{"bits": m, "standard_error": e} for m, e in zip(means, errors, strict=True)]


def main() -> None:
    """Measure and write."""
    generated = [
        name
        for name, folder in shipped().items()
        if Card.read(folder).config.data in ("msds1", "msds2")
    ]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", metavar="MODEL", help=", ".join(generated))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/overfitting.json"))
    arguments = parser.parse_args()
    if unknown := set(arguments.models) - set(generated):
        parser.error(f"Expected names of {', '.join(generated)}; got {', '.join(sorted(unknown))}.")
    for name in arguments.models or generated:
        found = json.loads(arguments.out.read_text()) if arguments.out.is_file() else {}
        found[name] = one = measured(name)
        with replacing(arguments.out) as part:
            part.write_text(json.dumps(dict(sorted(found.items())), indent=2) + "\n")
        print(
            f"{name:<18} training {one['training']['nll']:.4f}, unseen {one['unseen']['nll']:.4f}, "
            f"gap {one['gap']['nll']:.4f} ± {one['gap']['standard_error']:.4f} bits/dim; "
            f"unseen less test {one['unseen_to_test_in_standard_errors']:+.2f} standard errors",
            flush=True,
        )


if __name__ == "__main__":
    main()
