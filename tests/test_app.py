"""What the explorer does without a browser: every action, its Python, mistakes, uploads."""

import contextlib
import io
import json
import random
import shutil
import socket
import subprocess
import sys
import threading
import time
from base64 import b64decode
from types import SimpleNamespace
from typing import ClassVar

import gradio as gr
import numpy as np
import pytest
import torch
from PIL import Image

from flows import BIJECTORS, OPTIONS, by_day, random_flow
from rgflow.analysis.fields import receptive_fields, sites_of
from rgflow.analysis.traversals import prior_scale
from rgflow.app import models as app_models
from rgflow.app import views
from rgflow.app.layout import opened_picture, save_image, save_latents, take_picture
from rgflow.app.models import ModelStore
from rgflow.app.page import Page
from rgflow.app.panel import Panel
from rgflow.app.panels import PANELS, mixing, panels
from rgflow.app.panels import latents as moving
from rgflow.app.panels import repair as repairing
from rgflow.app.server import make_app
from rgflow.app.sessions import FairLock, SessionStore
from rgflow.app.views import choice, rgb
from rgflow.app.workspace import MAX_UNDO, Workspace
from rgflow.cli import main
from rgflow.figures import to_bytes
from rgflow.latents import Latents
from runs import small_run
from strange_files import png, zeros

SMALL = {
    "affine": {"height": 16, "width": 16},
    "windows": OPTIONS["window-levels"] | {"channels": 3, "width": 16},
    "grey-once": {
        **BIJECTORS["coarse-to-fine"], "disentanglers": False, "depth": 1, "channels": 1,
        "pixels": "marginal",
    },
    "real-nvp": {"geometry": "squeeze", "levels": 2, "hidden": 6},
}  # fmt: skip
MODELS = [*SMALL, "msds1-best"]
repaired = pytest.mark.parametrize("work", ["affine", "grey-once"], indirect=True)
"""By a climb of cones, and by particles."""


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Small random flows by their folders, and one of the package by its name."""
    found = {"msds1-best": "msds1-best"}
    for name, options in SMALL.items():
        found[name] = str(tmp_path_factory.mktemp("models") / name)
        random_flow(torch.float32, **options).save_pretrained(found[name])
    store = ModelStore("msds1-best")
    return SimpleNamespace(names=found, open=lambda name: Workspace(store.open(found[name])))


@pytest.fixture(params=SMALL)
def work(models, request, monkeypatch):
    """A workspace of each model."""
    monkeypatch.setattr(repairing, "STEPS", 6)
    monkeypatch.setattr(repairing, "DRAWS", 4)
    monkeypatch.setattr(repairing, "PARTICLES", 8)
    monkeypatch.setattr(repairing, "CHAINS", 3)
    return models.open(request.param)


@pytest.fixture
def small(models):
    """A workspace of a small flow."""
    return models.open("affine")


def addresses(work, count=3):
    """A latent of the coarsest level, then some of the finest."""
    levels, channel = work.opened.flow.lattice.site_levels, work.opened.flow.config.channels - 1
    coarse = np.argwhere(levels == levels.max())[:1]
    fine = np.argwhere(levels == 0)[: count - 1]
    sites = np.concatenate([coarse, fine]).tolist()
    return [(int(levels[i, j]), i, j, channel) for i, j in sites]


def hole(work, edge=2):
    """A mask of a few pixels."""
    mask = np.zeros(work.opened.flow.image_shape[1:], dtype=bool)
    mask[1 : 1 + edge, 1 : 1 + edge] = True
    return mask


def picture(work, seed=0):
    """Noise in the size of the flow."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, work.opened.flow.image_shape, generator=generator, dtype=torch.uint8)


# ------------------------------------------------------------------------------- actions


def test_samples(work):
    levels = work.opened.flow.levels
    drawn = work.opened.sampled([3, 4], [0.5] * (levels - 1) + [0.9])
    work.take(drawn[1])
    assert [one.caption for one in drawn] == ["sample 3", "sample 4"]
    alone = work.opened.sampled([4], [0.5] * (levels - 1) + [0.9])[0]
    assert torch.equal(alone.pixels, drawn[1].pixels)  # whatever else is drawn with it


