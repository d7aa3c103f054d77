"""A self-contained page of text, tables and pictures, without links."""

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

MIN_WIDTH = 640
"""Smallest width, in pixels of the page, at which the text in a picture can be read; on narrower
screens pictures scroll."""


@dataclass(frozen=True)
class Figure:
    """A picture with its caption, which is also what is read aloud in its place."""

    source: str
    """A data URI."""
    size: tuple[int, int]
    """Columns and rows of pixels."""
    caption: str
    least: int = MIN_WIDTH
    """The smallest width at which it is shown, in pixels of the page, unless it has fewer."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of text under a head, with the settings behind the numbers."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    settings: str = ""
    shades: Sequence[Sequence[float]] = ()
    """The shade of every cell, from 0 to 1 or NaN for none; empty: no cell is shaded."""


@dataclass(kw_only=True)
class Section:
    """A part of the page: paragraphs, and figures and tables below them."""

    title: str
    text: list[str] = field(default_factory=list)
    points: Sequence[tuple[str, str]] = ()
    """A list below the paragraphs; the first part of each point is bold."""
    parts: list[Figure | Table] = field(default_factory=list)


def still(picture: Image.Image, caption: str, least: int = MIN_WIDTH) -> Figure:
    """A picture for the page, shown no narrower than `least` pixels."""
    content = io.BytesIO()
    picture.save(content, format="PNG")
    uri = f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"
    return Figure(uri, picture.size, caption, least)


def write(path: Path, title: str, sections: Sequence[Section], made: str) -> None:
    """Write the page as an HTML file.

    Args:
        path: The file.
        title: Title of the page.
        sections: The sections, in their order.
        made: When and by what it was made.

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
