"""Images of another set, each moved on the torus: nothing stays at the places of its tiles."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from rgflow.data.source import SPLITS, Chunk, Request, Source

FARTHEST = 8
"""Pixels below which images are moved, both ways; the edge of an MSDS tile."""


def rolled(source: Source, request: Request) -> Source:
    """The images of a source, each rolled down and right by 0 to 7 pixels, drawn at random; how far
    are the labels `down` and `right`.

    Args:
        source: Of the images.
        request: As asked by `rgflow.data.load`.
    """
    return replace(
        source,
        kind=f"rolled-{source.kind}",
        settings={**source.settings, "rolled": FARTHEST, "roll_seed": request.seed},
        chunks=lambda: _stream(source, request),
    )


def _stream(source: Source, request: Request) -> Iterator[Chunk]:
    random = np.random.default_rng((request.seed, SPLITS.index(request.split)))
    for chunk in source.chunks():
        moves = np.array([random.integers(FARTHEST, size=2) for _ in chunk.images]).reshape(-1, 2)
        images = [
            np.roll(image, tuple(move), (1, 2))
            for image, move in zip(chunk.images, moves, strict=True)
        ]
        labels = {**chunk.labels, "down": moves[:, 0], "right": moves[:, 1]}
        yield chunk._replace(images=np.stack(images) if images else chunk.images, labels=labels)
