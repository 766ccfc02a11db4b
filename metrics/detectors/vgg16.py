"""VGG-16 up to conv4_1 as a detector: its weights lie in `pretrained/`, so it works in every checkout.

A second opinion beside EfficientNet-Lite0: another architecture, without batch normalisation, and features that are local
textures more than the classes of ImageNet.
"""

from pathlib import Path

import torch

from metrics.detectors.base import Detector
from metrics.detectors.names import VGG16
from metrics.detectors.resize import resize
from networks.style_transfer.vgg import PRETRAINED, load_vgg
from torch_utils.files import InputError, sha256
from torch_utils.platform import keep_freed_memory

DIM, SIZE = 512, 64
UNIT = 100  # activations of VGG are large; in this unit distances are numbers that a person can read
RESIZING = f"antialiased bicubic to {SIZE}x{SIZE}, not rounded"


def find() -> Path:
    """The weights file in the checkout; `InputError` where somebody has removed it."""
    path = PRETRAINED[VGG16]
    if not path.is_file():
        raise InputError(f"{path} is missing: the detector {VGG16} needs it, and a checkout of this project has it")
    return path


def load(device: torch.device, batch_size: int = 32) -> Detector:
    """The network as a `Detector`: the mean over positions of relu4_1 in units of 100, 512 numbers."""
    path = find()
    network = load_vgg(VGG16, path).to(device)
    if device.type == "cpu":
        keep_freed_memory()

    def compute(images: torch.Tensor) -> torch.Tensor:
        pixels = resize(images, SIZE) / 127.5 - 1
        return network(pixels.contiguous(memory_format=torch.channels_last))[-1].mean((2, 3)) / UNIT

    return Detector(VGG16, DIM, sha256(path), RESIZING, device, compute, batch_size)
