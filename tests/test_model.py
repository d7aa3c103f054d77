"""RG-Flow in every option: exact likelihoods, exact round trips, lossless encoding."""

import copy
import itertools
import json
import math
import sys
import threading
import warnings
from dataclasses import asdict, dataclass, replace
from itertools import pairwise

import numpy as np
import pytest
import skimage
import torch

from flows import BIJECTORS, CASES, MIXTURES, by_day, config, random_flow, random_images
from rgflow import (
    AffineMap,
    FlowConfig,
    Lattice,
    LosslessWarning,
    RGFlow,
    data,
    load_flow,
    make_flow,
)
from rgflow.analysis import receptive_fields
from rgflow.bijectors import Bijector, Logit, MapSpec, dequantize
from rgflow.config import Pixels, PriorKind
from rgflow.evaluation import evaluate
from rgflow.geometries import Blocks
from rgflow.local import LocalFlow
from rgflow.priors import Gaussian
from rgflow.repair.terms import local_terms


class Reversed(Bijector):
    """A bijector without parameters."""

    def __init__(self, spec: MapSpec) -> None:
        super().__init__((spec.dim,))

    def transform(self, x, context=None):
        return x.flip(1), x.new_zeros(len(x))

    def invert(self, y, context=None):
        return y.flip(1), y.new_zeros(len(y))


@pytest.fixture(params=by_day(CASES))
def flow(request):
    """A flow with every parameter random, in float64."""
    return random_flow(**CASES[request.param])


SOME = [*BIJECTORS, "stems", "edges", "shared-open", "real-nvp", "real-nvp-scales"]
few = pytest.mark.parametrize("flow", by_day(SOME), indirect=True)
"""Where one of each kind is enough."""


def jacobian(function, x, flow):
    if flow.config.checkpointing:  # which torch.func doesn't know
        # As many copies as variables: the i-th tells the i-th row.
        copies = x.expand(x.numel(), *x.shape).clone().requires_grad_()
        values = flow.encode(copies, dtype=torch.float64).flat()
        (matrix,) = torch.autograd.grad(values.diagonal().sum(), copies)
    else:
        matrix = torch.func.jacrev(function, chunk_size=512)(x)
    return matrix.reshape(x.numel(), x.numel())


# ---------------------------------------------------------------- exactness in every option


def test_round_trip(flow):
    x = random_images(flow, 4)
    z = flow.encode(x)
    # Where a density is nearly flat, a mixture's quantiles are less exact than its distribution.
    torch.testing.assert_close(flow.decode(z), x, rtol=1e-8, atol=1e-9)
    back = flow.encode(flow.decode(z))
    torch.testing.assert_close(back.flat(), z.flat(), rtol=1e-9, atol=1e-9)


def test_log_prob_is_the_priors_density_times_the_jacobian(flow):
    x = random_images(flow, 1)
    matrix = jacobian(lambda v: flow.encode(v[None], dtype=torch.float64).flat()[0], x[0], flow)
    log_det = torch.linalg.slogdet(matrix)[1]
    prior = flow.prior.log_prob(flow.encode(x).flat()).sum()
    torch.testing.assert_close(flow.log_prob(x)[0], prior + log_det, rtol=1e-9, atol=1e-8)
    terms = flow.terms(x)
    torch.testing.assert_close(terms.total, flow.log_prob(x), rtol=1e-11, atol=1e-9)
    torch.testing.assert_close(terms.prior.sum(), prior, rtol=1e-11, atol=1e-9)
    # The couplings do something: their log-determinants aren't those of the identity.
    assert sum(stage.log_det.abs().sum() for stage in flow.infer(flow.from_images(x)[0])) > 1


