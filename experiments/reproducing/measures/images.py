"""Images of a flow as pictures: samples, levels, mixtures, and holes filled in."""

from dataclasses import asdict
from typing import Any, cast

import torch

from reproducing.holes import filled_beside, random_boxes
from reproducing.measures.subject import Found, MeasuredFlow, Picture
from reproducing.mixtures import inherited
from reproducing.ovals import load_reader
from rgflow.analysis.levels import decode, encode
from rgflow.analysis.mixing import every_threshold, hyperbolic, mix, mixing_grid
from rgflow.bijectors.pixels import dequantize
from rgflow.figures import grid, pixel_size
from rgflow.figures.levels import progressive
from rgflow.figures.mixing import mixing_grid as grid_picture
from rgflow.figures.mixing import thresholds
from rgflow.figures.repair import repairs
from rgflow.model import RGFlow
from rgflow.repair.climb import Climb
from rgflow.repair.comparison import fill, scores


def sample_grid(subject: MeasuredFlow, *, count: int = 40, temperature: float = 1.0) -> Found:
    """Samples, as a picture."""
    z = subject.flow.draw_each(range(count), temperature)
    picture = grid(decode(subject.flow, z), 10, subject.scale())
    caption = f"Samples at temperature {temperature:g}, seeds 0 to {count - 1}"
    return Found(numbers={"count": count}, pictures={"samples": Picture(picture, caption)})


def data_grid(subject: MeasuredFlow, *, count: int = 40) -> Found:
    """Test images, as a picture."""
    picture = grid(subject.images(count), 10, subject.scale())
    return Found(numbers={"count": count}, pictures={"data": Picture(picture, "Test images")})


def levels(
    subject: MeasuredFlow, *, count: int = 3, temperature: float = 0.8, size: int = 0
) -> Found:
    """Samples from coarse to fine (paper, Fig. 5a), of this size if it isn't that of training."""
    flow = subject.flow.resized(size, size) if size else subject.flow
    with torch.no_grad():
        stages = [stage.cpu() for stage in flow.coarse(flow.draw_each(range(count), temperature))]
    caption = f"Samples from coarse to fine, at temperature {temperature:g}"
    picture = progressive(stages, scale=pixel_size(flow.config.width, 96))
    return Found(numbers={"count": count}, pictures={"levels": Picture(picture, caption)})


def mixing(subject: MeasuredFlow, *, high: int = 7, low: int = 4, threshold: int = 2) -> Found:
    """Mixtures of test images by level, for every threshold and all with all (paper, Fig. 7)."""
    flow = subject.flow
    images = subject.images(high + low)
    z = flow.encode(images.to(flow.device))
    ways = every_threshold(flow.levels)
    a, b = z.select(slice(0, 2)), z.select(slice(2, 4))
    one_way, other_way = mix(flow, a, b, ways), mix(flow, b, a, ways)
    first, second = z.select(slice(0, high)), z.select(slice(high, high + low))
    cells = mixing_grid(flow, first, second, threshold)
    scale = subject.scale()
    return Found(
        numbers={"threshold": threshold},
        pictures={
            "thresholds": Picture(
                thresholds(one_way, other_way, scale=scale),
                "Two pairs of test images, mixed both ways for every Θ",
            ),
            "grid": Picture(
                grid_picture(cells, images[:high], images[high:], threshold, scale=scale),
                f"Test images mixed at Θ = {threshold}: coarse content from above, details from "
                "the left",
            ),
        },
    )


def inheritance(subject: MeasuredFlow, *, pairs: int = 500) -> Found:
    """From which of two test images of MSDS their mixtures have what, for every threshold Θ: levels
    below it are those of the second image (paper, section 4.5). A network reads the ovals."""
    flow = subject.flow
    images = subject.images(2 * pairs)
    z = encode(flow, dequantize(images, dtype=flow.dtype))
    a, b = (z.select(slice(k * pairs, (k + 1) * pairs)).to(device=flow.device) for k in (0, 1))
    reader = load_reader()
    first, second = (reader.read(part) for part in images.split(pairs))
    numbers: dict[str, Any] = {}
    for threshold in range(1, flow.levels):
        x = mix(flow, a, b, [hyperbolic(flow.levels, threshold)])[:, 0]
        x8 = flow.bounded(x).to(torch.uint8).cpu()
        for name, one in inherited(reader.read(x8), first, second).items():
            numbers.setdefault(name, {})[str(threshold)] = one._asdict()
    return Found(numbers={"pairs": pairs} | numbers)


def inpainting(
    subject: MeasuredFlow,
    *,
    count: int = 15,
    edge: int = 10,
    steps: int = 1000,
    particles: int = 0,
) -> Found:
    """Squares of test images filled in, beside another flow, constrained and free (Appendix F)."""
    truth = subject.images(count).to(subject.flow.device)
    masks = random_boxes(subject.flow.lattice, count, edge)
    climb = Climb(steps=steps)
    filled = list(fill(subject.flow, truth, masks, climb, particles=particles))
    if subject.beside:
        flow = cast(RGFlow, subject.flow)
        filled[1:1] = filled_beside(flow, subject.beside[1], truth, masks, climb)
    numbers = {}
    for one in filled:
        numbers[one.name] = asdict(scores(one, truth, masks))
        del numbers[one.name]["name"]
    shown = {one.name: one.images[:15].cpu() for one in filled}
    picture = repairs(truth[:15].cpu(), masks[:15], shown, truth=truth[:15].cpu())
    caption = f"Squares of {edge}×{edge} pixels filled in; below each image the PSNR of its region"
    return Found(numbers=numbers, pictures={"inpainting": Picture(picture, caption)})
