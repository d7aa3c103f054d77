"""How well images are known, how good samples are, and how fast they are drawn."""

import math
import time
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from reproducing.measures.subject import Found, MeasuredFlow
from rgflow import data
from rgflow.evaluation import evaluate
from rgflow.flow import Flow
from rgflow.metrics.scores import score
from rgflow.repair.particles import maps_once
from rgflow.repair.terms import local_terms
from rgflow.text import mean_and_error


def bits(subject: MeasuredFlow, *, count: int = 10_000, split: data.Split = "test") -> Found:
    """Bits per dimension of images, with their error and the importance-weighted bound."""
    return Found(numbers=asdict(evaluate(subject.flow, subject.images(count, split))))


def overfitting(subject: MeasuredFlow, *, count: int = 10_000, seed: int = 20261128) -> Found:
    """Are images that were learned known better than others? Bits per dimension of the first
    training images and of as many that nobody has seen, which the generator of MSDS draws from a
    seed by which nothing is chosen. Where every value is mapped once, also bits per image of the
    values that end at each level.

    Raises:
        ValueError: If images can't be drawn without an end.
    """
    flow, name, noise = subject.flow, subject.config.data, 1
    if name not in ("msds1", "msds2"):
        raise ValueError(
            f"Expected a flow of msds1 or msds2, of which any number of images can be drawn; "
            f"{subject.name} is of {name}."
        )

    def measured(split: data.Split, of: int) -> dict[str, Any]:
        images = torch.tensor(data.load(name, split, count=count, seed=of, progress=False).images)
        found = evaluate(flow, images, seed=noise, subset=0)
        numbers = {"nll": found.nll, "standard_error": found.standard_error}
        return numbers | ({"levels": _level_bits(flow, images, noise)} if maps_once(flow) else {})

    seen, unseen = measured("train", 0), measured("test", seed)
    gap = {
        "nll": unseen["nll"] - seen["nll"],
        "standard_error": math.hypot(seen["standard_error"], unseen["standard_error"]),
    }
    seeds = {"unseen": seed, "noise": noise}
    numbers = {"images": count, "seeds": seeds, "training": seen, "unseen": unseen, "gap": gap}
    return Found(numbers=numbers)


def samples(subject: MeasuredFlow, *, count: int = 10_000, temperature: float = 1.0) -> Found:
    """Fréchet distances of samples to training images, FID if its features are there; of MSDS also
    how ovals spread."""
    found = score(
        subject.flow,
        subject.images(count, "train"),
        subject.images(count),
        ovals=subject.config.data.startswith("msds"),
        inception=subject.inception,
        temperature=temperature,
    )
    numbers = asdict(found)
    # By the name of the distance, so that a table can ask for one.
    numbers["distances"] = {one.pop("name"): one for one in numbers["distances"]}
    return Found(numbers=numbers)


def speed(subject: MeasuredFlow, *, count: int = 64) -> Found:
    """How many images are drawn in a second of a processor, all at once."""
    generator = torch.Generator().manual_seed(0)
    subject.flow.sample(2, generator=generator)  # what is done once only
    start = time.process_time()
    subject.flow.sample(count, generator=generator)
    seconds = time.process_time() - start
    return Found(numbers={"count": count, "sampling_images_per_second": count / seconds})


@torch.no_grad()
def _level_bits(flow: Flow, images: Tensor, seed: int) -> list[dict[str, float]]:
    """Bits per image of the values that end at each level, level 0 first."""
    device, parts = flow.device, []
    ends = torch.as_tensor(flow.lattice.site_levels, device=device)
    for some in images.split(500):
        terms = local_terms(flow, some.to(device), torch.Generator().manual_seed(seed))
        of_blocks = [
            torch.stack([x.flatten(1).sum(1) for x in layers]).sum(0) for layers in terms.blocks
        ]
        of_pixels = [(terms.pixels * (ends == h)).sum((1, 2)) for h in range(flow.levels)]
        parts.append(torch.stack(of_blocks, 1) + torch.stack(of_pixels, 1))
    bits = -torch.cat(parts).double().cpu() / math.log(2)
    found = map(mean_and_error, bits.T)
    return [{"bits": mean, "standard_error": error} for mean, error in found]
