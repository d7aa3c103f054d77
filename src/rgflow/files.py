"""Files that are either whole or not there, whatever happens to the machine meanwhile; locks."""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

import yaml
from safetensors import SafetensorError

if TYPE_CHECKING:
    from PIL import Image

CONFIG, WEIGHTS = "config.json", "model.safetensors"
CARD, PAGE, NAMES, EXAMPLES = "card.json", "README.md", "names.json", "examples.png"
MODEL_FILES = [CONFIG, WEIGHTS, CARD, PAGE, NAMES, EXAMPLES]
"""All files of a model's folder."""
PART = ".part"
"""How the names of unfinished files end."""
OWN_PART = re.compile(rf"\.(.{{1,40}})\.[0-9a-f]{{32}}{re.escape(PART)}", re.DOTALL)
"""The names of unfinished files of `replacing`, with the start of the file's name."""
MAX_NAME_BYTES = 255
"""Maximum length of a file name on most file systems."""


class Guard(Protocol):
    """What a command lets `replacing` write (`rgflow.outputs`)."""

    def check(self, path: Path) -> None:
        """Raise a `ValueError` if a file may not be written."""

    def note(self, path: Path, part: Path) -> None:
        """Note that a file will be written, whose content is complete in `part`."""


GUARD: ContextVar[Guard | None] = ContextVar("guard", default=None)
"""Of the command that runs, if it has one."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to, which takes the place of `path` once it is complete and on the disk.

    Until then, and if writing fails, whatever was at `path` stays as it was. Memory, processor or
    power may be lost at any moment: there is then the old file or the new one, and perhaps a part
    that `remove_parts` clears away.

    Raises:
        OSError: If the file can't be written.
        ValueError: If the guard of the command that runs doesn't let it.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "numbers.txt"
        >>> with replacing(path) as part:
        ...     _ = part.write_text("1 2 3")
        >>> path.read_text()
        '1 2 3'
    """
    if guard := GUARD.get():
        guard.check(path)
    part = path.with_name(f".{path.name[:40]}.{uuid4().hex}{PART}")
    try:
        part.touch(exist_ok=False)
        mode = part.stat().st_mode  # as the umask says, which not everybody honours who writes
        yield part
        part.chmod(mode)
        new = guard is not None and not os.path.lexists(path)
        if guard:
            guard.note(path, part)
        settle(part, path, new=new)
    except BaseException as error:
        with suppress(OSError):
            part.unlink()
        if isinstance(error, SafetensorError):  # such as a full disk, in its own words
            raise OSError(f"{path}: {error}") from error
        raise


def settle(part: Path, path: Path, *, new: bool = False) -> None:
    """Rename a complete file, once its content is on the disk, in place of another one.

    Args:
        part: The file.
        path: Its name from now on.
        new: Whether there should be nothing of that name.

    Raises:
        OSError: If that can't be done.
        ValueError: If something should be new and isn't.
    """
    with part.open("r+b") as file:
        os.fsync(file.fileno())
    try:
        if new:
            os.link(part, path)  # which replaces nothing, even if it came a moment ago
            part.unlink()
    except FileExistsError as error:
        raise ValueError(
            f"Expected names that are free; {path} was made meanwhile: run the same command again."
        ) from error
    except OSError:  # a file system without links
        new = False
    if not new:
        os.replace(part, path)
    with suppress(OSError):  # the list of names, too, where the system supports that
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextmanager
def writing(path: Path, *, into: bool = False) -> Iterator[Path]:
    """A path to write to, in a folder that is made if need be. Errors name what was to be written.

    Args:
        path: The file.
        into: Whether it is a folder instead, to write several files into.

    Raises:
        OSError: If something in the block can't be written.
    """
    try:
        (path if into else path.parent).mkdir(parents=True, exist_ok=True)
        yield path
    except OSError as error:
        where = f"into {path}" if into else path
        raise OSError(f"Expected to write {where}; {error.strerror or error}.") from error


