"""Folders of images: odd formats, odd files, splits, geometry."""

import os
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rgflow.data import decoding, folder, load
from rgflow.data.decoding import Target
from rgflow.data.images import Pixels
from rgflow.data.source import SPLITS, Split
from rgflow.data.splitting import place

RED = (200, 20, 20)


def decode(path: Path, *, size: int = 8, channels: int = 3, crop: int | None = None) -> Pixels:
    return Target(height=size, width=size, channels=channels, crop=crop).read(path)


def noise(height: int, width: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def fill(root: Path, names: list[str]) -> Path:
    for k, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (k, k, k)).save(path)
    return root


def test_png_is_read_exactly(tmp_path: Path) -> None:
    pixels = noise(8, 8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(decode(tmp_path / "a.png"), pixels.transpose(2, 0, 1))


@pytest.mark.parametrize("name", ["a.jpg", "a.webp"])
def test_lossy_formats(tmp_path: Path, name: str) -> None:
    Image.new("RGB", (8, 8), RED).save(tmp_path / name, quality=95)
    assert np.abs(decode(tmp_path / name)[:, 4, 4].astype(int) - RED).max() <= 5


def test_palette(tmp_path: Path) -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, *RED])
    image.save(tmp_path / "a.png")
    assert decode(tmp_path / "a.png")[:, 4, 4].tolist() == [*RED]
    image.putpixel((0, 0), 0)
    image.save(tmp_path / "b.png", transparency=1)
    assert not decode(tmp_path / "b.png").any()


def test_cmyk_jpeg(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), RED).convert("CMYK").save(tmp_path / "a.jpg", quality=100)
    assert np.abs(decode(tmp_path / "a.jpg")[:, 4, 4].astype(int) - RED).max() <= 5


def test_sixteen_bits(tmp_path: Path) -> None:
    values = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1040
    Image.fromarray(values).save(tmp_path / "a.png")
    for channels in (1, 3):
        pixels = decode(tmp_path / "a.png", channels=channels)
        np.testing.assert_array_equal(pixels, np.stack([values >> 8] * channels))


@pytest.mark.parametrize("mode", ["1", "L"])
def test_grey(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (8, 8), 255).save(tmp_path / "a.png")
    assert decode(tmp_path / "a.png", channels=3).shape == (3, 8, 8)
    assert decode(tmp_path / "a.png", channels=1).tolist() == [[[255] * 8] * 8]


def test_colour_to_grey(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), RED).save(tmp_path / "a.png")
    assert decode(tmp_path / "a.png", channels=1)[0, 0, 0] == round(
        0.299 * 200 + 0.587 * 20 + 0.114 * 20
    )


@pytest.mark.parametrize("name", ["a.png", "a.webp"])
def test_transparency_is_on_black(tmp_path: Path, name: str) -> None:
    image = Image.new("RGBA", (8, 8), (200, 100, 40, 0))
    image.paste((200, 100, 40, 128), (4, 0, 8, 8))
    image.save(tmp_path / name, lossless=True)
    pixels = decode(tmp_path / name)
    assert not pixels[:, :, :4].any()
    assert np.abs(pixels[:, 4, 6].astype(int) - (100, 50, 20)).max() <= 1


def test_grey_with_transparency(tmp_path: Path) -> None:
    Image.new("LA", (8, 8), (200, 128)).save(tmp_path / "a.png")
    assert decode(tmp_path / "a.png")[:, 4, 4].tolist() == [100] * 3
    Image.new("L", (8, 8), 7).save(tmp_path / "b.png", transparency=7)
    assert not decode(tmp_path / "b.png").any()
    values = np.full((8, 8), 20_000, np.uint16)
    values[4:] += 1  # the same in 8 bits, but opaque
    Image.fromarray(values).save(tmp_path / "c.png", transparency=20_000)
    assert decode(tmp_path / "c.png")[0, ::4, 0].tolist() == [0, 20_000 >> 8]


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
@pytest.mark.parametrize(
    ("orientation", "corner"), [(1, (0, 0)), (3, (1, 1)), (6, (0, 1)), (8, (1, 0))]
)
def test_exif_orientation(
    tmp_path: Path, name: str, orientation: int, corner: tuple[int, int]
) -> None:
    """A stored top left corner that is white is shown where the orientation says (row, column)."""
    image = Image.new("RGB", (16, 16))
    image.paste((255, 255, 255), (0, 0, 8, 8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / name, exif=exif)
    quarters = decode(tmp_path / name, size=16)[0, 4::8, 4::8] > 128
    assert np.argwhere(quarters).tolist() == [[*corner]]


def test_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, (0, 0, 255))]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], lossless=True)
    assert decode(tmp_path / "a.webp")[:, 4, 4].tolist() == [*RED]


