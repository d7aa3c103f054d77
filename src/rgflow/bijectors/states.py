"""Spins with q states: exact probabilities given the known sites of a window around each.

In the unit cube, state k of a site is the interval from k/q to (k + 1)/q. A map stretches every
interval to the length of the state's probability, so a log-determinant is a log-probability plus
ln q, and `States` takes the ln q away: densities of fields are probabilities.

Letters in shapes: R rows (sites); S sites of the context; E numbers of embeddings; q states.
"""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from rgflow.actions import Spins
from rgflow.bijectors.base import Bijector, Context, Domain, Mapped, MapSpec
from rgflow.conditioners import ExchangeableNetwork, WindowNetwork
from rgflow.config import StateMap
from rgflow.kinds import made_from


class States(Bijector):
    """Between the values of states and the middles of their intervals, element by element.

    Args:
        values: Of the states, in order.

    Example:
        >>> d, log_det = States((-1.0, 1.0))(torch.tensor([[[[-1.0, 1.0]]]]))
        >>> d.tolist(), round(log_det.item(), 4)
        ([[[[0.25, -0.25]]]], -1.3863)
    """

    codomain: Domain = "cube"
    staircase = True

    def __init__(self, values: Sequence[float]) -> None:
        super().__init__((None, None, None))
        self.values = tuple(values)

    def transform(self, x: Tensor, context: Context | None = None) -> Mapped:
        values = self._like(x)
        number = torch.bucketize(x.detach(), (values[1:] + values[:-1]) / 2).to(x.dtype)
        u = (number + 0.5) / len(values)
        return torch.where(u <= 0.5, u, u - 1), self._log_det(x, -1)

    def invert(self, y: Tensor, context: Context | None = None) -> Mapped:
        return self._like(y)[numbers(y, len(self.values)).long()], self._log_det(y, 1)

    def are(self, x: Tensor) -> bool:
        """Whether all values of fields [N, C, H, W] are those of states."""
        return bool(torch.isin(x, self._like(x)).all())

    def _like(self, x: Tensor) -> Tensor:
        return torch.tensor(self.values, dtype=x.dtype, device=x.device)

    def _log_det(self, x: Tensor, sign: int) -> Tensor:
        return x.new_full((len(x),), sign * x[0].numel() * math.log(len(self.values)))


def numbers(d: Tensor, states: int) -> Tensor:
    """The states of sites in cube coordinates, 0 to q − 1, of the same shape and number format."""
    d = d.detach()
    return (states * (d - d.floor())).floor_().clamp_(max=states - 1)


class Stretched(Bijector):
    """The state of one site given its context; a subclass says how likely states are.

    Args:
        spec: Of the cells.
        states: q.

    Raises:
        ValueError: If cells write more than one number, or what they read may be missing.
    """

    domain: Domain = "cube"
    codomain: Domain = "cube"
    staircase = True

    def __init__(self, spec: MapSpec, states: int) -> None:
        super().__init__((spec.dim,))
        if spec.dim != 1 or spec.flags:
            raise ValueError(
                f"Expected one channel, a periodic boundary and cells that write one site for "
                f"states; got {spec.dim} numbers, {spec.flags} of a context that may be missing."
            )
        self.states = states

    def logits(self, around: Tensor, embedding: Tensor) -> Tensor:
        """Logarithms of probabilities up to constants, [R, q], of cells with embeddings [R, E] that
        know which sites of the context are in which state: 1, others 0, [R, q, S]."""
        raise NotImplementedError

    def _log_probs(self, like: Tensor, context: Context | None) -> Tensor:
        """Of all states, [R, q]."""
        none = like[:, :0]
        around, embedding = (context.values, context.embedding) if context else (none, none)
        every = torch.arange(self.states, device=like.device)
        there = (numbers(around, self.states)[:, None] == every[:, None]).to(like.dtype)
        return self.logits(there, embedding).log_softmax(1)

    def log_det(self, x: Tensor, context: Context | None = None) -> Tensor:
        self._check(x)
        return self._log_det(self._log_probs(x, context), numbers(x, self.states))

    def _log_det(self, log_probs: Tensor, number: Tensor) -> Tensor:
        return log_probs.gather(1, number.long())[:, 0] + math.log(self.states)

    def transform(self, x: Tensor, context: Context | None = None) -> Mapped:
        log_probs, number = self._log_probs(x, context), numbers(x, self.states)
        below, p, above = _intervals(log_probs, number)
        within, rest = _parts(x, number, self.states - 1 - number, 1, self.states)
        low, high = below + within * p, above + rest * p
        return torch.where(low <= 0.5, low, -high), self._log_det(log_probs, number)

    def invert(self, y: Tensor, context: Context | None = None) -> Mapped:
        log_probs = self._log_probs(y, context)
        p = log_probs.detach().exp()
        ends, left = p.cumsum(1)[:, :-1], p.flip(1).cumsum(1).flip(1)[:, 1:]
        number = torch.where(y > 0, y >= ends, -y <= left).sum(1, keepdim=True)
        below, p, above = _intervals(log_probs, number)
        within, rest = _parts(y, below, above, p, 1)
        least = 4 * self.states * torch.finfo(y.dtype).eps  # so that the state stays
        within, rest = within.clamp(least, 1 - least), rest.clamp(least, 1 - least)
        low, high = number + within, self.states - 1 - number + rest
        x = torch.where(low <= high, low, -high) / self.states
        return x, -self._log_det(log_probs, number)


