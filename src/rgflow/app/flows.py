"""The two flows of the page of photographs."""

from threading import Lock

from rgflow import trained
from rgflow.flow import Flow

NAMES = {False: "photos", True: "photos-averages"}
"""Models of the package, by whether their coarse images are averages."""


class Flows:
    """Flows of photographs: one whose coarse images are every second pixel, to repair and search,
    and one whose coarse images are averages, to enlarge, mix and redraw.

    Those of the package are loaded when they are first used.

    Args:
        own: A flow to use in the place of one of them; of both, if it has other channels.
        name: Its name.
    """

    def __init__(self, own: Flow | None = None, name: str = "") -> None:
        self._lock, self._flows, self._names = Lock(), dict[bool, Flow](), dict(NAMES)
        if own:
            of = own.config.geometry.averages
            for averages in NAMES if own.config.channels != 3 else (of,):
                self._flows[averages], self._names[averages] = own.frozen(), name

    def __call__(self, *, averages: bool) -> Flow:
        """One of them, frozen.

        Raises:
            FileNotFoundError: If the package has no such model.
        """
        with self._lock:
            if averages not in self._flows:
                self._flows[averages] = trained.load(NAMES[averages]).flow.frozen()
            return self._flows[averages]

    @property
    def about(self) -> str:
        """What they are for, in a sentence."""
        return (
            f"Flows of photographs of any size: {self._names[False]} repairs damage, and "
            f"{self._names[True]} enlarges, mixes and redraws."
        )
