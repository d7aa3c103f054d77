"""Parsers of the commands."""

import difflib
import math
import re
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from jsonargparse import ArgumentError, ArgumentParser, Namespace, set_parsing_settings

from rgflow import __version__
from rgflow.checks import check_at_least, check_name, check_whole
from rgflow.files import expanded, located
from rgflow.outputs import Outputs

set_parsing_settings(docstring_parse_attribute_docstrings=True)


MAX_INT = 2**63 - 1
"""The largest integer of 64 bits, which tensors and generators take."""
NO_SETTINGS = (
    "pictures", "images", "mask", "out", "overwrite", "limit", "config", "processes", "engine",
    "address", "download",
)  # fmt: skip
"""Options on which results don't depend, or only by the content of files."""
TEMPERATURE_HELP = "T of p^(1/T): one number, or one per level, level 0 first"


class Parser(ArgumentParser):
    """A parser whose errors are exceptions, and whose options say which values are allowed."""

    def __init__(self, command: str, description: str, example: str) -> None:
        super().__init__(
            prog=f"rgflow {command}",
            description=f"{description} Example: {example}",
            exit_on_error=False,
        )
        self.names: Sequence[str] = ()
        self.checks: list[tuple[str, Callable[[str, Any], object]]] = []

    def _option(self, name: str, kind: Any, default: Any, help: str) -> None:
        kind = kind if default is not None else kind | None
        self.add_argument(f"--{name}", type=kind, default=default, help=help)

    def model(self) -> None:
        """The model that the command is about, and the size of its images."""
        self.add_argument("run", help="a run folder, or a model: its folder or name")
        what = "rows and columns of the images, if they differ from training and the flow allows it"
        self.add_argument("--size", nargs=2, type=int, default=None, metavar=("H", "W"), help=what)

    def whole(
        self, name: str, default: int | None, help: str, least: int = 1, most: int = MAX_INT
    ) -> None:
        """An option for a whole number.

        Args:
            name: Of the option.
            default: Its value if it isn't given; none: it may be left out.
            help: What it is for.
            least: The smallest value allowed.
            most: The largest value allowed.
        """
        self._option(name, int, default, help)
        self.checks.append((name, lambda what, value: check_whole(what, value, least, most)))

    def number(
        self,
        name: str,
        default: float | None,
        help: str,
        least: float = -math.inf,
        most: float = math.inf,
    ) -> None:
        """An option for a number.

        Args:
            name: As for `whole`.
            default: As for `whole`.
            help: As for `whole`.
            least: As for `whole`.
            most: As for `whole`.
        """
        self._option(name, float, default, help)
        if least > -math.inf:
            self.checks.append((name, lambda what, value: check_at_least(what, value, least, most)))

    def word(
        self, name: str, default: str | None, help: str, among: Sequence[str] | None = None
    ) -> None:
        """An option for a word.

        Args:
            name: As for `whole`.
            default: As for `whole`.
            help: As for `whole`.
            among: The words allowed; none: any.
        """
        self._option(name, str, default, help)
        if among is not None:
            self.checks.append((name, lambda what, value: check_name(what, value, among)))

    def flag(self, name: str, help: str) -> None:
        """An option without a value."""
        self.add_argument(f"--{name}", action="store_true", help=help)

    def files(self, name: str, help: str) -> None:
        """An option for one or more files."""
        self.add_argument(f"--{name}", nargs="+", type=str, help=help)

    def several(self, name: str, kind: Any, default: Any, help: str) -> None:
        """An option for a list of values of one type.

        Args:
            name: As for `whole`.
            kind: The type.
            default: As for `whole`.
            help: As for `whole`.
        """
        self._option(name, list[kind], default, help)

    def temperature(self, default: float | None = 1.0, help: str = TEMPERATURE_HELP) -> None:
        """The option for the temperature at which latents are drawn."""
        self._option("temperature", float | list[float], default, help)

    def out(self, default: str | None, help: str, *names: str) -> None:
        """The options for where results go, and for what they may replace.

        Args:
            default: A folder; None: a folder of the command's own.
            help: What it is for.
            names: Patterns of the names of its files, if these are no results of a picture each.
        """
        self.word("out", default, help)
        self.checks.append(("out", _check_given))
        self.flag("overwrite", "also write over files that this command didn't make; never inputs")
        self.names = names

    def limit(self) -> None:
        """The option for the size of pictures that are read (`most`)."""
        self._option("limit", float, None, "megapixels of a picture at the most; by default 64")
        self.checks.append(("limit", lambda what, value: check_at_least(what, value, 0)))

    def data(self) -> None:
        """The option for another data set than that of the run."""
        self.word("data", None, "data set; by default that of the run")


def extracted(
    arguments: Sequence[str], wanted: Callable[[str], bool]
) -> tuple[list[str], list[tuple[str, str]]]:
    """The arguments without some options, and these with their values.

    Example:
        >>> extracted(["--a", "1", "b", "--a=2"], {"--a"}.__contains__)
        (['b'], [('--a', '1'), ('--a', '2')])
    """
    left, found = list[str](), list[tuple[str, str]]()
    words = iter(arguments)
    for word in words:
        option, equals, value = word.partition("=")
        if wanted(option):
            found.append((option, value if equals else next(words, "")))
        else:
            left.append(word)
    return left, found


