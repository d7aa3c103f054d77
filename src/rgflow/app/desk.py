"""The workspaces of all who have the page open, each by itself."""

import time
from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock

from rgflow.app.shelf import Shelf
from rgflow.app.workspace import Workspace

MOST = 256
"""Workspaces at a time; the one that was idle longest goes."""
PATIENCE = 600
"""Seconds for which the workspace of one who has left is kept: a connection may only have
dropped."""


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

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Let those in line go first, while one does something else or nothing."""
        self.__exit__()
        try:
            yield
        finally:
            self.__enter__()


@dataclass(eq=False)
class Seat:
    """Of one session.

    Attributes:
        turns: The lock for using the workspace.
        work: The workspace, from the first use on.
        left: Until when it is kept though the session has ended, if it has, in seconds.
        page: The name of the page, of which a session is one connection.
    """

    turns: Turns = field(default_factory=Turns)
    work: Workspace | None = None
    left: float | None = None
    page: str = ""


class Desk:
    """Workspaces by the session that they belong to.

    Args:
        shelf: The models.

    Attributes:
        hands: The lock for computing. Of small operations, as a flow has thousands, two threads do
            half as many as one: they wait for each other at every one of them.
    """

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self._seats: OrderedDict[str, Seat] = OrderedDict()
        self._lock = Lock()  # held for moments only, as everybody needs it
        self.hands = Turns()

    @contextmanager
    def using(self, session: str) -> Iterator[Workspace]:
        """The workspace of a session, new at the first call, with nobody else at it
        and nobody else computing."""
        with self.at(self.seat(session)) as work:
            yield work

    @contextmanager
    def at(self, seat: Seat) -> Iterator[Workspace]:
        """The workspace of a seat, as `using`; whichever session has the seat by now."""
        with seat.turns, self.hands:
            if seat.work is None:
                seat.work = Workspace(self.shelf.open(self.shelf.first))
            yield seat.work

    def arrive(self, session: str, page: str, before: str = "") -> None:
        """A page was opened; in place of the one before in the same tab, it goes on with that
        one's workspace.

        Args:
            session: Its session.
            page: Its name, that nobody else can guess.
            before: The name of the page before; empty if there was none.
        """
        with self._lock:
            known = [key for key, seat in self._seats.items() if before and seat.page == before]
            for key in known:
                self._seats[session] = self._seats.pop(key)
        self.seat(session).page = page

    def seat(self, session: str) -> Seat:
        """That of a session, new at the first call."""
        with self._lock:
            seat = self._seats.setdefault(session, Seat())
            seat.left = None
            self._seats.move_to_end(session)
            self._clear()
            return seat

    def _clear(self) -> None:
        """Forget those who have left, and whoever was idle longest if there are too many."""
        now = time.monotonic()
        gone = [key for key, seat in self._seats.items() if seat.left and seat.left < now]
        for key in [*gone, *list(self._seats)[: max(0, len(self._seats) - MOST)]]:
            self._seats.pop(key, None)

    def stop(self, session: str) -> None:
        """Stop a repair of a session, if one is under way; it doesn't wait for its turn."""
        with self._lock:
            seat = self._seats.get(session)
        if seat and seat.work:
            seat.work.stopping = True

    def stop_all(self) -> None:
        """Stop all repairs, as the server ends."""
        with self._lock:
            sessions = list(self._seats)
        for session in sessions:
            self.stop(session)

    def leave(self, session: str) -> None:
        """A session has ended, or its connection has."""
        self.stop(session)
        with self._lock:
            if session in self._seats:
                self._seats[session].left = time.monotonic() + PATIENCE
            self._clear()

    def __len__(self) -> int:
        """How many have the page open."""
        with self._lock:
            return sum(seat.left is None for seat in self._seats.values())
