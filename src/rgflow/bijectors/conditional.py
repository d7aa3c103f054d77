"""The exact density of a site given its four neighbours, as a map without parameters.

With real values, S = Σ_x [c₁ Σ_μ φ_x φ_(x+μ) + c₂ φ_x² + c₄ φ_x⁴], and b = −c₁ times the sum of the
neighbours, the density of a site is f(φ)/Z with f(φ) = exp(bφ − c₂φ² − c₄φ⁴). Its latent z is
normal, with the same distribution function: the integral of f up to φ is Z times that of the normal
density up to z.

Letters in shapes: R rows (sites); P panels; K nodes of a rule.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.polynomial import chebyshev
from torch import Tensor

from rgflow.actions import Action, FreeField, Phi4, Spins
from rgflow.bijectors.base import Bijector, Context, Mapped, MapSpec
from rgflow.bijectors.states import HeatBath
from rgflow.numerics import EXACT, Precision, derivatives_wanted

DEPTH = 60.0
"""Integrals leave out what is below e^−60 of the highest density, beyond ±11 standard deviations of
a normal one."""
NODES, PANEL = 16, 2.5
"""Nodes of Gauss and Legendre's rule in a panel, and its width in units of the narrowest peak: even
at 6 standard deviations, where f changes fast, integrals are exact to rounding."""
STEPS = 6
"""Steps of Halley's method within a panel, whose error they cube; 4 or 5 are enough."""
PIECES, ORDER, ROOTS_APART = 512, 12, 16
"""ln Z as a function of b is kept as so many polynomials with so many coefficients, of equal parts
of its range. It has no singularities but zeros of Z, all of which have a real part of 0 (Lee and
Yang 1952, doi 10.1103/PhysRev.87.410): at π/2 over the root mean square of values without
neighbours, or farther away. A part is so many times shorter, so polynomials are exact to
rounding."""
AT_ONCE = 1024
"""Sites that values are searched for together, whose integrals fit into a processor's cache."""
LOG_ROOT = math.log(2 * math.pi) / 2


def conditional(spec: MapSpec, action: Action) -> Bijector:
    """The map that draws sites exactly given their four neighbours.

    Args:
        spec: Of the cells, which read the neighbours.
        action: One that is `near`.

    Raises:
        ValueError: If cells write more than one number.

    Example:
        >>> site = conditional(MapSpec(channels=1, sites=1, context=4), FreeField(mass2=1.0))
        >>> around = torch.tensor([[1.0, 0.0, 0.0, 1.0]])
        >>> site.inverse(torch.zeros(1, 1), Context(around, around[:, :0]))[0]  # 2/(4 + m²)
        tensor([[0.4000]])
    """
    if isinstance(action, Spins):
        return HeatBath(spec, action)
    assert isinstance(action, FreeField | Phi4)
    return Quartic(spec, action.normal if isinstance(action, FreeField) else action)


class _Range(NamedTuple):
    """Where f matters, and ln f at its maximum, each [R, 1]."""

    low: Tensor
    high: Tensor
    top: Tensor


