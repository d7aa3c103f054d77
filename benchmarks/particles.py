"""What repair by particles costs in larger and larger images: a hole of 10×10 pixels drawn once.

    python benchmarks/particles.py photos

Processor seconds of one draw by 64 particles, the least of three. Results go to
`benchmarks/results/particles.json`.
"""

import argparse
import json
import time
from datetime import UTC, datetime
from pathlib import Path

import torch

from rgflow import load_flow
from rgflow.repair.windows import WindowFilling, window_layers
from rgflow.training.run import git_state, processor

RESULTS = Path(__file__).parent / "results" / "particles.json"
EDGES = (32, 64, 256, 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    model = parser.parse_args().model
    torch.set_num_threads(1)
    seconds = {}
    for edge in EDGES:
        flow = load_flow(model).resized(edge, edge)
        hole = flow.lattice.box(edge // 2 - 5, edge // 2 - 5, 10, 10)
        random = torch.Generator().manual_seed(0)
        image = torch.randint(256, (3, edge, edge), generator=random)
        filling, found = WindowFilling(window_layers(flow), hole, 64, random), []
        for _ in range(4):  # the first makes tables
            start = time.process_time()
            with torch.no_grad():
                for parts in filling.batches:
                    filling.draw(image, parts, keep=True)
            found.append(time.process_time() - start)
        seconds[str(edge)] = min(found[1:])
        print(f"{edge:5} {seconds[str(edge)]:.2f} s", flush=True)
    content = {
        "command": f"python benchmarks/particles.py {model}",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": processor(),
        "git": git_state(),
        "seconds": seconds,
        "ratio": seconds["1024"] / seconds["32"],
    }
    RESULTS.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
