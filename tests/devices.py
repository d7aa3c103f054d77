"""A device for tests, whose tensors mix with those of the CPU as little as a GPU's.

Each of them wraps one of the CPU. All operations on them come to `_compute`, which raises where
CUDA would as something is on another device, and lets the CPU compute with what is wrapped.
"""

import math
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.utils import backend_registration

aten = torch.ops.aten
CPU = torch.device("cpu")
DEVICE = torch.device("privateuseone", 0)
"""The one that torch leaves to others; once it is registered it is called `elsewhere`."""


@contextmanager
def registered() -> Iterator[None]:
    """Where the device is known. It stays so, but gradients can only be computed in here."""
    if not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"):
        pytest.skip(f"Torch {torch.__version__} knows no devices that are written in Python.")
    _register()
    # Threads for gradients are started with the first of all, for the devices known by then.
    with torch.autograd.set_multithreading_enabled(False):
        yield


class DeviceTensor(Tensor):
    """A tensor of the device."""

    value: Tensor
    """Its numbers, on the CPU."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, value: Tensor) -> "DeviceTensor":
        layout = value.shape, value.stride(), value.storage_offset()
        tensor = Tensor._make_wrapper_subclass(cls, *layout, dtype=value.dtype, device=DEVICE)
        tensor.value = value
        return tensor

    @classmethod
    def __torch_dispatch__(cls, operation: Any, types: Any, args: Any = (), kwargs: Any = None):
        return _compute(operation, args, kwargs or {})

    @property
    def data(self) -> Tensor:
        return Tensor.data.__get__(self)

    @data.setter
    def data(self, new: "DeviceTensor") -> None:  # as `Module.to` does
        Tensor.data.__set__(self, new)
        self.value = new.value

    def __deepcopy__(self, memo: Any) -> Tensor:
        copied = DeviceTensor(self.value.clone())
        parameter = isinstance(self, nn.Parameter)
        return nn.Parameter(copied, self.requires_grad) if parameter else copied

    def data_ptr(self) -> int:
        return self.value.data_ptr()

    def tolist(self) -> Any:
        return self.value.tolist()

    def __repr__(self) -> str:
        return f"DeviceTensor({self.value})"


class Generator(torch.Generator):
    """A random generator of the device; that the CPU takes it too is unlike CUDA."""

    device = DEVICE
    _alive: ClassVar[Any] = weakref.WeakSet()

    def __init__(self) -> None:
        self._alive.add(self)

    @classmethod
    def is_one(cls, generator: torch.Generator) -> bool:
        """Operations are given another object, of the base class."""
        return any(one._cdata == generator._cdata for one in cls._alive)


def _compute(operation: Any, args: Any, kwargs: Any) -> Any:
    """What an operation makes of tensors of the device."""
    wrappers: dict[int, Tensor] = {}
    values = [
        _unwrapped(x, dims, wrappers) for x, dims in zip(args, _guests(operation), strict=False)
    ]
    named = {name: _unwrapped(x, 0, wrappers) for name, x in kwargs.items()}
    result = operation(*values, **named)
    device = kwargs.get("device")
    return result if device and device.type != DEVICE.type else _wrapped(result, wrappers)


@cache
def _guests(operation: Any) -> list[float]:
    """Of how many dimensions tensors of the CPU may be, for every argument of an operation.

    As with CUDA, they may be copied, be numbers or, in a list, indices; and nothing is written to
    them.
    """
    if operation is aten.copy_.default:
        return [math.inf, math.inf, 0]
    indexing = operation in (aten.index.Tensor, aten.index_put.default, aten.index_put_.default)
    return [
        math.inf if indexing and k == 1 else -1 if argument.is_write else 0
        for k, argument in enumerate(operation._schema.arguments)
    ]


def _unwrapped(x: Any, guests: float, wrappers: dict[int, Tensor]) -> Any:
    """An argument on the CPU."""
    if isinstance(x, DeviceTensor):
        wrappers[id(x.value)] = x
        return x.value
    if isinstance(x, Tensor):
        if x.ndim > guests:
            raise RuntimeError(f"Expected tensors on {DEVICE}; got one on {x.device}.")
        wrappers[id(x)] = x
    elif isinstance(x, list | tuple):
        return [_unwrapped(each, guests - 1, wrappers) for each in x]
    elif isinstance(x, torch.device):
        return CPU if x.type == DEVICE.type else x
    elif isinstance(x, torch.Generator) and not Generator.is_one(x):
        raise RuntimeError(f"Expected a generator on {DEVICE}; got one on {x.device}.")
    return x


def _wrapped(x: Any, wrappers: dict[int, Tensor]) -> Any:
    """A result on the device; if it was an argument, that one."""
    if isinstance(x, Tensor):
        wrapper = wrappers.get(id(x))
        if wrapper is None:
            return DeviceTensor(x)
        assert wrapper.shape == x.shape, "a shape that changes in place"
        return wrapper
    if isinstance(x, list | tuple):
        return type(x)(_wrapped(each, wrappers) for each in x)
    return x


_MAKING = [
    aten.empty.memory_format, aten.empty_strided.default, aten.arange.default, aten.arange.start,
    aten.arange.start_step, aten.linspace.default, aten.eye.default, aten.eye.m,
]  # fmt: skip
"""Operations from which torch makes all others that are given a device instead of tensors."""


class _Module:
    """What torch asks of a device, as `torch.elsewhere`."""

    def is_available(self) -> bool:
        return True

    def device_count(self) -> int:
        return 1

    def current_device(self) -> int:
        return 0

    def _is_in_bad_fork(self) -> bool:
        return False

    def manual_seed_all(self, seed: int) -> None:
        """Without a generator, numbers come from the one of the CPU."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]


@cache
def _register() -> list[Any]:
    """Tell torch of the device, for as long as the result is kept."""
    backend_registration._setup_privateuseone_for_python_backend("elsewhere", _Module())

    def making(operation: Any) -> Callable[..., Any]:
        return lambda *args, **kwargs: _compute(operation, args, kwargs | {"device": DEVICE})

    def copy(source: Tensor, target: DeviceTensor, non_blocking: bool = False) -> DeviceTensor:
        """For `torch.tensor`, inside of which operations don't come to `_compute`."""
        target.value.copy_(source)
        return target

    kernels = torch.library.Library("aten", "IMPL", "PrivateUse1")
    for operation in _MAKING:
        kernels.impl(operation, making(operation))
    kernels.impl(aten._efficientzerotensor.default, making(aten.zeros.default))
    kernels.impl(aten._copy_from.default, copy)
    autocast = torch.library.Library("_", "IMPL", "AutocastPrivateUse1")
    autocast.fallback(torch.library.fallthrough_kernel)
    return [kernels, autocast]
