"""Latents: the same numbers seen in different ways."""

import math

import numpy as np
import pytest
import torch

from rgflow import Latents, Lattice
from rgflow.geometries import Blocks


@pytest.fixture
def lattice():
    return Lattice(height=16, width=8, levels=3, geometry=Blocks(m=2))


@pytest.fixture
def z(lattice):
    return Latents.from_flat(torch.randn(2, 3 * 16 * 8), lattice, channels=3)


def test_views_agree(z, lattice):
    assert torch.equal(Latents.from_flat(z.flat(), lattice, 3).image(), z.image())
    assert torch.equal(Latents.from_image(z.image(), lattice).flat(), z.flat())
    image = z.image()
    for i in range(16):
        for j in range(8):
            level = int(lattice.site_levels[i, j])
            for c in range(3):
                assert torch.equal(z[level, i, j, c], image[:, c, i, j])


def test_views_from_a_flat_vector_share_its_memory(lattice):
    flat = torch.zeros(1, 3 * 16 * 8)
    z = Latents.from_flat(flat, lattice, 3)
    flat += 1
    assert (z.image() == 1).all()


def test_set_changes_one_latent(z):
    address = (1, 2, 4, 2)
    other = z.set(address, torch.tensor([7.0, 8.0]))
    assert other[address].tolist() == [7, 8]
    assert (other.flat() != z.flat()).sum() == 2


def test_replace_changes_one_level(z):
    other = z.replace(1, torch.zeros_like(z.levels[1]))
    assert (other.levels[1] == 0).all()
    assert torch.equal(other.levels[0], z.levels[0])
    assert torch.equal(other.levels[2], z.levels[2])


def test_mix_per_level(z):
    other = z.map(torch.neg)
    hyperbolic = z.mix(other, [1, 0, 0])  # Θ = 1 of eq. 15
    assert torch.equal(hyperbolic.levels[0], other.levels[0])
    assert torch.equal(hyperbolic.levels[1], z.levels[1])
    linear = z.mix(other, 0.25)
    torch.testing.assert_close(linear.flat(), 0.5 * z.flat())
    per_level = z.mix(other, [0.0, 0.5, 1.0])
    assert torch.equal(per_level.levels[0], z.levels[0])
    assert per_level.levels[1].abs().max() == 0
    assert torch.equal(per_level.levels[2], other.levels[2])
    for quarter in (np.float32(0.25), torch.tensor(0.25), np.full(3, 0.25)):
        assert torch.equal(z.mix(other, quarter).flat(), linear.flat())


def test_select_and_cat(z):
    parts = [z.select(slice(0, 1)), z.select(slice(1, 2))]
    assert len(parts[0]) == 1
    assert torch.equal(Latents.cat(parts).flat(), z.flat())
    mixed = Latents.cat([parts[0], parts[1].to(torch.float64)])  # some may need float64
    assert mixed.flat().dtype == torch.float64


def test_to_takes_a_device_a_dtype_or_both(z):
    for moved in (z.to("cpu"), z.to(torch.device("cpu")), z.to(device="cpu"), z.to()):
        assert torch.equal(moved.flat(), z.flat())
        assert moved.flat().dtype == torch.float32
    both = [("meta", torch.float64), (torch.float64, torch.device("meta"))]
    for moved in (*(z.to(*where) for where in both), z.to(device="meta", dtype=torch.float64)):
        assert moved.flat().is_meta
        assert moved.flat().dtype == torch.float64
    assert z.to("meta").flat().dtype == torch.float32
    assert z.to(torch.float64).flat().device == z.flat().device


def test_file(z, tmp_path):
    z.to(torch.float64).save(tmp_path / "z.safetensors")
    loaded = Latents.load(tmp_path / "z.safetensors")
    assert loaded.lattice == z.lattice
    assert loaded.flat().dtype == torch.float64
    assert torch.equal(loaded.flat(), z.flat().double())


def test_file_of_levels_with_edges_of_their_own(tmp_path):
    lattice = Lattice(height=8, width=8, geometry=Blocks(m=(4, 2)))
    z = Latents.from_flat(torch.randn(2, 3 * 64), lattice, 3)
    z.save(tmp_path / "z.safetensors")
    loaded = Latents.load(tmp_path / "z.safetensors")
    assert loaded.lattice == lattice
    assert torch.equal(loaded.flat(), z.flat())


def test_bad_input(z, lattice, tmp_path):
    with pytest.raises(ValueError, match=r"shape \[N, 384\]; got \[2, 380\]"):
        Latents.from_flat(torch.zeros(2, 380), lattice, 3)
    with pytest.raises(ValueError, match="latents of 3 levels; got 1"):
        Latents(z.levels[:1], lattice)
    with pytest.raises(ValueError, match=r"of shape \(2, 3, 3, 8, 4\) at level 0; got \(2, 1"):
        Latents((z.levels[0][:, :1], *z.levels[1:]), lattice)
    with pytest.raises(ValueError, match="position of level 1"):
        z[1, 1, 1, 0]
    with pytest.raises(ValueError, match="channel of 0 to 2; got 3"):
        z[0, 1, 1, 3]
    with pytest.raises(ValueError, match="one for each of the 3 levels; got 2"):
        z.mix(z, [0.5, 0.5])
    other = Latents.from_flat(
        z.flat(), Lattice(height=8, width=16, levels=3, geometry=Blocks(m=2)), 3
    )
    with pytest.raises(ValueError, match="as many images of the same size"):
        z.mix(other, 0.5)
    with pytest.raises(ValueError, match="as many images of the same size"):
        z.mix(z.select(slice(0, 1)), 0.5)
    for share in (math.nan, [0.5, math.inf, 1]):
        with pytest.raises(ValueError, match="finite shares; got"):
            z.mix(z, share)
    with pytest.raises(ValueError, match="share to be a number, or one for each level; got '0.5'"):
        z.mix(z, "0.5")
    with pytest.raises(ValueError, match=r"image layout \[N, C, 16, 8\]; got \[2, 3, 8, 8\]"):
        Latents.from_image(torch.zeros(2, 3, 8, 8), lattice)
    with pytest.raises(ValueError, match="at least one batch"):
        Latents.cat([])
    shifted = Latents(
        z.levels, Lattice(height=16, width=8, levels=3, geometry=Blocks(m=2, order="released"))
    )
    grey = Latents.from_flat(z.flat()[:, : 16 * 8], lattice, 1)
    for another in (shifted, grey):
        with pytest.raises(ValueError, match="latents of one flow; got 3 channels on Lattice"):
            Latents.cat([z, z, another])
    with pytest.raises(FileNotFoundError, match="there is none at"):
        Latents.load(tmp_path / "none")
    (tmp_path / "bad").write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="isn't one, or is damaged"):
        Latents.load(tmp_path / "bad")
