"""Names of detectors. Nothing here loads a network, so that the name of a metric is read at once."""

import re
from pathlib import Path

INCEPTION = "inception"
EFFICIENTNET = "efficientnet_lite0"
DINOV2 = "dinov2_vitl14"
VGG16 = "vgg16"  # of a path length it is NVIDIA's file with the weights of LPIPS
DETECTORS = (INCEPTION, EFFICIENTNET, VGG16, DINOV2)
DEFAULT_DETECTOR = EFFICIENTNET  # of a Fréchet distance that names none


def detector_name(path: Path) -> str:
    """Name of a TorchScript file in a metric's name: the file's own, without the suffix and what file names cannot hold."""
    return re.sub(r"[^\w.]+", "_", path.stem)
