"""Train a flow of normflows or torchflows: `python experiments/peers/run.py glow --data msds1`."""

import math
from functools import partial

import normflows
from protocol import Peer, main, options
from torch import Tensor
from torchflows.bijections.finite.multiscale.architectures import MultiscaleRealNVP
from torchflows.flows import Flow

from rgflow.bijectors.pixels import Logit

SHAPE = (3, 32, 32)
"""Shape of the images of MSDS1 and MSDS2."""


class Glow(Peer):
    """Glow (Kingma and Dhariwal 2018) of normflows, on x/256 − ½, as its authors have it.

    Args:
        hidden: Channels inside the networks of the couplings.
        levels: Scales.
        steps: Steps per scale.
    """

    packages = ("normflows",)

    def __init__(self, *, hidden: int, levels: int = 3, steps: int = 8) -> None:
        super().__init__()
        channels, height, width = SHAPE
        priors, flows, merges = [], [], []
        for level in reversed(range(levels)):  # the coarsest first
            kept = channels * 2**level
            blocks = [normflows.flows.GlowBlock(4 * kept, hidden) for _ in range(steps)]
            flows.append([*blocks, normflows.flows.Squeeze()])
            shape = (height >> (level + 1), width >> (level + 1))
            if priors:
                merges.append(normflows.flows.Merge())
            latents = 2 * kept if merges else 4 * kept  # half goes on to the coarser levels
            priors.append(normflows.distributions.GlowBase((latents, *shape)))
        self.flow = normflows.MultiscaleFlow(priors, flows, merges, class_cond=False)

    def log_prob(self, x: Tensor) -> Tensor:
        return self.flow.log_prob(x / 256 - 0.5, None) - x[0].numel() * math.log(256)

    def sample(self, count: int) -> Tensor:
        return 256 * (self.flow.sample(count)[0] + 0.5)


class RealNVP(Peer):
    """Multiscale Real NVP (Dinh et al. 2017) of torchflows as it comes, on the paper's logits."""

    packages = ("torchflows",)

    def __init__(self) -> None:
        super().__init__()
        self.pixels = Logit(SHAPE[0])
        self.flow = Flow(MultiscaleRealNVP(SHAPE))

    def log_prob(self, x: Tensor) -> Tensor:
        y, log_det = self.pixels(x)
        return self.flow.log_prob(y) + log_det

    def sample(self, count: int) -> Tensor:
        return self.pixels.inverse(self.flow.sample(count, no_grad=True))[0]


PEERS = {
    "glow": partial(Glow, hidden=64),
    "glow-3m": partial(Glow, hidden=206),
    "real-nvp": RealNVP,
}

if __name__ == "__main__":
    parser = options(__doc__)
    parser.add_argument("peer", choices=PEERS)
    arguments = parser.parse_args()
    main(arguments.peer, PEERS[arguments.peer], arguments)
