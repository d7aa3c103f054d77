"""The command line, `rgflow COMMAND …`: each command is a module, imported when it is called."""

import importlib
import io
import os
import signal
import sys
from collections.abc import Sequence

from rgflow.config import check_name

COMMANDS = {
    "data": "make or decode a data set, and look at it",
    "train": "learn a flow from images",
    "evaluate": "bits per dimension of a trained flow on test images",
    "sample": "new images from a trained flow",
    "score": "how near samples come to images: Fréchet distances",
    "levels": "images from coarse to fine, each level drawn anew, temperatures",
    "traverse": "vary latents, and see what becomes of images",
    "mix": "images with the coarse of one and the fine of another",
    "fields": "which pixels the latents of a trained flow change",
    "factors": "what latents mean: factors, labels, dependence",
    "pinwheel": "what a sparse prior is good for, in the plane",
    "inpaint": "regions of images filled in, and found",
    "reproduce": "the paper's tables and figures, and what else was asked, end to end",
    "report": "everything about a trained flow on one page",
    "app": "see, edit, mix and repair images in the browser",
    "models": "the models that come with the package",
    "ship": "the model of a run as one for others",
    "info": "what is in a run folder, or in the folder of a model",
    "presets": "list the named settings",
}

NO_MEMORY = ("out of memory", "can't allocate memory")
"""What PyTorch says where there isn't enough."""
_HELP = """usage: rgflow COMMAND [options]

Hierarchical, explainable normalizing flows of images.

commands:
{commands}

`rgflow COMMAND --help` explains one of them. A first run:
  rgflow train msds1-best --minutes 4 --out runs/first
  rgflow evaluate runs/first
  rgflow sample runs/first"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 2 for a user's mistake, told in one sentence."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        lines = [f"  {name:<10} {text}" for name, text in COMMANDS.items()]
        print(_HELP.format(commands="\n".join(lines)))
        return 0
    if arguments[0] == "--version":
        from rgflow import __version__

        print(__version__)
        return 0
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:  # what job schedulers send
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.path.append("")  # so that a user's own bijector is found in the current folder
    for stream in (sys.stdout, sys.stderr):  # an old encoding is no reason to end
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        check_name("command", arguments[0], COMMANDS)
        module = importlib.import_module(f"rgflow.cli.{arguments[0]}")
        module.run(arguments[1:])
    except BrokenPipeError:  # whoever reads has seen enough, such as `head`
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, as Python flushes it at its end
        return 0
    except (ValueError, OSError) as error:
        print(f"rgflow: {' '.join(str(error).split())}", file=sys.stderr)
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
