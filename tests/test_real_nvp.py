"""Real NVP beyond the contract of all flows (test_model.py): geometry, masks."""

import numpy as np
import pytest
import torch

from flows import config, random_flow, random_images
from rgflow import FlowConfig, Latents, RealNVP
from rgflow.baselines.real_nvp import _squeeze, _unsqueeze
from rgflow.lattice import SqueezeSites


def flow_of(**options) -> RealNVP:
    return random_flow(**{"geometry": "squeeze", "levels": 3, "hidden": 4, **options})


def test_every_site_belongs_to_one_scale():
    sites = SqueezeSites(height=16, width=8, levels=3)
    assert sorted(sites.site_order) == list(range(128))
    assert sites.counts(np.ones((16, 8), dtype=bool)) == (64, 32, 32)
    assert sites.site_levels[0, 0] == sites.site_levels[1, 1] == 2
    assert sites.site_levels[0, 1] == sites.site_levels[1, 0] == 0


def test_squeezed_sites_are_where_the_geometry_says():
    """An untrained flow of fields is the identity, so its latents in the image layout are x."""
    x = torch.randn(2, 3, 16, 8, dtype=torch.float64)
    settings = config(geometry="squeeze", levels=3, hidden=4, pixels=None, height=16)
    flow = RealNVP(settings).double()
    torch.testing.assert_close(flow.encode(x).image(), x, rtol=0, atol=0)


def test_squeeze_and_back():
    x = torch.randn(2, 6, 4, 8)
    y = _squeeze(x)
    assert y.shape == (2, 24, 2, 4)
    assert torch.equal(y[:, :3], x[:, :3, ::2, ::2])
    assert torch.equal(y[:, 6:9], x[:, :3, 1::2, 1::2])
    assert torch.equal(_unsqueeze(y), x)


def test_every_latent_reaches_the_whole_image_in_the_end():
    """No causal cones: the couplings' receptive fields grow with depth (paper, Appendix C)."""
    flow = flow_of(blocks=2, pixels=None)
    z = flow.encode(random_images(flow, 1))

    def decode(image):
        return flow.decode(Latents.from_image(image, flow.lattice))

    jacobian = torch.autograd.functional.jacobian(decode, z.image())
    reached = (jacobian[0, :, :, :, 0] != 0).any(0).any(2)
    assert reached.double().mean() > 0.95


def test_bad_input():
    with pytest.raises(ValueError, match=r"multiple of 2\^\(levels−1\) = 4; got 10"):
        flow_of(height=10)
    with pytest.raises(ValueError, match="that RealNVP has; got Blocks"):
        RealNVP(FlowConfig())
