"""Loads detectors by name."""

from pathlib import Path

import torch

from metrics.detectors import dinov2, efficientnet, inception, torchscript, vgg16
from metrics.detectors.base import Detector
from metrics.detectors.names import DETECTORS, DINOV2, EFFICIENTNET, INCEPTION, VGG16, detector_name
from torch_utils.files import InputError

WITHOUT_OPTIONS = {EFFICIENTNET: efficientnet, VGG16: vgg16, DINOV2: dinov2}  # modules with find() and load()


def require_detector(name: str, inception_path: str | Path | None = None, file: Path | None = None) -> None:
    """Raises `InputError`, with a way to get the file, where `load_detector` would not find one.

    Quick, so that a command can call it before any work. Weights that are not here yet are downloaded.
    """
    if file is not None and name == detector_name(file):
        if name in DETECTORS:
            raise InputError(f"--detector {file}: {name} is the name of another detector; give the file its own")
        torchscript.find(file)
    elif name == INCEPTION:
        inception.find(inception_path)
    elif name in WITHOUT_OPTIONS:
        WITHOUT_OPTIONS[name].find()
    else:
        raise InputError(f"no detector is called {name!r}; there are {', '.join(DETECTORS)}")


def load_detector(
    name: str,  # one of DETECTORS, or `detector_name(file)`
    device: torch.device | str,  # where the network runs; features are on the CPU
    inception_path: str | Path | None = None,  # Inception's weights; None: looked for in the usual places
    batch_size: int = 32,  # images at a time
    file: Path | None = None,  # the user's own detector, as TorchScript
    inception_resizing: str = "clean",  # one of inception.RESIZINGS
) -> Detector:
    """The detector, ready to call. Raises `InputError` as `require_detector` does."""
    require_detector(name, inception_path, file)
    device = torch.device(device)
    if name == INCEPTION:
        return inception.load(device, inception_path, batch_size, inception_resizing)
    if name in WITHOUT_OPTIONS:
        return WITHOUT_OPTIONS[name].load(device, batch_size)
    return torchscript.load(file, device, batch_size)
