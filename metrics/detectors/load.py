"""Detectors by name."""

from pathlib import Path

import torch

from metrics.detectors import dinov2, efficientnet, inception, torchscript
from metrics.detectors.base import Detector
from torch_utils.files import InputError

DETECTORS = (inception.NAME, efficientnet.NAME, dinov2.NAME)


def require_detector(name: str, inception_path: str | Path | None = None, file: Path | None = None) -> None:
    """Raise `InputError`, which says what to do, unless `load_detector` will find its files.

    Quick, so that a command calls it before any work. Weights that are nowhere yet are downloaded here.
    """
    if file is not None and name == torchscript.detector_name(file):
        if name in DETECTORS:
            raise InputError(f"--detector {file}: {name} is the name of another detector; give the file its own")
        torchscript.find(file)
    elif name == inception.NAME:
        inception.find(inception_path)
    elif name == efficientnet.NAME:
        efficientnet.find()
    elif name == dinov2.NAME:
        dinov2.find()
    else:
        raise InputError(f"no detector is called {name!r}; there are {', '.join(DETECTORS)}")


def load_detector(
    name: str,  # one of DETECTORS, or what `torchscript.detector_name` makes of `file`
    device: torch.device | str,  # where the network runs; features always come back to the CPU
    inception_path: str | Path | None = None,  # Inception's weights, where they are not in one of the usual places
    batch_size: int = 32,  # images at a time
    file: Path | None = None,  # a TorchScript file with a detector of the user's own
    inception_resizing: str = "clean",  # one of inception.RESIZINGS
) -> Detector:
    """The detector, ready to call. Raises `InputError` as `require_detector` does."""
    require_detector(name, inception_path, file)
    device = torch.device(device)
    if name == inception.NAME:
        return inception.load(device, inception_path, batch_size, inception_resizing)
    if name == efficientnet.NAME:
        return efficientnet.load(device, batch_size)
    if name == dinov2.NAME:
        return dinov2.load(device, batch_size)
    return torchscript.load(file, device, batch_size)
