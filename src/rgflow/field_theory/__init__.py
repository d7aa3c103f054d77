"""What is known of lattice fields without a flow, to check what flows say: exact free energies,
Hamiltonian Monte Carlo for any action, a cluster algorithm for the Ising model, and statistics
whose errors hold up. Lattices are periodic, J = 1 and k = 1; F = −ln Z.
"""

import lazy_loader

# Names are imported when first used, so that exact values need no torch.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
