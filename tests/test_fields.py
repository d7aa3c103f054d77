"""Receptive fields against plain autograd, cones and known maps."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from flows import BIJECTORS, OPTIONS, REAL_NVP, by_day, config, random_flow
from rgflow import Latents, RGFlow, make_flow
from rgflow.analysis import fields, receptive_fields
from rgflow.bijectors import Bijector
from rgflow.bijectors.base import Mapped, MapSpec
from rgflow.kinds import trust

SPACES = ("flow", "pixels")


def naive(flow, draws, space, temperature=1.0):
    """E |∂G/∂z| by reverse-mode autograd of the public interface, [D, H, W], and each draw's
    strengths."""
    total, strengths = 0, []
    for k in range(draws):
        z = flow.draw_each([k], temperature)

        def image(flat, lattice=z.lattice):
            latents = Latents.from_flat(flat, lattice, flow.config.channels)
            if space == "pixels":
                return flow.decode(latents)[0]
            return flow.coarse(latents, "flow")[0][0]

        jacobian = torch.autograd.functional.jacobian(image, z.flat(), vectorize=True)
        fields = jacobian[:, :, :, 0].abs().sum(0).permute(2, 0, 1)
        total = total + fields
        strengths.append(fields.mean((1, 2)))
    return total / draws, torch.stack(strengths)


def all_fields(found, flow):
    """Every field, [D, H, W], in the flat order of latents."""
    order = torch.arange(flow.dim, dtype=torch.float64)[None]
    places = Latents.from_flat(order, flow.lattice, flow.config.channels).image()[0].long()
    out = torch.zeros(flow.dim, *flow.image_shape[1:], dtype=flow.dtype)
    for windows in found.windows:
        for address in windows.addresses.tolist():
            h, i, j, c = address
            out[places[c, i, j]] = found.field((h, i, j, c))
    return out


KINDS = {
    **{name: BIJECTORS[name] for name in ("affine-paper", "cube")},
    **{
        name: OPTIONS[name]
        for name in (
            "open", "released-order", "released-order-open", "m2", "m6", "not-square", "one-level",
            "shared-open", "gaussian", "marginal", "fields", "cube-marginal", "cube-fields",
            "positions", "positions-cube", "positions-shared-open",
        )
    },
    **{name: REAL_NVP[name] for name in ("real-nvp", "real-nvp-scales", "real-nvp-marginal")},
}  # fmt: skip


BY_DAY = {
    "affine-paper", "open", "released-order-open", "m2", "one-level", "shared-open", "fields",
    "cube-marginal", "positions-cube", "real-nvp",
}  # fmt: skip


@pytest.mark.parametrize("name", by_day(KINDS, BY_DAY))
def test_fields_are_those_of_autograd(name):
    space = SPACES[list(KINDS).index(name) % 2]
    flow = random_flow(**KINDS[name]).double()
    found = receptive_fields(flow, draws=2, space=space)
    expected, strengths = naive(flow, 2, space)
    torch.testing.assert_close(all_fields(found, flow), expected, rtol=1e-9, atol=1e-10)
    for level in range(flow.levels):
        assert torch.isfinite(found.of_level(level)).all()
    flat = torch.cat([found.of_level(h) for h in range(flow.levels)])
    assert flat.sort().values == pytest.approx(strengths.mean(0).sort().values)
    assert found.errors.flatten().sort().values == pytest.approx(
        (strengths.std(0) / 2**0.5).sort().values
    )


AT_16 = {
    "periodic": {"boundary": "periodic"},
    "open": {"boundary": "open"},
    "real-nvp": {**REAL_NVP["real-nvp-scales"], "hidden": 2},
}


@pytest.mark.parametrize("name", AT_16)
def test_fields_are_those_of_autograd_at_16(name):
    flow = random_flow(height=16, width=16, channels=1, **AT_16[name]).double()
    found = receptive_fields(flow, draws=1, temperature=0.7)
    expected, _ = naive(flow, 1, "flow", 0.7)
    torch.testing.assert_close(all_fields(found, flow), expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("size", [8, 16])
@pytest.mark.parametrize("boundary", ["periodic", "open"])
def test_fields_are_seen_exactly_in_their_cones(size, boundary):
    options = {"channels": 1, "depth": 2}  # one coupling leaves half of a block apart
    flow = random_flow(height=size, width=size, boundary=boundary, **options).double()
    found, number = receptive_fields(flow, draws=1), 0
    for windows in found.windows:
        for h, i, j, c in windows.addresses.tolist():
            cone = flow.lattice.generation_cone(flow.lattice.site(h, i, j))
            assert np.array_equal(found.field((h, i, j, c)).numpy() > 0, cone)
            number += 1
    assert number == flow.dim


class Large(TorchDispatchMode):
    """Notes the sizes of tensors of so many bytes or more, once each."""

    def __init__(self, least):
        super().__init__()
        self.least, self.storages = least, {}

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        made = function(*arguments, **(options or {}))
        for tensor in made if isinstance(made, (tuple, list)) else [made]:
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                if storage.nbytes() >= self.least:  # kept, so that no other takes its place
                    self.storages[storage.data_ptr()] = storage
        return made

    @property
    def sizes(self):
        return [storage.nbytes() for storage in self.storages.values()]


def test_all_fields_are_held_only_once(monkeypatch):
    flow = random_flow(height=16, width=16, **REAL_NVP["real-nvp"])
    monkeypatch.setattr(fields, "BATCH_BYTES", flow.dim * 16 * 4)  # four columns at a time
    monkeypatch.setattr(fields, "_push", lambda *_: lambda tangents, level: tangents)
    size = flow.dim * 256 * 8
    with Large(size // 20) as large:
        found = receptive_fields(flow, draws=3)
    assert large.sizes == [field.nbytes for field in found.fields]
    assert sum(large.sizes) == size


def test_fields_that_do_not_fit_into_memory():
    flow = make_flow(config(geometry="squeeze", height=256, width=256, levels=1, hidden=1))
    with pytest.raises(ValueError, match="196,608 latents, whose fields take 48.0 GiB: take those"):
        receptive_fields(flow)


class Rotation(Bijector):
    """A linear map of blocks, the same for all."""

    def __init__(self, spec: MapSpec) -> None:
        dim = spec.dim
        super().__init__((dim,))
        weight = torch.linalg.qr(torch.randn(dim, dim)).Q * torch.linspace(0.5, 2, dim)
        self.weight = torch.nn.Parameter(weight)

    def transform(self, x: torch.Tensor, context=None) -> Mapped:
        return x @ self.weight.T, torch.linalg.slogdet(self.weight)[1].expand(len(x))

    def invert(self, y: torch.Tensor, context=None) -> Mapped:
        return (
            torch.linalg.solve(self.weight, y.T).T,
            -torch.linalg.slogdet(self.weight)[1].expand(len(y)),
        )


def test_fields_of_a_linear_flow_do_not_depend_on_the_draws():
    trust("test_fields")
    made = config(height=16, width=16, channels=1, map="test_fields.Rotation")
    flow = RGFlow(made).double()
    one = receptive_fields(flow, draws=1)
    many = receptive_fields(flow, draws=5, seed=100)
    for a, b in zip(one.fields, many.fields, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    assert many.errors.abs().max() < 1e-12
    assert one.errors.isnan().all()
    zero = flow.draw_each([0], 0.0)
    at_zero = flow.coarse(zero, "flow")[0]
    assert torch.equal(at_zero, torch.zeros_like(at_zero))
    basis = torch.eye(flow.dim, dtype=torch.float64)
    responses = flow.coarse(Latents.from_flat(basis, flow.lattice, 1), "flow")[0]
    torch.testing.assert_close(all_fields(one, flow), responses.abs().sum(1))


REDRAWN = {
    "affine": OPTIONS["open"],
    "coarse-to-fine": {**BIJECTORS["coarse-to-fine"], "pixels": "marginal", "channels": 2},
    "a tree": {**BIJECTORS["coarse-to-fine"], "pixels": "marginal", "disentanglers": False},
    **{name: REAL_NVP[name] for name in ("real-nvp-scales",)},
    **{name: OPTIONS[name] for name in ("window-levels", "window-averages")},
}


HOW = [(name, *how) for name in REDRAWN for how in (("flow", "step"), ("pixels", "redraw"))]
HOW_BY_DAY = {
    ("affine", "flow", "step"),
    ("a tree", "pixels", "redraw"), ("real-nvp-scales", "pixels", "redraw"),
    ("window-levels", "pixels", "redraw"),
}  # fmt: skip


@pytest.mark.parametrize("case", by_day(HOW, HOW_BY_DAY), ids="-".join)
def test_redrawn_fields_are_those_of_latents_set_one_by_one(case):
    name, space, change = case
    flow = random_flow(**REDRAWN[name]).double()
    found = receptive_fields(flow, draws=2, space=space, change=change, temperature=0.8)

    def image(z):
        return flow.decode(z)[0] if space == "pixels" else flow.coarse(z, "flow")[0][0]

    moved = 0
    pairs = [
        [flow.draw_each([k + more], 0.8) for more in (0, fields.REPLACEMENT_SEED)] for k in range(2)
    ]
    before = [image(z) for z, _ in pairs]
    for windows in found.windows:
        for address in map(tuple, windows.addresses[::15].tolist()):
            changes = []
            for (z, new), plain in zip(pairs, before, strict=True):
                to = new[address] if change == "redraw" else z[address] + 1
                changed = z.set(address, to.item())
                changes.append((image(changed) - plain).abs().sum(0))
            expected = torch.stack(changes).mean(0)
            torch.testing.assert_close(found.field(address), expected, rtol=1e-9, atol=1e-8)
            moved += int((expected > 1e-6).sum() > 1)
    assert moved > 5


def test_what_is_changed_follows_from_the_flow():
    steps = random_flow(**REDRAWN["a tree"])
    smooth = random_flow()
    assert receptive_fields(smooth, draws=1).change == "derivative"
    found = receptive_fields(steps, draws=1)
    assert (found.change, found.space) == ("redraw", "pixels")
    assert (
        fields.how_found(found)
        == "latents drawn anew, in grey levels, 1 draw, temperature 1, seed 0"
    )
    assert receptive_fields(steps, draws=1, change="derivative").space == "flow"


def test_some_sites_are_enough():
    flow = random_flow(height=16, width=16, channels=3)
    sites = flow.lattice.site(0, 5, 8) | flow.lattice.site(1, 2, 0)
    some, every = receptive_fields(flow, draws=2, sites=sites), receptive_fields(flow, draws=2)
    assert [len(w.addresses) for w in some.windows] == [3, 3, 0]
    torch.testing.assert_close(some.field((1, 2, 0, 1)), every.field((1, 2, 0, 1)))
    assert some.strengths.isfinite().sum() == 6
    assert some.strongest(1)[0] in {(0, 5, 8, c) for c in range(3)} | {
        (1, 2, 0, c) for c in range(3)
    }
    with pytest.raises(ValueError, match="whose field was computed"):
        some.field((0, 0, 1, 0))


def test_the_strongest_and_the_visible():
    flow = random_flow()
    found = receptive_fields(flow, draws=2)
    first = found.strongest(5)
    values = [found.strengths[c, i, j].item() for _, i, j, c in first]
    assert values == sorted(found.strengths.flatten().tolist(), reverse=True)[:5]
    threshold = values[2]
    assert (found.strengths > threshold).sum() == 2
    assert all(h == 1 for h, *_ in found.strongest(3, level=1))


def test_bad_input():
    flow = random_flow()
    for arguments, message in (
        ({"draws": 0}, "draws to be at least 1"),
        ({"seed": -1}, "seed to be at least 0"),
        ({"space": "pixel"}, "nearest: pixels"),
        ({"change": "redrawn"}, "nearest: redraw"),
        ({"temperature": [1.0]}, "one for each"),
        ({"sites": np.zeros((8, 8), dtype=bool)}, "at least one site"),
        ({"sites": np.zeros((8, 9), dtype=bool)}, "mask of shape"),
    ):
        with pytest.raises(ValueError, match=message):
            receptive_fields(flow, **arguments)
    with pytest.raises(ValueError, match="a level of 0 to 1"):
        receptive_fields(flow, draws=1).field((7, 0, 0, 0))
    with pytest.raises(ValueError, match="whose field was computed"):
        receptive_fields(flow, draws=1).field((0, 0, 1, 7))


def test_two_threads_may_look_for_fields():
    flow = random_flow(width=8, height=8)
    expected = receptive_fields(flow, draws=1).strengths
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: receptive_fields(flow, draws=1).strengths, range(8)))
    assert all(torch.equal(one, expected) for one in found)
