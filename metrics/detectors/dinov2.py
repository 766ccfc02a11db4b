"""DINOv2 as a detector: features that agree better with people than Inception's do, by way of torch.hub.

Stein et al., "Exposing flaws of generative model evaluation metrics and their unfair treatment of diffusion models", 2023.
The network's code and weights are Meta's (Oquab et al. 2023) and run as torch.hub fetches them; nothing of them is kept here.
"""

import functools
import hashlib

import torch

from metrics.detectors.base import Detector
from metrics.detectors.resize import resize
from torch_utils.files import InputError, first_line

NAME, DIM, SIZE = "dinov2_vitl14", 1024, 224
REPOSITORY = "facebookresearch/dinov2"
RESIZING = "antialiased bicubic to 224x224, not rounded"
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, which its training normalised by


@functools.lru_cache(maxsize=1)
def find() -> torch.nn.Module:
    """The network, fetched once (1.2 GB) into torch.hub's folder; `InputError` where that is not possible."""
    try:
        # After the first time this needs no connection: a hub folder that is there is used as it is.
        return torch.hub.load(REPOSITORY, NAME, trust_repo=True, verbose=False).eval().requires_grad_(False)
    except Exception as error:  # the repository's own code runs here, and fails in its own ways
        raise InputError(
            f"no {NAME}: torch.hub could not load it from github.com/{REPOSITORY} into {torch.hub.get_dir()} "
            f"({first_line(error)}). Load it once where there is a connection, or use --detector efficientnet_lite0"
        ) from None


def load(device: torch.device, batch_size: int = 32) -> Detector:
    """The network as a `Detector`: the class token of the ViT-L/14 after its last norm, 1024 numbers."""
    network = find().to(device)
    mean, deviation = (255 * torch.tensor(values, device=device).view(3, 1, 1) for values in (MEAN, DEVIATION))

    def compute(images: torch.Tensor) -> torch.Tensor:
        return network((resize(images, SIZE) - mean) / deviation)

    return Detector(NAME, DIM, weights_hash(network), RESIZING, device, compute, batch_size)


def weights_hash(network: torch.nn.Module) -> str:
    """sha256 over names and values: torch.hub does not say which file it has read."""
    total = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        total.update(name.encode() + tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
