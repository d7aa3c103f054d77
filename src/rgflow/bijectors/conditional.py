"""The exact density of a site given its four neighbours, as a map without parameters.

With real values, S = Σ_x [c₁ Σ_μ φ_x φ_(x+μ) + c₂ φ_x² + c₄ φ_x⁴], and b = −c₁ times the sum of the
neighbours, the density of a site is f(φ)/Z with f(φ) = exp(bφ − c₂φ² − c₄φ⁴). Its latent z is
normal, with the same distribution function: the integral of f up to φ is Z times that of the normal
density up to z.

With n components, the O(n) model, φ and b are vectors, and φ = r (e cos θ + d sin θ) with e along b
and d across it. Its latent is z = ρ (e cos ω + d sin ω), with the same d. The length r has the
density r^(n−1) exp(−c₂r² − c₄r⁴) A(|b|r), where A is the mean of exp(|b|r cos θ) over all
directions, a Bessel function; and given the length, the angle θ has the density
exp(|b|r cos θ) sin^(n−2) θ (von Mises and Fisher). Those of ρ and ω are the same without an action:
ρ^(n−1) exp(−ρ²/2) and sin^(n−2) ω. Again distribution functions are the same, those of r and ρ, and
those of θ and ω. So where all vectors are turned together, so is the result.

Letters in shapes: R rows (sites); n components; P panels; K nodes of a rule.
"""

import copy
import math
from collections.abc import Callable

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
"""Steps of Halley's method within a panel, whose error they cube; 4 or 5 are enough. Two more are
enough for Newton's, where the slope isn't known."""
PIECES, ORDER, ROOTS_APART = 512, 12, 16
"""ln Z as a function of b is kept as so many polynomials with so many coefficients, of equal parts
of its range. It has no singularities but zeros of Z, all of which have a real part of 0 (Lee and
Yang 1952, doi 10.1103/PhysRev.87.410): at π/2 over the root mean square of values without
neighbours, or farther away. A part is so many times shorter, so polynomials are exact to
rounding."""
AT_ONCE = 1024
"""Sites that values are searched for together, whose integrals fit into a processor's cache."""
MAX_COMPONENTS = 4
"""Components of a site for which there is A."""
LONGEST, LENGTH_PANELS, ANGLE_PANELS = 14.0, 6, 7
"""The longest latent, and panels of PANEL or less for lengths of latents and, as π √(DEPTH/2) is
the widest range in units of the peak, for angles."""
NEAREST, RAREST = 1e-50, 1e-200
"""Where lengths and angles begin, and their least share, so that logarithms are finite. Those that
are mapped keep away from both ends, which only what is 0 would reach."""
LEAST = 1e-8
"""|b|r below which A is 1 up to rounding, and its derivative loses its digits."""
LOG_ROOT = math.log(2 * math.pi) / 2
AT, WEIGHTS = map(torch.from_numpy, np.polynomial.legendre.leggauss(NODES))
RULE = (AT + 1) / 2, WEIGHTS / 2


def conditional(spec: MapSpec, action: Action) -> Bijector:
    """The map that draws sites exactly given their four neighbours.

    Args:
        spec: Of the cells, which read the neighbours.
        action: One that is `near`.

    Raises:
        ValueError: If cells write more numbers than the action allows, 1 or 4, or the action is of
            another kind.

    Example:
        >>> site = conditional(MapSpec(channels=1, sites=1, context=4), FreeField(mass2=1.0))
        >>> around = torch.tensor([[1.0, 0.0, 0.0, 1.0]])
        >>> site.inverse(torch.zeros(1, 1), Context(around, around[:, :0]))[0]  # 2/(4 + m²)
        tensor([[0.4000]])
    """
    if isinstance(action, Spins):
        return HeatBath(spec, action)
    if not isinstance(action, FreeField | Phi4):
        raise ValueError(
            f"Expected an action of spins, phi4 or free, whose sites can be drawn exactly; got "
            f"{type(action).__name__}: use no geometry.exact."
        )
    return Quartic(spec, action.normal if isinstance(action, FreeField) else action)


