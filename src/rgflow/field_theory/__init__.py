"""References for flows of lattice fields, and error analysis.

Exact ln Z, Hamiltonian Monte Carlo for any action, clusters and the heat bath for spins,
autocorrelation times and the jackknife. Lattices are periodic; J = 1 and k = 1.
"""

import lazy_loader

# Names are imported when first used, so that exact values need no torch.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
