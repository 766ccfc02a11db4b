"""EfficientNet-Lite0 as a detector."""

import torch

from metrics.detectors.base import Detector
from metrics.detectors.names import EFFICIENTNET
from metrics.detectors.resize import resize
from networks.efficientnet import find, frozen, normalised
from torch_utils.files import sha256
from torch_utils.platform import keep_freed_memory

DIM, SIZE = 1280, 224
RESIZING = "antialiased bicubic to 224x224, not rounded"


def load(device: torch.device, batch_size: int = 32) -> Detector:
    """The network as a `Detector`: features are the last feature map's mean, 1280 numbers."""
    path, network = find(), frozen(device)
    if device.type == "cpu":
        keep_freed_memory()

    def compute(images: torch.Tensor) -> torch.Tensor:
        return network.extract_features(normalised(resize(images, SIZE))).mean((2, 3))

    return Detector(EFFICIENTNET, DIM, sha256(path), RESIZING, device, compute, batch_size)
