"""Published sets in their official formats, a few images each: read, damaged, missing."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rgflow.data import Images, decoding, load, official
from rgflow.data.images import Pixels
from rgflow.data.source import SPLITS

Write = Callable[[Path], None]


def noise(*shape: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


# ---------------------------------------------------------------------------- tiny official sets


def write_cifar10(folder: Path, per_file: int = 12) -> None:
    """Image n of all has the label n % 10 and its number as the first byte of its red."""
    folder.mkdir(parents=True, exist_ok=True)
    for k, name in enumerate(official.CIFAR10_FILES):
        pixels = noise(per_file, 3072, seed=k)
        number = np.arange(k * per_file, (k + 1) * per_file, dtype=np.uint8)
        pixels[:, 0] = number
        (folder / name).write_bytes(np.column_stack([number % 10, pixels]).tobytes())


def write_celeba(folder: Path, count: int = 9, attributes: bool = True) -> None:
    """Splits 0, 1, 2 in turn; image n is of grey level 10 n, and smiles if n is even."""
    (folder / "img_align_celeba").mkdir(parents=True, exist_ok=True)
    names = [f"{n + 1:06}.jpg" for n in range(count)]
    for n, name in enumerate(names):
        picture = Image.new("RGB", (178, 218), (10 * n,) * 3)
        picture.paste((255, 0, 0), (0, 0, 178, 30))  # cut off
        picture.save(folder / "img_align_celeba" / name, quality=95)
    lines = [f"{name} {n % 3}\n" for n, name in enumerate(names)]
    (folder / "list_eval_partition.txt").write_text("".join(lines))
    if attributes:
        rows = [f"{name}  1 {1 if n % 2 == 0 else -1}\n" for n, name in enumerate(names)]
        text = f"{count}\n5_o_Clock_Shadow Smiling \n{''.join(rows)}"
        (folder / "list_attr_celeba.txt").write_text(text)


def write_chairs(folder: Path, chairs: int = 3, views: int = 20) -> None:
    """The middle 300 x 300 of a picture is its chair's grey, the rest white."""
    for chair in range(chairs):
        renders = folder / "rendered_chairs" / f"{chair}f0a" / "renders"
        renders.mkdir(parents=True)
        picture = Image.new("RGB", (600, 600), (255, 255, 255))
        picture.paste((50 * chair,) * 3, (150, 150, 450, 450))
        for view in range(views):
            picture.save(renders / f"image_{view:03}_p020_t{view:03}_r096.png")
    (folder / "rendered_chairs" / "all_chair_names.mat").write_bytes(b"MATLAB 5.0")


def everything(name: str, root: Path, **settings: int) -> dict[str, Images]:
    return {split: load(name, split, data_root=str(root), **settings) for split in SPLITS}  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------ read


@pytest.mark.parametrize("below", ["", "cifar-10-batches-bin", "cifar10/cifar-10-batches-bin"])
def test_cifar10(tmp_path: Path, below: str) -> None:
    write_cifar10(tmp_path / below)
    sets = everything("cifar10", tmp_path)
    numbers = {split: data.images[:, 0, 0, 0].tolist() for split, data in sets.items()}
    assert numbers["test"] == [*range(60, 72)]
    assert sorted(numbers["train"] + numbers["validation"]) == [*range(60)]
    assert len(numbers["validation"]) >= 1
    for split, data in sets.items():
        assert data.labels["class"].tolist() == [n % 10 for n in numbers[split]]
        assert data.images.shape[1:] == (3, 32, 32)
    pixels = noise(12, 3, 32, 32, seed=5)
    pixels[:, 0, 0, 0] = range(60, 72)
    np.testing.assert_array_equal(sets["test"].images, pixels)


def test_cifar10_in_another_size(tmp_path: Path) -> None:
    write_cifar10(tmp_path)
    data = load("cifar10", data_root=str(tmp_path), height=16, width=8, channels=1, count=7)
    assert data.images.shape == (7, 1, 16, 8)