def test_decoding_gives_the_density_in_the_same_pass(flow):
    z = flow.encode(random_images(flow, 3), dtype=torch.float64)
    x, log_p = flow.decode_and_log_prob(z)
    torch.testing.assert_close(log_p, flow.log_prob(x), rtol=1e-9, atol=1e-8)
    drawn, log_p = flow.sample_and_log_prob(2, torch.Generator().manual_seed(0))
    again = flow.decode(flow.draw(2, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(drawn, again)
    assert log_p.isfinite().all()


def test_gradients_reach_every_parameter(flow):
    flow.train()
    (-flow(random_images(flow, 4)).mean()).backward()
    for name, parameter in flow.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


@few
def test_saved_and_loaded_is_identical(flow, tmp_path):
    for dtype in (torch.float64, torch.float32):
        flow.to(dtype).save_pretrained(tmp_path / "model")
        loaded = load_flow(tmp_path / "model")
        assert loaded.config == flow.config
        assert loaded.dtype == dtype
        x = random_images(flow, 3)
        assert torch.equal(loaded.log_prob(x), flow.log_prob(x))


@few
def test_any_batch_split_gives_the_same(flow):
    x = random_images(flow, 5)
    whole, z = flow.log_prob(x), flow.encode(x).flat()
    torch.testing.assert_close(torch.cat([flow.log_prob(p) for p in x.split(2)]), whole)
    parts = torch.cat([flow.encode(p).flat() for p in x.split(2)])
    torch.testing.assert_close(parts, z, rtol=1e-11, atol=1e-11)


def test_levels_while_encoding_and_generating_are_the_same(flow):
    x = random_images(flow, 2)
    for space in ("pixels", "flow"):
        up = flow.coarse(x, space=space)
        down = flow.coarse(flow.encode(x), space=space)
        assert len(up) == flow.levels
        for h, (a, b) in enumerate(zip(up, down, strict=True)):
            assert a.shape[2:] == (flow.config.height >> h, flow.config.width >> h)
            torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)
        assert all(b.shape[2] * 2 == a.shape[2] for a, b in pairwise(up))
    torch.testing.assert_close(flow.coarse(x)[0], x, rtol=1e-9, atol=1e-9)


# ---------------------------------------------------------------- what is known exactly


@pytest.mark.parametrize("name", [name for name in BIJECTORS if name not in MIXTURES])
@pytest.mark.parametrize("prior", ["laplace", "gaussian"])
def test_a_flow_with_identity_weights_has_exactly_the_priors_density(name, prior):
    flow = RGFlow(config(pixels=None, prior=prior, **BIJECTORS[name])).double()
    x = random_images(flow, 3)
    expected = flow.prior.log_prob(x).flatten(1).sum(1)
    torch.testing.assert_close(flow.log_prob(x), expected, rtol=1e-11, atol=1e-10)
    torch.testing.assert_close(flow.encode(x).image(), x, rtol=1e-9, atol=1e-10)


def test_an_untrained_flow_starts_at_known_bits_per_dim():
    flow = RGFlow(config(height=32, width=32, hidden=8))
    for name, expected in (("msds1", 9.53), ("msds2", 9.62)):
        x8 = torch.from_numpy(data.load(name, "train", count=400, progress=False).images.copy())
        log_prob = flow.log_prob(x8, torch.Generator().manual_seed(0))
        assert flow.unit(log_prob).mean().item() == pytest.approx(expected, abs=0.03)


def test_uniform_pixels_cost_8_bits():
    flow = RGFlow(config(pixels="marginal", **BIJECTORS["cube"])).double()
    bits = flow.unit(flow.log_prob(random_images(flow, 2)))
    torch.testing.assert_close(bits, torch.full_like(bits, 8.0))


def test_the_prior_cannot_change_the_likelihood_on_the_unit_cube():
    x = random_images(random_flow(), 3)
    values = [
        random_flow(**BIJECTORS["cube"], pixels="marginal", prior=prior).log_prob(x)
        for prior in ("laplace", "gaussian")
    ]
    torch.testing.assert_close(values[0], values[1], rtol=1e-13, atol=1e-10)


def test_weights_shared_across_levels():
    flow = random_flow(shared=True)
    separate = random_flow()
    assert sum(p.numel() for p in flow.parameters()) * 2 == sum(
        p.numel() for p in separate.parameters()
    )
    first, second = flow.steps[0].layers.bijectors, flow.steps[1].layers.bijectors
    assert first[0].bijector is second[0].bijector
    assert first[1].bijector is second[1].bijector


def test_checkpointing_changes_nothing():
    plain, saving = random_flow(), random_flow(checkpointing=True)
    x = random_images(plain, 3)
    for flow in (plain, saving):
        flow.train()
        (-flow(x).mean()).backward()
    for a, b in zip(plain.parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-12, atol=1e-12)


def test_bfloat16_networks_still_train_with_a_float32_log_determinant():
    flow = random_flow(torch.float32, conditioner="trunk")
    x = random_images(flow, 8)
    exact = flow.log_prob(x)
    assert torch.equal(flow.train().log_prob(x), exact)
    with flow.fast(torch.bfloat16):
        rough = flow.log_prob(x)
    assert torch.equal(flow.log_prob(x), exact)
    assert rough.dtype == torch.float32
    assert not torch.equal(rough, exact)
    torch.testing.assert_close(rough, exact, rtol=2e-2, atol=0)


# ---------------------------------------------------------------- lossless encoding


def eight_bit_images(flow: RGFlow, photographs: bool = False) -> torch.Tensor:
    """Every value of a pixel, noise, black, white, and edges between the two."""
    c = flow.config
    shape = (c.channels, c.height, c.width)
    every = torch.arange(flow.dim).reshape(shape) * 4 % 256
    generator = torch.Generator().manual_seed(3)
    noise = torch.randint(256, (3, *shape), generator=generator)
    flat = torch.stack([torch.zeros(shape), torch.full(shape, 255.0), torch.full(shape, 128.0)])
    edges = (torch.arange(c.width) % 2 * 255).expand(shape)
    images = torch.cat([every[None], every[None] + 1, every[None] + 2, every[None] + 3])
    x8 = torch.cat([images, noise, flat, edges[None]]).to(torch.uint8)
    if photographs:
        x8 = torch.cat([x8, *photographs_and_ovals(c.height)])
    return x8


def photographs_and_ovals(size: int) -> list[torch.Tensor]:
    photo = skimage.data.astronaut()
    small = np.round(skimage.transform.resize(photo, (size, size), anti_aliasing=True) * 255)
    patch = photo[:size, -size:]
    ovals = [data.load(n, "test", count=2, progress=False).images for n in ("msds1", "msds2")]
    photos = np.stack([small, patch]).astype(np.uint8).transpose(0, 3, 1, 2)
    return [torch.from_numpy(x[:, :, :size, :size].copy()) for x in (photos, *ovals)]


def check_lossless(flow: RGFlow) -> None:
    x8 = eight_bit_images(flow, photographs=True)
    assert len(x8.unique()) == 256
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        z = flow.encode(x8)
    assert torch.equal(flow.decode(z).floor(), x8.to(z.levels[0].dtype))
    said = any(f"all {len(x8)} are encoded in float64" in str(w.message) for w in caught)
    assert said == (z.levels[0].dtype == torch.float64)


LOSSLESS = [
    (name, pixels, trained)
    for pixels in ("logit", "marginal")
    for trained, names in (
        ("random", (*BIJECTORS, "real-nvp")),
        ("untrained", ("affine-paper", "cube", "coarse-to-fine")),
    )
    for name in names
]


LOSSLESS_BY_DAY = {
    *((name, "logit", "random") for name in ("affine-paper", "real-nvp")),
    *((name, "marginal", "random") for name in ("cube", "coarse-to-fine", "real-nvp")),
    ("affine-paper", "logit", "untrained"), ("cube", "marginal", "untrained"),
}  # fmt: skip


@pytest.mark.parametrize("case", by_day(LOSSLESS, LOSSLESS_BY_DAY), ids="-".join)
def test_encoding_8_bit_images_is_lossless(case):
    name, pixels, trained = case
    size = 16 if trained == "untrained" or name == "affine-paper" else 8
    options = {**CASES[name], "pixels": pixels, "height": size, "width": size}
    if "coarse" in name:  # several mixtures, one after the other, lose more digits than there are
        options |= {"depth": 1, "disentanglers": False}
    if trained == "random":
        flow = random_flow(torch.float32, **options)
    else:
        flow = make_flow(config(**options))
    check_lossless(flow)


def test_float64_is_chosen_where_float32_cannot_hold_an_image():
    steep = {**BIJECTORS["cube"], "pixels": "marginal", "depth": 2}
    flow = random_flow(torch.float32, strength=1.0, **steep)
    x8 = eight_bit_images(flow)
    with pytest.warns(
        LosslessWarning, match=r"of 11 images aren't encoded without loss in float32"
    ):
        z = flow.encode(x8)
    assert z.levels[0].dtype == torch.float64
    assert torch.equal(flow.decode(z).floor(), x8.double())
    assert flow.dtype == torch.float32


def test_encoding_is_deterministic_unless_given_a_generator():
    flow = random_flow()
    x8 = eight_bit_images(flow)
    assert torch.equal(flow.encode(x8).flat(), flow.encode(x8.double() + 0.5).flat())
    noisy = flow.encode(x8, torch.Generator().manual_seed(1)).flat()
    assert not torch.equal(noisy, flow.encode(x8).flat())
    assert torch.equal(flow.decode(flow.encode(x8, torch.Generator())).floor(), x8.double())
    expected = dequantize(x8, torch.Generator().manual_seed(1), torch.float64)
    assert torch.equal(noisy, flow.encode(expected).flat())


# ---------------------------------------------------------------- sampling


@pytest.mark.parametrize("options", [{}, BIJECTORS["cube"] | {"pixels": "marginal"}])
def test_sampling_decodes_draws_within_the_range_of_pixels(options):
    flow = random_flow(torch.float32, **options)
    x = flow.sample(16, generator=torch.Generator().manual_seed(0))
    assert x.shape == (16, 3, 8, 8)
    assert x.min() >= 0
    assert x.max() < 256
    z = flow.draw(16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(x, flow.decode(z).clamp(0, 255.99998))
    assert torch.isfinite(flow.log_prob(x)).all()


def test_temperatures_per_level():
    flow = random_flow()
    cold = flow.draw(200, [0.1, 1.0], torch.Generator().manual_seed(0))
    warm = flow.draw(200, 1.0, torch.Generator().manual_seed(0))
    torch.testing.assert_close(cold.levels[0], 0.1 * warm.levels[0])
    assert torch.equal(cold.levels[1], warm.levels[1])


@pytest.mark.parametrize("pixels", ["logit", "marginal", None])
def test_a_flow_without_parameters(pixels, tmp_path):
    sys.modules.setdefault(__name__, sys.modules[Reversed.__module__])
    flow = RGFlow(config(map=f"{__name__}.Reversed", pixels=pixels))
    assert not list(flow.parameters())
    assert flow.device == torch.device("cpu")
    x = flow.sample(3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(flow.decode(flow.encode(x)), x)
    flow.save_pretrained(tmp_path)
    assert torch.equal(load_flow(tmp_path).log_prob(x), flow.log_prob(x))
    if pixels:
        evaluate(flow, x.to(torch.uint8), subset=0)


def test_the_device_is_that_of_parameters_or_buffers():
    assert random_flow().to("meta").device.type == "meta"
    flow = RGFlow(config(pixels="marginal", map=f"{__name__}.Reversed"))
    assert flow.to("meta").device.type == "meta"


@pytest.mark.parametrize("name", ["affine-paper", "affine-released", "real-nvp"])
def test_a_frozen_flow_is_moved_as_a_whole(name):
    flow = random_flow(torch.float32, **CASES[name])
    frozen, x = flow.frozen(), random_images(flow, 2)
    assert frozen.state_dict().keys() == flow.state_dict().keys()
    torch.testing.assert_close(frozen.log_prob(x), flow.log_prob(x))
    wide = copy.deepcopy(frozen).to(torch.float64)
    assert torch.equal(wide.log_prob(x), flow.frozen(torch.float64).log_prob(x))
    held = [value for module in frozen.to("meta").modules() for value in vars(module).values()]
    assert all(tensor.is_meta for tensor in held if isinstance(tensor, torch.Tensor))


# ---------------------------------------------------------------- bad input


def images(*shape, **options):
    return torch.zeros(*shape, **options)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (images(3, 8, 8), r"shape \[N, 3, 8, 8\]; got \[3, 8, 8\]"),
        (images(2, 3, 9, 8), r"shape \[N, 3, 8, 8\]; got \[2, 3, 9, 8\]: resize"),
        (images(2, 1, 8, 8), r"got \[2, 1, 8, 8\]: resize or convert"),
        (images(2, 3, 8, 8, dtype=torch.int64), r"uint8 images, or reals in \[0, 256\); got int64"),
        (images(2, 3, 8, 8) - 1, r"reals in \[0, 256\), or uint8; got values from -1 to -1"),
        (images(2, 3, 8, 8) + 256, r"got values from 256 to 256"),
        (images(2, 3, 8, 8) - 1e-6, r"got values from -1e-06 to -1e-06\.$"),
        (images(2, 3, 8, 8) / 0, "finite values; got 384 that are NaN or infinite"),
        (images(2, 3, 8, 8) + math.inf, "got 384 that are NaN or infinite"),
    ],
)
def test_images_that_do_not_fit(x, message):
    flow = RGFlow(config())
    for function in (flow.log_prob, flow.encode, flow.terms, flow.coarse):
        with pytest.raises(ValueError, match=message):
            function(x)


def test_images_that_are_white_at_1_are_warned_about():
    flow = random_flow(torch.float32)
    black = images(4, 3, 8, 8, dtype=torch.uint8)
    noise = torch.Generator().manual_seed(0)
    x8 = torch.randint(256, black.shape, generator=noise, dtype=torch.uint8)
    for x in (x8 / 255, x8.double() / 255, x8.half() / 255, x8.clamp(max=1) / 255):
        for function in (flow.log_prob, flow.terms, flow.encode, flow.coarse):
            with pytest.warns(UserWarning, match="multiply them by 255 and round") as caught:
                function(x)
            assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for x in (
            black,
            black.float(),
            x8,
            x8.float(),
            dequantize(black),
            dequantize(black, noise),
            torch.rand(black.shape, generator=noise),
            (x8 > 127).float(),
        ):
            flow.log_prob(x)
        random_flow(pixels=None).log_prob(x8 / 255)


def test_float64_images_that_round_up_to_256():
    x = torch.full((1, 3, 8, 8), 256 - 1e-9, dtype=torch.float64)
    for name in ("cube", "affine-paper"):
        flow = random_flow(torch.float32, **BIJECTORS[name], pixels="marginal")
        assert torch.isfinite(flow.log_prob(x)).all()
        assert torch.isfinite(flow.encode(x).flat()).all()


@pytest.mark.parametrize("prior", ["laplace", "gaussian"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_latents_of_any_size_are_decoded_in_order(prior, dtype):
    """A larger latent never gives a smaller pixel, where everything else is the identity."""
    flow = RGFlow(config(**BIJECTORS["cube"], pixels="marginal", prior=prior)).to(dtype)
    values = torch.tensor([-1e4, -80.0, -15.0, -3.0, 0.0, 3.0, 15.0, 80.0, 1e4], dtype=dtype)
    z = flow.draw(len(values)).map(lambda z: 0 * z).set((0, 0, 1, 0), values)
    x = flow.decode(z)
    assert torch.isfinite(x).all()
    assert (x[:, 0, 0, 1].diff() >= 0).all()
    assert x[0, 0, 0, 1] < 1
    assert x[-1, 0, 0, 1] > 255
    assert x.max() < 256
    assert torch.isfinite(flow.encode(x, dtype=dtype).flat()).all()


def test_coarse_follows_the_number_format_of_latents():
    for name in ("affine-paper", "cube"):
        flow = random_flow(torch.float32, **BIJECTORS[name])
        z = flow.encode(random_images(flow, 2), dtype=torch.float64)
        torch.testing.assert_close(flow.coarse(z)[0], flow.decode(z), rtol=0, atol=0)


def test_fields_must_be_finite_reals():
    flow = RGFlow(config(pixels=None))
    with pytest.raises(ValueError, match="real-valued fields; got uint8"):
        flow.log_prob(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))
    assert torch.isfinite(flow.log_prob(torch.full((1, 3, 8, 8), -1000.0))).all()


def test_geometries_and_maps_that_do_not_belong_together():
    with pytest.raises(ValueError, match="geometry squeeze and the map convolutional together"):
        FlowConfig.from_dict({"geometry": "windows", "map": "convolutional"})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"height": 10}, "height to be a multiple"),
        ({"depth": (1, 2, 3)}, "one for each of the 2 levels; got 3"),
        ({"depth": (1, 2), "shared": True}, r"same depth .* got \(1, 2\): use depth=1"),
        ({"hidden": (8, 4), "shared": True}, r"same hidden .* got \(8, 4\): use hidden=8"),
        ({"hidden": ()}, "hidden to be a list of 1 or more; got"),
        ({"hidden": (8, 4, 2)}, "at most one for each of the 2 levels; got 3"),
        ({"hidden": (8, 4), "geometry": "squeeze"}, r"hidden to be a whole number; got \(8, 4\)"),
        ({"m": (2, 4), "shared": True}, r"same m .* got \(2, 4\): use m=2"),
        ({"level_embedding": 2}, "level_embedding only where levels share their weights; got 2"),
        ({"level_embedding": 1, "shared": True}, "at least 2 kinds of levels apart; got 1"),
        (
            {"level_embedding": 2, "shared": True, "geometry": "squeeze"},
            "no position_embedding, level_embedding or labels for a Real NVP",
        ),
        ({"m": (4, 2, 4), "levels": 2}, "at least the 3 levels that .* got 2"),
        ({"depth": 0}, "depth to be at least 1"),
        ({"prior": "cauchy"}, "kind of the prior to be one of laplace, gaussian; got 'cauchy'"),
        ({"boundary": "perodic"}, "nearest: periodic"),
        ({"order": "code"}, "order to be one of paper, released"),
        ({"pixels": "logits"}, "nearest: logit"),
        ({"bins": 1, "map": "cube"}, "bins to be at least 2"),
        ({"channels": 0}, "channels to be at least 1"),
        ({"height": 8.0}, "height to be a whole number; got 8.0"),
        ({"m": True}, "m to be a whole number; got True"),
        ({"depth": 1.5}, "depth to be a whole number"),
        ({"bins": 1000, "map": "cube"}, "bins to be at most 256"),
        ({"map": None}, "the kind of the map to be a name"),
        ({"shared": 1}, "shared to be true or false"),
        ({"prior": {"kind": "laplace", "scale": 0.0}}, "scale to be positive; got 0.0"),
        ({"map": {"kind": "affine", "bins": 4}}, r"options of the map affine: .*; got 'bins'"),
        (
            {"map": {"kind": "affine", "channel_mixing": True}},
            "channel_mixing to be False, as it isn't an option any more",
        ),
        (
            {"pixels": {"kind": "logit", "dequantization": "variational"}},
            "dequantization to be uniform, .* got 'variational': leave it out",
        ),
        (
            {"geometry": {"kind": "windows", "period": 2, "shifts": [[0, 1], [1, 0], [1, 1]]}},
            r"shifts to be None, .* got \[\[0, 1\]",
        ),
    ],
)
def test_configs_that_contradict_themselves(options, message):
    with pytest.raises(ValueError, match=message):
        RGFlow(config(**options))


