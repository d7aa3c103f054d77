"""What repairs gain when the flow learns the picture first; on crops of the seven photographs."""

import time
from typing import Any

import numpy as np
import torch

from reproducing.measures.pictures import DAMAGES, crops, means, psnr
from reproducing.measures.subject import Found, MeasuredFlow
from rgflow.photographs.adapting import restore_adapted
from rgflow.photographs.restoring import restore

KINDS = ("scratches", "text", "dead pixels, 5 %")


def learned_repairs(
    subject: MeasuredFlow, *, count: int = 20, edge: int = 256, steps: int = 800
) -> Found:
    """Photographs repaired by a flow as it is (`usual`), and by one that has learned the picture
    (`flow`): PSNR of what was missing, seconds of the processor, and the worst gain of a crop."""
    rows: list[dict[str, Any]] = []
    for name in KINDS:
        random = np.random.default_rng(0)
        for number, truth in enumerate(crops(count, edge)):
            hole = DAMAGES[name](truth.shape[:2], random)
            x = torch.from_numpy(np.where(hole[..., None], 0, truth).transpose(2, 0, 1).copy())
            ways = {
                "usual": lambda x, hole: restore(subject.flow, x, hole),
                "flow": lambda x, hole: restore_adapted(subject.flow, x, hole, steps=steps)[0],
            }
            for method, fill in ways.items():
                start = time.process_time()
                filled = fill(x, hole).numpy().transpose(1, 2, 0)
                seconds = time.process_time() - start
                found = {"psnr": psnr(filled[hole], truth[hole]), "seconds": seconds}
                rows.append({"damage": name, "crop": number, "method": method, **found})
    by_damage = means(rows, ("psnr", "seconds"))
    gains = [b["psnr"] - a["psnr"] for a, b in zip(rows[::2], rows[1::2], strict=True)]
    for number, name in enumerate(KINDS):
        by_damage[name]["usual"]["worst"] = min(gains[number * count : (number + 1) * count])
    mean = sum(gains) / len(gains)
    return Found(numbers={"steps": steps, "mean": mean, "means": by_damage, "rows": rows})
