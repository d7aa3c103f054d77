"""`rgflow pinwheel`: what a sparse prior is good for, in the plane."""

from collections.abc import Sequence

from rgflow.cli.parsing import Parser, parse
from rgflow.files import expanded, writing
from rgflow.text import bar, say


def run(arguments: Sequence[str]) -> None:
    """Parse, learn with both priors, and show."""
    options = Parser(
        "pinwheel",
        "Learn a pinwheel of four legs with a Laplace and with a Gaussian prior, draw both "
        "(paper, Fig. E1), and count how often the quadrant of a latent names the leg.",
        "rgflow pinwheel --out pinwheel --seeds 5",
    )
    options.word("out", "pinwheel", "folder for the results")
    options.whole("seeds", 5, "flows of each prior")
    options.whole("points", 100, "points drawn in each picture")
    settings = parse(options, arguments)

    import time
    from dataclasses import asdict
    from datetime import date

    import torch

    from rgflow import figures
    from rgflow.analysis.pinwheel import POINTS, STEPS, Estimate, learn_pinwheels
    from rgflow.files import write_json
    from rgflow.training.run import processor

    torch.set_num_threads(1)  # with so little to do, several would wait for one another
    folder = expanded(settings.out)
    start, start_busy = time.perf_counter(), time.process_time()
    with bar("learning", STEPS) as progress:
        learned = learn_pinwheels(seeds=range(settings.seeds), progress=progress)
    found = {
        prior: {
            "quadrants": Estimate.of(one.named["quadrants"].share for one in flows),
            "half_axes": Estimate.of(one.named["half_axes"].share for one in flows),
            "nll": Estimate.of(one.nll for one in flows),
        }
        for prior, flows in learned.items()
    }
    result = {
        "command": f"rgflow pinwheel --seeds {settings.seeds}",
        "date": date.today().isoformat(),
        "processor": processor(),
        "seconds": time.perf_counter() - start,
        "processor_seconds": time.process_time() - start_busy,
        "points": POINTS,
        "priors": {
            prior: {name: asdict(estimate) for name, estimate in estimates.items()}
            for prior, estimates in found.items()
        },
    }
    picture = figures.pinwheels(learned, settings.points)
    with writing(folder, into=True):
        picture.save(folder / "pinwheel.png")
        write_json(folder / "pinwheel.json", result)
    for prior, estimates in found.items():
        say(
            f"{prior}: the quadrant of the latent names the leg of {estimates['quadrants']} of "
            f"{POINTS:,} points, the nearest half-axis that of {estimates['half_axes']}; "
            f"{estimates['nll']} nats."
        )
    say(f"pinwheel.png and pinwheel.json are in {folder}.")
