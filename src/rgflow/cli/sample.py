"""`rgflow sample`: new images from a trained flow."""

from collections.abc import Sequence

from rgflow.cli.parsing import parse, parser

STAGED = 6
"""Images whose stages are drawn."""


def run(arguments: Sequence[str]) -> None:
    """Parse and sample."""
    options = parser(
        "sample",
        "New images from a trained flow: a grid, and some of them from coarse to fine.",
        "rgflow sample runs/first -n 64 --temperature '[0.7, 0.9, 1.0]'",
    )
    options.add_argument("run", help="the run folder")
    options.add_argument("-n", "--number", type=int, default=64, help="number of images")
    options.add_argument("--seed", type=int, default=0, help="seed; image k has seed + k")
    options.add_argument(
        "--temperature",
        type=float | list[float],
        default=1.0,
        help="T of p^(1/T): one number, or one per level, level 0 first",
    )
    options.add_argument(
        "--convention",
        default="density",
        help="density (the paper's), or the released code's scale",
    )
    options.add_argument("--out", type=str | None, default=None, help="folder; RUN/pictures")
    settings = parse(options, arguments)

    from pathlib import Path

    import torch

    from rgflow import figures
    from rgflow.config import check_whole
    from rgflow.latents import Latents
    from rgflow.training.run import Run

    run = Run.open(settings.run)
    flow = run.flow()
    check_whole("--number", settings.number, 1)
    check_whole("--seed", settings.seed, 0)
    if settings.seed + settings.number >= 1 << 63:
        raise ValueError(f"Expected --seed to be below 2^63; got {settings.seed}.")
    # One generator per image, so that image k is the same whatever the number of images.
    latents = Latents.cat(
        flow.draw(
            1,
            settings.temperature,
            torch.Generator().manual_seed(settings.seed + k),
            settings.convention,
        )
        for k in range(settings.number)
    )
    with torch.no_grad():
        images = torch.cat(
            [flow.decode(latents.select(part)) for part in _slices(settings.number, 64)]
        )
        coarse = flow.coarse(latents.select(slice(STAGED)))
    folder = Path(settings.out).expanduser() if settings.out else run.pictures
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"Expected a folder that can be written for --out; {error}.") from error
    samples, stages = folder / "samples.png", folder / "stages.png"
    figures.grid(images).save(samples)
    figures.stages(coarse).save(stages)
    print(f"{settings.number} images are in {samples}, from coarse to fine in {stages}.")


def _slices(n: int, size: int) -> list[slice]:
    return [slice(start, start + size) for start in range(0, n, size)]
