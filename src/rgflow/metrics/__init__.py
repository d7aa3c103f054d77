"""How good images are, in numbers."""

from rgflow.metrics.images import psnr, ssim

__all__ = ["psnr", "ssim"]