@pytest.mark.parametrize("apart", [False, True])
def test_celeba(tmp_path: Path, apart: bool) -> None:
    write_celeba(tmp_path)
    if apart:  # as its authors give it out
        for part, name in (
            ("Img", "img_align_celeba"),
            ("Eval", "list_eval_partition.txt"),
            ("Anno", "list_attr_celeba.txt"),
        ):
            (tmp_path / part).mkdir()
            (tmp_path / name).rename(tmp_path / part / name)
    for part, (split, data) in enumerate(everything("celeba", tmp_path).items()):
        assert split == SPLITS[part]
        numbers = [part, part + 3, part + 6]
        for image, number in zip(data.images, numbers, strict=True):
            assert np.abs(image.astype(int) - 10 * number).max() <= 2  # the red is cut off
        assert data.labels["Smiling"].tolist() == [1 if n % 2 == 0 else -1 for n in numbers]
        assert data.labels["5_o_Clock_Shadow"].tolist() == [1] * 3
    whole = load("celeba", data_root=str(tmp_path), height=218, width=178, crop=218)
    assert whole.images[0, 0, 10, 80] > 200


def test_folders_of_their_own_names(tmp_path: Path) -> None:
    """As Kaggle's archives have them."""
    write_cifar10(tmp_path)
    write_celeba(tmp_path)
    for path in [*tmp_path.iterdir()]:
        path.rename(tmp_path / "aside")
        path.mkdir()
        (tmp_path / "aside").rename(path / path.name)
    assert len(load("cifar10", "test", data_root=str(tmp_path))) == 12
    faces = load("celeba", data_root=str(tmp_path))
    assert len(faces) == len(faces.labels["Smiling"]) == 3


def test_blank_lines_end_celebas_lists(tmp_path: Path) -> None:
    write_celeba(tmp_path)
    for name in ("list_eval_partition.txt", "list_attr_celeba.txt"):
        with (tmp_path / name).open("a") as file:
            file.write("\n  \n")
    assert load("celeba", data_root=str(tmp_path)).labels["Smiling"].tolist() == [1, -1, 1]


def test_celeba_is_resized_as_a_folder_is(tmp_path: Path) -> None:
    write_celeba(tmp_path, attributes=False)
    pixels = noise(218, 178, 3)
    path = tmp_path / "img_align_celeba" / "000001.jpg"
    Image.fromarray(pixels).save(path)
    with Image.open(path) as picture:
        centre = picture.crop((15, 35, 163, 183)).resize((32, 32), Image.Resampling.BICUBIC)
    data = load("celeba", data_root=str(tmp_path))
    np.testing.assert_array_equal(data.images[0], np.asarray(centre).transpose(2, 0, 1))
    assert data.labels == {}


def test_celeba_is_not_decoded_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_celeba(tmp_path)
    first = load("celeba", data_root=str(tmp_path))
    for path in (tmp_path / "img_align_celeba").iterdir():
        path.write_bytes(b"")  # whoever reads it again is caught
    monkeypatch.setattr(decoding.Target, "read", None)
    again = load("celeba", data_root=str(tmp_path))
    np.testing.assert_array_equal(again.images, first.images)
    assert (again.seconds, first.seconds > 0) == (0, True)


def test_chairs(tmp_path: Path) -> None:
    write_chairs(tmp_path)
    sets = everything("chairs", tmp_path)
    assert [len(sets[split]) for split in SPLITS] == [52, 2, 6]
    greys = [np.unique(image).tolist() for data in sets.values() for image in data.images]
    assert sorted(greys) == [[0]] * 20 + [[50]] * 20 + [[100]] * 20  # the white is cut off


# ------------------------------------------------------------------------------- damaged, missing


def spoil_record(root: Path) -> None:
    path = root / "data_batch_3.bin"
    path.write_bytes(path.read_bytes()[:-100])


def spoil_empty(root: Path) -> None:
    (root / "test_batch.bin").write_bytes(b"")


def spoil_label(root: Path) -> None:
    path = root / "data_batch_1.bin"
    path.write_bytes(b"\x0b" + path.read_bytes()[1:])


def spoil_partition(root: Path) -> None:
    (root / "list_eval_partition.txt").write_text("000001.jpg 0\n000002.jpg train\n")


def spoil_escape(root: Path) -> None:
    (root / "list_eval_partition.txt").write_text("../000001.jpg 0\n")


def spoil_binary(root: Path) -> None:
    (root / "list_eval_partition.txt").write_bytes(bytes(range(256)))


