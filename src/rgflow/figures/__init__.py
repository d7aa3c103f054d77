"""Results as pictures; Matplotlib is imported when it is first needed.

Images are uint8 or reals in [0, 256), and have 1 or 3 channels; of others a picture is refused,
with a `ValueError`. Each of their pixels is drawn as `scale` × `scale` pixels. Latents whose
strength is above a `threshold` count as visible.
"""

import lazy_loader

# Names are imported when first used, and with them what they draw.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
