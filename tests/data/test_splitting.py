"""Splits: they never overlap, nothing is lost, and every machine agrees."""

from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rgflow.data import splitting
from rgflow.data.source import SPLITS, Split


@given(st.integers(3, 400), st.sets(st.sampled_from(["validation", "test"])))
def test_every_image_is_in_one_split(count: int, own: set[Split]) -> None:
    sizes: dict[Split, int] = {"train": count} | dict.fromkeys(own, 7)
    found = {split: splitting.members(sizes, split, "there") for split in SPLITS}
    for split, (part, numbers) in found.items():
        assert part == (split if split in sizes else "train")
        assert numbers
    trained = list(chain(*(numbers for part, numbers in found.values() if part == "train")))
    assert sorted(trained) == [*range(count)]
    for split in own:
        assert found[split][1] == [*range(7)]


def test_shares() -> None:
    numbers = {split: splitting.members({"train": 60_000}, split, "")[1] for split in SPLITS}
    assert [len(numbers[split]) for split in SPLITS] == pytest.approx(
        [54_000, 3_000, 3_000], abs=150
    )
    _, validation = splitting.members({"train": 60_000, "test": 1}, "validation", "")
    assert validation == numbers["test"]  # the last 5 %, whatever they are called
    assert sorted(validation)[:4] == [20, 70, 75, 76]
    assert sum(number < 30_000 for number in validation[:100]) == pytest.approx(50, abs=20)


def test_what_is_not_there() -> None:
    with pytest.raises(ValueError, match="Expected train images in here; got none"):
        splitting.members({"test": 4}, "train", "here")
    with pytest.raises(ValueError, match="Expected test images in here; got none"):
        splitting.members({"train": 4, "test": 0}, "test", "here")
    assert splitting.members({"test": 4}, "test", "here") == ("test", [0, 1, 2, 3])
