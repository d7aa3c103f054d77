"""Train a flow of normflows or torchflows: `python experiments/peers/run.py glow --data msds1`."""

import math
from functools import partial

import normflows
from protocol import Peer, main, options
from torch import Tensor
from torchflows.bijections.finite.multiscale.architectures import MultiscaleRealNVP
from torchflows.flows import Flow

from rgflow.bijectors.pixels import Logit


class Glow(Peer):
    """Glow (Kingma and Dhariwal 2018) of normflows, on x/256 − ½, as its authors have it.

    Its coarsest scale has 4×4 places.

    Args:
        size: Edge of the images.
        hidden: Channels inside the networks of the couplings.
        steps: Steps per scale.
    """

    packages = ("normflows",)

    def __init__(self, size: int, *, hidden: int, steps: int = 8) -> None:
        super().__init__()
        priors, flows, merges = [], [], []
        for level in reversed(range(size.bit_length() - 3)):  # the coarsest first
            kept = 3 * 2**level
            blocks = [normflows.flows.GlowBlock(4 * kept, hidden) for _ in range(steps)]
            flows.append([*blocks, normflows.flows.Squeeze()])
            if priors:
                merges.append(normflows.flows.Merge())
            latents = 2 * kept if merges else 4 * kept  # half goes on to the coarser levels
            edge = size >> (level + 1)
            priors.append(normflows.distributions.GlowBase((latents, edge, edge)))
        self.flow = normflows.MultiscaleFlow(priors, flows, merges, class_cond=False)

    def log_prob(self, x: Tensor) -> Tensor:
        return self.flow.log_prob(x / 256 - 0.5, None) - x[0].numel() * math.log(256)

    def sample(self, count: int) -> Tensor:
        return 256 * (self.flow.sample(count)[0] + 0.5)


class RealNVP(Peer):
    """Multiscale Real NVP (Dinh et al. 2017) of torchflows as it comes, on the paper's logits."""

    packages = ("torchflows",)

    def __init__(self, size: int) -> None:
        super().__init__()
        self.pixels = Logit(3)
        self.flow = Flow(MultiscaleRealNVP((3, size, size)))

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
