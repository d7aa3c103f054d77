"""One way to train and to measure flows of other libraries: same images, noise, budget and measure.

Letters in shapes: N images, C, H, W their channels, rows and columns.
"""

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rgflow.data import Split, load
from rgflow.files import replacing
from rgflow.kinds import trust
from rgflow.metrics.frechet import compare
from rgflow.training.run import git_state, processor

RATES = (5e-4, 1.5e-3, 4.5e-3, 1.35e-2)
"""Learning rates that are tried for `TRIAL` minutes each, if none is given."""
TRIAL = 1.0
"""Minutes of a trial of a learning rate."""
WARMUP = 50
"""Steps over which the learning rate rises from 0; then a cosine down to 0 at the budget's end."""
AVERAGE = 0.99
"""Decay per step of the moving average of the weights, which is what is evaluated."""
CLIP = 1.0
"""Largest norm of the gradient of the loss in nats per dimension."""
EVERY = 60.0
"""Processor seconds between two validations, each with a checkpoint."""
VALIDATION = 500
"""Validation images, few so that validations take little of the budget."""
SAMPLES = 64
"""Samples drawn at a time, and to time sampling."""


class Peer(nn.Module):
    """A flow of another library, in pixels."""

    packages: tuple[str, ...] = ()
    """Whose versions are recorded."""
    revision: str | None = None
    """Of code that isn't a package."""
    betas = (0.9, 0.999)
    weight_decay = 0.0

    def log_prob(self, x: Tensor) -> Tensor:
        """ln p of dequantised images [N, C, H, W] in [0, 256), per unit of these numbers: [N]."""
        raise NotImplementedError

    def sample(self, count: int) -> Tensor:
        """Images [count, C, H, W] in the same numbers."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What decides a run, beside the peer itself."""

    peer: str
    data: str
    minutes: float
    lr: float
    seed: int
    batch: int
    flip: bool
    test: int
    size: int = 32
    train: int | None = None

    def images(self, split: Split, count: int | None = None) -> Tensor:
        """The first images of a split, uint8 [N, 3, size, size]."""
        found = load(self.data, split, height=self.size, width=self.size, count=count)
        return torch.tensor(found.images)


