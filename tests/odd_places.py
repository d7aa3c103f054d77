"""What commands do with people's pictures, in odd places, under odd names, several and at once.

Every case is a scene: a folder with pictures and other files, and commands. All that was in the
folder has to stay, byte for byte; what is new has to be whole; what is said, a sentence.
"""

import csv
import io
import json
import os
import re
import resource
import socket
import struct
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from cases import MEMORY, RIGHT, Found, Random, Snapshot, Stage, Told, changed, snapshot
from odd_pictures import good, picture, plain
from rgflow.cli import main
from rgflow.text import HIDDEN

PICTURES = (".png", ".tif", ".tiff", ".webp", ".bmp")
"""Endings of pictures that commands write."""
BESIDE = ("-mask.png", "-before-after.png")
"""Endings of what `repair` writes beside the picture."""
BOX = "[1,1,2,2]"
"""What is repaired of most pictures."""
TURNS = dict(zip((2, 3, 4, 5, 6, 7, 8), (0, 3, 1, 5, 4, 6, 2), strict=True))
"""How Pillow turns pictures, by their orientations."""
KEPT = re.compile(r"\.rgflow.*|.*\.parts", re.DOTALL)
"""Names in which commands keep what they have made."""


@dataclass(kw_only=True)
class Scene:
    """What a case begins with.

    Attributes:
        change: What is odd about it.
        commands: One after the other.
        together: Whether the first two are carried out at the same time.
        inputs: The pictures that are named, once each.
        good: How many of these are certainly readable.
        may_refuse: Whether all may be refused though some are good, such as for want of space.
        between: Is called after the first command.
        now: The current folder.
        most: Bytes that a file may have, as if the disk were full then.
        whole: What a result has to share with its picture; nothing unless `repair` or `enlarge`.
        table: The table of `score`.
    """

    change: str
    commands: list[list[str]]
    together: bool = False
    inputs: list[Path] = field(default_factory=list)
    good: int = 0
    may_refuse: bool = False
    between: Callable[[], None] | None = None
    now: Path | None = None
    most: int | None = None
    whole: str = ""
    table: Path | None = None


def command(words: Sequence[str], now: str | None, most: int | None) -> tuple[str, str, Any]:
    """What a process does with a command."""
    out, error = io.StringIO(), io.StringIO()
    if now:
        os.chdir(now)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    if most is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        with redirect_stdout(out), redirect_stderr(error):
            code = main(list(words))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    return "ran", error.getvalue(), {"code": code, "out": out.getvalue()[-20_000:]}


@dataclass(eq=False)
class Scenes:
    """A kind of scene.

    Args:
        name: What it is called.
        set_up: Makes one in a folder, from random numbers and the folder of a model.
    """

    name: str
    set_up: Callable[[Path, Random, str], Scene]

    def carry_out(self, stage: Stage, folder: Path, random: Random) -> Found:
        """The case of random numbers."""
        scene = self.set_up(folder, random, str(stage.folder / "model"))
        before = snapshot(folder)
        told = self._tell(stage, scene)
        if scene.between:  # which changes files, as a person does
            told += self._between(stage, scene, before, folder)
        after = snapshot(folder)
        result, said = judged(scene, told, before, after, folder)
        if stage.sprung():
            result = "code"
        if result not in RIGHT:
            said += f" [{' ; '.join(' '.join(words) for words in scene.commands)}]"
        return Found(
            change=scene.change, result=result, said=said,
            seconds=max(one.seconds for one in told), memory=max(one.memory for one in told),
        )  # fmt: skip

    def _tell(self, stage: Stage, scene: Scene) -> list[Told]:
        now = str(scene.now) if scene.now else None
        jobs = [{"words": words, "now": now, "most": scene.most} for words in scene.commands]
        if scene.together:
            for worker, job in zip(stage.workers, jobs, strict=False):
                worker.begin(job)
            told = [worker.told() for worker in stage.workers]
            return told + [stage.workers[0].do(job) for job in jobs[2:]]
        return [stage.workers[0].do(job) for job in jobs[: 1 if scene.between else None]]

    def _between(self, stage: Stage, scene: Scene, before: Snapshot, folder: Path) -> list[Told]:
        assert scene.between
        scene.between()
        before |= {k: v for k, v in snapshot(folder).items() if "edited" in k}
        now = str(scene.now) if scene.now else None
        return [
            stage.workers[0].do({"words": words, "now": now, "most": scene.most})
            for words in scene.commands[1:]
        ]