def test_latents_moved(work):
    for address in addresses(work):
        moving.choose(work, address)
    moving.set_values(work, [1.25, -0.5, 2.0])
    assert moving.values(work) == pytest.approx([1.25, -0.5, 2.0])
    assert work.image.edited == "latents moved"
    moving.set_values(work, [1.25, -3.0, 2.0])
    assert moving.values(work) == pytest.approx([1.25, -3.0, 2.0])


def test_levels(work):
    top = work.opened.flow.levels - 1
    for level in {0, top}:
        before = work.image
        moving.zero(work, level)
        assert not work.image.latents.levels[level].any()
        zeroed = work.image
        moving.redraw(work, level, 7, 0.8)
        for other, z in enumerate(work.image.latents.levels):
            assert torch.equal(z, zeroed.latents.levels[other]) == (other != level)
        assert work.undo()
        assert work.undo()
        assert work.image is before


def test_mixtures(work):
    levels = work.opened.flow.levels
    mixing.set_second(work, work.opened.sampled([6], 0.8)[0])
    first, second = work.image, work.state.second
    mixed = mixing.mixtures(
        work, [[0] * levels, [1] * levels, [1] * (levels - 1) + [0.25], [0.5] * levels]
    )
    assert torch.equal(mixed[0].pixels, first.pixels)
    assert torch.equal(mixed[1].pixels, second.pixels)
    for one in mixed[2:]:
        work.change(one)
    work.undo()
    work.undo()
    mixing.exchange(work)
    assert work.image is second
    assert work.state.second is first


def test_shares_are_of_the_first_image(work):
    levels = work.opened.flow.levels
    first, second = work.image, work.opened.sampled([6], 0.8)[0]
    mixing.set_second(work, second)
    mixing.preview(work, [1.0] + [0.0] * (levels - 1))
    assert work.image is first
    work.apply_pending()  # as before an export, or Python
    half = work.image
    assert work.state.shares == (1.0, *[0.0] * (levels - 1))
    mixing.set_shares(work, [1.0] * levels)
    assert torch.equal(work.image.pixels, second.pixels)
    assert mixing.first(work) is first
    work.undo()
    assert work.image is half
    mixing.set_shares(work, [0.0] * levels)
    assert work.image is first
    mixing.set_shares(work, [0.5] * levels)
    mixing.exchange(work)
    assert work.image is second
    assert work.state.second is first
    mixing.set_shares(work, [0.5] * levels)
    moving.zero(work, 0)  # from here on it is an image like any other
    assert mixing.first(work) is work.image
    assert work.state.shares == ()


def test_own_images(work):
    image = picture(work)
    work.take(work.encode(image, "mine.png"))
    assert torch.equal(work.image.pixels, image)  # through its latents
    moving.choose(work, addresses(work)[0])
    moving.set_values(work, [0.5])
    mixing.set_second(work, work.encode(picture(work, 1), "other.png"))
    work.change(mixing.mixtures(work, [[0.5] * work.opened.flow.levels])[0])


@repaired
def test_repairs(work):
    image = picture(work)
    work.take(work.encode(image, "mine.png"))
    repairing.paint(work, hole(work))
    start = work.state
    repairing.repair(work, 3, lambda: False)
    found, known = work.state.completions, ~torch.from_numpy(hole(work))
    for one in found:
        assert torch.equal(one.pixels[:, known], image[:, known])
    assert len({one.pixels.numpy().tobytes() for one in found}) == len(found) == 3
    likely = work.opened.flow.log_prob(torch.stack([one.pixels for one in found]))
    assert likely.tolist() == pytest.approx(sorted(likely.tolist(), reverse=True), rel=1e-4)
    assert work.image is found[0]
    repairing.accept(work, found, 1)
    assert work.image is found[1]
    assert work.state.completions == found
    assert work.undo()
    assert work.undo()
    assert work.state is start
    work.redo()
    moving.choose(work, addresses(work)[0])
    moving.set_values(work, [0.25])
    assert work.state.completions == ()  # which are of another image


@repaired
def test_a_repair_that_is_stopped(work):
    def steps(stop):
        """How often a repair asks whether to stop, if it is told to after so many times."""
        calls = []
        repairing.paint(work, hole(work, 6))
        repairing.repair(work, 1, lambda: calls.append(0) or len(calls) >= stop)
        assert work.image is work.state.completions[0]
        return len(calls)

    assert steps(99999) > 2 * steps(1)


