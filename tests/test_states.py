"""Fields of states: exact probabilities, against enumeration and brute force."""

import copy
import math
import re
from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest
import torch
from PIL import Image

from flows import randomise
from reproducing.couplings import _of_every_second, decimated, migdal_kadanoff, unlikeness
from reproducing.measures import MeasuredFlow
from reproducing.measures.lattice import renormalization
from rgflow import Batch, FlowConfig, GaussianPrior, RGFlow, StateMap, Windows, preset
from rgflow.actions import BlumeCapel, FreeField, Ising, Phi4, Potts, is_even
from rgflow.analysis.couplings import couplings
from rgflow.analysis.measurement import measure
from rgflow.analysis.multilevel import Level, multilevel
from rgflow.analysis.observables import formulas, moments, observables
from rgflow.analysis.scales import scales
from rgflow.bijectors import Context, HeatBath, MapSpec, SiteStates
from rgflow.cli import main
from rgflow.field_theory import heat_bath, ising, potts, transfer
from rgflow.objectives import Reinforce
from rgflow.report import tables
from rgflow.report.measurement import cautions
from rgflow.report.measurement import levels as of_levels
from rgflow.report.measurement import observables as of_observables
from rgflow.training import train
from rgflow.training.run import Run
from rgflow.training.start import load_start

ACTIONS = {
    "ising": Ising(temperature=2.0),
    "potts": Potts(colours=3, temperature=0.9),
    "blume-capel": BlumeCapel(temperature=0.8, splitting=0.7),
}
SYMMETRIES = {"ising": "permutation", "potts": "permutation", "blume-capel": "reversal"}
COLOURS = {f"potts-{q}": Potts(colours=q, temperature=0.9) for q in (2, 4, 5)}
"""Further models, whose fields are also few."""


def flow_of(action, shape=(4, 4), period=2, exact=True, symmetry="none", channels=1, strength=1.0):
    """A flow of states, with random weights, in float64."""
    torch.manual_seed(0)
    flow = RGFlow(
        FlowConfig(
            height=shape[0],
            width=shape[1],
            channels=channels,
            geometry=Windows(period=period, reach=1, exact=action if exact else None),
            map=StateMap(hidden=8, spins=action.states, symmetry=symmetry),
            prior=GaussianPrior(),
            pixels=None,
        )
    ).double()
    randomise(flow, strength)
    return flow


def every(action, height, width):
    """All fields of a lattice, [q^N, 1, H, W]."""
    found = torch.cartesian_prod(*[torch.tensor(action.states).double()] * (height * width))
    return found.view(-1, 1, height, width)


def energy(action, field):
    """E of one field [H, W], site by site."""
    total, (height, width) = 0.0, field.shape
    for i, j in product(range(height), range(width)):
        here = field[i, j].item()
        near = [field[(i + 1) % height, j].item(), field[i, (j + 1) % width].item()]
        if isinstance(action, Potts):
            total -= sum(here == one for one in near)
        else:
            total -= sum(here * one for one in near)
        total += getattr(action, "splitting", 0.0) * here**2
    return total


# ---------------------------------------------------------------- actions and references


@pytest.mark.parametrize("name", ACTIONS)
def test_energies_site_by_site(name):
    action = ACTIONS[name]
    states = torch.tensor(action.states, dtype=torch.float64)
    at = torch.randint(len(states), (5, 1, 3, 4), generator=torch.Generator().manual_seed(0))
    expected = [energy(action, one[0]) for one in states[at]]
    assert torch.equal(action.numbers(states[at]), at)
    assert action.energies(states[at]).tolist() == pytest.approx(expected)
    assert action(states[at]).tolist() == pytest.approx(np.divide(expected, action.temperature))


@pytest.mark.parametrize(
    ("name", "shape"),
    [*product([*ACTIONS, *COLOURS], [(2, 2), (2, 4)]), ("ising", (4, 4)), ("potts-2", (4, 4))],
)
def test_exact_values_by_enumeration(name, shape):
    action = (ACTIONS | COLOURS)[name]
    fields = every(action, *shape)
    e = action.energies(fields)
    log_z = torch.logsumexp(-e / action.temperature, 0)
    p = (-e / action.temperature - log_z).exp()
    assert action.log_z(1, *shape) == pytest.approx(log_z.item(), rel=1e-12)
    assert action.mean_energy(1, *shape) * math.prod(shape) == pytest.approx((p @ e).item())


