"""Files that `torch.save` wrote: their tensors, read without running anything of them.

Such a file holds a program for Python's pickle. PyTorch's own reader admits harmless functions
only, but allocates whatever the file claims. Here a few instructions and functions are known, those
that state dicts consist of, and sizes are compared with the bytes that are there.
"""

import io
import math
import os
import pickle
import pickletools
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from rgflow.reading import DamagedError, check_member, opened, reason

MOST_PROGRAM, MOST_STEPS = 1 << 25, 1 << 20
"""Bytes and instructions of a file's program, at the most; a state dict of 10,000 tensors takes a
third of them."""
LEGACY = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
"""How files begin that PyTorch wrote before version 1.6: a pickled number."""
DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


class NeedsCodeError(DamagedError):
    """A file can't be read without running functions that it names."""


class _Storage(NamedTuple):
    """The numbers of tensors, by the name under which the file holds them."""

    key: str
    dtype: torch.dtype
    numel: int


class _Name(NamedTuple):
    """A class of storages that the program names."""

    name: str


class _View(NamedTuple):
    """A tensor, as part of a storage."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


def load_tensors(path: Path) -> Any:
    """What `torch.save` wrote: tensors, on the CPU, and plain values in dictionaries and lists.

    Raises:
        NeedsCodeError: If it can't be read without running functions that it names.
        DamagedError: If it is damaged, or something else; besides as `reading.opened` does.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "some.pt"
        >>> torch.save({"a": torch.arange(3), "b": [1, None]}, path)
        >>> load_tensors(path)
        {'a': tensor([0, 1, 2]), 'b': [1, None]}
    """
    with opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        legacy = file.read(len(LEGACY)) == LEGACY
        file.seek(0)
        try:
            return _legacy(file, size) if legacy else _zipped(file, size)
        except (DamagedError, MemoryError):
            raise
        except Exception as error:  # of zipfile, pickletools and torch, for what isn't theirs
            raise DamagedError(f"{type(error).__name__}: {reason(error)}") from error


def _zipped(file: IO[bytes], size: int) -> Any:
    """The content of a file since PyTorch 1.6: an archive of a program and storages."""
    with zipfile.ZipFile(file) as archive:
        members = {info.filename.partition("/")[2]: info for info in archive.infolist()}
        for info in members.values():
            check_member(info)
        program = members["data.pkl"]
        if program.file_size > MOST_PROGRAM:
            raise DamagedError(f"its program claims {program.file_size:,} bytes")
        read = 0

        def numbers(storage: _Storage) -> bytes:
            nonlocal read
            info = members[f"data/{storage.key}"]
            read += info.file_size
            if read > size:
                raise DamagedError("its storages claim more bytes than it has")
            return archive.read(info)

        return _filled(_run(io.BytesIO(archive.read(program))), numbers)


def _legacy(file: IO[bytes], size: int) -> Any:
    """The content of an older file: a program, the keys of storages, and these."""
    # In memory, as a program that claims a string of any length then gets what there is.
    content = io.BytesIO(file.read(size))
    for _ in range(3):  # a magic number, the version, sizes of integers
        _run(content)
    root, keys = _run(content), _run(content)
    stored, widths = dict[str, bytes](), dict[str, int]()

    def note(view: _View) -> _View:
        widths[view.storage.key] = view.storage.dtype.itemsize
        return view

    _walk(root, note)
    for key in keys:
        held = int.from_bytes(content.read(8), "little", signed=True) * widths.get(key, 0)
        if key not in widths or not 0 <= held <= size:
            raise DamagedError(
                "its storages claim more bytes than it has, or aren't of its tensors"
            )
        stored[key] = content.read(held)
    return _filled(root, lambda storage: stored[storage.key])


def _filled(root: Any, numbers: Callable[[_Storage], bytes]) -> Any:
    """A content with its tensors in the place of their descriptions."""
    storages = dict[str, Tensor]()

    def tensor(view: _View) -> Tensor:
        storage, offset, size, stride = view
        count = math.prod(size)
        if not count:
            return torch.empty(size, dtype=storage.dtype)
        if storage.key not in storages:
            held = numbers(storage)
            if len(held) != storage.numel * storage.dtype.itemsize:
                raise DamagedError(f"storage {storage.key} has {len(held):,} bytes, not as claimed")
            storages[storage.key] = torch.frombuffer(bytearray(held), dtype=storage.dtype)
        whole = storages[storage.key]
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        if min(offset, *stride, 0) < 0 or max(last + 1, count) > len(whole):
            raise DamagedError(f"a tensor of size {list(size)} reaches beyond its storage")
        return whole.as_strided(size, stride, offset)

    return _walk(root, tensor)


def _walk(root: Any, change: Callable[[_View], Any]) -> Any:
    """A content with every tensor's description changed."""
    done = dict[int, Any]()  # what stands in many places is walked through once

    def walk(value: Any) -> Any:
        if isinstance(value, _Name | _Storage) or callable(value):
            raise NeedsCodeError(f"it needs {value}")
        if isinstance(value, _View):
            return change(value)
        if not isinstance(value, dict | list | tuple):
            return value
        if id(value) not in done:
            done[id(value)] = None  # in case that it contains itself
            if isinstance(value, dict):
                done[id(value)] = {key: walk(one) for key, one in value.items()}
            else:
                done[id(value)] = type(value)(walk(one) for one in value)
        return done[id(value)]

    return walk(root)