def most(settings: Namespace, usual: int) -> int:
    """The number of pixels that `Parser.limit` allows."""
    return usual if settings.limit is None else int(1e6 * settings.limit)


def outputs(
    settings: Namespace, groups: Sequence[Sequence[Path]], *more: Any, own: Path = Path()
) -> Outputs:
    """The results in the folder that `Parser.out` names.

    Args:
        settings: Of the command.
        groups: For each input, the files that its results depend on.
        more: What else they depend on.
        own: The folder without that option.
    """
    what = {name: value for name, value in settings.as_dict().items() if name not in NO_SETTINGS}
    named = expanded(settings.out) if settings.out else None
    return Outputs(
        named or own,
        [file for files in groups for file in files],
        [__version__, what, *more],
        overwrite=settings.overwrite,
        home=named or own,
    )


def _guard(parser: Parser, settings: Namespace) -> None:
    """Guard what a command writes from now on: its figures may replace what the same command wrote,
    with whatever settings, but nothing else. Raises a `ValueError` if there is something else."""
    given = {name: value for name, value in settings.as_dict().items() if name != "out"}
    every = [value if isinstance(value, list) else [value] for value in given.values()]
    words = [expanded(word) for words in every for word in words if isinstance(word, str)]
    named = expanded(settings.out) if settings.out else None
    for folder in {located(place) for word in words if (place := str(word).partition(":")[2])}:
        if named and located(named).is_relative_to(folder):  # the images of folder:PATH
            words += folder.rglob("*")
    overwrite = settings.overwrite or not named
    results = Outputs(named or Path(), words, parser.prog, overwrite=overwrite, home=named)
    results.guard()
    for pattern in parser.names:
        for path in named.glob(pattern) if named else ():
            results.check_own(path)


def _check_given(what: str, value: str) -> None:
    if not value:
        raise ValueError(
            f"Expected a value for {what}; got an empty one: is a variable of the shell unset?"
        )


def some(settings: Namespace, *names: str) -> dict[str, Any]:
    """Settings of these names, to be passed on."""
    return {name: settings[name] for name in names}


def parse(parser: ArgumentParser, arguments: Sequence[str]) -> Namespace:
    """Parse and check.

    Raises:
        ValueError: If there is a mistake, in one sentence.
    """
    try:
        settings = parser.parse_args(list(arguments))
    except (ArgumentError, TypeError) as error:  # the latter for a file that isn't a config
        raise ValueError(_one_sentence(str(error), parser)) from error
    for name, check in parser.checks if isinstance(parser, Parser) else ():
        if settings[name] is not None:
            check(f"--{name}", settings[name])
    if isinstance(parser, Parser) and parser.names:
        _guard(parser, settings)
    return settings


def _one_sentence(message: str, parser: ArgumentParser) -> str:
    """The parser's message as one sentence: the expected and given values, the nearest option."""
    wrong = re.search(r'Parser key "([\w.]+)":.*value: (.*)', message, re.DOTALL)
    actions = {action.dest: action for action in parser._actions}
    if wrong and wrong.group(1) in actions:
        kind = getattr(actions[wrong.group(1)], "_typehint", None)
        given = wrong.group(2).strip()
        close = difflib.get_close_matches(given, map(str, get_args(kind)), n=1)
        hint = f" (nearest: {close[0]})" if close and get_origin(kind) is Literal else ""
        return f"Expected --{wrong.group(1)} to be {_described(kind)}; got {given}{hint}."
    unknown = re.search(r"(?:nrecognized arguments:|Key|Option) ['\"]?-*([\w.\-]+)", message)
    if unknown and unknown.group(1) not in actions:
        word = unknown.group(1)
        names = [name.lstrip("-") for a in parser._actions for name in a.option_strings]
        close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
        hint = f" (nearest: --{close[0]})" if close else ""
        return f"Expected an option that `{parser.prog} --help` lists; got {word!r}{hint}."
    if lacking := re.search(r"argument (--\w+).*: expected (.*)", message):
        option, what = lacking.groups()
        return f"Expected {what} for {option}; got none (a file name with - in front needs ./)."
    if lacking := re.search(r"arguments are required: (.*)", message):
        return f"Expected {lacking.group(1)}; got none: see `{parser.prog} --help`."
    sentence = " ".join(line.strip(" -") for line in message.splitlines())
    return sentence.strip().rstrip(".") + "."


_DESCRIPTIONS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a word",
    types.NoneType: "null",
}


def _described(kind: Any) -> str:
    """A type in words."""
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(str, get_args(kind)))
    if get_origin(kind) in (Union, types.UnionType):
        return " or ".join(_described(part) for part in get_args(kind))
    if get_origin(kind) in (list, tuple):
        return f"a list such as [{', '.join(_described(p) for p in get_args(kind) if p != ...)}]"
    return _DESCRIPTIONS.get(kind, str(kind))
