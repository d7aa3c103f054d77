"""Mixing the current image with a second one, level by level."""

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from rgflow.analysis.mixing import mix
from rgflow.app.latent_image import LatentImage
from rgflow.app.workspace import Workspace
from rgflow.figures import to_bytes


def first(work: Workspace) -> LatentImage:
    """What is mixed with the second image: the current image, or what it is a mixture of."""
    return work.state.first or work.image


def set_second(work: Workspace, second: LatentImage) -> None:
    """Set the image to mix with."""
    work.commit(replace(work.state, second=second, first=None, shares=()))


def swap(work: Workspace) -> None:
    """Exchange the first and the second image."""
    if work.state.second:
        work.commit(replace(work.with_image(work.state.second), second=first(work)))


def mixtures(work: Workspace, shares: Sequence[Sequence[float]]) -> list[LatentImage]:
    """Mixtures of the first image and the second.

    Args:
        work: The workspace.
        shares: For each mixture, the share of the second image at each level, finest first.

    Raises:
        ValueError: If there is no second image.
    """
    if work.state.second is None:
        raise ValueError("Expected a second image to mix with; there is none: draw one first.")
    one, other = first(work).latents, work.state.second.latents
    images = mix(work.opened.exact, one, other, shares)[0]
    return [
        LatentImage(to_bytes(image), one.mix(other, share), "mixture")
        for image, share in zip(images, shares, strict=True)
    ]


def preview(work: Workspace, shares: Sequence[float]) -> Tensor:
    """The image with other shares of the second, which wait to be applied; of more than the model
    has levels, the first count.

    Returns:
        uint8 [C, H, W].
    """
    shares = shares[: work.opened.flow.levels]
    found = mixtures(work, [shares])[0].pixels
    work.pending = lambda: set_shares(work, shares)
    return found


def set_shares(work: Workspace, shares: Sequence[float]) -> None:
    """Make a mixture the current image; shares of 0 give the first image again."""
    shares = shares[: work.opened.flow.levels]
    if list(shares) == list(work.state.shares or [0.0] * len(shares)):
        return
    one = first(work)
    work.change(mixtures(work, [shares])[0] if any(shares) else one)
    work.amend(replace(work.state, first=one, shares=tuple(shares)))
