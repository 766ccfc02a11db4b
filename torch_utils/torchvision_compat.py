"""Importing torchvision where its compiled half does not fit torch's.

Beside a CPU torch, pip may install the torchvision that was compiled for CUDA. Its library then does not load, and its
Python code stops at operators that the library would have defined. Models and transforms need neither of them.
"""

import importlib
import sys
from types import ModuleType

import torch

MISSING = "operator torchvision::nms does not exist"
SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def import_torchvision() -> ModuleType:
    """`import torchvision`, with the two operators that it looks for declared (not implemented) where they are missing.

    Raises `ImportError` where torchvision is not installed, and whatever else the import raises.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if MISSING not in str(error):
            raise
    operators = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        operators.define(name + SIGNATURE)
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]  # half imported
    torchvision = importlib.import_module("torchvision")
    vars(torchvision)["declared_operators"] = operators  # they are gone when this object is
    return torchvision
