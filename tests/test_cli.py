"""The command line: the main job end to end, and mistakes told in one sentence."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from rgflow import RGFlow, load_flow
from rgflow.cli import main

TINY = ["--train_count", "200", "--validate_count", "20", "--batch_size", "8"]
TINY += ["--compile", "false"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "first"
    assert main(["train", "msds1-tiny", "--steps", "3", *TINY, "--out", str(folder)]) == 0
    return folder


def test_train_evaluate_sample(run, capsys):
    assert main(["evaluate", str(run), "--count", "30"]) == 0
    out = capsys.readouterr().out
    result = json.loads((run / "evaluation.json").read_text())
    assert f"{result['nll']:.4f} ± {result['standard_error']:.4f} bits/dim" in out
    assert result["images"] == 30
    assert result["split"] == "test"
    assert main(["sample", str(run), "-n", "9", "--temperature", "[0.5, 0.5, 0.8, 1]"]) == 0
    assert Image.open(run / "pictures/samples.png").size == (200, 200)
    assert Image.open(run / "pictures/stages.png").size == (302, 454)


def test_image_k_has_seed_k_whatever_their_number(run, tmp_path):
    for name, arguments in (("a", ["-n", "4"]), ("b", ["-n", "1", "--seed", "3"])):
        assert main(["sample", str(run), *arguments, "--out", str(tmp_path / name)]) == 0
    four = Image.open(tmp_path / "a/samples.png")
    one = Image.open(tmp_path / "b/samples.png")
    assert one.crop((2, 2, 66, 66)).tobytes() == four.crop((68, 68, 132, 132)).tobytes()


def test_config_is_written_so_that_it_can_be_passed_back(run, tmp_path):
    again = tmp_path / "again"
    assert main(["train", "--config", str(run / "config.yaml"), "--out", str(again)]) == 0
    assert (again / "config.yaml").read_text() == (run / "config.yaml").read_text()
    weights = "model/model.safetensors"
    assert (again / weights).read_bytes() == (run / weights).read_bytes()


def test_flags_override_presets(tmp_path):
    out = tmp_path / "run"
    flags = ["--model.prior", "gaussian", "--model.map.hidden", "8", "--steps", "1"]
    assert main(["train", "msds2-fast", *flags, *TINY, "--out", str(out)]) == 0
    text = (out / "config.yaml").read_text()
    for line in ("kind: gaussian", "hidden: 8", "m: 8", "kind: cube", "data: msds2"):
        assert line in text


def test_a_preset_may_stand_anywhere(capsys):
    texts = []
    for arguments in (["msds2-fast", "--steps", "3"], ["--steps", "3", "msds2-fast"]):
        assert main(["train", *arguments, "--print_config"]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1]
    assert "kind: cube" in texts[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"model: 3", "those of the flow under model"),
        (b"[1, 2]", "names and values"),
        (b"", "names and values"),
        (b"\x00\x01", "a YAML file of settings"),
        (b"\xff\xfe", "bad.yaml"),
        (b"a: [", "bad.yaml"),
        (b"steps: x", "steps to be a whole number"),
        (b"model: {map: {hiden: 3}}", "nearest: hidden"),
        (b"stepz: 3", "nearest: steps"),
    ],
)
def test_a_file_that_is_no_config(text, message, tmp_path, capsys):
    (tmp_path / "bad.yaml").write_bytes(text)
    assert main(["train", "--config", str(tmp_path / "bad.yaml"), "--steps", "1"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "got 'trian' (nearest: train)"),
        (["train", "msds1-fst"], "got 'msds1-fst' (nearest: msds1-fast)"),
        (["train", "msds1-tiny"], "give --minutes, --steps or both"),
        (["train", "msds1-tiny", "--steps", "0"], "steps to be at least 1; got 0"),
        (["train", "msds1-tiny", "--steps"], "Expected a value after --steps; got --out"),
        (["train", "msds1-tiny", "--flip", "--steps", "3"], "value after --flip; got --steps"),
        (["train", "msds1-tiny", "--stepz", "3"], "got 'stepz' (nearest: --steps)"),
        (["train", "msds1-tiny", "--steps", "x"], "steps to be a whole number; got 'x'"),
        (
            ["train", "msds1-tiny", "--steps", "3", "--model.prior", "gaus"],
            "kind of the prior to be one of laplace, gaussian; got 'gaus' (nearest: gaussian)",
        ),
        (
            ["train", "msds1-tiny", "--steps", "3", "--model.map.hiden", "3"],
            "nearest: hidden",
        ),
        (["train", "msds1-tiny", "--steps", "3", "--model.map.depth", "[1, 2]"], "of the 4 levels"),
        (
            ["train", "msds1-tiny", "--steps", "3", "--model.geometry.m", "5"],
            "m to be a multiple of 2; got 5",
        ),
        (["train", "msds1-tiny", "--steps", "3", "--data", "msds3"], "nearest"),
        (["train", "msds1-tiny", "--steps", "3", "--data", "folder:/no/such"], "/no/such"),
        (["train", "--config", "/no/such.yaml"], "there is none at /no/such.yaml"),
        (["train", "--config", "/no/lr=1/such.yaml"], "there is none at /no/lr=1/such.yaml"),
        (["train", "--config=/no/lr=1/such.yaml"], "there is none at /no/lr=1/such.yaml"),
        (
            ["train", "msds1-realnvp", "--steps", "1", "--optimizer", "muon"],
            "optimizer adamw for the map convolutional",
        ),
        (["train", "--model", "null"], "options of the flow as --model.NAME VALUE; got --model"),
        (["train", "--steps", "1", "nosuch"], "preset to be one of"),
        (["train", "msds1-tiny", "--steps", "1", "--seed", "-1"], "seed to be at least 0"),
        (["train", "msds1-tiny", "--steps", "1", "--ema_decay", "1.5"], "ema_decay to be below 1"),
        (["train", "msds1-tiny", "--steps", "1", "--model.map", "math.pi"], "a subclass of"),
        (
            ["train", "msds1-tiny", "--steps", "1", "--model.map", "rgflow.bijectors.Logit"],
            "rgflow.bijectors.Logit', which is the package's",
        ),
        (["train", "celeba", "--steps", "1"], "list_eval_partition.txt"),
        (["evaluate", "/no/such"], "there is none at /no/such"),
        (["report", "x" * 300], "Expected a path that can be used; this one can't (file name too"),
        (["repair", "A.png", "--mask", "x" * 300], "Expected a picture file; there is none at"),
        (["sample", "/no/such"], "there is none at /no/such"),
        (["evaluate"], "run"),
        (["evaluate", "~nobody-of-this-name/run"], "there is none at ~nobody-of-this-name/run"),
        (["info", "~nobody-of-this-name/run"], "Expected"),
        (["models"], "Expected `rgflow info`, the new name of `rgflow models`"),
        (["presets", "photos"], "the new name of `rgflow presets`"),
        (
            ["train", "--config", "~nobody-of-this-name/a.yaml"],
            "there is none at ~nobody-of-this-name/a.yaml",
        ),
        (["ship", "~nobody-of-this-name/run", "model"], "~nobody-of-this-name/run isn't there"),
        (["reproduce", "--list", "--experiments", "~nobody-of-this-name"], "~nobody-of-this-name"),
        (
            ["distances", "msds1-best", "--count", "2", "--inception", "~nobody-of-this-name/file"],
            "none at ~nobody-of-this-name/file",
        ),
        (["inpaint", "msds1-best", "~nobody-of-this-name/a.png", "--box", "[0,0,4,4]"], "a.png"),
    ],
)
def test_mistakes(arguments, message, capsys, tmp_path):
    extra = ["--out", str(tmp_path / "run")] if arguments[0] == "train" else []
    assert main([*arguments, *extra]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_mistakes_when_resuming(run, capsys):
    for arguments, message in (
        (["--resume", "/no/such"], "/no/such isn't there"),
        (["--resume", str(run), "--lr", "1"], "with --resume; got --lr"),
        (["--resume", str(run)], "has reached its end at step 3"),
        (["--resume", str(run), "--steps", "x"], "steps to be a whole number; got 'x'"),
        (["--resume"], "one argument"),
    ):
        assert main(["train", *arguments]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_mistakes_with_a_run(run, capsys):
    for arguments, message in (
        (["-n", "0"], "--number to be at least 1"),
        (["--seed", "-1"], "--seed to be at least 0"),
        (["--seed", str(10**19)], "--seed to be at most"),
        (["--out", "/proc/nope"], "Expected to write /proc/nope"),
        (["--temperature", "-1"], "temperature to be at least 0"),
        (["--temperature", "[1, 1]"], "one for each of the 4 levels; got 2"),
        (["--scale", "100000"], "--scale to be at most 64"),
    ):
        assert main(["sample", str(run), *arguments]) == 2
        assert message in capsys.readouterr().err


def test_help_does_not_import_torch():
    code = (
        "import sys; from rgflow.cli import main; main(['--help']); "
        "sys.exit(any(name in sys.modules for name in ('torch', 'numpy', 'jsonargparse')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "train" in done.stdout


def test_training_begins_without_what_only_analyses_need():
    script = (
        "import rgflow.training, sys\n"
        "sys.exit(any(name in sys.modules for name in ('sklearn', 'matplotlib', 'scipy.stats')))"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_every_option_of_training_has_help(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    out = capsys.readouterr().out
    from dataclasses import fields

    from rgflow import FlowConfig, TrainConfig

    for option in [f"model.{f.name}" for f in fields(FlowConfig)] + [
        f.name for f in fields(TrainConfig) if f.name != "model"
    ]:
        line = out[out.index(f"--{option} ") :].split("\n  --")[0]
        assert len(line.replace("\n", " ").split()) > 6, option


def test_a_reader_who_has_seen_enough_is_no_mistake():
    command = [sys.executable, "-m", "rgflow", "train", "--help"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""


def test_an_old_encoding_ends_no_command():
    command = [sys.executable, "-m", "rgflow", "info"]
    old = {**os.environ, "PYTHONIOENCODING": "ascii"}
    found = subprocess.run(command, env=old, capture_output=True, check=True)
    assert b"msds1-best" in found.stdout


def test_code_is_run_only_where_it_is_trusted(tmp_path, monkeypatch, capsys):
    """Neither a folder of a run, nor a file of settings, nor the current folder runs any."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sly_maps.py").write_text(
        "from pathlib import Path\n"
        "Path('sprung').touch()\n"
        "from rgflow.bijectors import AffineCoupling\n"
        "class Own(AffineCoupling):\n"
        "    def __init__(self, spec): super().__init__(spec, hidden=8, blocks=1)\n"
    )
    flags = ["--train_count", "20", "--validate_count", "4", "--steps", "1"]
    called = "{class_path: subprocess.getoutput, init_args: {cmd: touch sprung}}"
    for settings in (
        "model: {bijector: sly_maps.Own}",
        "model: {class_path: sly_maps.Own}",
        "model: {bijector: sly_maps.Own, bijector_options: {class_path: sly_maps.Own}}",
        "model.class_path: sly_maps.Own",
        "model: sly_maps.Own",
        f"model: {{bijector: a.b, bijector_options: {{a: [{called}]}}}}",
        f'model: {{bijector: a.b, bijector_options: "{{a: {called}}}"}}',
        f'model: {{bijector: a.b, bijector_options: {{a: "{called}"}}}}',
        f"train_levels: [{called}]",
        f'model: {{m: "{called}"}}',
        f"data: '{called}'",
    ):
        Path("settings.yaml").write_text(f"{settings}\n")
        assert main(["train", "--config", "settings.yaml", *flags]) == 2, settings
    assert "rgflow: Expected" in capsys.readouterr().err
    assert not Path("sprung").exists()
    flags += ["--data", "msds1"]
    options = [*flags, "--model.map", "sly_maps.Own", "--trust", "sly_maps"]
    assert main(["train", "msds1-tiny", *options, "--out", "run"]) == 0
    assert Path("sprung").exists()
    del sys.modules["sly_maps"]
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(tmp_path)])
    Path("sprung").unlink()
    for words in (["sample", "run"], ["train", "--resume", "run", "--steps", "2"], ["info", "run"]):
        assert main(words) == 2
        assert "'sly_maps.Own' would run code: if you know it" in capsys.readouterr().err
    assert not Path("sprung").exists()
    assert main(["sample", "run", "-n", "1", "--trust=sly_maps.Own"]) == 0
    assert main(["sample", "run", "--trust"]) == 2
    assert "Expected --trust MODULE" in capsys.readouterr().err


