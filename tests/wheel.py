"""What `make wheel` checks, in an environment that has no rgflow but the wheel's.

python tests/wheel.py WHEEL
"""

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import rgflow
from rgflow.pretrained import cards, shipped

MOST = 25_000_000
"""Bytes of the wheel."""
CARRIED = ["faces", "msds1-best", "photos", "photos-averages", "photos-small"]
"""The models whose weights it has."""
COMMAND = Path(sys.prefix) / "bin" / "rgflow"
SOURCES = Path(__file__).parents[1] / "src" / "rgflow" / "models"


def run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The command of the wheel, in an empty folder."""
    with TemporaryDirectory() as place:
        return subprocess.run(
            [COMMAND, *words],
            cwd=place,
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
        )


def main(wheel: Path) -> None:
    """Check all of it, and say what was found."""
    size = wheel.stat().st_size
    print(f"{wheel}: {size / 1e6:.1f} MB")
    assert size <= MOST, f"Expected a wheel of at most {MOST / 1e6:.0f} MB."
    assert Path(sys.prefix) in Path(rgflow.__file__).parents, rgflow.__file__
    assert list(shipped()) == CARRIED, list(shipped())
    assert list(cards()) == sorted(path.name for path in SOURCES.iterdir()), list(cards())
    for name in CARRIED:
        assert rgflow.load_flow(name).sample(1).isfinite().all()
    repaired = run("repair", "example:scratches", "--sweeps", "1")
    assert repaired.returncode == 0, repaired.stderr
    print(repaired.stdout.strip())
    refused = run("sample", "msds2-best", "-n", "1")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr
    assert "RGFLOW_MODELS" in refused.stderr, refused.stderr
    named = run("sample", "msds2-best", "-n", "1", RGFLOW_MODELS=str(SOURCES))
    assert named.returncode == 0, named.stderr
    print("The wheel works, with the models", *CARRIED)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
