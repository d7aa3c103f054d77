"""Actions of lattice fields, what learns them, and what is measured of them."""

import importlib
import json
import math
import os
import signal
import sys
from dataclasses import replace
from itertools import product
from types import ModuleType

import numpy as np
import pytest
import torch

from flows import propagator, random_flow
from rgflow import Batch, FlowConfig, GaussianPrior, RGFlow, SiteMap, TrainConfig, Windows, preset
from rgflow.actions import FreeField, Ising, OwnAction, Phi4, evaluated
from rgflow.actions.spins import MIN_TEMPERATURE
from rgflow.analysis.measurement import measure
from rgflow.analysis.observables import Moments, moments, observables
from rgflow.cli import main
from rgflow.field_theory import accepted, exact, ising
from rgflow.objectives import PathGradient, ReverseKL
from rgflow.report.measurement import cautions
from rgflow.training import train
from rgflow.training.run import Run
from rgflow.training.start import load_start


def small(length=4, **map):
    """A flow of fields, with random weights."""
    return RGFlow(
        FlowConfig(
            height=length,
            width=length,
            channels=1,
            geometry=Windows(period=4, reach=3),
            map=SiteMap(hidden=8, bins=4, **map),
            prior=GaussianPrior(),
            pixels=None,
        )
    )


TINY = {
    "geometry": {"kind": "windows", "period": 2, "reach": 2},
    "map": {"hidden": 8, "bins": 4},
    "shared": True,
}
"""A flow of fields that learns in seconds."""


# ---------------------------------------------------------------- actions


def slow_phi4(x, c1, c2, c4):
    """S of one field [C, H, W], site by site."""
    _, height, width = x.shape
    total = 0.0
    for i, j in product(range(height), range(width)):
        here = x[:, i, j]
        for other in (x[:, (i + 1) % height, j], x[:, i, (j + 1) % width]):
            total += c1 * float(here @ other)
        square = float(here @ here)
        total += c2 * square + c4 * square**2
    return total


@pytest.mark.parametrize("channels", [1, 3])
def test_phi4_against_loops(channels):
    x = torch.randn(2, channels, 3, 4, dtype=torch.float64)
    action = Phi4(c1=-0.7, c2=0.3, c4=1.9)
    expected = [slow_phi4(one, -0.7, 0.3, 1.9) for one in x]
    assert action(x).tolist() == pytest.approx(expected, rel=1e-12)


def test_conventions():
    assert Phi4.albergo(-4, 6.975) == Phi4(c1=-2.0, c2=0.0, c4=6.975)
    assert Phi4.nicoli(0.3, 0.022) == Phi4(c1=-0.6, c2=1 - 0.044, c4=0.022)
    assert Phi4.standard(1.0, 6.0) == Phi4(c1=-1.0, c2=2.5, c4=0.25)
    x = torch.randn(3, 1, 4, 6, dtype=torch.float64)
    gradient = (x.roll(-1, 2) - x).square() + (x.roll(-1, 3) - x).square()
    free = (gradient + 1.3 * x.square()).sum((1, 2, 3)) / 2
    assert torch.allclose(FreeField(mass2=1.3)(x), free)
    assert torch.allclose(Phi4.standard(1.3, 0)(x), free)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Phi4(c4=-1.0), "bounded from below"),
        (lambda: Phi4(c1=-2.0, c2=4.0, c4=0.0), "c2 > 2·.c1."),
        (lambda: Phi4(c2=math.nan), "c2 to be a finite number; got nan"),
        (lambda: FreeField(mass2=0.0), "mass2 to be positive; got 0.0"),
        (lambda: Ising(temperature=-1.0), "temperature to be at least 0.01; got -1.0"),
        (lambda: Ising(temperature=0.0), "temperature to be at least 0.01; got 0.0"),
        (lambda: ReverseKL(action=3), "action to be of the type Action; got 3"),
        (lambda: evaluated(lambda x: x.sum(), torch.zeros(2, 1, 4, 4)), "each of 2 fields"),
        (lambda: evaluated(lambda x: x.sum((1, 2, 3)) / 0, torch.ones(2, 1, 4, 4)), "is finite"),
        (lambda: OwnAction(path="not.there")(torch.zeros(1, 1, 4, 4)), "--trust not"),
        (lambda: preset("phi4-6").changed({"model": {"height": 7}}).model, None),
    ],
)
def test_what_is_wrong_is_said(make, message):
    if message is None:
        with pytest.raises(ValueError, match="multiple of"):
            RGFlow(make())
        return
    with pytest.raises(ValueError, match=message):
        make()


