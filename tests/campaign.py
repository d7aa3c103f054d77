"""Files of every kind that the package reads, damaged or meant ill, and what reading them comes to.

A case is a kind of file, a whole one of it, a change, and a use: what the commands do with such a
file. It is carried out in a process of its own, a fork, within limits of time and memory. Right is
a result (of files with digests, the one of the whole file) or one sentence; wrong is anything else:
a traceback, a long wait, much memory, code that was run, another file changed.
"""

import hashlib
import io
import json
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from flows import random_flow, random_images
from reproducing.released import load_released
from rgflow import data, load_flow, make_flow, presets, training
from rgflow.analysis.labels import read_csv
from rgflow.app.bar import opened_picture
from rgflow.cards import Card
from rgflow.checkpoint import sha256_of
from rgflow.cli import main
from rgflow.cli.subjects import read as read_pictures
from rgflow.data.cache import cache_folder
from rgflow.latents import Latents
from rgflow.metrics.frechet import _state as read_inception
from rgflow.repair.surprise import Reference, make_reference
from rgflow.training.checkpoints import Checkpoints
from rgflow.training.run import Run
from rgflow.training.trainer import check_state
from runs import small_run

SECONDS, MEMORY = 10, 1 << 30
"""A case may take so long, and so much more memory than it takes with the whole file."""
Random = np.random.Generator
CANARY = "rgflow_canary"


