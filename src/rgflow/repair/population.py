"""Particles that draw the missing pixels of an image, with weights for each part of a hole.

Particles are copies of the image. They draw missing pixels group after group; the known pixels are
likelier in some particles than in others, and unlikely particles are replaced by copies of likely
ones (sequential Monte Carlo).

Letters in shapes: M particles; k missing pixels; G parts of the hole; B cells; C channels.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from rgflow.cells import Ids

MIN_ESS_SHARE = 0.5
"""Effective sample size below which particles are resampled, as a share of their number."""


@dataclass(frozen=True, eq=False)
class Parts:
    """Parts of a hole that are drawn together.

    Attributes:
        places: Indices of their pixels among those of the hole, ascending, [k].
        owners: The part of each pixel, [k].
        count: Number of parts, G.
    """

    places: Ids
    owners: Ids
    count: int


@dataclass(frozen=True, eq=False)
class Drawn:
    """A draw of parts.

    Attributes:
        chosen: The missing pixels of particles drawn by their weights, uint8 [k, C].
        gains: The change of log p by each part of these, in nats [G]: against the first particle,
            which is the previous image if that was kept.
        best: The missing pixels of the likeliest particles, uint8 [k, C].
        best_gains: Their changes of log p, [G].
    """

    chosen: Tensor
    gains: Tensor
    best: Tensor
    best_gains: Tensor


class Population:
    """M particles, which have weights of their own in each part of a hole.

    Args:
        pixels: What the missing pixels hold now, uint8 [k, C].
        owners: The part of each, [k].
        parts: Number of parts, G.
        count: Number of particles, M.
        random: Source of randomness, on the CPU.
        keep: Whether the first particle keeps what the pixels hold now.

    Attributes:
        values: Missing pixels of all particles, uint8 [k, C, M].
        log_p: Log-probability of what was evaluated so far, in nats [G, M].
        weight: Log-likelihood of the particles since they were last resampled, in nats [G, M].
    """

    def __init__(
        self,
        pixels: Tensor,
        owners: Tensor,
        parts: int,
        count: int,
        random: torch.Generator,
        *,
        keep: bool,
    ) -> None:
        self.count, self.random, self.keep, self._owners = count, random, keep, owners
        self.values = pixels[:, :, None].repeat(1, 1, count)
        self.log_p, self.weight = (
            torch.zeros(parts, count, dtype=torch.float64, device=pixels.device) for _ in range(2)
        )

    def add(self, owners: Tensor, log_probs: Tensor, likelihoods: Tensor) -> None:
        """Add log-probabilities of cells.

        Args:
            owners: The part that each cell belongs to, [B].
            log_probs: In nats, [B, M].
            likelihoods: Those of the known pixels alone, [B, M].
        """
        for total, terms in ((self.log_p, log_probs), (self.weight, likelihoods)):
            total += torch.zeros_like(total).index_add_(0, owners, terms.double())

    def resample(self) -> Tensor | None:
        """Resample the particles of parts whose effective sample size is too small.

        Returns:
            The particles that go on, [G, M]; None: no part was resampled.
        """
        shares = self.weight.softmax(1)
        poor = 1 / shares.square().sum(1) < MIN_ESS_SHARE * self.count
        if not poor.any():
            return None
        which = torch.arange(self.count, device=poor.device).repeat(len(poor), 1)
        which[poor] = resampled(shares[poor], self.random, self.keep)
        self.values = self.values.gather(2, which[self._owners][:, None].expand_as(self.values))
        self.log_p = self.log_p.gather(1, which)
        self.weight[poor] = 0
        return which

    def drawn(self) -> Drawn:
        """A particle of every part by the weights, and the likeliest one."""
        shares, owners = self.weight.softmax(1), self._owners
        chosen = torch.multinomial(shares.cpu(), 1, generator=self.random).to(shares.device)
        best = self.log_p.argmax(1, keepdim=True)
        gains = self.log_p - self.log_p[:, :1]
        pixels = torch.arange(len(owners), device=owners.device)
        return Drawn(
            self.values[pixels, :, chosen[owners, 0]],
            gains.gather(1, chosen)[:, 0],
            self.values[pixels, :, best[owners, 0]],
            gains.gather(1, best)[:, 0],
        )


def resampled(shares: Tensor, random: torch.Generator, keep: bool) -> Tensor:
    """Draw particles by their shares.

    Systematic resampling has the least noise. Beside a particle that is kept, the others are drawn
    independently, as only then their distribution is right given that one (Andrieu et al. 2010).

    Args:
        shares: Normalised weights, [G, M].
        random: Source of randomness, on the CPU.
        keep: Whether the first particle is kept.

    Returns:
        Numbers of particles, [G, M].
    """
    groups, m = shares.shape
    if keep:
        found = torch.multinomial(shares.cpu(), m, replacement=True, generator=random)
        found[:, 0] = 0
        return found.to(shares.device)
    at = (torch.arange(m) + torch.rand(groups, 1, generator=random)) / m
    found = torch.searchsorted(shares.cumsum(1).cpu(), at.to(shares.dtype)).clamp(max=m - 1)
    return found.to(shares.device)
