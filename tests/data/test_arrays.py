"""Images and fields in NumPy's files."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rgflow.data import load
from rgflow.data.images import Array
from rgflow.data.source import SPLITS


def numbered(count: int, *, channels: int = 3, first: int = 0) -> Array:
    """Bytes [N, C, 8, 8], the first of each image being its number."""
    shape = (count, channels, 8, 8)
    images = np.random.default_rng(first).integers(0, 256, shape, np.uint8)
    images[:, 0, 0, 0] = np.arange(first, first + count)
    return images


def numbers(name: str, **settings: Any) -> dict[str, list[int]]:
    return {
        split: load(name, split, height=8, width=8, **settings).images[:, 0, 0, 0].tolist()
        for split in SPLITS
    }


@pytest.mark.parametrize("name", ["images", "x", "arr_0", "anything"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC", "NHW", "NHW1"])
@pytest.mark.parametrize("compressed", [True, False])
def test_one_array(tmp_path: Path, name: str, layout: str, compressed: bool) -> None:
    channels = 3 if "C" in layout else 1
    images = numbered(40, channels=channels)
    stored = {
        "NCHW": images,
        "NHWC": images.transpose(0, 2, 3, 1),
        "NHW": images[:, 0],
        "NHW1": images[:, 0, :, :, None],
    }[layout]
    save = np.savez_compressed if compressed else np.savez
    save(tmp_path / "a.npz", **{name: stored})  # type: ignore[arg-type]
    seen = []
    for split in SPLITS:
        data = load(f"npz:{tmp_path}/a.npz", split, height=8, width=8, channels=channels)
        chosen = data.images[:, 0, 0, 0]
        np.testing.assert_array_equal(data.images, images[chosen])
        seen += chosen.tolist()
    assert sorted(seen) == [*range(40)]
    assert not list((tmp_path / "cache").glob(".*"))


@pytest.mark.parametrize(
    "names",
    [
        {"train": "train", "test": "test"},
        {"train": "x_train", "test": "x_test"},
        {"train": "train_images", "validation": "val_images", "test": "test_images"},
        {"train": "train", "validation": "valid_images", "test": "test"},
    ],
)
def test_an_array_per_split(tmp_path: Path, names: dict[str, str]) -> None:
    arrays = {names["train"]: numbered(30), names["test"]: numbered(5, first=50)}
    if "validation" in names:
        arrays[names["validation"]] = numbered(4, first=40)
    np.savez(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]
    found = numbers(f"npz:{tmp_path}/a.npz")
    assert found["test"] == [*range(50, 55)]
    if "validation" in names:
        assert sorted(found["train"]) == [*range(30)]
        assert found["validation"] == [*range(40, 44)]
    else:
        assert sorted(found["train"] + found["validation"]) == [*range(30)]
        assert found["validation"]


def test_archives_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"

    def told(message: str) -> None:
        with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
            load(f"npz:{path}", height=8, width=8)
        assert "\n" not in str(error.value)

    told(r"Expected a NumPy archive; there is none at .*a.npz")
    path.write_bytes(b"not an archive")
    told(r"Expected a NumPy archive in .*; got a damaged one \(File is not a zip file\)")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images.npy", b"not an array")
    told(r"Expected a NumPy archive in .*; got a damaged one")
    np.savez_compressed(path, images=numbered(30))
    whole = path.read_bytes()
    path.write_bytes(whole[:1000] + bytes(200) + whole[1200:])
    told(r"Expected a NumPy archive in .*; got a damaged one")
    np.savez(path, images=numbered(30))
    with zipfile.ZipFile(path) as archive:
        at = archive.start_dir + 8
    whole = path.read_bytes()
    path.write_bytes(whole[:at] + b"\x01" + whole[at + 1 :])  # as if there were a password
    told(r"Expected a NumPy archive in .*; got a damaged one \(images.npy: .* needs a password")
    for arrays, message in (
        ({"a": numbered(3), "b": numbered(3)}, r"named images, x, .* got a, b; rename it"),
        ({}, r"named images, x, .* got no array"),
        ({"x": np.zeros((9, 3, 8, 8))}, r"Expected x .* bytes .*; got float64 of shape \[9, 3"),
        ({"x": np.zeros((9, 5, 8, 8), np.uint8)}, r"got uint8 of shape \[9, 5, 8, 8\]"),
        ({"x": np.zeros(4, np.uint8)}, r"got uint8 of shape \[4\]"),
        (
            {"x": np.array([{}] * 4)},
            r"got a damaged one \(x.npy: its header isn't that of an array",
        ),
        ({"x": np.array([{}] * 4), "y": numbered(3), "z": numbered(3)}, r"named .* got y, z; re"),
        ({"x": numbered(2)}, r"Expected at least 3 images in .*a.npz.*; got 2"),
        ({"x": numbered(0)}, r"Expected train images in .*a.npz; got none"),
    ):
        np.savez(path, **arrays)  # type: ignore[arg-type]
        told(message)
    path.unlink()
    path.mkdir()
    with pytest.raises(ValueError, match=r"got the folder .*a.npz; name a file in it"):
        load(f"npz:{path}", height=8, width=8)


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", "<f2"])
@pytest.mark.parametrize("channels", [1, 2, 5])
def test_fields_stay_as_they_are(tmp_path: Path, dtype: str, channels: int) -> None:
    fields = np.random.default_rng(0).normal(size=(40, channels, 8, 4)).astype(dtype)
    fields[:, 0, 0, 0] = np.arange(40)
    np.save(tmp_path / "a.npy", fields)
    seen = []
    for split in SPLITS:
        data = load(f"fields:{tmp_path}/a.npy", split, height=8, width=4, channels=channels)
        assert data.images.dtype == np.float32
        assert isinstance(data.images, np.memmap)
        chosen = data.images[:, 0, 0, 0].astype(int)
        np.testing.assert_array_equal(data.images, fields[chosen].astype(np.float32))
        seen += chosen.tolist()
    assert sorted(seen) == [*range(40)]


def test_fields_in_fortran_order(tmp_path: Path) -> None:
    fields = np.arange(40 * 16, dtype=np.float32).reshape(40, 1, 4, 4)
    np.save(tmp_path / "a.npy", np.asfortranarray(fields))
    data = load(f"fields:{tmp_path}/a.npy", height=4, width=4, channels=1)
    np.testing.assert_array_equal(data.images, fields[(data.images[:, 0, 0, 0] / 16).astype(int)])


def test_what_is_no_field(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    good = np.ones((40, 1, 4, 4), np.float32)

    def told(message: str, **size: int) -> None:
        with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
            load(f"fields:{path}", **({"height": 4, "width": 4, "channels": 1} | size))  # type: ignore[arg-type]
        assert "\n" not in str(error.value)

    told(r"Expected a .npy file of fields; there is none at .*a.npy")
    path.write_bytes(b"not an array")
    told(r"Expected a .npy file of fields; got .* \(it doesn't begin as a .npy file")
    np.save(path, good)
    path.write_bytes(path.read_bytes()[:500])
    told(r"Expected a .npy file of fields; got ")
    with path.open("wb") as file:
        np.savez(file, good)
    told(r"Expected a .npy file of fields; got .*begin as a .npy file")
    np.save(path, np.array([{}]), allow_pickle=True)
    told(r"Expected a .npy file of fields; got ")
    for wrong in (good.astype(np.int64), good.astype(complex), good[0], good[:0]):
        np.save(path, wrong)
        told(r"Expected real numbers .*\[N, C, H, W\] .*; got (int64|complex128|float32) of shape")
    for bad in (np.nan, np.inf, -np.inf):
        spoilt = good.copy()
        spoilt[17, 0, 1, 1] = bad
        np.save(path, spoilt)
        told(r"Expected finite numbers of type float32 in .*; got another in field 17; remove it")
    np.save(path, 1e300 * good.astype(np.float64))
    told(r"Expected finite numbers of type float32")
    np.save(path, good)
    told(r"Expected fields of channels 1, height 4, width 8 in .*; got 1, 4, 4", width=8)
    told(r"Expected no crop, as fields stay as they are; got 2", crop=2)
    assert len(load(f"fields:{path}", height=4, width=4, channels=1)) == 36
