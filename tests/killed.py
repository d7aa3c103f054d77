"""The command line, in a process that kills itself: `python killed.py WHERE COUNT ARGUMENTS…`.

WHERE is a place in the writing of checkpoint COUNT (counted from 1): `opened`, with half of the
file written; `fsync`, before it is sure to be on the disk; `rename`, before it takes its name;
`renamed`, right after. Or `step`: in the middle of the update of the weights, COUNT steps after the
start. SIGKILL can't be caught, so nothing gets a chance to tidy up.
"""

import os
import signal
import sys

import torch

from rgflow.cli import main
from rgflow.training.checkpoints import Checkpoints

where, count = "never", 0
saved = stepped = 0


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


save, write, fsync, rename = Checkpoints.save, torch.save, os.fsync, os.replace
step = torch.optim.AdamW.step


def counted_save(self, *arguments):
    global saved
    saved += 1
    inside = saved == count

    def dying_write(state, path):
        write(state, path)
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

    torch.save, os.fsync, os.replace = dying_write, dying_fsync, dying_rename
    save(self, *arguments)
    torch.save, os.fsync, os.replace = write, fsync, rename


def counted_step(self, *arguments):
    global stepped
    stepped += 1
    step(self, *arguments)
    if where == "step" and stepped == count:
        die()


if __name__ == "__main__":
    where, count = sys.argv[1], int(sys.argv[2])
    Checkpoints.save = counted_save
    torch.optim.AdamW.step = counted_step
    sys.exit(main(sys.argv[3:]))
