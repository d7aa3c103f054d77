"""How well images are known, how good samples are, and how fast they are drawn."""

import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reproducing.face_reader import face_features, shown
from reproducing.measures.subject import Found, MeasuredFlow
from reproducing.ovals import oval_features, spreads_read
from rgflow import data
from rgflow.data import patches
from rgflow.evaluation import evaluate
from rgflow.flow import Flow
from rgflow.metrics.scores import score
from rgflow.photographs import bits as photograph_bits
from rgflow.repair.particles import maps_once
from rgflow.repair.terms import local_terms
from rgflow.text import mean_and_error


def bits(subject: MeasuredFlow, *, count: int = 10_000, split: data.Split = "test") -> Found:
    """Bits per dimension of images, with their error and the importance-weighted bound."""
    images, labels = subject.images(count, split), subject.classes(count, split)
    return Found(numbers=asdict(evaluate(subject.flow, images, labels=labels)))


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


def photographs(subject: MeasuredFlow) -> Found:
    """Bits per dimension of whole photographs, as they are and reduced by averaging 2×2 and 4×4
    pixels, beside those of files that codecs write without loss, headers included: of the one that
    was left out, or of all seven where a flow has learned from others."""
    try:
        import imagecodecs
    except ImportError as error:
        raise ValueError(
            "Expected imagecodecs for photographs beside codecs; it isn't installed: pip install "
            "'rgflow[benchmarks]'."
        ) from error

    codecs = {
        "JPEG XL": lambda x: imagecodecs.jpegxl_encode(x, effort=9, lossless=True),
        "WebP": lambda x: imagecodecs.webp_encode(x, lossless=True, level=9, method=6),
        "PNG": lambda x: imagecodecs.png_encode(x, level=9),
    }
    kind, _, left_out = subject.config.data.partition(":")
    rows = []
    for name in [left_out] if kind == "patches" else patches.PHOTOGRAPHS:
        for scale in patches.SCALES:
            x8 = patches.photograph(name, scale)
            start = time.process_time()
            found = photograph_bits(subject.flow, torch.tensor(x8)[None])
            row = {"flow": found.per_dim.item(), "seconds": time.process_time() - start}
            pixels = np.ascontiguousarray(x8.transpose(1, 2, 0))
            row |= {codec: 8 * len(write(pixels)) / x8.size for codec, write in codecs.items()}
            rows.append({"name": name, "scale": scale, "pixels": x8[0].size, **row})

    def mean(key: str, scales: tuple[int, ...]) -> float:
        return fmean(row[key] for row in rows if row["scale"] in scales)

    keys = ("flow", *codecs)
    numbers = {
        **{
            f"scale_{scale}": {key: mean(key, (scale,)) for key in keys} for scale in patches.SCALES
        },
        "all_scales": {key: mean(key, patches.SCALES) for key in keys},
        "rows": rows,
    }
    return Found(numbers=numbers)


def seams(subject: MeasuredFlow, *, count: int = 64, size: int = 64) -> Found:
    """How much neighbours differ across multiples of 2, 4, …, over how much they do elsewhere, in
    samples and in test images; 1 where there are no seams. Flows that can be resized draw samples
    of an edge of their own."""
    flow = subject.flow
    with suppress(ValueError):
        flow = flow.resized(size, size)
    drawn = flow.sample(count, generator=torch.Generator().manual_seed(0)).floor()
    test = subject.images(count * (size // subject.flow.image_shape[1]) ** 2)
    edges = [2**k for k in range(1, 6) if 2**k < min(flow.image_shape[1:])]
    return Found(
        numbers={
            "edges": edges,
            "samples": {str(edge): _seam(drawn, edge) for edge in edges},
            "images": {str(edge): _seam(test, edge) for edge in edges if edge < test.shape[-1]},
        }
    )


def _seam(images: Tensor, edge: int) -> float:
    """The mean difference of neighbours across multiples of an edge over that elsewhere."""
    across, elsewhere = [], []
    for axis in (2, 3):
        step = images.double().diff(dim=axis).abs().mean([a for a in range(4) if a != axis])
        at = torch.arange(1, len(step) + 1) % edge == 0
        across.append(step[at])
        elsewhere.append(step[~at])
    return (torch.cat(across).mean() / torch.cat(elsewhere).mean()).item()


def samples(subject: MeasuredFlow, *, count: int = 10_000, temperature: float = 1.0) -> Found:
    """Fréchet distances of samples to training images, FID if its features are there; of MSDS also
    how ovals spread, and of faces what a network reads in them. Flows with labels get those of
    test images."""
    test, kind = subject.images(count), subject.config.data[:5]
    readers: dict[str, Callable[[Tensor], Any]]
    readers = {"msds1": spreads_read, "msds2": spreads_read, "faces": shown}
    read = readers.get(kind)
    more = [subject.inception] if subject.inception else []
    if read:
        more = [face_features()] if read is shown else [oval_features(subject.flow.device), *more]
    drawn, distances = score(
        subject.flow,
        subject.images(count, "train"),
        test,
        more=more,
        temperature=temperature,
        labels=subject.classes(count),
    )
    rows = map(asdict, distances)
    return Found(
        numbers={
            # By the name of the distance, so that a table can ask for one.
            "distances": {row.pop("name"): row for row in rows},
            "samples": asdict(read(drawn)) if read else None,
            "tests": asdict(read(test)) if read else None,
        }
    )


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
