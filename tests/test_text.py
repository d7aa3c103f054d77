"""Text from outside is shown as what it is."""

import pytest

from rgflow.text import printable


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