# ---------------------------------------------------------------- what is right


def judged(
    scene: Scene, told: Sequence[Told], before: Snapshot, after: Snapshot, folder: Path
) -> tuple[str, str]:
    """The result of a scene, and the sentence, or what is wrong."""
    results = [_spoken(one) for one in told]
    for result, said in results:
        if result not in RIGHT:
            return result, said
    mine = {path: about for path, about in before.items() if not KEPT.fullmatch(Path(path).name)}
    if other := changed(mine, after):
        return "files", other
    codes = [one.more["code"] for one in told]
    new = {path: about for path, about in after.items() if path not in before}
    for path, (kind, _, _) in new.items():
        if kind == "file" and (
            why := _torn(folder / path, codes, scene.inputs, scene.most is not None)
        ):
            return "torn", f"{path!r}: {why}"
        if kind == "folder" and Path(path).name.startswith(".") and not KEPT.fullmatch(
            Path(path).name
        ):  # fmt: skip
            return "torn", f"the folder {path!r} stayed"
    if why := _lost(scene, told, new, folder):
        return "lost", why
    if scene.whole and (why := _pixels(scene, told, new, folder)):
        return "pixels", why
    worst = max(codes)
    return results[codes.index(worst)]


def _spoken(one: Told) -> tuple[str, str]:
    """What is said, and whether it is as promised."""
    if one.result != "ran":
        return one.result, one.said
    if one.memory > MEMORY:
        return "memory", f"{one.memory >> 20} MiB"
    code, lines = one.more["code"], [line for line in one.said.splitlines() if line.strip()]
    every = one.said + one.more["out"]
    if "Traceback" in every or code not in (0, 1, 2):
        return "traceback", f"exit code {code}: {every}"
    if found := [line for line in re.split("[\n\r]", every) if HIDDEN.search(line)]:
        return "terminal", repr(found[0])
    said = [line for line in lines if line.startswith("rgflow: ")]
    if code == 2:
        whole = len(lines) == 1 and len(one.said) < 2000 and said
        right = whole and said[0].startswith("rgflow: Expected ")
        return ("sentence" if right else "riddle"), one.said
    if code == 1:
        return ("listed" if said else "riddle"), one.said
    return "other", one.said


def _torn(path: Path, codes: Sequence[int], inputs: Sequence[Path], may_continue: bool) -> str:
    """What is wrong with a file that a command has left; empty: nothing."""
    name = path.name
    if any(KEPT.fullmatch(part) for part in path.parts):
        unfinished = path.suffix in (".part", ".state", ".raw") and not any(codes)
        return "it stayed after all was done" if unfinished else ""
    if name.endswith(".kept") and may_continue:
        return ""
    if name.startswith(".") and not name.startswith(tuple(one.stem for one in inputs)):
        return "it stayed"
    try:
        if path.suffix.lower() in PICTURES:
            with Image.open(path) as image:
                image.load()
        elif path.suffix == ".csv":
            rows(path)
        elif path.suffix == ".jsonl":
            [json.loads(line) for line in path.read_text().splitlines()]
        else:
            return "nobody asked for it"
    except Exception as error:
        return f"it can't be read: {error}"
    return ""


