"""How good images are, in numbers."""

from rgflow.metrics.images import feature_psnr, psnr, ssim

__all__ = ["feature_psnr", "psnr", "ssim"]