def _intervals(log_probs: Tensor, number: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of states [R, 1]: the probability below, their own and that above, without derivatives."""
    p = log_probs.detach().exp()
    order = torch.arange(p.shape[1], device=p.device)
    below, above = ((p * side).sum(1, keepdim=True) for side in (order < number, order > number))
    return below, p.gather(1, number.long()), above


def _parts(
    d: Tensor, below: Tensor, above: Tensor, length: Tensor | int, whole: int
) -> tuple[Tensor, Tensor]:
    """Where in its interval a cube coordinate lies, as shares of the interval on its left and on
    its right; exact on the side that is counted from the nearer edge of the cube."""
    left = torch.where(d > 0, (whole * d - below) / length, 0)
    right = torch.where(d > 0, 0, (-whole * d - above) / length)
    return torch.where(d > 0, left, 1 - right), torch.where(d > 0, 1 - left, right)


@made_from(StateMap)
class SiteStates(Stretched):
    """The state of one site, by a linear function of the states around it and a network.

    With `symmetry`, the probabilities have the symmetry of the energy: cells whose states are all
    changed in the same way have their probabilities changed so. For permutations, the network is
    the same for every state; for the reversal, logits are means over both orders.

    Args:
        spec: Of the cells, which write one site.
        spins: Values of the states.
        symmetry: `"permutation"`: of any states; `"reversal"`: of their order; `"none"`.
        hidden: Width of the network.
        blocks: Residual blocks.

    Raises:
        ValueError: If cells write more than one number, or what they read may be missing.

    Example:
        >>> site = SiteStates(MapSpec(channels=1, sites=1, context=4), spins=(-1.0, 1.0), hidden=8)
        >>> around = torch.tensor([[0.25, 0.25, -0.25, 0.25]])
        >>> site(torch.tensor([[0.25]]), Context(around, around[:, :0]))[1].exp().item()  # 2·p
        1.0
    """

    def __init__(
        self,
        spec: MapSpec,
        *,
        spins: Sequence[float] = (-1.0, 1.0),
        symmetry: str = "none",
        hidden: int = 64,
        blocks: int = 1,
    ) -> None:
        super().__init__(spec, len(spins))
        self.symmetry = symmetry
        alike = symmetry == "permutation"
        seen = spec.context * (1 if alike else self.states - 1) + spec.embedding
        network, given = (ExchangeableNetwork, 1) if alike else (WindowNetwork, self.states)
        self.network = network(max(seen, 1), hidden, blocks, given)
        self.linear = nn.Linear(max(seen, 1), given, bias=False)
        nn.init.zeros_(self.linear.weight)

    def hidden_matrices(self) -> Iterable[Tensor]:
        return self.network.hidden_matrices()

    def logits(self, around: Tensor, embedding: Tensor) -> Tensor:
        if self.symmetry == "permutation":
            if not around.shape[2]:
                return around.new_zeros(around.shape[:2])
            each = embedding[:, None].expand(-1, self.states, -1)
            return self._given(torch.cat((2 * around - 1, each), 2))[..., 0]
        found = self._seen(around, embedding)
        if self.symmetry == "reversal":
            found = (found + self._seen(around.flip(1), embedding).flip(1)) / 2
        return found

    def _seen(self, around: Tensor, embedding: Tensor) -> Tensor:
        """Logits given the context [R, q, S]; the first state is what no other is."""
        seen = torch.cat(((2 * around[:, 1:] - 1).flatten(1), embedding), 1)
        return self._given(seen if seen.shape[1] else around.new_ones(len(around), 1))

    def _given(self, seen: Tensor) -> Tensor:
        return self.network(seen).to(seen.dtype) + self.linear(seen)


class HeatBath(Stretched):
    """The state of a site given its four neighbours, with the probabilities of an action; it has no
    parameters.

    Args:
        spec: Of the cells.
        action: The action.

    Raises:
        ValueError: As for `Stretched`.

    Example:
        >>> from rgflow.actions import Ising
        >>> site = HeatBath(MapSpec(channels=1, sites=1, context=4), Ising(temperature=2.0))
        >>> up, around = torch.tensor([[-0.25]]), torch.full((1, 4), -0.25)
        >>> p = site(up, Context(around, around[:, :0]))[1].exp() / 2
        >>> round(p.item(), 6), round(1 / (1 + math.exp(-4)), 6)
        (0.982014, 0.982014)
    """

    def __init__(self, spec: MapSpec, action: Spins) -> None:
        super().__init__(spec, len(action.states))
        for name in ("alone", "pairs"):
            table = -torch.from_numpy(getattr(action, name)) / action.temperature
            self.register_buffer(name, table, persistent=False)

    alone: Tensor
    pairs: Tensor

    def logits(self, around: Tensor, embedding: Tensor) -> Tensor:
        return self.alone.to(around) + around.sum(2) @ self.pairs.to(around)
