"""Style transfer: an encoder that is given, a decoder whose kernels a style predicts."""

from networks.style_transfer.network import StyleTransfer

__all__ = ["StyleTransfer"]
