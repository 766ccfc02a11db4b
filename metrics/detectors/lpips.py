"""The network of perceptual path lengths: NVIDIA's TorchScript file with VGG16 and the weights of LPIPS, or a similar one.

Zhang, Isola, Efros, Shechtman and Wang, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", 2018. The
file returns vectors whose squared distance is the perceptual distance of two images.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from metrics.detectors import torchscript
from metrics.detectors.names import VGG16, detector_name
from torch_utils.files import InputError, first_line, sha256

URL = "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/vgg16.pt"
SHA256 = "b437eb095feaeb0b83eb3fa11200ebca4548ee39a07fb944a417ddc516cc07c3"  # of the field's own file


@dataclass(frozen=True, eq=False)
class Lpips:
    name: str  # VGG16 for the field's own file, and never for another
    hash: str  # sha256 of the file, in hex
    embed: Callable[[torch.Tensor], torch.Tensor]  # float32 [N, 3, H, W] in 0..255 on the device -> [N, D]


def find(path: Path | None, official: bool, trusted: bool = True) -> None:
    """`InputError` for what is no TorchScript file; with `official`, for any but NVIDIA's, the one that `ppl2_wend` is measured
    on; and for any but NVIDIA's that is not `trusted`. Its 553 MB are hashed only where something depends on that."""
    if path is None:
        raise InputError(f"perceptual path lengths need NVIDIA's vgg16.pt: fetch {URL} (553 MB) and pass --vgg FILE")
    torchscript.find(path, "--vgg ", f"; fetch {URL} (553 MB)")
    if trusted and not official:
        return
    digest = sha256(path)
    if official and digest != SHA256:
        raise InputError(
            f"--vgg {path} is not the file that ppl2_wend means (sha256 {digest}, wanted {SHA256}): fetch {URL}, "
            f"or ask for ppl50k-{network_name(path)}, whose numbers compare with nobody else's"
        )
    torchscript.check_trust(path, "--vgg", trusted or digest == SHA256)


def network_name(path: Path) -> str:
    """Name of the network in a `ppl`, which is measured on any file but NVIDIA's."""
    name = detector_name(path)
    return f"other_{name}" if name == VGG16 else name


def load(path: Path, device: torch.device) -> Lpips:
    """Raises `InputError` where the network fails on two grey images."""
    torchscript.find(path, "--vgg ")
    try:
        network, digest = torchscript.run_program(path, None, device)
        embed = lambda images: network(images, resize_images=False, return_lpips=True)
        with torch.inference_mode():
            shape = embed(torch.full((2, 3, 64, 64), 128.0, device=device)).shape
    except Exception as error:  # the file's own code runs here, and fails in its own ways
        raise InputError(
            f"--vgg {path} does not take (images, resize_images=False, return_lpips=True): {first_line(error)}"
        ) from None
    if len(shape) != 2 or shape[0] != 2:
        raise InputError(f"--vgg {path} gives {list(shape)} for two images, not vectors [2, D]")
    return Lpips(VGG16 if digest == SHA256 else network_name(path), digest, embed)
