"""A self-contained page of text, tables, pictures and animations, without links."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment
from PIL import Image

from rgflow.files import replacing
from rgflow.text import printable

LEAST = 640
"""Width of a picture below which its text can't be read; on narrower screens it scrolls."""


@dataclass(frozen=True)
class Figure:
    """A picture with its caption, which is also what is read aloud in its place."""

    source: str
    """A data URI."""
    size: tuple[int, int]
    """Columns and rows of pixels."""
    caption: str
    least: int = LEAST
    """Pixels of the page that it needs in width, if it has as many columns."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of text under a head, with what the numbers were found by."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    settings: str = ""
    shades: Sequence[Sequence[float]] = ()
    """For each row how dark its cells are, from 0 to 1; none: no cell is."""


@dataclass(kw_only=True)
class Section:
    """A part of the page: paragraphs, and figures and tables below them."""

    title: str
    text: list[str] = field(default_factory=list)
    points: Sequence[tuple[str, str]] = ()
    """A list below the paragraphs, each with what stands out first."""
    parts: list[Figure | Table] = field(default_factory=list)


def still(picture: Image.Image, caption: str, least: int = LEAST) -> Figure:
    """A picture for the page, drawn no narrower than `least` pixels."""
    content = io.BytesIO()
    picture.save(content, format="PNG")
    return Figure(_uri("png", content.getvalue()), picture.size, caption, least)


def moving(path: Path, caption: str) -> Figure:
    """An animation for the page, from a GIF file."""
    with Image.open(path) as first:
        return Figure(_uri("gif", path.read_bytes()), first.size, caption)


def _uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def write(path: Path, title: str, sections: Sequence[Section], made: str) -> None:
    """Write the page as an HTML file, which says when and by what it was `made`.

    Raises:
        OSError: If it can't be written.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "page.html"
        >>> write(path, "Ovals", [Section(title="Samples", text=["16 < 17"])], "today")
        >>> "16 &lt; 17" in path.read_text()
        True
    """
    environment = Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda part: printable(part) if isinstance(part, str) else part,
    )
    environment.tests["figure"] = lambda part: isinstance(part, Figure)
    template = environment.from_string(
        files("rgflow.report").joinpath("page.html").read_text(encoding="utf-8")
    )
    text = template.render(title=title, sections=sections, made=made)
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")
