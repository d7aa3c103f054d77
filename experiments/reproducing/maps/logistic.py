"""Mixtures of logistic distributions as maps of the real line.

As in Flow++ (Ho et al. 2019, section 3.2). With components of shares π_j, means μ_j and scales
e^(s_j), all of them given by a network but the last, which is the standard one with a share of ε,

    F(x)  = Σ_j π_j σ((x − μ_j) e^(−s_j)),
    y     = (1 − ε) log(F(x)/(1 − F(x))) + ε x,
    dy/dx = (1 − ε) F′(x)/(F(x) (1 − F(x))) + ε.

Both tails of F are summed as logarithms, so nothing is subtracted from 1, and y goes on linearly
where F is 0 or 1 to all digits. There the widest component rules, so that the slope is 1 at the
most, and outliers don't run away from coupling to coupling. The inverse has no closed form: it lies
between those of the components, where Newton's steps find it, and bisection where these lead
outside.

Letters in shapes: R rows; d variables; K components.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, pad

from rgflow.bijectors.base import Mapped, MapSpec
from rgflow.bijectors.coupling import Coupling

MIN_SLOPE = 0.02
"""Share ε of the identity, the smallest slope, which bounds how much precision one coupling can
cost, whatever the network says; and that of the standard component."""
MAX_LOG_SCALE = 5.0
"""Bound of |s|: scales lie between e^−5 and e^5."""
SPREAD = 1.0
"""The means of the components are spread from −1 to 1 where the network says nothing."""
STEPS = 100
"""Of the search at the most; about eight are taken as a rule."""


class Logistics(NamedTuple):
    """The components of every variable, each [R, K+1, d]."""

    log_share: Tensor
    mean: Tensor
    log_scale: Tensor


def make_logistics(params: Tensor) -> Logistics:
    """From unconstrained parameters [R, 3K, d] to mixtures."""
    shares, means, scales = params.chunk(3, 1)
    n = means.shape[1]
    spread = SPREAD if n > 1 else 0.0
    start = torch.linspace(-spread, spread, n, dtype=means.dtype, device=means.device)
    last = (0, 0, 0, 1)
    return Logistics(
        pad(shares.log_softmax(1) + math.log1p(-MIN_SLOPE), last, value=math.log(MIN_SLOPE)),
        pad(means + start[:, None], last),
        pad(MAX_LOG_SCALE * torch.tanh(scales / MAX_LOG_SCALE), last),
    )


def logistic_forward(x: Tensor, of: Logistics) -> tuple[Tensor, Tensor]:
    """Map real numbers x [R, d]: y and log-derivatives, each [R, d]."""
    t = (x[:, None] - of.mean) * (-of.log_scale).exp()
    below, above = logsigmoid(t), logsigmoid(-t)
    log_below = torch.logsumexp(of.log_share + below, 1)
    log_above = torch.logsumexp(of.log_share + above, 1)
    log_density = torch.logsumexp(of.log_share + below + above - of.log_scale, 1)
    y = (1 - MIN_SLOPE) * (log_below - log_above) + MIN_SLOPE * x
    steep = log_density - log_below - log_above + math.log1p(-MIN_SLOPE)
    return y, torch.logaddexp(steep, torch.full_like(steep, math.log(MIN_SLOPE)))


def logistic_inverse(y: Tensor, of: Logistics) -> tuple[Tensor, Tensor]:
    """The inverse of `logistic_forward`, with the log-derivatives of the inverse."""
    found = _search(y.detach(), Logistics(*(part.detach() for part in of)))
    # One more of Newton's steps, by which gradients reach y and the components.
    value, log_slope = logistic_forward(found, of)
    x = found - (value - y) * (-log_slope.detach()).exp()
    return x, -logistic_forward(x, of)[1]


@torch.no_grad()
def _search(y: Tensor, of: Logistics) -> Tensor:
    """x of `logistic_forward`, to about the precision of its number format."""
    sharp = (1 - MIN_SLOPE) * (-of.log_scale).exp()
    alone = (y[:, None] + sharp * of.mean) / (sharp + MIN_SLOPE)  # x, were it for one component
    low, high = alone.amin(1), alone.amax(1)
    x = (low + high) / 2
    done = torch.zeros_like(x, dtype=torch.bool)
    for step in range(STEPS):
        value, log_slope = logistic_forward(x, of)
        low, high = torch.where(value <= y, x, low), torch.where(value >= y, x, high)
        newton = x - (value - y) * (-log_slope).exp()
        done |= (newton - x).abs() <= 4 * torch.finfo(x.dtype).eps * x.abs().clamp(min=1)
        if done.all():
            break
        # Now and then in any case, so that the interval shrinks whatever Newton's steps do.
        bisect = (newton <= low) | (newton >= high) | (step % 4 == 3)
        x = torch.where(done, x, torch.where(bisect, (low + high) / 2, newton))
    return x


class FlowPlusPlus(Coupling):
    """The distribution function of a mixture of logistics, its logit, and then an affine map, as in
    Flow++ (Ho et al. 2019).

    Args:
        spec: As for `rgflow.bijectors.Coupling`, and so are the other options;
            P = 3·components + 2.
        components: Of each mixture.
    """

    def __init__(
        self,
        spec: MapSpec,
        *,
        conditioner: str = "paper",
        hidden: int = 512,
        blocks: int = 4,
        components: int = 3,
    ) -> None:
        params = 3 * components + 2
        super().__init__(spec, params, conditioner=conditioner, hidden=hidden, blocks=blocks)

    def elementwise(self, x: Tensor, params: Tensor) -> Mapped:
        x, log_slope = logistic_forward(x, make_logistics(params[:, 2:]))
        s, t = torch.tanh(params[:, 0]), params[:, 1]
        return x * s.exp() + t, log_slope + s

    def elementwise_inverse(self, y: Tensor, params: Tensor) -> Mapped:
        s, t = torch.tanh(params[:, 0]), params[:, 1]
        x, log_slope = logistic_inverse((y - t) * (-s).exp(), make_logistics(params[:, 2:]))
        return x, log_slope - s