@pytest.mark.parametrize("name", ["affine-trunk", "cube", "coarse-to-fine"])
def test_networks_are_told_where_a_block_is(name):
    """Without that, moving an image by a block changes nothing."""
    options = BIJECTORS[name] | {"levels": 1, "m": 4, "disentanglers": False}
    for embedding in (0, 3):
        flow = random_flow(**options, position_embedding=embedding)
        images = random_images(flow, 4)
        before, after = flow.log_prob(images), flow.log_prob(images.roll((4, 0), (2, 3)))
        assert torch.allclose(before, after) == (not embedding)


def test_numbers_of_numpy_in_a_config(tmp_path):
    flow = make_flow(config(height=np.int64(8), hidden=[np.int32(16)], shared=np.bool_(False)))
    assert flow.config == config(hidden=(16,), levels=2)
    flow.save_pretrained(tmp_path)  # which takes Python's own
    assert load_flow(tmp_path).config == flow.config
    lattice = Lattice(
        height=np.int64(8), width=torch.tensor(8), geometry=Blocks(m=(np.int64(4), 2))
    )
    assert json.loads(json.dumps(asdict(lattice)))["geometry"]["m"] == [4, 2]
    assert len(data.load("msds1", count=np.int64(5))) == 5


def test_unknown_keys_of_a_config():
    with pytest.raises(ValueError, match=r"got 'heigth' \(nearest: height\)"):
        FlowConfig.from_dict({"heigth": 3})
    with pytest.raises(ValueError, match="options of the map affine: depth, .*; got 'depht'"):
        FlowConfig.from_dict({"map": {"kind": "affine", "depht": 3}})


