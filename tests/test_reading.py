"""What files claim is compared with what they hold, before anything is made of it."""

import json
import os
import socket
import struct
import time
import tracemalloc
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from flows import CASES, by_day, config, random_flow
from reproducing.released import load_released
from rgflow import FlowConfig, data, load_flow, make_flow
from rgflow.architectures import flow_class
from rgflow.checkpoint import fill
from rgflow.cli import main
from rgflow.latents import Latents
from rgflow.lattice import Lattice
from rgflow.reading import DamagedError, json_in, npy_header, opened, read, yaml_in
from rgflow.tensors import load, load_torch, save
from rgflow.training.log import is_entry, read_log


@pytest.fixture(autouse=True)
def bounded():
    """Every test takes less than 5 seconds and 50 MB, though being watched takes time."""
    tracemalloc.start()
    start = time.process_time()
    yield
    assert time.process_time() - start < 5
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()


# ---------------------------------------------------------------- files


def test_only_regular_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero", tmp_path):
        with pytest.raises(DamagedError, match="is a (pipe or a device|folder)"), opened(path):
            pass
    assert main(["data", f"npz:{tmp_path / 'pipe'}"]) == 2
    assert main(["train", "--config", str(tmp_path / "pipe")]) == 2


def test_a_socket_is_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # as the path of a socket may not be long
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("socket")
        with pytest.raises(DamagedError, match="Expected a file; socket is a socket"):
            opened(Path("socket")).__enter__()


def test_a_file_that_is_too_large(tmp_path):
    (tmp_path / "a").write_bytes(bytes(11))
    assert read(tmp_path / "a", 11) == bytes(11)
    with pytest.raises(DamagedError, match=r"Expected at most 10 bytes; .*a has more"):
        read(tmp_path / "a", 10)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "nested more than 64 deep"),
        ('{"a":' * 65 + "1" + "}" * 65, "nested more than 64 deep"),
        (f"[{10**30}]", "it holds the number 1000"),
        ("9" * 5000, "integer string conversion"),
    ],
)
def test_json_that_is_refused(text, message):
    with pytest.raises(DamagedError, match=message):
        json_in(text)


def test_yaml_that_is_refused():
    ten = "".join(f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]\n" for k in range(1, 30))
    for text, message in (
        (f"a0: &a0 [1]\n{ten}", "it stands for more than 100,000 values"),
        ("a: &a [*a]", "the alias [*]a stands for something that contains it"),
        ("[" * 65 + "]" * 65, "nested more than 64 deep"),
        ("!!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("a: 2024-99-99", "month must be in"),
    ):
        with pytest.raises(DamagedError, match=message):
            yaml_in(text)


# ---------------------------------------------------------------- arrays


def header(shape, descr="|u1"):
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


@pytest.mark.parametrize(
    "shape",
    [
        f"({'1' * 60}x",
        "(2305843009213693952, 8, 8)",
        "(-1, 8, 8)",
        "(4, 8)",
        f"({'9' * 30},)",
        "(1,) * 9",
    ],
)
def test_headers_of_arrays_that_claim_too_much(tmp_path, shape, capsys):
    content = header(shape) + bytes(64)
    with pytest.raises(DamagedError, match="its header (claims|isn't that of an array)"):
        npy_header(BytesIO(content), len(content))
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(tmp_path / "a.npz", "w", method) as archive:
            archive.writestr("images.npy", content)
        assert main(["data", f"npz:{tmp_path / 'a.npz'}"]) == 2
    (tmp_path / "a.npy").write_bytes(header(shape, "<f4") + bytes(64))
    assert main(["data", f"fields:{tmp_path / 'a.npy'}"]) == 2
    assert capsys.readouterr().err.count("\n") == 3


def test_headers_that_numpy_writes_are_read():
    for array in (
        np.zeros((3, 4)), np.zeros(5, ">i2"), np.asfortranarray(np.ones((2, 3), bool)),
        np.zeros((), np.float32), np.zeros((0, 7), np.complex64),
    ):  # fmt: skip
        file = BytesIO()
        np.save(file, array)
        found = npy_header(BytesIO(file.getvalue()), file.tell())
        assert (found.shape, found.dtype) == (array.shape, array.dtype)
        assert found.order == ("F" if array.flags.fnc else "C")


def test_an_archive_of_more_images_than_it_has_bytes(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", header("(2000000, 1, 1)") + bytes(2_000_000))
    with pytest.raises(ValueError, match="at least a byte for every image; .* claims 2,000,000"):
        data.load(f"npz:{tmp_path / 'a.npz'}", height=8, width=8)


# ---------------------------------------------------------------- models and latents


@pytest.mark.parametrize("name", by_day(CASES))
def test_least_parameters_are_of_the_order_of_all(name):
    """A flow that is made takes no more than 40 times what its weights justify, beside the tables
    of its averages, whose size doesn't depend on them."""
    of = config(**CASES[name])
    flow = make_flow(of)
    held = sum(p.numel() for p in flow.parameters()) + sum(
        x.numel()
        for name, x in flow.named_buffers()
        if name.rpartition(".")[2] not in {"share", "below", "above"}
    )
    least = flow_class(of).least_parameters(of)
    assert least <= sum(p.numel() for p in flow.parameters())
    assert held < 40 * least


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden": 65536}, {"hidden": (4, 65536)}, {"channels": 65536}, {"m": 65536, "levels": 1},
        {"position_embedding": 65536, "height": 65536, "width": 65536},
        {"map": "coarse_to_fine", "components": 65536},
        {"map": "coarse_to_fine", "stem": 65536},
        {"map": "coarse_to_fine", "m": 1024, "splits": 10, "height": 1024, "width": 1024},
        {"geometry": "windows", "hidden": 65536},
        {"labels": 65536, "label_embedding": 65536},
        {"geometry": "squeeze", "height": 65536, "width": 65536},
    ],
)  # fmt: skip
def test_a_config_that_asks_for_more_than_the_weights_hold(tmp_path, changes):
    small = {"hidden": 4}
    save(tmp_path / "model.safetensors", random_flow(torch.float32, **small).state_dict())
    values = config(**{**small, **changes}).to_dict()
    content = {"format": 1, "dtype": "float32", "storage": "float32", "config": values}
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"don't: it describes at least [\d,]+ numbers, they are "):
        load_flow(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"levels": 2**62},
        {"map": {"kind": "affine", "depth": 65536}},
        {"map": {"kind": "affine", "depth": 100, "blocks": 100}},
        {"geometry": {"kind": "blocks", "m": [2] * 99}},
    ],
)
def test_configs_that_are_refused_at_once(changes):
    with pytest.raises(ValueError, match="Expected (levels|depth times blocks|m) to be"):
        FlowConfig.from_dict(changes)


