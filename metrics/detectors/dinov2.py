"""DINOv2 as a detector: features that agree with human judgement better than Inception's, loaded by torch.hub.

Stein et al., "Exposing flaws of generative model evaluation metrics and their unfair treatment of diffusion models", 2023.
Code and weights are Meta's (Oquab et al. 2023), fetched by torch.hub; this repository holds none of them.
"""

import functools

import torch

from metrics.detectors.base import Detector
from metrics.detectors.names import DINOV2
from metrics.detectors.resize import resize
from torch_utils.files import InputError, first_line
from torch_utils.tensor_file import digest

DIM, SIZE = 1024, 224
REPOSITORY = "facebookresearch/dinov2"
COMMIT = "b8931f7bf91576930313be2c6d6af376033b35f0"  # its code runs here, so it is this code and no later one
RESIZING = "antialiased bicubic to 224x224, not rounded"
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, by which its training images were normalised


@functools.lru_cache(maxsize=1)
def find() -> torch.nn.Module:
    """The network, fetched once (1.2 GB) into torch.hub's folder; `InputError` where that is not possible."""
    try:
        # Needs a connection only the first time: torch.hub then reads its own folder.
        pinned = dict(trust_repo=True, skip_validation=True)  # which would look for a branch or a tag
        return torch.hub.load(f"{REPOSITORY}:{COMMIT}", DINOV2, **pinned, verbose=False).eval().requires_grad_(False)
    except Exception as error:  # the repository's own code runs here, and fails in its own ways
        raise InputError(
            f"no {DINOV2}: torch.hub could not load it from github.com/{REPOSITORY} into {torch.hub.get_dir()} "
            f"({first_line(error)}). Load it once where there is a connection"
        ) from None


def load(device: torch.device, batch_size: int = 32) -> Detector:
    """The network as a `Detector`: the class token of the ViT-L/14 after its last norm, 1024 numbers."""
    network = find().to(device)
    mean, deviation = (255 * torch.tensor(values, device=device).view(3, 1, 1) for values in (MEAN, DEVIATION))

    def compute(images: torch.Tensor) -> torch.Tensor:
        return network((resize(images, SIZE) - mean) / deviation)

    return Detector(DINOV2, DIM, weights_hash(network), RESIZING, device, compute, batch_size)


def weights_hash(network: torch.nn.Module) -> str:
    """sha256 over names and values: torch.hub does not say which file it read."""
    return digest(part for name, tensor in sorted(network.state_dict().items()) for part in (name.encode(), tensor))
