"""`rgflow info`: what they tell, and what they do where little is known."""

import json
from itertools import cycle, islice

import pytest

from flows import by_day
from rgflow.cli import main
from rgflow.presets import PRESETS
from rgflow.pretrained import cards
from rgflow.report.facts import described
from rgflow.text import printable
from runs import LOG, flow_of, small_run


@pytest.fixture
def run(tmp_path):
    return small_run(tmp_path / "small", depth=2)


def test_a_run_is_described(run):
    flow = flow_of(run)
    about = described(run)
    assert about["parameters"] == sum(p.numel() for p in flow.parameters())
    assert about["levels"] == [
        {"latents": [3, 3, 4, 4], "size": 144, "m": 4, "depth": 2},
        {"latents": [3, 4, 4], "size": 48, "m": 4, "depth": 2},
    ]
    assert (about["steps"], about["epochs"], about["seconds"]) == (20, 8.0, 6.0)
    assert about["best_validation"]["validation_nll"] == 7.1
    assert about["last_validation"]["validation_nll"] == 7.2
    assert about["skipped"] == ["a.png: truncated"]
    assert about["versions"]["rgflow"]
    assert about["checkpoints"] == []
    assert about["evaluation"] is None
    assert about["bytes"] == sum(path.stat().st_size for path in run.rglob("*") if path.is_file())


