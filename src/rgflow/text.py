"""What is shown: text from outside, such as names of files and columns, on a terminal."""

import math
import re
import sys
from typing import Any

from rich.console import Console
from rich.progress import Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

HIDDEN = re.compile("[\0-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, ends of lines, changes of the direction of writing, and surrogates."""


def printable(text: str) -> str:
    r"""Text in one line that no terminal takes for commands, and no encoding refuses.

    What is hidden stands as Python writes it; letters, accents and emoji stay as they are.

    Example:
        >>> print(printable("Größe [\x1b[31mcm]\n"))
        Größe [\x1b[31mcm]\n
    """
    return HIDDEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def say(text: str) -> None:
    """Print one line, made `printable`."""
    print(printable(text))


def measured(value: float, digits: int, error: float | None = None) -> str:
    """A number with so many decimals, and its standard error, if it has one.

    Example:
        >>> measured(7.125, 2, 0.0312), measured(-0.001, 2), measured(0.5, 1, math.nan)
        ('7.12 ± 0.03', '0.00', '0.5')
    """
    text = f"{round(value, digits) + 0.0:.{digits}f}"  # no -0.00
    return text if error is None or math.isnan(error) else f"{text} ± {error:.{digits}f}"


class Screen(Console):
    """A terminal, or a file in its place, where all text is made `printable`: brackets are no
    markup, and words between colons no emoji.

    Args:
        stderr: Whether it is standard error.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False)

    def render_str(self, text: str, **how: Any) -> Text:
        """What becomes of every text that is printed, or in a table."""
        return super().render_str(printable(text), **how)


class _What(TextColumn):
    """What is being done, as text."""

    def render(self, task: Task) -> Text:
        return Text(printable(task.description), "progress.description")


def bars(*columns: ProgressColumn, transient: bool = True) -> Progress:
    """Progress bars on standard error, if that is a terminal.

    Args:
        columns: What stands behind what is being done; a bar, percents and the time left.
        transient: Whether they disappear in the end.
    """
    screen = Screen(stderr=True)
    return Progress(
        _What(""),
        *(columns or Progress.get_default_columns()[1:]),
        console=screen,
        transient=transient,
        disable=not screen.is_terminal,
    )


def show_warning(message: Warning | str, category: type[Warning], *_: Any) -> None:
    """Print a warning of this package in one line, and none of another: for `warnings.showwarning`
    of a command, whose user has written neither."""
    if category.__module__.partition(".")[0] == __name__.partition(".")[0]:
        print(f"rgflow: {printable(str(message))}", file=sys.stderr)
