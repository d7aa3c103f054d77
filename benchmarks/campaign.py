"""Read thousands of damaged and hostile files, and write what came of it.

    python benchmarks/campaign.py --count 10000 --processes 2

The cases are those of `tests/campaign.py`. What isn't right is printed, and the exit code is 1.
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

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "campaign.json"


def part(numbers: range, seed: int, flips: int) -> list[tuple[str, str, str, float, int, str]]:
    """Kind, change, result, seconds, bytes and words of the cases of one process."""
    sys.path.insert(0, str(ROOT / "tests"))
    import numpy as np
    import torch

    from campaign import KINDS, Campaign

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        campaign = Campaign(Path(folder), seed)
        found = [campaign.case(number) for number in numbers]
        size = 8 * campaign.whole[KINDS[0].name][1].stat().st_size
        bits = np.random.default_rng([seed, numbers.start]).choice(size, flips, replace=False)
        single = [campaign.flip(KINDS[0], int(bit)) for bit in bits]
    rows = [(one.kind, one.change, one) for one in found]
    rows += [("checkpoint", "one bit", one) for one in single]
    return [
        (kind, change, one.result if one.right else f"wrong: {one.result}", one.seconds,
         one.memory, "" if one.right else f"{one.number}: {one.said}")
        for kind, change, one in rows
    ]  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--flips", type=int, default=1000, help="single bits of a checkpoint")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    settings = parser.parse_args()

    sys.path.insert(0, str(ROOT / "src"))
    from rgflow.files import write_json
    from rgflow.training.run import git_state, processor

    start = time.perf_counter()
    each = settings.processes
    numbers = [range(k, settings.count, each) for k in range(each)]
    with ProcessPoolExecutor(each, mp_context=get_context("spawn")) as pool:
        rows = list(
            pool.map(part, numbers, [settings.seed] * each, [settings.flips // each] * each)
        )
    cases = [row for rows_of_one in rows for row in rows_of_one]
    wrong = [row for row in cases if row[2].startswith("wrong")]
    for row in wrong:
        print(*row)
    by_kind: dict[str, Counter[str]] = {}
    for kind, change, result, *_ in cases:
        name = f"{kind}, one bit" if change == "one bit" else kind
        by_kind.setdefault(name, Counter())[result] += 1
    content = {
        "command": " ".join(["python", *sys.argv]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": processor(),
        "git": git_state(),
        "cases": len(cases),
        "wrong": len(wrong),
        "seconds": round(time.perf_counter() - start, 1),
        "longest_seconds": round(max(row[3] for row in cases), 2),
        "most_bytes": max(row[4] for row in cases),
        "results": {kind: dict(sorted(found.items())) for kind, found in sorted(by_kind.items())},
        "changes": dict(sorted(Counter(row[1] for row in cases).items())),
    }
    write_json(settings.out, content)
    print(json.dumps({key: content[key] for key in ("cases", "wrong", "seconds")}))
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
