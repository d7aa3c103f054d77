"""MIG, DCI and probes on codes whose scores are known."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.model_selection import ShuffleSplit, cross_val_score

from reproducing.claims import compared, verdict
from reproducing.infomec import infomec
from rgflow import Latents, Lattice
from rgflow.analysis.disentanglement import dci, disentanglement
from rgflow.analysis.labels import Label
from rgflow.analysis.probes import ProbeTable, Score, probe_levels
from rgflow.geometries import Blocks
from rgflow.lattice import SqueezeSites

RANDOM = np.random.default_rng(0)
FACTORS = RANDOM.uniform(size=(2000, 3))
LATTICE = Lattice(height=32, width=32, levels=3, geometry=Blocks(m=4))
SMALL = Lattice(height=16, width=16, levels=3, geometry=Blocks(m=4))
N = 500


def named(columns):
    return [Label(name=f"f{k}", values=v, group=f"f{k}") for k, v in enumerate(columns.T)]


def score(code, factors=FACTORS, **options):
    return disentanglement(code, named(factors), **options)


def test_a_perfect_code_scores_1():
    found = score(np.exp(FACTORS[:, ::-1]))
    assert found.mig == pytest.approx(1, abs=0.01)
    assert found.disentanglement == pytest.approx(1, abs=0.03)
    assert found.completeness == pytest.approx(1, abs=0.03)
    assert found.informativeness > 0.98


def test_latents_that_say_nothing_change_little():
    found = score(np.concatenate((FACTORS, RANDOM.normal(size=(2000, 20))), 1))
    assert found.mig == pytest.approx(1, abs=0.02)
    assert found.disentanglement == pytest.approx(1, abs=0.05)


def test_a_code_that_says_everything_twice_has_no_gap_and_half_the_completeness():
    factors = FACTORS[:, :2]
    found = score(np.concatenate((factors, factors), 1), factors, trees=100)
    assert found.mig == pytest.approx(0, abs=1e-6)
    assert found.disentanglement == pytest.approx(1, abs=0.03)
    assert found.completeness == pytest.approx(0.5, abs=0.05)  # 1 − log 2 / log 4


def test_a_code_turned_by_45_degrees_scores_0():
    normal = RANDOM.normal(size=(4000, 2))
    turned = normal @ np.array([[1, 1], [-1, 1]]) / 2**0.5
    found = score(turned, normal)
    assert found.mig == pytest.approx(0, abs=0.03)
    assert found.disentanglement < 0.05
    assert found.completeness < 0.05


def test_an_unrelated_code_scores_0():
    found = score(RANDOM.normal(size=(2000, 5)))
    assert found.mig == pytest.approx(0, abs=0.02)
    assert found.informativeness < 0.05


@pytest.mark.parametrize(
    ("images", "by_chance"),
    [
        pytest.param(800, 0.2, marks=pytest.mark.slow),
        (100, 0.65),
    ],
)
def test_an_unrelated_code_scores_its_floor(images, by_chance):
    random = np.random.default_rng(0)
    found = score(random.normal(size=(images, 200)), random.uniform(size=(images, 3)))
    assert found.disentanglement == pytest.approx(by_chance, abs=0.1)
    for name in ("mig", "disentanglement", "completeness"):
        assert getattr(found, name) == pytest.approx(getattr(found.shuffled, name), abs=0.06)
    assert max(found.informativeness, found.shuffled.informativeness) < 0.05


def test_a_perfect_code_is_far_above_its_floor():
    found = score(FACTORS[:200])
    assert found.shuffled.disentanglement < 0.3 < found.disentanglement - 0.5
    assert found.shuffled.mig < 0.2 < found.mig - 0.5


def test_dci_by_hand():
    importance = np.array([[3.0, 1.0], [0.0, 1.0]])
    entropy = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25)) / np.log(2)
    assert dci(importance) == pytest.approx(((1 - entropy) * 0.8 + 0.2, 0.5))


def test_factors_that_no_latent_matters_for_are_not_complete():
    some = np.array([[3.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    assert dci(some)[1] == pytest.approx(0.5)
    assert dci(np.zeros((2, 3))) == (0, 0)


def test_an_angle_is_one_factor():
    angle = RANDOM.uniform(0, 180, size=2000)
    labels = [
        Label(name="angle", values=angle, kind="angle", group="angle"),
        *named(FACTORS[:, :1]),
    ]
    found = disentanglement(np.stack((angle, FACTORS[:, 0]), 1), labels)
    assert found.mig == pytest.approx(1, abs=0.01)
    assert found.completeness > 0.95


def test_too_few_factors():
    with pytest.raises(ValueError, match="Expected at least 2 latents and 2 factors.*got 3 and 1"):
        score(FACTORS, FACTORS[:, :1])


# ---------------------------------------------------------------- probes


def latents(lattice=LATTICE, seed=0):
    generator = torch.Generator().manual_seed(seed)
    size = 3 * lattice.height * lattice.width
    return Latents.from_flat(torch.randn(N, size, generator=generator), lattice, channels=3)


def probed(z, labels, **options):
    return probe_levels(z, labels, **{"places": 4, "trees": 20, **options})


def boxed(name, values, box, kind="number"):
    return Label(name=name, values=values, kind=kind, group="part", box=box)


@pytest.fixture(scope="module")
def as_in_the_paper():
    """The whole is held at the top, a part of the image by the lowest level there."""
    z = latents()
    noise = 0.1 * RANDOM.normal(size=N)
    whole = z[2, 4, 0, 1].double().numpy() + noise
    boxes = [(y, x, 4, 4) for y in (0, 16) for x in (4, 20)]
    parts = [z[0, y + 2, x + 1, 2].double().numpy() for y, x, *_ in boxes]
    labels = [Label(name="whole", values=whole, group="whole")]
    labels += [
        boxed(f"part {k}", v, box) for k, (v, box) in enumerate(zip(parts, boxes, strict=True))
    ]
    return probed(z, labels)


def test_what_is_held_where_the_paper_says_agrees(as_in_the_paper):
    table = as_in_the_paper
    assert table.score("whole", 2, "linear").r2 > 0.9
    assert table.score("whole", 2, "linear", "shuffled").r2 < 0.1
    assert table.score("part", 0, "boosted").r2 > 0.7
    assert table.score("part", 0, "boosted").r2 > table.score("part", 0, "boosted", "random").r2
    assert [claim.outcome for claim in verdict(table)] == ["agrees"] * 3
    assert verdict(table)[0].text.startswith("whole: is held at high levels (R² 0.9")


def test_what_few_places_say_is_uncertain():
    """An error over four places is itself known to a third only."""
    a, b = (Score("angle", 0, "linear", "own", r2, 0.05, 4, 9, 1.0) for r2 in (0.5, 0.3))
    for places, outcome in ((4, "undecided"), (16, "agrees"), (0, "agrees")):
        assert compared(a._replace(places=places), b._replace(places=places)) == outcome
    assert compared(b._replace(places=16), a._replace(places=16)) == "contradicts"


def test_scores_say_from_how_many_latents(as_in_the_paper):
    for level in range(3):
        cone = LATTICE.inference_cone(LATTICE.box(0, 0, 4, 4)) & (LATTICE.site_levels == level)
        assert as_in_the_paper.score("part", level, "linear").latents == 3 * cone.sum()
        assert as_in_the_paper.score("part", level, "linear").places == 4
    assert as_in_the_paper.places == tuple((y, x, 4, 4) for y in (0, 16) for x in (4, 20))


def test_random_latents_are_from_elsewhere_where_there_are_enough(as_in_the_paper):
    for level in range(2):
        cone = LATTICE.inference_cone(LATTICE.box(0, 4, 4, 4))[LATTICE.site_levels == level]
        score = as_in_the_paper.score("part", level, "linear", "random")
        assert score.latents == 3 * cone.sum()
        assert score.near == pytest.approx(max(0, 2 - cone.size / cone.sum()))
        assert as_in_the_paper.score("part", level, "linear").near == 1
    assert as_in_the_paper.score("part", 0, "linear", "random").near == 0


def test_a_linear_probe_is_fitted_to_all_but_what_is_held_out():
    z = latents()
    y = z[2, 4, 0, 1].double().numpy() + 0.3 * np.random.default_rng(5).normal(size=N)
    label = Label(name="a", values=y, group="a")
    tables = [probed(z, [label], trees=1, seed=seed) for seed in range(5)]
    found = np.mean([table.score("a", 2, "linear").r2 for table in tables])
    x = z.levels[2].flatten(1).numpy()
    three_fifths, four_fifths = (
        cross_val_score(
            Ridge(10.0), x, y, cv=ShuffleSplit(20, train_size=share, test_size=0.2, random_state=0)
        ).mean()
        for share in (0.6, 0.8)
    )
    assert found == pytest.approx(four_fifths, abs=0.02)
    assert found > three_fifths + 0.03


def test_what_is_held_the_other_way_round_contradicts():
    z = latents(SMALL, seed=1)
    whole = z[0, 2, 1, 2].double().numpy()
    parts = z[2, 4, 0, 1].double().numpy()
    labels = [Label(name="whole", values=whole, group="whole"), boxed("p", parts, (0, 0, 4, 4))]
    claims = verdict(probed(z, labels))
    assert {claim.outcome for claim in claims} == {"contradicts"}
    assert claims[0].text.startswith("whole: is held at low levels only (R² 0.")


@pytest.mark.parametrize(
    ("low", "outcome", "words"),
    [(0.5, "agrees", "at high levels"), (0.88, "undecided", "alike"), (0.99, "contradicts", "low")],
)
def test_a_difference_counts_from_some_size_on(low, outcome, words):
    def scores(group, places, values):
        for level, r2 in enumerate(values):
            for probe in ("linear", "boosted"):
                yield Score(group, level, probe, "own", r2, 0.02, places, 10.0, 1.0)
                yield Score(group, level, probe, "shuffled", 0.0, 0.02, places, 10.0, 1.0)

    table = ProbeTable(
        scores=(*scores("whole", 0, (low, 0.9)), *scores("part", 9, (0.9, low))),
        levels=2, images=9, trees=1,
        places=(), seed=0,
    )  # fmt: skip
    whole, part = verdict(table)
    assert whole.outcome == part.outcome == outcome
    assert words in whole.text


def test_what_is_hardly_told_is_undecided():
    def scores(group, places, values):
        for level, r2 in enumerate(values):
            for probe in ("linear", "boosted"):
                yield Score(group, level, probe, "own", r2, 0.01, places, 10.0, 1.0)
                yield Score(group, level, probe, "random", 0.0, 0.01, places, 10.0, 0.0)
                yield Score(group, level, probe, "shuffled", 0.0, 0.01, places, 10.0, 1.0)

    table = ProbeTable(
        scores=(*scores("whole", 0, (0.1, 0.2)), *scores("part", 9, (0.2, 0.4))),
        levels=2, images=9, trees=1,
        places=(), seed=0,
    )  # fmt: skip
    whole, part = verdict(table)  # and nothing of the part's own position, which tells little
    assert whole.outcome == "undecided"
    assert (
        whole.text == "whole: is hardly told by any level (R² 0.20 ± 0.01 and 0.10 ± 0.01 at best)."
    )
    assert part.outcome == "contradicts"


def test_what_is_found_nowhere_is_undecided():
    z = latents(SMALL, seed=4)
    labels = [
        Label(name="w", values=RANDOM.normal(size=N), group="w"),
        boxed("p", RANDOM.normal(size=N), (0, 0, 4, 4)),
    ]
    claims = verdict(probed(z, labels))
    assert [claim.outcome for claim in claims] == ["undecided"] * 2
    assert "is found at no level" in claims[0].text


def test_a_binary_label_and_real_nvp():
    z = latents(SqueezeSites(height=16, width=16, levels=2))
    ones = (z[1, 0, 0, 0].numpy() > 0).astype(float)
    label = Label(name="smile", values=ones, kind="binary", group="smile")
    table = probed(z, [label])
    assert table.score("smile", 1, "boosted").r2 > 0.5
    assert table.score("smile", 0, "boosted").r2 < 0.1
    assert verdict(table) == ()  # nothing is known of places


def test_rare_labels_are_left_out_of_their_group():
    z = latents(SMALL)
    found, rare = z[2, 4, 0, 1].double().numpy() > 0, np.arange(N) == 3
    hair = [
        Label(name=name, values=values.astype(float), kind="binary", group="hair")
        for name, values in (("red", found), ("rare", rare))
    ]
    both, one = (probed(z, some, trees=2) for some in (hair, hair[:1]))
    assert both.scores == one.scores
    assert both.score("hair", 2, "linear").r2 > 0.4
    assert probed(z, hair[1:]).scores == ()
    assert verdict(probed(z, hair[1:])) == ()


def test_a_fold_with_one_value_held_out_has_no_score():
    """Ten images of 500 have the label; in some splits none of them is held out, or shuffled to."""
    z = latents(SMALL)
    few = boxed("few", (np.arange(N) % 50 == 0).astype(float), (0, 0, 4, 4), "binary")
    same = boxed("same", np.full(N, 0.1), (0, 0, 4, 4))
    much = Label(name="much", values=z[2, 4, 0, 1].double().numpy(), group="whole")
    there = set()
    for seed in range(4):
        table = probed(z, [few, same, much], seed=seed, trees=1)
        assert all(-5 < one.r2 <= 1 and np.isfinite(one.error) for one in table.scores)
        assert table.score("whole", 2, "linear").r2 > 0.9
        assert "part" in table.groups or verdict(table) == ()
        there.add("part" in table.groups)
    assert there == {False, True}
    alone = probed(z, [same, much], trees=2)
    assert alone.groups == ("whole",)


def test_angles_are_found_across_180_degrees():
    z = latents(SMALL, seed=3)
    angle = np.rad2deg(np.arctan2(z[0, 0, 1, 0].numpy(), z[0, 1, 0, 0].numpy())) / 2 % 180
    table = probed(z, [boxed("angle", angle.astype(float), (0, 0, 4, 4), "angle")])
    assert table.score("part", 0, "boosted").r2 > 0.6


def test_progress_is_counted():
    label = Label(name="a", values=RANDOM.normal(size=N), group="a")
    seen = []
    probed(latents(SMALL), [label], trees=1, progress=lambda *pair: seen.append(pair))
    assert seen == [(k, 3) for k in range(1, 4)]


def test_the_latents_of_a_place_are_those_whose_cone_meets_it():
    lattice = Lattice(height=32, width=32, geometry=Blocks(m=4))
    box = lattice.box(8, 16, 8, 8)
    meets = np.array(
        [
            [
                bool((lattice.generation_cone(lattice.site(int(h), i, j)) & box).any())
                for j, h in enumerate(row)
            ]
            for i, row in enumerate(lattice.site_levels)
        ]
    )
    assert (lattice.inference_cone(box) == meets).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trees": 0}, "Expected trees to be at least 1; got 0"),
    ],
)
def test_mistakes(options, message):
    label = Label(name="a", values=RANDOM.normal(size=N), group="a")
    with pytest.raises(ValueError, match=message):
        probed(latents(), [label], **options)


def test_infomec_of_codes_whose_scores_are_known():
    random = np.random.default_rng(0)
    classes = random.integers(4, size=(2000, 3))
    code = classes + 0.05 * random.normal(size=classes.shape)
    perfect = infomec(code, classes)
    assert min(perfect) > 0.95
    # Each factor twice: as modular, and compact as (1/2 − 1/6) / (1 − 1/6).
    twice = infomec(np.concatenate((code, code), 1), classes)
    assert twice.modularity > 0.95
    assert twice.compactness == pytest.approx(0.4, abs=0.02)
    # Turned, it says as much to a linear map, but each latent is about every factor.
    third = 2 / 3 * np.ones((3, 3)) - np.eye(3)
    turned = infomec(code @ third, classes)
    assert turned.explicitness == pytest.approx(perfect.explicitness, abs=0.02)
    assert max(turned.modularity, turned.compactness) < 0.6
    # Latents that hardly vary don't count; noise explains nothing.
    still = infomec(np.concatenate((code, 0.01 * random.normal(size=(2000, 5))), 1), classes)
    assert still.compactness == pytest.approx(perfect.compactness, abs=0.01)
    assert infomec(random.normal(size=(2000, 3)), classes).explicitness < 0.02
    with pytest.raises(ValueError, match="at least 2 latents that vary and 2 factors; got 1 and 3"):
        infomec(code[:, :1], classes)
