"""Every benchmark, and every flow of other libraries that is trained, at its smallest size."""

import importlib.util
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rgflow.data import wallpapers
from rgflow.training import train
from rgflow.training.run import Run
from runs import program, tiny
from visitors import BROWSER

ROOT = Path(__file__).parents[1]
SHARED = {"benchmarks/steps.py", "experiments/peers/protocol.py"}
"""What the scripts share, which isn't run by itself."""

SMALLEST = {
    "benchmarks/campaign.py": ["--count", "2", "--flips", "1", "--processes", "1"],
    "benchmarks/codecs.py": ["--pictures", "chelsea"],
    "benchmarks/coding.py": ["photos", "--patches", "1", "--adapt", "1", "--pictures"],
    "benchmarks/data.py": ["--count", "20", "--pictures", "4"],
    "benchmarks/distributed.py": ["--preset", "msds1-tiny", "--steps", "2"],
    "benchmarks/explorer.py": ["--sessions", "1", "--turns", "2"],
    "benchmarks/fields.py": ["--sizes", "8", "--pictures", "OUT"],
    "benchmarks/fleet.py": [
        "speed", "jobs", "small", "plan", "--pictures", "9", "--megapixels", "0.04", "--large",
        "0.05", "--small", "60",
    ],
    "benchmarks/floors.py": ["--colours", "2", "--grid", "160"],
    "benchmarks/keeping.py": ["--kills", "3", "--moments", "3", "--megapixels", "0.2"],
    "benchmarks/learning.py": ["--steps", "2", "--pictures", "2", "--changes", "batches of 32"],
    "benchmarks/local.py": ["--sizes", "16", "--paper", "--pictures", "OUT"],
    "benchmarks/own_pictures.py": ["PACKAGES", "--minutes", "0.001"],
    "benchmarks/photographs.py": ["--quick"],
    "benchmarks/step_costs.py": ["affine", "--turns", "2"],
    "benchmarks/storage.py": ["RUN", "--count", "8"],
    "benchmarks/throughput.py": ["--quick", "--released", "RELEASED"],
    "benchmarks/unseen.py": ["msds1-paper-small", "--seeds", "1", "2", "--count", "60"],
    "benchmarks/versions.py": [
        "--other", str(ROOT), "--presets", "msds1-small", "--batch", "2", "--pairs", "2",
    ],
    "experiments/peers/run.py": ["glow", "--minutes", "0.001", "--lr", "0.001", "--batch", "2"],
    "experiments/peers/tarflow.py": [
        "--code", "TARFLOW", "--minutes", "0.001", "--lr", "0.001", "--batch", "2",
    ],
}  # fmt: skip
"""By the path of the script, its arguments; words in capitals stand for folders of the test."""
PACKAGES = {
    "benchmarks/codecs.py": ["imagecodecs"],
    "benchmarks/coding.py": ["constriction"],
    "experiments/peers/run.py": ["normflows", "torchflows"],
}
TARFLOW = '''
import torch

class Model(torch.nn.Module):
    """What `experiments/peers/tarflow.py` uses of the released code."""

    def __init__(self, in_channels, img_size, patch_size, channels, num_blocks, layers_per_block):
        super().__init__()
        self.num_patches = (img_size // patch_size) ** 2
        self.shape = in_channels, img_size, img_size
        self.log_scale = torch.nn.Parameter(torch.zeros(()))

    def forward(self, x):
        return self.log_scale.exp() * x, None, self.log_scale

    def reverse(self, z):
        return (z / self.log_scale.exp()).view(len(z), *self.shape)
'''
RELEASED = {
    "utils/im2col.py": "",
    "layers/resnet.py": """
import torch

class ResNetReshape(torch.nn.Linear):
    def __init__(self, kernel, widths, initial, final_tanh):
        super().__init__(widths[0], widths[-1])
""",
    "layers/rnvp.py": """
import torch

class RNVP(torch.nn.Module):
    def __init__(self, s_layers, t_layers, channels, kernel):
        super().__init__()
        self.layers = torch.nn.ModuleList([*s_layers, *t_layers])
""",
    "layers/mera.py": """
import torch

class MERA(torch.nn.Module):
    def __init__(self, layers, size, kernel, prior):
        super().__init__()
        self.layers = torch.nn.ModuleList(layers)

    def log_prob(self, x):
        blocks = x.reshape(len(x), -1, 48)
        return -sum(one(blocks).square().sum((1, 2)) for l in self.layers for one in l.layers)
""",
    "sources/laplace.py": "def Laplace(shape, scale): return None",
}
"""A stand-in for the released code, with the names that `throughput.py` uses."""