def rows(table: Path) -> list[dict[str, str]]:
    """The rows of a table, each whole."""
    if table.suffix == ".jsonl":
        return [json.loads(line) for line in table.read_text().splitlines()]
    with table.open(newline="", errors="surrogateescape") as file:
        found = list(csv.DictReader(file, strict=True))
    for row in found:
        if None in row or None in row.values():
            raise ValueError(f"a row has other columns: {row}")
        for value in row.values():
            if value[:1] in ("=", "+", "@", "\t", "\r") or (value[:1] == "-" and value[1:2] > "9"):
                raise ValueError(f"a cell that a spreadsheet runs: {value!r}")
    return found


def results(new: Snapshot, folder: Path) -> list[Path]:
    """The pictures among new files, without what is beside them."""
    return [
        folder / path
        for path, (kind, _, _) in sorted(new.items())
        if kind == "file"
        and Path(path).suffix.lower() in PICTURES
        and not path.endswith(BESIDE)
        and not any(part.startswith(".") for part in Path(path).parts[:-1])
    ]


def _lost(scene: Scene, told: Sequence[Told], new: Snapshot, folder: Path) -> str:
    """What should be there, and isn't; empty: nothing."""
    codes = [one.more["code"] for one in told]
    if scene.table:
        if 0 in codes or 1 in codes:
            if not scene.table.is_file():
                return "there is no table"
            found = len(rows(scene.table))
            if found != len(scene.inputs):
                return f"the table has {found} rows of {len(scene.inputs)} pictures"
        elif scene.good and not scene.may_refuse:
            return f"all was refused, {scene.good} good ones too: {told[-1].said}"
        return ""
    if not scene.inputs:
        return ""
    made = len(results(new, folder))
    nothing = sum("no damage was found" in line for line in told[0].more["out"].splitlines())
    if codes[0] == 0 and made + nothing != len(scene.inputs):
        return f"{made} results of {len(scene.inputs)} pictures"
    if scene.good and not scene.may_refuse and made + nothing < scene.good:
        return f"{made} results of {scene.good} good pictures: {told[0].said}"
    return ""


def _pixels(scene: Scene, told: Sequence[Told], new: Snapshot, folder: Path) -> str:
    """Pictures without a result that has their pixels; empty: all have one."""
    if told[0].more["code"] != 0:
        return ""
    made = results(new, folder)
    for path in scene.inputs:
        name = HIDDEN.sub(lambda found: found[0].encode("unicode_escape").decode(), path.name)
        notes = [
            line
            for line in told[0].more["out"].splitlines()
            if line.startswith(f"{name}: ") and "; see " not in line
        ]
        why = [_difference(path, one, scene.whole, bool(notes)) for one in made]
        if why and all(why):
            return f"{path.name}: {why[0]} (said: {told[0].more['out']})"
    return ""


def _difference(path: Path, made: Path, how: str, noted: bool) -> str:
    """How a result differs from its picture where it may not; empty: it doesn't.

    Where notes say what wasn't kept, only the size counts.
    """
    with upright(path) as old, Image.open(made) as new:
        new.load()
        factor = 2 if how == "enlarge" else 1
        if new.size != (factor * old.width, factor * old.height):
            return f"{new.size} of {old.size}"
        if noted:
            return ""
        if old.mode == new.mode and old.mode not in ("P", "PA"):
            a, b = np.asarray(old), np.asarray(new)
        elif old.mode.startswith("I") and new.mode.startswith("I"):
            a, b = np.asarray(old).astype(np.int64), np.asarray(new).astype(np.int64)
        else:
            a, b = np.asarray(old.convert("RGBA")), np.asarray(new.convert("RGBA"))
        b = b[::factor, ::factor]
        if how == "repair":
            stay = np.ones(a.shape[:2], bool)
            stay[1:3, 1:3] = False
            a, b = a[stay], b[stay]
        share = float((a != b).mean())
        return f"{share:.0%} of numbers changed, {old.mode} to {new.mode}" if share else ""