def test_other_bad_input():
    flow = random_flow()
    z = flow.draw(1)
    with pytest.raises(ValueError, match="one for each of the 2 levels; got 3"):
        flow.sample(1, [1.0, 1.0, 1.0])
    with pytest.raises(ValueError, match="temperature to be at least 0"):
        flow.sample(1, -1.0)
    with pytest.raises(ValueError, match="number of images to be at least 1; got 0"):
        flow.sample(0)
    other = random_flow(height=16)
    with pytest.raises(ValueError, match=r"Expected latents of 3 channels on Lattice\(height=16"):
        other.decode(z)
    with pytest.raises(ValueError, match="Expected latents of 3 channels on Lattice"):
        other.coarse(z)
    with pytest.raises(ValueError, match="space to be one of pixels, flow; got 'foo'"):
        flow.coarse(z, space="foo")
    with pytest.raises(ValueError, match="got ndarray: use torch.from_numpy"):
        flow.log_prob(np.zeros((1, 3, 8, 8)))
    with pytest.raises(ValueError, match=r"got \[0, 3, 8, 8\]"):
        flow.log_prob(torch.zeros(0, 3, 8, 8))
    with pytest.raises(ValueError, match="temperature to be finite"):
        flow.sample(1, math.inf)
    with pytest.raises(ValueError, match="uint8 images to fit to; got 1 of"):
        random_flow(pixels="marginal").fit_pixels(torch.zeros(1, 3, 8, 8))