def test_others_go_on_during_a_repair(models, monkeypatch):
    monkeypatch.setattr(repairing, "DRAWS", 4)
    sessions = SessionStore(ModelStore(models.names["affine"]))
    begun = threading.Event()

    def stopping():
        begun.set()
        with sessions.computing.released():
            return work.stopping

    def run():
        with sessions.using("me"):
            repairing.repair(work, 0, stopping)

    with sessions.using("me") as work:
        repairing.paint(work, hole(work))
    thread = threading.Thread(target=run)
    thread.start()
    begun.wait()
    with sessions.using("other") as other:
        other.sample([5], 0.8)
    assert not work.state.completions
    sessions.stop("me")
    thread.join()
    assert len(work.state.completions) == 1  # of the first climb


def test_a_picture_that_is_no_longer_there_is_not_chosen():
    def event(index, caption):
        return SimpleNamespace(index=index, caption=caption)

    shown = ["sample 7", "sample 8"]
    assert choice(event(1, "sample 8"), ["a", "b"], shown) == "b"
    for index, caption in ((1, "sample 1"), (5, "sample 5")):
        with pytest.raises(ValueError, match="one of those shown before") as error:
            choice(event(index, caption), ["a", "b"], shown)
        sentence(error)


@pytest.mark.parametrize("work", by_day(MODELS, SMALL), indirect=True)
def test_a_chain_of_everything(work):
    random.seed(0)
    levels = work.opened.flow.levels
    mixing.set_second(work, work.opened.sampled([9], 0.7)[0])
    for address in addresses(work):
        moving.choose(work, address)
    moving.set_values(work, [0.5, 0.5, 0.5])
    actions = [
        lambda: work.sample([random.randrange(99)], 0.8),
        lambda: moving.set_values(work, [random.uniform(-2, 2) for _ in range(3)]),
        lambda: moving.zero(work, random.randrange(levels)),
        lambda: moving.redraw(work, random.randrange(levels), 4, 0.6),
        lambda: work.change(mixing.mixtures(work, [[random.random()] * levels])[0]),
        lambda: mixing.exchange(work),
        lambda: work.undo(),
    ]
    images = []
    for _ in range(25):
        random.choice(actions)()
        images.append(work.image.pixels)
        with torch.no_grad():  # what exported latents give
            again = to_bytes(work.opened.exact.decode(work.image.latents))[0]
        assert torch.equal(work.image.pixels, again)
    while work.undo():
        pass
    while work.redo():
        pass
    assert torch.equal(work.image.pixels, images[-1])


# ------------------------------------------------------------------------------- previews, undo


def test_a_preview_is_the_full_decode(work):
    flow = work.opened.exact
    for address in addresses(work):
        moving.choose(work, address)
    for values in ([0.0, 0.0, 0.0], [3.0, -2.0, 0.5], [-6.0, 6.0, 6.0]):
        z = work.image.latents
        for address, value in zip(work.state.chosen, values, strict=True):
            z = z.set(address, value * prior_scale(work.opened.flow))
        with torch.no_grad():
            assert torch.equal(moving.preview(work, values), to_bytes(flow.decode(z))[0])
    before = work.revision
    work.apply_pending()
    assert work.revision == before + 1
    with torch.no_grad():
        assert torch.equal(work.image.pixels, to_bytes(flow.decode(z))[0])


def test_sliders_that_were_moved_are_settled_once(small):
    address = addresses(small)[0]
    moving.choose(small, address)
    moving.preview(small, [1.0])
    moving.preview(small, [2.5])
    assert small.undoable[0] == 1  # previews leave no trace
    small.apply_pending()
    small.apply_pending()
    assert small.undoable[0] == 2
    assert moving.values(small) == pytest.approx([2.5])
    slider_revision = small.slider_revision
    moving.preview(small, [2.0])
    small.apply_pending()
    assert small.slider_revision == slider_revision  # sliders know where they are
    moving.preview(small, [9.0])
    small.undo()  # forgets what is pending
    assert small.slider_revision != slider_revision
    small.apply_pending()
    assert moving.values(small) == pytest.approx([2.5])


def test_what_depends_on_nothing_that_changed_isnt_sent_again(small):
    page = Page(SessionStore(ModelStore("msds1-paper-small")))
    with gr.Blocks():
        page.show([gr.Number()], lambda work: [work.revision], lambda work: work.level)
        page.show([gr.Number()], lambda work: [work.revision])
    assert page.updates(small) == [0, 0]
    moving.choose(small, addresses(small)[0])
    assert page.updates(small) == [gr.skip(), 1]
    small.view.sent.clear()
    assert page.updates(small) == [1, 1]


