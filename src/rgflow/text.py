"""What people read: numbers with their errors, text from outside, progress bars."""

import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from rich.box import HEAVY_HEAD, Box
from rich.console import Console
from rich.progress import Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

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


# ---------------------------------------------------------------- numbers


def mean_and_error(values: "ArrayLike") -> tuple[float, float]:
    """The mean of independent values [N], and its standard error: NaN of a single value.

    Example:
        >>> mean_and_error([1.0, 3.0])
        (2.0, 1.0)
    """
    import numpy as np  # not where only words are shown

    found = np.asarray(values, dtype=np.float64)
    n = len(found)
    with np.errstate(invalid="ignore"):  # infinite values have no error
        return float(found.mean()), float(found.std(ddof=1)) / n**0.5 if n > 1 else math.nan


def measured(value: float, digits: int, error: float | None = None) -> str:
    """A number with so many decimals, and its standard error, if it has one.

    Example:
        >>> measured(7.125, 2, 0.0312), measured(-0.001, 2), measured(0.5, 1, math.nan)
        ('7.12 ± 0.03', '0.00', '0.5')
    """
    text = f"{round(value, digits) + 0.0:.{digits}f}"  # no -0.00
    return text if error is None or math.isnan(error) else f"{text} ± {error:.{digits}f}"


def minus(text: str) -> str:
    """A number as it is printed: with minus signs where Python writes hyphens.

    Example:
        >>> minus(measured(-0.125, 2, 0.02)), minus("2")
        ('−0.12 ± 0.02', '2')
    """
    return text.replace("-", "−")


def with_error(value: float, error: float, decimals: int | None = None) -> str:
    """A number with its standard error, which has two digits or is a whole number, and as many
    decimals as that; without an error, with so many decimals, or three digits.

    Example:
        >>> with_error(39.92, 19.6), with_error(6.188, 4.24), with_error(-0.907, 0.0312)
        ('40 ± 20', '6.2 ± 4.2', '−0.907 ± 0.031')
        >>> with_error(6.188, math.nan), with_error(6.188, math.nan, 1), with_error(2.0, 0.0)
        ('6.19', '6.2', '2 ± 0')
    """
    if 0 < error < math.inf:
        return minus(measured(value, max(1 - int(f"{error:.1e}".split("e")[1]), 0), error))
    text = f"{value:.3g}" if decimals is None else f"{value:.{decimals}f}"
    return minus(text + " ± 0" * (error == 0))


def many(count: int, word: str) -> str:
    """A count and what it counts.

    Example:
        >>> many(1, "draw"), many(2, "draw")
        ('1 draw', '2 draws')
    """
    return f"{count} {word}{'s' * (count != 1)}"


# ---------------------------------------------------------------- the terminal


class Screen(Console):
    """A terminal, or a file in its place, where all text is made `printable`: brackets are no
    markup, and words between colons no emoji."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False)

    def render_str(self, text: str, **how: Any) -> Text:
        """What becomes of every text that is printed, or in a table."""
        return super().render_str(printable(text), **how)


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    title: str | None = None,
    *,
    left: int = 1,
    box: Box | None = HEAVY_HEAD,
) -> Table:
    """Rows of words for a terminal.

    Args:
        head: Names of the columns.
        rows: The words of each row.
        title: What stands above the table.
        left: How many columns hold words; the others hold numbers, aligned on the right.
        box: How lines are drawn; none: there are no lines.
    """
    found = Table(title=title, title_justify="left", box=box)
    for k, name in enumerate(head):
        found.add_column(name, justify="left" if k < left else "right", no_wrap=k == 0)
    for row in rows:
        found.add_row(*row)
    return found


def show_wide(head: Sequence[str], rows: Iterable[Sequence[str]], left: int | None = None) -> None:
    """Print a `table` without lines, its text on the left; whole where it is piped into another
    program."""
    screen = Screen()
    if not screen.is_terminal:
        screen.width = 120
    screen.print(table(head, rows, left=len(head) if left is None else left, box=None))


def show_facts(facts: Iterable[tuple[str, str]], *more: Table) -> None:
    """Print names, each with what is known of it, and what else there is below."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, fact in facts:
        grid.add_row(name, fact)
    Screen().print(grid, *more)


class What(TextColumn):
    """What is being done, as text."""

    def render(self, task: Task) -> Text:
        return Text(printable(task.description), "progress.description")


class Lines(Progress):
    """Says on standard error how far things are, in a line now and then, where that isn't a
    terminal."""

    every: ClassVar[float] = 15.0
    """Seconds between lines, whatever they are about, and before the first."""
    said: ClassVar[float] = -math.inf
    """When the last one was written, or the command began."""

    def __init__(self) -> None:
        super().__init__(disable=True)

    def update(self, task_id: TaskID, **what: Any) -> None:
        """As of bars."""
        super().update(task_id, **what)
        self._say(task_id)

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        """As of bars."""
        super().advance(task_id, advance)
        self._say(task_id)

    def _say(self, task_id: TaskID) -> None:
        now, task = self.get_time(), self.tasks[self.task_ids.index(task_id)]
        if Lines.said == -math.inf:
            Lines.said = now
        if now < Lines.said + self.every or task.total is None:
            return
        Lines.said = now
        left = task.time_remaining
        after = "" if left is None else f", {timedelta(seconds=left)} left"
        what = printable(task.description)
        print(f"{what}: {task.percentage:.0f} %{after}", file=sys.stderr, flush=True)


def bars(*columns: ProgressColumn, transient: bool = True, progress: bool = True) -> Progress:
    """Progress bars on standard error, or `Lines` where that isn't a terminal.

    Args:
        columns: What stands behind what is being done; a bar, percents and the time left.
        transient: Whether they disappear in the end.
        progress: Whether there are any.
    """
    screen = Screen(stderr=True)
    if progress and not screen.is_terminal:
        return Lines()
    return Progress(
        What(""),
        *(columns or Progress.get_default_columns()[1:]),
        console=screen,
        transient=transient,
        disable=not progress,
    )


Report = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is to do."""


@contextmanager
def reporting() -> Iterator[Report]:
    """A progress bar for each thing that is reported."""
    with bars() as shown:
        tasks: dict[str, TaskID] = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = shown.add_task(what)
            shown.update(tasks[what], completed=done, total=total)

        yield report


@contextmanager
def bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar, and the function that advances it."""
    with bars() as shown:
        yield partial(shown.advance, shown.add_task(what, total=total))


@contextmanager
def share_bar(what: str) -> Iterator[Callable[[float], None]]:
    """A progress bar, and the function that moves it to a share of the work, from 0 to 1."""
    with bars() as shown:
        task = shown.add_task(what, total=1.0)
        yield lambda share: shown.update(task, completed=share)


def counter(report: Report | None, what: str, total: int) -> Callable[[int], None]:
    """A function that adds up what was done since its last call, and reports the sum.

    Example:
        >>> advance = counter(print, "decoding", 100)
        >>> advance(64), advance(36)
        decoding 64 100
        decoding 100 100
        (None, None)
    """
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if report:
            report(what, done, total)

    return advance


def show_warning(message: Warning | str, category: type[Warning], *_: Any) -> None:
    """Print a warning of this package in one line, and none of another: for `warnings.showwarning`
    of a command, whose user has written neither."""
    if category.__module__.partition(".")[0] == __name__.partition(".")[0]:
        print(f"rgflow: {printable(str(message))}", file=sys.stderr)
