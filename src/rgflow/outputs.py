"""What commands make of people's files: under names of its own, and never in place of theirs.

A folder of results holds a record, a line for each file that was written and for each input that is
done, by the hash of its content and of all that its results depend on. So the same command, run
again, does what is missing, and may replace what it has written; any other file stays.
"""

import hashlib
import json
import os
import shutil
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from errno import EDQUOT, ENOSPC, EROFS
from pathlib import Path
from typing import Any

from rgflow.checks import short
from rgflow.files import GUARD, MAX_NAME_BYTES, OWN_PART, PART, locked, replacing, writing
from rgflow.reading import DamagedError, opened, read_lines

RECORD = ".rgflow.jsonl"
"""The name of a record."""
MAX_RECORD = 1 << 36
"""Maximum size of a record in bytes."""
CHUNK = 1 << 20
"""Bytes that are hashed at a time."""


class LeftOutError(ValueError):
    """Some of several inputs were left out; the others are done."""

    exit_code = 1
    """Of the command."""


@dataclass(frozen=True)
class Source:
    """An input, and where its results go.

    Attributes:
        number: Its place among the inputs that were given.
        path: Its path as given.
        folder: The folder of its results.
        stem: What the names of its results contain.
        owner: The key of the results that have its names; empty: nothing has.
        taken: Why it can't have these names; empty: it can.
    """

    number: int
    path: Path
    folder: Path
    stem: str
    owner: str = ""
    taken: str = ""

    def out(self, pattern: str) -> Path:
        """A result, whose name is a pattern with the stem in place of the first `*`. Of a name that
        is too long the stem is cut, and made unique by a hash.

        Raises:
            ValueError: If it is too long without its stem.
        """
        stem, mark = self.stem, ""
        while len(os.fsencode(name := pattern.replace("*", stem + mark, 1))) > MAX_NAME_BYTES:
            mark = f"-{hashlib.sha256(os.fsencode(self.stem)).hexdigest()[:8]}"
            if not stem:
                raise ValueError(
                    f"Expected shorter file names; got {short(name)}: rename the file."
                )
            stem = stem[:-1]
        return self.folder / name


@dataclass
class Made:
    """What a work makes of an input.

    Attributes:
        row: Names and values, for a table.
        files: Paths and contents of the files that are to be written.
        name: Of the input.
        place: Its place among all.
        key: Hash of its content and of all that its results depend on.
        done: Whether it was done before, and its results are in the record.
        error: Why there are no results; empty: there are.
    """

    row: dict[str, Any] = field(default_factory=dict)
    files: list[tuple[Path, bytes]] = field(default_factory=list)
    name: str = ""
    place: tuple[int, int] = (0, 0)
    key: str = ""
    done: bool = False
    error: str = ""


