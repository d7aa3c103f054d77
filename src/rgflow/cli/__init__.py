"""The command line, `rgflow COMMAND …`: each command is a module, imported when it is called."""

import importlib
import io
import os
import signal
import sys
import warnings
from collections.abc import Sequence

from rgflow.checks import check_name
from rgflow.text import printable, show_warning

COMMANDS = {
    "data": "make or decode a data set, and look at it",
    "train": "learn a flow from images",
    "evaluate": "bits per dimension of a trained flow on test images",
    "sample": "new images from a trained flow",
    "distances": "how near samples come to images: Fréchet distances",
    "levels": "images from coarse to fine, each level drawn anew, temperatures",
    "traverse": "vary latents, and see what becomes of images",
    "mix": "images with the coarse of one and the fine of another",
    "fields": "which pixels the latents of a trained flow change",
    "factors": "what latents mean: factors, labels, dependence",
    "inpaint": "regions of images filled in, and found",
    "score": "how many bits pictures of any size take, beside codecs",
    "repair": "pictures of any size without scratches, dead pixels, holes",
    "enlarge": "pictures of any size, larger",
    "measure": "ln Z and observables of lattice fields, with errors",
    "reproduce": "repeat an experiment: the paper's tables and figures, and our own",
    "report": "everything about a trained flow on one page",
    "app": "see, edit, mix and repair images in the browser",
    "models": "the models that come with the package",
    "ship": "the model of a run as one for others",
    "info": "what is in a run folder, or in the folder of a model",
    "presets": "list the named settings",
}

LONGEST = 1000
"""The most characters of an error."""
NO_MEMORY = ("out of memory", "can't allocate memory")
"""PyTorch's messages when memory runs out."""
_HELP = """usage: rgflow COMMAND [options]

Hierarchical, explainable normalizing flows of images.

commands:
{commands}

`rgflow COMMAND --help` explains one of them. Flows with bijectors of your own need --trust MODULE,
or MODULE.CLASS, beside any command: it is imported, from the current folder too. A first run:
  rgflow train msds1-best --minutes 4 --out runs/first
  rgflow evaluate runs/first
  rgflow sample runs/first"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 2 for a user's mistake, shown in one sentence."""
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
            signal.signal(number, signal.default_int_handler)
    if not sys.warnoptions:  # whoever asks with -W sees all
        warnings.showwarning = show_warning  # type: ignore[assignment]
    for stream in (sys.stdout, sys.stderr):  # an old encoding is no reason to end
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        check_name("command", arguments[0], COMMANDS)
        arguments = trusting(arguments)
        module = importlib.import_module(f"rgflow.cli.{arguments[0]}")
        module.run(arguments[1:])
    except BrokenPipeError:  # whoever reads has seen enough, such as `head`
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, as Python flushes it at its end
        return 0
    except (ValueError, OSError) as error:
        print(f"rgflow: {printable(_sentence(error))}", file=sys.stderr)
        return 2
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not any(x in str(error) for x in NO_MEMORY):
            raise
        print(
            "rgflow: Expected enough memory for these settings; there isn't: make the flow, the "
            "batch or the picture smaller.",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print("rgflow: stopped.", file=sys.stderr)
        return 130
    return 0


def _sentence(error: Exception) -> str:
    """The message of an error in one line; it may quote the content of a file."""
    text = " ".join(str(error).split())
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def trusting(arguments: Sequence[str]) -> list[str]:
    """Import what `--trust` names, wherever it stands among the arguments; returns the others.

    Nothing that a file names is ever imported, nor is the current folder searched for anything
    else.
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
        from rgflow.bijectors import trust

        sys.path.append(os.getcwd())
        trust([name for _, name in found])
    return left
