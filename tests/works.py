"""What workers do in tests: in a module of its own, as they import it by its name."""

import os
import signal
from pathlib import Path

from rgflow.outputs import Made


def deadly(given):
    """A work that ends its process at some pictures: at one always, at one the first time."""
    content = given.file.read_bytes()
    mark = Path(f"{given.file}.tried")
    if content == b"always" or (content == b"once" and not mark.exists()):
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return Made({"length": len(content)})


def waiting(given):
    """A work without an end."""
    Path(f"{given.file}.{os.getpid()}.begun").touch()
    signal.pause()


def counting(least, most, *, progress):
    """Tell numbers one after another, and end the process at 7."""
    for number in range(least, most):
        if number == 7:
            os.kill(os.getpid(), signal.SIGKILL)
        if number == 9:
            raise ValueError("Expected fewer; got 9.")
        progress(number)
    return most


def dying(left):
    """End the process, as often as a file says."""
    if number := int(left.read_text()):
        left.write_text(str(number - 1))
        os.kill(os.getpid(), signal.SIGKILL)