def test_sliders_that_stay_move_nothing(small):
    for address in addresses(small):
        moving.choose(small, address)
    before = small.image.latents
    values = [round(value, 4) for value in moving.values(small)]  # as they are shown
    moving.set_values(small, values)
    assert small.image.latents is before
    moving.set_values(small, [values[0], values[1] + 1, values[2]])
    assert (small.image.latents.flat() - before.flat()).count_nonzero() == 1


def test_undo_and_redo_restore_exactly(small):
    first = small.state
    states = [first]
    moving.choose(small, addresses(small)[0])
    states.append(small.state)
    moving.set_values(small, [2.0])
    states.append(small.state)
    repairing.paint(small, hole(small))
    states.append(small.state)
    mixing.set_second(small, small.opened.sampled([8], 1.0)[0])
    states.append(small.state)
    moving.zero(small, 0)
    states.append(small.state)
    for state in reversed(states[:-1]):
        assert small.undo()
        assert small.state is state
    assert not small.undo()
    for state in states[1:]:
        assert small.redo()
        assert small.state is state
    assert not small.redo()
    small.undo()
    moving.redraw(small, 0, 3, 0.8)  # what was undone is gone
    assert not small.redo()
    for k in range(MAX_UNDO + 9):
        moving.choose(small, (0, 0, 1, k % 3))
    assert small.undoable == (MAX_UNDO, 0)


def test_latents_are_called_by_what_they_go_with(models, tmp_path):
    folder = shutil.copytree(models.names["affine"], tmp_path / "named")
    plain = Workspace(ModelStore(str(folder)).open(str(folder)))
    *others, weakest = moving.shown_latents(plain)
    level, i, j, _ = weakest
    for text in ("[", "[1]", '{"hair": 3}', '{"hair": [[9, 0, 0, 0]]}', '{"hair": [[0, 0, 0, 7]]}'):
        (folder / "names.json").write_text(text)
        assert not Workspace(ModelStore(str(folder)).open(str(folder))).opened.names
    (folder / "names.json").write_text(json.dumps({"hair": [weakest]}))
    work = Workspace(ModelStore(str(folder)).open(str(folder)))
    assert moving.shown_latents(work) == [weakest, *others]
    words, short = views.names(work, weakest)
    assert words.startswith(f"hair: level {level}, row {i}, column {j}")
    assert short == "hair"
    assert views.names(work, others[0]) == views.names(plain, others[0])


def test_fields_of_many_latents_are_those_of_some_sites(models, tmp_path, monkeypatch):
    folder = shutil.copytree(models.names["windows"], tmp_path / "many")
    (folder / "names.json").write_text(json.dumps({"hair": [[0, 0, 3, 2]]}))
    for name, value in {"MAX_WALKS": 15, "KEPT_FIELDS": 2, "FIELD_DRAWS": 1}.items():
        monkeypatch.setattr(app_models, name, value)
    work = Workspace(ModelStore(str(folder)).open(str(folder)))
    work.view.panel, work.view.level = "Latents", 0
    assert "the strongest of 15 of all 288" in moving.Latents().atlas_of_level(work)[2]
    assert moving.shown_latents(work)[0] == (0, 0, 3, 2)
    work.view.pixel = (3, 4)
    assert "of the 15 next to it" in moving.Latents().atlas_of_level(work)[2]
    near = work.opened.fields(0, (3, 4)).windows[0].addresses
    sites = {tuple(site) for site in near[:, 1:3].tolist()}
    assert sites == {(3, 4), (3, 3), (3, 5), (2, 3), (2, 5)}
    for address in ((0, 3, 4, 0), (0, 7, 15, 1)):  # found already, and not yet
        sites = sites_of(work.opened.flow, [address])
        alone = receptive_fields(work.opened.flow, draws=1, temperature=0.8, sites=sites)
        torch.testing.assert_close(work.opened.field(address), alone.field(address))
    assert len(work.opened._fields) == 2


