"""The folders of a server: for temporary files, and for the pictures that are open."""

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path

from rgflow.files import located, locked


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for all temporary files of this process, those of Gradio included.

    It is deleted in the end or, if the process is killed, when the same user starts the next one.

    Raises:
        PermissionError: If somebody else has made the folder of this user.
    """
    user = os.getuid() if hasattr(os, "getuid") else 0  # elsewhere each user has a folder for all
    shared = Path(tempfile.gettempdir()).resolve() / f"rgflow-{user}"
    shared.mkdir(mode=0o700, exist_ok=True)
    found = shared.lstat()
    private = os.name != "posix" or (found.st_uid == user and not found.st_mode & 0o077)
    if not (stat.S_ISDIR(found.st_mode) and private):
        raise PermissionError(
            f"Expected {shared} to be a folder that only you can read; it isn't: remove it."
        )
    for folder in shared.glob("[!.]*"):
        with suppress(OSError), locked(folder) as alone:
            if alone:
                shutil.rmtree(folder)
    new = Path(tempfile.mkdtemp(prefix=".", dir=shared))
    with locked(new):
        folder = new.rename(shared / new.name[1:])  # from here on others might delete it
        before, tempfile.tempdir = tempfile.tempdir, str(folder)
        os.environ["GRADIO_TEMP_DIR"] = str(folder / "gradio")
        try:
            yield folder
        finally:
            tempfile.tempdir = before
            del os.environ["GRADIO_TEMP_DIR"]
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def projects(folder: str | None = None) -> Iterator[Path]:
    """A folder for open pictures that no other server uses, and that only this user can read: of
    those in a folder, `$XDG_DATA_HOME/rgflow` or `~/.local/share/rgflow` by default, the first.

    Raises:
        OSError: If it can't be made.
    """
    top = located(folder or f"{os.environ.get('XDG_DATA_HOME') or '~/.local/share'}/rgflow")
    with ExitStack() as held:
        for number in count(1):
            found = top / f"projects-{number}"
            found.mkdir(mode=0o700, parents=True, exist_ok=True)
            if held.enter_context(locked(found)):
                break
        yield found
