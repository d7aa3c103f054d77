"""Thousands of odd settings and runs of the command line: one sentence each, never a traceback."""

import json
from collections import Counter
from dataclasses import fields

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from rgflow import FlowConfig, TrainConfig, training
from rgflow.architectures import make_flow
from rgflow.cli import main
from rgflow.config import FAMILIES
from rgflow.kinds import options_of
from rgflow.training.loop import resolved
from rgflow.training.run import Run

TRAIN = [f.name for f in fields(TrainConfig) if f.name != "model"]
MODEL = [f"model.{f.name}" for f in fields(FlowConfig)]
MODEL += sorted(
    {
        f"model.{part}.{option}"
        for part, family in FAMILIES.items()
        for kind in family.kinds.values()
        for option in options_of(kind)
    }
)
SANE = {
    "steps": [1, 2], "minutes": [0.001, None], "batch_size": [1, 3], "accumulate": [1, 2],
    "train_count": [None, 1, 4], "validate_count": [1, 4], "validate_every": [0, 1e9],
    "lr": [0.0, 1e-3, 1e9], "max_grad_norm": [0.0, 1.0],
    "ema_decay": [0.0, 0.9], "betas": [[0.0, 0.0]],
    "warmup": [0, 1], "schedule": ["cosine", "constant"], "flip": [True], "seed": [0, 2**62],
    "dtype": ["float64"], "compile": [False], "keep": [1], "crop": [None, 1, 7, 1000],
    "model.height": [8, 16], "model.width": [8, 16], "model.channels": [1, 3],
    "model.geometry.m": [2, 4, 8, [4, 2]], "model.map.stem": [0, 4], "model.map.splits": [1, 2],
    "model.levels": [None, 1, 2], "model.map.depth": [1, 2, [1, 2]],
    "model.map.hidden": [1, 8],
    "model.map.blocks": [1, 2], "model.map.bins": [2, 4], "model.geometry.boundary": ["open"],
    "model.geometry.order": ["released"], "model.shared": [True],
    "model.map": ["affine", "cube", "coarse_to_fine"],
    "model.map.conditioner": ["paper", "released", "trunk"],
    "model.prior": ["laplace", "gaussian"], "model.prior.scale": [0.5, None],
    "model.pixels": ["logit", "marginal", None], "model.position_embedding": [0, 2],
    "model.checkpointing": [True], "model.compute_dtype": ["float32", "bfloat16"],
    "model.geometry": ["blocks", "windows"], "model.labels": [0],
    "model.geometry.reach": [0, 1],
}  # fmt: skip
"""Values that may well work together, small enough to be built and trained in a moment."""

odd = st.one_of(
    st.sampled_from([
        None, True, False, 0, -1, -(2**70), 2**70, 1e400, -1e400, float("nan"), 1e-320, "", " ",
        "x", "1", "1e3", "null", "~", "nan", "[1, 2", "{a: 1}", "!!python/object:os.system", "é",
        "\x00", "a" * 300, [],
        [1], [[1]], [None], ["x", 2], {}, {"a": 1}, 0.5, 1.5, -0.0, "2024-01-01",
        "/", "../..", "/dev/null", "math.pi", "os.system", "rgflow.bijectors.AffineCoupling",
    ]),
    st.integers(-3, 40),
    st.floats(),
    st.text(max_size=8),
)  # fmt: skip
keys = st.sampled_from(TRAIN + MODEL)
CODES: Counter[int] = Counter()
"""Exit codes of `test_two_thousand_settings`."""


def pairs(values):
    return keys.flatmap(lambda key: st.tuples(st.just(key), values(key)))


sane_pairs = pairs(lambda key: st.sampled_from(SANE.get(key, [None])))
odd_pairs = pairs(lambda key: odd)
typos = st.tuples(st.sampled_from(["modle.m", "model.map.hiden", "lrr", "x", "model", "--"]), odd)
changes = st.tuples(
    st.lists(sane_pairs, max_size=6), st.lists(st.one_of(odd_pairs, typos), max_size=2)
).map(lambda both: both[0] + both[1])