def upright(path: Path) -> Image.Image:
    """A picture, turned as its orientation says, if that can be read. Pillow turns TIFF files as it
    decodes them, wrongly if they aren't compressed: so here their orientation is taken away first.
    """
    content, turns = bytearray(path.read_bytes()), 1
    with suppress(struct.error):
        order = {b"II*\0": "<", b"MM\0*": ">"}.get(bytes(content[:4]), "")
        at = struct.unpack_from(f"{order}I", content, 4)[0] if order else len(content)
        for entry in range(
            at + 2, at + 2 + 12 * struct.unpack_from(f"{order}H", content, at)[0], 12
        ):
            tag, kind = struct.unpack_from(f"{order}HH", content, entry)
            if (tag, kind) == (274, 3):
                turns = struct.unpack_from(f"{order}H", content, entry + 8)[0]
                struct.pack_into(f"{order}H", content, entry + 8, 1)
    image = Image.open(io.BytesIO(content))
    image.load()
    if turns in TURNS:
        return image.transpose(TURNS[turns])
    with suppress(Exception):  # of what Pillow makes of damaged EXIF
        return ImageOps.exif_transpose(image)
    return image


# ---------------------------------------------------------------- scenes


def words(what: str, inputs: Sequence[object], out: object, model: str, *more: object) -> list[str]:
    """A command."""
    how: list[object] = {
        "repair": ["--sweeps", 1], "enlarge": [], "score": [],
    }[what]  # fmt: skip
    return [str(x) for x in (what, *inputs, "--model", model, "--out", out, *how, *more)]


def some(of: Sequence[Any], random: Random) -> Any:
    """One of several."""
    return of[random.integers(len(of))]


def pictures_of(what: str) -> Callable[[Path, Random, str], Scene]:
    """Scenes of one picture, of any format and mode, and of a command."""

    def set_up(folder: Path, random: Random, model: str) -> Scene:
        about, ending, content = picture(random)
        path = folder / f"a{ending}"
        path.write_bytes(content)
        if what == "score":
            table = folder / f"t{some(['.csv', '.jsonl'], random)}"
            return Scene(
                change=about, commands=[words(what, [path], table, model)], inputs=[path],
                table=table,
            )  # fmt: skip
        more = ["--box", BOX] if what == "repair" else []
        if random.random() < 0.1:
            odd = [
                ["--seed", 2**70], ["--seed", -1], ["--background", "none"],
                ["--background", "#12345"], ["--seed", 2**63],
            ] + (
                [
                    ["--sensitivity", "nan"], ["--sensitivity", 2], ["--sweeps", 0],
                    ["--box", "[1,1]"], ["--box", "[0,0,9e9,1]"],
                ]
                if what == "repair"
                else [["--temperature", x] for x in ("nan", "inf", 1e308, -1, 0)]
            )  # fmt: skip
            more += some(odd, random)
        return Scene(
            change=about, commands=[words(what, [path], folder / "out", model, *more)],
            inputs=[path], whole=what,
        )  # fmt: skip

    return set_up


def found_damage(folder: Path, random: Random, model: str) -> Scene:
    """Of a small picture, whose damage is looked for."""
    about, ending, content = plain(random, (12, 9))
    path = folder / f"a{ending}"
    path.write_bytes(content)
    return Scene(
        change=about,
        commands=[words("repair", [path], folder / "out", model, "--sensitivity", 0.9)],
        inputs=[path],
    )


def masks(folder: Path, random: Random, model: str) -> Scene:
    """A mask of any kind for a good picture."""
    path = folder / "a.png"
    path.write_bytes(good(random))
    if random.random() < 0.4:
        size = some([(17, 13), (17, 13), (13, 17), (1, 1)], random)
        about, ending, content = plain(random, size)
    else:
        about, ending, content = picture(random)
    mask = folder / f"m{ending}"
    mask.write_bytes(content)
    return Scene(
        change=about,
        commands=[words("repair", [path], folder / "out", model, "--mask", mask)],
        inputs=[path],
    )


