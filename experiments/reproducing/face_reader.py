"""A small network that reads the labels of faces of 64×64 pixels: what samples show has none.

`PYTHONPATH=experiments python -m reproducing.face_reader` trains it on training images of the data
set `faces`, whose shifts, turns and light are those of all its images, and goes on where it was
stopped. Half of the images are blurred and get noise, lightly, as samples are softer and noisier
than what flows learn from. It writes the weights (float16) and `result.json`, with the accuracy of
every factor on test images, into `experiments/face_reader`.

Letters in shapes: N images; K factors; F = 128 features.
"""

import argparse
import os
import time
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reproducing.roughening import roughened
from rgflow import tensors
from rgflow.data import load
from rgflow.data.faces import CLASSES
from rgflow.files import write_json
from rgflow.metrics.frechet import Features
from rgflow.numerics import bfloat16_pays
from rgflow.training.batches import Batches
from rgflow.training.checkpoints import Checkpoints
from rgflow.training.run import processor

FACTORS = {name.removesuffix("_class"): len(classes) for name, classes in sorted(CLASSES.items())}
"""The number of classes of every factor, by name."""
FOLDER = Path(__file__).parents[1] / "face_reader"
WEIGHTS = FOLDER / "weights.safetensors"
EDGE = 64
FEATURES = 128
BATCH, RATE, DECAY, WARMUP = 128, 3e-3, 1e-2, 100
"""Images in a step; peak of the learning rate and weight decay of AdamW, and the steps to the peak,
from which the rate falls to zero."""
SAVE_EVERY = 100
"""Steps between two checkpoints."""
SURE = 0.9
"""Probability of a class from which on the network is sure of it."""


