"""What the labels of faces say about a flow: mixtures by level, completions, faces on request, and
what single latents mean beside those of others.

Letters in shapes: N images; K factors; D latents; H, W rows and columns.
"""

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from reproducing.codes import learned_code, linear_codes
from reproducing.face_reader import FACTORS, load_reader
from reproducing.infomec import InfoMEC, infomec
from reproducing.measures.subject import Found, MeasuredFlow, Picture
from rgflow import data
from rgflow.analysis.disentanglement import dci
from rgflow.analysis.fields import receptive_fields
from rgflow.analysis.information import mutual_information
from rgflow.analysis.levels import encode
from rgflow.analysis.mixing import hyperbolic, mix
from rgflow.bijectors.pixels import dequantize
from rgflow.data import faces
from rgflow.figures import grid
from rgflow.flow import Flow
from rgflow.latents import Latents
from rgflow.lattice import Mask
from rgflow.repair.particles import complete

GROUPS = {
    "colours": ("skin_colour", "hair_colour", "hat_colour", "clothes_colour", "background"),
    "shapes": ("eyes", "mouth", "brows", "glasses"),
}
"""What the paper finds at high levels, and at low ones."""
HOLES = {"mouth": (82, 124, 182, 194), "eyes": (69, 65, 195, 143), "half": (132, -10, 268, 262)}
"""Left, top, right and bottom of what is covered, in units of the drawing: more than a mouth, or
eyes and brows, of any shift and turn; and the right half."""
BINS = 10
"""Of the mutual information."""
RIDGES = np.logspace(1, 5, 9)
"""Weights of the squares in the ridge regression of classes."""
DRAWS = 200
"""How often the floor of a total variation is drawn."""


def _known(subject: MeasuredFlow, count: int) -> tuple[Tensor, faces.Labels, Tensor]:
    """Test images, their labels, and the class of every factor, [N, K]."""
    found = data.load_for(subject.config, "test", count=count, progress=False)
    classes = found.classes(FACTORS)
    assert classes is not None
    return torch.from_numpy(found.images.copy()), found.labels, torch.from_numpy(classes)


def face_mixtures(subject: MeasuredFlow, *, pairs: int = 300) -> Found:
    """From which of two test images their mixtures have what, for every threshold Θ: levels below
    it are those of the second image (paper, section 4.5). Of the pairs that differ in a factor, the
    share in which a network reads the class of the first, and that of the second, or whose corners
    are nearer to it; and by how much that of the first falls with one level more of the second."""
    flow = subject.flow
    images, _, classes = _known(subject, 2 * pairs)
    z = encode(flow, dequantize(images, dtype=flow.dtype))
    a, b = (z.select(slice(k * pairs, (k + 1) * pairs)).to(device=flow.device) for k in (0, 1))
    first, second = classes.split(pairs)
    thresholds = range(flow.levels + 1)
    factors: dict[str, dict[str, Any]] = {name: {} for name in (*FACTORS, "background")}
    corners = images[..., 0, [0, -1]].flatten(1).double()
    for threshold in thresholds:
        x = mix(flow, a, b, [hyperbolic(flow.levels, threshold)])[:, 0]
        x8 = flow.bounded(x).to(torch.uint8).cpu()
        far = [(x8[..., 0, [0, -1]].flatten(1) - of).norm(dim=1) for of in corners.split(pairs)]
        near = (far[0] < far[1]).double().mean().item()
        factors["background"][str(threshold)] = {"first": near, "second": 1 - near}
        read = load_reader().read(x8)[0]
        for n, name in enumerate(FACTORS):
            differ = first[:, n] != second[:, n]
            shares = {
                which: (read[differ, n] == of[differ, n]).double().mean().item()
                for which, of in (("first", first), ("second", second))
            }
            factors[name][str(threshold)] = shares
    for found in factors.values():
        left = [found[str(threshold)]["first"] for threshold in thresholds]
        found["levels"] = {str(h): left[h] - left[h + 1] for h in range(flow.levels)}
    numbers: dict[str, Any] = {
        name: {
            str(threshold): {
                which: float(np.mean([factors[one][str(threshold)][which] for one in names]))
                for which in ("first", "second")
            }
            for threshold in thresholds
        }
        for name, names in GROUPS.items()
    }
    best = max(
        thresholds,
        key=lambda at: min(
            numbers["colours"][str(at)]["first"], numbers["shapes"][str(at)]["second"]
        ),
    )
    at_best = {
        "threshold": best,
        "colours": numbers["colours"][str(best)]["first"],
        "shapes": numbers["shapes"][str(best)]["second"],
    }
    claims = {
        name: {at: shares[which] for at, shares in numbers[name].items()}
        for name, which in (("colours", "first"), ("shapes", "second"))
    }
    return Found(
        numbers={"pairs": pairs, "best": at_best, "claims": claims, **numbers, "factors": factors}
    )


