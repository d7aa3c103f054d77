"""Pictures: what is where in them."""

import numpy as np
import pytest
import torch
from PIL import Image

from rgflow import figures
from rgflow.files import PART
from runs import LOG, program


def test_grid_places_images_row_by_row():
    images = torch.arange(5, dtype=torch.uint8).mul(50)[:, None, None, None].expand(5, 3, 4, 4)
    picture = np.asarray(figures.grid(images, columns=2, scale=3))
    gap, cell = figures.GAP, 12 + figures.GAP
    assert picture.shape == (3 * cell + gap, 2 * cell + gap, 3)
    for k in range(5):
        corner = picture[gap + k // 2 * cell :, gap + k % 2 * cell :]
        assert (corner[:12, :12] == 50 * k).all()
        assert (corner[12, :12] == 40).all()


def test_picture_is_the_image_itself():
    image = torch.randint(256, (3, 5, 7), dtype=torch.uint8)
    assert (np.asarray(figures.picture(image)) == image.permute(1, 2, 0).numpy()).all()
    grey = figures.picture(image[:1])
    assert grey.mode == "L"
    assert (np.asarray(grey) == image[0].numpy()).all()


def test_stages_go_from_coarse_to_fine():
    """Also of sizes that can't be halved, which are rounded up."""
    coarse = [torch.full((2, 1, -(-7 // 2**h), -(-9 // 2**h)), 100.0 * h) for h in range(3)]
    picture = np.asarray(figures.progressive(coarse, scale=30))[..., 0]
    middle = picture.shape[1] // 2
    order = [picture[-100, middle + k * (9 * 30 + figures.GAP)] for k in (-1, 0, 1)]
    assert order == [200, 100, 0]


def test_what_makes_no_picture():
    for draw in (figures.grid, lambda x: figures.picture(x[0]), lambda x: figures.progressive([x])):
        with pytest.raises(ValueError, match="Expected images of 1 or 3 channels to draw; got 2"):
            draw(torch.zeros(1, 2, 4, 4))


# ---------------------------------------------------------------- learning curves


@pytest.fixture
def drawn(monkeypatch):
    """What a learning curve consists of."""
    from matplotlib.figure import Figure

    found = []
    save = Figure.savefig

    def keep(figure, *arguments, **options):
        found.append(figure.axes[0])
        save(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", keep)
    return found


def test_learning_curve_holds_all_that_is_in_the_log(tmp_path, drawn):
    skipped = {"step": 21, "seconds": 6.1, "nll": None}
    figures.learning_curve([*LOG, skipped], "bits/dim", tmp_path / "curve.png")
    assert Image.open(tmp_path / "curve.png").size == (1280, 720)
    assert not list(tmp_path.glob(f".*{PART}"))
    (axes,) = drawn
    raw = next(line for line in axes.lines if len(line.get_xdata()) == 20)
    assert list(raw.get_ydata()) == [entry["nll"] for entry in LOG[:20]]
    assert [text.get_text() for text in axes.texts] == ["resumed"]
    told = [text.get_text().split(":")[0] for text in axes.get_legend().get_texts()]
    assert told == ["training", "validation"]
    assert axes.get_ylabel() == "bits/dim"
    assert any(list(line.get_xdata()) == [12, 12] for line in axes.lines)


def test_the_first_steps_do_not_flatten_the_rest(tmp_path, drawn):
    log = [{"step": k, "seconds": k, "nll": 2 + 1000 * 0.5**k} for k in range(1, 1001)]
    figures.learning_curve(log, "bits/dim", tmp_path / "curve.png")
    low, high = drawn[0].get_ylim()
    assert low < 2 < high < 3


def test_names_with_dollars_are_no_formulas(tmp_path, drawn, axes):
    entry = {"step": 12, "seconds": 3.5, "event": "from $^$"}
    figures.learning_curve([*LOG[:20], entry], "bits/dim", tmp_path / "curve.png")
    assert [text.get_text() for text in drawn[0].texts] == [r"from \$^\$"]
    program("docs/results.py").learning_curves({"a$^$b": [[(1, 3.0), (10, 1.2)]]}, "bits/dim")
    assert [text.get_text() for text in axes[-1].figure.legends[0].get_texts()] == [
        r"a\$^\$b: 1.200"
    ]


@pytest.mark.parametrize(
    "log",
    [
        [],
        LOG[:1],
        [{"step": 1, "seconds": 1.0, "validation_nll": 2.0, "standard_error": None}],
        [{"step": 1, "seconds": 1.0, "nll": None}],
        [{"step": 1, "seconds": 1.0, "event": "resumed"}],
    ],
)
def test_a_short_log_is_drawn_too(log, tmp_path):
    figures.learning_curve(log, "nats/site", tmp_path / "curve.png")
    assert Image.open(tmp_path / "curve.png").size == (1280, 720)