NAMES = [
    b"caf\xe9.png", b"\xff\xfe.png", b"x" * 240 + b".png", "é".encode() * 120 + b".png",
    b"a\nb.png", b"a\rb.png", b"a\tb.png", b"\x1b[31mred\x1b[0m.png", b"-rf.png", b"--box.png",
    b"=cmd|' -C calc'!A0.png", b"@x.png", b"+1.png", b" .png", b"a .png", b"...png", b"%s{}.png",
    b"[red]x[bold].png", "\u202egnp.exe.png".encode(), b"a:b*?.png", b"~.png", b"$HOME.png",
    b"example:scratches", b"hf:x.png", b".hidden.png", b"a.tar", b"a.png.part", b".a.png.1.part",
    b"a;b&c.png", b"\"a'.png", b"a,b.png", b"\x7f.png", b"a-mask.png", b"a-before-after.png", b"a",
    b"a.", b"\xc2\x9b31m.png", b"\xed\xa0\x80.png", b"x" * 250 + b".png", b"a-1.png",
]  # fmt: skip
"""Of files, in bytes, as the system has them."""


def names(folder: Path, random: Random, model: str) -> Scene:
    """A good picture under an odd name, in a folder with an odd name."""
    name = os.fsdecode(some(NAMES, random))
    inside = folder / "in"
    if random.random() < 0.4:
        inside = folder / os.fsdecode(some(NAMES, random)[:200])
    inside.mkdir()
    path = inside / name
    try:
        path.write_bytes(good(random))
    except OSError:
        path = inside / "a.png"
        path.write_bytes(good(random))
    what = some(["repair", "enlarge", "score", "score folder"], random)
    change = f"{what} {name!r}"
    out = folder / "out"
    if random.random() < 0.3:
        out = folder / f"out{os.fsdecode(some(NAMES, random))[:100]}"
    if what.startswith("score"):
        table = out.with_name(f"{out.name}{some(['.csv', '.jsonl'], random)}")
        given = [path] if what == "score" else [inside]
        inputs = [path] if what == "score" or path.suffix in (".png", ".tar") else []
        scene = Scene(
            change=change, commands=[words("score", given, table, model)], inputs=inputs,
            table=table if inputs else None,
        )  # fmt: skip
    else:
        more = ["--box", BOX] if what == "repair" else []
        # As a name on its own it may be taken for an option, or for an example.
        relative = random.random() < 0.3
        given = [path.name] if relative else [path]
        scene = Scene(
            change=change, commands=[words(what, given, out, model, *more)], inputs=[path],
            whole=what, now=inside if relative else None,
        )  # fmt: skip
        if path.name.startswith("example:") and relative:
            scene.inputs, scene.whole = [], ""
        if path.name.endswith(BESIDE):  # which isn't counted
            scene.inputs, scene.whole = [], ""
    return scene


PLACES = [
    "pipe", "socket", "folder", "link", "link to nothing", "circle", "link to a pipe", "nothing",
    "through a file", "/dev/zero", "/dev/null", "/dev/full", "/dev/random", "/proc/self/mem",
    "/proc/self/environ", "/proc/kmsg", "", ".", "/", "long", "link to zeros", "~nobody/x",
    "~", "deep", "empty folder", "locked",
]  # fmt: skip


def place(kind: str, folder: Path, random: Random) -> str:
    """A path that isn't that of a regular file, or leads to one in an odd way."""
    path = folder / "p.png"
    target = folder / "real.bin"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as one:
            now = os.getcwd()
            os.chdir(folder)  # whose path may be too long for a socket
            one.bind("p.png")
            os.chdir(now)
    elif kind == "folder":
        path.mkdir()
        (path / "inner.png").write_bytes(good(random))
    elif kind == "empty folder":
        path.mkdir()
    elif kind == "link":
        target.write_bytes(good(random))
        path.symlink_to(target)
    elif kind == "link to nothing":
        path.symlink_to(folder / "none.png")
    elif kind == "circle":
        path.symlink_to(path)
    elif kind == "link to a pipe":
        os.mkfifo(target)
        path.symlink_to(target)
    elif kind == "link to zeros":
        path.symlink_to("/dev/zero")
    elif kind == "locked":
        path.write_bytes(good(random))
        path.chmod(0)
    elif kind == "through a file":
        target.write_bytes(good(random))
        return f"{target}/p.png"
    elif kind == "long":
        return str(folder / ("x" * 5000))
    elif kind == "deep":
        return str(folder / "/".join(["d"] * 2000) / "p.png")
    elif kind != "nothing":
        return kind
    return str(path)


