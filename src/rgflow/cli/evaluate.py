"""`rgflow evaluate`: bits per dimension of a trained flow."""

from collections.abc import Sequence

from rgflow.cli.parsing import parse, parser


def run(arguments: Sequence[str]) -> None:
    """Parse and evaluate."""
    options = parser(
        "evaluate",
        "Bits per dimension of a trained flow on test images, with its standard error.",
        "rgflow evaluate runs/first --count 2000",
    )
    options.add_argument("run", help="the run folder")
    options.add_argument("--data", type=str | None, default=None, help="data set; that of the run")
    options.add_argument("--count", type=int, default=10_000, help="test images at the most")
    options.add_argument("--seed", type=int, default=0, help="seed of the dequantisation noise")
    settings = parse(options, arguments)

    import torch
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

    from rgflow import data
    from rgflow.config import check_whole
    from rgflow.evaluation import evaluate
    from rgflow.training.run import Run

    check_whole("--seed", settings.seed, 0)
    check_whole("--count", settings.count, 1)
    run = Run.open(settings.run)
    config, flow = run.config(), run.flow()
    if torch.cuda.is_available():
        flow.cuda()
    model, name = flow.config, settings.data or config.data
    images = data.load(
        name,
        "test",
        height=model.height,
        width=model.width,
        channels=model.channels,
        count=settings.count,
        crop=config.crop,
    )
    console = Console()
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("evaluating", total=len(images))
        result = evaluate(
            flow,
            torch.from_numpy(images.images.copy()),
            seed=settings.seed,
            progress=lambda done: progress.advance(task, done),
        )
    table = Table("level", "prior", "log-det", title="bits/dim by level", title_justify="left")
    for level, (prior, log_det) in enumerate(
        zip(result.prior_bits, result.log_det_bits, strict=True)
    ):
        table.add_row(str(level), f"{prior:.3f}", f"{log_det:.3f}")
    table.add_row("pixels", "", f"{result.pixel_bits:.3f}")
    console.print(table)
    path = run.save_json("evaluation.json", {"data": name, "split": "test", **vars(result)})
    print(
        f"{result.bits_per_dim:.4f} ± {result.standard_error:.4f} bits/dim on {result.images} test "
        f"images of {name}; written to {path}."
    )