class Unchanged(str):
    """A result that a changed file may only have if its meaning is that of the whole one."""


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        name: What it is called.
        make: Makes a folder with a whole one, and whatever belongs to it; returns its path.
        use: What is done with it, given the path; what it returns is compared as `Unchanged` is.
        text: Whether it is text, in which claims can be changed.
    """

    name: str
    make: Callable[[Path], Path]
    use: Callable[[Path], Any]
    text: bool = False


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


def attributes(folder: Path) -> Path:
    rows = [f"{k:06}.jpg {' 1' if k % 2 else '-1'} {'-1' if k % 3 else ' 1'}" for k in range(40)]
    (folder / "list_attr_celeba.txt").write_text("\n".join(["40", "Smiling Young", *rows]) + "\n")
    return folder / "list_attr_celeba.txt"


def mnist(suffix: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        import gzip

        for part, count in (("train", 40), ("t10k", 10)):
            for end, shape in (("images-idx3", (count, 28, 28)), ("labels-idx1", (count,))):
                values = np.random.default_rng(0).integers(0, 10, shape, dtype=np.uint8)
                head = (0x800 + len(shape)).to_bytes(4, "big")
                head += b"".join(size.to_bytes(4, "big") for size in shape)
                content = head + values.tobytes()
                packed = gzip.compress(content, mtime=0) if suffix else content
                (folder / f"{part}-{end}-ubyte{suffix}").write_bytes(packed)
        return folder / f"train-images-idx3-ubyte{suffix}"

    return make


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


def reference(folder: Path) -> Path:
    flow = random_flow(torch.float32, hidden=4, depth=1, blocks=1)
    make_reference(flow, random_images(flow, 30), data="x").save(folder)
    return folder / "surprise.json"


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


KINDS = [
    Kind("checkpoint", checkpoint, resumed),
    Kind("weights", model, lambda path: hashed(load_flow(path.parent).state_dict())),
    Kind(
        "config.json", beside("config.json", model),
        lambda path: hashed(load_flow(path.parent).state_dict()), text=True,
    ),
    Kind("config.json, described", beside("config.json", model), described, text=True),
    Kind("shipped weights", shipped, lambda path: hashed(load_flow(path.parent).state_dict())),
    Kind(
        "config.json, shipped", beside("config.json", shipped),
        lambda path: hashed(load_flow(path.parent).state_dict()), text=True,
    ),
    Kind("card.json", card, shown, text=True),
    Kind("run.json", beside("run.json", run), past, text=True),
    Kind("config.yaml, gone on with", beside("config.yaml", run), settled, text=True),
    Kind("config.yaml, begun with", beside("config.yaml", run), begun, text=True),
    Kind("log.jsonl", run, described, text=True),
    Kind("evaluation.json", beside("evaluation.json", run), described, text=True),
    Kind("surprise.json", reference, lambda path: Reference.load(path.parent) and None, True),
    Kind("latents", latents, lambda path: hashed(Latents.load(path).levels)),
    Kind("released .state", state, lambda path: hashed(load_released(path).state_dict())),
    Kind("older .state", older_state, lambda path: load_released(path).eval() and None),
    Kind("Inception's weights", inception, lambda path: read_inception(path) and None),
    Kind("npz", npz, lambda path: prepared(f"npz:{path}")),
    Kind("npz, packed", packed_npz, lambda path: prepared(f"npz:{path}")),
    Kind("npy", npy, lambda path: prepared(f"fields:{path}", channels=2)),
    Kind("CSV", csv, lambda path: read_csv(path, 40) and None, text=True),
    Kind(
        "list of attributes", attributes,
        lambda path: read_csv(path, 40, [f"{k:06}.jpg" for k in range(40)]) and None, text=True,
    ),
    Kind("MNIST", mnist(""), lambda path: prepared("mnist", data_root=str(path.parent))),
    Kind("MNIST, packed", mnist(".gz"), lambda path: prepared("mnist", data_root=str(path.parent))),
    Kind("CIFAR-10", cifar10, lambda path: prepared("cifar10", data_root=str(path.parent))),
    Kind("CelebA", celeba, lambda path: prepared("celeba", data_root=str(path.parent)), text=True),
    *(
        Kind(f"{kind}, {name}", picture(kind), use)
        for kind in ("png", "jpg", "webp")
        for name, use in (
            ("given", lambda path: read_pictures([str(path)], FLOW.config) is None),
            ("uploaded", lambda path: opened_picture(path).size and None),
        )
    ),
    Kind("cache", cached, from_cache),
    Kind("list of a cache", beside("manifest.json", cached), from_cache, text=True),
]  # fmt: skip


# ---------------------------------------------------------------- changes


def bits(content: bytes, random: Random) -> bytes:
    spoilt = bytearray(content)
    for at in random.integers(8 * len(content), size=random.integers(1, 9)):
        spoilt[at // 8] ^= 1 << (at % 8)
    return bytes(spoilt)


def few_bytes(content: bytes, random: Random) -> bytes:
    """Mostly at the start, where headers are."""
    spoilt = bytearray(content)
    near = min(len(content), int(10 ** random.uniform(1, 6)))
    for at in random.integers(near, size=random.integers(1, 5)):
        spoilt[at] = random.integers(256)
    return bytes(spoilt)


def block(content: bytes, random: Random) -> bytes:
    size = min(len(content), int(2 ** random.integers(2, 13)))
    at = int(random.integers(len(content) - size + 1))
    new = bytes(size) if random.random() < 0.5 else random.bytes(size)
    return content[:at] + new + content[at + size :]


def cut(content: bytes, random: Random) -> bytes:
    return content[: random.integers(len(content))]


def spliced(content: bytes, random: Random) -> bytes:
    """A piece twice, left out, moved, or of somewhere else."""
    a, b, c = sorted(random.integers(len(content) + 1, size=3).tolist())
    pieces = [
        content[:b] + content[a:],
        content[:a] + content[b:],
        content[:a] + content[b:c] + content[a:b] + content[c:],
        content[:a] + random.bytes(int(random.integers(1, 200))) + content[a:],
        content + content,
    ]
    return pieces[random.integers(len(pieces))]


NUMBERS = [
    b"-1", b"0", b"1e9", b"1e308", b"1000000000", b"2305843009213693952", b"4611686018427387904",
    b"18446744073709551616", b"65536", b"NaN", b"null", b'"x"', b"9" * 5000, b"[]", b"{}", b"true",
]  # fmt: skip
WORDS = [
    CANARY.encode(), f"{CANARY}.Map".encode(), b"os.system", b"\\u001b[31m", b"[/red]", b"../../x",
    b"coarse_to_fine", b"null", b"x" * 3000, b"*a", b"!!python/object/apply:os.system",
]  # fmt: skip


def claims(content: bytes, random: Random) -> bytes:
    """Another number, or another word, in the first of the file."""
    head, rest = content[: 1 << 14], content[1 << 14 :]
    number = random.random() < 0.7
    places = list(re.finditer(rb"\d+(\.\d+)?" if number else rb"[A-Za-z_]{2,}", head))
    if not places:
        return few_bytes(content, random)
    for found in sorted(
        random.choice(len(places), min(len(places), random.integers(1, 3)), replace=False).tolist(),
        reverse=True,
    ):
        place, others = places[found], NUMBERS if number else WORDS
        head = head[: place.start()] + others[random.integers(len(others))] + head[place.end() :]
    return head + rest


def binary_claims(content: bytes, random: Random) -> bytes:
    """Another number of 2, 4 or 8 bytes, either way around, near the start or the end."""
    size, order = (2, 4, 8)[random.integers(3)], ("little", "big")[random.integers(2)]
    values = [0, 1, (1 << 8 * size) - 1, 1 << (8 * size - 1), 1 << (8 * size - 2), 1 << 30, 65536]
    new = (values[random.integers(len(values))] % (1 << 8 * size)).to_bytes(size, order)
    at = int(random.integers(min(256, len(content))))
    at = len(content) - at if random.random() < 0.3 else at
    return content[:at] + new + content[at + size :]


def deep(content: bytes, random: Random) -> bytes:
    """Lists within lists, or many aliases, in the place of a value or of everything."""
    many = int(10 ** random.uniform(1.5, 5))
    ten = "".join(f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]\n" for k in range(1, 30))
    forms = [
        b"[" * many + b"]" * many,
        b'{"a":' * many + b"1" + b"}" * many,
        b"[" * many,
        f"a0: &a0 [1]\n{ten}".encode(),
        b"- " * many,
        b"-" * many,
    ]
    new = forms[random.integers(len(forms))]
    places = list(re.finditer(rb": *([^,:\n]+)", content[: 1 << 14]))
    if not places or random.random() < 0.3:
        return new
    place = places[random.integers(len(places))]
    return content[: place.start(1)] + new + content[place.end(1) :]


CHANGES = [bits, few_bytes, block, cut, spliced, binary_claims]
OF_TEXT = [claims, claims, deep]
"""And these of text; of other files `claims` too, as their headers hold text."""


def changed(kind: Kind, content: bytes, random: Random) -> tuple[str, bytes]:
    """A change, by name, and what becomes of a file."""
    changes = CHANGES + (OF_TEXT if kind.text else [claims])
    change = changes[random.integers(len(changes))]
    return change.__name__, change(content, random) if content else content


# ---------------------------------------------------------------- cases


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a case came to.

    Attributes:
        kind: Of file.
        change: Its name.
        number: Of the case.
        result: same, other (a result), or sentence; traceback, slow, killed, memory, code, files
            are wrong.
        said: The sentence, or what is wrong.
        seconds: How long it took.
        memory: By how much the process grew, in bytes.
    """

    kind: str
    change: str
    number: int
    result: str
    said: str
    seconds: float
    memory: int

    @property
    def right(self) -> bool:
        """Whether it is as promised."""
        return self.result in ("same", "other", "sentence")


