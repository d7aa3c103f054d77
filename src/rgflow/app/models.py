"""The models that the explorer may open, each loaded once."""

from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from html import escape
from threading import RLock, Thread

import torch

from rgflow import trained
from rgflow.analysis.fields import ReceptiveFields, receptive_fields
from rgflow.evaluation import TermQuantiles
from rgflow.files import QUANTILES, expanded
from rgflow.flow import Flow
from rgflow.pretrained import folder_of, shipped
from rgflow.reading import DamagedError, instance, read_json
from rgflow.repair.surprise import Reference
from rgflow.report.facts import facts
from rgflow.trained import Model

FIELD_DRAWS, FIELD_TEMPERATURE = 4, 0.8
"""Draws of latents over which receptive fields are averaged, at the temperature of samples."""

MAIN_FACTS = ("data", "images", "levels", "parameters")
"""Facts of a model that are shown at once."""


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
            return self._fields

    @cached_property
    def _fields(self) -> ReceptiveFields:
        return receptive_fields(self.flow, draws=FIELD_DRAWS, temperature=FIELD_TEMPERATURE)

    @property
    def reference(self) -> Reference:
        """What is usual in clean images; the first call takes a while."""
        with self._lock:
            return self._reference

    @cached_property
    def _reference(self) -> Reference:
        return self.model.reference()

    def prepare(self) -> None:
        """Compute the receptive fields now, while nobody waits for them."""
        # No daemon, as Python aborts if it ends while one of those is inside PyTorch.
        Thread(target=lambda: self.fields).start()

    @cached_property
    def facts(self) -> dict[str, str]:
        """What is known of it, in words."""
        return dict(facts(folder_of(self.name)))

    @property
    def data(self) -> str:
        """What it was trained on, in words; empty if unknown."""
        return self.facts.get("data", "")

    @property
    def card(self) -> str:
        """What is known of it, as HTML: the main facts, then all others."""
        rows = [*self.facts.items(), ("levels", str(self.flow.levels))]
        first, rest = list[str](), list[str]()
        for name, text in rows:
            main = name in (*MAIN_FACTS, self.flow.unit.name)
            cells = f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>"
            (first if main else rest).append(cells)
        hint = "<p>The fewer bits per dimension, the better the model fits its images.</p>"
        details = f"<details><summary>All details</summary><table>{''.join(rest)}</table></details>"
        return f"<table>{''.join(first)}</table>{hint}{details}"

    @property
    def quantiles(self) -> TermQuantiles | None:
        """Quantiles of the parts of the log-likelihood of validation images; none if unknown."""
        folder = self.model.run.model if self.model.run else folder_of(self.name)
        with suppress(OSError, DamagedError):
            path = folder / QUANTILES
            found = instance(TermQuantiles, read_json(path, "quantiles of a log-likelihood"))
            sizes = {len(values) for values in (found.probabilities, *found.levels)}
            if len(found.levels) == self.flow.levels and len(sizes) == 1:
                return found
        return None


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
        """Open a model; it is loaded at the first call, and again when its weights have changed.

        Raises:
            FileNotFoundError: If there is none.
            ValueError: If it can't be read, or isn't a flow of images in colour or grey.
        """
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

    def open_folder(self, path: str) -> OpenModel:
        """Open a model by the path of its folder or its run folder.

        Raises:
            FileNotFoundError: If there is none.
            ValueError: If it can't be read, or visitors may not open folders.
        """
        if not self.folders:
            raise ValueError(
                "Expected a page that only its own machine can reach, to open folders; others can "
                "reach this one: name the folder when you start `rgflow app`."
            )
        return self.open(str(expanded(path)))


def _changed(name: str) -> int:
    """When the weights of a model were written, in nanoseconds."""
    folder = folder_of(name)
    files = [*folder.glob("*.safetensors"), *folder.glob("model/*.safetensors")]
    return max((path.stat().st_mtime_ns for path in files), default=0)
