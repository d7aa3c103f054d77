"""Tensors of files that `torch.save` wrote, read without running anything in them.

Such a file holds a program for Python's pickle. PyTorch's own reader admits harmless functions
only, but allocates whatever the file claims. Here a few instructions are carried out, those that
state dicts consist of, and sizes are compared with the bytes that are there.
"""

import io
import math
import os
import pickletools
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, NamedTuple

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
    """A function or a class that the program names."""

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
        FileNotFoundError: If there is no such file.
        PermissionError: If it may not be read.
        NeedsCodeError: If it can't be read without running functions that it names.
        DamagedError: If it is damaged, or something else.

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
        if isinstance(value, _Name | _Storage):
            raise NeedsCodeError(f"it needs {value[0]}")
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

_MARK = object()


def _run(file: io.BytesIO) -> Any:
    """Carry out a program up to its end, where the file then stands."""
    stack, memo = list[Any](), dict[int, Any]()

    def since_mark() -> list[Any]:
        at = len(stack) - 1 - stack[::-1].index(_MARK)
        found = stack[at + 1 :]
        del stack[at:]
        return found

    argument: Any
    for steps, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        name = opcode.name
        if steps > MOST_STEPS:
            raise DamagedError(f"its program has more than {MOST_STEPS:,} instructions")
        if name in ("PROTO", "FRAME"):
            continue
        if name == "STOP":
            return stack.pop()
        if name in _CONSTANTS:
            stack.append(_CONSTANTS[name]())
        elif name in _LITERALS:
            stack.append(argument)
        elif name == "GLOBAL":
            stack.append(_Name(argument.replace(" ", ".")))
        elif name == "STACK_GLOBAL":
            last, first = stack.pop(), stack.pop()
            stack.append(_Name(f"{first}.{last}"))
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(memo[argument])
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            count = int(name[-1])
            stack[-count:] = [tuple(stack[-count:])]
        elif name == "TUPLE":
            stack.append(tuple(since_mark()))
        elif name == "APPEND":
            one = stack.pop()
            stack[-1].append(one)
        elif name == "APPENDS":
            some = since_mark()
            stack[-1].extend(some)
        elif name == "SETITEM":
            one, key = stack.pop(), stack.pop()
            _put(stack[-1], [key, one])
        elif name == "SETITEMS":
            some = since_mark()
            _put(stack[-1], some)
        elif name == "BINPERSID":
            stack.append(_storage(stack.pop()))
        elif name == "REDUCE":
            arguments = stack.pop()
            stack.append(_call(stack.pop(), arguments))
        elif name == "BUILD":  # attributes of a state dict: the versions of its modules
            stack.pop()
        else:
            raise NeedsCodeError(f"it needs the instruction {name}")
    raise DamagedError("its program has no end")


_CONSTANTS: dict[str, Callable[[], Any]] = {
    "MARK": lambda: _MARK,
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
}
_LITERALS = {
    *("BININT", "BININT1", "BININT2", "LONG1", "INT", "LONG", "BINFLOAT", "FLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "UNICODE", "SHORT_BINSTRING", "BINSTRING", "BINUNICODE8"),
}


def _put(target: Any, some: list[Any]) -> None:
    # Large numbers may be chosen so that a dictionary takes long to find them.
    if not isinstance(target, dict) or not all(
        isinstance(key, str) or (isinstance(key, int) and 0 <= key < 1 << 32) for key in some[::2]
    ):
        raise NeedsCodeError("it has a dictionary with keys that are neither names nor places")
    target.update(zip(some[::2], some[1::2], strict=True))


def _storage(persistent: Any) -> _Storage:
    """The storage that a program refers to."""
    word, kind, key, _, numel, *_ = persistent
    name = kind.name.rpartition(".")[2] if isinstance(kind, _Name) else ""
    if word != "storage" or name not in DTYPES:
        raise NeedsCodeError(f"it needs {getattr(kind, 'name', kind)}")
    if not isinstance(key, str) or not isinstance(numel, int):
        raise DamagedError("a storage has no name or no size")
    return _Storage(key, DTYPES[name], numel)


def _call(function: Any, arguments: Any) -> Any:
    """What one of the few functions gives that state dicts consist of."""
    name = function.name if isinstance(function, _Name) else ""
    if name == "collections.OrderedDict":
        target = dict[Any, Any]()
        for pair in arguments[0] if arguments else ():
            _put(target, list(pair))
        return target
    if name == "torch._utils._rebuild_tensor_v2":
        storage, offset, size, stride, *_ = arguments
        if not isinstance(storage, _Storage) or not all(
            isinstance(n, int) and 0 <= n < 2**48 for n in (offset, *size, *stride)
        ):
            raise DamagedError("a tensor isn't described by whole numbers")
        return _View(storage, offset, tuple(size), tuple(stride))
    if name == "torch._utils._rebuild_parameter":
        return arguments[0]
    if name == "torch.Size":
        return tuple(arguments[0])
    raise NeedsCodeError(f"it needs {name or 'a function'}")
