"""The command line, `rgflow COMMAND …`: each command is a module, imported when it is called."""

import importlib
import io
import os
import signal
import sys
import time
import warnings
from collections.abc import Sequence
from contextvars import copy_context
from types import FrameType

from rgflow.checks import check_name, out_of_memory
from rgflow.processes import TerminatedError
from rgflow.text import Lines, printable, show_warning

COMMANDS = {
    "data": "generate or decode a data set, and preview it",
    "train": "train a flow on images",
    "evaluate": "bits per dimension of a trained flow on test images",
    "sample": "generate images with a trained flow",
    "distances": "Fréchet distances between samples and images",
    "levels": "show images from coarse to fine, resample levels, vary temperatures",
    "traverse": "vary latents, and see how images change",
    "mix": "combine coarse levels of one image with fine levels of another",
    "fields": "which pixels the latents of a trained flow change",
    "factors": "what latents mean: factors, labels, dependence",
    "inpaint": "fill in regions of images",
    "score": "bits for pictures of any size, compared with codecs",
    "repair": "remove scratches, dead pixels and holes from pictures of any size",
    "enlarge": "enlarge pictures of any size",
    "measure": "ln Z and observables of lattice fields, with errors",
    "reproduce": "repeat an experiment: the paper's tables and figures, and our own",
    "report": "everything about a trained flow on one page",
    "app": "see, edit, mix and repair images in the browser",
    "ship": "package the model of a run for others",
    "info": "list models and presets, or describe one, or a run",
}
FORMER = {"models": "info", "presets": "info"}
"""Names that commands had in earlier versions."""

MAX_MESSAGE = 1000
"""Characters of an error message at the most: it may quote the content of a file."""
_HELP = """usage: rgflow COMMAND [options]

Hierarchical, explainable normalizing flows of images.

commands:
{commands}

`rgflow COMMAND --help` explains a command. Flows with bijectors or data of your own need --trust
MODULE or --trust MODULE.CLASS with every command; the current folder is searched, too. A first run:
  rgflow train msds1-best --minutes 4 --out runs/first
  rgflow evaluate runs/first
  rgflow sample runs/first"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 2 for a user's mistake, a ValueError, shown in one
    sentence; 1 if some of several files were left out."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        lines = [f"  {name:<10} {text}" for name, text in COMMANDS.items()]
        print(_HELP.format(commands="\n".join(lines)))
        return 0
    if arguments[0] == "--version":
        from rgflow import __version__

        print(__version__)
        return 0
    for name in ("SIGTERM", "SIGHUP"):  # what job schedulers send, and closed terminals
        number = getattr(signal, name, None)
        if number and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _terminated)
    if not sys.warnoptions:  # with -W, Python shows them its own way
        warnings.showwarning = show_warning  # type: ignore[assignment]
    for stream in (sys.stdout, sys.stderr):  # an old encoding is no reason to end
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        if new := FORMER.get(arguments[0]):
            raise ValueError(f"Expected `rgflow {new}`, the new name of `rgflow {arguments[0]}`.")
        check_name("command", arguments[0], COMMANDS)
        arguments = trusting(arguments)
        Lines.said = time.monotonic()
        module = importlib.import_module(f"rgflow.cli.{arguments[0]}")
        copy_context().run(module.run, arguments[1:])  # whose guard ends with it
    except BrokenPipeError:  # the reader, such as `head`, has closed the pipe
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, as Python flushes it at its end
        return 0
    except (ValueError, OSError) as error:
        print(f"rgflow: {printable(_sentence(error))}", file=sys.stderr)
        return getattr(error, "exit_code", 2)
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        print(
            "rgflow: Expected enough memory for these settings; there isn't enough: make the flow, "
            "the batch or the picture smaller.",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print("rgflow: stopped.", file=sys.stderr)
        return 130
    return 0


def _terminated(number: int, frame: FrameType | None) -> None:
    raise TerminatedError


def _sentence(error: Exception) -> str:
    """The message of an error in one line; it may quote the content of a file."""
    text = str(error)
    if isinstance(error, OSError) and error.filename and text.startswith("[Errno"):
        # The system's own words, such as of a name that is too long.
        why, name = (error.strerror or "unknown").lower(), os.fsdecode(error.filename)
        text = f"Expected a path that can be used; this one can't ({why}): {name}."
    text = " ".join(text.split())
    return text if len(text) <= MAX_MESSAGE else f"{text[: MAX_MESSAGE - 1]}…"


def trusting(arguments: Sequence[str]) -> list[str]:
    """Import what `--trust` names, wherever it stands among the arguments; returns the others.

    Nothing that a file names is ever imported, nor is the current folder searched for anything
    else.

    Raises:
        ValueError: If `--trust` has no name behind it.
    """
    from rgflow.cli.parsing import extracted

    left, found = extracted(arguments, "--trust".__eq__)
    for _, name in found:
        if not name or name.startswith("-"):
            raise ValueError(
                f"Expected --trust MODULE, or MODULE.CLASS, with bijectors of your own; got "
                f"{name!r}."
            )
    if found:
        from rgflow.kinds import trust

        sys.path.append(os.getcwd())
        trust([name for _, name in found])
    return left
