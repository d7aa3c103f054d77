"""What a trained flow has learned: tensors in, dataclasses out."""

import lazy_loader

# Names are imported when first used, so that what needs no scikit-learn needn't wait for it.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
