"""What may be measured of trained flows, by name: each measure calls what does it elsewhere.

A measure is a function of a `MeasuredFlow` and of options. It returns numbers and pictures. Options
and numbers are plain values, as JSON has them. Whatever is random has the seed 0.
"""

from collections.abc import Callable
from inspect import signature
from typing import Any

from reproducing.measures.enlarging import enlarging_of_photographs
from reproducing.measures.faces import (
    completions,
    face_mixtures,
    labelled,
    meanings,
    requests,
)
from reproducing.measures.finding import damage_of_photographs, repairs_of_prints
from reproducing.measures.images import (
    data_grid,
    inheritance,
    inpainting,
    levels,
    mixing,
    sample_grid,
)
from reproducing.measures.latents import factors, fields, pinwheel, priors, probes, varied
from reproducing.measures.lattice import observables, pace, renormalization
from reproducing.measures.learning import learned_bits, learned_enlarging, learned_repairs
from reproducing.measures.likelihoods import (
    bits,
    overfitting,
    photographs,
    samples,
    seams,
    speed,
)
from reproducing.measures.pictures import repairs_of_photographs
from reproducing.measures.subject import Found, MeasuredFlow, Picture
from rgflow.checks import check_name

__all__ = ["MEASURES", "WITHOUT_TRAINING", "Found", "MeasuredFlow", "Picture", "check_options"]

Measure = Callable[..., Found]

WITHOUT_TRAINING = ("pinwheel",)
"""Measures that learn what they need by themselves, in seconds."""
_ALL: tuple[Measure, ...] = (
    *(
        pinwheel,
        bits,
        overfitting,
        photographs,
        seams,
        samples,
        speed,
        sample_grid,
        data_grid,
        probes,
        factors,
    ),
    *(fields, levels, varied, mixing, inheritance, inpainting, priors),
    *(face_mixtures, requests, completions, meanings, labelled),
    observables,
    pace,
    renormalization,
    *(
        repairs_of_photographs,
        damage_of_photographs,
        repairs_of_prints,
        enlarging_of_photographs,
    ),
    learned_bits,
    learned_repairs,
    learned_enlarging,
)
MEASURES = {measure.__name__: measure for measure in _ALL}
"""Every measure by name."""


def check_options(what: str, measure: str, options: dict[str, Any]) -> None:
    """Raise a `ValueError` unless there is such a measure with such options."""
    check_name(f"the measure {what}", measure, MEASURES)
    known = [name for name in signature(MEASURES[measure]).parameters if name != "subject"]
    for name in options:
        check_name(f"an option of the measure {what}", name, known)
