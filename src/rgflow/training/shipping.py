"""Turns a run into a model to share: weights in float16, measured as stored, with a card."""

import math
import shutil
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

import rgflow
from rgflow import checkpoint, data
from rgflow.architectures import load_flow
from rgflow.cards import Card, Likelihood, Lossless
from rgflow.checks import check_whole
from rgflow.config import TrainConfig
from rgflow.data.source import Split
from rgflow.evaluation import evaluate
from rgflow.figures import picture
from rgflow.files import CARD, EXAMPLES, NAMES, replacing, write_picture, writing
from rgflow.flow import Flow
from rgflow.metrics.scores import score
from rgflow.text import Report
from rgflow.training.run import LOG, RECORD, Run

MAX_BYTES = 10_000_000
"""Largest file of weights, so that the package stays small beside torch."""
ENCODED = 500
"""Test images that are encoded and decoded."""
ENCODED_AT_ONCE = 100
"""Of these, images at a time, to limit memory."""
SHOWN, LARGEST_EXAMPLE = 8, 64
"""Test images that go with a model, and their largest height in pixels."""
FLOORS = {"msds1": 0.187, "msds2": 0.202}
"""Entropy of the generators of `rgflow.data.msds`, in bits/dim, as estimated beforehand;
`benchmarks/floors.py` counts 0.191 and 0.208, but not that ovals hide some of each other."""


def ship(
    run: Run,
    folder: Path,
    *,
    count: int = 10_000,
    seed: int = 0,
    samples: int = 0,
    unfinished: bool = False,
    remarks: str = "",
    progress: Report | None = None,
) -> Card:
    """Write the model of a run as one to share, into a folder of its name.

    Weights are stored in float16, and everything on the card is measured on the flow that is loaded
    from them again. Nothing is written unless all of it succeeds.

    Args:
        run: The run.
        folder: Folder of the model; made if it doesn't exist.
        count: Most test images for the likelihood.
        seed: Seed of the noise that dequantises them.
        samples: Number of samples for Fréchet distances, which take as many test and training
            images; 0 for no distances.
        unfinished: Whether to take the best model so far of an interrupted run.
        remarks: Further text for the card.
        progress: Called with the progress of long parts.

    Returns:
        The card.

    Raises:
        ValueError: If the run was interrupted, the weights are too large or out of range for
            float16, or test images don't come back from their latents.
        OSError: If the folder can't be written.
    """
    check_whole("count", count, 1)
    check_whole("samples", samples, 0)
    record, config = run.record(), run.config()
    result = record.get("result")
    if not unfinished and (result is None or result["interrupted"]):
        raise ValueError(
            f"Expected a run that has come to its end; {run.folder} was interrupted: go on with "
            f"rgflow train --resume {run.folder}, or add --unfinished."
        )
    past = run.past()
    if not record or past.steps is None or past.seconds is None:
        raise ValueError(
            f"Expected what the run was in {run.folder / RECORD} and {LOG}; there is nothing."
        )
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"Expected a folder to write the model into; {folder} is a file.")
    of_run = run.folder.resolve() in (folder.resolve(), *folder.resolve().parents)
    if of_run or (folder.is_dir() and any(folder.iterdir()) and not (folder / CARD).is_file()):
        raise ValueError(
            f"Expected a new or empty folder to write the model into, or that of a shipped one; "
            f"{folder} {'is of the run' if of_run else 'holds something else'}: name another."
        )
    test = _images(config, "test", count)
    with TemporaryDirectory() as place:
        made = Path(place)
        run.flow().save_pretrained(made, storage="float16")
        size = (made / checkpoint.WEIGHTS).stat().st_size
        if size > MAX_BYTES:
            raise ValueError(
                f"Expected a model of at most {MAX_BYTES / 1e6:.0f} MB; that of {run.folder} has "
                f"{size / 1e6:.1f} MB in float16: train a smaller one."
            )
        flow, distances = load_flow(made), tuple[dict[str, Any], ...]()
        if samples:
            real = (_images(config, split, samples) for split in ("train", "test"))
            found = score(flow, *real, progress=progress)[1]
            distances = tuple(map(asdict, found))
        card = Card(
            name=folder.resolve().name,
            date=datetime.now(UTC).date().isoformat(),
            rgflow=rgflow.__version__,
            parameters=sum(p.numel() for p in flow.parameters()),
            bytes=size,
            sha256=checkpoint.sha256_of(made),
            storage="float16",
            config=past.config or config,
            training=replace(past, model=None, config=None),
            likelihood=_likelihood(flow, test, seed, FLOORS.get(config.data), progress),
            lossless=_lossless(flow, test[:ENCODED]) if flow.pixels else None,
            distances=distances,
            remarks=remarks,
        )
        card.write(made)
        with writing(folder):
            folder.mkdir(exist_ok=True)
            if flow.pixels and flow.config.height <= LARGEST_EXAMPLE:
                write_picture(made / EXAMPLES, picture(torch.cat([*test[:SHOWN]], 2)))
            names = [path for path in [run.folder / NAMES] if path.is_file()]
            for path in (*made.iterdir(), *names):
                with replacing(folder / path.name) as part:
                    shutil.copyfile(path, part)
    return card


def _images(config: TrainConfig, split: Split, count: int) -> Tensor:
    """The first images of the run's data set."""
    return torch.from_numpy(data.load_for(config, split, count=count).images.copy())


def _likelihood(
    flow: Flow, images: Tensor, seed: int, floor: float | None, progress: Report | None
) -> Likelihood:
    """That of test images, with one draw of noise each."""
    advance = progress and partial(progress, "likelihood")
    found = evaluate(flow, images, seed=seed, subset=0, progress=advance)
    if not math.isfinite(found.nll):
        raise ValueError(f"Expected finite likelihoods; their mean is {found.nll}.")
    told = {name: getattr(found, name) for name in ("unit", "nll", "standard_error", "images")}
    return Likelihood(**told, seed=seed, floor=floor)


@torch.no_grad()
def _lossless(flow: Flow, images: Tensor) -> Lossless:
    """How many images come back from their latents, in float32 or, if need be, in float64."""

    def come_back(x8: Tensor, dtype: torch.dtype) -> Tensor:
        x = flow.decode(flow.encode(x8, dtype=dtype))
        return (x.floor() == x8).flatten(1).all(1)

    back = torch.cat([come_back(part, torch.float32) for part in images.split(ENCODED_AT_ONCE)])
    in_float64 = [
        come_back(part, torch.float64) for part in images[~back].split(ENCODED_AT_ONCE) if len(part)
    ]
    lost = sum(int((~part).sum()) for part in in_float64)
    if lost:
        raise ValueError(
            f"Expected all test images to come back from their latents; {lost} of {len(images)} "
            f"don't."
        )
    return Lossless(images=len(images), float32=int(back.sum()))
