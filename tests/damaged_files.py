"""Files of every kind that the package reads, but pictures of commands, whole and damaged.

A case is a whole file, a change, and a use: what the commands do with such a file. Right is a
result (of files with digests, the one of the whole file) or one sentence.
"""

import hashlib
import io
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from cases import MEMORY, Found, Random, Stage, changed, snapshot
from damage import damaged
from flows import random_flow
from reproducing.released import load_released
from rgflow import data, load_flow, presets, training
from rgflow.analysis.labels import read_csv
from rgflow.app.layout import opened_picture
from rgflow.cards import Card
from rgflow.checkpoint import sha256_of
from rgflow.cli import main
from rgflow.cli.subjects import read as read_pictures
from rgflow.data.cache import cache_folder
from rgflow.latents import Latents
from rgflow.metrics.frechet import _state as read_inception
from rgflow.training.checkpoints import Checkpoints
from rgflow.training.run import Run
from rgflow.training.trainer import check_state
from runs import small_run


class Unchanged(str):
    """A result that a changed file may only have if its meaning is that of the whole one."""


@dataclass(eq=False)
class DamagedFile:
    """A kind of file.

    Args:
        name: What it is called.
        make: Makes a folder with a whole one, and whatever belongs to it; returns its path.
        use: What is done with it, given the path; what it returns is compared as `Unchanged` is.
        text: Whether it is text, in which claims can be changed.
    """

    name: str
    make: Callable[[Path], Path]
    use: Callable[[Path], Any]
    text: bool = False

    def prepare(self, folder: Path) -> None:
        """Make a whole one."""
        folder.mkdir()
        self.place, self.whole = folder, self.make(folder)

    def begin(self, stage: Stage, folder: Path) -> None:
        """Find out what comes of the whole one."""
        self.expected = self._attempt(stage, folder / "whole", None, "whole")
        assert self.expected.result == "other", (self.name, self.expected)

    def carry_out(self, stage: Stage, folder: Path, random: Random) -> Found:
        """The case of a random change."""
        change, content = damaged(self.whole.read_bytes(), random, text=self.text)
        found = self._attempt(stage, folder / "copy", content, change)
        if found.result == "other" and self.expected.said:
            same = found.said == self.expected.said
            # Without a result: another whole file was taken in its place, and that was checked.
            result = "same" if same else "sentence" if not found.said else "silent"
            found = replace(found, result=result)
        grown = found.memory - max(self.expected.memory, 0)
        if found.right and grown > MEMORY:
            found = replace(found, result="memory")
        return replace(found, memory=grown)

    def flip(self, stage: Stage, folder: Path, bit: int) -> Found:
        """The case of one flipped bit of a file with digests."""
        content = bytearray(self.whole.read_bytes())
        content[bit // 8] ^= 1 << (bit % 8)
        found = self._attempt(stage, folder / "copy", bytes(content), f"bit {bit}")
        same = found.result == "other" and found.said in ("", self.expected.said)
        return replace(found, result="same" if same else "silent")

    def _attempt(self, stage: Stage, copy: Path, content: bytes | None, change: str) -> Found:
        shutil.copytree(self.place, copy)
        target = copy / self.whole.relative_to(self.place)
        if content is not None:
            target.write_bytes(content)
        before = snapshot(copy)
        told = stage.workers[0].do({"kind": self.name, "target": str(target)})
        result, said = told.result, told.said
        if stage.sprung():
            result = "code"
        elif self.use is not from_cache and (other := changed(before, snapshot(copy))):
            result, said = "files", other
        return Found(
            change=change, result=result, said=said, seconds=told.seconds, memory=told.memory
        )


def use(kind: str, target: str) -> tuple[str, str, dict[str, Any]]:
    """What a process does with a file."""
    try:
        found = BY_NAME[kind].use(Path(target))
    except (ValueError, OSError) as error:
        said = str(error) or type(error).__name__
        lines = len(said.splitlines()) == 1 and len(said) < 2000
        return "sentence" if lines and said.startswith("Expected") else "riddle", said, {}
    return "other", str(found) if isinstance(found, Unchanged) else "", {}


# ---------------------------------------------------------------- what is done with files


def command(*words: object) -> None:
    """A command; a refusal is raised, as it would be printed."""
    out, error = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(error):
        code = main([str(word) for word in words])
    if code:
        (sentence,) = [line for line in error.getvalue().splitlines() if line.strip()]
        assert code == 2, sentence
        raise ValueError(sentence.removeprefix("rgflow: "))
    assert "Traceback" not in error.getvalue()
    assert out.getvalue().isascii() or "\x1b" not in out.getvalue()


def hashed(tensors: Any) -> Unchanged:
    """A digest of tensors in dictionaries and lists."""
    digest = hashlib.sha256()

    def add(value: Any) -> None:
        if isinstance(value, torch.Tensor):
            digest.update(f"{value.dtype}{list(value.shape)}".encode())
            digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        elif isinstance(value, dict):
            for key in value:
                digest.update(repr(key).encode())
                add(value[key])
        elif isinstance(value, list | tuple):
            for one in value:
                add(one)
        else:
            digest.update(repr(value).encode())

    add(tensors)
    return Unchanged(digest.hexdigest())


def resumed(path: Path) -> Unchanged | None:
    """The newest checkpoint, as for going on; if it was passed over, the one before it."""
    checkpoints = Checkpoints(path.parent, 2)
    state = checkpoints.load()
    assert state is not None
    if checkpoints.damaged:
        assert state["step"] == 1
        return None
    return hashed(state)


def prepared(name: str, **options: Any) -> None:
    """A data set, made anew."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["RGFLOW_CACHE"] = folder
        loaded = data.load(name, "train", height=8, width=8, progress=False, **options)
        assert loaded.images.sum() >= 0 or loaded.images.dtype == np.float32


def settled(path: Path) -> None:
    """The settings of a run, which is gone on with."""
    run = Run.unfinished(path.parent)
    config = run.config()
    state = run.checkpoints(config.keep).load()
    assert state
    check_state(state, config)


def begun(path: Path) -> None:
    """A training with a file of settings, up to where it begins."""
    result = training.TrainingResult(
        steps=0, seconds=1.0, images_per_second=0.0, unit="", validation=0.0, best=0.0,
        interrupted=False,
    )  # fmt: skip
    training.train = lambda config, run, **_: result
    command("train", "--config", path, "--out", path.parent / "new", "--data", "msds1")


def described(path: Path) -> None:
    command("info", path.parent)


def past(path: Path) -> None:
    command("info", path.parent)
    Run(path.parent).past()


def shown(path: Path) -> None:
    card = Card.read(path.parent)
    assert len(card.page()) + len(list(card.facts())) > 20


# ---------------------------------------------------------------- whole files


def model(folder: Path) -> Path:
    flow = random_flow(torch.float32, hidden=4, depth=1, blocks=1)
    flow.save_pretrained(folder / "model")
    return folder / "model" / "model.safetensors"


def shipped(folder: Path) -> Path:
    """A model with weights as of an earlier version, without digests, and a card."""
    weights = model(folder)
    save_file(load_file(weights), weights)
    known = Card.read(Path(data.__file__).parents[1] / "models" / "msds1-paper-small")
    replace(known, sha256=sha256_of(weights.parent)).write(weights.parent)
    return weights


def beside(name: str, make: Callable[[Path], Path]) -> Callable[[Path], Path]:
    """Another file of the folder that is made."""
    return lambda folder: make(folder).parent / name


def checkpoint(folder: Path) -> Path:
    checkpoints = Checkpoints(folder, 2)
    for step in (1, 2):
        torch.manual_seed(step)
        moments = {k: {"step": torch.tensor(1.0), "average": torch.randn(3, 5)} for k in range(3)}
        groups = [{"lr": 0.1, "betas": (0.9, 0.999), "params": [0, 1, 2]}]
        flow = {"a.weight": torch.randn(40, 7), "a.bias": torch.randn(7), "n": torch.tensor(step)}
        checkpoints.save(
            step,
            {
                "config": presets.PRESETS["msds1-tiny"].to_dict(),
                "step": step, "best": float("inf"),
                "flow": flow, "optimizers": [{"state": moments, "param_groups": groups}],
                "average": None,
            },
        )  # fmt: skip
    return checkpoints.paths()[-1]


def run(folder: Path) -> Path:
    """A run with a checkpoint; its log."""
    small_run(folder / "run", hidden=4, depth=1, blocks=1)
    run = Run(folder / "run")
    state = {"config": run.config().to_dict(), "flow": run.flow().state_dict(), "optimizers": []}
    run.checkpoints(2).save(3, state)
    command("evaluate", folder / "run", "--count", 4)
    return folder / "run" / "log.jsonl"


def card(folder: Path) -> Path:
    source = Path(data.__file__).parents[1] / "models" / "msds1-paper-small" / "card.json"
    shutil.copy(source, folder / "card.json")
    return folder / "card.json"


def latents(folder: Path) -> Path:
    flow = random_flow(torch.float32, hidden=4, depth=1, blocks=1)
    flow.draw(2).save(folder / "z.safetensors")
    return folder / "z.safetensors"


def state(folder: Path) -> Path:
    source = Path(__file__).parent / "fixtures" / "released" / "grey.state"
    shutil.copy(source, folder / "grey.state")
    return folder / "grey.state"


def older_state(folder: Path) -> Path:
    """The format of PyTorch before 1.6."""
    weights = torch.load(state(folder), weights_only=True)
    torch.save(weights, folder / "older.state", _use_new_zipfile_serialization=False)
    return folder / "older.state"


def inception(folder: Path) -> Path:
    torch.save({"conv.weight": torch.randn(8, 3, 3, 3), "bias": torch.randn(8)}, folder / "i.pth")
    return folder / "i.pth"


def pixels(count: int = 40) -> Any:
    return np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)


def npz(folder: Path) -> Path:
    np.savez(folder / "a.npz", images=pixels(), labels=np.arange(40) % 3)
    return folder / "a.npz"


def packed_npz(folder: Path) -> Path:
    np.savez_compressed(folder / "a.npz", train=pixels() // 64, test=pixels())
    return folder / "a.npz"


def npy(folder: Path) -> Path:
    np.save(folder / "a.npy", np.random.default_rng(0).normal(size=(40, 2, 8, 8)))
    return folder / "a.npy"


def csv(folder: Path) -> Path:
    lines = ["size,tilt:angle,kind:class", *(f"{k / 7},{k * 4},{'ab'[k % 2]}" for k in range(40))]
    (folder / "a.csv").write_text("\n".join(lines) + "\n")
    return folder / "a.csv"


def cifar10(folder: Path) -> Path:
    random = np.random.default_rng(0)
    for name in (*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin"):
        records = random.integers(0, 256, (8, 3073), dtype=np.uint8)
        records[:, 0] %= 10
        (folder / name).write_bytes(records.tobytes())
    return folder / "data_batch_1.bin"


def celeba(folder: Path) -> Path:
    (folder / "img_align_celeba").mkdir()
    for k in range(6):
        Image.fromarray(pixels(6)[k]).save(folder / "img_align_celeba" / f"{k:06}.jpg")
    lines = [f"{k:06}.jpg {k // 2 % 3}" for k in range(6)]
    (folder / "list_eval_partition.txt").write_text("\n".join(lines) + "\n")
    return folder / "list_eval_partition.txt"


def picture(kind: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / f"a.{kind}"
        exif = Image.Exif()
        exif[0x0112] = 6
        image = Image.fromarray(np.kron(pixels(1)[0], np.ones((5, 5, 1), np.uint8)))
        image.save(path, exif=exif, **({"lossless": True} if kind == "webp" else {}))
        return path

    return make


def cached(folder: Path) -> Path:
    os.environ["RGFLOW_CACHE"] = str(folder / "cache")
    loaded = data.load("msds1", "test", count=5, progress=False)
    assert loaded.folder
    return loaded.folder / "images.npy"


def from_cache(path: Path) -> Unchanged:
    """Images that are made anew if what is kept of them is damaged."""
    os.environ["RGFLOW_CACHE"] = str(path.parents[1])
    assert cache_folder() == path.parents[1]
    loaded = data.load("msds1", "test", count=5, progress=False)
    return Unchanged(hashlib.sha256(loaded.images.tobytes()).hexdigest())


FLOW = random_flow(torch.float32, hidden=4, depth=1, blocks=1)
USUAL: Any = SimpleNamespace(limit=None)
"""Settings of a command that reads pictures of the usual size."""


DAMAGED_FILES = [
    DamagedFile("checkpoint", checkpoint, resumed),
    DamagedFile("weights", model, lambda path: hashed(load_flow(path.parent).state_dict())),
    DamagedFile(
        "config.json",
        beside("config.json", model),
        lambda path: hashed(load_flow(path.parent).state_dict()),
        text=True,
    ),
    DamagedFile("config.json, described", beside("config.json", model), described, text=True),
    DamagedFile(
        "shipped weights", shipped, lambda path: hashed(load_flow(path.parent).state_dict())
    ),
    DamagedFile(
        "config.json, shipped",
        beside("config.json", shipped),
        lambda path: hashed(load_flow(path.parent).state_dict()),
        text=True,
    ),
    DamagedFile("card.json", card, shown, text=True),
    DamagedFile("run.json", beside("run.json", run), past, text=True),
    DamagedFile("config.yaml, gone on with", beside("config.yaml", run), settled, text=True),
    DamagedFile("config.yaml, begun with", beside("config.yaml", run), begun, text=True),
    DamagedFile("log.jsonl", run, described, text=True),
    DamagedFile("evaluation.json", beside("evaluation.json", run), described, text=True),
    DamagedFile("latents", latents, lambda path: hashed(Latents.load(path).levels)),
    DamagedFile("released .state", state, lambda path: hashed(load_released(path).state_dict())),
    DamagedFile("older .state", older_state, lambda path: load_released(path).eval() and None),
    DamagedFile("Inception's weights", inception, lambda path: read_inception(path) and None),
    DamagedFile("npz", npz, lambda path: prepared(f"npz:{path}")),
    DamagedFile("npz, packed", packed_npz, lambda path: prepared(f"npz:{path}")),
    DamagedFile("npy", npy, lambda path: prepared(f"fields:{path}", channels=2)),
    DamagedFile("CSV", csv, lambda path: read_csv(path, 40) and None, text=True),
    DamagedFile("CIFAR-10", cifar10, lambda path: prepared("cifar10", data_root=str(path.parent))),
    DamagedFile(
        "CelebA", celeba, lambda path: prepared("celeba", data_root=str(path.parent)), text=True
    ),
    *(
        DamagedFile(f"{kind}, {name}", picture(kind), use)
        for kind in ("png", "jpg", "webp")
        for name, use in (
            ("given", lambda path: read_pictures([str(path)], FLOW.config, USUAL) is None),
            ("uploaded", lambda path: opened_picture(path).size and None),
        )
    ),
    DamagedFile("cache", cached, from_cache),
    DamagedFile("list of a cache", beside("manifest.json", cached), from_cache, text=True),
]

BY_NAME = {kind.name: kind for kind in DAMAGED_FILES}
