"""Thousands of damaged, odd and hostile files, names, places and requests: what came of each.

    python benchmarks/campaign.py --count 20000 --processes 2
    python benchmarks/campaign.py --only 1234 --out /dev/stdout   # a case again

The cases are those of `tests/campaign.py`; `tests/cases.py` says what counts as wrong. What is
wrong is printed, and the exit code is 1.
"""

import argparse
import json
import sys
import tempfile
import time
import warnings
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "campaign.json"


def part(numbers: list[int], seed: int, flips: int) -> list[dict[str, Any]]:
    """What came of the cases of one process."""
    sys.path.insert(0, str(ROOT / "tests"))
    import numpy as np
    import torch

    from campaign import ORDER, Campaign

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        campaign = Campaign(Path(folder), seed)
        bits = np.random.default_rng([seed, *numbers[:1]]).choice(campaign.bits, flips, False)
        named = [(ORDER[number % len(ORDER)].name, number, campaign.case) for number in numbers]
        named += [("checkpoint, one bit", int(bit), campaign.flip) for bit in bits]
        for done, (kind, number, do) in enumerate(named, 1):
            found = do(number)
            about = {name: getattr(found, name) for name in ("change", "result", "said")}
            rows.append(
                {"kind": kind, "number": number, **about, "seconds": found.seconds}
                | {"memory": max(found.memory, 0), "right": found.right}
            )
            if not found.right:
                print("wrong:", json.dumps(rows[-1]), flush=True)
            if done % 500 == 0:
                print(f"{done} of {len(named)}", flush=True)
        campaign.end()
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--only", type=int, nargs="+", help="numbers of cases, instead of all")
    parser.add_argument("--flips", type=int, default=1000, help="single bits of a checkpoint")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    settings = parser.parse_args()

    sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]
    from cases import WRONG
    from rgflow.files import write_json
    from rgflow.training.run import git_state, processor

    start = time.perf_counter()
    every = settings.only or list(range(settings.count))
    each = min(settings.processes, len(every))
    numbers = [every[k::each] for k in range(each)]
    flips = 0 if settings.only else settings.flips // each
    with ProcessPoolExecutor(each, mp_context=get_context("spawn")) as pool:
        parts = list(pool.map(part, numbers, [settings.seed] * each, [flips] * each))
    rows = [row for found in parts for row in found]
    wrong = [row for row in rows if not row["right"]]
    kinds = {}
    for kind in sorted({row["kind"] for row in rows}):
        of = [row for row in rows if row["kind"] == kind]
        kinds[kind] = {
            "cases": len(of),
            "wrong": sum(not row["right"] for row in of),
            "results": dict(sorted(Counter(row["result"] for row in of).items())),
            "longest_seconds": round(max(row["seconds"] for row in of), 2),
            "most_bytes": max(row["memory"] for row in of),
        }
    content = {
        "command": " ".join(["python", *sys.argv]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": processor(),
        "git": git_state(),
        "cases": len(rows),
        "wrong": len(wrong),
        "seconds": round(time.perf_counter() - start, 1),
        "longest_seconds": round(max(row["seconds"] for row in rows), 2),
        "most_bytes": max(row["memory"] for row in rows),
        "kinds": kinds,
        "counts_as_wrong": WRONG,
        "wrong_cases": [
            row | {"again": f"python benchmarks/campaign.py --only {row['number']}"}
            for row in wrong
        ],
    }
    write_json(settings.out, content)
    print(json.dumps({key: content[key] for key in ("cases", "wrong", "seconds")}))
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
