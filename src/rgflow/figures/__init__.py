"""Results as pictures; Matplotlib is imported when it is first needed."""

import lazy_loader

# Names are imported when first used, and with them what they draw.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