class Quartic(Bijector):
    """A real value given its four neighbours, by integrals in float64.

    Both directions are exact up to rounding, and so are their derivatives. Where
    `Precision.half` is off, values are left at 0, and log-determinants are those for which
    ln q + S is what it is for any value.

    Args:
        spec: Of the cells.
        action: The action.

    Raises:
        ValueError: If cells write more than one number.

    Example:
        >>> site = Quartic(MapSpec(channels=1, sites=1, context=4), Phi4(c1=-1.0, c2=0.0, c4=1.0))
        >>> around = torch.tensor([[0.5, -0.5, 0.25, -0.25]])
        >>> site(torch.zeros(1, 1), Context(around, around[:, :0]))[0].abs().item() < 1e-12
        True
    """

    precision: Precision = EXACT

    def __init__(self, spec: MapSpec, action: Phi4) -> None:
        super().__init__((spec.dim,))
        if spec.dim != 1:
            raise ValueError(
                f"Expected one channel where the last half is drawn exactly; got {spec.channels}: "
                f"set --model.geometry.exact null."
            )
        self.action = action
        if not action.c4:
            return
        # The widest range in units of the narrowest peak, which changes slowly with b.
        b = torch.cat((torch.zeros(1), torch.logspace(-4, 6, 500))).double()[:, None]
        low, high, _ = self._range(b * action.c4**0.25)
        peak = self._peak(b * action.c4**0.25)
        steep = (peak + high) / 2
        bend = 2 * action.c2 + 12 * action.c4 * torch.maximum(peak, steep) ** 2
        widths = float(((high - low) * bend.sqrt()).max())
        self.panels, self.even_nodes = math.ceil(widths / PANEL), math.ceil(1.6 * widths) + 1
        at, weights = np.polynomial.legendre.leggauss(NODES)
        self.rule = torch.from_numpy((at + 1) / 2), torch.from_numpy(weights / 2)
        low, high, _ = self._range(torch.zeros(1, 1).double())
        x = torch.linspace(0, 1, 1000).double() * (high - low) + low
        f = (self._log_f(x, torch.zeros(1, 1).double()) - self._log_f(x, 0 * x).max()).exp()
        self.width = float(math.pi / 2 / (f @ x.T.square() / f.sum()).sqrt() / ROOTS_APART)
        points, count = chebyshev.chebpts1(ORDER), np.arange(ORDER)
        parts = self.width * torch.from_numpy(np.arange(PIECES)[:, None] + (points + 1) / 2)
        powers = [chebyshev.cheb2poly(x) for x in np.eye(ORDER)]
        powers = [np.pad(power, (0, ORDER - len(power))) for power in powers]
        fit = np.linalg.inv(chebyshev.chebvander(points, ORDER - 1)).T @ powers
        with torch.enable_grad():  # its derivative first, which would lose digits afterwards
            place = parts.view(-1, 1).requires_grad_()
            (slope,) = torch.autograd.grad(self._log_z_by_sums(place).sum(), place)
        middle = self._log_z_by_sums(parts.mean(1, keepdim=True).detach())
        rest = slope.view(parts.shape) @ torch.from_numpy(fit * self.width / 2 / (count + 1))
        self.table = torch.cat((middle, rest), 1)

    def transform(self, x: Tensor, context: Context | None = None) -> Mapped:
        at, b = x.double(), self._pull(x, context)
        if not self.precision.half:
            z, log_z = torch.zeros_like(at), self._log_z(b)
        else:
            z, log_z = self._latent(at, b)
        log_det = self._log_f(at, b) - log_z + z.square() / 2 + LOG_ROOT
        return z.to(x.dtype), log_det[:, 0].to(x.dtype)

    def invert(self, y: Tensor, context: Context | None = None) -> Mapped:
        z, b = y.double(), self._pull(y, context)
        if not self.precision.half:
            x, log_z = torch.zeros_like(z), self._log_z(b)
        elif not self.action.c4:
            x, log_z = (b / 2 / self.action.c2) + z / (2 * self.action.c2) ** 0.5, self._log_z(b)
        else:
            with torch.no_grad():
                parts = zip(z.split(AT_ONCE), b.split(AT_ONCE), strict=True)
                x = torch.cat([self._found(*part) for part in parts])
            log_z = self._log_z(b)
            if derivatives_wanted():  # those of the implicit function
                slope = (log_z - self._log_f(x, b) - z.square() / 2 - LOG_ROOT).detach().exp()
                x = x - (self._latent(x, b)[0] - z) * slope
        log_det = self._log_f(x, b) - log_z + z.square() / 2 + LOG_ROOT
        return x.to(y.dtype), -log_det[:, 0].to(y.dtype)

    def _pull(self, like: Tensor, context: Context | None) -> Tensor:
        """b, [R, 1]."""
        if context is None:
            return like.new_zeros(like.shape, dtype=torch.float64)
        return -self.action.c1 * context.values.double().sum(1, keepdim=True)

    def _log_f(self, x: Tensor, b: Tensor) -> Tensor:
        square = x.square()
        return b * x - square * (self.action.c2 + self.action.c4 * square)

    def _log_z(self, b: Tensor) -> Tensor:
        """ln Z of b, [R, 1]."""
        if not self.action.c4:
            return b.square() / (4 * self.action.c2) + math.log(math.pi / self.action.c2) / 2
        at = b.abs() / self.width
        piece = at.detach().long().clamp(max=PIECES - 1)
        t = (2 * (at - piece) - 1)[:, 0]
        powers = self.table.to(b.device)[piece[:, 0]].unbind(1)
        found = powers[-1]
        for power in reversed(powers[:-1]):
            found = found * t + power
        far = at.detach() >= PIECES
        if far.any():
            found = found[:, None].masked_scatter(far, self._log_z_by_sums(b[far][:, None]))[:, 0]
        return found[:, None]

    def _log_z_by_sums(self, b: Tensor) -> Tensor:
        """ln Z by the trapezoidal rule, which is exact to rounding as f is 0 at both ends."""
        low, high, _ = self._range(b.detach())
        step = (high - low) / (self.even_nodes - 1)
        x = low + step * torch.arange(self.even_nodes, device=b.device)
        return self._log_f(x, b).logsumexp(1, keepdim=True) + step.log()

    def _latent(self, x: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """z of values, and ln Z, [R, 1] each."""
        if not self.action.c4:
            return (x - b / 2 / self.action.c2) * (2 * self.action.c2) ** 0.5, self._log_z(b)
        within = self._range(b.detach())
        masses, width = self._panels(b, within)
        at = torch.minimum(torch.maximum(x, within.low), within.high)
        panel = ((at.detach() - within.low) / width).long().clamp(0, self.panels - 1)
        order = torch.arange(self.panels, device=b.device)
        start = within.low + panel * width
        below = (masses * (order < panel)).sum(1, True) + self._mass(start, at, b, within.top)
        above = (masses * (order > panel)).sum(1, True) + self._mass(
            at, start + width, b, within.top
        )
        total = below + above
        share = torch.minimum(below, above).clamp(min=torch.finfo(b.dtype).tiny) / total
        z = torch.special.ndtri(share)
        return torch.where(below < above, z, -z), total.log() + within.top

    def _found(self, z: Tensor, b: Tensor) -> Tensor:
        """The values of latents, [R, 1]."""
        turned = torch.where(z > 0, -1.0, 1.0).to(z)  # so that all z are negative
        z, b = z * turned, b * turned
        within = self._range(b)
        masses, width = self._panels(b, within)
        wanted = torch.special.log_ndtr(z).exp() * masses.sum(1, keepdim=True)
        below = masses.cumsum(1)
        panel = (below <= wanted).sum(1, keepdim=True).clamp(max=self.panels - 1)
        below = (below - masses).gather(1, panel)
        low = start = within.low + panel * width
        high, x = start + width, start + width / 2
        for _ in range(STEPS):
            mass = below + self._mass(start, x, b, within.top)
            off = mass.log() - wanted.log()
            low, high = torch.where(off < 0, x, low), torch.where(off < 0, high, x)
            rate = (self._log_f(x, b) - within.top).exp() / mass  # of ln mass, and its own below
            turn = b - 2 * x * (self.action.c2 + 2 * self.action.c4 * x**2) - rate
            x = x - off / (rate - off * turn / 2)
            x = torch.where((x >= low) & (x <= high), x, (low + high) / 2)
        return turned * x

    def _panels(self, b: Tensor, within: _Range) -> tuple[Tensor, Tensor]:
        """Integrals of f/f_max over equal panels, [R, P], and their width [R, 1]."""
        width = (within.high - within.low) / self.panels
        order = torch.arange(self.panels, device=b.device)
        at = (order[:, None] + self.rule[0].to(b.device)).flatten()  # [P·K]
        f = (self._log_f(within.low + width * at, b) - within.top).exp()
        return (f.unflatten(1, (self.panels, NODES)) @ self.rule[1].to(b.device)) * width, width

    def _mass(self, start: Tensor, end: Tensor, b: Tensor, top: Tensor) -> Tensor:
        """The integral of f/f_max between two values, at most a panel apart, [R, 1]."""
        at, weights = (x.to(b.device) for x in self.rule)
        f = (self._log_f(start + (end - start) * at, b) - top).exp()
        return (f @ weights)[:, None] * (end - start)

    def _peak(self, b: Tensor) -> Tensor:
        """Where f is largest, for b of at least 0: the largest root of 4c₄x³ + 2c₂x = b, from above
        by Newton's steps."""
        c2, c4 = self.action.c2, self.action.c4
        x = (b / (4 * c4)) ** (1 / 3) + math.sqrt(max(-c2, 0) / (2 * c4))
        for _ in range(20):
            bend = 2 * c2 + 12 * c4 * x**2
            x = torch.where(bend > 0, x - (4 * c4 * x**3 + 2 * c2 * x - b) / bend, x)
        return x

    def _range(self, b: Tensor) -> _Range:
        """Where f is at least e^−60 of its maximum, and perhaps a little more."""
        c2, c4 = self.action.c2, self.action.c4
        peak = self._peak(b.abs())
        # At a distance d, ln f is lower by at least ½ d² times the curvature and c₄ d⁴ above the
        # peak, and (c₂ + 2c₄ peak²) d² on both sides. From there, Newton's steps.
        up = torch.minimum(
            (DEPTH / (c2 + 6 * c4 * peak**2).clamp(min=0)).sqrt(),
            torch.full_like(b, (DEPTH / c4) ** 0.25),
        )
        least = self._log_f(peak, b.abs()) - DEPTH
        high = peak + up
        low = torch.maximum(-high, peak - (DEPTH / (c2 + 2 * c4 * peak**2).clamp(min=0)).sqrt())
        for _ in range(8):
            low, high = (
                x + (least - self._log_f(x, b.abs())) / (b.abs() - 2 * x * (c2 + 2 * c4 * x**2))
                for x in (low, high)
            )
        # Between deep wells, where they may fail, from where the density is no higher than above.
        fits = (low < peak) & (self._log_f(low, b.abs()) <= least + 1)
        low = torch.where(fits, torch.maximum(low, -high), -high)
        low, high = torch.where(b < 0, -high, low), torch.where(b < 0, -low, high)
        return _Range(low, high, self._log_f(peak, b.abs()))
