"""Tensors in a safetensors file, with the digests of all that it holds; and in PyTorch's files.

Its metadata are one JSON object, as safetensors gives several no order: `metadata`, words by name;
`digests`, the beginnings of the SHA-256 of every tensor in the order of their names; and `sha256`,
that of everything else: names, types, shapes, digests, metadata. So whatever changes a bit of the
file, its meaning is either the same or found to be changed.
"""

import hashlib
import json
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from rgflow.files import replacing
from rgflow.reading import DamagedError, json_in, opened, reason

DIGEST_DIGITS = 16
"""Hexadecimal digits of a tensor's digest: damage, unlike malice, makes no two of them agree."""
SEALED = "rgflow"
"""The name of that object."""
DTYPES = (
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
    *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
)
"""Types of numbers that are read; others lack functions that are needed."""
Metadata = dict[str, str]


def save(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] = {}) -> None:
    """Write tensors and words, each by name, whole or not at all; tensors that share their numbers
    must be given once.

    Raises:
        OSError: If it can't be written.

    Example:
        >>> import tempfile, torch
        >>> path = Path(tempfile.mkdtemp()) / "some.safetensors"
        >>> save(path, {"a": torch.arange(3)}, {"author": "me"})
        >>> load(path)
        ({'a': tensor([0, 1, 2])}, {'author': 'me'})
    """
    plain = {name: tensors[name].detach().cpu().contiguous() for name in sorted(tensors)}
    seal = {"metadata": dict(metadata), "digests": " ".join(map(_digest, plain.values()))}
    seal["sha256"] = _seal(plain, seal)
    with replacing(path) as part:
        save_file(plain, part, {SEALED: json.dumps(seal, sort_keys=True)})


def load(path: Path, *, sealed: bool = False) -> tuple[dict[str, Tensor], Metadata]:
    """Read tensors, of any shapes, and metadata. Digests are checked where the file has them.

    Args:
        path: The file.
        sealed: Whether it must have digests, as all files that `save` writes have.

    Raises:
        FileNotFoundError: If it isn't there.
        PermissionError: If it may not be read.
        DamagedError: If it isn't such a file, or its content isn't what was written.
    """
    with opened(path):
        pass  # so that one that may not be read isn't taken for a damaged one
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in sorted(file.keys())}
    except Exception as error:
        raise DamagedError(
            f"it isn't a safetensors file, or was cut short ({reason(error)})"
        ) from error
    for name, tensor in tensors.items():
        if tensor.dtype not in DTYPES:
            raise DamagedError(f"{name} holds numbers of the type {tensor.dtype}")
    if SEALED not in metadata:
        if sealed or any("sha256" in word for word in metadata.values()):
            raise DamagedError("it has no digests")
        return tensors, metadata
    try:
        seal = json_in(metadata[SEALED])
        words, digests, claimed = seal["metadata"], seal["digests"].split(" "), seal.pop("sha256")
    except (AttributeError, KeyError, TypeError, DamagedError) as error:
        raise DamagedError("its header isn't the one that was written") from error
    if claimed != _seal(tensors, seal):
        raise DamagedError("its header isn't the one that was written")
    for (name, tensor), digest in zip(tensors.items(), digests, strict=False):
        if _digest(tensor) != digest:
            raise DamagedError(f"the numbers of {name} aren't those that were written")
    return tensors, words


def load_torch(path: Path) -> Any:
    """Read what `torch.save` wrote: tensors and plain values. PyTorch's reader of weights runs no
    function that a file names but those that make tensors.

    Raises:
        FileNotFoundError: If it isn't there.
        PermissionError: If it may not be read.
        DamagedError: If it isn't such a file, holds other objects, or is compressed, which
            `torch.save` never does and may claim much memory.
    """
    with opened(path) as file:
        try:
            if zipfile.is_zipfile(file):
                archive = zipfile.ZipFile(file)
                if any(one.compress_type != zipfile.ZIP_STORED for one in archive.infolist()):
                    raise DamagedError("its members are compressed")
                if damaged := archive.testzip():  # as PyTorch doesn't compare their CRC-32
                    raise DamagedError(f"{damaged} in it isn't as it was written")
            file.seek(0)
            return torch.load(file, map_location="cpu", weights_only=True)
        except DamagedError:
            raise
        except pickle.UnpicklingError as error:
            if named := re.search(r"Unsupported global: GLOBAL (\S+)", str(error)):
                raise DamagedError(f"it needs pickle for {named[1]}") from error
            raise DamagedError(f"it can't be read by torch.load ({reason(error)})") from error
        except Exception as error:
            raise DamagedError(f"it can't be read by torch.load ({reason(error)})") from error


def _digest(tensor: Tensor) -> str:
    """The beginning of the SHA-256 of a tensor's numbers."""
    content = tensor.reshape(-1).view(torch.uint8).numpy() if tensor.numel() else np.empty(0)
    return hashlib.sha256(content.data).hexdigest()[:DIGEST_DIGITS]


def _seal(tensors: Mapping[str, Tensor], seal: Mapping[str, Any]) -> str:
    """The SHA-256 of names, types and shapes of tensors, and of metadata and digests."""
    described = [[name, str(x.dtype), list(x.shape)] for name, x in tensors.items()]
    text = json.dumps([described, seal], sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
