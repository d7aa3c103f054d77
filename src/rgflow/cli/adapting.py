"""Options of the commands whose model may learn the picture in hand."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from rgflow.files import expanded
from rgflow.text import many, say, share_bar

if TYPE_CHECKING:
    from pathlib import Path

    from jsonargparse import Namespace
    from torch import Tensor

    from rgflow.cells import Mask
    from rgflow.cli.parsing import Parser
    from rgflow.flow import Flow
    from rgflow.photographs.adapting import Adapted


def add_options(options: Parser) -> None:
    """Add the options for learning a picture, and for keeping a model that has learned one."""
    options.number("adapt", 0.0, "seconds in which the model learns the picture", 0.0)
    add_keep(options)


def add_keep(options: Parser) -> None:
    """Add the option for keeping a model that has learned a picture."""
    options.word("keep", None, "a new folder for the model that has learned, to be used as --model")


def check_keep(settings: Namespace, pictures: int) -> Path | None:
    """The folder to keep a model in, if there is one.

    Raises:
        ValueError: If nothing is learned, there are several pictures, or it isn't free.
    """
    if settings.keep is None:
        return None
    folder = expanded(settings.keep)
    if settings.adapt == 0 or pictures != 1:
        given = "--adapt 0" if settings.adapt == 0 else many(pictures, "picture")
        raise ValueError(f"Expected one picture to learn for --keep; got {given}.")
    if os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"Expected a new folder for --keep; {folder} is there: name another.")
    return folder


def learned(flow: Flow, image: Tensor, settings: Namespace, name: str, keep: Path | None) -> Flow:
    """The flow that has learned a picture, as `--adapt` says; the same flow without a gain.

    Args:
        flow: A flow of windows, of any size.
        image: The picture, uint8 [C, H, W].
        settings: Of the command.
        name: What to call the picture.
        keep: A folder to keep the flow in.
    """
    from rgflow.photographs.adapting import adapt

    if settings.adapt:
        with share_bar(f"{name}, learning (Ctrl-C: learned enough)") as progress:
            found = adapt(flow, image, seconds=settings.adapt, progress=progress)
        flow = _gained(flow, found, name)
    if keep:
        flow.save_pretrained(keep)
    return flow


def _gained(flow: Flow, found: Adapted, name: str) -> Flow:
    """The copy that has learned, if it predicts what is held out better; says so."""
    if not found.after < found.before:
        say(f"{name}: the model has gained nothing by learning the picture.")
        return flow
    say(
        f"{name}: the model has learned the picture: known pixels held out take {found.after:.2f} "
        f"bits/dim instead of {found.before:.2f}."
    )
    return found.flow


def restored(
    flow: Flow, image: Tensor, hole: Mask, settings: Namespace, name: str
) -> tuple[Tensor, Flow]:
    """A repaired picture, uint8 [C, H, W], and the flow that has learned it, as `--adapt` says; the
    same flow without a gain.

    Args:
        flow: A flow of windows.
        image: The picture, uint8 [C, H, W].
        hole: What is missing, [H, W].
        settings: Of the command.
        name: What to call the picture.
    """
    from rgflow.photographs.adapting import restore_adapted
    from rgflow.photographs.restoring import restore

    sweeps = settings.sweeps
    if settings.adapt == 0:
        with share_bar(f"{name}, repairing") as progress:
            return restore(flow, image, hole, sweeps=sweeps, progress=progress), flow
    with share_bar(f"{name}, learning and repairing (Ctrl-C: learned enough)") as progress:
        whole, found = restore_adapted(
            flow, image, hole, seconds=settings.adapt, sweeps=sweeps, progress=progress
        )
    return whole, _gained(flow, found, name)
