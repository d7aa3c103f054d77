"""Damaged and hostile files of all kinds: one sentence or the right result, within limits."""

import warnings
from collections import Counter

import numpy as np
import pytest

from campaign import KINDS, Campaign


@pytest.fixture(scope="module")
def campaign(tmp_path_factory):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads
        yield Campaign(tmp_path_factory.mktemp("campaign"))


def carried_out(campaign, numbers):
    """The outcomes of cases, all of which are right."""
    outcomes = [campaign.case(number) for number in numbers]
    wrong = [one for one in outcomes if not one.right]
    assert not wrong, "\n".join(f"{one.number} {one}" for one in wrong[:5])
    return outcomes


def test_twenty_files(campaign):
    carried_out(campaign, range(20))


@pytest.mark.slow
def test_fifty_files(campaign):
    outcomes = carried_out(campaign, range(50))
    results = Counter(one.result for one in outcomes)
    assert results["sentence"] > 20
    assert results["other"] + results["same"] > 5
    assert {one.kind for one in outcomes} == {kind.name for kind in KINDS}


def flipped(campaign, kind, count):
    """Of so many bits, spread over all of a file, how many were noticed or changed nothing."""
    size = 8 * campaign.whole[kind.name][1].stat().st_size
    bits = np.random.default_rng(1).choice(size, min(count, size), replace=False)
    return [campaign.flip(kind, int(bit)) for bit in bits]


def test_single_bits_of_the_newest_checkpoint(campaign):
    assert all(one.right for one in flipped(campaign, KINDS[0], 15))


@pytest.mark.slow
def test_a_thousand_single_bits_of_the_newest_checkpoint(campaign):
    assert all(one.right for one in flipped(campaign, KINDS[0], 1000))


@pytest.mark.slow
def test_ten_thousand_files(campaign):
    carried_out(campaign, range(50, 10_050))