class Campaign:
    """Cases by number, each always the same.

    Args:
        folder: Where whole files are made, once for each kind.
        seed: Of the changes.
    """

    def __init__(self, folder: Path, seed: int = 0) -> None:
        self.folder, self.seed = folder, seed
        self.whole: dict[str, tuple[Path, Path]] = {}
        with torch.device("meta"):  # whose first use takes seconds, and no memory later
            make_flow(FLOW.config)
        (folder / "here").mkdir()
        (folder / "here" / f"{CANARY}.py").write_text(
            f"from pathlib import Path\nPath({str(folder / 'sprung')!r}).touch()\nMap = None\n"
        )
        for number, kind in enumerate(KINDS):
            place = folder / f"{number}"
            place.mkdir()
            self.whole[kind.name] = place, kind.make(place)
        self.expected = {kind.name: self._carry_out(kind, None, -1) for kind in KINDS}
        for name, outcome in self.expected.items():
            assert outcome.result == "other", (name, outcome)

    def case(self, number: int) -> Outcome:
        """Carry out a case."""
        kind = KINDS[number % len(KINDS)]
        random = np.random.default_rng([self.seed, number])
        name, content = changed(kind, self.whole[kind.name][1].read_bytes(), random)
        outcome = replace(self._carry_out(kind, content, number), change=name)
        whole = self.expected[kind.name]
        if outcome.result == "other" and whole.said:
            same = outcome.said == whole.said
            # Without a result: another whole file was taken in its place, and that was checked.
            result = "same" if same else "sentence" if not outcome.said else "silent"
            outcome = replace(outcome, result=result)
        if outcome.right and outcome.memory > MEMORY + max(whole.memory, 0):
            outcome = replace(outcome, result="memory")
        return outcome

    def flip(self, kind: Kind, bit: int) -> Outcome:
        """Carry out the case of one flipped bit."""
        content = bytearray(self.whole[kind.name][1].read_bytes())
        content[bit // 8] ^= 1 << (bit % 8)
        outcome = self._carry_out(kind, bytes(content), bit)
        whole = self.expected[kind.name]
        same = outcome.result == "other" and outcome.said in ("", whole.said)
        return replace(outcome, result="same") if same else replace(outcome, result="silent")

    def _carry_out(self, kind: Kind, content: bytes | None, number: int) -> Outcome:
        place, path = self.whole[kind.name]
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            copy = Path(folder) / "copy"
            shutil.copytree(place, copy)
            target = copy / path.relative_to(place)
            if content is not None:
                target.write_bytes(content)
            before = _files(copy, target)
            reader, writer = os.pipe()
            start = time.perf_counter()
            child = os.fork()
            if not child:
                os.close(reader)
                self._child(kind, target, writer)
            os.close(writer)
            told = _read_in_time(reader, child)
            seconds = time.perf_counter() - start
            os.close(reader)
            _, status = os.waitpid(child, 0)
            if told is None:
                result, said, grown = ("slow" if seconds > SECONDS else "killed"), f"{status}", 0
            else:
                result, said, grown = told["result"], told["said"], told["memory"]
            if (self.folder / "sprung").exists():
                result = "code"
                (self.folder / "sprung").unlink()
            elif _files(copy, target) != before and kind.use is not from_cache:
                result = "files"
        return Outcome(
            kind=kind.name, change="", number=number, result=result, said=said, seconds=seconds,
            memory=grown,
        )  # fmt: skip

    def _child(self, kind: Kind, target: Path, writer: int) -> None:
        """Do what a case does, tell what came out, and end."""
        try:
            os.chdir(self.folder / "here")
            nowhere = os.open(os.devnull, os.O_WRONLY)
            for stream in (1, 2):
                os.dup2(nowhere, stream)
            sys.path.insert(0, str(self.folder / "here"))
            # So that a mistake is one of this process.
            limit = _virtual() + 4 * MEMORY
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            try:
                found = kind.use(target)
                result, said = "other", str(found) if isinstance(found, Unchanged) else ""
            except (ValueError, OSError) as error:
                said = str(error) or type(error).__name__
                lines = len(said.splitlines()) == 1 and len(said) < 2000
                result = "sentence" if lines and said.startswith("Expected") else "riddle"
            except BaseException:
                result, said = "traceback", traceback.format_exc()
            grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
            told = json.dumps({"result": result, "said": said[-4000:], "memory": grown})
            os.write(writer, told.encode("utf-8", "surrogatepass")[: 1 << 16])
        finally:
            os._exit(0)


def _read_in_time(reader: int, child: int) -> dict[str, Any] | None:
    """What a child says, which is killed when it takes too long; none: nothing."""
    import select

    if not select.select([reader], [], [], SECONDS)[0]:
        os.kill(child, signal.SIGKILL)
        return None
    content = os.read(reader, 1 << 16)
    return json.loads(content) if content else None


def _files(folder: Path, target: Path) -> dict[str, str]:
    """Digests of all files that are whole; new ones don't count."""
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != target and path.name != ".lock"
    }


def _virtual() -> int:
    """Virtual memory of this process, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
