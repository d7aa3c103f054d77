"""`rgflow train`: learn a flow from images."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rgflow.checks import check_name, check_type
from rgflow.cli.parsing import Parser, extracted, parse
from rgflow.config import FAMILIES, FlowConfig, TrainConfig
from rgflow.config.earlier import training_of_earlier
from rgflow.files import absolute, expanded, to_yaml
from rgflow.kinds import options_of
from rgflow.objectives import Objective
from rgflow.presets import CONTINUED, PRESETS
from rgflow.reading import DamagedError, json_in, read_yaml, yaml_in
from rgflow.text import say

if TYPE_CHECKING:
    from rgflow.training import TrainingResult
    from rgflow.training.run import Run

_RESUME = "continue the run in this folder; only --minutes and --steps may be changed"


def run(arguments: Sequence[str]) -> None:
    """Parse and train.

    Raises:
        ValueError: If an option is wrong, or options don't fit together.
    """
    if any(word.split("=")[0] == "--resume" for word in arguments):
        _resume(arguments)
        return
    options = Parser(
        "train",
        "Train a flow on images; everything is written to a run folder.",
        "rgflow train msds1-best --minutes 4 --out runs/first",
    )
    options.add_argument(
        "preset", nargs="?", help=f"the preset to start from: {', '.join(PRESETS)}"
    )
    options.add_argument(
        "--config", type=str | None, default=None, help="a YAML file with settings"
    )
    options.add_argument(
        "--print_config", action="store_true", help="print the settings as YAML and exit"
    )
    options.add_argument("--out", type=str | None, default=None, help="the new run folder")
    options.add_argument("--resume", type=str | None, default=None, help=_RESUME)
    options.add_class_arguments(TrainConfig, as_group=False, skip={"model", "objective"})
    options.add_class_arguments(FlowConfig, "model", as_group=False, skip=set(FAMILIES))
    for name, family in FAMILIES.items():
        has = "; ".join(f"{one}: {', '.join(options_of(of))}" for one, of in family.kinds.items())
        options.add_argument(f"--model.{name}", type=str | None, help=f"kind of {name}, with {has}")
    what = f"what a step minimises: {', '.join(Objective.kinds)}, or a class by its import path"
    options.add_argument("--objective", type=str | None, help=what)
    arguments, files = _files(arguments)
    arguments, given = _given(arguments)
    shown = "--print_config" in arguments  # a word that the parser has a meaning of its own for
    named = parse(options, [word for word in arguments if word != "--print_config"])
    given |= {name: named[name] for name in OTHERS if named[name]}
    told = {name: value for some in (*files, given) for name, value in some.items()}
    preset, out, data = map(told.get, (*OTHERS, "data"))
    config = _begin(preset, told.get("pretrained", ""), data or "")
    for some in (*files, given):
        config = config.changed({name: x for name, x in some.items() if name not in OTHERS})
    if shown:
        print(to_yaml({"out": out, **config.to_dict()}), end="")
        return
    if config.minutes is None and config.steps is None:
        raise ValueError("Expected a training budget: give --minutes, --steps or both.")

    # Torch is slow to import, so mistakes are reported before it is needed.
    from rgflow.training import train
    from rgflow.training.run import Run, several_processes

    if several_processes() and not out:
        raise ValueError("Expected --out FOLDER when several processes train together; got none.")
    name = preset or config.data.partition(":")[0]
    run = Run.create(out or f"runs/{name}-{datetime.now():%Y%m%d-%H%M%S}")
    _tell(train(config, run), config, run)


OF_DATA = ("objective", "data", "data_root", "crop", "flip", "shuffle_channels")
"""Settings that belong to a data set, or to an action."""
OF_OPTIMISER = (
    "batch_size", "optimizer", "lr", "muon_lr", "weight_decay", "muon_decay", "betas", "warmup",
    "schedule", "max_grad_norm", "ema_decay",
)  # fmt: skip
"""Settings of the optimisation."""


def _begin(preset: str | None, pretrained: str | None, data: str) -> TrainConfig:
    """Initial settings: a preset's, with the flow of the pretrained model if there is one; without
    a preset, the settings of that model's training. Pictures of a folder are learned from where
    `photos` ends, if the preset is of photographs and no other start is given.

    Args:
        preset: Its name, if one is given.
        pretrained: The model, if one is given; none: new weights.
        data: The data set, if one is given; if it isn't the model's, nothing that belongs to that
            is taken over.

    Raises:
        ValueError: If there is nothing that says which data set to learn from.
    """
    config = TrainConfig()
    if preset:
        check_name("preset", preset, PRESETS)
        config = PRESETS[preset]
    own = data.startswith("folder:")
    if preset and own and config.model.learns_patches and pretrained == "":
        pretrained = "photos"
    if not pretrained:
        return config

    from rgflow.training.start import find

    found = find(pretrained)
    there = found.past.config
    # What pays differs from machine to machine.
    flow = replace(found.flow_config, compute_dtype="auto")
    fields = config.model.pixels is None and flow.pixels is None and flow.geometry.any_size
    if preset and (fields or (config.model.learns_patches and flow.learns_patches)):
        sizes = {name: getattr(config.model, name) for name in ("height", "width", "levels")}
        flow = replace(flow, **sizes)
    config = replace(config, model=flow, pretrained=pretrained)
    if there and not preset:
        same = not data or absolute(data) == absolute(there.data)
        names = OF_OPTIMISER + (OF_DATA if same else ())
        config = replace(config, **{name: getattr(there, name) for name in names})
    elif not (preset or data):
        raise ValueError(
            f"Expected a data set to train on, as the model {pretrained} names none: give one "
            f"with --data, or a preset."
        )
    return replace(config, **CONTINUED) if own and flow.learns_patches else config


def _given(arguments: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """Separate settings from all other arguments: nested, as a config has them."""
    found = dict[str, Any]()

    def wanted(option: str) -> bool:
        first, second = (*option.removeprefix("--").split("."), "")[:2]
        known = options_of(FlowConfig) if first == "model" else options_of(TrainConfig)
        return option[:2] == "--" and (second if first == "model" else first) in known

    left, given = extracted(arguments, wanted)
    if any(word.partition("=")[0] == "--model" for word in left):
        raise ValueError("Expected options of the flow as --model.NAME VALUE; got --model.")
    for option, text in given:
        if not text or text.startswith("--"):
            raise ValueError(f"Expected a value after {option}; got {text or 'none'}.")
        name = option.removeprefix("--").rstrip(".")
        _put(found, name, text if name in WORDS and text != "null" else _value(text))
    return left, found


WORDS = ("data", "data_root", "pretrained")
"""Settings that stay what they are, whatever that means in YAML."""


def _value(text: str) -> Any:
    """The value that JSON, or else YAML, stands for: to YAML, 1e-3 is a word."""
    try:
        return json_in(text)
    except DamagedError:
        return yaml_in(text)


def _put(settings: dict[str, Any], name: str, value: object) -> None:
    """Set a value by its name, dotted for parts, such as `map.bins`."""
    name, _, rest = name.partition(".")
    there = settings.get(name)
    if rest:
        if not isinstance(there, dict):  # its kind, or nothing yet
            there = settings[name] = {} if there is None else {"kind": there}
        _put(there, rest, value)
    else:
        # Options may come before their kind.
        both = isinstance(there, dict) and there and isinstance(value, str)
        settings[name] = {**there, "kind": value} if both else value  # type: ignore[dict-item]


def _files(arguments: Sequence[str]) -> tuple[list[str], list[dict[str, Any]]]:
    """Separate `--config` from the other arguments, and read the settings in its files.

    The parser never sees a file, which may be a stranger's: it would import classes by some words.
    """
    left, named = extracted(arguments, "--config".__eq__)
    found = []
    for _, name in named:
        path, values = expanded(name), dict[str, Any]()
        for setting, value in read_yaml(path, "a YAML file of settings").items():
            _put(values, setting, value)
        if not isinstance(values.setdefault("model", {}), dict):
            raise ValueError(
                f"Expected settings as names and values in {path}, those of the flow under model; "
                f"see --print_config for an example."
            )
        values = training_of_earlier(values)
        for word in (*OTHERS, "pretrained", "data"):
            if values.get(word) is not None:
                check_type(f"{word} in {path}", values[word], str, "a word")
        found.append(values)
    return left, found


OTHERS = ("preset", "out")
"""Options of the command that a file may hold beside settings."""


def _resume(arguments: Sequence[str]) -> None:
    """Continue a run."""
    options = Parser("train", "Continue a run.", "rgflow train --resume runs/first --minutes 10")
    options.add_argument("--resume", type=str, required=True, help=_RESUME)
    options.add_argument("--minutes", type=float | None, default=None, help="another total budget")
    options.add_argument("--steps", type=int | None, default=None, help="another total budget")
    arguments, budget = _given(arguments)
    if others := [name for name in budget if name not in ("minutes", "steps")]:
        raise ValueError(
            f"Expected only --minutes and --steps with --resume; got --{others[0]}: the other "
            f"settings of a run can't change."
        )
    settings = parse(options, arguments)

    from rgflow.training import train
    from rgflow.training.run import Run

    run = Run.unfinished(settings.resume)
    config = run.config()
    if budget:
        config = config.changed({"minutes": None, "steps": None} | budget)
    _tell(train(config, run, resume=True), config, run)


def _tell(result: "TrainingResult", config: TrainConfig, run: "Run") -> None:
    """Print what came out."""
    from rgflow.training.run import first_process

    if not first_process():
        return
    for file in result.skipped[:5]:
        say(f"left out: {file}")
    if len(result.skipped) > 5:
        print(f"and {len(result.skipped) - 5} other files; run.json lists all of them.")
    if config.model.map.is_compiled:
        why = "as requested" if config.compile is False else "as no C++ compiler was found"
        print(
            f"Maps of the unit cube were compiled in {result.compile_seconds:.0f} s."
            if result.compile_seconds
            else f"Maps of the unit cube ran uncompiled, {why}."
        )
    if result.skipped_steps:
        print(f"{result.skipped_steps} steps weren't finite and were skipped; see log.jsonl.")
    say(
        f"{'Interrupted: ' if result.interrupted else ''}{result.steps} steps in "
        f"{result.seconds:.0f} s, {result.images_per_second:.0f} images/s; validation "
        f"{result.validation:.3f} {result.unit}, best {result.best:.3f}. The run is in {run.folder}"
        + (f"; continue with --resume {run.folder}." if result.interrupted else ".")
    )