def requests(subject: MeasuredFlow, *, count: int = 500, temperature: float = 1.0) -> Found:
    """How often a flow with labels gives what it is asked for: samples with the labels of test
    images, and with the pair that `faces:correlated` never shows, as far as both are its labels."""
    flow, labels = subject.flow, subject.classes(count)
    if labels is None or not isinstance(flow.config.labels, dict):
        raise ValueError(f"Expected a flow with labels by name; {subject.name} has none.")
    names = list(flow.config.labels)

    def right(labels: Tensor) -> Tensor:
        z = flow.draw_each(range(count), temperature).to(device=flow.device)
        with torch.no_grad():
            drawn = [
                flow.decode(z.select(part), labels=labels[part])
                for part in (slice(k, k + 64) for k in range(0, count, 64))
            ]
        read = load_reader().read(flow.bounded(torch.cat(drawn)).to(torch.uint8).cpu())[0]
        return read[:, [list(FACTORS).index(name) for name in names]] == labels

    found = right(labels).double()
    numbers: dict[str, Any] = {
        "count": count,
        "factors": dict(zip(names, found.mean(0).tolist(), strict=True)),
        "all": found.all(1).double().mean().item(),
    }
    if faces.HELD_OUT.keys() <= set(names):
        pair = labels.clone()
        for name, word in faces.HELD_OUT.items():
            pair[:, names.index(name)] = faces.PARTS[name].index(word)
        held = right(pair)[:, [names.index(name) for name in faces.HELD_OUT]]
        numbers["held_out"] = held.all(1).double().mean().item()
    return Found(numbers=numbers)


def meanings(
    subject: MeasuredFlow, *, count: int = 2000, latents: int = 28, minutes: float = 60
) -> Found:
    """InfoMEC and DCI (by mutual information) of as many latents of every level, those with the
    strongest receptive fields, beside PCA, ICA and autoencoders that learn the same images for as
    many minutes of the processor; and beside noise."""
    flow = subject.flow
    images, _, classes = _known(subject, count)
    train = data.load_for(subject.config, "train", count=subject.config.train_count)
    learned_from = torch.from_numpy(train.images.copy())
    z, fields = _encoded(flow, images), receptive_fields(flow, draws=1)
    codes = {
        name: np.stack([z[address].numpy() for address in fields.strongest(latents, level)], 1)
        for name, level in (
            ("all levels", None),
            *((f"level {level}", level) for level in reversed(range(flow.levels))),
        )
    }
    codes |= {name: code(images) for name, code in linear_codes(learned_from, latents).items()}
    for kind in ("β-VAE", "QLAE"):
        codes[kind] = learned_code(kind, learned_from, latents, minutes)(images)
    codes["noise"] = np.random.default_rng(0).normal(size=(count, latents))
    numbers = {"images": count, "code": f"{latents} latents", "minutes": minutes}
    return Found(numbers={**numbers, "codes": _scores(codes, classes.numpy())})


def labelled(subject: MeasuredFlow, *, count: int = 2000, known: int = 2500) -> Found:
    """The same of what labels of some training images find: two directions for every factor, in the
    latents of the level that tells most of it, and in the pixels."""
    images, _, classes = _known(subject, count)
    train = data.load_for(subject.config, "train", count=known)
    few, of_few = torch.from_numpy(train.images.copy()), train.classes(FACTORS)
    assert of_few is not None
    z_few, z = (_encoded(subject.flow, of).levels for of in (few, images))
    latents, best = _directions(z_few, z, of_few)
    pixels, _ = _directions([few.float()], [images.float()], of_few)
    codes = _scores({"latents": latents, "pixels": pixels}, classes.numpy())
    levels = dict(zip(FACTORS, best, strict=True))
    return Found(numbers={"images": count, "known": known, "levels": levels, "codes": codes})


