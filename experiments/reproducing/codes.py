"""Codes that others make of images, to compare what single latents mean: PCA, ICA, a β-VAE and a
quantised autoencoder.

Both autoencoders have the same convolutions, about a million parameters. The β-VAE (Higgins et
al. 2017) adds β times the KL divergence from a normal prior to what an image costs. The quantised
autoencoder (QLAE; Hsu et al. 2023, arXiv:2305.18378) rounds every latent to one of `VALUES` numbers
of its own that it learns, and has a strong weight decay.

Letters in shapes: N images; D latents; S pixels along an edge.
"""

import time
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA, FastICA
from torch import Tensor, nn
from torch.nn import functional as F

from rgflow.numerics import bfloat16_pays
from rgflow.training.batches import Batches

BETA = 4.0
"""Weight of the KL divergence."""
VALUES = 10
"""Numbers to which a latent is rounded."""
BATCH, RATE = 64, 1e-3
"""Images in a step of an autoencoder, and the rate of AdamW."""
DECAY = {"β-VAE": 0.0, "QLAE": 0.1}
"""Weight decay of AdamW."""
COMMITMENT = 0.01
"""Weight of what rounding changes in the mean latent, once for the numbers and once for the
encoder, beside the cost of the mean pixel."""

Code = Callable[[Tensor], NDArray[np.float64]]
"""From images, uint8 [N, 3, S, S], to latents [N, D]."""


def linear_codes(images: Tensor, latents: int) -> dict[str, Code]:
    """PCA and ICA of images, uint8 [N, 3, S, S]."""
    x = images.flatten(1).numpy().astype(np.float32)
    pca = PCA(latents, random_state=0).fit(x)
    ica = FastICA(latents, whiten="unit-variance", random_state=0, max_iter=1000)
    ica.fit(pca.transform(x))

    def principal(images: Tensor) -> NDArray[np.float64]:
        found: NDArray[np.float64] = pca.transform(images.flatten(1).numpy().astype(np.float32))
        return found

    return {"PCA": principal, "ICA": lambda images: ica.transform(principal(images))}


class Autoencoder(nn.Module):
    """An autoencoder of images in colour of 64×64 pixels.

    Args:
        kind: `β-VAE` or `QLAE`.
        latents: D.
    """

    def __init__(self, kind: str, latents: int) -> None:
        super().__init__()
        self.kind, widths = kind, (3, 32, 64, 128, 128)
        down, up = list[nn.Module](), list[nn.Module]()
        for before, after in pairwise(widths):
            down += [nn.Conv2d(before, after, 4, 2, 1), nn.SiLU()]
            up = [nn.SiLU(), nn.ConvTranspose2d(after, before, 4, 2, 1), *up]
        size = widths[-1] * 4 * 4
        numbers = 2 * latents if kind == "β-VAE" else latents
        self.encoder = nn.Sequential(*down, nn.Flatten(), nn.Linear(size, numbers))
        self.decoder = nn.Sequential(
            nn.Linear(latents, size), nn.Unflatten(1, (widths[-1], 4, 4)), *up
        )
        self.values = nn.Parameter(torch.linspace(-1, 1, VALUES).repeat(latents, 1))

    def code(self, images: Tensor) -> Tensor:
        """The latents of images, [N, D]: means, or rounded numbers."""
        found: Tensor = self.encoder(images.float() / 128 - 1)
        return found.chunk(2, 1)[0] if self.kind == "β-VAE" else self.rounded(found)

    def rounded(self, z: Tensor) -> Tensor:
        """Latents [N, D], each replaced by the nearest of its numbers."""
        nearest = (z[..., None] - self.values).abs().argmin(-1)
        return self.values.expand(len(z), -1, -1).gather(2, nearest[..., None])[..., 0]

    def loss(self, images: Tensor) -> Tensor:
        """What is minimised, per image."""
        x = (images.float() / 128 - 1).contiguous(memory_format=torch.channels_last)
        z = self.encoder(x).float()
        if self.kind == "β-VAE":
            mean, log_variance = z.chunk(2, 1)
            z = mean + torch.randn_like(mean) * (log_variance / 2).exp()
            more = BETA * (mean**2 + log_variance.exp() - 1 - log_variance).sum(1) / 2
        else:
            near, weight = self.rounded(z), COMMITMENT * images[0].numel()
            more = weight * ((near - z.detach()) ** 2 + (near.detach() - z) ** 2).mean(1)
            z = z + (near - z).detach()
        seen = self.decoder(z).flatten(1).float()
        target = images.flatten(1).float() / 255
        each = F.binary_cross_entropy_with_logits(seen, target, reduction="none").sum(1)
        return (each + more).mean()


def learned_code(kind: str, images: Tensor, latents: int, minutes: float) -> Code:
    """The code of an autoencoder that learns images, uint8 [N, 3, 64, 64], for some minutes of the
    processor."""
    torch.manual_seed(0)
    network, step = Autoencoder(kind, latents), 0
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=DECAY[kind])
    batches, start = Batches(images.numpy(), batch_size=BATCH), time.process_time()
    while time.process_time() - start < 60 * minutes:
        batch = batches.at(step, torch.device("cpu"))
        assert batch.images is not None
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16_pays()):
            loss = network.loss(batch.images)
        loss.backward()
        optimizer.step()
        step += 1
        if step % 500 == 0:
            print(f"{kind}, step {step}: {loss.item():.1f}", flush=True)

    def code(images: Tensor) -> NDArray[np.float64]:
        with torch.no_grad():
            return torch.cat([network.code(some) for some in images.split(256)]).double().numpy()

    return code
