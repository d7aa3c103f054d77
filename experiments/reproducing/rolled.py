"""Images of another set, each moved on the torus: nothing stays at the places of its tiles."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from rgflow.data import find_source, register
from rgflow.data.source import SPLITS, Chunk, Request, Source

MAX_SHIFT = 8
"""Pixels below which images are moved, in both directions: the edge of an MSDS tile."""


@register
def rolled(request: Request) -> Source:
    """The images of the set after the colon, each rolled down and right by 0 to 7 pixels, drawn at
    random. The labels `down` and `right` say how far."""
    source = find_source(replace(request, name=request.argument))

    def chunks() -> Iterator[Chunk]:
        random = np.random.default_rng((request.seed, SPLITS.index(request.split)))
        for chunk in source.chunks():
            moves = random.integers(MAX_SHIFT, size=(len(chunk.images), 2))
            images = chunk.images.copy()
            for image, move in zip(images, moves, strict=True):
                image[:] = np.roll(image, tuple(move), (1, 2))
            labels = {**chunk.labels, "down": moves[:, 0], "right": moves[:, 1]}
            yield chunk._replace(images=images, labels=labels)

    return replace(
        source,
        kind=f"rolled-{source.kind}",
        settings={**source.settings, "rolled": MAX_SHIFT, "roll_seed": request.seed},
        chunks=chunks,
    )