def test_bits_of_bytes_are_taken_with_noise():
    """The density in the middle of every level says too little where it is highest there."""
    flow = random_flow(torch.float32, strength=1.0)
    x8 = torch.randint(256, (3, 3, 8, 8), dtype=torch.uint8)
    bits = flow.bits_per_dim(x8, draws=3, seed=5, batch_size=2)
    generator = torch.Generator().manual_seed(5)
    parts = [[flow.log_prob(x, generator) for x in x8.split(2)] for _ in range(3)]
    expected = flow.unit(torch.stack([torch.cat(part) for part in parts]).mean(0))
    torch.testing.assert_close(bits, expected)
    assert not torch.allclose(bits, flow.unit(flow.log_prob(x8)), rtol=1e-6)
    with pytest.raises(ValueError, match="uint8 images, as bits are of bytes; got float32"):
        flow.bits_per_dim(x8.float())
    with pytest.raises(ValueError, match="as bits are of bytes; got fields"):
        random_flow(pixels=None).bits_per_dim(x8)


LABELLED = list(
    itertools.product(
        ("affine-trunk", "coarse-to-fine", "cube"),
        ("blocks", "windows"),
    )
)
LABELLED_BY_DAY = {
    ("affine-trunk", "windows"), ("coarse-to-fine", "blocks"), ("cube", "blocks"),
    ("cube", "windows"),
}  # fmt: skip


