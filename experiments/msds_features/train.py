"""Train the network that reads the ovals of MSDS:
`PYTHONPATH=experiments python experiments/msds_features/train.py`.

Every image is seen once: half of a batch is of MSDS1, half of MSDS2, drawn on the fly with a seed
that no data set of `rgflow.data.load` has by default, so neither the images that flows are trained
on nor those that they are tested on are among them.

Samples of flows are softer and noisier than the images that they learn from, and what a network
makes of images unlike its own is arbitrary. So half of the images are blurred and get noise,
lightly; the other half stay as they are, for real images must be read as well as can be.

Writes the weights (float16) into the package, and `result.json` beside this file: how well they
read 2,000 test images of either set, which were never used for anything but that.
"""

import argparse
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from reproducing.ovals import (
    GREY,
    JITTER,
    SCALE,
    WEIGHTS,
    Reader,
    corners,
    load_reader,
    oval_features,
    spreads,
)
from reproducing.roughening import roughened
from rgflow.data import msds
from rgflow.training.run import processor

HERE = Path(__file__).parent
CHUNK = 512
"""Images of either set that are drawn and shuffled together."""
BATCH = 128
"""Images in a training step."""
RATE, DECAY = 3e-3, 1e-4
"""Learning rate and weight decay of AdamW."""
TESTS = 2000
"""Test images."""


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """How well ovals are read.

    Attributes:
        images: Number of images.
        colour_error: Mean absolute error of a channel, in grey levels.
        angle_error: Mean absolute error of an angle, the same after 180°, in degrees.
        place_error: Mean absolute error of x and y, in pixels.
        colour_r2: Explained share of the variance of the colours.
        angle_r2: That of (cos 2θ, sin 2θ).
        place_r2: That of the places in their tiles.
    """

    images: int
    colour_error: float
    angle_error: float
    place_error: float
    colour_r2: float
    angle_r2: float
    place_r2: float


def accuracy(found: Tensor, truth: Tensor) -> Accuracy:
    """How near what is read comes to the labels.

    Args:
        found: What is read, [N, 4 (i), 4 (j), 6], as `Reader.read` gives it.
        truth: The labels `ovals`, of the same shape.

    Example:
        >>> truth = torch.rand(9, 4, 4, 6) * 170
        >>> found = truth.clone()
        >>> found[..., 2] += 183  # the same oval is there after 180°
        >>> round(accuracy(found, truth).angle_error, 2)
        3.0
    """
    found, truth = found.double(), truth.double()
    off = (found - truth).abs()
    turned = off[..., 2] % 180
    return Accuracy(
        images=len(found),
        colour_error=off[..., 3:].mean().item(),
        angle_error=torch.minimum(turned, 180 - turned).mean().item(),
        place_error=off[..., :2].mean().item(),
        colour_r2=_r2(found[..., 3:], truth[..., 3:]),
        angle_r2=_r2(_axes(found), _axes(truth)),
        place_r2=_r2(found[..., :2], truth[..., :2]),
    )


def _axes(ovals: Tensor) -> Tensor:
    """(cos 2θ, sin 2θ) of ovals, [N, 4, 4, 2]."""
    twice = torch.deg2rad(2 * ovals[..., 2])
    return torch.stack([twice.cos(), twice.sin()], -1)


def _r2(found: Tensor, truth: Tensor) -> float:
    """1 less the squared error in units of the variance of every number over the images."""
    return 1 - ((found - truth).square().sum() / (truth - truth.mean(0)).square().sum()).item()


def standardised(ovals: Tensor) -> Tensor:
    """Labels [N, 4 (i), 4 (j), 6] as the network is to read them, [N, 4 (i), 4 (j), 7].

    The last axis is red, green, blue, √2 cos 2θ, √2 sin 2θ (the same after 180°, as an oval is),
    and by how much x and y are off the tile's usual place; all in units of about their standard
    deviation.
    """
    twice = torch.deg2rad(2 * ovals[..., 2:3])
    angle = 2**0.5 * torch.cat([twice.cos(), twice.sin()], -1)
    place = (ovals[..., :2] - corners(ovals)) / JITTER
    return torch.cat([(ovals[..., 3:] - GREY) / SCALE, angle, place], -1)


def batches(steps: int, seed: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Images [BATCH, 3, 32, 32] and their labels, both sets mixed."""
    count = -(-steps * BATCH // (2 * CHUNK)) * CHUNK
    streams = [msds.stream(k, count, seed=seed, workers=0, chunk=CHUNK) for k in msds.KINDS]
    for chunks in zip(*streams, strict=True):
        images = torch.cat([torch.from_numpy(chunk.images) for chunk in chunks])
        ovals = torch.cat([torch.from_numpy(chunk.labels["ovals"]) for chunk in chunks])
        for places in torch.randperm(len(images), generator=generator).split(BATCH):
            yield images[places].float(), ovals[places]


def train(steps: int, seed: int) -> Reader:
    """The network after so many steps."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    reader = Reader().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(reader.parameters(), RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    for step, (images, ovals) in zip(range(steps), batches(steps, seed, generator), strict=False):
        x = roughened(images, generator).contiguous(memory_format=torch.channels_last)
        loss = F.mse_loss(reader.standardised(x), standardised(ovals))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            print(f"step {step:5}  loss {loss.item():.4f}", flush=True)
    return reader.eval()


def main() -> None:
    """Train, save, and measure what was saved."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--steps", type=int, default=1800)
    options.add_argument("--seed", type=int, default=1)
    settings = options.parse_args()
    torch.set_num_threads(1)
    began = time.perf_counter()
    reader = train(settings.steps, settings.seed)
    seconds = time.perf_counter() - began
    state = {
        name: tensor.half().contiguous() if tensor.is_floating_point() else tensor
        for name, tensor in reader.state_dict().items()
    }
    save_file(state, WEIGHTS)

    reader, tests = load_reader(), {}
    for kind in msds.KINDS:
        images, labels, _ = next(msds.stream(kind, TESTS, split="test", chunk=TESTS))
        truth, found = torch.from_numpy(labels["ovals"]), reader.read(torch.from_numpy(images))
        tests[kind] = {
            "accuracy": asdict(accuracy(found, truth)),
            "spreads read": asdict(spreads(found)),
            "spreads of the labels": asdict(spreads(truth)),
        }
    result = {
        "weights": oval_features().weights,
        "parameters": sum(p.numel() for p in reader.parameters()),
        "steps": settings.steps,
        "images": settings.steps * BATCH,
        "seed": settings.seed,
        "seconds": round(seconds),
        "cores": 1,
        "machine": {"processor": processor(), "cores": os.cpu_count()},
        "torch": torch.__version__,
        "tests": tests,
    }
    text = json.dumps(result, indent=2)
    (HERE / "result.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
