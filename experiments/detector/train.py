"""Train the network that finds damage in photographs:
`PYTHONPATH=experiments python experiments/detector/train.py`.

`rgflow train` learns densities of fixed images by a likelihood; this network has none, and every
batch of its pictures is simulated anew. So it has a loop of its own, with the checkpoints and
signals of `rgflow.training`. Everything random depends on the number of the step alone, and the
same command goes on where it was stopped.

It learns from patches of the 37 photographs among Debian's wallpapers that the model `photos`
learned from. Its log-odds are then scaled and shifted so that probabilities are right on the
validation photographs, with other seeds.

Writes the weights (float16) into the package, and `result.json` beside this file: how well they
find damage of the validation photographs, of other settings than those of training.
"""

import argparse
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from reproducing.measures.pictures import found_damage
from rgflow import tensors
from rgflow.data import wallpapers
from rgflow.data.images import Pixels
from rgflow.data.source import Request, Split
from rgflow.files import write_json
from rgflow.numerics import bfloat16_pays
from rgflow.photographs.detector import WEIGHTS, Detector
from rgflow.photographs.drawing import Random
from rgflow.photographs.simulation import Damage, Scan, Scratches, Simulator, Text
from rgflow.training.checkpoints import Checkpoints
from rgflow.training.interruptions import Interruptions
from rgflow.training.run import processor

EDGE, BATCH = 96, 8
"""Pixels along an edge of a patch, and patches in a step."""
RATE, DECAY, WARMUP, COOLDOWN = 3e-3, 1e-4, 100, 0.5
"""Peak of the learning rate of AdamW, its weight decay, the steps to the peak, and the share of all
steps in which it falls to zero."""
AVERAGE = 0.995
"""Decay of the moving average of the weights."""
UNDAMAGED, GREY, SHUFFLED, SHARPENED, DITHERED = 0.25, 0.15, 0.2, 0.3, 0.05
"""Shares of patches without damage, without colours, with their channels in any order, with edges
that are sharpened, and with a palette of few colours."""
OFTEN, SELDOM = 0.2, 0.1
"""How often a kind of damage is in a patch."""
HARD: dict[str, Any] = {
    "digital": True, "opacity": (1, 1), "softness": (0, 0), "uneven": (0, 0), "grain": (0, 0),
    "shades": ((0, 0), (255, 255), (40, 255)),
}  # fmt: skip
"""What is drawn on a file rather than a print."""
CHANCES = [
    *((Damage.from_dict(name), OFTEN) for name in ("scratches", "hairs", "dust", "specks")),
    *((Damage.from_dict(name), SELDOM) for name in ("fibres", "cracks", "folds", "text")),
    *((Damage.from_dict(name), SELDOM) for name in ("finger marks", "date stamps")),
    *((Damage.from_dict(name), SELDOM) for name in ("dead pixels", "missing blocks")),
    *((Damage.from_dict(name), SELDOM) for name in ("missing lines", "stains", "tape")),
    *((Damage.from_dict(name), SELDOM) for name in ("faded borders", "margins")),
    (Scratches(**HARD), SELDOM),
    (Text(**HARD), SELDOM),
]
HARMLESS = [(kind, chance) for kind, chance in CHANCES if not kind.hides]
PLAIN = Scan(blur=(0, 0), noise=(0, 0), gain=(1, 1), gamma=(1, 1), compressed=0.5)
"""Of pictures that were never printed."""
SCANS = (Scan(), Scan(), PLAIN)


def photographs(split: Split) -> list[list[Pixels]]:
    """The wallpapers of a split in all sizes, [H, W, 3]."""
    request = Request(name="wallpapers", split=split, height=EDGE, width=EDGE, channels=3)
    paths = [wallpapers.ROOT / name for of in wallpapers.FILES.values() for name in of]
    return [
        [pixels for _, pixels in wallpapers.reductions(path, request)]
        for number, path in enumerate(paths)
        if wallpapers.HELD_OUT.get(number % 8, "train") == split
    ]


def patch(pictures: list[list[Pixels]], random: Random) -> Pixels:
    """A patch at any place, turned and mirrored, [3, H, W]."""
    sizes = pictures[random.integers(len(pictures))]
    whole = sizes[random.integers(len(sizes))]
    i, j = (random.integers(edge - EDGE + 1) for edge in whole.shape[:2])
    found = np.rot90(whole[i : i + EDGE, j : j + EDGE], random.integers(4))
    found = found[:, :: random.choice([-1, 1])]
    if random.random() < SHUFFLED:
        found = found[..., random.permutation(3)]
    if random.random() < SHARPENED:
        how = ImageFilter.UnsharpMask(random.uniform(0.6, 2), int(random.integers(20, 150)), 0)
        found = np.asarray(Image.fromarray(np.ascontiguousarray(found)).filter(how))
    if random.random() < GREY:
        found = found.mean(-1, keepdims=True).repeat(3, -1).astype(np.uint8)
    if random.random() < DITHERED:
        colours = int(random.integers(8, 257))
        few = Image.fromarray(np.ascontiguousarray(found)).quantize(colours)
        found = np.asarray(few.convert("RGB"))
    return np.ascontiguousarray(found.transpose(2, 0, 1))