class _Density:
    """A density f of one number, by integrals over equal panels of a range.

    Args:
        log_f: ln f up to a constant of each row, from numbers [R, ...].
        low, high: The range, [R, 1] each.
        panels: P.
        top: ln f where it is largest, [R, 1]; none: at the nodes.
        slope: The derivative of ln f.
        power: Of the distance from low that integrals from there are like; 0: of none.
    """

    def __init__(
        self,
        log_f: Callable[[Tensor], Tensor],
        low: Tensor,
        high: Tensor,
        panels: int,
        top: Tensor | None = None,
        slope: Callable[[Tensor], Tensor] | None = None,
        power: int = 0,
    ) -> None:
        self.log_f, self.low, self.high, self.slope, self.power = log_f, low, high, slope, power
        self.width, self.order = (high - low) / panels, torch.arange(panels, device=low.device)
        self.nodes, self.weights = (x.to(low.device) for x in RULE)
        at = (self.order[:, None] + self.nodes).flatten()  # [P·K]
        f = log_f(low + self.width * at)
        self.top = f.detach().amax(1, keepdim=True) if top is None else top
        f = (f - self.top).exp().unflatten(1, (panels, NODES))
        self.masses = (f @ self.weights) * self.width  # of f/f_max in panels, [R, P]

    def sides(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The integrals of f/f_max below and above numbers, [R, 1] each."""
        at = torch.minimum(torch.maximum(x, self.low), self.high)
        last = len(self.order) - 1
        panel = ((at.detach() - self.low) / self.width).long().clamp(0, last)
        start = self.low + panel * self.width
        below = (self.masses * (self.order < panel)).sum(1, True) + self._mass(start, at)
        above = self._mass(at, start + self.width)
        return below, (self.masses * (self.order > panel)).sum(1, True) + above

    def found(self, share: Tensor) -> Tensor:
        """The numbers below which are these shares, at most about ½, [R, 1]."""
        wanted = share * self.masses.sum(1, keepdim=True)
        below = self.masses.cumsum(1)
        panel = (below <= wanted).sum(1, keepdim=True).clamp(max=len(self.order) - 1)
        below = (below - self.masses).gather(1, panel)
        low = start = self.low + panel * self.width
        high, x = start + self.width, start + self.width / 2
        if self.power:
            rest = (wanted - below) / self.masses.gather(1, panel)
            x = start + self.width * rest.clamp(1e-300, 1) ** (1 / self.power)
        for _ in range(STEPS if self.slope else STEPS + 2):
            mass = below + self._mass(start, x)
            off = mass.log() - wanted.log()
            low, high = torch.where(off < 0, x, low), torch.where(off < 0, high, x)
            rate = (self.log_f(x) - self.top).exp() / mass  # of ln mass, and its own below
            turn = self.slope(x) - rate if self.slope else 0.0
            x = x - off / (rate - off * turn / 2)
            x = torch.where((x >= low) & (x <= high), x, (low + high) / 2)
        return x

    def mirrored(self, sign: Tensor) -> "_Density":
        """The density of numbers times these signs, [R, 1]."""
        other = copy.copy(self)
        other.log_f = lambda x: self.log_f(sign * x)
        other.low = torch.where(sign < 0, -self.high, self.low)
        other.masses = torch.where(sign < 0, self.masses.flip(1), self.masses)
        return other

    def to(self, other: "_Density", x: Tensor) -> Tensor:
        """The numbers below which is the same share of another density, [R, 1]."""
        below, above = self.sides(x)
        sign = torch.where(below < above, 1.0, -1.0).to(x)
        share = (torch.minimum(below, above) / (below + above)).clamp(min=RAREST)
        with torch.no_grad():
            y = sign * other.mirrored(sign).found(share)
        if not derivatives_wanted():
            return y
        below, above = other.sides(y)  # for derivatives of the implicit function
        side = torch.where(sign > 0, below, above).clamp(min=RAREST)
        rate = ((other.log_f(y) - other.top).exp() / side).detach()
        return y - sign * ((side / (below + above)).log() - share.log()) / rate

    def _mass(self, start: Tensor, end: Tensor) -> Tensor:
        """The integral of f/f_max between two numbers, at most a panel apart, [R, 1]."""
        f = (self.log_f(start + (end - start) * self.nodes) - self.top).exp()
        return (f @ self.weights)[:, None] * (end - start)


class Quartic(Bijector):
    """A real value, or a vector, given its four neighbours, by integrals in float64.

    Both directions are exact up to rounding, and so are their derivatives. Where
    `Precision.half` is off, values are left at 0, and log-determinants are those for which
    ln q + S is what it is for any value.

    Args:
        spec: Of the cells.
        action: The action.

    Raises:
        ValueError: If cells write more than four numbers, or more than one site.

    Example:
        >>> site = Quartic(MapSpec(channels=1, sites=1, context=4), Phi4(c1=-1.0, c2=0.0, c4=1.0))
        >>> around = torch.tensor([[0.5, -0.5, 0.25, -0.25]])
        >>> site(torch.zeros(1, 1), Context(around, around[:, :0]))[0].abs().item() < 1e-12
        True
    """

    precision: Precision = EXACT

    def __init__(self, spec: MapSpec, action: Phi4) -> None:
        super().__init__((spec.dim,))
        if spec.sites != 1 or (action.c4 and spec.dim > MAX_COMPONENTS):
            raise ValueError(
                f"Expected cells of one site and at most {MAX_COMPONENTS} channels where the last "
                f"half is drawn exactly; got {spec.sites} and {spec.channels}: set "
                f"--model.geometry.exact null."
            )
        self.action, self.dim = action, spec.dim
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
        low, high, _ = self._range(torch.zeros(1, 1).double())
        x = torch.linspace(0, 1, 1000).double() * (high - low) + low
        f = self._log_lengths(x, 0 * x)
        f = (f - f.max()).exp()
        square = f @ x.T.square() / f.sum() / self.dim
        self.width = float(math.pi / 2 / square.sqrt() / ROOTS_APART)
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
        return z.to(x.dtype), self._log_det(at, z, b, log_z).to(x.dtype)

    def invert(self, y: Tensor, context: Context | None = None) -> Mapped:
        z, b = y.double(), self._pull(y, context)
        if not self.precision.half:
            x, log_z = torch.zeros_like(z), self._log_z(b)
        elif not self.action.c4:
            x, log_z = (b / 2 / self.action.c2) + z / (2 * self.action.c2) ** 0.5, self._log_z(b)
        else:
            parts = zip(z.split(AT_ONCE), b.split(AT_ONCE), strict=True)
            x, log_z = torch.cat([self._found(*part) for part in parts]), self._log_z(b)
            if self.dim == 1 and derivatives_wanted():  # those of the implicit function
                slope = (log_z - self._log_f(x, b) - z.square() / 2 - LOG_ROOT).detach().exp()
                x = x - (self._latent(x, b)[0] - z) * slope
        return x.to(y.dtype), -self._log_det(x, z, b, log_z).to(y.dtype)

    def _pull(self, like: Tensor, context: Context | None) -> Tensor:
        """b, [R, n]."""
        if context is None:
            return like.new_zeros(like.shape, dtype=torch.float64)
        return -self.action.c1 * context.values.double().unflatten(1, (-1, self.dim)).sum(1)

    def _log_det(self, x: Tensor, z: Tensor, b: Tensor, log_z: Tensor) -> Tensor:
        """ln |det ∂z/∂x| of values and latents [R, n], [R]: ln f(x)/Z less the log-density of z."""
        square = _sum(x.square())
        log_f = _sum(b * x) - square * (self.action.c2 + self.action.c4 * square)
        return (log_f - log_z + _sum(z.square()) / 2 + self.dim * LOG_ROOT)[:, 0]

    def _log_f(self, x: Tensor, b: Tensor) -> Tensor:
        """ln f of values; of several components, of vectors with the direction of b, [R, ...]."""
        square = x.square()
        return b * x - square * (self.action.c2 + self.action.c4 * square)

    def _log_lengths(self, x: Tensor, b: Tensor) -> Tensor:
        """ln f of lengths, given that of b, [R, ...]; of one component, of values."""
        if self.dim == 1:
            return self._log_f(x, b)
        at = (b * x).clamp(min=LEAST)
        if self.dim == 3:
            mean = -torch.expm1(-2 * at) / (2 * at)
        else:
            mean = torch.special.i0e(at) if self.dim == 2 else 2 * torch.special.i1e(at) / at
        # The mean is A exp(−b·x), so that no number is large.
        return self._log_f(x, b) + mean.log() + torch.xlogy(self.dim - 1, x)

    def _log_z(self, b: Tensor) -> Tensor:
        """ln Z of b, [R, 1]."""
        if not self.action.c4:
            gaussian = self.dim * math.log(math.pi / self.action.c2) / 2
            return _sum(b.square()) / (4 * self.action.c2) + gaussian
        b = _length(b) if self.dim > 1 else b
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
        """ln Z by the trapezoidal rule, which is exact to rounding as f is 0 at both ends; lengths
        may begin at 0."""
        if self.dim > 1:
            lengths, half = self._density(b), self.dim / 2
            area = math.log(2) + half * math.log(math.pi) - math.lgamma(half)  # of the unit sphere
            return lengths.masses.sum(1, keepdim=True).log() + lengths.top + area
        low, high, _ = self._range(b.detach())
        step = (high - low) / (self.even_nodes - 1)
        x = low + step * torch.arange(self.even_nodes, device=b.device)
        return self._log_f(x, b).logsumexp(1, keepdim=True) + step.log()

    def _latent(self, x: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """z of values, and ln Z, [R, 1] each."""
        if not self.action.c4:
            return (x - b / 2 / self.action.c2) * (2 * self.action.c2) ** 0.5, self._log_z(b)
        if self.dim > 1:
            return self._turned(x, b, back=False), self._log_z(b)
        within = self._density(b)
        below, above = within.sides(x)
        total = below + above
        share = torch.minimum(below, above).clamp(min=torch.finfo(b.dtype).tiny) / total
        z = torch.special.ndtri(share)
        return torch.where(below < above, z, -z), total.log() + within.top

    def _found(self, z: Tensor, b: Tensor) -> Tensor:
        """The values of latents, [R, n]; derivatives are those of several components alone."""
        if self.dim > 1:
            return self._turned(z, b, back=True)
        with torch.no_grad():
            turned = torch.where(z > 0, -1.0, 1.0).to(z)  # so that all z are negative
            share = torch.special.log_ndtr(z * turned).exp()
            return turned * self._density(b * turned).found(share)

    def _turned(self, x: Tensor, b: Tensor, back: bool) -> Tensor:
        """Vectors of latents (back), or latents of vectors, [R, n]: lengths and angles with b."""
        pull, along, n = _length(b), _unit(b), self.dim
        there = _sum(x * along)
        across = x - there * along
        length = _length(x).clamp(min=1e10 * NEAREST)
        angle = torch.atan2(_length(across), there).clamp(1e10 * NEAREST, math.pi * (1 - 1e-15))

        def moved(latent: _Density, vector: _Density, at: Tensor) -> Tensor:
            return latent.to(vector, at) if back else vector.to(latent, at)

        def log_f(length: Tensor) -> Tensor:
            return torch.xlogy(n - 1, length) - length.square() / 2

        ends = torch.full_like(pull, NEAREST), torch.full_like(pull, LONGEST)
        latent = _Density(log_f, *ends, LENGTH_PANELS, power=n)
        new = moved(latent, self._density(pull), length)
        coupled = pull * (new if back else length)
        angle = moved(self._angles(0 * pull), self._angles(coupled), angle)
        return new * (angle.cos() * along + angle.sin() * _unit(across))

    def _angles(self, pull: Tensor) -> _Density:
        """The density of angles of vectors with b, given the product of their lengths [R, 1]."""

        def log_f(angle: Tensor) -> Tensor:
            # The cosine less 1, which is known with more digits.
            return torch.xlogy(self.dim - 2, angle.sin()) - 2 * pull * (angle / 2).sin().square()

        high = 2 * (DEPTH / 2 / pull.detach()).clamp(max=1).sqrt().asin()
        low = torch.full_like(high, NEAREST)
        return _Density(log_f, low, high, ANGLE_PANELS, power=self.dim - 1)

    def _density(self, b: Tensor) -> _Density:
        """The density of values, or of lengths, given b or its length, [R, 1]."""
        c2, c4 = self.action.c2, self.action.c4
        low, high, top = self._range(b.detach())

        def log_f(x: Tensor) -> Tensor:
            return self._log_lengths(x, b)

        def slope(x: Tensor) -> Tensor:
            return b - 2 * x * (c2 + 2 * c4 * x**2)

        if self.dim > 1:
            return _Density(log_f, low, high, self.panels, power=self.dim)
        return _Density(log_f, low, high, self.panels, top, slope)

    def _peak(self, b: Tensor) -> Tensor:
        """Where f is largest, for b of at least 0: the largest root of 4c₄x³ + 2c₂x = b, from above
        by Newton's steps."""
        c2, c4 = self.action.c2, self.action.c4
        x = (b / (4 * c4)) ** (1 / 3) + math.sqrt(max(-c2, 0) / (2 * c4))
        for _ in range(20):
            bend = 2 * c2 + 12 * c4 * x**2
            x = torch.where(bend > 0, x - (4 * c4 * x**3 + 2 * c2 * x - b) / bend, x)
        return x

    def _range(self, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Where f is at least e^−60 of its maximum, and perhaps a bit more, from and to, and ln f
        at the maximum, [R, 1] each. With several components this is of vectors along b; lengths
        have at most e^−50 beyond."""
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
        low = low.clamp(min=NEAREST) if self.dim > 1 else low
        low, high = torch.where(b < 0, -high, low), torch.where(b < 0, -low, high)
        return low, high, self._log_f(peak, b.abs())


def _sum(x: Tensor) -> Tensor:
    """Over the components [R, n] of every row, [R, 1]."""
    return x.sum(1, keepdim=True)


def _length(x: Tensor) -> Tensor:
    """Of vectors [R, n], [R, 1], with derivatives of 0 at 0."""
    return torch.linalg.vector_norm(x, dim=1, keepdim=True)


def _unit(x: Tensor) -> Tensor:
    """Vectors [R, n] with a length of 1, or 0."""
    length = _length(x)
    return x / torch.where(length > 0, length, 1)
