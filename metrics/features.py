"""Detectors by name."""

from pathlib import Path

import torch

from metrics import efficientnet, inception
from metrics.detector import Detector
from torch_utils.files import InputError

DETECTORS = (inception.NAME, efficientnet.NAME)


def require_detector(name: str, inception_path: str | Path | None = None) -> None:
    """Raise `InputError`, which says what to do, unless `load_detector` will find its files.

    Quick, so that a command calls it before any work. Inception's weights are downloaded here where they are nowhere yet.
    """
    if name == inception.NAME:
        inception.find(inception_path)
    elif name == efficientnet.NAME:
        efficientnet.find()
    else:
        raise InputError(f"no detector is called {name!r}; there are {', '.join(DETECTORS)}")


def load_detector(
    name: str,  # one of DETECTORS
    device: torch.device | str,  # where the network runs; features always come back to the CPU
    inception_path: str | Path | None = None,  # Inception's weights, where they are not in one of the usual places
    batch_size: int = 32,  # images at a time
) -> Detector:
    """The detector, ready to call. Raises `InputError` as `require_detector` does."""
    require_detector(name, inception_path)
    if name == inception.NAME:
        return inception.load(torch.device(device), inception_path, batch_size)
    return efficientnet.load(torch.device(device), batch_size)
