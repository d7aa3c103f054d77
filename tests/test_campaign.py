"""Damaged, odd and hostile files, names, places and requests: as promised, within limits."""

import warnings
from collections import Counter

import numpy as np
import pytest

from campaign import ORDER, Campaign
from cases import RIGHT, WRONG

BY_DAY = 500


@pytest.fixture(scope="module")
def campaign(tmp_path_factory):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads
        found = Campaign(tmp_path_factory.mktemp("campaign"))
        yield found
        found.end()


def carried_out(campaign, numbers):
    """What came of cases, all of which are right."""
    found = {number: campaign.case(number) for number in numbers}
    wrong = {number: one for number, one in found.items() if not one.right}
    assert not wrong, "\n".join(
        f"{number} ({ORDER[number % len(ORDER)].name}): {one}" for number, one in wrong.items()
    )
    return found


def test_many_cases(campaign):
    found = carried_out(campaign, range(BY_DAY))
    results = Counter(one.result for one in found.values())
    assert set(results) == set(RIGHT)
    assert min(results["sentence"], results["other"]) > BY_DAY // 5


def flipped(campaign, count):
    """Of so many bits, spread over all of a checkpoint, what came."""
    bits = np.random.default_rng(1).choice(campaign.bits, count, replace=False)
    return [campaign.flip(int(bit)) for bit in bits]


def test_single_bits_of_the_newest_checkpoint(campaign):
    assert all(one.right for one in flipped(campaign, 15))


@pytest.mark.slow
def test_a_thousand_single_bits_of_the_newest_checkpoint(campaign):
    assert all(one.right for one in flipped(campaign, 1000))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_twenty_thousand_cases(campaign):
    carried_out(campaign, range(BY_DAY, 20_000))


def test_what_is_right_isnt_wrong():
    assert not set(RIGHT) & set(WRONG)
