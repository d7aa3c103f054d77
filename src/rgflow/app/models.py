"""The models that the explorer may open, each loaded once."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from threading import RLock, Thread

import torch

from rgflow import trained
from rgflow.analysis.fields import ReceptiveFields, receptive_fields
from rgflow.files import expanded
from rgflow.flow import Flow
from rgflow.pretrained import folder_of, shipped
from rgflow.report.facts import facts
from rgflow.trained import Model

FIELD_DRAWS, FIELD_TEMPERATURE = 4, 0.8
"""Draws of latents over which receptive fields are averaged, at the temperature of samples."""


@dataclass(eq=False)
class OpenModel:
    """A model that is open.

    Attributes:
        name: The name by which it was opened.
        model: The model.
    """

    name: str
    model: Model
    _lock: RLock = field(default_factory=RLock, repr=False)
    _fields: ReceptiveFields | None = None

    @property
    def flow(self) -> Flow:
        """The flow, in its own number format, in which latents are drawn."""
        return self.model.flow

    @cached_property
    def exact(self) -> Flow:
        """The flow in float64, in which images decode to what they were."""
        return self.flow.frozen(torch.float64)

    @property
    def fields(self) -> ReceptiveFields:
        """Receptive fields of all latents; the first call takes a while."""
        with self._lock:
            if self._fields is None:
                self._fields = receptive_fields(
                    self.flow, draws=FIELD_DRAWS, temperature=FIELD_TEMPERATURE
                )
            return self._fields

    def prepare(self) -> None:
        """Compute the receptive fields now, while nobody waits for them."""
        # No daemon, as Python aborts if it ends while one of those is inside PyTorch.
        Thread(target=lambda: self.fields).start()

    @cached_property
    def data(self) -> str:
        """What it was trained on, in words; empty if unknown."""
        return dict(facts(folder_of(self.name))).get("data", "")


class ModelStore:
    """Models by name: those of the package, and others that were opened.

    Args:
        first: The model to begin with: a run folder, or a model's folder or name.
        folders: Whether visitors may open any folder of this machine.
    """

    def __init__(self, first: str, *, folders: bool = True) -> None:
        self.first, self.folders = first, folders
        self.names = [first, *(name for name in shipped() if name != first)]
        self._opened: dict[str, tuple[int, OpenModel]] = {}
        self._lock = RLock()

    def open(self, name: str) -> OpenModel:
        """Open a model by its name, or by the path of its folder or its run folder.

        It is loaded at the first call, and again when its weights have changed.

        Raises:
            FileNotFoundError: If there is none.
            ValueError: If it can't be read, isn't a flow of images in colour or grey, or is a
                folder that visitors may not open.
        """
        if name not in self.names:
            if not self.folders:
                raise ValueError(
                    "Expected a page that only its own machine can reach, to open folders; others "
                    "can reach this one: name the folder when you start `rgflow app`."
                )
            name = str(expanded(name.strip()))
        with self._lock:
            changed = _changed(name)
            if name not in self._opened or self._opened[name][0] != changed:
                model = trained.load(name)
                # On the CPU, as its images and the Python that makes them again are.
                model = replace(model, flow=model.flow.cpu())
                if model.flow.pixels is None or model.flow.config.channels not in (1, 3):
                    raise ValueError(
                        f"Expected a flow of pictures; {name} is a flow of real-valued fields, or "
                        f"has {model.flow.config.channels} channels: use the commands instead."
                    )
                self._opened[name] = changed, OpenModel(name, model)
                if name not in self.names:
                    self.names.append(name)
            return self._opened[name][1]


def _changed(name: str) -> int:
    """When the weights of a model were written, in nanoseconds."""
    folder = folder_of(name)
    files = [*folder.glob("*.safetensors"), *folder.glob("model/*.safetensors")]
    return max((path.stat().st_mtime_ns for path in files), default=0)
