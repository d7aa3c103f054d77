"""The log-likelihood of images place by place."""

import numpy as np
import pytest
import torch

from flows import CASES, REAL_NVP, random_flow, random_images
from rgflow.repair.terms import local_terms

RG = {name: options for name, options in CASES.items() if name not in REAL_NVP}


@pytest.mark.parametrize("name", RG)
def test_they_add_up_to_the_log_likelihood(name):
    flow = random_flow(**RG[name])
    images = random_images(flow, 3)
    with torch.no_grad():
        terms = local_terms(flow, images)
        torch.testing.assert_close(terms.total, flow.log_prob(images), rtol=1e-10, atol=1e-8)


@pytest.mark.parametrize(
    "name", ["cube-marginal", "cube-fields", "cube-shared-open", "window-photos"]
)
def test_levels_on_the_cube(name):
    flow = random_flow(**RG[name])
    images = random_images(flow, 2)
    with torch.no_grad():
        whole, parts = flow.terms(images), local_terms(flow, images)
    levels = [sum(block.sum((1, 2)) for block in layers) for layers in parts.blocks]
    torch.testing.assert_close(torch.stack(levels, 1), whole.prior + whole.log_det)


@pytest.mark.parametrize("boundary", ["periodic", "open"])
def test_a_block_knows_only_what_comes_to_it(boundary):
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


def test_dequantisation_may_be_random():
    flow = random_flow()
    x8 = random_images(flow, 2).to(torch.uint8)
    with torch.no_grad():
        terms = local_terms(flow, x8, torch.Generator().manual_seed(5))
        expected = flow.log_prob(x8, torch.Generator().manual_seed(5))
    torch.testing.assert_close(terms.total, expected)


def test_a_flow_without_blocks_is_refused():
    flow = random_flow(**REAL_NVP["real-nvp"])
    with pytest.raises(ValueError, match="Expected an RG-Flow.*RealNVP, which has no blocks"):
        local_terms(flow, random_images(flow, 1))
