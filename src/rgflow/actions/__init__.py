"""Actions of lattice fields: p(φ) = e^(−S(φ))/Z on a periodic square lattice.

Like the settings themselves, this package imports no torch.
"""

from rgflow.actions.base import Action, FreeField, OwnAction, Phi4, evaluated, is_even
from rgflow.actions.spins import BlumeCapel, Ising, Potts, Spins

__all__ = [
    "Action",
    "BlumeCapel",
    "FreeField",
    "Ising",
    "OwnAction",
    "Phi4",
    "Potts",
    "Spins",
    "evaluated",
    "is_even",
]