def test_crop_and_shape(tmp_path: Path) -> None:
    pixels = noise(20, 30)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    centre = pixels.transpose(2, 0, 1)[:, 6:14, 11:19]
    np.testing.assert_array_equal(decode(tmp_path / "a.png", crop=8), centre)
    np.testing.assert_array_equal(  # proportions alone: the centre 20 x 20
        decode(tmp_path / "a.png", size=20), pixels.transpose(2, 0, 1)[:, :, 5:25]
    )
    np.testing.assert_array_equal(  # a crop larger than the image takes what there is
        decode(tmp_path / "a.png", size=20, crop=500), decode(tmp_path / "a.png", size=20)
    )
    wide = Target(height=10, width=30, channels=3).read(tmp_path / "a.png")
    np.testing.assert_array_equal(wide, pixels.transpose(2, 0, 1)[:, 5:15])


def test_resize_is_bicubic(tmp_path: Path) -> None:
    pixels = Image.fromarray(noise(148, 148))
    pixels.save(tmp_path / "a.png")
    expected = np.asarray(pixels.resize((32, 32), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
    np.testing.assert_array_equal(decode(tmp_path / "a.png", size=32), expected)


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Three good images, two damaged ones, and files that are none of ours."""
    root = tmp_path / "mixed" / "train"
    fill(root, ["a.png", "sub/c.PNG", "d.png"])
    Image.fromarray(noise(64, 64)).save(root / "b.jpg")
    os.truncate(root / "b.jpg", (root / "b.jpg").stat().st_size // 2)
    (root / "e.webp").write_text("not an image")
    (root / "notes.txt").write_text("not an image")
    (root / "._a.png").write_text("what macOS leaves behind")
    fill(root.parent, ["test/t.png", "val/v.png"])
    return root.parent


def test_damaged_files_are_skipped_and_listed(mixed: Path) -> None:
    for _ in range(2):  # decoded, then from the cache
        data = load(f"folder:{mixed}", height=8, width=8)
        assert data.images[:, 0, 0, 0].tolist() == [1, 2, 0]  # sub/c, d, a
        assert [reason.partition(":")[0] for reason in data.skipped] == [
            "train/b.jpg",
            "train/e.webp",
        ]
        assert "truncated" in data.skipped[0]
        assert data.labels == {}
        assert data.name == f"folder:{mixed}"


def test_content_counts_and_other_pictures_are_named(tmp_path: Path) -> None:
    root = fill(tmp_path / "images", ["train/a.png", "val/v.png", "test/t.png"]) / "train"
    picture = Image.new("RGB", (8, 8), (90, 90, 90))
    for name, kind in (("b.gif", "JPEG"), ("c", "PNG"), ("d.JFIF", "JPEG"), ("e.tiff", "WEBP")):
        picture.save(root / name, kind)
    for name in ("f.gif", "g.bmp", "h.TIF"):
        picture.save(root / name)
    for name in ("notes.txt", "labels.csv", "about.json", "Thumbs.db", ".DS_Store", ".i.gif"):
        (root / name).write_text("not an image")
    data = load(f"folder:{root.parent}", height=8, width=8)
    assert sorted(data.images[:, 0, 0, 0].tolist()) == [0, 90, 90, 90, 90]
    named = sorted(reason.partition(":")[0] for reason in data.skipped)
    assert named == ["train/f.gif", "train/g.bmp", "train/h.TIF"]


def test_links_are_followed_once(tmp_path: Path) -> None:
    fill(tmp_path, ["images/cats/a.png", "elsewhere/b.png", "elsewhere/below/c.png"])
    root = tmp_path / "images"
    (root / "dogs").symlink_to(tmp_path / "elsewhere")
    (root / "dogs again").symlink_to(tmp_path / "elsewhere")
    (root / "cats" / "circle").symlink_to(root)
    files = chain(*(folder.split_files(root, split) for split in SPLITS))
    assert sorted(files) == ["cats/a.png", "dogs/b.png", "dogs/below/c.png"]


def test_an_unreadable_folder_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = fill(tmp_path / "images", ["a.png", "b.png", "c.png", "closed/d.png"])
    real = os.scandir

    def refuse(path: str) -> object:  # rights alone don't keep root out
        if Path(path) == closed:
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    for closed in (root / "closed", root):
        message = rf"Expected a folder that can be read; got {closed} \(Permission denied\); change"
        with pytest.raises(ValueError, match=message):
            load(f"folder:{root}", height=8, width=8)


def test_which_files_were_kept(tmp_path: Path) -> None:
    root = tmp_path / "images"
    names = ["a.png", "b: c.png", "b.png", "two  words.png"]
    fill(root, [f"{split}/{name}" for split in ("train", "test", "val") for name in names])
    for name in ("b: c.png", "two  words.png"):
        (root / "train" / name).write_bytes(b"no picture")
    data = load(f"folder:{root}", height=8, width=8)
    assert data.files == ("train/b.png", "train/a.png")


@pytest.mark.parametrize("whole_first", [True, False])
def test_count_takes_the_first_usable(mixed: Path, whole_first: bool) -> None:
    if whole_first:
        load(f"folder:{mixed}", height=8, width=8)
    data = load(f"folder:{mixed}", height=8, width=8, count=2)
    assert data.images[:, 0, 0, 0].tolist() == [1, 2]
    assert not data.skipped
    third = load(f"folder:{mixed}", height=8, width=8, count=3)
    assert third.images[:, 0, 0, 0].tolist() == [1, 2, 0]
    assert [reason[:12] for reason in third.skipped] == ["train/b.jpg:", "train/e.webp"]
    assert len(load(f"folder:{mixed}", height=8, width=8, count=99)) == 3


def test_small_chunks_and_threads_change_nothing(
    mixed: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = load(f"folder:{mixed}", height=8, width=8)
    monkeypatch.setattr(decoding, "processors", lambda: 5)
    monkeypatch.setattr(decoding, "CHUNK_BYTES", 1)
    monkeypatch.setenv("RGFLOW_CACHE", str(tmp_path / "another"))
    data = load(f"folder:{mixed}", height=8, width=8)
    np.testing.assert_array_equal(data.images, whole.images)
    assert data.skipped == whole.skipped


def test_a_changed_file_is_noticed(tmp_path: Path) -> None:
    root = fill(tmp_path / "images", ["train/a.png", "test/b.png", "val/c.png"])
    assert load(f"folder:{root}", height=8, width=8).images.max() == 0
    Image.new("RGB", (8, 8), (9, 9, 9)).save(root / "train/a.png")
    assert load(f"folder:{root}", height=8, width=8).images.max() == 9


def test_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    fill(tmp_path / "images", ["a.png", "b.png", "c.png"])
    assert load("folder:~/images", "test").images.shape == (1, 3, 32, 32)


def test_subfolders_are_the_splits(tmp_path: Path) -> None:
    names = ["train/1/a.png", "train/b.png", "test/c.png", "val/d.png", "other/e.png"]
    root = fill(tmp_path / "images", names)
    assert set(folder.split_files(root, "train")) == {"train/1/a.png", "train/b.png"}
    assert folder.split_files(root, "test") == ["test/c.png"]
    assert folder.split_files(root, "validation") == ["val/d.png"]


def test_validation_from_train(tmp_path: Path) -> None:
    root = fill(tmp_path / "images", [f"train/{k}.png" for k in range(40)] + ["test/t.png"])
    train, validation = (folder.split_files(root, split) for split in ("train", "validation"))
    assert sorted(train + validation) == sorted(f"train/{k}.png" for k in range(40))
    assert 1 <= len(validation) <= 6


@pytest.mark.parametrize(
    "names",
    [
        {"train": "train", "validation": "val"},
        {"train": "Train", "test": "Test"},
        {"train": "train", "validation": "valid", "test": "test"},
        {"train": "TRAIN", "validation": "Dev"},
    ],
)
def test_no_split_of_the_user_is_mixed(tmp_path: Path, names: dict[Split, str]) -> None:
    files = {split: [f"{name}/{k}.png" for k in range(40)] for split, name in names.items()}
    root = fill(tmp_path / "images", [*chain(*files.values()), "other/o.png"])
    found = {split: folder.split_files(root, split) for split in SPLITS}
    assert min(map(len, found.values())) >= 1
    assert sorted(chain(*found.values())) == sorted(chain(*files.values()))
    for split in ("validation", "test"):
        if split in files:
            assert sorted(found[split]) == sorted(files[split])
        else:
            assert set(found[split]) < set(files["train"])


def test_the_cache_knows_the_splits(tmp_path: Path) -> None:
    root = fill(
        tmp_path / "images", [f"{name}/{k}.png" for name in ("other", "train") for k in range(20)]
    )
    mixed = load(f"folder:{root}", height=8, width=8).images[:, 0, 0, 0]
    assert mixed.min() < 20
    (root / "other").rename(root / "val")
    assert load(f"folder:{root}", height=8, width=8).images[:, 0, 0, 0].min() >= 20
    validation = load(f"folder:{root}", "validation", height=8, width=8)
    assert sorted(validation.images[:, 0, 0, 0].tolist()) == [*range(20)]


@pytest.mark.parametrize("below", ["", "train/"])
def test_the_first_files_are_of_all_classes(tmp_path: Path, below: str) -> None:
    names = [f"{below}{kind}/{k}.png" for kind in "abcdefgh" for k in range(50)]
    for name in [*names, "test/t.png"] if below else names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    first = folder.split_files(tmp_path, "train")[:60]
    kinds = Counter(Path(name).parent.name for name in first)
    assert len(kinds) == 8
    assert max(kinds.values()) < 20


def touched(root: Path, count: int) -> Iterator[str]:
    """As many empty files: only their names matter to the splits."""
    root.mkdir()
    for k in range(count):
        (root / f"{k}.png").touch()
        yield f"{k}.png"


def test_splits_by_hash(tmp_path: Path) -> None:
    files = sorted(touched(tmp_path / "images", 1_000))
    splits = {split: folder.split_files(tmp_path / "images", split) for split in SPLITS}
    assert sorted(chain(*splits.values())) == files
    assert [len(splits[split]) for split in SPLITS] == pytest.approx([900, 50, 50], abs=20)
    for split in SPLITS:
        assert splits[split] == sorted(splits[split], key=place)
        assert splits[split] == folder.split_files(tmp_path / "images", split)
    for k in range(0, 1_000, 2):  # with other files gone, each stays where it was
        (tmp_path / "images" / f"{k}.png").unlink()
    for split in SPLITS:
        assert set(folder.split_files(tmp_path / "images", split)) <= set(splits[split])


@pytest.mark.parametrize("count", range(3, 30))
def test_no_split_is_empty(tmp_path: Path, count: int) -> None:
    files = list(touched(tmp_path / "images", count))
    splits = [folder.split_files(tmp_path / "images", split) for split in SPLITS]
    assert min(map(len, splits)) >= 1
    assert sorted(chain(*splits)) == sorted(files)


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"Expected a folder .*none, which doesn't exist"):
        load(f"folder:{tmp_path}/none")
    with pytest.raises(ValueError, match="Expected folder:PATH; got no path"):
        load("folder:")
    root = fill(tmp_path / "images", ["a.png", "b.png"])
    with pytest.raises(ValueError, match=r"Expected a folder of images; got the file .*a.png"):
        load(f"folder:{root}/a.png")
    with pytest.raises(ValueError, match=r"Expected at least 3 images in .*; got 2; add images"):
        load(f"folder:{root}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"Expected PNG, JPEG or WebP images in .*; got none"):
        load(f"folder:{tmp_path}/empty")
    for split in ("train", "test"):
        (tmp_path / "bad" / split).mkdir(parents=True)
        (tmp_path / "bad" / split / "a.png").write_text("not an image")
    message = (
        r"Expected readable images in .*; got 1 that can't be read, the first being test/a.png"
    )
    with pytest.raises(ValueError, match=message):
        load(f"folder:{tmp_path}/bad", "test")
    twice = fill(tmp_path / "twice", ["train/a.png", "val/b.png", "Valid/c.png"])
    with pytest.raises(
        ValueError, match=r"Expected one subfolder of validation images in .*; got "
    ):
        load(f"folder:{twice}")
    untrained = fill(tmp_path / "untrained", ["dev/a.png", "test/b.png"])
    assert len(load(f"folder:{untrained}", "test")) == 1
    with pytest.raises(ValueError, match=r"a subfolder train in .*; got dev and test alone; add"):
        load(f"folder:{untrained}")


def coloured(root: Path, count: int, size: tuple[int, int] = (300, 200)) -> dict[str, Pixels]:
    """Pictures of noise in the upper half of the levels, and by their names their pixels."""
    root.mkdir()
    made = {f"{k}.png": noise(*size, seed=k) // 2 + 128 for k in range(count)}
    for name, pixels in made.items():
        Image.fromarray(pixels).save(root / name)
    return made


def test_patches_are_parts_of_whole_pictures_at_several_scales(tmp_path: Path) -> None:
    made, root = coloured(tmp_path / "p", 5), f"folder:{tmp_path / 'p'}"
    parts = {
        split: load(root, split, height=16, width=24, count=count, patches=True)
        for split, count in (("train", 101), ("validation", 40))
    }
    seen = set[str]()
    for split, data in parts.items():
        files = folder.split_files(tmp_path / "p", split, few=True)
        assert len(files) == {"train": 4, "validation": 1}[split]
        assert seen.isdisjoint(files)
        seen |= set(files)
        columns = (data.labels[name].tolist() for name in ("photograph", "scale", "row", "column"))
        for patch, number, scale, row, column in zip(data.images, *columns, strict=True):
            whole = Image.fromarray(made[files[number]]).reduce(scale)
            part = np.asarray(whole)[row : row + 16, column : column + 24].transpose(2, 0, 1)
            np.testing.assert_array_equal(patch, part)
    counts = Counter(parts["train"].labels["photograph"].tolist())
    assert sorted(counts.values()) == [25, 25, 25, 26]
    assert {*parts["train"].labels["scale"].tolist()} == {1}  # 100 pixels are too few
    with pytest.raises(ValueError, match="a subfolder test .* got 5: add more, or use rgflow sc"):
        load(root, "test", patches=True)
    with pytest.raises(ValueError, match="no crop of pictures that patches are cut from; got 20"):
        load(root, crop=20, patches=True)


def test_large_pictures_give_patches_at_three_scales(tmp_path: Path) -> None:
    coloured(tmp_path / "p", 2, (512, 520))
    data = load(f"folder:{tmp_path / 'p'}", channels=1, count=50, patches=True)
    assert data.images.shape == (50, 1, 32, 32)
    assert {*data.labels["scale"].tolist()} == {1, 2, 4}
    other = load(f"folder:{tmp_path / 'p'}", channels=1, count=50, seed=1, patches=True)
    assert (other.images != data.images).any()


def test_of_many_pictures_some_are_for_the_test(tmp_path: Path) -> None:
    coloured(tmp_path / "p", 20, (40, 40))
    files = {split: folder.split_files(tmp_path / "p", split, few=True) for split in SPLITS}
    assert files == {split: folder.split_files(tmp_path / "p", split) for split in SPLITS}


def test_pictures_without_patches_are_left_out(tmp_path: Path) -> None:
    made = coloured(tmp_path / "p", 3, (40, 40))
    learned = folder.split_files(tmp_path / "p", "train", few=True)
    Image.fromarray(made[learned[0]][:, :31]).save(tmp_path / "p" / learned[0])
    data = load(f"folder:{tmp_path / 'p'}", count=10, patches=True)
    assert {*data.labels["photograph"].tolist()} == {1}
    assert data.skipped == (f"{learned[0]}: 31 × 40 pixels are less than a patch",)


@pytest.mark.parametrize(
    ("pictures", "message"),
    [
        ([], "PNG, JPEG or WebP images in .*; got none"),
        ([(40, 40)], "at least 2 images in .*, one each for train, validation; got 1; add images"),
        (
            [(40, 31), (20, 90)],
            "patches of 32 × 32 pixels can be .* got none, .* less than a patch",
        ),
        ([None, None], "for the train split; got none, the first being .*: it has one colour only"),
    ],
)
def test_too_little_to_learn_from_is_one_sentence(
    tmp_path: Path, pictures: list[tuple[int, int] | None], message: str
) -> None:
    for k, size in enumerate(pictures):
        pixels = noise(*size) if size else np.full((40, 40, 3), 90, np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{k}.png")
    with pytest.raises(ValueError, match=message) as caught:
        load(f"folder:{tmp_path}", patches=True)
    assert "\n" not in str(caught.value)
