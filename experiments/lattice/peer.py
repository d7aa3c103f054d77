"""The package normflow (github.com/jkomijani/normflow_) on φ⁴, in the same time.

    PYTHONPATH=FOLDER python experiments/lattice/peer.py --length 12 --coupling 5.276 --minutes 8

FOLDER holds a checkout of it as `normflow`. The network is that of its example `scalar_affine.py`:
a power spectrum, splines, and affine couplings by convolutions, all odd. What was found is written
to `experiments/lattice/peers/`.
"""

import argparse
import json
import platform
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

vars(np)["product"] = np.prod  # which numpy 2 has no more
from normflow import Model  # noqa: E402
from normflow.action import ScalarPhi4Action  # noqa: E402
from normflow.mask import EvenOddMask  # noqa: E402
from normflow.nn import (  # noqa: E402
    AffineCoupling_,
    ConvAct,
    DistConvertor_,
    FFTNet_,
    MeanFieldNet_,
    ModuleList_,
    PSDBlock_,
)
from normflow.prior import NormalPrior  # noqa: E402

from rgflow.field_theory import (  # noqa: E402
    accepted,
    effective_sample_size,
    log_mean_weight,
)
from rgflow.training.run import processor  # noqa: E402

HERE = Path(__file__).parent


def network(length: int) -> torch.nn.Module:
    """That of the example, with its sizes."""
    shape = (length, length)
    mean = MeanFieldNet_.build(knots_len=10, symmetric=True, final_scale=True, smooth=True)
    spectrum = FFTNet_.build(shape, knots_len=10, ignore_zeromode=True)
    convolution = {
        "in_channels": 1, "out_channels": 2, "hidden_sizes": [8, 8], "kernel_size": 3,
        "padding_mode": "circular", "conv_dim": 2, "acts": ("tanh", "tanh", None), "bias": False,
    }  # fmt: skip
    couplings = [ConvAct(**convolution) for _ in range(4)]
    return ModuleList_(
        [
            PSDBlock_(mfnet_=mean, fftnet_=spectrum),
            DistConvertor_(50, symmetric=True, smooth=True),
            AffineCoupling_(couplings, mask=EvenOddMask(shape=shape)),
            DistConvertor_(50, symmetric=True, smooth=True),
        ]
    )


def main() -> None:
    """Train, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--length", type=int, required=True)
    parser.add_argument("--coupling", type=float, required=True, help="λ at m² = −4")
    parser.add_argument("--minutes", type=float, required=True, help="of the processor")
    parser.add_argument("--batch_size", type=int, default=128)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    # S = κ/2 (∂φ)² + m²/2 φ² + λ φ⁴ is c₁ = −2, c₂ = 0 where κ = 2 and m² = −8.
    model = Model(
        net_=network(options.length),
        prior=NormalPrior(shape=(options.length, options.length)),
        action=ScalarPhi4Action(kappa=2, m_sq=-8, lambd=options.coupling),
    )
    steps, start = 0, time.process_time()
    while (used := time.process_time() - start) < 60 * options.minutes:
        model.fit(
            n_epochs=100,
            batch_size=options.batch_size,
            checkpoint_dict={"print_stride": 10**9},
        )
        steps += 100
    with torch.no_grad():
        parts = []
        for _ in range(20):
            fields, log_q = model.posterior.sample_(1000)
            parts.append(-model.action(fields) - log_q)
    log_w = torch.cat(parts).double().numpy()
    held = accepted(log_w)
    found = {
        "package": "normflow, github.com/jkomijani/normflow_, commit 638874c",
        "length": options.length,
        "coupling": options.coupling,
        "minutes": used / 60,
        "steps": steps,
        "parameters": int(model.net_.npar),
        "ess": effective_sample_size(log_w),
        "acceptance": float((held[1:] != held[:-1]).mean()),
        "log_z_bound": float(log_w.mean()),
        "log_z": log_mean_weight(log_w)._asdict(),
        "machine": {"processor": processor(), "system": platform.platform()},
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
    }
    folder = HERE / "peers"
    folder.mkdir(exist_ok=True)
    path = folder / f"normflow-{options.length}.json"
    path.write_text(json.dumps(found, indent=1) + "\n")
    print(path, found["ess"])


if __name__ == "__main__":
    main()
