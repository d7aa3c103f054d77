"""The workspaces of all who have the page open, each by itself."""

from collections import OrderedDict, deque
from threading import Lock, RLock

from rgflow.app.shelf import Shelf
from rgflow.app.workspace import Workspace

MOST = 256
"""Workspaces at a time; the one that was idle longest goes."""


class Turns:
    """A lock for which everybody waits in line: what was clicked first happens first."""

    def __init__(self) -> None:
        self._guard = Lock()
        self._taken = False
        self._line: deque[Lock] = deque()

    def __enter__(self) -> None:
        with self._guard:
            if not self._taken:
                self._taken = True
                return
            turn = Lock()
            turn.acquire()
            self._line.append(turn)
        turn.acquire()  # until it is released below

    def __exit__(self, *_: object) -> None:
        with self._guard:
            if self._line:
                self._line.popleft().release()
            else:
                self._taken = False


class Desk:
    """Workspaces by the session that they belong to.

    Args:
        shelf: The models.
    """

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self._all: OrderedDict[str, tuple[Workspace, Turns]] = OrderedDict()
        self._lock = RLock()

    def of(self, session: str) -> tuple[Workspace, Turns]:
        """The workspace of a session, new at the first call, and the lock for using it."""
        with self._lock:
            if session not in self._all:
                opened = self.shelf.open(self.shelf.first)
                self._all[session] = Workspace(opened), Turns()
                while len(self._all) > MOST:
                    self._all.popitem(last=False)
            self._all.move_to_end(session)
            return self._all[session]

    def open(self, session: str, name: str) -> Workspace:
        """Begin anew with another model."""
        opened = self.shelf.open(name)
        opened.prepare()
        _, lock = self.of(session)
        with self._lock:
            self._all[session] = Workspace(opened), lock
            return self._all[session][0]

    def close(self, session: str) -> None:
        """Forget a session."""
        with self._lock:
            self._all.pop(session, None)

    def __len__(self) -> int:
        return len(self._all)
