"""Files that are whole or not there, also where several write them at once; and users' paths."""

import threading

import numpy as np
import pytest
import torch

from reproducing.released import load_released
from rgflow import Latents, Lattice, TrainConfig
from rgflow.analysis.associations import Associations
from rgflow.files import located, replacing
from rgflow.training.loop import resolved
from rgflow.training.run import Run
from runs import largest_file


def test_threads_that_write_one_file_do_not_meet(tmp_path):
    path = tmp_path / "numbers.json"
    begun = threading.Barrier(8)

    def write(number):
        with replacing(path) as part:
            part.write_text(str(number) * 10_000)
            begun.wait(10)
            assert part.read_text() == str(number) * 10_000
            written.append(number)

    written = []
    threads = [threading.Thread(target=write, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(written) == list(range(8))
    assert path.read_text() in [str(k) * 10_000 for k in range(8)]
    assert list(tmp_path.iterdir()) == [path]


def of_tensors():
    """Whatever is saved as one safetensors file, by name."""
    lattice = Lattice(height=8, width=8)
    some = np.zeros((1, 3, 8, 8))
    found = Associations(
        lattice=lattice,
        labels=("size",),
        information=some,
        correlation=some,
        significant=some > 0,
        images=5,
        bins=4,
        rate=0.05,
    )
    return {"latents": Latents.from_flat(torch.zeros(1, 192), lattice, 3), "associations": found}


@pytest.mark.parametrize("name", of_tensors())
def test_tensors_that_cannot_be_written(name, tmp_path):
    content = of_tensors()[name]
    content.save(tmp_path / "there")
    before = (tmp_path / "there").read_bytes()
    with pytest.raises(OSError, match="No such file"):
        content.save(tmp_path / "none" / "there")
    with largest_file(100), pytest.raises(OSError, match=f"{tmp_path}/there: .*too large"):
        content.save(tmp_path / "there")
    assert (tmp_path / "there").read_bytes() == before
    assert list(tmp_path.iterdir()) == [tmp_path / "there"]


def test_paths_of_unknown_users_are_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert located("~/a/../b") == tmp_path / "home" / "b"
    (tmp_path / "loop").symlink_to("loop")
    for name in ("~nobody-of-this-name/x", "loop/x"):
        with pytest.raises(FileNotFoundError, match=f"{name} isn't there"):
            Run.open(name)
        with pytest.raises(FileNotFoundError, match=f"none at {name}"):
            load_released(name)
        config = TrainConfig(data=f"folder:{name}", data_root=name, pretrained=name)
        found = resolved(config)
        assert (found.data, found.pretrained) == (config.data, name)
        assert found.data_root == str(tmp_path / name)