@pytest.mark.parametrize("name", ["affine", "grey-once"])
def test_examples_of_a_model_are_there_to_begin_with(models, tmp_path, name):
    folder = shutil.copytree(models.names[name], tmp_path / "shown")
    height, width = models.open(name).image.pixels.shape[1:]
    mode, channels = ("L", ()) if name == "grey-once" else ("RGB", (3,))
    pixels = np.random.default_rng(0).integers(256, size=(height, 3 * width, *channels))
    Image.fromarray(pixels.astype(np.uint8), mode).save(folder / "examples.png")
    work = Workspace(ModelStore(str(folder)).open(str(folder)))
    assert [one.caption for one in work.state.samples] == ["example 1", "example 2", "example 3"]
    assert work.image is work.state.samples[0]
    second = work.state.samples[1].pixels.permute(1, 2, 0).numpy()
    assert (second.squeeze() == pixels[:, width : 2 * width]).all()
    for damaged in (b"words", png(width + 1, height)):
        (folder / "examples.png").write_bytes(damaged)
        assert not Workspace(ModelStore(str(folder)).open(str(folder))).state.samples


def test_only_so_many_latents_have_sliders(small):
    sites = [(0, 0, 1, c) for c in range(3)] + [(0, 1, 0, c) for c in range(3)]
    for address in sites:
        moving.choose(small, address)
    assert small.state.chosen == tuple(sites[-moving.MAX_SLIDERS :])
    moving.choose(small, sites[3])
    assert small.state.chosen == (*sites[2:3], *sites[4:])


# ------------------------------------------------------------------------------- mistakes


def sentence(error):
    """What an error says, which has to be one sentence that says what was expected."""
    said = str(error.value)
    assert said.startswith("Expected ")
    assert said.endswith(".")
    assert "\n" not in said
    assert ". " not in said
    return said


def test_mistakes_are_told_in_one_sentence(small, models, tmp_path):
    with pytest.raises(ValueError, match="second image") as error:
        mixing.mixtures(small, [[0.5, 0.5]])
    sentence(error)
    with pytest.raises(ValueError, match="nothing is marked") as error:
        repairing.repair(small, 0, lambda: False)
    sentence(error)
    store = ModelStore("msds1-best")
    with pytest.raises(FileNotFoundError, match="nearest: msds1-best") as error:
        store.open("msds1-bets")
    sentence(error)
    fields = small_run(tmp_path / "fields", pixels=None)
    with pytest.raises(ValueError, match="real-valued fields") as error:
        store.open(str(fields))
    sentence(error)
    assert "msds1-bets" not in store.names
    with pytest.raises(ValueError, match="can reach this one") as error:
        ModelStore("msds1-best", folders=False).open(str(fields))


def test_a_run_folder_is_a_model_too(tmp_path):
    store = ModelStore(str(small_run(tmp_path / "run")))
    work = Workspace(store.open(store.first))
    assert "bits/dim" in work.likelihood()


# ------------------------------------------------------------------------------- many people


def test_sessions_have_workspaces_of_their_own(models, monkeypatch):
    monkeypatch.setattr("rgflow.app.sessions.MAX_SESSIONS", 3)
    sessions = SessionStore(ModelStore(models.names["affine"]))

    def of(session):
        with sessions.using(session) as work:
            return work

    one, two = of("one"), of("two")
    moving.zero(one, 0)
    assert one is not two
    assert one.opened is two.opened  # each model is loaded once
    assert two.undoable == (0, 0)
    assert of("one") is one
    of("three")
    of("four")  # two was idle longest
    assert len(sessions) == 3
    assert of("one") is one
    assert of("two") is not two
    one.open(sessions.models.open(models.names["grey-once"]))
    assert of("two").opened is two.opened


def test_whoever_leaves_may_come_back(models, monkeypatch):
    sessions = SessionStore(ModelStore(models.names["affine"]))
    with sessions.using("one") as one:
        pass
    with sessions.using("two") as two:
        pass
    sessions.disconnect("one")
    sessions.disconnect("never was")
    assert len(sessions) == 1
    assert one.stopping
    assert not two.stopping
    with sessions.using("one") as again:  # the connection had only dropped
        assert again is one
    assert len(sessions) == 2
    monkeypatch.setattr("rgflow.app.sessions.REMEMBERED_SECONDS", -1)
    sessions.disconnect("one")
    with sessions.using("one") as again:
        assert again is not one
    sessions.stop_all()
    assert two.stopping