# ---------------------------------------------------------------- the program

_INSTRUCTIONS = {
    *("PROTO", "FRAME", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE", "GLOBAL", "STACK_GLOBAL"),
    *("EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
    *("BININT", "BININT1", "BININT2", "LONG1", "INT", "LONG", "BINFLOAT", "FLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "UNICODE", "SHORT_BINSTRING", "BINSTRING", "BINUNICODE8"),
    *("BINPUT", "LONG_BINPUT", "PUT", "MEMOIZE", "BINGET", "LONG_BINGET", "GET"),
    *("APPEND", "APPENDS", "SETITEM", "SETITEMS", "BINPERSID", "REDUCE", "BUILD"),
}


def _run(file: io.BytesIO) -> Any:
    """Carry out a program up to its end, where the file then stands."""
    start = file.tell()
    for steps, (opcode, _, _) in enumerate(pickletools.genops(file)):
        if steps > MOST_STEPS:
            raise DamagedError(f"its program has more than {MOST_STEPS:,} instructions")
        if opcode.name not in _INSTRUCTIONS:
            raise NeedsCodeError(f"it needs the instruction {opcode.name}")
    file.seek(start)
    return _Program(file).load()


_Interpreter: Any = pickle._Unpickler


class _Program(_Interpreter):  # type: ignore[misc]
    """Python's own interpreter, in Python, of the few functions that state dicts consist of.

    That in C allocates as much as the places claim at which a program keeps its values.
    """

    dispatch: ClassVar[dict[int, Any]] = dict(_Interpreter.dispatch)

    def find_class(self, module: str, name: str) -> Any:
        if name in DTYPES:
            return _Name(name)
        if f"{module}.{name}" not in _FUNCTIONS:
            raise NeedsCodeError(f"it needs {module}.{name}")
        return _FUNCTIONS[f"{module}.{name}"]

    def persistent_load(self, pid: Any) -> _Storage:
        """The storage that a program refers to."""
        word, kind, key, _, numel, *_ = pid
        if word != "storage" or not isinstance(kind, _Name):
            raise NeedsCodeError(f"it needs {kind}")
        if not isinstance(key, str) or not isinstance(numel, int):
            raise DamagedError("a storage has no name or no size")
        return _Storage(key, DTYPES[kind.name], numel)

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        _put(self.stack[-1], [key, value])

    def load_setitems(self) -> None:
        some = self.pop_mark()
        _put(self.stack[-1], some)

    def load_build(self) -> None:
        self.stack.pop()  # attributes of a state dict: the versions of its modules

    dispatch[pickle.SETITEM[0]] = load_setitem
    dispatch[pickle.SETITEMS[0]] = load_setitems
    dispatch[pickle.BUILD[0]] = load_build


def _put(target: Any, some: list[Any]) -> None:
    # Large numbers may be chosen so that a dictionary takes long to find them.
    if not isinstance(target, dict) or not all(
        isinstance(key, str) or (isinstance(key, int) and 0 <= key < 1 << 32) for key in some[::2]
    ):
        raise NeedsCodeError("it has a dictionary with keys that are neither names nor places")
    target.update(zip(some[::2], some[1::2], strict=True))


def _ordered(pairs: Iterable[Any] = ()) -> dict[Any, Any]:
    target = dict[Any, Any]()
    for pair in pairs:
        _put(target, list(pair))
    return target


def _view(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> _View:
    if not isinstance(storage, _Storage) or not all(
        isinstance(n, int) and 0 <= n < 2**48 for n in (offset, *size, *stride)
    ):
        raise DamagedError("a tensor isn't described by whole numbers")
    return _View(storage, offset, tuple(size), tuple(stride))


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _ordered,
    "torch._utils._rebuild_tensor_v2": _view,
    "torch._utils._rebuild_parameter": lambda data, *_: data,
    "torch.Size": tuple,
}