def test_what_is_printed(run, capsys):
    assert main(["evaluate", str(run), "--count", "5"]) == 0
    (run / "checkpoints").mkdir()
    (run / "checkpoints/00000020.safetensors").touch()
    capsys.readouterr()
    assert main(["info", str(run)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    evaluated = json.loads((run / "evaluation.json").read_text())["nll"]
    for text in (
        "20 steps of 8 images (8.00 epochs) in 0.1 minutes of wall-clock time",
        "best validation 7.1000 ± 0.1000 bits/dim, step 10",
        "last validation 7.2000 ± 0.1000 bits/dim, step 20",
        "event step 12: resumed",
        f"evaluated {evaluated:.4f} bits/dim on 5 test images",
        "left out a.png: truncated",
        "checkpoints 00000020.safetensors",
        "3 × 3 × 4 × 4",
    ):
        assert text in out, text


def test_json_is_what_is_described(run, capsys):
    assert main(["info", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(described(run)))


def test_the_folder_of_a_model(run, capsys):
    assert main(["info", str(run / "model")]) == 0
    assert "RG-Flow" in capsys.readouterr().out
    assert described(run / "model")["parameters"] == described(run)["parameters"]


@pytest.mark.parametrize("options", [{"pixels": None, "channels": 2}, {"geometry": "squeeze"}])
def test_other_flows(options, tmp_path, capsys):
    folder = small_run(
        tmp_path / "other", **options, **({} if "pixels" in options else {"levels": 2})
    )
    assert main(["info", str(folder)]) == 0
    out = capsys.readouterr().out
    assert ("nats/site" if "pixels" in options else "Real NVP") in out
    sizes = [level["size"] for level in described(folder)["levels"]]
    assert sum(sizes) == flow_of(folder).dim


def test_a_run_at_its_beginning_or_with_files_lost(run, capsys):
    for path in (run / "model").iterdir():
        path.unlink()
    (run / "log.jsonl").write_text(json.dumps(LOG[0]) + '\n{"step": 2, "sec')
    (run / "evaluation.json").write_text("{")
    assert main(["info", str(run)]) == 0
    out = capsys.readouterr().out
    assert "none yet" in out
    assert " 1 steps" in out
    for name in ("log.jsonl", "run.json"):
        (run / name).unlink()
    assert main(["info", str(run)]) == 0
    assert " 0 steps" in capsys.readouterr().out
    (run / "run.json").write_text("{}")
    assert main(["info", str(run)]) == 0


def test_names_are_shown_as_they_are(run, capsys):
    strange = "[/s] \x1b[31mred\u202e"
    record = json.loads((run / "run.json").read_text())
    record["data"]["skipped"] = record["resumed"] = [strange]
    record["machine"]["processor"] = record["versions"][strange] = record["started"] = strange
    (run / "run.json").write_text(json.dumps(record))
    with (run / "log.jsonl").open("a") as log:
        log.write(json.dumps({"step": 20, "seconds": 6.0, "event": strange}) + "\n")
    found = {"nll": 7.0, "images": 5, "data": strange, "unit": strange}
    (run / "evaluation.json").write_text(json.dumps(found))
    assert main(["info", str(run)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert out.count(r"[/s] \x1b[31mred\u202e") == 9
    assert printable(out) == out
    assert main(["info", str(run), "--json"]) == 0
    assert "\x1b" not in capsys.readouterr().out


def with_each_changed(content, values):
    """Copies of what JSON holds, in each of which another of its values is one of these."""
    for key, one in content.items():
        yield content | {key: next(values)}
        if isinstance(one, dict):
            yield from (content | {key: changed} for changed in with_each_changed(one, values))


@pytest.mark.parametrize("step", by_day([4, 1], [4]))
def test_values_of_other_types_end_nothing(run, step):
    """Of every value, or of one in four."""
    assert main(["evaluate", str(run), "--count", "2", "--subset", "1"]) == 0
    record = json.loads((run / "run.json").read_text())
    record["start"] = {"model": "first", "steps": 3, "seconds": 2.0}
    (run / "run.json").write_text(json.dumps(record))
    values = cycle([None, "7", 7, [7], {"a": 7}, True])
    for name in ("run.json", "evaluation.json", "log.jsonl"):
        whole = (run / name).read_text()
        content = json.loads(whole.splitlines()[-1] if name == "log.jsonl" else whole)
        for changed in islice(with_each_changed(content, values), 0, None, step):
            (run / name).write_text(json.dumps(changed))
            assert main(["info", str(run)]) == 0
        (run / name).write_text(whole)
    for name, text in (("run.json", "[7]"), ("evaluation.json", "[" * 100_000)):
        (run / name).write_text(text)
        assert main(["info", str(run)]) == 0


def test_what_is_no_run(tmp_path, run, capsys):
    (run / "config.yaml").write_text("model: 3")
    for folder, message in (
        (tmp_path / "nothing", "there is none at"),
        (tmp_path, "has neither"),
        (run, "config.yaml is damaged"),
    ):
        assert main(["info", str(folder)]) == 2
        err = capsys.readouterr().err
        assert message in err
        assert err.count("\n") == 1


# ---------------------------------------------------------------- presets


PASSED_BACK = {"msds1", "msds1-tiny", "msds2-realnvp", "photos", "msds1-windows", "celeba"}
"""By day: one of each architecture, kind of cells, and kind of data set."""


def test_every_preset_has_a_line(capsys):
    assert main(["info"]) == 0
    _, presets = capsys.readouterr().out.split("preset ")
    names = [line.split()[0] for line in presets.splitlines()[1:] if not line.startswith("  ")]
    assert names[:-1] == list(PRESETS)  # the last line says what to do with them


@pytest.mark.parametrize("name", by_day(PRESETS, PASSED_BACK))
def test_a_preset_can_be_passed_back(name, tmp_path, capsys):
    assert main(["train", name, "--print_config"]) == 0
    text = capsys.readouterr().out
    (tmp_path / "mine.yaml").write_text(text)
    assert main(["train", "--config", str(tmp_path / "mine.yaml"), "--print_config"]) == 0
    assert capsys.readouterr().out == text
    assert main(["info", name]) == 0
    about = capsys.readouterr().out
    assert f"`rgflow train {name} --print_config`" in about if name in cards() else about in text


def test_an_unknown_preset(capsys):
    assert main(["info", "msds1-fst"]) == 2
    assert "nearest: msds1-fast" in capsys.readouterr().err
