"""What is gained when a flow learns the picture in hand: decibels of repairs and enlargements, bits
of scores."""

import time
from statistics import fmean
from typing import Any

import numpy as np
import torch

from reproducing.measures.enlarging import averaged
from reproducing.measures.pictures import DAMAGES, crops, means, psnr
from reproducing.measures.subject import Found, MeasuredFlow
from reproducing.others import pictures
from rgflow.photographs import codecs
from rgflow.photographs.adapting import adapt, restore_adapted
from rgflow.photographs.enlarging import enlarge
from rgflow.photographs.prequential import score
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


def learned_enlarging(
    subject: MeasuredFlow, *, count: int = 20, edge: int = 256, steps: int = 300
) -> Found:
    """Photographs reduced by averaging and enlarged by a flow as it is (`usual`), and by one that
    has learned the small picture (`flow`): PSNR, seconds of the processor, the worst gain."""
    rows: list[dict[str, Any]] = []
    for number, truth in enumerate(crops(count, edge)):
        small = torch.from_numpy(averaged(truth).transpose(2, 0, 1).copy())
        ways = {"usual": subject.flow, "flow": None}
        for method, of in ways.items():
            start = time.process_time()
            flow = of or adapt(subject.flow, small, steps=steps).flow.frozen()
            large = enlarge(flow, small, 2).numpy().transpose(1, 2, 0)
            seconds = time.process_time() - start
            found = {"psnr": psnr(large, truth), "seconds": seconds}
            rows.append({"damage": "averages", "crop": number, "method": method, **found})
    by_kind = means(rows, ("psnr", "seconds"))
    gains = [b["psnr"] - a["psnr"] for a, b in zip(rows[::2], rows[1::2], strict=True)]
    by_kind["averages"]["usual"]["worst"] = min(gains)
    return Found(numbers={"steps": steps, "means": by_kind, "rows": rows})


def learned_bits(subject: MeasuredFlow, *, of: str = "seven", passes: int = 4) -> Found:
    """Bits per dimension of pictures, `seven` or `others`, by a flow as it is, by one that learns
    each while it scores it, and of JPEG XL; seconds of a core per megapixel."""
    rows: list[dict[str, Any]] = []
    torch.set_num_threads(1)
    for name, x in pictures((of,)).items():
        row: dict[str, Any] = {"name": name, "pixels": x[0].size}
        for key, number in {"usual": 0, "learned": passes}.items():
            start = time.process_time()
            found = score(subject.flow, torch.from_numpy(x.copy()), number)[0]
            row[key] = found.per_dim.item()
            row[f"seconds_{key}"] = time.process_time() - start
        rows.append(row | {"JPEG XL": 8 * codecs.size("jpegxl", x) / x.size})
    megapixels = sum(row["pixels"] for row in rows) / 1e6
    numbers: dict[str, Any] = {
        "passes": passes,
        **{key: fmean(row[key] for row in rows) for key in ("usual", "learned", "JPEG XL")},
        **{
            key: sum(row[key] for row in rows) / megapixels
            for key in ("seconds_usual", "seconds_learned")
        },
        "ahead": sum(row["learned"] < row["JPEG XL"] for row in rows),
        "rows": rows,
    }
    return Found(numbers=numbers)