@pytest.mark.parametrize(
    ("action", "shape"),
    [
        (Ising(temperature=2.5), (4, 4)),
        (ACTIONS["potts"], (2, 2)),
        (ACTIONS["blume-capel"], (2, 2)),
    ],
    ids=["ising", "potts", "blume-capel"],
)
def test_observables_by_enumeration(action, shape):
    """All of them from all fields with their weights, and from Markov chains."""
    fields, n = every(action, *shape), math.prod(shape)
    p = (-action(fields) - action.log_z(1, *shape)).exp().numpy()
    e = action.energies(fields).numpy()
    s = action.observed(fields)[0].numpy()
    edge, m = shape[1], np.linalg.norm(s.mean((2, 3)), axis=1)
    wave = np.exp(2j * np.pi / edge * np.arange(edge))
    two_points = np.einsum("n,ncij,nc->ij", p, s, s[:, :, 0, 0])  # with that at (0, 0)
    m2, longest = n * p @ m**2, np.real(two_points.sum(0) @ wave)
    exact = {
        "magnetisation": p @ m,
        "susceptibility": m2,
        "connected": m2 - n * (p @ m) ** 2,
        "binder": 1 - p @ m**4 / (3 * (p @ m**2) ** 2),
        "correlation_length": (m2 / longest - 1) ** 0.5 / (2 * math.sin(math.pi / edge)),
        "energy": p @ e / n,
        "specific_heat": (p @ e**2 - (p @ e) ** 2) / (n * action.temperature**2),
    }
    places = min(shape) // 2 + 1
    correlation = (two_points.sum(0)[:places] + two_points.sum(1)[:places]) / 2
    assert m2 == pytest.approx(two_points.sum())
    weighted = observables(moments(action, fields), action, shape, np.log(p))
    assert {k: one.value for k, one in weighted.numbers().items()} == pytest.approx(exact)
    assert weighted.correlation.value == pytest.approx(correlation)
    drawn = action.reference_fields((1, *shape), 16_000)[0].flatten(0, 1)
    found = observables(moments(action, drawn), action, shape, tau=3.0)
    for name, one in found.numbers().items():
        assert abs(one.value - exact[name]) < 4 * one.error
        assert one.error < 0.2 * abs(exact[name])
    far = np.abs(found.correlation.value - correlation)
    assert (far < 4 * found.correlation.error).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["potts", "blume-capel"])
def test_three_states_on_16_sites_by_enumeration(name):
    """All 43 million fields, those whose first six sites are alike at a time."""
    action, shape = ACTIONS[name], (4, 4)
    first, rest = every(action, 1, 6).flatten(1), every(action, 1, 10).flatten(1)
    sums = np.zeros(4)  # of weights; and with these, of E, |m|² and the two-point function at 1
    for six in first:
        fields = torch.cat((six.expand(len(rest), 6), rest), 1).view(-1, 1, 4, 4)
        e = action.energies(fields)
        columns = action.observed(fields)[0].sum(2)
        m2 = columns.sum(2).square().sum(1) / 16**2
        near = (columns * columns.roll(-1, 2)).sum((1, 2)) / 16
        weights = (-e / action.temperature - action.log_z(1, *shape)).exp()
        sums += [(weights * x).sum().item() for x in (torch.ones_like(e), e, m2, near)]
    assert sums[0] == pytest.approx(1, rel=1e-10)
    assert action.mean_energy(1, *shape) == pytest.approx(sums[1] / 16)
    drawn = action.reference_fields((1, *shape), 16_000)[0].flatten(0, 1)
    found = observables(moments(action, drawn), action, shape, tau=3.0)
    susceptibility, correlation = found.numbers()["susceptibility"], found.correlation
    assert abs(susceptibility.value - 16 * sums[2]) < 4 * susceptibility.error
    assert abs(correlation.value[1] - sums[3]) < 4 * correlation.error[1]


def test_exact_values_where_there_are_none():
    assert Potts().log_z(1, 16, 16) is None
    assert Potts().log_z(2, 2, 2) is None
    assert Ising().log_z(1, 64, 64) == pytest.approx(3808.6725, abs=1e-3)
    with pytest.raises(ValueError, match=r"at most 1024 states of a row.* got 3\^8"):
        transfer((8, 8), 1.0, np.zeros(3), -np.eye(3))


@pytest.mark.parametrize("name", [*ACTIONS, *COLOURS, "wolff"])
def test_markov_chains_by_enumeration(name):
    action = (ACTIONS | COLOURS).get(name, ACTIONS["potts"])
    fields = every(action, 2, 2)
    p = (-action(fields) - action.log_z(1, 2, 2)).exp().numpy()
    if name == "wolff":
        single = potts(2, action.temperature, 3, chains=32, sweeps=1000, single=True)
        drawn = torch.from_numpy(np.stack(list(single))).double()[:, :, None]
    else:
        drawn, method = action.reference_fields((1, 2, 2), 32_000)
        assert method == ("heat bath" if name == "blume-capel" else "clusters")
    digits = len(action.states) ** np.arange(4)[::-1]
    numbers = (action.numbers(drawn).flatten(2).numpy() * digits).sum(-1)
    found = np.bincount(numbers.ravel(), minlength=len(p)) / numbers.size
    error = np.sqrt(p / numbers.size)
    # Draws of a chain aren't independent.
    assert (np.abs(found - p) / error).max() < 8
    assert np.abs(found - p).sum() < 0.05


