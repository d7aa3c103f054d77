"""What the commands' parsers share."""

import difflib
import re
import types
from collections.abc import Sequence
from typing import Any, Literal, Union, get_args, get_origin

from jsonargparse import ArgumentError, ArgumentParser, Namespace, set_parsing_settings

set_parsing_settings(docstring_parse_attribute_docstrings=True)


def parser(command: str, description: str, example: str) -> ArgumentParser:
    """A parser whose errors are exceptions."""
    return ArgumentParser(
        prog=f"rgflow {command}",
        description=f"{description} Example: {example}",
        exit_on_error=False,
    )


def parse(parser: ArgumentParser, arguments: Sequence[str]) -> Namespace:
    """Parse, turning every mistake into a `ValueError` of one sentence."""
    try:
        return parser.parse_args(list(arguments))
    except (ArgumentError, TypeError) as error:  # the latter for a file that isn't a config
        raise ValueError(_one_sentence(str(error), parser)) from error


def instantiate(parser: ArgumentParser, arguments: Sequence[str]) -> dict[str, Any]:
    """Parse, and make the dataclasses among the values."""
    settings = parse(parser, arguments)
    try:
        values: dict[str, Any] = parser.instantiate(settings).as_dict()
    except TypeError as error:
        raise ValueError(_one_sentence(str(error), parser)) from error
    return values


def _one_sentence(message: str, parser: ArgumentParser) -> str:
    """What was expected, what was given, and the nearest option, from the parser's own message."""
    wrong = re.search(r'Parser key "([\w.]+)":.*value: (.*)', message, re.DOTALL)
    actions = {action.dest: action for action in parser._actions}
    if wrong and wrong.group(1) in actions:
        kind = getattr(actions[wrong.group(1)], "_typehint", None)
        given = wrong.group(2).strip()
        close = difflib.get_close_matches(given, map(str, get_args(kind)), n=1)
        hint = f" (nearest: {close[0]})" if close and get_origin(kind) is Literal else ""
        return f"Expected --{wrong.group(1)} to be {_described(kind)}; got {given}{hint}."
    if loading := re.search(r'Parser key "(\w+)": Unable to load config (\S+)', message):
        name, given = loading.groups()
        return f"Expected --{name} to be a YAML file of its settings; got {given}."
    message = re.sub(r"Group '(\w+)' does not accept option '([\w.]+)'", r"Option '\1.\2'", message)
    unknown = re.search(r"(?:nrecognized arguments:|Key|Option) ['\"]?-*([\w.\-]+)", message)
    if unknown and unknown.group(1) not in actions:
        word = unknown.group(1)
        names = [name.lstrip("-") for a in parser._actions for name in a.option_strings]
        close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
        hint = f" (nearest: --{close[0]})" if close else ""
        return f"Expected an option that `{parser.prog} --help` lists; got {word!r}{hint}."
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


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested dictionary with dotted keys; empty dictionaries stay values."""
    out: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            out |= flat(value, f"{prefix}{key}.")
        else:
            out[f"{prefix}{key}"] = value
    return out