@pytest.mark.parametrize("case", by_day(LABELLED, LABELLED_BY_DAY), ids="-".join)
def test_a_label_changes_densities_and_samples(case):
    name, geometry = case
    few = {"windows": {"depth": 1}}.get(geometry, {})
    options = {**BIJECTORS[name], "channels": 2, "labels": 4, "geometry": geometry, **few}
    flow = random_flow(**{"m": 2, **options} if geometry == "blocks" else options)
    x, labels = random_images(flow, 3), torch.tensor([0, 3, 1])
    log_p = flow(x, labels)
    assert not torch.isclose(log_p, flow(x, labels.flip(0)))[:1].any()
    z = flow.encode(x, labels=labels)
    y, again = flow.decode_and_log_prob(z, labels=labels)
    torch.testing.assert_close(y, x, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(again, log_p, rtol=1e-9, atol=1e-8)
    torch.testing.assert_close(flow.terms(x, labels=labels).total, log_p, rtol=1e-11, atol=1e-9)
    for wrong in (None, labels[:2], labels + 4, labels.double()):
        with pytest.raises(
            ValueError, match="Expected (a label for each image|labels from 0 to 3)"
        ):
            flow(x, wrong)
    with pytest.raises(ValueError, match="Expected no labels, as this flow has none"):
        random_flow()(random_images(random_flow(), 3), labels)


@pytest.mark.parametrize("case", ["affine-trunk", "coarse-to-fine", "window", "positions-cube"])
def test_several_labels_are_conditions_of_an_exact_density(case, tmp_path):
    options = {**CASES[case], "channels": 1, "labels": {"hair": 3, "glasses": 4}}
    flow = random_flow(**options)
    x, labels = random_images(flow, 1), torch.tensor([[3, 1]])  # glasses, hair

    def log_p(*labels):
        return flow.log_prob(x, labels=torch.tensor([labels])).item()

    matrix = jacobian(
        lambda v: flow.encode(v[None], dtype=torch.float64, labels=labels).flat()[0], x[0], flow
    )
    z = flow.encode(x, dtype=torch.float64, labels=labels)
    expected = flow.prior.log_prob(z.flat()).sum() + torch.linalg.slogdet(matrix)[1]
    assert log_p(3, 1) == pytest.approx(expected.item(), rel=1e-9)
    assert len({round(log_p(g, h), 6) for g in range(4) for h in range(3)}) == 12
    torch.testing.assert_close(flow.decode(z, labels=labels), x, rtol=1e-8, atol=1e-8)

    flow.save_pretrained(tmp_path / "model")
    loaded = load_flow(tmp_path / "model")
    assert list(loaded.config.labels) == ["glasses", "hair"]  # in whatever order it was given
    assert torch.equal(loaded.log_prob(x, labels=labels), flow.log_prob(x, labels=labels))
    for wrong, message in (
        (None, r"a label for each image, its glasses, hair, whole numbers \[1, 2\] .*got none"),
        (labels[:, :1], r"whole numbers \[1, 2\] from 0 to 3; got int64 \[1, 1\]"),
        (labels.flip(1), "labels hair from 0 to 2; the lowest is 3, the highest 3"),
    ):
        with pytest.raises(ValueError, match=message):
            flow.log_prob(x, labels=wrong)


def test_one_named_label_is_as_good_as_one_without_a_name():
    a, b = (random_flow(torch.float32, labels=labels) for labels in (4, {"hair": 4}))
    x, labels = random_images(a, 3), torch.tensor([0, 3, 1])
    assert torch.equal(a.log_prob(x, labels=labels), b.log_prob(x, labels=labels[:, None]))


@pytest.mark.parametrize("labels", [{"hair": 0}, {"hair": 1.5}, {3: 2}, [4], "hair", -1])
def test_odd_numbers_of_classes(labels):
    with pytest.raises(ValueError, match="^Expected .*labels.*; got"):
        FlowConfig(labels=labels)


@pytest.mark.parametrize("geometry", ["blocks", "windows"])
def test_a_flow_of_another_size(geometry):
    small = random_flow(shared=True, channels=2, geometry=geometry, conditioner="trunk")
    large = small.resized(16, 24)
    assert large.levels >= small.levels
    assert sum(p.numel() for p in large.parameters()) == sum(p.numel() for p in small.parameters())
    x = random_images(large, 2)
    torch.testing.assert_close(large.decode(large.encode(x)), x, rtol=1e-8, atol=1e-8)
    again = large.resized(8, 8)
    y = random_images(small, 2)
    assert torch.equal(again.log_prob(y), small.log_prob(y))
    own = random_flow()
    assert own.resized(16, 8).levels == own.levels
    with pytest.raises(ValueError, match="height to be a multiple"):
        own.resized(12, 9)
    with pytest.raises(ValueError, match="without position_embedding"):
        random_flow(position_embedding=2).resized(16, 16)


@pytest.mark.parametrize(
    "options",
    [
        {"boundary": "open", "m": 4},
        {"boundary": "open", "m": 2, "levels": 2},
        {"geometry": {"kind": "windows", "boundary": "open"}, "channels": 2},
    ],
)
def test_another_size_takes_the_weights_of_its_layers_or_says_that_there_are_none(options):
    """By the level and the name of a layer: with an open boundary a small top has fewer layers."""
    flow = random_flow(**options)

    def names(flow):
        return [{layer.cells.name for layer in step.cellwise} for step in flow.steps]

    if names(flow) != names(make_flow(replace(flow.config, height=16, width=16))):
        with pytest.raises(ValueError, match="for which there are no weights"):
            flow.resized(16, 16)
        return
    resized = flow.resized(16, 16)
    for mine, theirs in zip(resized.steps, flow.steps, strict=True):
        of = {layer.cells.name: layer.bijector for layer in theirs.cellwise}
        for layer in mine.cellwise:
            found = of[layer.cells.name].state_dict()
            for name, value in layer.bijector.state_dict().items():
                assert torch.equal(value, found[name])


def test_its_own_size_changes_nothing():
    flow = random_flow(shared=True, levels=1)
    x = random_images(flow, 2)
    assert torch.equal(flow.resized(8, 8).log_prob(x), flow.log_prob(x))


@pytest.mark.parametrize("of", [lambda f, x: LocalFlow(f, x), local_terms, receptive_fields])
def test_what_knows_no_labels_refuses_them(of):
    flow = random_flow(labels=3)
    arguments = (flow,) if of is receptive_fields else (flow, random_images(flow, 1))
    with pytest.raises(ValueError, match="Expected a flow without labels for"):
        of(*arguments)
    with pytest.raises(ValueError, match="Expected labels as a tensor; got list"):
        flow(random_images(flow, 2), [0, 1])


@pytest.mark.filterwarnings("ignore::rgflow.LosslessWarning")
def test_threads_and_copies_have_a_precision_of_their_own():
    """While one thread only asks for likelihoods, another one decodes; and what was computed in
    bfloat16 leaves nothing behind."""
    flow = random_flow(
        torch.float32, map="window", pixels="uniform", depth=1, geometry={"kind": "windows"}
    )
    x8 = random_images(flow, 2).to(torch.uint8)
    z = flow.encode(x8)
    expected, stop = flow.decode(z), threading.Event()

    def ask() -> None:
        while not stop.is_set():
            flow.log_prob(x8)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        assert all(torch.equal(flow.decode(z), expected) for _ in range(10))
    finally:
        stop.set()
        asking.join()
    flow = random_flow(torch.float32, map="affine")
    z = flow.encode(x8[:, :, :8, :8], dtype=torch.float64)
    exact = copy.deepcopy(flow).decode(z)
    with flow.fast(torch.bfloat16):
        flow.decode(z)
    torch.testing.assert_close(flow.decode(z), exact)


def test_recomputed_activations_are_those_of_the_step():
    flow = random_flow(torch.float32, map="affine", checkpointing=True)
    x = random_images(flow, 3)
    with flow.fast(torch.bfloat16):
        loss = -flow(x).mean()
    loss.backward()
    found = [p.grad.clone() for p in flow.parameters()]
    flow.zero_grad()
    with flow.fast(torch.bfloat16):
        (-flow(x).mean()).backward()
    for mine, p in zip(found, flow.parameters(), strict=True):
        torch.testing.assert_close(mine, p.grad)


@dataclass(frozen=True, kw_only=True)
class Narrow(PriorKind):
    width: float = 0.5

    def make(self):
        return Gaussian(self.width)


@dataclass(frozen=True, kw_only=True)
class Plain(Pixels):
    def make(self, channels):
        return Logit(channels)


def test_priors_and_pixel_maps_of_ones_own():
    own = {"prior": {"kind": f"{__name__}.Narrow", "width": 0.25}}
    own["pixels"] = {"kind": f"{__name__}.Plain"}
    config = FlowConfig.from_dict({"height": 8, "width": 8, **own})
    assert FlowConfig.from_dict(config.to_dict()) == config
    flow = make_flow(replace(config, map=AffineMap(depth=1, hidden=4)))
    assert flow.prior.scale == 0.25
    assert isinstance(flow.pixels, Logit)
    unmade = type("Unmade", (PriorKind,), {"__module__": __name__})
    with pytest.raises(ValueError, match=r"Expected Unmade to have a method make\(\)"):
        make_flow(replace(config, prior=unmade()))


@pytest.mark.parametrize(
    "values",
    [
        {"map": {"kind": "affine"}, "bins": 4},
        {"map": "affine", "bins": 4},
        {"prior": {"kind": "laplace"}, "prior_df": 4.0},
        {"geometry": {"kind": "blocks"}, "m": 2},
    ],
)
def test_old_names_beside_new_ones_are_mistakes(values):
    with pytest.raises(ValueError, match="Expected options of the flow: height, "):
        FlowConfig.from_dict(values)