class Outputs:
    """The results of a command, in a folder or in one file.

    In a `with` block, no other process writes there, and all that `rgflow.files.replacing` writes
    is checked and recorded.

    Args:
        place: The folder, or the file.
        inputs: All files that are read; they are never written over.
        settings: All else that the results depend on.
        overwrite: Whether other files may be written over, too.
        home: The folder of the record; None: nothing is recorded.
    """

    def __init__(
        self,
        place: Path,
        inputs: Iterable[Path],
        settings: Any,
        *,
        overwrite: bool = False,
        home: Path | None = None,
    ) -> None:
        self._place, self.home, self._overwrite = place, home, overwrite
        self.key = hash_of(settings)
        self._inputs = {identity for path in inputs if (identity := _identity(path))}
        self._made: dict[str, tuple[str, str]] = {}
        self._done: dict[str, tuple[list[str], dict[str, Any]]] = {}

    def _read(self) -> None:
        record = self.home and self.home / RECORD
        for line in lines(record, "the record of a folder of results") if record else ():
            name, key, names = (line.get(what) for what in ("name", "key", "names"))
            if isinstance(names, list):
                row = line.get("row")
                self._done[str(key)] = [*map(str, names)], row if isinstance(row, dict) else {}
            else:
                self._made[str(name)] = str(key), str(line.get("sha256"))

    def guard(self) -> None:
        """Guard what is written from now on, to the end of the command.

        Raises:
            ValueError: If the record is damaged.
        """
        self._read()
        GUARD.set(self)

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Guard what is written in a block, and hold the folder of the record for this process.

        Raises:
            ValueError: If another process has it, or the record is damaged.
            OSError: If it can't be made.
        """
        home, before = self.home, GUARD.get()
        new = home is not None and not os.path.lexists(home)
        with ExitStack() as stack:
            if home:
                with writing(home, into=True):
                    pass
                if not stack.enter_context(locked(home)):
                    raise ValueError(
                        f"Expected {home} to itself; another process writes there: wait for it, or "
                        "name another --out."
                    )
            try:
                self.guard()
                yield
            finally:
                GUARD.set(before)
                if home and new:
                    with suppress(OSError):
                        home.rmdir()  # which fails if there is something in it

    def check(self, path: Path) -> None:
        """Check that a file may be written.

        Raises:
            ValueError: If it is an input, or something else that this command didn't write.
        """
        self._check_input(path)
        self.check_own(path)

    def _check_input(self, path: Path) -> None:
        if (identity := _identity(path)) and identity in self._inputs:
            raise ValueError(
                f"Expected results that replace no input; {path} is one: name another --out."
            )

    def check_own(self, path: Path) -> None:
        """Check that there is nothing at a path that this command didn't write.

        Raises:
            ValueError: If there is.
        """
        if self._owner(path) not in ("", self.key):
            raise not_free(path)

    def _owner(self, path: Path) -> str:
        """The key of what made a file; empty: nothing is there, or it may be replaced anyway.
        Raises a `ValueError` if it is no file of the record."""
        if self._overwrite or not self._covers(path) or not os.path.lexists(path):
            return ""
        key, content = self._made.get(self._name(path), ("", ""))
        if not key or content != digest(path):
            raise not_free(path)
        return key

    def note(self, path: Path, part: Path) -> None:
        """Record a file that will be written, whose content is complete in `part`.

        Raises:
            ValueError: As `check`.
            OSError: If the record can't be written.
        """
        self.check(path)
        if self.home and self._covers(path):
            name, content = self._name(path), digest(part)
            self._note({"name": name, "key": self.key, "sha256": content})
            self._made[name] = self.key, content

    def sources(
        self, groups: Sequence[Sequence[Path]], patterns: Callable[[int], Sequence[str]]
    ) -> list[Source]:
        """Inputs with names for their results, which differ whatever the system takes for the same.
        Inputs of several folders have results in several folders.

        Args:
            groups: For each input, the files that its results depend on; the first one names them.
            patterns: What the names of the results of the input with a number may be, as for
                `Source.out`.

        Raises:
            ValueError: If there is a single input, and other files of the names of its results.
        """
        once = {tuple(map(_placed, files)): k for k, files in reversed([*enumerate(groups)])}
        top = os.path.commonpath([first.parent for first, *_ in once])
        taken, found, starts = set[str](), list[Source](), set[tuple[Path, str]]()
        for files, number in sorted(once.items(), key=lambda one: one[1]):
            path, folder = files[0], self._place / files[0].parent.relative_to(top)
            for again in range(len(groups) + 1):
                more = f"-{path.suffix[1:]}" if again else ""
                stem = path.stem + more + f"-{again}" * (again > 1)
                one = Source(number, groups[number][0], folder, stem)
                results = [one.out(pattern) for pattern in patterns(number)]
                names = {_folded(result.with_suffix("")) for result in results}
                if not names & taken:
                    break
            taken |= names
            starts |= {(one.folder, result.name[:40].partition(".")[0]) for result in results}
            try:
                owners = set[str]()
                for result in results:
                    self._check_input(result)
                    owners.add(self._owner(result))
                if len(owners - {""}) > 1:
                    raise not_free(results[0])
                one = replace(one, owner=max(owners))
            except ValueError as error:
                if len(once) == 1:
                    raise
                one = replace(one, taken=str(error))
            found.append(one)
        for folder in {one.folder for one in found}:
            for path in folder.glob(f".*{PART}"):  # of a process that was killed
                part = OWN_PART.fullmatch(path.name)
                if part and (folder, part[1].partition(".")[0]) in starts:
                    with suppress(OSError):
                        path.unlink()
        return found

    def done(self) -> frozenset[str]:
        """The keys of all inputs whose results are there as they were written."""
        found: set[str] = set()
        for key, (names, _) in self._done.items():
            made = [self._made.get(name) for name in names]
            if made == [(key, digest(self._place / name)) for name in names]:
                found.add(key)
        return frozenset(found)

    def keep(self, made: Made) -> dict[str, Any]:
        """Write the files of an input, and record that it is done.

        Returns:
            Its row; of one that was done before, as it was then.

        Raises:
            ValueError: If a file may not be written.
            OSError: If it can't be.
        """
        if made.done:
            return self._done[made.key][1]
        before, self.key = self.key, made.key
        try:
            for path, content in made.files:
                with writing(path), replacing(path) as part:
                    part.write_bytes(content)
        finally:
            self.key = before
        names = [self._name(path) for path, _ in made.files]
        self._done[made.key] = names, made.row
        # Without files, what a power cut loses is made again.
        self._note({"key": made.key, "names": names, "row": made.row}, safe=bool(names))
        return made.row

    def _covers(self, path: Path) -> bool:
        return _absolute(path).is_relative_to(_absolute(self._place))

    def _name(self, path: Path) -> str:
        return os.path.relpath(path, self._place)

    def _note(self, line: dict[str, Any], *, safe: bool = True) -> None:
        if self.home:
            with writing(self.home / RECORD) as path, path.open("ab") as file:
                file.write(f"{json.dumps(line)}\n".encode())
                file.flush()
                if safe:
                    os.fsync(file.fileno())


def check_space(folder: Path, size: int) -> None:
    """Check that a disk has so many free bytes.

    Raises:
        ValueError: If it has fewer.
    """
    there = next(one for one in (folder, *_absolute(folder).parents) if one.exists())
    if (free := shutil.disk_usage(there).free) < size:
        raise ValueError(
            f"Expected about {size / 1e6:,.0f} MB of free space for {folder}; there are "
            f"{free / 1e6:,.0f}: free some, or name another --out."
        )


@contextmanager
def keeping(path: Path) -> Iterator[None]:
    """Remove a file of unfinished work when it is done or has failed, unless it can be continued:
    after an interruption, or when memory or the disk was full."""
    try:
        yield
    except ValueError:
        path.unlink(missing_ok=True)
        raise
    path.unlink(missing_ok=True)


def lines(path: Path, what: str) -> list[dict[str, Any]]:
    """The JSON objects in the lines of a file, or none without a file; the last line may be cut
    off, and is then removed.

    Raises:
        ValueError: If something else is in it than `what`.
    """
    if not os.path.lexists(path):
        return []
    if path.is_symlink():  # to something that isn't ours
        raise DamagedError(f"Expected {what}; {path} is a link: remove it.")
    found = read_lines(path, what, MAX_RECORD)
    content = path.read_bytes()
    if not content.endswith(b"\n"):
        os.truncate(path, content.rfind(b"\n") + 1)
    return found


def is_full(error: Exception) -> bool:
    """Whether it says that nothing more can be written."""
    cause = error.__cause__ or error
    return isinstance(cause, OSError) and cause.errno in (ENOSPC, EDQUOT, EROFS)


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))


def _placed(path: Path) -> Path:
    """A file by its name in the folder that it really lies in: `link/..` isn't what it seems."""
    if "://" in str(path):
        return Path("/", str(path))
    return Path(os.path.realpath(path.parent), path.name)


def _folded(path: Path) -> str:
    """The same for names that some file system takes for the same."""
    return unicodedata.normalize("NFC", str(path)).casefold()


def _identity(path: Path) -> tuple[int, int] | None:
    """Of the file that a path leads to, by whatever name or link; none of an object store's."""
    try:
        about = os.stat(path)
    except (OSError, ValueError, TypeError):
        return None
    return about.st_dev, about.st_ino


def hash_of(content: Any) -> str:
    """Hash of values as JSON has them."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def not_free(path: Path) -> ValueError:
    """The error of a name that isn't free."""
    return ValueError(
        f"Expected names that are free; {path} is there, and this command with these settings "
        "didn't write it: name another --out, or add --overwrite."
    )


def digest(content: Path | bytes) -> str:
    """Hash of a file's content; if it can't be read, of its name."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    found = hashlib.sha256()
    try:
        with opened(content) as file:
            while chunk := file.read(CHUNK):
                found.update(chunk)
    except (OSError, ValueError):
        return hashlib.sha256(os.fsencode(content)).hexdigest()
    return found.hexdigest()
