"""The first layers of VGG (Simonyan and Zisserman 2015), frozen: the encoder in whose features content and style are compared.

Weights are torchvision's, from a file, from `pretrained/`, or fetched once. Nothing here needs torchvision itself.
"""

import sys
import urllib.error
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import safetensors.torch
import torch
import torch.nn as nn
import torch.nn.functional as F

from networks.style_transfer.moments import moments
from torch_utils.files import InputError, first_line
from torch_utils.ops import pad, to_double
from torch_utils.tensor_file import load_saved

CONVOLUTIONS = {"vgg16": (2, 2, 3, 1), "vgg19": (2, 2, 4, 1)}  # at each resolution, up to conv4_1
WIDTHS = (64, 128, 256, 512)
STRIDE = 8  # of relu4_1
URLS = {
    "vgg16": "https://download.pytorch.org/models/vgg16-397923af.pth",
    "vgg19": "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
}
MEGABYTES = {"vgg16": 553, "vgg19": 575}  # of these files, which have the layers after conv4_1, too
PRETRAINED = {"vgg16": Path(__file__).resolve().parents[2] / "pretrained" / "vgg16_to_conv4_1.safetensors"}  # in half precision
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class VGG(nn.Module):
    """RGB [N, 3, H, W] in [-1, 1] -> relu1_1 … relu4_1, with 64, 128, 256, 512 channels at 1, 1/2, 1/4, 1/8 of the size.

    Layers and their names are torchvision's, `features.0` …; the weights stay as they are. VGG was trained with zeros beyond
    its borders, which features show; reflected borders do not.
    """

    shift: torch.Tensor
    scale: torch.Tensor

    def __init__(self, name: str = "vgg19", padding: str = "zeros"):
        super().__init__()
        self.name, self.padding = name, padding
        layers: list[nn.Module] = []
        channels = 3
        for level, (width, count) in enumerate(zip(WIDTHS, CONVOLUTIONS[name])):
            layers += [nn.MaxPool2d(2)] if level else []
            for _ in range(count):
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
        self.features = nn.Sequential(*layers)
        self.register_buffer("shift", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)
        self.eval().requires_grad_(False)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        return [x for name, x in self.relus(images) if name.endswith("_1")]

    def relus(self, images: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
        """The map after every ReLU, and its name in the field: relu1_1, relu1_2, relu2_1 …"""
        x, level, count = ((images + 1) / 2 - self.shift) / self.scale, 1, 0
        for layer in self.features:
            if isinstance(layer, nn.Conv2d) and self.padding != "zeros":
                x = F.conv2d(pad(x, 1, self.padding), layer.weight, layer.bias)
            else:
                x = layer(x)
            if isinstance(layer, nn.MaxPool2d):
                level, count = level + 1, 0
            elif isinstance(layer, nn.ReLU):
                count += 1
                yield f"relu{level}_{count}", x

    @property
    def convolutions(self) -> list[nn.Conv2d]:
        return [layer for layer in self.features if isinstance(layer, nn.Conv2d)]

    @property
    def halo(self) -> int:
        """How many pixels around its own STRIDE × STRIDE a cell of relu4_1 depends on, at most; a multiple of STRIDE."""
        reach = sum(count * 2**level for level, count in enumerate(CONVOLUTIONS[self.name]))
        return -(-reach // STRIDE) * STRIDE

    def norms(self) -> torch.Tensor:
        """Norm of each convolution's weights: tells one set of weights from another, even if one was rounded."""
        return torch.stack([layer.weight.float().norm() for layer in self.convolutions])

    @torch.no_grad()
    def mean_activations(self, batches: Iterable[torch.Tensor]) -> torch.Tensor:
        """Mean of every channel after every ReLU, over images in [-1, 1] and positions: [all channels]."""
        total: torch.Tensor | int = 0
        weight = 0
        for images in batches:
            means = [x.mean(dim=(0, 2, 3)) for _, x in self.relus(images)]
            total, weight = total + to_double(torch.cat(means)) * len(images), weight + len(images)
        return (total / weight).float().to(self.shift.device)  # type: ignore[union-attr]  # a tensor by now

    def rescale(self, means: torch.Tensor) -> None:
        """Divide every channel by its mean activation (Gatys et al. 2016, section 2): what the network computes stays the same.

        Possible because ReLU and pooling commute with positive factors. Divisors are at least 1 % of the layer's average, for
        channels that are nearly always off.
        """
        before = torch.ones(3, device=means.device)
        for layer, mean in zip(self.convolutions, means.split([layer.out_channels for layer in self.convolutions])):
            mean = mean.clamp(min=0.01 * mean.mean().clamp(min=1e-8).item())
            layer.weight.data *= before.view(1, -1, 1, 1) / mean.view(-1, 1, 1, 1)
            layer.bias.data /= mean
            before = mean


class StyleFeatures(NamedTuple):
    """What a style's descriptor is made of."""

    relu4_1: torch.Tensor  # [N, 512, h, w]
    mean: torch.Tensor  # [N, 960], of every channel of relu1_1 … relu4_1 over its positions
    std: torch.Tensor  # [N, 960]


def style_features(maps: Sequence[torch.Tensor]) -> StyleFeatures:
    """Of relu1_1 … relu4_1, as VGG gives them. Statistics are in float32 or more."""
    mean, std = (torch.cat(values, dim=1) for values in zip(*(moments(features) for features in maps)))
    return StyleFeatures(maps[-1], mean, std)


def needs_download(name: str, path: Path | None = None) -> bool:
    """Whether `load_vgg` would fetch weights, which nobody has fetched before."""
    return not (path or _of_checkout(name) or _fetched(name).exists())


def load_vgg(name: str, path: Path | None = None, padding: str = "zeros") -> VGG:
    """With torchvision's ImageNet weights: of the file at `path`, else of the checkout's own, else fetched once.

    `InputError` where they cannot be read or fetched.
    """
    network = VGG(name, padding)
    path = path or _of_checkout(name)
    weights = _read(path) if path else _fetch(name)
    source = path or URLS[name]
    for key, own in network.state_dict().items():
        if key not in weights:
            raise InputError(f"{source}: found no {key}, wanted the keys of torchvision's {name}")
        if weights[key].shape != own.shape:
            shapes = f"{key} of shape {list(weights[key].shape)}, wanted {list(own.shape)} as {name} has"
            raise InputError(f"{source}: found {shapes}")
        if not weights[key].isfinite().all():
            raise InputError(f"{source}: {key} is not finite")
    network.load_state_dict({key: weights[key].float() for key in network.state_dict()})
    return network.to(memory_format=torch.channels_last)


def _of_checkout(name: str) -> Path | None:
    path = PRETRAINED.get(name)
    return path if path and path.is_file() else None


def _fetched(name: str) -> Path:
    """Where torch.hub keeps the file."""
    return Path(torch.hub.get_dir()) / "checkpoints" / URLS[name].rsplit("/", 1)[1]


def _read(path: Path) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise InputError(f"{path}: no such file with an encoder's weights")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of what is strange in a damaged file; an error follows
            if path.suffix == ".safetensors":
                values = safetensors.torch.load_file(path)
            else:
                values = load_saved(path)
        return {key: value for key, value in values.items() if isinstance(value, torch.Tensor)}
    except Exception as error:  # whatever a damaged file makes the readers say
        raise InputError(f"{path}: cannot be read as an encoder's weights ({first_line(error)[:200]})") from None


def _fetch(name: str) -> dict[str, torch.Tensor]:
    """From PyTorch's server, once: torch.hub keeps the file, and compares it with the hash in its name."""
    size = f"{MEGABYTES[name]} MB"
    if not _fetched(name).exists():
        print(
            f"note: fetching the weights of {name}, {size}, once; --encoder-weights FILE reads a copy instead", file=sys.stderr
        )
    try:
        return torch.hub.load_state_dict_from_url(URLS[name], map_location="cpu", check_hash=True, weights_only=True)
    except (urllib.error.URLError, OSError, RuntimeError) as error:
        raise InputError(
            f"the weights of {name} could not be fetched ({first_line(error)[:200]}); download {URLS[name]} ({size}) elsewhere "
            "and give the file with --encoder-weights"
        ) from None


def cover(images: torch.Tensor, least: int = STRIDE) -> torch.Tensor:
    """Grow [N, C, H, W] to multiples of STRIDE by repeating the last row and column, so that no pixel is lost in pooling.

    To `least` at least, itself a multiple of STRIDE: reflected borders need maps of a few cells.
    """
    height, width = (max(-side % STRIDE, least - side) for side in images.shape[2:])
    return F.pad(images, (0, width, 0, height), mode="replicate")
