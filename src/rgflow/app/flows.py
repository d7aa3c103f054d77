"""The two flows of the page of photographs."""

from threading import Lock

from rgflow import trained
from rgflow.flow import Flow

NAMES = {False: "photos", True: "photos-averages"}
"""Models of the package, by whether their coarse images are averages."""


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
        self._lock, self._flows, self._names = Lock(), dict[bool, Flow](), dict(NAMES)
        for averages in NAMES:
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
                self._flows[averages] = trained.load(NAMES[averages]).flow.frozen()
            return self._flows[averages]