def test_an_action_of_ones_own_in_a_config(monkeypatch):
    module = ModuleType("springs")
    module.stretched = lambda x: x.square().sum((1, 2, 3))
    monkeypatch.setitem(sys.modules, "springs", module)
    values = {
        "data": "none",
        "model": {"pixels": None},
        "objective": {"kind": "reverse_kl", "action": {"kind": "springs.stretched"}},
    }
    config = TrainConfig.from_dict(values)
    assert config.objective.action == OwnAction(path="springs.stretched")
    assert TrainConfig.from_dict(config.to_dict()) == config
    assert config.objective.energy(torch.ones(2, 1, 4, 4)).tolist() == [16, 16]
    with pytest.raises(ValueError, match="no options of the action 'springs.stretched'"):
        ReverseKLOf({"kind": "springs.stretched", "mass": 1})


def ReverseKLOf(action):  # noqa: N802
    """The objective with an action as a config has it."""
    values = {"data": "none", "objective": {"kind": "reverse_kl", "action": action}}
    return TrainConfig.from_dict(values).objective


def test_an_unknown_option_of_an_action_is_named():
    with pytest.raises(ValueError, match="options of the action ising: temperature; got 'beta'"):
        ReverseKLOf({"kind": "ising", "beta": 0.4})


# ---------------------------------------------------------------- maps and symmetry


def test_odd_maps_have_the_symmetry():
    flow = random_flow(
        map={"kind": "site", "hidden": 8, "bins": 3, "odd": True},
        geometry={"kind": "windows", "period": 4, "reach": 3},
        channels=2, pixels=None, prior="gaussian",
    )  # fmt: skip
    x = torch.randn(4, 2, 8, 8, dtype=torch.float64)
    assert torch.allclose(flow.log_prob(-x), flow.log_prob(x), rtol=1e-12)
    assert flow.log_prob(x).abs().min() > 1
    other = random_flow(
        map={"kind": "site", "hidden": 8, "bins": 3},
        geometry={"kind": "windows", "period": 4, "reach": 3},
        channels=2, pixels=None, prior="gaussian",
    )  # fmt: skip
    assert (other.log_prob(-x) - other.log_prob(x)).abs().max() > 0.1


# ---------------------------------------------------------------- objectives


def gradient(objective, flow, size, seed=0, progress=1.0):
    """The gradient of the mean loss by all weights."""
    flow.zero_grad()
    generator = torch.Generator().manual_seed(seed)
    batch = Batch(size=size, generator=generator, progress=progress)
    objective.losses(flow, batch).mean().backward()
    return torch.cat([p.grad.flatten() for p in flow.parameters()])