def write_picture(path: Path, picture: "Image.Image") -> Path:
    """Write a picture as a PNG file, whole or not at all, in a folder that is made if need be.

    Raises:
        OSError: If the file can't be written.
    """
    with writing(path), replacing(path) as part:
        picture.save(part, format="PNG")
    return path


def as_name(text: str) -> str:
    """A text as part of the name of a file.

    Example:
        >>> as_name("folder:~/my photos")
        'folder-my-photos'
    """
    return re.sub(r"\W+", "-", text).strip("-")


def plain(content: Any) -> Any:
    """Dataclasses, named tuples, arrays and values as JSON has them: objects, lists, and null for
    numbers that it lacks.

    Example:
        >>> plain({"size": (8, 8), "error": float("nan")})
        {'size': [8, 8], 'error': None}
    """
    return json.loads(json.dumps(_values(content)), parse_constant=lambda _: None)


def _values(content: Any) -> Any:
    """Dataclasses and named tuples as dictionaries, by their own `to_dict` where they have one."""
    if hasattr(content, "to_dict"):
        content = content.to_dict()
    if is_dataclass(content) and not isinstance(content, type):
        content = {one.name: getattr(content, one.name) for one in fields(content)}
    if hasattr(content, "_asdict"):
        content = content._asdict()
    if hasattr(content, "tolist"):
        content = content.tolist()
    if isinstance(content, dict):
        return {key: _values(value) for key, value in content.items()}
    return [_values(one) for one in content] if isinstance(content, list | tuple) else content


def to_yaml(content: Any) -> str:
    """What `plain` makes of some content as YAML, in the order it comes in."""
    return yaml.safe_dump(plain(content), sort_keys=False)


def write_json(path: Path, content: Any, *, indent: int | None = 2) -> None:
    """Write what `plain` makes of some content as a JSON file, whole or not at all; without an
    indent, as short as can be.

    Raises:
        OSError: If the file can't be written.
    """
    with replacing(path) as part:
        separators = (",", ":") if indent is None else None
        part.write_text(json.dumps(plain(content), indent=indent, separators=separators) + "\n")


@contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Whether this process has a file or a folder to itself, as long as the block lasts: a process
    that dies, however it does, lets go of it. Where there are no locks, it counts as locked.

    Args:
        path: The file or the folder.

    Raises:
        OSError: If it can't be opened.

    Example:
        >>> import tempfile
        >>> with locked(Path(tempfile.mkdtemp())) as alone:
        ...     alone
        True
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        yield lock(handle)
    finally:
        os.close(handle)


def lock(handle: int) -> bool:
    """Lock an open file until it is closed, as `locked` does; false if another process has it.
    Windows has no such locks."""
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def remove_parts(folder: Path) -> None:
    """Delete unfinished files that a killed process left in a folder and those below it."""
    for path in folder.rglob(f".*{PART}"):
        with suppress(OSError):
            if OWN_PART.fullmatch(path.name):
                path.unlink()


def expanded(path: str | Path) -> Path:
    """A path that a user wrote, with the home folder in place of `~`.

    By `os.path`, since `pathlib` raises errors of its own for unknown users.

    Example:
        >>> expanded("~nobody-of-this-name/runs")
        PosixPath('~nobody-of-this-name/runs')
    """
    return Path(os.path.expanduser(path))


def located(path: str | Path) -> Path:
    """Where a path leads that a user wrote: absolute, and through links.

    By `os.path`, since `pathlib` raises errors of its own for circular links too.

    Example:
        >>> located("/a/../~nobody")
        PosixPath('/~nobody')
    """
    return Path(os.path.realpath(expanded(path)))


def absolute(data: str) -> str:
    """The name of a data set with an absolute path, if it names something that is there.

    Example:
        >>> absolute("patches:flower"), absolute("folder:/") == "folder:/"
        ('patches:flower', True)
    """
    kind, colon, place = data.partition(":")
    if colon and kind != "patches" and located(place).exists():
        place = str(located(place))
    return kind + colon + place