class Training:
    """A peer in training: weights, their average, optimiser, and the processor time it took."""

    def __init__(self, peer: Peer, settings: Settings, images: Tensor) -> None:
        self.peer, self.settings, self.images = peer, settings, images
        with torch.no_grad():  # the first batch sets what is initialised by data
            peer.train()
            peer.log_prob(self.batch(0))
        self.average = deepcopy(peer)
        self.best = deepcopy(peer.state_dict())
        self.optimiser = torch.optim.AdamW(
            peer.parameters(), betas=peer.betas, weight_decay=peer.weight_decay
        )
        self.step = self.skipped = 0
        self.seconds = 0.0
        self.curve: list[dict[str, float]] = []
        self.started = datetime.now(UTC).isoformat(timespec="seconds")
        self.before = 0.0  # processor seconds of earlier sessions

    @property
    def budget(self) -> float:
        """Processor seconds of training."""
        return 60 * self.settings.minutes

    def batch(self, step: int) -> Tensor:
        """The dequantised images of a step, which are a function of the seed and the step alone."""
        size, total = self.settings.batch, len(self.images)
        epoch, place = divmod(step, total // size)
        order = torch.randperm(total, generator=seeded(self.settings.seed, 0, epoch))
        x8 = self.images[order[place * size : (place + 1) * size]]
        generator = seeded(self.settings.seed, 1, step)
        if self.settings.flip:
            mirrored = torch.rand(len(x8), 1, 1, 1, generator=generator) < 0.5
            x8 = torch.where(mirrored, x8.flip(3), x8)
        return x8 + torch.rand(x8.shape, generator=generator)

    def learn(self) -> None:
        """One step of the optimiser."""
        began = time.process_time()
        rise = min(1.0, (self.step + 1) / WARMUP)
        fall = (1 + math.cos(math.pi * min(1.0, self.seconds / self.budget))) / 2
        for group in self.optimiser.param_groups:
            group["lr"] = self.settings.lr * rise * fall
        x = self.batch(self.step)
        self.optimiser.zero_grad()
        (-self.peer.log_prob(x).mean() / x[0].numel()).backward()
        norm = nn.utils.clip_grad_norm_(self.peer.parameters(), CLIP)
        if norm.isfinite():
            self.optimiser.step()
        else:
            self.skipped += 1
        decay = min(AVERAGE, (1 + self.step) / (10 + self.step))
        averages = self.average.state_dict().values()
        for average, now in zip(averages, self.peer.state_dict().values(), strict=True):
            if average.is_floating_point():
                average.lerp_(now, 1 - decay)
            else:
                average.copy_(now)
        self.step += 1
        self.seconds += time.process_time() - began

    def validate(self, images: Tensor) -> None:
        """Add to the curve, and keep the average if it is the best so far."""
        bits, error = bits_per_dim(self.average, images)
        before = [point["nll"] for point in self.curve if math.isfinite(point["nll"])]
        if bits < min(before, default=math.inf):
            self.best = deepcopy(self.average.state_dict())
        self.curve.append(
            {"minutes": self.seconds / 60, "step": self.step, "nll": bits, "error": error}
        )
        print(f"{self.seconds / 60:6.2f} min  step {self.step}  {bits:.3f} bits/dim", flush=True)

    def state(self) -> dict[str, Any]:
        """What going on needs."""
        return {
            "settings": asdict(self.settings),
            "peer": self.peer.state_dict(),
            "average": self.average.state_dict(),
            "best": self.best,
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "skipped": self.skipped,
            "seconds": self.seconds,
            "curve": self.curve,
            "started": self.started,
            "before": self.spent,
        }

    @property
    def spent(self) -> float:
        """Processor seconds of all that was done, validations and loading as well."""
        return self.before + time.process_time()

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        check(state["settings"], self.settings)
        for name in ("peer", "average", "optimiser"):
            getattr(self, name).load_state_dict(state[name])
        for name in ("best", "step", "skipped", "seconds", "curve", "started", "before"):
            setattr(self, name, state[name])
        print(f"Going on after {self.seconds / 60:.2f} minutes.", flush=True)


class DivergedError(RuntimeError):
    """A training that came to nothing at its learning rate."""


def seeded(*keys: int) -> torch.Generator:
    """A generator of its own for every combination of small whole numbers."""
    seed = 0
    for key in keys:
        seed = seed * 1_000_003 + key + 1
    return torch.Generator().manual_seed(seed % 2**63)


@torch.no_grad()
def bits_per_dim(peer: Peer, x8: Tensor) -> tuple[float, float]:
    """Mean of −log2 p / D over images [N, C, H, W], and its standard error, with fixed noise."""
    peer.eval()
    x = x8 + torch.rand(x8.shape, generator=seeded(0, 2))
    terms = torch.cat([peer.log_prob(part) for part in x.split(50)]).double()
    bits = -terms / (x8[0].numel() * math.log(2))
    return bits.mean().item(), bits.std().item() / len(bits) ** 0.5


def run(
    make: Callable[[int], Peer],
    settings: Settings,
    folder: Path,
    trials: dict[float, float] | None = None,
    diverged: Sequence[str] = (),
) -> dict[str, Any]:
    """Train a peer, or go on with it, and measure it; the result is in `folder` too, with what
    `trials` of learning rates have found, and which of them `diverged` afterwards.

    Raises:
        DivergedError: If there were trials, and a validation before the last isn't finite, or in
            the end none is better than that of a shorter trial with this learning rate.
    """
    name = f"{settings.minutes:g}min-lr{settings.lr:g}-seed{settings.seed}"
    result, checkpoint = folder / f"{name}.json", folder / f"{name}.pt"
    if result.exists():
        found = json.loads(result.read_text())
        check(found["settings"], settings)
        return found
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(settings.seed)
    peer = make(settings.size)
    if module := settings.data.partition(":")[0].rpartition(".")[0]:  # such as reproducing.rolled
        trust(module)
    training = Training(peer, settings, settings.images("train", settings.train))
    validation = settings.images("validation", VALIDATION)
    if checkpoint.exists():
        training.resume(torch.load(checkpoint, weights_only=True))
    trials_are_shorter = settings.minutes > TRIAL
    reached = (trials or {}).get(settings.lr, math.inf) if trials_are_shorter else math.inf
    while training.seconds < training.budget:
        if trials and not all(math.isfinite(point["nll"]) for point in training.curve):
            minutes = training.seconds / 60
            raise DivergedError(f"lr {settings.lr:g} diverged after {minutes:.0f} minutes")
        peer.train()
        due = min((len(training.curve) + 1) * EVERY, training.budget)
        while training.seconds < due:
            training.learn()
        training.validate(validation)
        with replacing(checkpoint) as part:
            torch.save(training.state(), part)
    nll = [point["nll"] for point in training.curve]
    if trials and not min((x for x in nll if math.isfinite(x)), default=math.inf) < reached:
        raise DivergedError(f"lr {settings.lr:g} came to less than in its trial")
    training.average.load_state_dict(training.best)
    told = trials and {f"{lr:g}": bits for lr, bits in trials.items()}
    found = measured(training) | {"trials": told, "diverged": list(diverged)}
    with replacing(result) as part:
        part.write_text(json.dumps(found, indent=1) + "\n")
    checkpoint.unlink()
    return found


def check(found: dict[str, Any], settings: Settings) -> None:
    """Raise a `ValueError` unless what was found in the folder is of these settings."""
    if Settings(**found) != settings:
        raise ValueError(f"Expected a run of {asdict(settings)}; got {found}; give another --out.")


def measured(training: Training) -> dict[str, Any]:
    """What is known of a trained peer."""
    peer, settings = training.average, training.settings
    test = settings.images("test", settings.test)
    bits, error = bits_per_dim(peer, test)
    torch.manual_seed(settings.seed)
    with torch.no_grad():
        peer.sample(2)  # what is done once only
        began = time.process_time()
        peer.sample(SAMPLES)
        sampling = time.process_time() - began
    return {
        "command": command(settings),
        "started": training.started,
        "settings": asdict(settings),
        "parameters": sum(p.numel() for p in peer.parameters() if p.requires_grad),
        "bits": {"nll": bits, "error": error, "images": settings.test},
        "samples": of_faces(peer, settings, test) if settings.data == "faces" else None,
        "curve": training.curve,
        "steps": training.step,
        "steps_skipped": training.skipped,
        "training_images_per_second": training.step * settings.batch / training.seconds,
        "sampling_images_per_second": SAMPLES / sampling,
        "processor_seconds": round(training.spent, 1),
        "versions": {name: version(name) for name in ("torch", "rgflow", *peer.packages)},
        "revision": peer.revision,
        "git": git_state(),
        "machine": {
            "processor": processor(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
        },
    }


@torch.no_grad()
def of_faces(peer: Peer, settings: Settings, test: Tensor) -> dict[str, Any]:
    """What the measure `samples` of `rgflow reproduce` finds, of as many samples as test images."""
    from reproducing.face_reader import face_features, shown

    parts = [peer.sample(len(part)) for part in test.split(SAMPLES)]
    drawn = torch.cat(parts).nan_to_num().floor().clamp(0, 255).to(torch.uint8)
    train, features = settings.images("train", len(test)), face_features()
    distance = compare(
        drawn, train, test, features, temperature=1.0, seed=settings.seed, batch_size=SAMPLES
    )
    read = {"samples": asdict(shown(drawn)), "tests": asdict(shown(test))}
    return {"distances": {distance.name: asdict(distance)}} | read


def command(settings: Settings) -> str:
    """What trains a peer with these settings, but for folders."""
    of_tarflow = settings.peer == "tarflow"
    program = "tarflow.py --code FOLDER" if of_tarflow else f"run.py {settings.peer}"
    given = {"data": settings.data, "minutes": f"{settings.minutes:g}", "lr": f"{settings.lr:g}"}
    given |= {"seed": settings.seed, "batch": settings.batch, "test": settings.test}
    given |= {"size": settings.size} | ({"train": settings.train} if settings.train else {})
    options = " ".join(f"--{name} {value}" for name, value in given.items())
    return f"python experiments/peers/{program} {options}" + " --flip" * settings.flip


def tuned(make: Callable[[int], Peer], settings: Settings, folder: Path) -> dict[float, float]:
    """What each of `RATES` comes to in validation after `TRIAL` minutes."""
    trials = {}
    for lr in RATES:
        trial = run(make, replace(settings, lr=lr, minutes=TRIAL, test=SAMPLES), folder)
        bits = trial["curve"][-1]["nll"]
        trials[lr] = bits if math.isfinite(bits) else math.inf
    print(", ".join(f"lr {lr:g}: {bits:.3f}" for lr, bits in trials.items()), flush=True)
    return trials


def options(description: str) -> argparse.ArgumentParser:
    """The options that all peers have."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", default="msds1", help="data set, as for rgflow.data.load")
    parser.add_argument("--minutes", type=float, default=10, help="processor time of training")
    parser.add_argument("--lr", type=float, help="peak learning rate; the best of some trials")
    parser.add_argument("--seed", type=int, default=0, help="of weights, order and noise")
    parser.add_argument("--batch", type=int, default=32, help="images per step")
    parser.add_argument("--flip", action="store_true", help="mirror every other training image")
    parser.add_argument("--test", type=int, default=1000, help="test images")
    parser.add_argument("--size", type=int, default=32, help="edge of the images")
    parser.add_argument("--train", type=int, help="training images, the first; all")
    parser.add_argument("--out", type=Path, default=Path("runs/peers"), help="folder of results")
    return parser


def main(name: str, make: Callable[[int], Peer], arguments: argparse.Namespace) -> None:
    """Tune if need be, run, and say what came out."""
    torch.set_num_threads(1)
    sys.path.append(str(Path(__file__).parents[1]))  # where `reproducing` is
    folder = arguments.out / f"{name}-{arguments.data.replace(':', '-')}"
    settings = Settings(
        peer=name,
        data=arguments.data,
        minutes=arguments.minutes,
        lr=arguments.lr or RATES[0],
        seed=arguments.seed,
        batch=arguments.batch,
        flip=arguments.flip,
        test=arguments.test,
        size=arguments.size,
        train=arguments.train,
    )
    found, trials, diverged = None, None, list[str]()
    if arguments.lr is None:
        trials = tuned(make, settings, folder / "tuning")
    for lr in sorted(trials, key=trials.__getitem__) if trials else [settings.lr]:
        try:
            found = run(make, replace(settings, lr=lr), folder, trials, diverged)
            break
        except DivergedError as error:
            diverged.append(str(error))
            print(f"{error}: the next best learning rate is taken.", flush=True)
    if found is None:
        raise SystemExit(f"Expected a learning rate at which {name} learns; got none.")
    print(
        f"{name} on {arguments.data}, {found['parameters']} parameters, {arguments.minutes:g} "
        f"minutes: {found['bits']['nll']:.3f} ± {found['bits']['error']:.3f} bits/dim; "
        f"{found['training_images_per_second']:.0f} images/s in training, "
        f"{found['sampling_images_per_second']:.1f} drawn. The result is in {folder}."
    )