def test_the_path_gradient_is_the_reparametrised_one_in_the_mean():
    flow = random_flow(
        map={"kind": "site", "hidden": 4, "bins": 3},
        geometry={"kind": "windows", "reach": 1},
        height=4, width=4, channels=1, pixels=None, prior="gaussian",
    )  # fmt: skip
    action = Phi4(c1=-0.3, c2=1.0, c4=0.2)
    kinds = [objective(action=action) for objective in (ReverseKL, PathGradient)]
    parts = [torch.stack([gradient(k, flow, 500, seed) for seed in range(24)]) for k in kinds]
    difference = (parts[0] - parts[1]).mean(0)
    error = (parts[0] - parts[1]).std(0) / 24**0.5 + 1e-9
    assert (difference / error).square().mean() < 2  # 1 in the mean, of numbers that are 0
    assert (parts[0].mean(0) / (parts[0].std(0) / 24**0.5 + 1e-9)).square().mean() > 10
    batch = Batch(size=5, generator=torch.Generator().manual_seed(1))
    again = Batch(size=5, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(kinds[0].losses(flow, batch), kinds[1].losses(flow, again))


def test_the_path_gradient_vanishes_where_the_flow_is_right():
    flow = small().double()  # the identity, of independent normal values
    action = Phi4(c1=0.0, c2=0.5, c4=0.0)
    assert gradient(PathGradient(action=action), flow, 64).abs().max() < 1e-12
    assert gradient(ReverseKL(action=action), flow, 64).abs().max() > 1e-3


@pytest.mark.parametrize("objective", [ReverseKL, PathGradient])
def test_an_action_rises_from_half_its_strength(objective):
    flow = random_flow(
        map={"kind": "site", "hidden": 4, "bins": 3},
        geometry={"kind": "windows", "period": 2, "reach": 1, "exact": {"kind": "free"}},
        height=4, width=4, channels=1, pixels=None, prior="gaussian",
    )  # fmt: skip
    action = {"c1": -1.0, "c2": 2.5, "c4": 0.0}
    cooled = objective(action=Phi4(**action), cooling=0.5)
    for progress, strength in ((0.0, 0.5), (0.25, 0.75), (0.5, 1.0), (1.0, 1.0)):
        weaker = objective(action=Phi4(**{k: strength * c for k, c in action.items()}))
        found = gradient(cooled, flow, 16, progress=progress)
        assert torch.allclose(found, gradient(weaker, flow, 16), rtol=1e-9, atol=1e-12)
        with torch.no_grad():
            batches = [
                Batch(size=9, generator=torch.Generator().manual_seed(1), progress=p)
                for p in (progress, 1.0)
            ]
            assert torch.equal(*(cooled.losses(flow, batch) for batch in batches))


def test_a_flow_begins_with_the_scale_of_its_action():
    flow, objective = small(), ReverseKL(action=FreeField(mass2=100.0))
    before = objective.losses(flow, Batch(size=200)).mean()
    objective.begin(flow)
    assert objective.losses(flow, Batch(size=200)).mean() < before - 10


# ---------------------------------------------------------------- learning and measuring


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run that has learned a heavy free field."""
    config = preset("free-8").changed(
        {
            "steps": 100, "batch_size": 64, "validate_count": 200, "compile": False,
            "objective": {"kind": "path_gradient", "action": {"kind": "free", "mass2": 4.0}},
            "model": TINY,
        }
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("runs") / "free"
    train(config, Run.create(folder), progress=False)
    return folder


def test_a_run_learns_and_logs_ess_and_acceptance(run):
    last = [e for e in Run.open(run).entries() if "ess" in e][-1]
    assert last["ess"] > 0.3
    assert 0.5 < last["acceptance"] <= 1


def test_the_model_of_the_largest_ess_is_kept(tmp_path, monkeypatch):
    sizes = iter((0.1, 0.6, 0.3))
    monkeypatch.setattr(ReverseKL, "scores", lambda self, losses: {"ess": next(sizes)})
    config = preset("free-8").changed(
        {
            "steps": 2, "batch_size": 4, "validate_count": 10, "compile": False, "model": TINY,
            "validate_every": 0,
        }
    )  # fmt: skip
    run = Run.create(tmp_path / "run")
    result = train(config, run, progress=False)
    validated = [one for one in run.entries() if "ess" in one]
    assert [one["ess"] for one in validated] == [0.1, 0.6, 0.3]
    assert result.best == validated[1]["validation_nll"]


def test_a_resumed_run_is_the_uninterrupted_one(tmp_path):
    config = preset("free-8").changed(
        {
            "steps": 6, "batch_size": 4, "validate_count": 10, "compile": False, "model": TINY,
            "schedule": "constant",
            "objective": {"action": {"mass2": 4.0}},
        }
    )  # fmt: skip
    flows = []
    for name, steps in (("whole", [6]), ("parts", [2, 6])):
        for k, until in enumerate(steps):
            run = Run.unfinished(tmp_path / name) if k else Run.create(tmp_path / name)
            train(replace(config, steps=until), run, resume=bool(k), progress=False)
        flows.append(Run.open(tmp_path / name).checkpoints(1).load()["flow"])
    assert all(torch.equal(flows[0][name], flows[1][name]) for name in flows[0])


def test_a_resumed_run_cools_down_as_the_uninterrupted_one(tmp_path, monkeypatch):
    config = preset("free-8").changed(
        {
            "steps": 8, "batch_size": 4, "validate_count": 10, "compile": False, "model": TINY,
            "objective": {"action": {"mass2": 4.0}, "cooling": 0.75},
        }
    )  # fmt: skip
    strengths: list[float] = []
    kind = type(config.objective)
    losses = kind.reverse_losses

    def noted(self, flow, batch, strength):
        if torch.is_grad_enabled():
            strengths.append(strength)
            if len(strengths) == 11:  # the third step of the second run
                os.kill(os.getpid(), signal.SIGINT)
        return losses(self, flow, batch, strength)

    monkeypatch.setattr(kind, "reverse_losses", noted)
    train(config, Run.create(tmp_path / "whole"), progress=False)
    assert strengths == pytest.approx([min(1, 0.5 + k / 12) for k in range(8)])
    train(config, Run.create(tmp_path / "parts"), progress=False)
    assert len(strengths) == 11
    train(config, Run.unfinished(tmp_path / "parts"), resume=True, progress=False)
    assert strengths[8:] == strengths[:8]
    whole, parts = (
        Run.open(tmp_path / name).checkpoints(1).load()["flow"] for name in ("whole", "parts")
    )
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_measuring_a_run(run, capsys):
    assert main(["measure", str(run), "--samples", "500", "--reference", "500"]) == 0
    printed = capsys.readouterr().out
    assert "ln Z, exact" in printed
    assert "Not to be trusted" not in printed
    assert (run / "pictures" / "measurement.png").is_file()
    flow = Run.open(run).flow()
    found = measure(flow, Run.open(run).config().objective, samples=1500, reference=1500)
    exact = found.log_z_exact
    assert found.log_z_bound.value < exact < found.reference.upper_bound.value
    assert abs(found.log_z.value - exact) < 4 * found.log_z.error
    assert max(map(abs, found.differences.values())) < 4.5
    exact_lines = propagator((8, 8), 4.0)
    several = found.multilevel.observables["susceptibility"]
    assert abs(several.value - exact_lines.sum()) < 5 * several.error
    for one in (found.reweighted, found.metropolis.observables, found.reference.observables):
        assert abs(one.susceptibility.value - exact_lines.sum()) < 5 * one.susceptibility.error
        lines = exact_lines.sum(0)[: len(one.correlation.value)]
        assert (np.abs(one.correlation.value - lines) < 5 * one.correlation.error).all()


def test_growing(run):
    config = Run.open(run).config().changed({"pretrained": str(run), "model": {"levels": None}})
    flow = RGFlow(config.changed({"model": {"height": 16, "width": 16, "levels": None}}).model)
    load_start(flow, config.changed({"model": {"height": 16, "width": 16, "levels": None}}))
    assert flow.levels == 4
    objective = config.objective
    with torch.no_grad():
        grown = objective.losses(flow, Batch(size=100)).mean() / 256
        learned = objective.losses(Run.open(run).flow(), Batch(size=100)).mean() / 64
    assert abs(grown - learned) < 0.05  # of a heavy field, all sizes are alike


def test_a_flow_without_an_action_is_refused(capsys):
    assert main(["measure", "msds1-best"]) == 2
    said = capsys.readouterr().err
    assert "Expected an objective with an energy, such as reverse_kl; MaximumLikelihood has" in said


def test_an_objective_of_ones_own_is_measured_and_reported(tmp_path, monkeypatch, capsys):
    """By its energy, with the results of the same action of the package."""
    (tmp_path / "pull.py").write_text(PULL)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("rgflow.report.subject.SAMPLES", 200)
    pull = importlib.import_module("pull").Pull(mass2=4.0)
    flow = small()
    free = ReverseKL(action=FreeField(mass2=4.0))
    found, same = (measure(flow, objective, samples=300) for objective in (pull, free))
    assert found.log_weights == pytest.approx(same.log_weights, rel=1e-5)
    assert found.reweighted.energy == pytest.approx(same.reweighted.energy, rel=1e-5)
    assert found.modes
    assert same.log_z_exact
    assert found.log_z_exact is None
    config = TrainConfig(
        model=flow.config, objective=pull, data="none", steps=1, batch_size=4, validate_count=20,
        compile=False,
    )  # fmt: skip
    train(config, Run.create(tmp_path / "own"), progress=False)
    monkeypatch.delitem(sys.modules, "pull")
    command = ["measure", str(tmp_path / "own"), "--samples", "100", "--reference", "100"]
    assert main(command) == 2
    assert "add --trust pull.Pull" in capsys.readouterr().err
    assert main([*command, "--trust", "pull"]) == 0
    numbers = json.loads((tmp_path / "own" / "measurement.json").read_text())
    assert numbers["reference"]["method"] == "hmc"
    assert "log_weights" not in numbers
    assert main(["report", str(tmp_path / "own"), "--trust", "pull", "--draws", "1"]) == 0
    page = (tmp_path / "own" / "report.html").read_text()
    assert "What the renormalization group sees" in page
    assert "The action is Pull(mass2=4.0)." in page


PULL = """
from dataclasses import dataclass
from typing import ClassVar

from rgflow import Objective


@dataclass(frozen=True, kw_only=True)
class Pull(Objective):
    mass2: float = 1.0
    needs_data: ClassVar[bool] = False

    def energy(self, fields):
        tension = sum((fields - fields.roll(1, axis)).square() for axis in (2, 3))
        return (tension + self.mass2 * fields.square()).sum((1, 2, 3)) / 2

    def losses(self, flow, batch):
        x, log_q = flow.sample_and_log_prob(batch.size, batch.generator)
        return log_q + self.energy(x)
"""


def test_an_independence_sampler_finds_the_distribution():
    random = np.random.default_rng(0)
    x = random.normal(scale=1.5, size=40_000)
    log_w = -(x**2) / 2 + x**2 / (2 * 1.5**2)
    assert x[accepted(log_w)].var() == pytest.approx(1.0, abs=0.05)


def test_a_missed_mode_is_seen():
    class OneSided:
        """Fields of one sign, of an action with two."""

        image_shape, device, dtype = (1, 4, 4), torch.device("cpu"), torch.float32

        def sample_levels(self, n, level=0, generator=None):
            x = 1 + 0.1 * torch.randn(n, 1, 4, 4, generator=generator)
            return [x], self.log_prob(x)

        def log_prob(self, x):
            normal = torch.distributions.Normal(1.0, 0.1)
            return normal.log_prob(x).sum((1, 2, 3))

    action = Phi4(c1=0.0, c2=-100.0, c4=50.0)
    one = measure(OneSided(), ReverseKL(action=action), samples=2000)
    assert not one.modes.covered
    assert one.modes.drawn == 1
    seen = measure(OneSided(), ReverseKL(action=action), samples=500, reference=64)
    assert any("misses fields that the reference has" in said for said in cautions(seen))


def test_energies_of_reference_spins():
    fields, method = Ising(temperature=3.0).reference_fields((1, 8, 8), 6400)
    assert method == "clusters"
    found = moments(Ising(temperature=3.0), fields.flatten(0, 1))
    energy = observables(found, Ising(temperature=3.0), (8, 8)).energy
    assert abs(energy.value - ising(8, 3.0).energy / 64) < 5 * energy.error


def test_one_number_for_all_fields_is_refused(monkeypatch):
    module = ModuleType("flat")
    module.zero = lambda x: 0 * x.sum((1, 2, 3))
    monkeypatch.setitem(sys.modules, "flat", module)
    objective = ReverseKL(action=OwnAction(path="flat.zero"))
    with pytest.raises(ValueError, match="an action that differs between fields"):
        measure(small(), objective, samples=100)


def test_the_command_goes_on_with_the_action_of_a_model(run, capsys):
    grown = ["--model.height", "16", "--model.width", "16", "--model.levels", "null"]
    command = ["train", "--pretrained", str(run), *grown, "--minutes", "1", "--print_config"]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "mass2: 4.0" in printed
    assert "data: none" in printed


def test_a_preset_says_the_size_of_what_grows(run, tmp_path, capsys):
    """Otherwise it would be that of the model, the smaller one."""
    out = ["--steps", "1", "--validate_count", "4", "--out", str(tmp_path / "grown")]
    assert main(["train", "free-16", "--pretrained", str(run), *out]) == 0
    grown = Run.open(tmp_path / "grown").flow()
    assert (grown.image_shape, grown.levels) == ((1, 16, 16), 4)


def test_levels_with_weights_of_their_own_grow(tmp_path):
    """A larger flow begins with its finest levels as they were, and with the top as it was."""
    config = preset("free-8").changed({"model": TINY | {"shared": False}})
    small = RGFlow(config.model)
    for k, parameter in enumerate(small.parameters()):
        torch.nn.init.constant_(parameter, 0.01 * k)
    run = Run.create(tmp_path / "small")
    run.model.parent.mkdir(parents=True)
    small.save_pretrained(run.model)
    large = config.changed(
        {
            "pretrained": str(run.model),
            "model": {"height": 16, "width": 16, "levels": None},
        }
    )
    flow = RGFlow(large.model)
    load_start(flow, large)
    origins = [0, 1, 1, 2]  # of four levels, from three
    for step, origin in zip(flow.steps, origins, strict=True):
        theirs = small.steps[origin].state_dict()
        assert all(torch.equal(x, theirs[name]) for name, x in step.state_dict().items())


def ar1(decay, draws, seed):
    """A chain whose τ_int is ½ (1 + decay)/(1 − decay), with a standard deviation of 1."""
    noise = np.random.default_rng(seed).normal(size=draws) * (1 - decay**2) ** 0.5
    x, out = 0.0, []
    for one in noise:
        x = decay * x + one
        out.append(x)
    return np.array(out)


def test_errors_of_a_chain_are_for_its_autocorrelation():
    """Blocks grow with τ_int; where too few fit, an error is infinite rather than too small."""
    for decay, finite in ((0.9, True), (0.98, True), (0.999, False)):
        tau = (1 + decay) / (1 - decay) / 2
        errors = []
        for seed in range(10):
            x = ar1(decay, 10_000, seed)
            found = Moments(
                magnetisation=x, energy=x, longest=1 + x**2, correlation=x[:, None], signed=x
            )
            errors.append(observables(found, FreeField(), (4, 4), tau=tau).magnetisation.error)
        expected = (2 * tau / 10_000) ** 0.5
        assert (
            np.mean(errors) == pytest.approx(expected, rel=0.2)
            if finite
            else np.isinf(errors).all()
        )


def test_an_action_that_is_not_even_has_no_modes_to_miss(monkeypatch):
    module = ModuleType("tilted")
    module.action = lambda x: (x.square() / 2 - 0.4 * x).sum((1, 2, 3))
    monkeypatch.setitem(sys.modules, "tilted", module)
    action = OwnAction(path="tilted.action")
    found = measure(small(), ReverseKL(action=action), samples=500)
    assert found.modes is None
    assert not any("mode" in said for said in cautions(found))
    with pytest.raises(ValueError, match="for odd maps; this one differs"):
        ReverseKL(action=action).begin(small(odd=True))


def test_the_zero_mode_is_looked_at_apart():
    found = measure(small(), ReverseKL(action=FreeField(mass2=0.05)), samples=5000)
    m2, weights = found.magnetisations**2, np.exp(found.log_weights - found.log_weights.max())
    expected = m2.mean() / (m2 @ weights / weights.sum())
    assert found.modes.zero_mode.value == pytest.approx(expected)
    assert found.modes.zero_mode.value < 0.5  # an untrained flow draws too narrow ones


def test_the_correlation_length_of_an_oblong_lattice():
    """That of a free field, from the exact propagator along the longer edge."""
    action, shape = FreeField(mass2=0.3), (1, 4, 16)
    variances = torch.fft.fft2(torch.from_numpy(propagator(shape[1:], 0.3))).real
    noise = torch.fft.fft2(torch.randn(32_000, *shape, dtype=torch.float64))
    fields = torch.fft.ifft2(variances.sqrt() * noise).real
    found = observables(moments(action, fields), action, shape[1:])
    step = 2 * np.sin(np.pi / 16)
    ratio = (0.3 + step**2) / 0.3
    expected = (ratio - 1) ** 0.5 / step
    assert abs(found.correlation_length.value - expected) < 4 * found.correlation_length.error
    assert found.correlation_length.error < 0.1 * expected


def test_an_action_brings_its_reference_and_what_observables_are_of():
    class Known(FreeField):
        heat_factor = 4.0

        def observed(self, fields):
            return 2 * fields.double(), self(fields.double())

        def reference_fields(self, shape, count, seed=0, thin=4):
            return torch.randn(count // 10, 10, *shape, dtype=torch.float64), "known"

    found, same = (
        measure(small(), ReverseKL(action=action), samples=300, reference=100)
        for action in (Known(), FreeField())
    )
    assert (found.reference.method, found.reference.fields) == ("known", 100)
    for name, factor in {"specific_heat": 4, "magnetisation": 2, "energy": 1}.items():
        mine, theirs = (getattr(one.reweighted, name).value for one in (found, same))
        assert mine == pytest.approx(factor * theirs)


def test_clusters_need_a_square():
    assert MIN_TEMPERATURE == exact.MIN_TEMPERATURE
    assert Ising().mean_energy(1, 12, 16) is None
    assert Ising(temperature=3.0).mean_energy(1, 8, 8) == ising(8, 3.0).energy / 64
    for shape in ((1, 4, 8), (2, 8, 8)):
        with pytest.raises(ValueError, match="a square lattice with even edges"):
            Ising().reference_fields(shape, 100)
