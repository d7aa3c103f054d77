"""Where images are unlike those that a flow has learned: terms by place, references, masks."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from flows import CASES, REAL_NVP, random_flow, random_images
from pictures import shows
from rgflow import trained
from rgflow.figures.surprise import surprises
from rgflow.repair.surprise import (
    CEILING,
    EDGE_SHARE,
    FILE,
    Reference,
    Surprise,
    Tail,
    kept_reference,
    make_reference,
    surprise,
)
from rgflow.repair.terms import local_terms
from runs import program, small_run

RG = {name: options for name, options in CASES.items() if name not in REAL_NVP}


@pytest.fixture(scope="module")
def benchmark():
    """The program that compares detectors."""
    return program("benchmarks/detection.py")


@pytest.fixture(scope="module")
def stripes():
    """Images of stripes with a little noise: [N, 3, 16, 16]."""
    generator = torch.Generator().manual_seed(0)
    stripe = (torch.arange(16) % 4 < 2).long() * 120 + 40
    noise = torch.randint(8, (80, 3, 16, 16), generator=generator)
    return (stripe + noise).to(torch.uint8)


@pytest.fixture(scope="module")
def flow(stripes):
    """A flow that has not learned the stripes, but the values of their pixels."""
    made = random_flow(height=16, width=16, map="cube", conditioner="trunk", pixels="marginal")
    made.fit_pixels(stripes)
    return made


@pytest.fixture(scope="module")
def reference(flow, stripes):
    return make_reference(flow, stripes[:60])


class TestLocalTerms:
    @pytest.mark.parametrize("name", RG)
    def test_they_add_up_to_the_log_likelihood(self, name):
        flow = random_flow(**RG[name])
        images = random_images(flow, 3)
        with torch.no_grad():
            terms = local_terms(flow, images)
            torch.testing.assert_close(terms.total, flow.log_prob(images), rtol=1e-10, atol=1e-8)

    @pytest.mark.parametrize("name", ["default", "cube-marginal", "open", "window-photos"])
    def test_latents_are_those_of_the_encoding(self, name):
        flow = random_flow(**RG[name])
        images = random_images(flow, 2)
        with torch.no_grad():
            expected = flow.prior.log_prob(flow.encode(images).image()).sum(1)
            torch.testing.assert_close(local_terms(flow, images).latents, expected)

    @pytest.mark.parametrize(
        "name", ["cube-marginal", "cube-fields", "cube-shared-open", "window-photos"]
    )
    def test_levels_on_the_cube(self, name):
        flow = random_flow(**RG[name])
        images = random_images(flow, 2)
        with torch.no_grad():
            whole, parts = flow.terms(images), local_terms(flow, images)
        levels = [sum(block.sum((1, 2)) for block in layers) for layers in parts.blocks]
        torch.testing.assert_close(torch.stack(levels, 1), whole.prior + whole.log_det)

    @pytest.mark.parametrize("boundary", ["periodic", "open"])
    def test_a_block_knows_only_what_comes_to_it(self, boundary):
        flow = random_flow(boundary=boundary)
        first = random_images(flow, 1)
        second = first.clone()
        second[0, :, 5, 4] = 1.0
        with torch.no_grad():
            a, b = local_terms(flow, first), local_terms(flow, second)
        assert (a.pixels != b.pixels).nonzero().tolist() == [[0, 5, 4]]
        layers = flow.lattice.layers(0)
        mask = np.zeros((8, 8), dtype=bool)
        mask[5, 4] = True
        for layer, before, after in zip(layers, a.blocks[0], b.blocks[0], strict=True):
            assert ((before != after)[0].numpy() == layer.touched(mask)).all()
            mask = layer.spread(mask)

    def test_dequantisation_may_be_random(self):
        flow = random_flow()
        x8 = random_images(flow, 2).to(torch.uint8)
        with torch.no_grad():
            terms = local_terms(flow, x8, torch.Generator().manual_seed(5))
            expected = flow.log_prob(x8, torch.Generator().manual_seed(5))
        torch.testing.assert_close(terms.total, expected)

    def test_a_flow_without_blocks_is_refused(self):
        flow = random_flow(**REAL_NVP["real-nvp"])
        with pytest.raises(ValueError, match="Expected an RG-Flow.*RealNVP, which has no blocks"):
            local_terms(flow, random_images(flow, 1))
        with pytest.raises(ValueError, match="no blocks"):
            make_reference(flow, random_images(flow, 20))


class TestTail:
    def test_of_a_known_distribution(self):
        values = torch.distributions.Exponential(1.0).sample((200_000,))
        tail = Tail.of(-values)  # P(value > t) = exp(−t)
        asked = torch.tensor([0.1, 0.7, 2.0, 4.0, 9.0, 20.0])
        torch.testing.assert_close(tail.surprise(-asked), asked, rtol=0.05, atol=0.05)

    def test_below_is_the_inverse(self):
        tail = Tail.of(torch.randn(1000, dtype=torch.float64))
        for share in (0.9, 0.3, 0.05, 0.001):
            at = torch.tensor(tail.below(share), dtype=torch.float64)
            assert tail.surprise(at).item() == pytest.approx(-np.log(share))

    def test_what_is_no_number_is_as_odd_as_can_be(self):
        tail = Tail.of(torch.randn(100))
        found = tail.surprise(torch.tensor([-torch.inf, torch.nan, -1e30, torch.inf]))
        assert found.tolist() == [CEILING, CEILING, CEILING, 0]

    def test_of_numbers_that_are_all_alike(self):
        tail = Tail.of(torch.ones(50))
        assert tail.surprise(torch.tensor([1.5, 1.0])).max() <= 4 * np.log(2)
        assert tail.surprise(torch.tensor(0.9)) > 100


class TestReference:
    def test_saved_and_loaded(self, reference, flow, tmp_path):
        reference.save(tmp_path)
        assert Reference.load(tmp_path) == reference
        assert json.loads((tmp_path / FILE).read_text())["images"] == 60

    def test_where_nothing_can_be_written_it_is_used_all_the_same(self, reference, flow, stripes):
        assert kept_reference("/dev/null/model", flow, lambda: stripes[:60]) == reference

    def test_made_once_and_anew_for_other_weights(self, reference, flow, stripes, tmp_path):
        def never():
            raise AssertionError

        assert kept_reference(tmp_path, flow, lambda: stripes[:60]) == reference
        assert kept_reference(tmp_path, flow, never) == reference
        other = random_flow(
            height=16, width=16, seed=1, map="cube", conditioner="trunk", pixels="marginal"
        )
        with pytest.raises(ValueError, match="of other weights: make it anew"):
            surprise(other, stripes[:1], reference)
        anew = kept_reference(tmp_path, other, lambda: stripes[:20])
        assert (anew.images, Reference.load(tmp_path)) == (20, anew)

    def test_made_anew_for_other_pictures(self, reference, flow, stripes, tmp_path):
        def never():
            raise AssertionError

        for pictures in ("a", "b"):
            found = kept_reference(tmp_path, flow, lambda: stripes[:60], pictures=pictures)
            assert found == replace(reference, pictures=pictures)
            assert kept_reference(tmp_path, flow, never, pictures=pictures) == found
        assert kept_reference(tmp_path, flow, never, pictures=None) == found
        content = json.loads((tmp_path / FILE).read_text())
        del content["pictures"]  # as it was written before
        (tmp_path / FILE).write_text(json.dumps(content))
        assert Reference.load(tmp_path) == reference

    def test_pictures_of_a_folder_may_change_or_go(self, tmp_path):
        folder, random = tmp_path / "pictures", np.random.default_rng(0)

        def draw(count):
            for k in range(count):
                folder.mkdir(exist_ok=True)
                pixels = random.integers(256, size=(8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{k}.png")

        model = trained.load(str(small_run(tmp_path / "run", pixels="marginal")))
        draw(40)
        first = model.reference(f"folder:{folder}")
        assert model.reference(f"folder:{folder}") == first
        draw(60)
        second = model.reference(f"folder:{folder}")
        assert second.images > first.images
        assert second.highest != first.highest
        shutil.rmtree(folder)
        assert model.reference(f"folder:{folder}") == second
        (model.files / FILE).unlink()
        with pytest.raises(FileNotFoundError, match="Expected a folder of images"):
            model.reference(f"folder:{folder}")

    def test_of_terms_that_are_not_finite(self, stripes, tmp_path):
        broken = random_flow(height=16, width=16)
        with torch.no_grad():
            next(broken.parameters()).fill_(torch.nan)
        message = "Expected clean images with finite log-likelihoods; 20 of 20 have none"
        with pytest.raises(ValueError, match=message):
            kept_reference(tmp_path, broken, lambda: stripes[:20])
        assert not (tmp_path / FILE).exists()

    @pytest.mark.parametrize("content", ["", "[]", '{"format": 1}', '{"format": 7}', "{"])
    def test_damaged(self, content, tmp_path):
        (tmp_path / FILE).write_text(content)
        with pytest.raises(ValueError, match="isn't one, or is damaged"):
            Reference.load(tmp_path)

    def test_cut_short(self, reference, tmp_path):
        reference.save(tmp_path)
        content = json.loads((tmp_path / FILE).read_text())
        content["highest"]["quantiles"].pop()
        (tmp_path / FILE).write_text(json.dumps(content))
        with pytest.raises(ValueError, match="quantiles"):
            Reference.load(tmp_path)

    def test_missing(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=FILE):
            Reference.load(tmp_path)

    def test_too_few_images(self, flow, stripes):
        with pytest.raises(ValueError, match="at least 16 clean images, better hundreds; got 3"):
            make_reference(flow, stripes[:3])

    def test_progress(self, flow, stripes, monkeypatch):
        monkeypatch.setattr("rgflow.repair.surprise.IMAGES_AT_ONCE", 8)
        seen = []
        make_reference(flow, stripes[:20], progress=lambda *n: seen.append(n))
        assert seen == [(8, 20), (16, 20), (20, 20)]


class TestSurprise:
    @pytest.mark.parametrize("options", [{}, {"boundary": "open"}, {"height": 32}], ids=str)
    def test_finds_what_no_clean_image_has(self, options, benchmark):
        size = {"height": 16, "width": 16, **options}
        flow = random_flow(map="cube", conditioner="trunk", pixels="marginal", **size)
        shape = (60, 3, size["height"], 16)
        clean = torch.randint(90, 110, shape, generator=torch.Generator().manual_seed(0))
        clean = clean.to(torch.uint8)
        flow.fit_pixels(clean)
        reference = make_reference(flow, clean[:50])
        made = benchmark.corrupt(clean[50:], "noise", size=6)
        found = surprise(flow, made.images, reference)
        assert found.levels.shape == (10, flow.levels, *clean.shape[2:])
        torch.testing.assert_close(found.map, found.levels.sum(1))
        assert benchmark.roc_auc(found.map, made.masks).mean() > 0.95
        proposal = found.propose()
        covered = (proposal.masks & made.masks).sum() / made.masks.sum()
        assert covered > 0.9
        assert proposal.masks.mean() < 0.5

    def test_clean_images_are_unsurprising(self, flow, stripes, reference):
        found = surprise(flow, stripes[:60], reference)
        expected = 1 + 2 / 16 + 2 / 64 + 2 / 256  # of a site, and of the blocks above it
        assert found.map.mean() == pytest.approx(expected, abs=0.1)
        proposal = found.propose(false_alarms=1e-6)
        assert not proposal.masks.any()
        assert proposal.sentence(0).startswith("Nothing is odd: the highest surprise is ")
        assert "which 0.0001 % of clean images exceed" in proposal.sentence(0)

    def test_false_alarms_are_as_stated(self, flow, stripes, reference):
        found = surprise(flow, stripes[:60], reference)
        for share in (0.1, 0.25, 0.5):
            alarms = found.propose(share).masks.any((1, 2)).mean()
            assert alarms == pytest.approx(share, abs=0.05)
        with pytest.raises(ValueError, match="between 0 and 1; got 1"):
            found.propose(1.0)

    def test_batches_change_nothing(self, flow, stripes, reference, monkeypatch):
        whole = surprise(flow, stripes[:5], reference)
        monkeypatch.setattr("rgflow.repair.surprise.IMAGES_AT_ONCE", 2)
        torch.testing.assert_close(surprise(flow, stripes[:5], reference).levels, whole.levels)
        with pytest.raises(ValueError, match="Expected images of shape"):
            surprise(flow, stripes[:0], reference)


class TestProposal:
    def mask(self, field, reference):
        levels = torch.as_tensor(field)[None, None]
        return Surprise(levels=levels, reference=reference).propose().masks[0]

    def test_near_the_height_of_the_peak(self, reference):
        y, x = np.mgrid[:32, :40]
        field = 1 + 9.0 * ((abs(y - 8) < 4) & (abs(x - 10) < 4))
        field += 13.0 * np.exp(-((y - 22) ** 2 + (x - 30) ** 2) / 8)
        field[8, 10] = 1  # a hole
        mask = self.mask(field, reference)
        assert mask[4:13, 7:14].all()
        assert not mask[3:14, 15:19].any()
        wide = np.flatnonzero(mask[22, 20:])
        assert len(wide) == pytest.approx(2 * np.sqrt(8 * np.log(1 / EDGE_SHARE)) + 2, abs=1)
        assert mask.sum() < 9 * 9 + len(wide) ** 2

    def test_what_is_far_less_surprising_is_left_out(self, reference):
        field = torch.ones(16, 16)
        field[2:4, 2:4], field[10:12, 10:12] = 30.0, 5.0
        assert not self.mask(field, reference)[8:].any()
        field[2:4, 2:4] = 1.0
        assert self.mask(field, reference)[10:12, 10:12].all()

    @pytest.mark.parametrize("value", [torch.inf, torch.nan, CEILING])
    def test_what_is_infinitely_odd_is_odd(self, value, reference):
        field = torch.ones(1, 1, 16, 16)
        field[..., 5:8, 5:8] = value
        proposal = Surprise(levels=field, reference=reference).propose()
        assert proposal.masks[0, 5:8, 5:8].all()
        assert not proposal.masks[0, 10:].any()
        assert proposal.sentence(0).startswith("21 pixels are odd: surprise of up to 1000000.00")

    def test_an_image_that_is_odd_everywhere(self, reference):
        field = 9 + torch.rand(16, 16, generator=torch.Generator().manual_seed(0))
        assert self.mask(field, reference).all()


class TestCorruptions:
    @pytest.mark.parametrize("kind", ["noise", "constant", "other", "elsewhere"])
    def test_only_one_square_changes(self, kind, benchmark):
        x8 = torch.randint(256, (4, 3, 20, 24), generator=torch.Generator().manual_seed(0))
        x8 = x8.to(torch.uint8)
        before = x8.clone()
        made = benchmark.corrupt(x8, kind, size=10, seed=3)
        assert (x8 == before).all()
        assert (made.masks.sum((1, 2)) == 100).all()
        changed = (made.images != x8).any(1).numpy()
        assert not (changed & ~made.masks).any()
        assert changed.sum() > 350
        again = benchmark.corrupt(x8, kind, size=10, seed=3)
        assert (again.images == made.images).all()
        assert (benchmark.corrupt(x8, kind, size=10, seed=4).masks != made.masks).any()
        for image, mask, original in zip(made.images, made.masks, x8, strict=True):
            i, j = np.argwhere(mask)[0]
            patch = image[:, i : i + 10, j : j + 10]
            if kind == "constant":
                assert (patch == patch[:, :1, :1]).all()
            if kind == "other":
                assert any((patch == other[:, i : i + 10, j : j + 10]).all() for other in x8)
            if kind == "elsewhere":
                windows = original.unfold(1, 10, 1).unfold(2, 10, 1)
                same = (windows == patch[:, None, None]).all(-1).all(-1).all(0)
                ((a, b),) = same.nonzero().tolist()
                assert max(abs(a - i), abs(b - j)) >= 10

    def test_mistakes(self, benchmark):
        x8 = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
        with pytest.raises(ValueError, match="smaller squares than 10×10 for images of 16×16"):
            benchmark.corrupt(x8, "elsewhere")
        with pytest.raises(ValueError, match="smaller squares than 17×17"):
            benchmark.corrupt(x8, "noise", size=17)
        with pytest.raises(ValueError, match="at least two images"):
            benchmark.corrupt(x8, "other")
        with pytest.raises(ValueError, match="Expected uint8 images"):
            benchmark.corrupt(x8.float(), "noise")
        with pytest.raises(ValueError, match="kind of corruption"):
            benchmark.corrupt(x8, "blur")


class TestDetection:
    def test_area_against_all_pairs(self, benchmark):
        generator = torch.Generator().manual_seed(0)
        scores = torch.randint(5, (3, 4, 5), generator=generator).double()
        masks = torch.rand(3, 4, 5, generator=generator).numpy() < 0.4
        for k, area in enumerate(benchmark.roc_auc(scores, masks)):
            inside, outside = scores[k][masks[k]][:, None], scores[k][~masks[k]]
            wins = (inside > outside).double() + 0.5 * (inside == outside)
            assert area == pytest.approx(wins.mean().item())

    def test_where_no_area_is_known(self, flow, stripes, reference, benchmark):
        scores, masks = torch.rand(2, 4, 4), np.zeros((2, 4, 4), bool)
        masks[0, 1] = True
        for other in (False, True):
            masks[1] = other
            with pytest.raises(ValueError, match="got an image with none or all of them"):
                benchmark.roc_auc(scores, masks)
        with pytest.raises(ValueError, match="take smaller regions"):
            benchmark.detection(flow, reference, stripes[60:62], kinds=["noise"], size=16)
        alike = stripes[60:61].expand(3, -1, -1, -1)
        with pytest.raises(ValueError, match="got 'other', which leaves all of 3 images as they"):
            benchmark.detection(flow, reference, alike, kinds=["other"], size=6)

    def test_simple_detectors(self, benchmark):
        smooth = torch.arange(32.0).expand(3, 32, 32)[None] * 3 + 40
        made = benchmark.corrupt(smooth.to(torch.uint8), "noise", size=8)
        for detector in (benchmark.local_variance, benchmark.biharmonic_residual):
            assert benchmark.roc_auc(detector(made.images), made.masks)[0] > 0.95
        assert benchmark.local_variance(torch.full((1, 3, 16, 16), 7.0)).abs().max() < 1e-9
        slope = benchmark.biharmonic_residual(smooth)[:, 14:-14, 14:-14]  # far from the edges
        assert slope.max() < 1e-6

    def test_all_at_once(self, flow, stripes, reference, benchmark):
        (noise, other) = benchmark.detection(
            flow, reference, stripes[60:66], kinds=["noise", "other"], size=6
        )
        assert (noise.kind, noise.images, noise.noticed) == ("noise", 6, 1.0)
        assert set(noise.auc) == {
            "surprise", "surprise, level 0", "surprise, level 1", "surprise, level 2",
            "variance", "biharmonic",
        }  # fmt: skip
        assert noise.auc["surprise"].mean > 0.9
        assert noise.covered.mean > 0.8
        assert noise.changed > 0.99
        assert noise.overlap.mean <= noise.covered.mean
        assert noise.changed_auc["surprise"].mean == pytest.approx(
            noise.auc["surprise"].mean, abs=0.02
        )
        assert other.auc["surprise"].mean < noise.auc["surprise"].mean
        one, both = benchmark.detections([noise]), benchmark.detections([noise, other])
        assert one.width == both.width
        assert one.height < both.height


@pytest.mark.parametrize("channels", [1, 3])
def test_picture(channels, benchmark):
    flow = random_flow(channels=channels, height=16, width=16, pixels="marginal")
    clean = torch.randint(90, 110, (30, channels, 16, 16)).to(torch.uint8)
    flow.fit_pixels(clean)
    made = benchmark.corrupt(clean[:2], "constant", size=5)
    found = surprise(flow, made.images, make_reference(flow, clean))
    picture = surprises(made.images, found, found.propose(0.3), truth=made.masks, scale=3)
    colours = {tuple(pixel) for pixel in np.asarray(picture).reshape(-1, 3).tolist()}
    assert {(0xD6, 0x45, 0x45), (255, 255, 255)} <= colours
    nothing = replace(found, levels=found.levels * 0)
    blank = surprises(made.images, nothing, found.propose(0.3), truth=made.masks, scale=3)
    assert blank.size == picture.size
    assert all(shows(picture, image.expand(3, -1, -1), 3) for image in made.images)
