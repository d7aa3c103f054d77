"""The command line in a process of its own, which may kill itself.

Where it does so is a place in the writing of a checkpoint, which is counted from 1: `opened`, with
half of the file written; `fsync`, before it is sure to be on the disk; `rename`, before it takes
its name; `renamed`, right after; `read`, before it is read back. Or `step`: in the middle of the
update of the weights, so many steps after the start. SIGKILL can't be caught, so nothing gets a
chance to tidy up.

What such a process needs is imported once, by a process of which all are forks: importing takes
longer than what is tested.
"""

import multiprocessing
import os
import signal
import sys
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import torch

from rgflow import tensors
from rgflow.cli import main
from rgflow.training import loop
from rgflow.training.checkpoints import Checkpoints
from rgflow.training.run import Run

where, count = "never", 0
saved = stepped = 0


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


save, write, fsync, rename = Checkpoints.save, tensors.save_file, os.fsync, os.replace
read = tensors.load
step = torch.optim.AdamW.step


def counted_save(self, *arguments):
    global saved
    saved += 1
    inside = saved == count

    def dying_write(held, path, metadata):
        write(held, path, metadata)
        if inside and where == "opened":
            os.truncate(path, path.stat().st_size // 2)
            die()

    def dying_fsync(handle):
        if inside and where == "fsync":
            die()
        fsync(handle)

    def dying_rename(source, target):
        if inside and where == "rename":
            die()
        rename(source, target)
        if inside and where == "renamed":
            die()

    def dying_read(*arguments, **how):
        if inside and where == "read":
            die()
        return read(*arguments, **how)

    tensors.save_file, os.fsync, os.replace = dying_write, dying_fsync, dying_rename
    tensors.load = dying_read
    save(self, *arguments)
    tensors.save_file, os.fsync, os.replace, tensors.load = write, fsync, rename, read


def counted_step(self, *arguments):
    global stepped
    stepped += 1
    step(self, *arguments)
    if where == "step" and stepped == count:
        die()


def run(place: str, number: int, arguments: list[str], out: str, error: str) -> None:
    """Do a command, what it says going to two files, and die in a place."""
    global where, count
    where, count = place, number
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which whoever runs the tests may ignore
    for path, stream in ((out, sys.stdout), (error, sys.stderr)):
        with Path(path).open("wb") as file:
            os.dup2(file.fileno(), stream.fileno())
    loop.SAMPLES, Run.draw_curve = 4, lambda *_: None  # which take longer than what is tested
    Checkpoints.save = counted_save
    torch.optim.AdamW.step = counted_step
    sys.exit(main(arguments))


def start(
    place: str, number: int, arguments: list[Any], out: Path, error: Path
) -> ForkServerProcess:
    """`run` in a process of its own, which is begun."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["rgflow.training", "torch._dynamo"])
    words = [str(word) for word in arguments]
    process = context.Process(target=run, args=(place, number, words, str(out), str(error)))
    process.start()
    return process