def batch(pictures: list[list[Pixels]], *seed: int) -> tuple[Tensor, Tensor]:
    """Damaged patches [N, 3, H, W], and where they are damaged [N, H, W]."""
    random, made = np.random.default_rng(seed), []
    for _ in range(BATCH):
        chances = HARMLESS if random.random() < UNDAMAGED else CHANCES
        how = Simulator(chances=chances, scan=SCANS[random.integers(len(SCANS))])
        one = how(patch(pictures, random), random)
        grey = random.random() < GREY
        seen = one.picture.mean(0, keepdims=True).repeat(3, 0) if grey else one.picture
        made.append((seen.astype(np.float32), one.mask.astype(np.float32)))
    x, y = (torch.from_numpy(np.stack(of)) for of in zip(*made, strict=True))
    return x, y


def crops(pictures: list[list[Pixels]]) -> list[Pixels]:
    """Crops of 256×256 pixels of every photograph in all sizes, [H, W, 3]."""
    random, found = np.random.default_rng(0), []
    for whole in (one for sizes in pictures for one in sizes if min(one.shape[:2]) >= 256):
        for _ in range(2):
            i, j = (random.integers(edge - 255) for edge in whole.shape[:2])
            found.append(np.ascontiguousarray(whole[i : i + 256, j : j + 256]))
    return found


def rate(step: int, steps: int) -> float:
    """The learning rate of a step."""
    left = (steps - step) / (COOLDOWN * steps)
    return RATE * min((step + 1) / WARMUP, left, 1)


def calibrated(
    network: Detector, pictures: list[list[Pixels]], batches: int
) -> tuple[float, float]:
    """The scale and shift of log-odds that are right on other pictures, by maximum likelihood."""
    with torch.no_grad():
        found = [(network(x), y) for x, y in (batch(pictures, 1, n) for n in range(batches))]
    odds, truth = (torch.cat([x.flatten() for x in of]) for of in zip(*found, strict=True))
    ends = torch.tensor([1.0, 0.0], requires_grad=True)
    optimizer = torch.optim.LBFGS([ends], line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.binary_cross_entropy_with_logits(ends[0] * odds + ends[1], truth)
        value.backward()
        return value

    before = F.binary_cross_entropy_with_logits(odds, truth).item()
    optimizer.step(loss)
    print(f"cross entropy of validation: {before:.5f}, calibrated {loss().item():.5f}", flush=True)
    return ends[0].item(), ends[1].item()


def main() -> None:
    """Train, calibrate, and write the weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/detector"))
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    settings = parser.parse_args()
    torch.set_num_threads(settings.threads)
    torch.manual_seed(0)
    network = Detector()
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(AVERAGE), use_buffers=True)
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=DECAY)
    parts = {"network": network, "average": average, "optimizer": optimizer}
    checkpoints, pictures, first = Checkpoints(settings.out, 2), photographs("train"), 0
    if state := checkpoints.load():
        first = state.pop("step")
        for name, part in parts.items():
            part.load_state_dict(state[name])
    start, start_processor, losses = time.monotonic(), time.process_time(), list[float]()
    with Interruptions() as interruptions:
        for step in range(first, settings.steps):
            x, y = batch(pictures, 0, step)
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16_pays()):
                odds = network(x)
            loss = F.binary_cross_entropy_with_logits(odds.float(), y)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            for group in optimizer.param_groups:
                group["lr"] = rate(step, settings.steps)
            optimizer.step()
            average.update_parameters(network)
            losses.append(loss.item())
            ended = interruptions.noted or step + 1 == settings.steps
            if ended or (step + 1) % 200 == 0:
                print(
                    f"step {step + 1}: {np.mean(losses):.5f}, {time.monotonic() - start:.0f} s, "
                    f"of the processor {time.process_time() - start_processor:.0f} s",
                    flush=True,
                )
                losses.clear()
                kept = {name: part.state_dict() for name, part in parts.items()}
                checkpoints.save(step + 1, {"step": step + 1, **kept})
            if interruptions.noted:
                return
    network = average.module.eval()
    scale, shift = calibrated(network, photographs("validation"), 150)
    with torch.no_grad():
        network.last.weight *= scale
        network.last.bias.mul_(scale).add_(shift)
    settings.weights.parent.mkdir(parents=True, exist_ok=True)
    tensors.save(settings.weights, {name: x.half() for name, x in network.state_dict().items()})
    print(f"{settings.weights}: {os.path.getsize(settings.weights):,} bytes", flush=True)
    if settings.weights == WEIGHTS:
        found = found_damage(crops(photographs("validation")))
        training = {"steps": settings.steps, "processor": processor()}
        write_json(Path(__file__).with_name("result.json"), {"training": training, **found})


if __name__ == "__main__":
    main()