def test_a_page_opened_again_goes_on(models):
    sessions = SessionStore(ModelStore(models.names["affine"]))
    sessions.connect("one", "page of one")
    with sessions.using("one") as work:
        pass
    sessions.disconnect("one")
    sessions.connect("two", "page of two", "page of one")
    with sessions.using("two") as again:
        assert again is work
    work.stopping = False
    sessions.connect("three", "page of three", "page of two")  # while the other is open
    assert work.stopping  # so that nobody waits for its repair
    work.stopping = False
    sessions.disconnect("two")
    assert len(sessions) == 1
    assert not work.stopping
    with sessions.using("three") as again:
        assert again is work
    for before in ("", "page of one", "guessed"):  # no page of anybody
        sessions.connect("four", "page of four", before)
        with sessions.using("four") as other:
            assert other is not work


def test_a_page_finds_its_own_after_its_server_was_killed(models, tmp_path, monkeypatch):
    def opened(page, before=""):
        store = SessionStore(ModelStore(models.names["affine"]), tmp_path)
        store.connect("me", page, before)
        return store

    def seen(work):
        """Everything in the history, from the first state on."""
        found = []
        while work.undo():
            pass
        while True:
            state = work.state
            images = [(one.pixels.tolist(), one.latents.flat().tolist(), one.caption, one.edited)
                      for group in state.images for one in group]  # fmt: skip
            found.append([state.opened.name, images, state.mask.tolist(), state.shares,
                          state.chosen, len(state.samples), len(state.completions)])  # fmt: skip
            if not work.redo():
                return found

    store = opened("first")
    with store.using("me") as work:
        work.sample([3, 4], 0.8)
        mixing.set_second(work, work.state.samples[1])
        mixing.set_shares(work, [1.0] + [0.0] * (work.opened.flow.levels - 1))
        repairing.paint(work, hole(work))
        repairing.accept(work, [work.encode(work.image.pixels.flip(1), "repaired")])
        moving.choose(work, addresses(work)[0])
        moving.set_values(work, [1.5])
        work.open(store.models.open(models.names["grey-once"]))
    with store.using("me") as work:
        work.undo()
    with opened("second", "first").using("me") as again:
        assert again.undoable == (7, 1)
        assert again.image.edited == "latents moved"
        found = seen(again)
        assert found == seen(work)
        while again.undoable[0] > 3:
            again.undo()
        again.sample([5], 0.8)
    with opened("third", "second").using("me") as once_more:
        assert seen(once_more) == [*found[:4], *seen(again)[4:]]
    for before in ("first", "guessed"):
        with opened("another", before).using("me") as other:
            assert other.undoable == (0, 0)
    (folder,) = tmp_path.iterdir()
    next(folder.glob("*.safetensors")).write_bytes(b"")
    store = opened("fourth", "guessed,third")
    with store.using("me") as work:
        assert 0 < len(seen(work)) < len(found)  # without the states of that image
        work.sample([6], 0.8)
        expected = seen(work)
    monkeypatch.setattr("rgflow.app.sessions.MAX_SESSIONS", 1)
    store.connect("you", "another")
    with store.using("you"):
        pass
    with store.using("me") as again:
        assert again is not work  # but read again
        assert seen(again) == expected
    for path in tmp_path.rglob("*.safetensors"):
        path.write_bytes(b"")
    with opened("fifth", "fourth").using("me") as other:  # no state can be read
        assert other.undoable == (0, 0)
    monkeypatch.setattr("rgflow.app.sessions.KEPT_SECONDS", -1)
    opened("sixth")
    assert not list(tmp_path.iterdir())


def test_one_model_after_another_can_be_undone(small, models):
    moving.choose(small, addresses(small)[0])
    moving.set_values(small, [1.5])
    small.view.pixel = (9, 9)
    before, grey = small.state, models.open("grey-once").opened
    small.open(grey)
    assert small.opened is grey
    assert small.state.chosen == ()
    assert small.view.pixel is None
    assert small.undo()
    assert small.state is before
    assert small.redo()
    assert small.opened is grey


def test_weights_that_have_changed_are_loaded_again(tmp_path):
    folder = tmp_path / "model"
    flow = random_flow(torch.float32, **SMALL["affine"])
    flow.save_pretrained(folder)
    store = ModelStore(str(folder))
    first = store.open(str(folder))
    assert store.open(str(folder)) is first
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter *= 1.1
    flow.save_pretrained(folder)
    second = store.open(str(folder))
    assert second is not first
    assert not torch.equal(second.sampled([0], 1.0)[0].pixels, first.sampled([0], 1.0)[0].pixels)