def test_chains_of_the_same_model_agree():
    """All clusters, single ones, the heat bath, and the transfer matrix."""
    action, shape = Potts(colours=4, temperature=1.0), (4, 4)
    options = {"chains": 32, "sweeps": 400, "warm_up": 100}
    exact = action.mean_energy(1, *shape)
    for draws in (
        potts(4, 1.0, 4, **options),
        potts(4, 1.0, 4, single=True, **options),
        heat_bath(4, 1.0, action.alone, action.pairs, thin=4, **options),
    ):
        spins = torch.from_numpy(np.stack(list(draws))).double()
        found = action.energies(spins.flatten(0, 1)[:, None]).view(400, 32).mean(0) / 16
        assert abs(found.mean().item() - exact) < 4 * found.std().item() / 32**0.5


def test_the_symmetry_of_signs():
    states = [torch.tensor(ACTIONS[name].states) for name in ACTIONS]
    fields = [one[torch.randint(len(one), (5, 1, 4, 4))] for one in states]
    even = [is_even(ACTIONS[name], one) for name, one in zip(ACTIONS, fields, strict=True)]
    assert even == [True, False, True]


def test_the_magnetisation_of_potts():
    ordered = torch.full((3, 1, 4, 4), 2.0)
    found = moments(Potts(), ordered)
    assert found.magnetisation == pytest.approx(np.ones(3))
    assert found.energy == pytest.approx(np.full(3, -32.0))


# ---------------------------------------------------------------- probabilities


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("name", ACTIONS)
@pytest.mark.parametrize("shape", [(2, 2), (2, 4), (4, 2)])
def test_probabilities_add_up_to_one(shape, name, symmetric, exact):
    symmetry = SYMMETRIES[name] if symmetric else "none"
    flow = flow_of(ACTIONS[name], shape, exact=exact, symmetry=symmetry)
    fields = every(ACTIONS[name], *shape)
    with torch.no_grad():
        log_p = flow.log_prob(fields)
        assert log_p.exp().sum().item() == pytest.approx(1, abs=1e-12)
        assert log_p.std() > 0.1
        # Both directions agree, and latents are those of the fields.
        assert torch.equal(flow.decode(flow.encode(fields)), fields)
        drawn, log_q = flow.sample_and_log_prob(500)
        torch.testing.assert_close(flow.log_prob(drawn), log_q)
        numbers = {tuple(one.flatten().tolist()): k for k, one in enumerate(fields)}
        where = [numbers[tuple(one.flatten().tolist())] for one in drawn]
        torch.testing.assert_close(log_p[where], log_q)
    if symmetric:
        at = ACTIONS[name].numbers(fields)
        q = len(ACTIONS[name].states)
        every_order = permutations(range(q)) if symmetry == "permutation" else [range(q)[::-1]]
        for order in every_order:
            moved = torch.tensor(ACTIONS[name].states).double()[torch.tensor(order)[at]]
            torch.testing.assert_close(flow.log_prob(moved), log_p)


@pytest.mark.parametrize(
    ("name", "shape", "exact"),
    [
        *product(COLOURS, [(2, 2)], [False, True]),
        *product(COLOURS, [(4, 2)], [True]),
        *product(["potts-2", "potts-4"], [(2, 4)], [False]),
    ],
)
def test_probabilities_of_up_to_five_colours_add_up_to_one(name, shape, exact):
    flow = flow_of(COLOURS[name], shape, exact=exact, symmetry="permutation")
    with torch.no_grad():
        parts = [flow.log_prob(x) for x in every(COLOURS[name], *shape).split(2**15)]
        fields = every(COLOURS[name], *shape)[:1000]
        exchanged = torch.where(fields < 2, 1 - fields, fields)
        torch.testing.assert_close(flow.log_prob(exchanged), parts[0][:1000])
    assert sum(part.exp().sum() for part in parts).item() == pytest.approx(1, abs=1e-12)


def test_samples_have_these_probabilities():
    flow = flow_of(Potts(), (2, 2), symmetry="permutation")
    fields = every(Potts(), 2, 2)
    p = flow.log_prob(fields).exp().detach().numpy()
    drawn = flow.sample(40_000, generator=torch.Generator().manual_seed(0))
    numbers = (drawn.flatten(1).long() * 3 ** torch.arange(3, -1, -1)).sum(1)
    found = torch.bincount(numbers, minlength=81).numpy() / 40_000
    off = (found - p) / np.sqrt(p * (1 - p) / 40_000)
    assert np.abs(off).max() < 4.5
    assert np.sqrt(np.mean(off**2)) < 1.3