def test_latents_that_claim_many_levels(tmp_path):
    geometry = {"height": 8, "width": 8, "m": 4, "levels": 10**9}
    save(tmp_path / "z", {"level0": torch.zeros(1)}, {"Lattice": json.dumps(geometry)})
    with pytest.raises(ValueError, match="its lattice has other levels"):
        Latents.load(tmp_path / "z")
    with pytest.raises(ValueError, match="Expected levels to be at most 32; got 1000000000"):
        Lattice(height=8, width=8, levels=10**9)


# ---------------------------------------------------------------- files of PyTorch


def state(tmp_path, change):
    path = "tests/fixtures/released/grey.state"
    content = torch.load(path, weights_only=True)
    content["flow"] = change(dict(content["flow"]))
    torch.save(content, tmp_path / "a.state")
    return tmp_path / "a.state"


def test_names_of_released_weights_that_claim_many_layers(tmp_path):
    path = state(tmp_path, lambda flow: flow | {"layers.999999999.x": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"numbered from 0 on; number \d is missing beside 9999"):
        load_released(path)


def test_pytorch_files_that_would_run_code_or_make_much_of_little(tmp_path):
    path = tmp_path / "a.pt"
    for new in (True, False):
        content = {"a": torch.randn(3, 4).T, "plain": [1, None, "é"]}
        torch.save(content, path, _use_new_zipfile_serialization=new)
        found = load_torch(path)
        assert torch.equal(found["a"], content["a"])
        assert found["plain"] == content["plain"]
        torch.save(torch.nn.Linear(2, 2), path, _use_new_zipfile_serialization=new)
        with pytest.raises(DamagedError, match="it needs pickle for torch.nn"):
            load_torch(path)
    torch.save(content, path)
    with zipfile.ZipFile(path) as stored, zipfile.ZipFile(tmp_path / "b", "w", 8) as packed:
        for name in stored.namelist():
            packed.writestr(name, stored.read(name))
    with pytest.raises(DamagedError, match="its members are compressed"):
        load_torch(tmp_path / "b")
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(DamagedError, match=r"can't be read by torch\.load"):
        load_torch(path)


def test_damage_of_tensors_is_told_by_name(tmp_path):
    path = tmp_path / "a"
    save(path, {"x": torch.arange(4.0), "y": torch.arange(3.0)}, {"of": "me"})
    whole = path.read_bytes()
    assert load(path, sealed=True)[1] == {"of": "me"}
    path.write_bytes(whole[:-1] + b"\x01")
    with pytest.raises(DamagedError, match="the numbers of [xy] aren't those that were written"):
        load(path)
    path.write_bytes(whole.replace(b'"me', b'"us'))
    with pytest.raises(DamagedError, match="its header isn't the one that was written"):
        load(path)


def test_metadata_that_are_longer_than_any(tmp_path):
    path = tmp_path / "a"
    save_file({"a": torch.zeros(1)}, path, {"rgflow": "{}," * (1 << 23)})
    with pytest.raises(DamagedError, match="its header isn't the one that was written"):
        load(path)
    save_file({"a": torch.zeros(1).to(torch.float8_e4m3fn)}, path)
    with pytest.raises(DamagedError, match="a holds numbers of the type torch.float8_e4m3fn"):
        load(path)


def test_weights_that_are_finite_only_in_the_file(tmp_path):
    """They are checked in the type in which they are loaded."""
    flow = torch.nn.Linear(2, 2)
    state = {name: values.double() * 1e300 for name, values in flow.state_dict().items()}
    with pytest.raises(ValueError, match=r"finite weights in .*; some of (weight|bias) aren't"):
        fill(flow, state, tmp_path)


def test_logs_of_odd_lines(tmp_path):
    path = tmp_path / "log.jsonl"
    entry = b'{"step": 1, "seconds": 2.0, "nll": 3.5}'
    odd = [b"\n" * 1_000_000, b'{"step": 1, "a": [' + b"{}," * 1_000_000 + b"1]}", entry, b"3", b""]
    path.write_bytes(b"\n".join([entry, *odd, entry]))
    assert read_log(path, is_entry) == [json.loads(entry)] * 3