def places(folder: Path, random: Random, model: str) -> Scene:
    """A picture, a mask or a file to be scored that is no regular file."""
    kind = some(PLACES, random)
    inside = folder / "in"
    inside.mkdir()
    odd = place(kind, inside, random)
    path = folder / "a.png"
    path.write_bytes(good(random))
    use = some(["repair", "mask", "enlarge", "score", "scored folder", "beside a good one"], random)
    change = f"{use}: {kind or 'empty name'}"
    if use == "mask":
        made = words("repair", [path], folder / "out", model, "--mask", odd)
        return Scene(change=change, commands=[made])
    if kind in ("/", "~", ".", "", "~nobody/x"):  # all that is there
        kind, odd = "nothing", str(inside / "p.png")
    if use in ("repair", "enlarge"):
        more = ["--box", BOX] if use == "repair" else []
        return Scene(change=change, commands=[words(use, [odd], folder / "out", model, *more)])
    if use == "beside a good one":
        made = words("repair", [odd, path], folder / "out", model, "--box", BOX)
        beside = {"folder": [Path(odd, "inner.png")], "empty folder": []}.get(kind, [Path(odd)])
        good_ones = 1 + (kind == "folder")
        return Scene(change=change, commands=[made], good=good_ones, inputs=[*beside, path])
    given = [odd] if use == "score" else [inside]
    return Scene(change=change, commands=[words("score", given, folder / "t.csv", model)])


OUTPUTS = [
    "the folder of the picture", "a link to it", "it in other words", "the current folder",
    "with files of these names", "a file", "/dev/null", "/dev/full/x", "/proc/x",
    "a link to nothing", "below a file", "long", "links to the picture", "another name of it",
    "a pipe", "damaged records", "folders of these names",
]  # fmt: skip


def outputs(folder: Path, random: Random, model: str) -> Scene:
    """An output folder in which something of the user's is."""
    kind, what = some(OUTPUTS, random), some(["repair", "repair", "enlarge"], random)
    inside, out = folder / "in", folder / "out"
    inside.mkdir()
    name = some(["a.png", "a-mask.png", "a.jpg", "a.b.png"], random)
    path = inside / name
    image = Image.open(io.BytesIO(good(random)))
    image.save(path)
    mine = [name, "a-mask.png", "a-before-after.png", f"{path.stem}.png", f"{path.stem}-mask.png",
            f"{path.stem}-before-after.png", f"{path.stem}-1.png", "notes.txt"]  # fmt: skip
    now: Path | None = None
    given = str(out)
    if kind == "the folder of the picture":
        given = str(inside)
    elif kind == "a link to it":
        out.symlink_to(inside)
    elif kind == "it in other words":
        given = f"{folder}/./in/../in/"
    elif kind == "the current folder":
        now, given = inside, some([".", "", "./"], random)
    elif kind == "with files of these names":
        out.mkdir()
        for one in dict.fromkeys(mine):
            (out / one).write_bytes(some([good(random), b"mine", b""], random))
    elif kind == "folders of these names":
        out.mkdir()
        for one in dict.fromkeys(mine):
            (out / one).mkdir(exist_ok=True)
    elif kind == "damaged records":
        out.mkdir()
        for one in (".rgflow", ".rgflow.json", ".rgflow.jsonl"):
            (out / one).write_bytes(some([b"", b"{", random.bytes(100), b"[]", b"null"], random))
    elif kind == "a file":
        out.write_text("mine")
    elif kind.startswith("/"):
        given = kind
    elif kind == "a link to nothing":
        out.symlink_to(folder / "none")
    elif kind == "below a file":
        given = f"{path}/out"
    elif kind == "long":
        given = str(folder / ("o" * 300))
    elif kind == "links to the picture":
        out.mkdir()
        for one in dict.fromkeys(mine):
            (out / one).symlink_to(path)
    elif kind == "another name of it":
        out.mkdir()
        for one in dict.fromkeys(mine):
            os.link(path, out / one)
    elif kind == "a pipe":
        os.mkfifo(out)
    more: list[object] = []
    if what == "repair":
        more = some(
            [["--box", BOX], ["--box", BOX, "--completions", 1], ["--sensitivity", 0.9]], random
        )
    if kind in ("the folder of the picture", "a link to it") and random.random() < 0.3:
        for one in mine[3:]:
            if not (inside / one).exists():
                (inside / one).write_bytes(good(random))
    made = words(what, [path], given, model, *more)
    return Scene(change=f"{what} into {kind}", commands=[made], now=now)


