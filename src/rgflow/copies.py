"""Copies of flows, and other modules, in other number formats or with fixed weights."""

import copy
from itertools import chain
from typing import TypeVar, cast

import torch
from torch import nn

from rgflow.bijectors.base import Bijector

AnyModule = TypeVar("AnyModule", bound=nn.Module)


class Copies:
    """The copy of a module in another number format, valid as long as the module's weights don't
    change. A copied module starts with none."""

    def __init__(self) -> None:
        self._held: dict[torch.dtype, tuple[object, nn.Module]] = {}

    def of(self, module: AnyModule, dtype: torch.dtype) -> AnyModule:
        """The copy, made anew if weights changed."""
        tensors = chain(module.parameters(), module.buffers())
        now = [(id(x), x.data_ptr(), x._version, x.requires_grad) for x in tensors]
        found = self._held.get(dtype)
        if found and found[0] == now:
            return cast(AnyModule, found[1])
        made = copy.deepcopy(module).to(dtype)
        self._held = {} if torch.is_inference_mode_enabled() else {dtype: (now, made)}
        return made

    def __deepcopy__(self, memo: object) -> "Copies":
        return Copies()


def frozen(module: AnyModule) -> AnyModule:
    """A module for inference only: its parameters, which are shared with the original, don't
    require gradients, and its bijectors compute once what depends on parameters alone."""
    fixed = {id(p): nn.Parameter(p.detach(), requires_grad=False) for p in module.parameters()}
    made = copy.deepcopy(module, fixed).eval()
    for part in made.modules():
        if isinstance(part, Bijector):
            part.freeze()
    return made