@pytest.mark.parametrize("name", [*ACTIONS, *COLOURS])
def test_the_last_half_against_brute_force(name):
    """Probabilities of a site given all others are those of the action."""
    action = (ACTIONS | COLOURS)[name]
    flow = flow_of(action, (4, 4), period=4)
    states = torch.tensor(action.states).double()
    at = torch.randint(len(states), (6, 1, 4, 4), generator=torch.Generator().manual_seed(1))
    for i, j in product(range(4), repeat=2):
        fields = states[at].repeat(len(states), 1, 1, 1)
        fields[:, 0, i, j] = states.repeat_interleave(6)
        with torch.no_grad():
            here = flow.log_prob(fields).view(-1, 6).log_softmax(0)
        there = (-action(fields)).view(-1, 6).log_softmax(0)
        assert torch.allclose(here, there) == bool((i + j) % 2)


def test_a_heat_bath_in_words():
    site = HeatBath(MapSpec(channels=1, sites=1, context=4), BlumeCapel(temperature=0.5))
    d = torch.tensor([[1 / 6], [0.5], [-1 / 6]])
    around = torch.tensor([[-1 / 6, -1 / 6, 0.5, 1 / 6]]).expand(3, -1)
    p = site.double()(d.double(), Context(around.double(), around[:, :0].double()))[1].exp() / 3
    weights = np.exp(2 * np.array([-1.0, 0.0, 1.0]))
    assert p.tolist() == pytest.approx(weights / weights.sum())