def test_sessions_from_many_threads(models):
    sessions = SessionStore(ModelStore(models.names["affine"]))
    found = {}

    def draw(k):
        for _ in range(5):
            with sessions.using(f"session {k}") as work:
                work.sample([k], 1.0)
        found[k] = work.image

    threads = [threading.Thread(target=draw, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[k].caption for k in range(8)] == [f"sample {k}" for k in range(8)]
    opened = sessions.models.open(sessions.models.first)
    for k in range(8):
        assert torch.equal(opened.sampled([k], 1.0)[0].pixels, found[k].pixels)


def test_turns_are_taken_in_order():
    turns, order, threads = FairLock(), [], []

    def act(k):
        with turns:
            order.append(k)
            time.sleep(0.001)

    with turns:
        for k in range(30):
            threads.append(threading.Thread(target=act, args=(k,)))
            threads[-1].start()
            while turns._given <= k + 1:
                time.sleep(0.001)
    for thread in threads:
        thread.join()
    assert order == list(range(30))
    with turns:  # nobody is left in line
        pass


# ------------------------------------------------------------------------------- uploads


def small_png():
    """A picture in colour."""
    to = io.BytesIO()
    noise = np.random.default_rng(0).integers(256, size=(60, 80, 3), dtype=np.uint8)
    Image.fromarray(noise).save(to, "PNG")
    return to.getvalue()


BAD = {
    "text": (lambda: b"not a picture at all\n" * 9, "PNG, JPEG or WebP"),
    "empty": (lambda: b"", "PNG, JPEG or WebP"),
    "svg": (
        lambda: b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
        "PNG, JPEG or WebP",
    ),
    "gif": (lambda: b"GIF89a" + bytes(40), "PNG, JPEG or WebP"),
    "100-megapixels": (lambda: zeros(10_000, 10_000), "at most 16 megapixels"),
    "bomb": (lambda: png(60_000, 60_000), "at most 16 megapixels"),
    "truncated": (lambda: small_png()[:9000], "damaged"),
    "header-only": (lambda: small_png()[:20], "PNG, JPEG or WebP"),
    "no-data": (lambda: png(100, 100), "damaged"),
    "noise-inside": (lambda: png(100, 100, b"no zlib stream"), "damaged"),
}


@contextlib.contextmanager
def little_memory(megabytes):
    """A check that not much memory is taken at any time, where the system tells."""
    try:
        with open("/proc/self/clear_refs", "w") as reset:
            reset.write("5")  # the peak begins anew
    except OSError:
        yield
        return

    def peak():
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) / 1024 for line in status if line[:5] == "VmHWM")

    before = peak()
    yield
    assert peak() - before < megabytes


@pytest.mark.parametrize("name", BAD)
@pytest.mark.filterwarnings("error", "ignore::PIL.Image.DecompressionBombWarning")
def test_files_that_are_no_pictures(name, tmp_path):
    make, words = BAD[name]
    path = tmp_path / "upload.png"
    path.write_bytes(make())
    with little_memory(8), pytest.raises(ValueError, match=words) as error:
        opened_picture(path)
    assert str(tmp_path) not in sentence(error)  # which is nobody's business


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_pictures_of_any_size_and_mode(kind, models, tmp_path):
    path = tmp_path / "mine.picture"
    for name in ("affine", "grey-once"):
        work = models.open(name)
        for mode, size in (("RGB", (80, 60)), ("L", (3, 200)), ("RGB", (1, 1))):
            Image.new(mode, size, "#5a5a5a").save(path, kind)
            take_picture(work, str(path))
            whole = size == (1, 1)
            assert work.image.caption == "mine.picture" + ("" if whole else ", its centre")
            assert work.image.pixels.shape == work.opened.flow.image_shape
            assert (work.image.pixels.int() - 90).abs().max() <= 2


def test_the_centre_of_a_picture_is_taken(small, tmp_path):
    values = np.zeros((32, 128), dtype=np.uint8)
    values[:, 48:80] = 200
    Image.fromarray(values).save(tmp_path / "wide.png")
    take_picture(small, str(tmp_path / "wide.png"))
    assert small.image.pixels.float().mean() > 190