class FaceReader(nn.Module):
    """From images to features, in units of their standard deviation over training images, and by a
    linear map on to the log-odds of the classes of every factor.

    Example:
        >>> reader = FaceReader().eval()
        >>> x8 = torch.zeros(2, 3, 64, 64, dtype=torch.uint8)
        >>> reader(x8).shape, reader.read(x8)[0].shape
        (torch.Size([2, 128]), torch.Size([2, 14]))
    """

    def __init__(self) -> None:
        super().__init__()

        def layer(before: int, after: int, edge: int, stride: int) -> list[nn.Module]:
            own = nn.Conv2d(before, after, edge, stride, 1, bias=False)
            return [own, nn.BatchNorm2d(after), nn.SiLU()]

        self.trunk = nn.Sequential(
            *layer(3, 32, 4, 2),
            *layer(32, 64, 4, 2),
            *layer(64, 64, 3, 1),
            *layer(64, 128, 3, 2),
            *layer(128, 128, 3, 1),
            *layer(128, 32, 3, 1),
            nn.Flatten(),
            nn.Linear(32 * (EDGE // 8) ** 2, FEATURES),
            nn.SiLU(),
            nn.BatchNorm1d(FEATURES, affine=False),
        )
        self.read_out = nn.Linear(FEATURES, sum(FACTORS.values()))

    def forward(self, images: Tensor) -> Tensor:
        """The features [N, F] of images [N, 3, 64, 64], uint8 or reals in [0, 256).

        Raises:
            ValueError: If the images have another size.
        """
        if images.ndim != 4 or images.shape[1:] != (3, EDGE, EDGE):
            raise ValueError(
                f"Expected faces, [N, 3, {EDGE}, {EDGE}]; got {list(images.shape)}: train on faces "
                f"of that size."
            )
        x = (images.float() - 127.5) / 64
        found: Tensor = self.trunk(x.contiguous(memory_format=torch.channels_last))
        return found

    def log_odds(self, images: Tensor) -> tuple[Tensor, ...]:
        """Those of the classes of each factor, [N, classes]."""
        return self.read_out(self(images)).float().split([*FACTORS.values()], 1)

    @torch.no_grad()
    def read(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The likeliest class of every factor, and its probability, both [N, K]."""
        classes, probability = list[Tensor](), list[Tensor]()
        for some in images.split(256):
            best = [odds.softmax(1).max(1) for odds in self.log_odds(some)]
            classes.append(torch.stack([one.indices for one in best], 1))
            probability.append(torch.stack([one.values for one in best], 1))
        return torch.cat(classes), torch.cat(probability)


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What the network reads in images.

    Attributes:
        images: Number of images N.
        sure: Share of those in which it is sure of every factor.
        sure_of: Share of those in which it is sure, by factor.
        classes: How frequent every class is, by factor.
    """

    images: int
    sure: float
    sure_of: dict[str, float]
    classes: dict[str, list[float]]


def shown(images: Tensor) -> Shown:
    """What images show, uint8 [N, 3, 64, 64]."""
    classes, probability = load_reader().read(images)
    sure = probability >= SURE
    return Shown(
        images=len(images),
        sure=sure.all(1).float().mean().item(),
        sure_of=dict(zip(FACTORS, sure.float().mean(0).tolist(), strict=True)),
        classes={
            name: (column.bincount(minlength=count) / len(images)).tolist()
            for (name, count), column in zip(FACTORS.items(), classes.T, strict=True)
        },
    )


def face_features() -> Features:
    """What the Fréchet distance of faces is over."""
    reader = load_reader()
    return Features(
        name="faces",
        extract=reader,
        resizing=f"none, {EDGE}×{EDGE}",
        weights=sha256(WEIGHTS.read_bytes()).hexdigest(),
    )


@cache
def load_reader() -> FaceReader:
    """The network, in float32; it is trained first if there are no weights."""
    if not WEIGHTS.is_file():
        learn()
    reader = FaceReader()
    reader.load_state_dict(tensors.load(WEIGHTS)[0])
    return reader.requires_grad_(False).eval()


def learn(steps: int = 1500, images: int = 25_000, checkpoints: str = "runs/face_reader") -> None:
    """Train the network, write its weights, and measure what was written."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    train = load("faces", height=EDGE, width=EDGE, count=images)
    batches = Batches(train.images, batch_size=BATCH, labels=train.classes(FACTORS))
    reader = FaceReader()
    optimizer = torch.optim.AdamW(reader.parameters(), RATE, weight_decay=DECAY)
    kept, first, seconds = Checkpoints(Path(checkpoints), 2), 0, 0.0
    if state := kept.load():
        first, seconds = state["step"], state["seconds"]
        reader.load_state_dict(state["reader"])
        optimizer.load_state_dict(state["optimizer"])
    start = time.process_time() - seconds
    for step in range(first, steps):
        batch = batches.at(step, torch.device("cpu"))
        assert batch.images is not None
        assert batch.labels is not None
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16_pays()):
            found = reader.log_odds(roughened(batch.images, batch.generator))
        losses = [F.cross_entropy(x, y) for x, y in zip(found, batch.labels.T, strict=True)]
        loss = torch.stack(losses).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.param_groups[0]["lr"] = RATE * min((step + 1) / WARMUP, (steps - step) / steps)
        optimizer.step()
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == steps:
            seconds = time.process_time() - start
            print(f"step {step + 1}: {loss.item():.3f}, {seconds:.0f} s", flush=True)
            state = {"reader": reader.state_dict(), "optimizer": optimizer.state_dict()}
            kept.save(step + 1, {"step": step + 1, "seconds": seconds, **state})
    FOLDER.mkdir(exist_ok=True)
    half = {
        name: x.half() if x.is_floating_point() else x for name, x in reader.state_dict().items()
    }
    tensors.save(WEIGHTS, half)
    load_reader.cache_clear()
    write_json(FOLDER / "result.json", {
        "parameters": sum(x.numel() for x in reader.parameters()),
        "steps": steps,
        "images": images,
        "processor_seconds": round(seconds),
        "machine": {"processor": processor(), "cores": os.cpu_count()},
        "torch": torch.__version__,
        "test": accuracy(),
    })  # fmt: skip


def accuracy(count: int = 2000) -> dict[str, object]:
    """How many test images are read rightly, in every factor and in all of them."""
    test = load("faces", "test", height=EDGE, width=EDGE, count=count)
    images, truth = torch.from_numpy(test.images.copy()), test.classes(FACTORS)
    assert truth is not None
    right = load_reader().read(images)[0] == torch.from_numpy(truth)
    return {
        "images": count,
        "factors": dict(zip(FACTORS, right.float().mean(0).tolist(), strict=True)),
        "all": right.all(1).float().mean().item(),
        "sure": shown(images).sure,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--images", type=int, default=25_000)
    parser.add_argument("--checkpoints", default="runs/face_reader")
    learn(**vars(parser.parse_args()))