def _encoded(flow: Flow, images: Tensor) -> Latents:
    return encode(flow, dequantize(images, torch.Generator().manual_seed(0), flow.dtype))


def _scores(
    codes: Mapping[str, NDArray[np.float64]], classes: NDArray[np.int64]
) -> dict[str, dict[str, float]]:
    """InfoMEC and DCI of codes [N, D], by name."""
    scores = {}
    for name, code in codes.items():
        found: InfoMEC = infomec(code, classes)
        nmi = np.maximum(mutual_information(code, classes.astype(float), BINS).nats, 0)
        names = ("disentanglement", "completeness")
        scores[name] = found._asdict() | dict(zip(names, dci(nmi), strict=True))
    return scores


def _directions(
    x: Sequence[Tensor], y: Sequence[Tensor], classes: NDArray[np.int64]
) -> tuple[NDArray[np.float64], list[int]]:
    """Two directions for every factor, and in which part of the numbers they are: linear
    discriminants of what ridge regression predicts for the classes, from the part from which it
    does best for images that are left out one by one.

    Args:
        x: The numbers of images with labels, [N, ...] each.
        y: Those of others, [M, ...] each.
        classes: The class of every factor, [N, K].

    Returns:
        Where y is along these directions, [M, 2K], in standard deviations, and the K parts.
    """
    which = [np.eye(of)[column, 1:] for of, column in zip(FACTORS.values(), classes.T, strict=True)]
    ends = np.cumsum([one.shape[1] for one in which])[:-1]
    scores, predicted = [], []
    for a, b in zip(x, y, strict=True):
        ridge = make_pipeline(StandardScaler(), RidgeCV(RIDGES, alpha_per_target=True))
        ridge.fit(a.flatten(1).numpy(), np.concatenate(which, 1))
        scores.append([one.sum() for one in np.split(ridge[-1].best_score_, ends)])
        predicted.append([np.split(ridge.predict(of.flatten(1).numpy()), ends, 1) for of in (a, b)])
    best, found = np.argmax(scores, 0).tolist(), []
    for k, (part, column) in enumerate(zip(best, classes.T, strict=True)):
        of_x, of_y = (of[k] for of in predicted[part])
        found.append(LinearDiscriminantAnalysis(n_components=2).fit(of_x, column).transform(of_y))
    code = np.concatenate(found, 1).astype(np.float64)
    return code / code.std(0), best


