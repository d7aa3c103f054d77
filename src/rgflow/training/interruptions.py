"""Ending a run between two steps when a signal arrives."""

import signal
import threading
from types import FrameType
from typing import Any, Self

SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]
"""Ctrl-C, what job schedulers send before they kill, and what a terminal sends that is closed."""


class Interruptions:
    """Within it, the first of these signals is only noted; the second interrupts at once.

    SIGHUP stays ignored where it is, as under `nohup`.

    Weights that are being updated are thus never saved half updated. Outside the main thread,
    where Python can't handle signals, it does nothing.
    """

    def __init__(self) -> None:
        self.noted = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {
                number: signal.signal(number, self._note)
                for number in SIGNALS
                if not (number.name == "SIGHUP" and signal.getsignal(number) is signal.SIG_IGN)
            }
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.noted:
            raise KeyboardInterrupt
        self.noted = True