def tables(folder: Path, random: Random, model: str) -> Scene:
    """A table where something of the user's is."""
    inside = folder / "in"
    inside.mkdir()
    paths = [inside / f"{k}.png" for k in range(random.integers(1, 4))]
    for path in paths:
        path.write_bytes(good(random, (9, 8)))
    kind = some(
        ["mine", "folder", "link", "pipe", "parts are mine", "parts are a file", "twice",
         "a file", "/dev/full", "other settings", "more pictures", "damaged parts"],
        random,
    )  # fmt: skip
    ending = some([".csv", ".jsonl"], random)
    table = folder / f"t{ending}"
    parts = folder / f"{table.name}.parts"
    made = words("score", [inside], table, model)
    scene = Scene(change=f"score into {kind}", commands=[made])
    if kind == "mine":
        table.write_text("mine\n")
    elif kind == "folder":
        table.mkdir()
    elif kind == "link":
        (folder / "mine.csv").write_text("mine\n")
        table.symlink_to(folder / "mine.csv")
    elif kind == "pipe":
        os.mkfifo(table)
    elif kind == "parts are mine":
        parts.mkdir()
        (parts / "notes.txt").write_text("mine")
        (parts / "mine.jsonl").write_text("{}\n")
    elif kind == "parts are a file":
        parts.write_text("mine")
    elif kind == "damaged parts":
        parts.mkdir()
        (parts / "what.json").write_bytes(some([b"", b"{", b"[]", random.bytes(50)], random))
    elif kind == "twice":
        scene.commands, scene.table, scene.inputs = [made, made], table, paths
    elif kind == "other settings":
        scene.commands = [made, [*made, "--background", "red"]]
    elif kind == "more pictures":

        def add() -> None:
            (inside / "edited.png").write_bytes(good(random, (9, 8)))

        scene.between, scene.commands = add, [made, made]
    elif kind == "a file":
        scene.commands = [words("score", [inside], f"{paths[0]}/t{ending}", model)]
    else:
        scene.commands = [words("score", [inside], f"{kind}/t{ending}", model)]
    return scene


