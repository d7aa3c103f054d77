"""Text from outside is shown as what it is."""

import re
import warnings

import pytest
import torch
from PIL import Image
from rich.table import Table

from flows import random_flow
from rgflow import LosslessWarning, TrainConfig
from rgflow.cli import main
from rgflow.figures.panels import titled
from rgflow.text import Lines, Screen, bar, bars, printable, reporting, say, show_warning
from rgflow.training.display import Display

STRANGE = "[/s] [kg] :smile: \x1b[31mred\x1b[0m \u202e\n!"
SHOWN = r"[/s] [kg] :smile: \x1b[31mred\x1b[0m \u202e\n!"
"""The same as it should be seen."""


@pytest.mark.parametrize(
    "text",
    [
        "a b",
        "Grüße",
        "e\u0301",
        "日本語",
        "שלום",
        "مرحبا",
        "हिन्दी",
        "\U0001f469\u200d\U0001f52c",
        "[/s] $x$ \\",
    ],
)
def test_what_people_write_stays(text):
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("two\r\nlines\u2028three\x85", r"two\r\nlines\u2028three\x85"),
        ("\0\a\b\t\x7f\x9b2J", r"\x00\x07\x08\t\x7f\x9b2J"),
        ("gpj.\u202eexe\u2066\u200f", r"gpj.\u202eexe\u2066\u200f"),
        ("name\udcff\ud800", r"name\udcff\ud800"),
    ],
)
def test_what_is_hidden_is_seen(text, shown):
    assert printable(text) == shown
    shown.encode()


def test_a_screen_shows_text_as_it_is(capsys):
    table = Table(STRANGE, title=STRANGE, width=90)
    table.add_row(STRANGE)
    Screen().print(STRANGE, table)
    say(STRANGE)
    assert capsys.readouterr().out.count(SHOWN) == 5
    Screen(stderr=True).print(STRANGE)
    assert capsys.readouterr().err == f"{SHOWN}\n"


def test_progress_bars_show_text_as_it_is(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    with bars() as progress:
        progress.add_task(STRANGE, total=1)
    said = capsys.readouterr().err
    assert SHOWN in said
    assert "\x1b[31m" not in said.replace("\x1b[35m", "")
    with bars(transient=False) as progress:
        progress.update(progress.add_task("", total=1), description=STRANGE)
    assert SHOWN in capsys.readouterr().err


def test_progress_is_told_in_lines_where_there_is_no_terminal(capsys, monkeypatch):
    monkeypatch.setattr(Lines, "said", Lines.said)
    assert main(["info", "photos", "--json"]) == 0
    with bar("first", 4) as advance:
        advance(1)
    assert capsys.readouterr().err == ""  # so soon after a command began
    monkeypatch.setattr(Lines, "every", 0.0)
    with reporting() as report:
        for done in range(3):
            report(STRANGE, done, 4)
    first, *_, last = capsys.readouterr().err.splitlines()
    assert first == f"{SHOWN}: 0 %"
    assert re.fullmatch(re.escape(SHOWN) + r": 50 %, 0:00:\d\d left", last)
    with bars(progress=False) as shown:
        shown.update(shown.add_task("", total=1), completed=1)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("terminal", [False, True])
def test_a_training_shows_text_as_it_is(capsys, monkeypatch, terminal):
    monkeypatch.setenv("COLUMNS", "200")
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
    flow = random_flow(torch.float32)
    with Display(TrainConfig(data=STRANGE), flow, None, enabled=True) as display:
        display.tell(STRANGE)
    said = capsys.readouterr().err
    assert said.count(SHOWN) >= 1 + terminal
    assert "\x1b[31m" not in said


def test_a_picture_has_a_title_whatever_it_is():
    for text in (STRANGE, "\udcff", "x" * 100_000):
        assert titled(text, Image.new("RGB", (8, 8))).width < 4000


def test_only_warnings_of_this_package_are_shown(capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = show_warning
        warnings.warn("Palette images", UserWarning, stacklevel=1)
        warnings.warn("a bomb", Image.DecompressionBombWarning, stacklevel=1)
        assert capsys.readouterr().err == ""
        warnings.warn("3 of 4 images\x1b", LosslessWarning, stacklevel=1)
    assert capsys.readouterr().err == "rgflow: 3 of 4 images\\x1b\n"