def completions(
    subject: MeasuredFlow, *, count: int = 20, each: int = 20, particles: int = 32, sweeps: int = 1
) -> Found:
    """Mouths, eyes and halves of test images covered and completed several times, and how far the
    frequencies of classes that a network reads are from the true conditional ones (total
    variation).

    Classes with which a face looks alike where it isn't covered are equally likely, as factors are
    independent. Where there are several, frequencies of all images together are compared, and the
    floor is what as many draws of the truth would have; where there is one, those of each image,
    and beside it is what the network misses in the images themselves. Left out are colours of what
    may be another shape, and hair and hats where both can't be seen.
    """
    flow, reader = subject.flow, load_reader()
    images, labels, classes = _known(subject, count)
    size = images.shape[-1]
    holes = {name: _hole(name, size) for name in HOLES}
    possible = _possible(images.numpy(), labels, holes)
    right = reader.read(images)[0] == classes
    numbers: dict[str, Any] = {"images": count, "each": each}
    pictures = {}
    for name, hole in holes.items():
        random = torch.Generator().manual_seed(0)
        drawn = torch.stack(
            [
                torch.stack(
                    [
                        complete(
                            flow, image, hole, particles=particles, sweeps=sweeps, generator=random
                        ).samples[-1]
                        for _ in range(each)
                    ]
                )
                for image in images
            ]
        ).cpu()
        read = reader.read(drawn.flatten(0, 1))[0].unflatten(0, (count, each))
        open_, known = dict[str, dict[str, float]](), dict[str, dict[str, float]]()
        for n, (factor, of) in enumerate(FACTORS.items()):
            alike = possible[name][factor]
            several = alike.sum(1) > 1
            truth = alike / alike.sum(1, keepdims=True)
            found = np.stack([np.bincount(row, minlength=of) / each for row in read[:, :, n]])
            if several.any() and factor in faces.PARTS and factor not in ("hair", "hat"):
                p = truth[several].mean(0)
                chance = np.random.default_rng(0).multinomial(several.sum() * each, p, size=DRAWS)
                open_[factor] = {
                    "images": int(several.sum()),
                    "distance": _variation(found[several].mean(0), p),
                    "floor": float(np.mean([_variation(q / q.sum(), p) for q in chance])),
                }
            shape = possible[name].get(factor.removesuffix("_colour"), alike)
            one = ~several & (shape.sum(1) == 1)
            if one.any():
                distances = [_variation(q, p) for q, p in zip(found[one], truth[one], strict=True)]
                known[factor] = {
                    "images": int(one.sum()),
                    "distance": float(np.mean(distances)),
                    "of_truth": 1 - right[torch.from_numpy(one), n].double().mean().item(),
                }
        means = {
            "open": (open_, "distance"),
            "floor": (open_, "floor"),
            "known": (known, "distance"),
        }
        numbers[name] = {f"mean_{what}": _mean(of, key) for what, (of, key) in means.items()}
        numbers[name] |= {"open": open_, "known": known}
        covered = images.clone()
        covered[..., torch.from_numpy(hole)] = 128
        rows = torch.cat([images[:6, None], covered[:6, None], drawn[:6, :6]], 1)
        caption = f"{name.capitalize()} covered: image, what is known, and six completions"
        pictures[name] = Picture(grid(rows.flatten(0, 1), rows.shape[1], subject.scale()), caption)
    return Found(numbers=numbers, pictures=pictures)


def _mean(rows: dict[str, dict[str, float]], key: str) -> float | None:
    return fmean(row[key] for row in rows.values()) if rows else None


def _variation(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
    """The total variation of two distributions."""
    return float(np.abs(p - q).sum() / 2)


def _hole(name: str, size: int) -> Mask:
    """The pixels [H, W] that are covered."""
    edges = np.array(HOLES[name]) - [faces.LEFT, faces.TOP] * 2
    left, top, right, bottom = np.rint(edges * size / faces.EDGE).astype(int).clip(0, size)
    hole = np.zeros((size, size), bool)
    hole[top:bottom, left:right] = True
    return hole


def _possible(
    images: NDArray[np.uint8], labels: faces.Labels, holes: dict[str, Mask]
) -> dict[str, dict[str, NDArray[np.bool_]]]:
    """By hole and factor, which classes [N, classes] a face may have, by what is seen of it."""
    found = {
        name: {factor: np.zeros((len(images), of), bool) for factor, of in FACTORS.items()}
        for name in holes
    }
    for factor, k, changed in _others(labels):
        differ = (faces.draw(changed, images.shape[-1]) != images).any(1)
        for name, hole in holes.items():
            found[name][factor][:, k] = ~differ[:, ~hole].any(1)
    for of_hole in found.values():
        for factor, alike in of_hole.items():
            truth = labels[f"{factor}_class"]
            alike[np.arange(len(images)), truth] = True
            if factor.endswith("_colour") and "none" in faces.COLOURS[factor[:-7]]:
                alike[truth == 0] = np.eye(alike.shape[1], dtype=bool)[0]
                alike[truth > 0, 0] = False
    return found


def _others(labels: faces.Labels) -> Iterator[tuple[str, int, faces.Labels]]:
    """Labels of the same faces with another class of one factor, for every class of all factors."""
    count = len(labels["turn"])
    for factor, of in FACTORS.items():
        for k in range(of):
            changed = {f"{factor}_class": np.full(count, k)}
            if factor in ("hair", "hat"):  # they share a place
                changed[f"{'hat' if factor == 'hair' else 'hair'}_class"] = np.zeros(count, int)
            if name := factor.removesuffix("_colour") if factor.endswith("_colour") else "":
                code = [*faces.COLOURS[name].values()][k]
                rgb = np.array([*bytes.fromhex(code[1:])], np.float32)
                changed[f"{name}_colour"] = np.tile(rgb, (count, 1))
            yield factor, k, labels | changed
