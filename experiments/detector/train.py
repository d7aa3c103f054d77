"""Train the network that finds damage in photographs:
`PYTHONPATH=experiments python experiments/detector/train.py`.

`rgflow train` learns densities of fixed images by a likelihood; this network has none, and every
batch of its pictures is simulated anew. So it has a loop of its own, with the checkpoints and
signals of `rgflow.training`. Everything random depends on the number of the step alone, and the
same command goes on where it was stopped.

It learns from patches of photographs, of textures and of printed pages (`subjects.py`). Its
probabilities are then calibrated on the validation photographs.

What those of the package learned from grew: 44,000 steps of the wallpapers that the model `photos`
learned from, at first with two thirds of the channels; 28,000 of four packages of textures and of
pages, too; 40,000 that `--begins` from there, of all that is there now, but for the photographs of
monuments, animals and musicians in the first 9,397; all these of four patches of 96×96 pixels a
step, with `MORE` of 1; and 20,000 of today's settings.

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
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from detector.subjects import page, photographs, textures
from reproducing.measures.finding import found_damage
from rgflow import tensors
from rgflow.data.images import Pixels
from rgflow.files import write_json
from rgflow.numerics import bfloat16_pays
from rgflow.photographs.damage import damaged_file
from rgflow.photographs.detector import WEIGHTS, Detector, evidence
from rgflow.photographs.drawing import Random
from rgflow.photographs.simulation import Damage, Scan, Scratches, Simulator, Text
from rgflow.training.checkpoints import Checkpoints
from rgflow.training.interruptions import Interruptions
from rgflow.training.muon import Muon
from rgflow.training.run import processor

EDGE, NEW, AGAIN = 144, 2, 50
"""Pixels along an edge of a patch, new patches in a step, and after how many steps they come again,
turned, as simulating them takes as long as learning from them."""
RATE, MUON_RATE, DECAY, WARMUP, COOLDOWN = 3e-3, 0.03, 1e-4, 100, 0.5
"""Peaks of the learning rates of AdamW, which is for vectors and the last layer, and of Muon; their
weight decay, the steps to the peak, and the share of all steps in which rates fall to zero."""
LEVELS = 0.1
"""Weight of the likelihood of levels without damage beside that of where damage is."""
AVERAGE = 0.995
"""Decay of the moving average of the weights."""
TEXTURED, PRINTED = 0.5, 0.04
"""Shares of patches of textures among those of pictures, and of printed pages."""
UNDAMAGED, GREY, SHUFFLED, SHARPENED, DITHERED = 0.25, 0.15, 0.2, 0.3, 0.05
"""Shares of patches without damage, without colours, with their channels in any order, with edges
that are sharpened, and with a palette of few colours."""
OFTEN, SELDOM, MORE = 0.2, 0.1, 1.5
"""How often a kind of damage is in a crop, and how much more often in a patch of training."""
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
AMOUNTS = (1 / 3, 1, 3)
"""How much more often damage is in a crop by which probabilities are calibrated."""
HARMLESS = [(kind, chance) for kind, chance in CHANCES if not kind.hides]
PLAIN = Scan(blur=(0, 0), noise=(0, 0), gain=(1, 1), gamma=(1, 1), compressed=0.5)
"""Of pictures that were never printed."""
SCANS = (Scan(), Scan(), PLAIN)
Subjects = tuple[list[list[Pixels]], list[list[Pixels]]]
"""Photographs and textures, each in several sizes."""


def patch(subjects: Subjects, random: Random) -> Pixels:
    """A patch at any place, turned and mirrored, [3, H, W]."""
    if random.random() < PRINTED:
        return np.ascontiguousarray(page(EDGE, random).transpose(2, 0, 1))
    pictures = subjects[int(random.random() < TEXTURED)]
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


def batch(subjects: Subjects, *seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Damaged patches [N, 3, H, W], where they are damaged [N, H, W], and without that damage."""
    random, made = np.random.default_rng(seed), []
    for _ in range(NEW):
        kinds = HARMLESS if random.random() < UNDAMAGED else CHANCES
        chances = [(kind, MORE * chance) for kind, chance in kinds]
        how = Simulator(chances=chances, scan=SCANS[random.integers(len(SCANS))])
        one = how(patch(subjects, random), random)
        grey = random.random() < GREY
        seen, truth = (
            x.mean(0, keepdims=True).repeat(3, 0) if grey else x for x in (one.picture, one.truth)
        )
        made.append((seen, one.mask, truth))
    x, y, z = (torch.from_numpy(np.stack(of)).float() for of in zip(*made, strict=True))
    return x, y, z


def crops(pictures: list[list[Pixels]]) -> list[Pixels]:
    """Crops of 256×256 pixels of every picture in all sizes, [H, W, 3]."""
    random, found = np.random.default_rng(0), []
    for whole in (one for sizes in pictures for one in sizes if min(one.shape[:2]) >= 256):
        for _ in range(2):
            i, j = (random.integers(edge - 255) for edge in whole.shape[:2])
            found.append(np.ascontiguousarray(whole[i : i + 256, j : j + 256]))
    return found


def rate(step: int, steps: int) -> float:
    """The learning rate of a step, in units of its peak."""
    return min((step + 1) / WARMUP, (steps - step) / (COOLDOWN * steps), 1)


