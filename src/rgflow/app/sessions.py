"""The workspace of every open page."""

import hashlib
import os
import shutil
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Condition, Lock, Timer

from rgflow.app.models import ModelStore
from rgflow.app.resuming import keep, resumed
from rgflow.app.workspace import Workspace

MAX_SESSIONS = 256
"""Workspaces kept at a time, for memory; the one that is idle longest is dropped first."""
REMEMBERED_SECONDS, KEPT_SECONDS = 600, 86400
"""How long a closed page is remembered, as its connection may only have dropped, and how long its
folder is."""


class FairLock:
    """A lock that is granted in the order in which it was asked for."""

    def __init__(self) -> None:
        self._turn = Condition()
        self._given = self._served = 0

    def __enter__(self) -> None:
        with self._turn:
            mine, self._given = self._given, self._given + 1
            self._turn.wait_for(lambda: self._served == mine)

    def __exit__(self, *_: object) -> None:
        with self._turn:
            self._served += 1
            self._turn.notify_all()

    @contextmanager
    def released(self) -> Iterator[None]:
        """Release it for the block, so that others in line go first."""
        self.__exit__()
        try:
            yield
        finally:
            self.__enter__()


@dataclass(eq=False)
class Session:
    """One page.

    Attributes:
        lock: For using the workspace.
        work: The workspace, from its first use on.
        expires: When a closed page is forgotten, in seconds; none while it is open.
        page: The name of the page, which may connect again.
        kept: The revision of the workspace that is on the disk.
    """

    lock: FairLock = field(default_factory=FairLock)
    work: Workspace | None = None
    expires: float | None = None
    page: str = ""
    kept: int = 0


class SessionStore:
    """The sessions, by the name that Gradio gives to a connection.

    Args:
        models: The models that may be opened.
        folder: For the workspaces, which outlive the server; none: they don't.

    Attributes:
        computing: The lock for computing. A flow consists of thousands of small operations, of
            which two threads together do half as many as one.
    """

    def __init__(self, models: ModelStore, folder: Path | None = None) -> None:
        self.models, self._folder = models, folder
        self.computing = FairLock()
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._lock = Lock()  # held for moments only, as every event needs it
        self._sweep()

    @contextmanager
    def using(self, key: str) -> Iterator[Workspace]:
        """The workspace of a connection, locked, and nothing else computing; new at first use."""
        session = self.session(key)
        with session.lock:
            with self.computing:
                work, folder = session.work, self._of(session.page)
                if folder and work is None:
                    work = resumed(folder, self.models)
                session.work = work = work or Workspace(self.models.open(self.models.first))
                yield work
            folder = self._of(session.page)  # another page may have taken it over
            if folder and work.revision != session.kept:
                with suppress(OSError):  # it is a copy, for when the server is killed
                    keep(work, folder)
                    session.kept = work.revision

    def _of(self, page: str) -> Path | None:
        """The folder of a page."""
        name = hashlib.sha256(page.encode()).hexdigest()
        return self._folder / name if self._folder and page else None

    def connect(self, key: str, page: str, before: str = "") -> None:
        """Note that a page was opened, by a name that nobody can guess. If it replaces others in
        the same tab, whose names are in `before`, it takes over the workspace, and a repair ends.
        """
        names = [one for one in before.split(",")[:4] if one]
        with self._lock:
            for other in [k for k, one in self._sessions.items() if one.page in names]:
                self._sessions[key] = self._sessions.pop(other)
            for old in filter(None, map(self._of, names)):
                with suppress(OSError):  # it has none
                    old.rename(str(self._of(page)))
        self.stop(key)
        self.session(key).page = page

    def session(self, key: str) -> Session:
        """The session of a connection, new at first use."""
        with self._lock:
            session = self._sessions.setdefault(key, Session())
            session.expires = None
            self._sessions.move_to_end(key)
            self._drop()
            return session

    def _drop(self) -> None:
        """Drop expired sessions and, if there are too many, those idle longest."""
        now = time.monotonic()
        gone = [key for key, one in self._sessions.items() if one.expires and one.expires < now]
        for key in gone:
            self._sessions.pop(key)
        held = [key for key, one in self._sessions.items() if one.work or not one.page]
        for key in held[: max(0, len(held) - MAX_SESSIONS)]:
            if self._of(self._sessions[key].page):
                self._sessions[key].work = None  # it is on the disk
            else:
                self._sessions.pop(key)

    def _sweep(self) -> None:
        """Delete the folders of pages that weren't open for a day; once an hour."""
        if not self._folder:
            return
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._lock:
            used = {self._of(one.page) for one in self._sessions.values() if one.expires is None}
        for folder in self._folder.iterdir():
            with suppress(OSError):
                if folder in used:
                    os.utime(folder)
                elif folder.stat().st_mtime < time.time() - KEPT_SECONDS:
                    shutil.rmtree(folder)
        later = Timer(3600, self._sweep)
        later.daemon = True
        later.start()

    def stop(self, key: str) -> None:
        """Stop the repair of a session, if one is running, without waiting for the lock."""
        with self._lock:
            session = self._sessions.get(key)
        if session and session.work:
            session.work.stopping = True

    def stop_all(self) -> None:
        """Stop all repairs, as the server ends."""
        for key in list(self._sessions):
            self.stop(key)

    def disconnect(self, key: str) -> None:
        """Note that a connection has ended."""
        self.stop(key)
        with self._lock:
            if key in self._sessions:
                self._sessions[key].expires = time.monotonic() + REMEMBERED_SECONDS
            self._drop()

    def __len__(self) -> int:
        """The number of open pages."""
        with self._lock:
            return sum(one.expires is None for one in self._sessions.values())
