"""The files of published sets: found where the user has them, or downloaded if that is allowed."""

import hashlib
import http.client
import shutil
import tarfile
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from rich.progress import BarColumn, DownloadColumn

from rgflow.data.cache import cache_folder
from rgflow.data.source import Request
from rgflow.files import located, replacing
from rgflow.text import bars

PIECE = 2**20
"""Bytes that are downloaded between two steps of the bar."""


def data_root(request: Request) -> Path:
    """The folder that the user names, or else `downloads` in the cache folder."""
    return located(request.data_root or str(cache_folder() / "downloads"))


def look(root: Path, name: str, folders: Sequence[str]) -> Path | None:
    """The first file of this name, or with `.gz` after it, in some folders of a root.

    With a slash at its end, it is the name of a folder. Each may lie in a folder of its own name,
    as in Kaggle's archives.
    """
    fits = Path.is_dir if name.endswith("/") else Path.is_file
    ways = (f"{name}/{name}", name, f"{name}.gz")
    paths = (root / folder / way for folder in folders for way in ways)
    return next((path for path in paths if fits(path)), None)


def find(
    request: Request,
    names: Sequence[str],
    *,
    folders: Sequence[str],
    home: str,
    fetch: Callable[[Path, bool], None] | None = None,
) -> list[Path]:
    """Where each file of a set is.

    Args:
        request: What was asked for; it names the root, and whether files may be downloaded.
        names: Names of files and, with a slash at the end, of folders.
        folders: Folders below the root that may hold them.
        home: Where to get the set.
        fetch: Downloads the set into a folder, with a bar or without.

    Raises:
        FileNotFoundError: If some are missing, and may not or can't be downloaded.
        OSError: If the download fails.
    """
    root = data_root(request)
    found = {name: look(root, name, folders) for name in names}
    paths = [path for path in found.values() if path]
    if len(paths) == len(names):
        return paths
    if fetch and request.download:
        fetch(root / request.name, request.progress)
        return find(replace(request, download=False), names, folders=folders, home=home)
    missing = ", ".join(name for name, path in found.items() if not path)
    got = f"no {missing}" if paths else "none of them"
    also = "allow the download with --download true, or " if fetch else ""
    raise FileNotFoundError(
        f"Expected {', '.join(names)} of {request.name} in {root} or its folder {request.name}; "
        f"got {got}; {also}get the set from {home} and name its folder with --data_root."
    )


def download(address: str, path: Path, md5: str, *, progress: bool = True) -> None:
    """Download a file and check that it is the one published.

    Args:
        address: The URL.
        path: The file to write.
        md5: The published MD5 sum, in hexadecimal digits.
        progress: Whether a bar is shown.

    Raises:
        OSError: If nobody answers, the connection breaks, or the file can't be written.
        ValueError: If another file was downloaded.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.md5(usedforsecurity=False)  # what the sets' authors publish
    with replacing(path) as part:
        try:
            with (
                urllib.request.urlopen(address, timeout=60) as answer,
                part.open("wb") as file,
                bars(BarColumn(), DownloadColumn(), transient=False, progress=progress) as bar,
            ):
                size = int(answer.headers.get("Content-Length", 0)) or None
                task = bar.add_task(f"Downloading {address}", total=size)
                while piece := answer.read(PIECE):
                    file.write(piece)
                    digest.update(piece)
                    bar.advance(task, len(piece))
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise OSError(
                f"Expected to download {address} to {path}; got {reason}; try again later, or get "
                "the file by other means and put it there."
            ) from error
        if digest.hexdigest() != md5:
            raise ValueError(
                f"Expected the file with the MD5 sum {md5} at {address}; got {digest.hexdigest()}; "
                "try again later, or get the file by other means."
            )


def unpack(archive: Path, members: Sequence[str], folder: Path) -> None:
    """Take single files out of a `.tar.gz`, whatever folder they are in there.

    Raises:
        ValueError: If one isn't there, or the archive is damaged.
    """
    try:
        with tarfile.open(archive, "r:gz") as tar:
            inside = {Path(member.name).name: member for member in tar if member.isfile()}
            for name in members:
                stream = tar.extractfile(inside[name])
                assert stream
                with replacing(folder / name) as part, part.open("wb") as file:
                    shutil.copyfileobj(stream, file)
    except (tarfile.TarError, EOFError, KeyError) as error:
        raise ValueError(
            f"Expected {', '.join(members)} in {archive}; got a damaged archive ({error}); "
            "delete it and try again."
        ) from error
