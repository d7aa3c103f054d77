"""Densities averaged over symmetries of the lattice, against enumeration."""

import math

import pytest
import torch

from flows import randomise
from rgflow import FlowConfig, GaussianPrior, RGFlow, SiteMap, StateMap, Windows
from rgflow.actions import BlumeCapel, Ising, Phi4
from rgflow.analysis import measure
from rgflow.analysis.symmetries import averaged, of_lattice, scattered
from rgflow.objectives import PathGradient, Reinforce

NAMES = ("square", "translations", "all")
ISING = Ising(temperature=3.0)
PHI4 = Phi4(c1=-1.0, c2=0.5, c4=0.5)


def flow_of(action, height, width):
    """A flow with random weights, in float64."""
    torch.manual_seed(0)
    states = action.states
    flow = RGFlow(
        FlowConfig(
            height=height,
            width=width,
            channels=1,
            geometry=Windows(period=2, reach=1, exact=action),
            map=StateMap(hidden=8, spins=states) if states else SiteMap(hidden=8, bins=4),
            prior=GaussianPrior(),
            pixels=None,
        )
    ).double()
    randomise(flow, 1.0 if states else 0.3)
    return flow


def every(action, height, width):
    """All fields of a lattice, [q^N, 1, H, W]."""
    found = torch.cartesian_prod(*[torch.tensor(action.states).double()] * (height * width))
    return found.view(-1, 1, height, width)


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("action", "shape"), [(ISING, (2, 2)), (ISING, (4, 2)), (BlumeCapel(temperature=2.0), (2, 2))]
)
def test_averages_are_densities_of_which_fields_are_drawn(action, shape, name):
    """They sum to 1, samples are as frequent as they say, and weights have the mean Z and the
    least spread."""
    flow, group, fields = flow_of(action, *shape), of_lattice(name, *shape), every(action, *shape)
    log_q, log_mean = flow.log_prob(fields), averaged(flow, fields, group)
    assert log_mean.logsumexp(0).item() == pytest.approx(0, abs=1e-12)
    # The mean of weights over the flow's samples and symmetries is Z, that of their squares less.
    moved = torch.stack([-action(g(fields)) - averaged(flow, g(fields), group) for g in group])
    log_z = action.log_z(1, *shape)
    first = (moved + log_q).flatten().logsumexp(0).item() - math.log(len(group))
    assert first == pytest.approx(log_z, abs=1e-12)
    second = (2 * moved + log_q).flatten().logsumexp(0).item() - math.log(len(group))
    before = (2 * (-action(fields) - log_q) + log_q).logsumexp(0).item()
    assert 2 * log_z - 1e-12 <= second <= before + 1e-12
    assert second < before - 1e-3
    # How often a moved sample is a field.
    generator, draws = torch.Generator().manual_seed(0), 20_000
    drawn = scattered(flow.sample(draws, generator=generator), group, generator)
    powers = len(action.states) ** torch.arange(fields[0].numel() - 1, -1, -1)
    numbers = ((drawn - action.states[0]) / (action.states[1] - action.states[0])).flatten(1)
    often = torch.bincount(numbers.long() @ powers, minlength=len(fields)) / draws
    errors = (log_mean.exp() / draws).sqrt()
    assert ((often - log_mean.exp()).abs() < 5 * errors + 2 / draws).all()


@torch.no_grad()
@pytest.mark.parametrize(
    ("action", "name"),
    [(ISING, "all"), (PHI4, "square"), (PHI4, "translations")],
)
def test_averages_have_the_symmetry(action, name):
    flow, group = flow_of(action, 4, 4), of_lattice(name, 4, 4)
    fields = flow.sample(5, generator=torch.Generator().manual_seed(0))
    expected = averaged(flow, fields, group)
    for g in group[1 :: len(group) // 3]:
        torch.testing.assert_close(averaged(flow, g(fields), group), expected, rtol=0, atol=1e-11)
        torch.testing.assert_close(action(g(fields)), action(fields), rtol=0, atol=1e-12)
    images = {tuple(g(torch.arange(16.0).view(1, 1, 4, 4)).flatten().tolist()) for g in group}
    assert len(images) == len(group)  # all differ
    alone = averaged(flow, fields, of_lattice("none", 4, 4))
    torch.testing.assert_close(alone, flow.log_prob(fields), rtol=0, atol=0)
    assert (alone - expected).abs().max() > 1e-3


@pytest.mark.parametrize("objective", [Reinforce(action=ISING), PathGradient(action=PHI4)])
def test_a_measurement_has_more_effective_samples(objective):
    flow = flow_of(objective.action, 4, 4)
    plain, found = (
        measure(flow, objective, samples=1000, reference=200, symmetries=name)
        for name in ("none", "square")
    )
    assert (plain.symmetries, found.symmetries) == ("none", "square")
    assert found.ess > plain.ess
    assert found.reference.forward_ess > plain.reference.forward_ess
    if found.log_z_exact:
        assert abs(found.log_z.value - found.log_z_exact) < 4.5 * found.log_z.error
    assert abs(found.log_z.value - plain.log_z.value) < 4.5 * plain.log_z.error
    assert found.to_dict()["symmetries"] == "square"


def test_lattices_that_are_not_square_and_names():
    assert len(of_lattice("square", 4, 2)) == 4
    assert len(of_lattice("all", 4, 2)) == 32
    with pytest.raises(ValueError, match="symmetries"):
        of_lattice("cube", 4, 4)
