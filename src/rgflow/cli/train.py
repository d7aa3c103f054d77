"""`rgflow train`: learn a flow from images."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

from rgflow.cli.parsing import flat, instantiate, parse, parser
from rgflow.config import TrainConfig, check_name
from rgflow.presets import PRESETS


def run(arguments: Sequence[str]) -> None:
    """Parse and train."""
    options = parser(
        "train",
        "Learn a flow from images; everything is left in a run folder.",
        "rgflow train msds1-fast --minutes 4 --out runs/first",
    )
    options.add_argument(
        "preset", nargs="?", help=f"where the settings start: {', '.join(PRESETS)}"
    )
    options.add_argument("--config", action="config", help="a YAML file of settings")
    options.add_argument("--out", type=str | None, default=None, help="the run folder, a new one")
    options.add_class_arguments(TrainConfig, as_group=False)
    # The preset may stand anywhere among the options, so only the parser can find it.
    plain = [word for word in arguments if not word.startswith("--print_config")]
    if preset := parse(options, plain).preset:
        check_name("preset", preset, PRESETS)
        options.set_defaults(flat(asdict(PRESETS[preset])))
    values = instantiate(options, arguments)
    preset, out = values.pop("preset"), values.pop("out")
    values.pop("config")
    config = TrainConfig(**values)

    # Torch is slow to import, so a mistake above is told without it.
    from rgflow.training import train
    from rgflow.training.run import Run

    name = preset or config.data.partition(":")[0]
    folder = out or f"runs/{name}-{datetime.now():%Y%m%d-%H%M%S}"
    if config.minutes is None and config.steps is None:
        raise ValueError("Expected a budget of training: give --minutes, --steps or both.")
    result = train(config, Run.create(folder))
    for file in result.skipped[:5]:
        print(f"left out: {file}")
    if len(result.skipped) > 5:
        print(f"and {len(result.skipped) - 5} other files; run.json lists all of them.")
    if config.model.bijector == "cube":
        print(
            f"The splines were compiled in {result.compile_seconds:.0f} s."
            if result.compile_seconds
            else "The splines ran uncompiled: no C++ compiler was found, or none was wanted."
        )
    print(
        f"{'Stopped by hand: ' if result.interrupted else ''}{result.steps} steps in "
        f"{result.seconds:.0f} s, {result.images_per_second:.0f} images/s; validation "
        f"{result.bits_per_dim:.3f} bits/dim. The run is in {folder}."
    )