def loss_of(network: Detector, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Cross entropy of where damage is; and −log p of the levels without it, where it is."""
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16_pays()):
        odds, levels, error = network(x)
    error = error.clamp(min=0)
    likely = ((z - levels) * torch.exp(-error)) ** 2 / 2 + error
    return F.binary_cross_entropy_with_logits(odds, y), (likely.mean(1) * y).mean()


def calibrate(network: Detector, photographs: list[Pixels]) -> None:
    """Calibrate probabilities on whole crops of other pictures by the maximum likelihood: most have
    no damage, and the others little or much, as damage rarely comes alone."""
    found, truth, random = [], [], np.random.default_rng(2)
    for whole in photographs:
        for number in range(24):
            kinds, more = (CHANCES, AMOUNTS[number % 3]) if number < 6 else (HARMLESS, AMOUNTS[0])
            chances = [(kind, more * chance) for kind, chance in kinds]
            scan = SCANS[(number + number // 3) % 3]
            one = Simulator(chances=chances, scan=scan)(whole.transpose(2, 0, 1), random)
            with torch.no_grad():
                odds = network(torch.from_numpy(one.picture[None]).float())[0][0]
            some = random.integers(one.mask.size, size=5_000)
            seen = evidence(odds.sigmoid().numpy(), damaged_file(one.picture))
            found.append(seen.reshape(one.mask.size, -1)[some])
            truth.append(one.mask.ravel()[some])
    x, y = np.concatenate(found), np.concatenate(truth)
    fitted = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-8, max_iter=1000).fit(x, y)
    print(f"calibrated by {fitted.coef_[0].round(3)}", flush=True)
    network.calibration.copy_(torch.from_numpy(fitted.coef_[0]))


def main() -> None:
    """Train, calibrate, and write the weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/detector"))
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--begins", type=Path)
    settings = parser.parse_args()
    torch.set_num_threads(settings.threads)
    torch.manual_seed(0)
    network = Detector()
    if settings.begins:
        begun, _ = tensors.load(settings.begins)
        network.load_state_dict({name: x.float() for name, x in begun.items()})
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(AVERAGE), use_buffers=True)
    kernels = [x for x in network.parameters() if x.ndim == 4 and x.shape[-1] > 1]
    matrices = [nn.Parameter(x.detach().flatten(1)) for x in kernels]  # share the kernels' memory
    others = [x for x in network.parameters() if all(x is not y for y in kernels)]
    adam = torch.optim.AdamW(others, RATE, weight_decay=DECAY)
    muon = Muon(matrices, lr=MUON_RATE, decay=DECAY)
    parts = {"network": network, "average": average, "adam": adam, "muon": muon}
    checkpoints, first = Checkpoints(settings.out, 2), 0
    subjects = photographs("train", EDGE), textures("train", EDGE)
    if state := checkpoints.load():
        first = state.pop("step")
        for name, part in parts.items():
            part.load_state_dict(state[name])
    start, start_processor, every = time.monotonic(), time.process_time(), list[list[float]]()
    recent = dict[int, tuple[Tensor, ...]]()
    with Interruptions() as interruptions:
        for step in range(first, settings.steps):
            recent[step] = batch(subjects, 0, step)
            before = recent.pop(step - AGAIN, None) or batch(subjects, 0, max(step - AGAIN, 0))
            parts_of = zip(recent[step], before, strict=True)
            losses = loss_of(network, *(torch.cat((x, y.mT.flip(-1))) for x, y in parts_of))
            network.zero_grad()
            (losses[0] + LEVELS * losses[1]).backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            for matrix, kernel in zip(matrices, kernels, strict=True):
                matrix.grad = kernel.grad.flatten(1)
            for optimizer, peak in ((adam, RATE), (muon, MUON_RATE)):
                optimizer.param_groups[0]["lr"] = peak * rate(step, settings.steps)
                optimizer.step()
            average.update_parameters(network)
            every.append([x.item() for x in losses])
            ended = interruptions.noted or step + 1 == settings.steps
            if ended or (step + 1) % 200 == 0:
                spent = time.monotonic() - start, time.process_time() - start_processor
                print(
                    f"step {step + 1}: {np.mean(every, 0).round(5)}, {spent[0]:.0f} s, "
                    f"of the processor {spent[1]:.0f} s",
                    flush=True,
                )
                every.clear()
                kept = {name: part.state_dict() for name, part in parts.items()}
                checkpoints.save(step + 1, {"step": step + 1, **kept})
            if interruptions.noted:
                return
    network = average.module.eval()
    held_out = crops(photographs("validation", EDGE))
    calibrate(network, held_out)
    settings.weights.parent.mkdir(parents=True, exist_ok=True)
    tensors.save(settings.weights, {name: x.half() for name, x in network.state_dict().items()})
    print(f"{settings.weights}: {os.path.getsize(settings.weights):,} bytes", flush=True)
    if settings.weights == WEIGHTS:
        found = found_damage(held_out)
        training = {"steps": settings.steps, "processor": processor()}
        write_json(Path(__file__).with_name("result.json"), {"training": training, **found})


if __name__ == "__main__":
    main()