def test_flows_whose_training_has_diverged(run, tmp_path, capsys, monkeypatch):
    path = shutil.copytree(run, tmp_path / "run")
    (path / "evaluation.json").unlink(missing_ok=True)
    flow = load_flow(path / "model")
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.fill_(1e30)
    flow.save_pretrained(path / "model")
    with monkeypatch.context() as patch:
        patch.setattr(RGFlow, "to_images", lambda self, x: (x / 0, x[:, 0, 0, 0]))
        assert main(["sample", str(path), "-n", "2"]) == 2
    assert main(["evaluate", str(path), "--count", "2"]) == 2
    with torch.no_grad():
        next(flow.parameters()).fill_(torch.nan)
    flow.save_pretrained(path / "model")
    assert main(["sample", str(path)]) == 2
    samples, bits, weights = capsys.readouterr().err.splitlines()
    assert "Expected finite samples; " in samples
    assert "Expected finite bits/dim of test images; 1 of 1 aren't: the flow's training" in bits
    assert "Expected finite weights in " in weights
    assert not (path / "evaluation.json").exists()


def test_options_of_a_kind_may_come_before_it(capsys):
    texts = []
    for words in ("--model.map.bins 4 --model.map cube", "--model.map cube --model.map.bins 4"):
        assert main(["train", "msds1-small", *words.split(), "--print_config"]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1]
    assert "    bins: 4\n" in texts[0]