def scripts():
    """The programs in the folders of benchmarks and peers, by their paths."""
    found = [*ROOT.glob("benchmarks/*.py"), *ROOT.glob("experiments/peers/*.py")]
    return sorted({str(path.relative_to(ROOT)) for path in found} - SHARED)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """What the words in capitals stand for."""
    made = {name: tmp_path_factory.mktemp(name.lower()) for name in ("OUT", "TARFLOW", "RELEASED")}
    made["RUN"] = tmp_path_factory.mktemp("run") / "tiny"
    train(tiny(steps=2), Run.create(made["RUN"]), progress=False)
    (made["TARFLOW"] / "transformer_flow.py").write_text(TARFLOW)
    made["PACKAGES"] = tmp_path_factory.mktemp("packages")
    random = np.random.default_rng(0)
    for pattern, names in program("benchmarks/own_pictures.py").KINDS.values():
        for name in names.split():
            path = made["PACKAGES"] / pattern.format(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random.integers(0, 256, (40, 44, 3), np.uint8)).save(path)
    for name, text in RELEASED.items():
        path = made["RELEASED"] / "code" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return made


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder of pictures that peers learn from."""
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for split in ("train", "validation", "test"):
        (folder / split).mkdir()
        for k in range(8):
            pixels = random.integers(0, 256, (32, 32, 3), np.uint8)
            Image.fromarray(pixels).save(folder / split / f"{k}.png")
    return folder


@pytest.mark.skipif(not (ROOT / "benchmarks").is_dir(), reason="a checkout has benchmarks")
def test_every_script_has_a_smallest_size():
    assert scripts() == sorted(SMALLEST)


@pytest.mark.slow
@pytest.mark.parametrize("script", SMALLEST)
def test_it_runs_and_writes_what_it_found(script, folders, pictures, tmp_path):
    for package in PACKAGES.get(script, ()):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"needs {package}")
    if script.endswith(("explorer.py", "photographs.py")) and not BROWSER:
        pytest.skip("needs Chromium")
    if script.endswith("learning.py") and not wallpapers_there():
        pytest.skip("needs Debian's wallpapers")
    of_peer = script.startswith("experiments")
    out = tmp_path / "results" if of_peer else tmp_path / "result.json"
    words = [str(folders.get(word, word)) for word in SMALLEST[script]]
    if of_peer:
        words += ["--data", f"folder:{pictures}", "--test", "6"]
    before = committed()
    subprocess.run(
        [sys.executable, ROOT / script, *words, "--out", out],
        check=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'experiments'}"},
    )
    assert committed() == before  # results that count aren't overwritten
    (result,) = out.rglob("*.json") if of_peer else [out]
    found = json.loads(result.read_text(), parse_constant=lambda word: pytest.fail(f"has {word}"))
    assert sum(1 for _ in numbers(found)) > 3


def wallpapers_there():
    return all(
        (wallpapers.ROOT / name).is_file() for of in wallpapers.FILES.values() for name in of
    )


def committed():
    """When results and pictures of the repository were last written."""
    kept = [*ROOT.glob("benchmarks/results/*"), *ROOT.glob("docs/images/*")]
    return {path: path.stat().st_mtime_ns for path in kept}


def numbers(value):
    """The finite numbers in a result."""
    if isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from numbers(one)
    elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        yield value
