"""Pictures of repaired images: what is where, and what the charts say."""

import numpy as np
import pytest
import torch

from rgflow import Lattice
from rgflow.figures.charts import RED
from rgflow.figures.panels import SPACE
from rgflow.figures.repair import completions, marked, repairs
from rgflow.metrics.images import psnr
from runs import program

LATTICE = Lattice(height=16, width=16)
BOX = LATTICE.box(2, 9, 4, 5)
RGB = (214, 69, 69)
"""`RED`."""


def random_images(n: int = 3, channels: int = 3, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (n, channels, 16, 16), generator=generator, dtype=torch.uint8)


def enlarged(image, scale):
    """An image as it is drawn, [H, W, 3]."""
    image = image.expand(3, -1, -1).permute(1, 2, 0).numpy()
    return image.repeat(scale, 0).repeat(scale, 1)


def places(picture, part):
    """Where a part is found in a picture, row and column of its corner."""
    data = np.asarray(picture)
    height, width = part.shape[:2]
    corners = np.argwhere((data == part[0, 0]).all(2))
    return [
        (y, x)
        for y, x in corners.tolist()
        if np.array_equal(data[y : y + height, x : x + width], part)
    ]


def told(axes):
    return [text.get_text() for text in axes.texts]


# ---------------------------------------------------------------- repaired images


def test_regions_are_red_and_nothing_else():
    for images in (random_images(), random_images(channels=1), random_images() + 0.5):
        for masks in (BOX, np.stack([BOX, ~BOX, BOX & False])):
            found = marked(images, masks)
            assert found.dtype == torch.uint8
            for image, shown, mask in zip(
                images, found, np.broadcast_to(masks, (3, 16, 16)).copy(), strict=True
            ):
                assert (torch.tensor(RGB) == shown[:, mask].T).all()
                assert torch.equal(shown[:, ~mask], image[:, ~mask].byte().expand(3, -1))
    assert f"#{bytes(RGB).hex()}" == RED


@pytest.mark.parametrize("channels", [1, 3])
def test_rows_are_methods_and_columns_are_images(channels):
    truth = random_images(channels=channels)
    ours, theirs = (
        torch.where(torch.tensor(BOX), random_images(3, channels, seed), truth) for seed in (1, 2)
    )
    picture = repairs(truth, BOX, {"ours": ours + 0.3, "theirs": theirs}, truth=truth, scale=4)
    tops, columns = [], []
    for shown in (truth, marked(truth, BOX), ours, theirs):
        corners = [places(picture, enlarged(image, 4)) for image in shown]
        assert all(len(found) == 1 for found in corners)
        rows, lefts = zip(*(found[0] for found in corners), strict=True)
        assert len(set(rows)) == 1
        tops.append(rows[0])
        columns.append(lefts)
    assert tops == sorted(tops)
    assert len(set(columns)) == 1
    assert sorted(columns[0]) == list(columns[0])


def test_numbers_below_images(monkeypatch):
    from rgflow.figures import repair

    truth = random_images()
    ours, theirs = (
        torch.where(torch.tensor(BOX), random_images(seed=seed), truth) for seed in (1, 2)
    )
    ours[1] = truth[1]
    strips = []
    draw = repair._drawn
    monkeypatch.setattr(repair, "_drawn", lambda strip, *a: strips.append(strip) or draw(strip, *a))
    repairs(truth, BOX, {"ours": ours, "theirs": theirs}, truth=truth)
    captions = {strip.label: strip.captions for strip in strips if strip.captions}
    values = {"ours": psnr(ours, truth, BOX).values, "theirs": psnr(theirs, truth, BOX).values}
    assert captions["ours"][1] == ("exact", True)
    for name, other in (("ours", "theirs"), ("theirs", "ours")):
        for k in (0, 2):
            best = values[name][k] > values[other][k]
            assert captions[name][k] == (f"{values[name][k]:.1f}", best)
    strips.clear()
    repairs(truth, BOX, {"ours": ours}, truth=truth)
    assert not any(bold for strip in strips for _, bold in strip.captions)


