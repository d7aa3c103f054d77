"""Train TarFlow with its released code: `python experiments/peers/tarflow.py --code FOLDER`.

FOLDER holds github.com/apple/ml-tarflow, of which only `transformer_flow.py` is used.
"""

import math
import subprocess
import sys
from functools import partial
from pathlib import Path

import torch
from protocol import Peer, main, options
from torch import Tensor


class TarFlow(Peer):
    """TarFlow (Zhai et al. 2024), as small as in its notebook for laptops, on x/128 − 1.

    The noise is uniform, as in its own likelihoods of ImageNet 64; with the Gaussian noise that it
    otherwise adds for better samples, there is no likelihood of the images.

    Args:
        code: Folder of the released code.
        size: Edge of the images.
        patches: Patches along an edge, which it sees as words.
        channels: Width of its transformers.
        blocks: Flows, each a transformer over the patches in turn from both ends.
        layers: Layers of each.
    """

    betas = (0.9, 0.95)
    weight_decay = 1e-4

    def __init__(
        self,
        code: Path,
        size: int,
        *,
        patches: int = 8,
        channels: int = 128,
        blocks: int = 4,
        layers: int = 4,
    ) -> None:
        super().__init__()
        if not (code / "transformer_flow.py").is_file():
            raise FileNotFoundError(f"Expected transformer_flow.py in {code}; got no such file.")
        told = subprocess.run(
            ["git", "-C", code, "rev-parse", "HEAD"], capture_output=True, text=True, check=False
        )
        self.revision = told.stdout.strip() or None
        sys.path.insert(0, str(code))
        from transformer_flow import Model

        edge = size // patches
        self.words = patches**2, 3 * edge**2
        self.flow = Model(
            in_channels=3,
            img_size=size,
            patch_size=edge,
            channels=channels,
            num_blocks=blocks,
            layers_per_block=layers,
        )

    def log_prob(self, x: Tensor) -> Tensor:
        z, _, log_det = self.flow(x / 128 - 1)  # its log-determinant is a mean over dimensions
        prior = -0.5 * (z.square() + math.log(2 * math.pi)).flatten(1).sum(1)
        return prior + x[0].numel() * (log_det - math.log(128))

    def sample(self, count: int) -> Tensor:
        return 128 * (self.flow.reverse(torch.randn(count, *self.words)) + 1)


if __name__ == "__main__":
    parser = options(__doc__)
    parser.add_argument("--code", type=Path, required=True, help="folder of apple/ml-tarflow")
    arguments = parser.parse_args()
    main("tarflow", partial(TarFlow, arguments.code), arguments)