def several(folder: Path, random: Random, model: str) -> Scene:
    """Several pictures, of the same names or stems, some of them bad."""
    what = some(["repair", "enlarge", "score"], random)
    inputs, right = list[Path](), 0
    for k in range(random.integers(2, 5)):
        inside = folder / some(["a", "b", "a/c"], random)
        inside.mkdir(parents=True, exist_ok=True)
        name = some(["x.png", "x.jpg", "x.tif", "X.png", f"y{k}.png", "x-mask.png"], random)
        path = inside / name
        if path in inputs or (what != "score" and name.endswith(BESIDE)):
            path = inside / f"z{k}.png"
        dice = random.random()
        if dice < 0.6:
            Image.open(io.BytesIO(good(random, (9, 8)))).save(path)
            right += 1
        elif dice < 0.85:
            path.write_bytes(some([b"", b"text", good(random)[:60]], random))
        # Or it isn't there.
        inputs.append(path)
    there = [path for path in inputs if path.exists()]
    if what == "score":
        table = folder / "t.csv"
        asked = some(["folder", "files"], random) if there else "files"
        given: list[Path] = [folder] if asked == "folder" else inputs
        return Scene(
            change=f"{what} {asked}", commands=[words(what, given, table, model)],
            inputs=there if asked == "folder" else inputs, good=right, table=table,
        )  # fmt: skip
    more = ["--box", BOX] if what == "repair" else []
    made = words(what, inputs, folder / "out", model, *more)
    again = random.random() < 0.3
    return Scene(
        change=f"{what}, {'twice' if again else 'once'}", commands=[made] * (1 + again),
        inputs=inputs, good=right, whole="" if what == "enlarge" else what,
    )  # fmt: skip


def edited(folder: Path, random: Random, model: str) -> Scene:
    """A result that the user has changed before the same command, or another, is given again."""
    what = some(["repair", "enlarge"], random)
    path = folder / "edited.png"
    path.write_bytes(good(random))
    out = folder / "out"
    more = ["--box", BOX] if what == "repair" else []
    made = words(what, [path], out, model, *more)
    again = some(
        [made, [*made, "--background", "red"], words("enlarge", [path], out, model, "--factor", 4)],
        random,
    )
    new = good(random, (5, 4))

    def change() -> None:
        for one in out.glob("edited*.png"):
            one.write_bytes(new)

    return Scene(change=f"{what}, changed", commands=[made, again], between=change)


def full(folder: Path, random: Random, model: str) -> Scene:
    """A disk on which no file can be larger than a few bytes; then one with space."""
    what = some(["repair", "enlarge", "score"], random)
    path = folder / "a.png"
    path.write_bytes(good(random))
    out = folder / ("t.csv" if what == "score" else "out")
    more = ["--box", BOX] if what == "repair" else []
    made = words(what, [path], out, model, *more)
    return Scene(
        change=what, commands=[made], most=int(random.integers(1500)), inputs=[path],
        table=out if what == "score" else None, may_refuse=True,
    )  # fmt: skip


def at_once(folder: Path, random: Random, model: str) -> Scene:
    """Two commands at the same time, into the same folder or table."""
    what = some(["repair", "enlarge", "score", "different"], random)
    inside = folder / "in"
    inside.mkdir()
    paths = [inside / f"{k}.png" for k in range(random.integers(1, 4))]
    for path in paths:
        path.write_bytes(good(random, (9, 8)))
    if what == "score":
        table = folder / "t.csv"
        made = words("score", [inside], table, model)
        return Scene(
            change=what, commands=[made] * 3, together=True, inputs=paths, table=table, good=1
        )
    out = folder / "out"
    one = words("repair", paths, out, model, "--box", BOX)
    two = words("enlarge", paths, out, model)
    made = {"repair": [one, one, one], "enlarge": [two, two, two], "different": [one, two]}[what]
    return Scene(change=what, commands=made, together=True)


SCENES: list[tuple[Scenes, int]] = [
    (Scenes("picture to repair", pictures_of("repair")), 7),
    (Scenes("picture to enlarge", pictures_of("enlarge")), 6),
    (Scenes("picture to score", pictures_of("score")), 6),
    (Scenes("picture with damage to find", found_damage), 1),
    (Scenes("mask", masks), 4),
    (Scenes("names", names), 4),
    (Scenes("places", places), 4),
    (Scenes("outputs", outputs), 4),
    (Scenes("tables", tables), 3),
    (Scenes("several", several), 3),
    (Scenes("edited results", edited), 1),
    (Scenes("full disk", full), 2),
    (Scenes("two at once", at_once), 2),
]
"""And how often each comes, for every time that a damaged file does."""