@pytest.mark.parametrize("states", [2, 3, 5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_states_of_any_probability_come_back(states, dtype):
    """Also those that hardly ever occur."""
    site = SiteStates(MapSpec(channels=1, sites=1), spins=tuple(range(states)), hidden=8).to(dtype)
    every = torch.arange(states, dtype=dtype)
    u = ((every + 0.5) / states)[:, None]
    d = torch.where(u <= 0.5, u, u - 1)
    for strength in (0.0, 3.0, 12.0):
        with torch.no_grad():
            site.network.last.bias.copy_(strength * torch.linspace(-1, 1, states).flip(0))
            y, log_det = site(d)
            x, back = site.inverse(y)
        torch.testing.assert_close(x, d, atol=1e-3 if dtype is torch.float32 else 1e-7, rtol=0)
        torch.testing.assert_close(back, -log_det)
        assert (log_det.double() - math.log(states)).exp().sum() == pytest.approx(1, abs=1e-6)


# ---------------------------------------------------------------- learning


@pytest.mark.parametrize("fields_of_a_chain", [False, True])
@pytest.mark.parametrize("forward", [0.0, 0.6, 1.0])
def test_the_gradient_is_that_of_the_divergence(forward, fields_of_a_chain):
    """Its mean over many batches, against the exact gradient by enumeration."""
    action = Ising(temperature=2.5)
    flow = flow_of(action, (2, 2), exact=False, strength=0.3)  # so that weights aren't degenerate
    fields = every(action, 2, 2)
    log_q, p = flow.log_prob(fields), (-action(fields)).softmax(0)
    divergence = (1 - forward) * (log_q.exp() * (log_q + action(fields))).sum()
    divergence -= forward * (p * log_q).sum()
    parameter = flow.steps[0].cellwise[0].bijector.bijectors[0].linear.weight
    exact = torch.autograd.grad(divergence, parameter)[0]
    generator, found = torch.Generator().manual_seed(0), []
    for _ in range(50):
        of_p = fields[p.multinomial(400, replacement=True, generator=generator)]
        images = of_p if fields_of_a_chain else None
        batch = Batch(size=400, images=images, generator=generator)
        losses = Reinforce(action=action, forward=forward).losses(flow, batch)
        found.append(torch.autograd.grad(losses.mean(), parameter)[0])
    found = torch.stack(found)
    error = found.std(0) / 50**0.5
    assert ((found.mean(0) - exact).abs() < 4 * error + 1e-9).all()
    assert (error < 0.3 * exact.abs().max()).all()
    with torch.no_grad():
        losses = Reinforce(action=action, forward=forward).losses(flow, Batch(size=4000))
    reverse = (log_q.exp() * (log_q + action(fields))).sum()
    assert abs(losses.mean() - reverse) < 4.5 * losses.std() / 4000**0.5


TINY = preset("ising-16").changed(
    {
        "steps": 80, "batch_size": 64, "validate_count": 200, "compile": False,
        "schedule": "constant",
        "objective": {"action": {"temperature": 4.0}},
        "model": {
            "height": 8, "width": 8, "shared": True, "map": {"hidden": 16},
            "geometry": {"period": 2, "reach": 2},
        },
    }
)  # fmt: skip
"""A training that takes seconds."""


def test_a_run_learns_and_is_measured(tmp_path):
    assert TINY.model.geometry.exact == TINY.objective.action
    run = Run.create(tmp_path / "run")
    train(TINY, run, progress=False)
    flow = RGFlow.from_pretrained(run.model)
    found = measure(flow, TINY.objective, samples=2000, reference=2000)
    assert found.ess > 0.5
    assert abs(found.log_z.value - found.log_z_exact) < 4.5 * found.log_z.error
    assert found.modes.covered
    assert not cautions(found)
    assert found.reference.method == "clusters"


@pytest.mark.parametrize(
    ("objective", "forward"), [("ising", 0), ("ising", 0.5), ("potts", 0), ("blume_capel", 0)]
)
def test_a_resumed_run_is_the_uninterrupted_one(objective, forward, tmp_path):
    config, flows = replace(TINY, batch_size=4, validate_count=10), []
    symmetry = "reversal" if objective == "blume_capel" else "permutation"
    changes = {"action": {"kind": objective}, "forward": forward}
    config = config.changed({"objective": changes, "model": {"map": {"symmetry": symmetry}}})
    assert config.model.map.states == config.objective.action.states
    for name, steps in (("whole", [6]), ("parts", [2, 6])):
        for k, until in enumerate(steps):
            run = Run.unfinished(tmp_path / name) if k else Run.create(tmp_path / name)
            train(replace(config, steps=until), run, resume=bool(k), progress=False)
        flows.append(Run.open(tmp_path / name).checkpoints(1).load()["flow"])
    assert all(torch.equal(flows[0][name], flows[1][name]) for name in flows[0])


@pytest.mark.parametrize("mixed", [False, True])
def test_a_flow_learns_from_spins_of_a_chain(mixed, tmp_path):
    """The forward divergence, by maximum likelihood, or beside the reverse one."""
    action = {"kind": "ising", "temperature": 3.0}
    spins, _ = Ising(temperature=3.0).reference_fields((1, 8, 8), 6400)
    np.save(tmp_path / "spins.npy", spins.flatten(0, 1).float().numpy())
    objective = {"kind": "reinforce", "action": action, "forward": 0.5} if mixed else "likelihood"
    data = f"fields:{tmp_path / 'spins.npy'}"
    config = TINY.changed({"objective": objective, "data": data, "steps": 60})
    run = Run.create(tmp_path / "run")
    train(config, run, progress=False)
    validated = [one for one in run.entries() if "validation_nll" in one]
    if mixed:
        found = measure(RGFlow.from_pretrained(run.model), config.objective, samples=1000)
        assert validated[-1]["ess"] > 0.3
        assert found.ess > 0.3
    else:
        entropy = (ising(8, 3.0).energy / 3.0 + ising(8, 3.0).log_z) / 64
        assert entropy - 0.02 < validated[-1]["validation_nll"] < math.log(2) - 0.02


@pytest.mark.parametrize("objective", ["reinforce", "likelihood"])
def test_fields_of_other_values_are_refused(objective, tmp_path):
    """Of 0 and 1, where spins are −1 and 1; also where a Markov chain's are learned from."""
    spins = np.random.default_rng(0).integers(0, 2, (100, 1, 8, 8)).astype(np.float32)
    np.save(tmp_path / "spins.npy", spins)
    changes = {"kind": objective, "forward": 0.5} if objective == "reinforce" else objective
    config = TINY.changed({"objective": changes, "data": f"fields:{tmp_path / 'spins.npy'}"})
    with pytest.raises(ValueError, match="fields of the states .-1.0, 1.0.; got other values"):
        train(replace(config, steps=2), Run.create(tmp_path / "run"), progress=False)


def test_cooling_begins_at_a_higher_temperature():
    """The gradient is that of a weaker action; fields are drawn as ever."""
    action, found = Ising(temperature=2.0), []
    flow = flow_of(action)
    for objective, progress in (
        (Reinforce(action=action, cooling=0.5), 0.25),
        (Reinforce(action=Ising(temperature=2.0 / 0.75)), 1.0),
        (Reinforce(action=action), 1.0),
    ):
        flow.zero_grad()
        generator = torch.Generator().manual_seed(0)
        batch = Batch(size=30, generator=generator, progress=progress)
        objective.losses(flow, batch).mean().backward()
        found.append(torch.cat([p.grad.flatten() for p in flow.parameters()]))
    assert torch.allclose(found[0], found[1], rtol=1e-9, atol=1e-12)
    assert not torch.allclose(found[0], found[2], rtol=0.01)


def test_growing_keeps_the_finest_levels():
    small = RGFlow(preset("ising-16").changed({"model": {"map": {"hidden": 8}}}).model)
    randomise(small)
    large = RGFlow(replace(small.config, height=32, width=32, levels=None))
    large.load_weights_from(small)
    for level, origin in enumerate([0, 1, 1, 2]):
        theirs = small.steps[origin].state_dict()
        mine = large.steps[level].state_dict()
        assert theirs.keys() == mine.keys()
        assert all(torch.equal(x, theirs[name]) for name, x in mine.items())


def test_a_flow_begins_with_what_was_learned_at_another_temperature(tmp_path):
    hot = flow_of(Ising(temperature=3.0), symmetry="permutation").float()
    hot.save_pretrained(tmp_path / "hot")
    config = preset("ising-16").changed(
        {"model": hot.config.to_dict(), "objective": {"action": {"temperature": 2.0}}}
    )
    assert config.model.geometry.exact == Ising(temperature=2.0)
    cold = RGFlow(config.model)
    load_start(cold, replace(config, pretrained=str(tmp_path / "hot")))
    learned = [x for x in hot.parameters() if x.requires_grad]
    assert all(torch.equal(x, y) for x, y in zip(cold.parameters(), learned, strict=True))
    site = cold.steps[0].cellwise[0].bijector.bijectors[0]
    assert torch.equal(site.pairs, -torch.from_numpy(Ising().pairs) / 2.0)
    plain = config.changed({"model": {"geometry": {"exact": None}}}).model
    with pytest.raises(ValueError, match=r"begins with: geometry\.exact ising.*; got None"):
        load_start(RGFlow(plain), replace(config, pretrained=str(tmp_path / "hot")))


# ---------------------------------------------------------------- the renormalization group


def test_couplings_after_an_exact_decimation():
    """Summing over every second site of the checkerboard leaves three couplings, in closed form
    (Wilson 1975): spins of one half, and of the other at the middles of their plaquettes."""
    k, random = 0.3, np.random.default_rng(0)
    half = random.choice([-1, 1], (400, 16, 16))

    def drawn(other, sign):
        around = other + np.roll(other, sign, 1)
        around = around + np.roll(around, sign, 2)
        return np.where(random.random(other.shape) < 1 / (1 + np.exp(-2 * k * around)), 1, -1)

    parts = []
    for sweep in range(90):
        half = drawn(drawn(half, 1), -1)
        if sweep >= 30 and sweep % 6 == 0:
            parts.append(half)
    found = couplings(torch.from_numpy(np.concatenate(parts))[:, None])
    four, two = math.log(math.cosh(4 * k)) / 8, math.log(math.cosh(2 * k)) / 2
    exact = np.array([2 * four, four, four - two])
    assert (np.abs(found.value - exact) < 4 * found.error).all()
    assert (found.error < 0.003).all()


def test_couplings_of_the_levels_of_a_flow():
    config = preset("ising-16").changed({"model": {"map": {"hidden": 8}}})
    flow, spins = RGFlow(config.model), Ising().reference_fields((1, 16, 16), 3200)[0]
    levels = scales(flow, spins.flatten(0, 1).float())
    assert [one.couplings is None for one in levels] == [False, False, False]
    found = levels[0].couplings
    assert (np.abs(found.value - [1 / Ising().temperature, 0, 0]) < 5 * found.error).all()
    assert levels[1].couplings.value[1] > 5 * levels[1].couplings.error[1]  # new ones appear
    assert "of plaquettes" in tables.scales(levels).head
    with pytest.raises(ValueError, match="at least 40 fields on grids of at least 4×4"):
        couplings(torch.ones(50, 1, 2, 2))


def test_couplings_of_every_second_spin_are_exact():
    weights = _of_every_second(2.5)
    assert math.log(weights.sum()) == pytest.approx(ising(8, 2.5).log_z, abs=1e-10)
    flipped = weights[::-1]  # all digits are changed
    assert weights == pytest.approx(flipped)
    spins = Ising(temperature=2.5).reference_fields((1, 8, 8), 12_800)[0].flatten(0, 1)
    found = couplings(spins[:, :, ::2, ::2])
    assert (np.abs(found.value - decimated(2.5)) < 5 * found.error).all()
    assert (found.error < 0.006).all()
    k = 1 / 2.5
    chain = np.tanh(2 * k) ** 2  # two bonds of 2K, one after the other
    assert math.tanh(migdal_kadanoff(k)) == pytest.approx(chain)


@pytest.mark.parametrize("name", ["ising", "free"])
def test_maps_of_neighbouring_levels_are_compared(name):
    """Against likelihoods of a flow with the maps of the next level in their place."""
    if name == "ising":
        flow = flow_of(Ising(temperature=2.5), (16, 16), symmetry="permutation")
    else:
        flow = RGFlow(preset("free-16").changed({"model": {"map": {"hidden": 8}}}).model).double()
        randomise(flow)
    fields = flow.sample(40, generator=torch.Generator().manual_seed(0))
    other, maps = copy.deepcopy(flow), flow.steps[1].cellwise
    maps = {one.cells.name: one.bijector for one in maps}
    for layer in other.steps[0].cellwise:
        if layer.cells.exact is None:
            layer.bijector.load_state_dict(maps[layer.cells.name].state_dict())
    with torch.no_grad():
        here, there = (of.terms(fields) for of in (flow, other))
        change = (here.prior + here.log_det - there.prior - there.log_det)[:, 0]
    found, *more = unlikeness(flow, fields, at_once=16)
    assert found.value == pytest.approx(change.mean().item() / 64)  # half of 192 are drawn exactly
    assert found.value > 5 * found.error
    assert len(more) == flow.levels - 3
    assert unlikeness(other, fields)[0].value == pytest.approx(0, abs=1e-12)


def test_the_renormalization_group_is_measured():
    flow = RGFlow(preset("ising-16").changed({"model": {"map": {"hidden": 8}}}).model)
    config = replace(preset("ising-16"), model=flow.config)
    subject = MeasuredFlow(flow, config, "mine")
    found = renormalization(subject, fields=640, temperatures=(1.5,))
    levels = found.numbers["levels"]
    assert len(levels) == 3
    k1 = levels[0]["clusters"]["neighbours"]
    assert abs(k1["value"] - 1 / Ising().temperature) < 5 * k1["error"]
    assert levels[0]["migdal_kadanoff"] == 1 / Ising().temperature
    assert found.pictures["couplings"].image.width > 1000
    with pytest.raises(ValueError, match="a flow of Ising spins"):
        renormalization(MeasuredFlow(flow, preset("potts-32"), "mine"))


# ---------------------------------------------------------------- all levels


def exact_values(action, fields, log_p):
    """All observables but the correlation, by enumeration."""
    found, p = moments(action, fields), log_p.exp().numpy()
    rules = formulas(action, tuple(fields.shape[2:]), 0.0)
    del rules["correlation"]
    return {name: f(*(p @ one(found) for one in of)) for name, (f, of) in rules.items()}


def test_coarse_fields_have_the_densities_of_their_sums():
    """Those of the upper levels alone, and where both are drawn."""
    action = Ising(temperature=2.5)
    flow, fields = flow_of(action), every(action, 4, 4)
    with torch.no_grad():
        p = flow.log_prob(fields).exp()
        states = 2 ** torch.arange(4.0).double()

        def number(x):
            return ((x.flatten(1) > 0).double() @ states).long()

        summed = torch.zeros(16).double().index_add(0, number(fields[:, :, ::2, ::2]), p)
        (coarse,), log_q = flow.sample_levels(4000, 1, torch.Generator().manual_seed(0))
        torch.testing.assert_close(log_q.exp(), summed[number(coarse)])
        found = torch.bincount(number(coarse), minlength=16) / 4000
        assert ((found - summed).abs() < 4.5 * (summed / 4000).sqrt()).all()
        (fine, coarse), log_q = flow.sample_levels(50, 0, torch.Generator().manual_seed(0))
        alone, same = flow.sample_and_log_prob(50, torch.Generator().manual_seed(0))
    assert torch.equal(fine, alone)
    assert torch.equal(log_q, same)
    assert torch.equal(coarse, fine[:, :, ::2, ::2])
    with pytest.raises(ValueError, match="a level of 0 to 1; got 2"):
        flow.sample_levels(1, 2)


def test_sums_over_levels_are_exact():
    """Every field once is a sample of a flow that has learned nothing, so no mean has an error."""
    action = Ising(temperature=2.0)
    fields, coarse = every(action, 4, 4), every(action, 2, 2)
    log_w = -action(fields)
    finest = Level(
        level=0, fields=len(fields), seconds=1.0, log_weights=log_w.numpy(),
        moments=[moments(action, fields), moments(action, fields[:, :, ::2, ::2])],
    )  # fmt: skip
    top = Level(level=1, fields=16, seconds=0.1, moments=[moments(action, coarse)])
    found = multilevel([finest, top], action, (4, 4))
    exact = exact_values(action, fields, log_w - torch.logsumexp(log_w, 0))
    assert {name: one.value for name, one in found.observables.items()} == pytest.approx(exact)
    assert exact["energy"] == pytest.approx(action.mean_energy(1, 4, 4))


def test_estimates_from_all_levels_and_their_errors():
    """Of a flow that isn't quite right, against enumeration."""
    action, off, less = Ising(temperature=2.5), [], []
    flow, fields = flow_of(action, symmetry="permutation", strength=0.0), every(action, 4, 4)
    adam, generator = torch.optim.Adam(flow.parameters(), lr=0.02), torch.Generator().manual_seed(0)
    for _ in range(100):
        adam.zero_grad()
        batch = Batch(size=200, generator=generator)
        Reinforce(action=action).losses(flow, batch).mean().backward()
        adam.step()
    exact = exact_values(action, fields, -action(fields) - action.log_z(1, 4, 4))
    for seed in range(30):
        found = measure(flow, Reinforce(action=action), samples=1000, seed=seed)
        several = found.multilevel.observables
        off.append([(one.value - exact[name]) / one.error for name, one in several.items()])
        less.append(several["susceptibility"].error / found.reweighted.susceptibility.error)
    assert 0.7 < found.ess < 0.97
    assert (np.abs(np.mean(off, 0)) < 4 / 30**0.5).all()
    assert ((np.std(off, 0) > 0.6) & (np.std(off, 0) < 1.45)).all()
    assert np.mean(less) < 0.95
    levels = found.multilevel.levels
    assert [one.level for one in levels] == [0, 1]
    error = sum(one.variance / one.fields for one in levels) ** 0.5
    assert error == pytest.approx(several["susceptibility"].error)
    assert "level 0 alone takes" in of_levels(found.multilevel).settings
    assert "all levels" in of_observables(found).head


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Ising(temperature=0.0), "temperature to be at least 0.01; got 0.0"),
        (lambda: Potts(colours=1), "colours to be at least 2; got 1"),
        (lambda: StateMap(spins=(1.0, -1.0)), "states in order"),
        (lambda: Windows(exact=Ising(), boundary="open"), "a periodic boundary"),
        (lambda: Windows(exact=Ising(), period=3), "an even period"),
        (lambda: flow_of(Ising(), channels=2), "one channel"),
        (lambda: replace(flow_of(Ising()).config, map=StateMap(spins=(0, 1))), "the action that"),
        (lambda: flow_of(Ising()).log_prob(torch.zeros(1, 1, 4, 4)), "of the states .-1.0, 1.0."),
        (lambda: Reinforce(action=Potts()).begin(flow_of(Ising())), "of the same states"),
        (lambda: Reinforce(action=FreeField()).begin(flow_of(Ising())), "of the same states"),
        (lambda: Ising().reference_fields((1, 4, 8), 100), "a square lattice with even edges"),
        (lambda: heat_bath(3, 1.0, np.zeros(2), np.eye(2)), "an even length"),
        (lambda: TINY.changed({"objective": "path_gradient"}), "of real numbers.*reinforce"),
        (lambda: TINY.changed({"objective": "reverse_kl"}), "of real numbers.*reinforce"),
        (lambda: TINY.changed({"model": {"map": {"spins": (0, 1)}}}), r"--model.map.spins '\[-1"),
        (
            lambda: preset("phi4-6").changed(
                {"model": {"geometry": {"exact": None}}, "objective": {"action": "ising"}}
            ),
            "of real numbers.*reinforce",
        ),
    ],
)
def test_what_is_wrong_is_said(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_states_of_an_action_are_those_of_its_flow():
    changed = preset("potts-32").changed({"objective": {"action": {"colours": 5}}})
    assert changed.model.map.states == (0.0, 1.0, 2.0, 3.0, 4.0)
    assert changed.model.geometry.exact == changed.objective.action == Potts(colours=5)
    plain = {"model": {"geometry": {"exact": None}}, "objective": {"action": {"kind": "potts"}}}
    assert preset("ising-16").changed(plain).model.map.states == (0.0, 1.0, 2.0)
    assert preset("ising-16").changed(plain).model.geometry.exact is None


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--objective.action.temperature", "0"], "temperature to be at least 0.01; got 0"),
        (["--objective.action.temperature", "-1.5"], "temperature to be at least 0.01; got -1.5"),
        (["--objective.action.kind", "isng"], "phi4, free, ising, potts, blume_capel; got 'isng'"),
        (["--objective.action.kind", "far.away"], "four neighbours alone.*geometry.exact null"),
        (["--model.height", "15"], "height to be a multiple of 4.* got 15 .nearest: 12 or 16"),
        (["--objective", "path_gradient"], "spins need the objective reinforce"),
        (["--objective.forward", "1", "--objective.cooling", "0.5"], "forward 1 and cooling 0.5"),
    ],
)
def test_a_command_refuses_in_one_sentence(words, sentence, tmp_path, capsys):
    out = ["--steps", "1", "--out", str(tmp_path / "run")]
    assert main(["train", "ising-16", *words, *out]) == 2
    said = capsys.readouterr().err
    assert re.fullmatch(f"rgflow: Expected .*{sentence}.*\\.\n", said)
    assert not (tmp_path / "run").exists()


def test_a_symmetry_that_the_action_lacks_is_refused():
    action = BlumeCapel(splitting=0.3)
    flow = flow_of(action, symmetry="permutation")
    with pytest.raises(ValueError, match="an action with the symmetry permutation"):
        Reinforce(action=action).begin(flow)


def test_an_action_that_reaches_farther_is_refused():
    class Far(Phi4):
        near = False

    with pytest.raises(ValueError, match="four neighbours alone"):
        Windows(exact=Far())


def test_commands_show_fields_of_spins(tmp_path):
    torch.manual_seed(0)
    changes = {"map": {"hidden": 8}, "height": 8, "width": 8, "shared": True, "shared_from": 1}
    config = preset("ising-16").changed({"model": {**changes, "geometry": {"period": 2}}}).model
    flow = RGFlow(config)
    randomise(flow)
    flow.save_pretrained(tmp_path / "model")
    for command in ("fields", "levels", "traverse"):
        out = tmp_path / command
        assert main([command, str(tmp_path / "model"), "--out", str(out)]) == 0
        pictures = list(out.glob("*.png"))
        assert pictures
        assert all(np.ptp(np.asarray(Image.open(path).convert("L"))) > 99 for path in pictures)
