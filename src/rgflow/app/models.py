"""The models that the explorer may open, each loaded once, and the images of the page of latents.

Latents are in float64, so that images decode to what they were.
"""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from threading import Lock, RLock, Thread

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rgflow import trained
from rgflow.analysis.fields import ReceptiveFields, receptive_fields, walks
from rgflow.checks import check_whole
from rgflow.data.opening import picture_file
from rgflow.figures import to_bytes
from rgflow.files import EXAMPLES, NAMES, expanded
from rgflow.flow import Flow
from rgflow.latents import Address, Latents
from rgflow.pretrained import folder_of, shipped
from rgflow.reading import instance, read_json
from rgflow.report.facts import facts
from rgflow.trained import Model

PHOTOGRAPHS = {False: "photos", True: "photos-averages"}
"""Flows of photographs of the package, by whether their coarse images are averages."""
FIELD_DRAWS, FIELD_TEMPERATURE = 4, 0.8
"""Draws of latents over which receptive fields are averaged, at the temperature of samples."""
MAX_WALKS = 400
"""Walks through the flow that receptive fields may take at a time: half a minute on a busy core."""
KEPT_FIELDS = 32
"""Receptive fields of so many levels, pixels and latents are kept."""


@dataclass(frozen=True, eq=False)
class LatentImage:
    """An image with its latents.

    Attributes:
        pixels: uint8 [C, H, W].
        latents: The latents of this one image, in float64.
        caption: How the image was made, in a few words.
        edited: What was done to its latents last.
        key: A name of its own.
    """

    pixels: Tensor
    latents: Latents
    caption: str
    edited: str = ""
    key: str = field(default_factory=partial(secrets.token_hex, 8))


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
    _fields: dict[bytes, ReceptiveFields] = field(default_factory=dict)

    @property
    def flow(self) -> Flow:
        """The flow, in its own number format, in which latents are drawn."""
        return self.model.flow

    @cached_property
    def exact(self) -> Flow:
        """The flow in float64, in which images decode to what they were."""
        return self.flow.frozen(torch.float64)

    def fields(self, level: int, pixel: tuple[int, int] | None = None) -> ReceptiveFields:
        """Receptive fields of the latents of a level; the first call takes a while.

        Where that takes too many walks, those of some sites: next to a pixel or, without one, those
        whose latents have names, and others spread evenly.
        """
        sites = np.argwhere(self.flow.lattice.site_levels == level)
        most = MAX_WALKS // self.flow.image_shape[0]
        if len(sites) > most and walks(self.flow, level) > MAX_WALKS:
            if pixel:
                away = np.square(sites - pixel).sum(1)
                sites = sites[np.argsort(away, kind="stable")[:most]]
            else:
                named = [(i, j) for h, i, j, _ in self.names if h == level][: most // 2]
                even = np.linspace(0, len(sites) - 1, most - len(named)).astype(int)
                sites = np.array([*named, *map(tuple, sites[even])])
        return self._found(sites)

    def field(self, address: Address) -> Tensor:
        """The receptive field of one latent, [H, W]."""
        _, i, j, c = address
        with self._lock:
            known = (one for one in self._fields.values() if not one.strengths[c, i, j].isnan())
            found = next(known, None)
        return (found or self._found(np.array([(i, j)]))).field(address)

    def _found(self, sites: NDArray[np.int64]) -> ReceptiveFields:
        """Receptive fields of the latents at some sites, [n, 2]."""
        mask = np.zeros(self.flow.image_shape[1:], dtype=bool)
        mask[tuple(sites.T)] = True
        with self._lock:
            if (key := mask.tobytes()) not in self._fields:
                draws = FIELD_DRAWS if self.flow.config.height <= 32 else 1
                if len(self._fields) == KEPT_FIELDS:
                    del self._fields[next(iter(self._fields))]
                self._fields[key] = receptive_fields(
                    self.flow, draws=draws, temperature=FIELD_TEMPERATURE, sites=mask
                )
            return self._fields[key]

    def prepare(self) -> None:
        """Compute the fields that are seen first now, while nobody waits for them."""
        # No daemon, as Python aborts if it ends while one of those is inside PyTorch.
        Thread(target=self.fields, args=(self.flow.levels - 1,)).start()

    def decoded(self, z: Latents, caption: str) -> LatentImage:
        """The image that the latents of one image decode to."""
        with torch.no_grad():
            return LatentImage(to_bytes(self.exact.decode(z))[0], z, caption)

    def encoded(self, pixels: Tensor, caption: str) -> LatentImage:
        """Encode an image, uint8 [C, H, W]."""
        with torch.no_grad():
            return self.decoded(self.exact.encode(pixels[None]), caption)

    def sampled(self, seeds: Iterable[int], temperature: float | list[float]) -> list[LatentImage]:
        """Draw one image for every seed."""
        seeds = list(seeds)
        z = self.flow.draw_each(seeds, temperature).to(torch.float64)
        each = enumerate(seeds)
        return [self.decoded(z.select(slice(k, k + 1)), f"sample {seed}") for k, seed in each]

    @cached_property
    def names(self) -> dict[Address, str]:
        """What latents go with, by address, as `rgflow factors` found; none if it wasn't run or the
        file isn't of this model."""
        path = folder_of(self.name) / NAMES
        try:
            content = read_json(path, "names of latents")
            named = instance(dict[str, list[Address]], content).items()
            found = {
                one: f"{name} {k}" if len(latents) > 1 else name
                for name, latents in named
                for k, one in enumerate(latents, 1)
            }
            for *site, channel in found:
                self.flow.lattice.check_site(*site)
                check_whole("the channel", channel, 0, self.flow.image_shape[0] - 1)
        except (OSError, ValueError):
            return {}
        return found

    @cached_property
    def examples(self) -> tuple[LatentImage, ...]:
        """The test images that came with the model, if there are some."""
        config = self.flow.config
        try:
            with picture_file(folder_of(self.name) / EXAMPLES, formats=["PNG"]) as file:
                seen = np.array(file.convert("RGB" if config.channels == 3 else "L"))
            wide = torch.from_numpy(seen).view(*seen.shape[:2], -1).permute(2, 0, 1)
            images = wide.split(config.width, 2)
            return tuple(self.encoded(x, f"example {k}") for k, x in enumerate(images, 1))
        except (OSError, ValueError):
            return ()

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


class Flows:
    """Flows of photographs: one whose coarse images are every second pixel, to repair and search,
    and one of averages, to enlarge and redraw. The package's are loaded at their first use.

    Args:
        own: A flow to use in the place of one of them; of both, if it has other channels.
        name: Its name.

    Attributes:
        channels: Of the pictures.
        about: What they do, in a sentence.
    """

    def __init__(self, own: Flow | None = None, name: str = "") -> None:
        self.channels = own.config.channels if own else 3
        self._lock, self._flows, self._names = Lock(), dict[bool, Flow](), dict(PHOTOGRAPHS)
        for averages in PHOTOGRAPHS:
            if own and (own.config.geometry.averages == averages or own.config.channels != 3):
                self._flows[averages], self._names[averages] = own.frozen(), name
        self.about = (
            f"Flows of photographs of any size: {self._names[False]} repairs damage, and "
            f"{self._names[True]} enlarges and redraws."
        )

    def __call__(self, *, averages: bool) -> Flow:
        """One of them, frozen."""
        with self._lock:
            if averages not in self._flows:
                self._flows[averages] = trained.load(PHOTOGRAPHS[averages]).flow.frozen()
            return self._flows[averages]