def spoil_no_train(root: Path) -> None:
    (root / "list_eval_partition.txt").write_text("000001.jpg 2\n")


def spoil_attributes(root: Path) -> None:
    (root / "list_attr_celeba.txt").write_text("9\nSmiling\n000001.jpg 1\n")


def spoil_values(root: Path) -> None:
    path = root / "list_attr_celeba.txt"
    path.write_text(path.read_text().replace("-1", "999"))


def spoil_names(root: Path) -> None:
    path = root / "list_attr_celeba.txt"
    path.write_text(path.read_text().replace("Smiling", "../x"))


def spoil_pictures(root: Path) -> None:
    for path in (root / "img_align_celeba").iterdir():
        path.unlink()


@pytest.mark.parametrize(
    ("name", "write", "spoil", "message"),
    [
        ("cifar10", write_cifar10, spoil_record, r"whole records .*_3.bin; got 36776 bytes"),
        ("cifar10", write_cifar10, spoil_empty, r"whole records .*test_batch.bin; got 0 bytes"),
        ("cifar10", write_cifar10, spoil_label, r"labels 0 to 9 in .*_1.bin; got 11"),
        ("celeba", write_celeba, spoil_partition, r"'000001.jpg 0' in .*; got '000002.jpg train'"),
        ("celeba", write_celeba, spoil_escape, r"partition.txt; got '../000001.jpg 0' as line 1"),
        ("celeba", write_celeba, spoil_binary, r"list_eval_partition.txt; got '"),
        ("celeba", write_celeba, spoil_no_train, r"train images in .*partition.txt; got none"),
        ("celeba", write_celeba, spoil_attributes, r"in .*attr_celeba.txt; got '000004.jpg'"),
        ("celeba", write_celeba, spoil_values, r"in .*attr_celeba.txt; got "),
        ("celeba", write_celeba, spoil_names, r"in .*attr_celeba.txt; got other values or names"),
        ("celeba", write_celeba, spoil_pictures, r"got 3 that can't be read, .* 000001.jpg"),
    ],
)
def test_damage_is_told_in_one_sentence(
    name: str, write: Write, spoil: Write, message: str, tmp_path: Path
) -> None:
    write(tmp_path)
    spoil(tmp_path)
    with pytest.raises(ValueError, match=f"^Expected .*{message}") as told:
        load(name, data_root=str(tmp_path))
    assert "\n" not in str(told.value)


def test_missing_pictures_are_named(tmp_path: Path) -> None:
    write_celeba(tmp_path)
    (tmp_path / "img_align_celeba/000004.jpg").unlink()
    (tmp_path / "img_align_celeba/000007.jpg").write_bytes(b"")
    data = load("celeba", data_root=str(tmp_path))
    assert [reason[:11] for reason in data.skipped] == ["000004.jpg:", "000007.jpg:"]
    assert len(data) == len(data.labels["Smiling"]) == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cifar10", r"Expected data_batch_1.bin, .*, test_batch.bin of cifar10 .*; get"),
        ("celeba", r"Expected img_align_celeba/, list_eval_partition.txt of .* https://mmlab"),
        ("chairs", r"Expected rendered_chairs/ of chairs .* https://www.di.ens.fr"),
    ],
)
@pytest.mark.parametrize("named", [True, False])
def test_missing_sets(name: str, message: str, named: bool, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=f"{message}.* its folder with --data_root") as told:
        load(name, data_root=str(tmp_path / "mine") if named else None)
    assert str(tmp_path / ("mine" if named else "cache/downloads")) in str(told.value)


def test_one_missing_file_is_named(tmp_path: Path) -> None:
    write_cifar10(tmp_path)
    (tmp_path / "data_batch_4.bin").unlink()
    with pytest.raises(FileNotFoundError, match=r"got no data_batch_4.bin; get the set from"):
        load("cifar10", data_root=str(tmp_path))


def test_too_few_chairs(tmp_path: Path) -> None:
    write_chairs(tmp_path, chairs=1, views=3)
    with pytest.raises(ValueError, match=r"Expected at least 20 pictures CHAIR/renders/.*; got 3"):
        load("chairs", data_root=str(tmp_path))