def test_saved_files(work, tmp_path):
    image, latents = (json.loads(save(work)) for save in (save_image, save_latents))
    assert [image["name"], latents["name"]] == ["image.png", "latents.safetensors"]
    large = np.asarray(Image.open(io.BytesIO(b64decode(image["data"]))).convert("RGB"))
    assert (large[::8, ::8] == rgb(work.image.pixels)).all()
    (tmp_path / "latents").write_bytes(b64decode(latents["data"]))
    with torch.no_grad():
        again = to_bytes(work.opened.exact.decode(Latents.load(tmp_path / "latents")))[0]
    assert torch.equal(again, work.image.pixels)


# ------------------------------------------------------------------------------- own panels


class Bright(Panel):
    """A panel that is no part of the package."""

    title = "Bright & dark"
    help = "How bright the image is."
    hints: ClassVar = {"mean": "The mean of all pixels, </script> included."}

    def build(self, page):
        mean = gr.HTML(elem_id="mean")
        page.show([mean], lambda work: [f"<p>Mean {work.image.pixels.float().mean():.1f}</p>"])


class Nameless(Panel):
    pass


def test_panels_of_ones_own(models):
    found = panels([f"{__name__}.Bright"])
    assert [one.title for one in found] == [*PANELS, "Bright & dark"]
    assert found[-1].elem_id == "tab-bright-dark"
    testing = pytest.importorskip("fastapi.testclient")
    app = make_app(models.names["affine"], own_panels=[f"{__name__}.Bright"])
    with testing.TestClient(app, "http://localhost") as client:
        page = client.get("/latents/").text
        config = client.get("/latents/config").json()
    assert "The mean of all pixels" in page
    assert "</script> included" not in page
    labels = [one["props"].get("label") for one in config["components"] if one["type"] == "tabitem"]
    assert labels == [*PANELS, "Bright & dark"]
    for path, words in (
        ("somewhere.Panel", "--trust somewhere.Panel"),
        (f"{__name__}.ModelStore", "a subclass of Panel"),
        (f"{__name__}.Nameless", "to have a title"),
    ):
        with pytest.raises(ValueError, match=words) as error:
            panels([path])
        assert str(error.value).startswith("Expected ")


# ------------------------------------------------------------------------------- command line


def test_help():
    found = subprocess.run(
        [sys.executable, "-m", "rgflow", "app", "--help"], capture_output=True, text=True
    )
    assert found.returncode == 0
    for words in ("--host", "--port", "--auth", "--threads", "Nothing leaves this machine"):
        assert words in " ".join(found.stdout.split())


def test_mistakes_on_the_command_line(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for arguments, message in (
            (["--port", "0"], "Expected --port to be"),
            (["--port", "70000"], "65535"),
            (["--port", "a"], "Expected --port to be"),
            (["--threads", "0"], "--threads to be"),
            (["--auth", "me"], "Expected --auth to be user:password"),
            (["--auth", ":"], "Expected --auth to be user:password"),
            (["--auth", "me:"], "Expected --auth to be user:password"),
            (["--prot", "7"], "nearest: --port"),
            (["--port", port], f"Expected to listen on 127.0.0.1, port {port}; Address already"),
            (["--host", "nowhere.invalid"], "Expected to listen on nowhere.invalid, port"),
            (["msds1-bets"], "there is none at msds1-bets"),
        ):
            assert main(["app", *arguments]) == 2, arguments
            said = capsys.readouterr().err
            assert message in said
            assert said.startswith("rgflow: Expected ")
            assert said.count("\n") == 1


def test_a_secret_is_not_told(capsys):
    assert main(["app", "--auth", "secret"]) == 2
    assert "secret" not in capsys.readouterr().err


def test_without_gradio(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert main(["app"]) == 2
    assert "pip install 'rgflow[app]'" in capsys.readouterr().err


# ------------------------------------------------------------------------------- the server


def test_health_and_passwords(models):
    testing = pytest.importorskip("fastapi.testclient")
    app = make_app(models.names["affine"], ("me", "pass"))
    with testing.TestClient(app, "http://localhost") as client:
        found = client.get("/health")
        assert found.headers["content-type"] == "application/json"
        assert found.json()["status"] == "ok"
        assert found.json()["sessions"] == 0
        for path, words in (("/latents/", "Receptive fields"), ("/photographs", "rgflow: photo")):
            for auth in (None, ("me", "guess"), ("", "pass")):
                assert client.get(path, auth=auth).status_code == 401
            assert words in client.get(path, auth=("me", "pass")).text
