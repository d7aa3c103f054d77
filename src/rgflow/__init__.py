"""RG-Flow: hierarchical, explainable normalizing flows of images.

>>> import rgflow
>>> flow = rgflow.RGFlow(rgflow.FlowConfig(height=16, width=16, map=AffineMap(depth=1, hidden=32)))
>>> flow.sample(2).shape
torch.Size([2, 3, 16, 16])
"""

import lazy_loader

__version__ = "0.2.0"

# Names are imported when first used, so that `rgflow --help` doesn't import torch.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["__version__"]