def test_without_truth_there_is_nothing_to_compare():
    images = random_images()
    picture = repairs(images, BOX, {"ours": images}, scale=2)
    known = repairs(images, BOX, {"ours": images}, truth=images, scale=2)
    assert picture.height < known.height
    assert picture.height == 2 * 32 + 2 + 2 * SPACE
    assert len(places(picture, enlarged(images[0], 2))) == 1


def test_many_images_go_on_below(monkeypatch):
    images = random_images(7)
    wide = repairs(images, BOX, {"ours": images}, scale=2)
    monkeypatch.setattr("rgflow.figures.repair.ACROSS", 3)
    tall = repairs(images, BOX, {"ours": images}, scale=2)
    assert tall.width < wide.width
    corners = [places(tall, enlarged(image, 2))[-1] for image in images]
    assert [x for _, x in corners[:3]] == [x for _, x in corners[3:6]]
    assert corners[6][0] > corners[3][0] > corners[0][0]


def test_images_that_do_not_fit():
    images = random_images()
    for rows, mask, truth, message in (
        ({"ours": images[:2]}, BOX, None, r"\[3, 3, 16, 16\] from ours; got \[2, 3, 16, 16\]"),
        ({"ours": images}, BOX[1:], None, "boolean mask of shape"),
        ({"ours": images}, BOX, images[:2], "of one shape"),
    ):
        with pytest.raises(ValueError, match=message):
            repairs(images, mask, rows, truth=truth)
    with pytest.raises(ValueError, match="1 or 3 channels"):
        repairs(images[:, :2], BOX, {"ours": images[:, :2]})


# ---------------------------------------------------------------- completions


def test_completions_with_their_mean_and_spread(monkeypatch):
    monkeypatch.setattr("rgflow.figures.repair.ACROSS", 3)
    truth, draws = random_images(1)[0], random_images(5, seed=1)
    picture = completions(truth, BOX, draws, truth=truth, scale=3)
    mean = draws.float().mean(0).floor().byte()
    for image in (truth, marked(truth[None], BOX)[0], mean, *draws):
        assert len(places(picture, enlarged(image, 3))) == 1
    corners = [places(picture, enlarged(image, 3))[0] for image in draws]
    assert len({y for y, _ in corners[:3]}) == 1
    assert corners[3][1] == corners[0][1]
    unknown = completions(truth, BOX, draws[:1], scale=3)  # without a spread
    assert not places(unknown, enlarged(truth, 3))


# ---------------------------------------------------------------- charts


def test_costs_against_size(axes):
    benchmark = program("benchmarks/local.py")
    scaling, cost = benchmark.scaling, benchmark.Cost
    edges = (32, 64, 128, 256)
    restricted = [cost(edge, 0.01 * k + 0.02, 2**20 * (k + 1)) for k, edge in enumerate(edges)]
    full = [cost(edge, (edge / 32) ** 2, 2**20 * edge, edge < 128) for edge in edges]
    picture = scaling(restricted, full, {32: 1326, 64: 1705, 128: 2060, 256: 2402})
    assert picture.width == 1600
    time, memory, free = axes
    for ax, values in ((time, [1, 4, 16, 64]), (memory, edges)):
        assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
        assert told(ax) == ["restricted", "full", "extrapolated"]
        measured, _, hollow = (line for line in ax.lines if line.get_color() == RED)
        assert list(measured.get_ydata()) == list(values[:2])
        assert list(hollow.get_ydata()) == list(values[2:])
        assert hollow.get_markerfacecolor() == "white"
        assert [tick.get_text() for tick in ax.get_xticklabels()] == list(map(str, edges))
    assert (free.get_xscale(), free.get_yscale()) == ("log", "linear")
    assert told(free) == ["1,326", "2,402"]
    axes.clear()
    scaling(restricted[:1], full[:1], {32: 1326})
    assert "extrapolated" not in told(axes[0])