SMALL = {
    "steps": 1, "batch_size": 2, "train_count": 4, "validate_count": 2, "compile": False,
    "model.height": 8, "model.width": 8, "model.map.hidden": 8, "model.map.blocks": 1,
    "model.map.depth": 1,
    "model.compute_dtype": "float32",
}  # fmt: skip


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    values = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)
    for k, image in enumerate(values):
        Image.fromarray(image).save(folder / f"{k:02}.png")
    return folder


def nested(flat):
    """Dotted keys as a config file has them."""
    out = {}
    for key, value in flat.items():
        *outer, last = key.split(".")
        inner = out
        for name in outer:
            if isinstance(inner.setdefault(name, {}), str):
                inner[name] = {"kind": inner[name]}
            inner = inner[name]
            if not isinstance(inner, dict):
                return out
        if isinstance(inner.get(last), dict):
            inner[last]["kind"] = value
        else:
            inner[last] = value
    return out


def call(flat, pictures, folder, capsys, as_flags):
    """Train with some settings; the exit code, having checked what was said."""
    settings_ = {**SMALL, "data": f"folder:{pictures}", **flat}
    out = folder / "run"
    if as_flags:
        words = [w for k, v in settings_.items() for w in (f"--{k}", _word(v))]
        arguments = ["train", *words, "--out", str(out)]
    else:
        (folder / "config.yaml").write_text(yaml.safe_dump(nested(settings_), allow_unicode=True))
        arguments = ["train", "--config", str(folder / "config.yaml"), "--out", str(out)]
    code = main(arguments)
    error = capsys.readouterr().err
    assert code in (0, 2), error
    if code == 2:
        lines = [line for line in error.splitlines() if line.startswith("rgflow: ")]
        assert len(lines) == 1, error
        assert len(lines[0]) < 2000, error
    return code


def _word(value):
    return value if isinstance(value, str) else json.dumps(value)


def built(config, run, **options):
    """Instead of a training: everything up to the first step, without the images."""
    make_flow(resolved(config).model)
    return training.TrainingResult(
        steps=0, seconds=1.0, images_per_second=0.0, unit="", validation=0.0, best=0.0,
        interrupted=False,
    )  # fmt: skip


def examples(count):
    """So many, always the same."""
    return settings(
        max_examples=count,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@given(flat=changes.map(dict), as_flags=st.booleans())
@examples(45)
def test_settings(flat, as_flags, pictures, tmp_path_factory, capsys):
    check(flat, as_flags, pictures, tmp_path_factory, capsys)


@pytest.mark.slow
@given(flat=changes.map(dict), as_flags=st.booleans())
@examples(2000)
def test_two_thousand_settings(flat, as_flags, pictures, tmp_path_factory, capsys):
    check(flat, as_flags, pictures, tmp_path_factory, capsys)


def check(flat, as_flags, pictures, tmp_path_factory, capsys):
    """Settings are either taken or refused in one sentence."""
    folder = tmp_path_factory.mktemp("fuzz")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "train", built)
        CODES[call(flat, pictures, folder, capsys, as_flags)] += 1


def test_the_settings_were_of_both_kinds():
    if CODES:
        assert min(CODES[0], CODES[2]) > 2


@pytest.mark.slow
@given(flat=st.lists(sane_pairs, max_size=8).map(dict), as_flags=st.booleans())
@examples(300)
def test_settings_that_may_work_are_trained(flat, as_flags, pictures, tmp_path_factory, capsys):
    folder = tmp_path_factory.mktemp("fuzz")
    if call(flat, pictures, folder, capsys, as_flags) == 0:
        run = Run.open(folder / "run")
        assert run.config().lr > 1 or run.flow().sample(1).isfinite().all()
