"""Style transfer with random weights: real sizes where the paper fixes them, tiny ones elsewhere."""

import torch

from networks.style_transfer.network import StyleTransfer
from networks.style_transfer.stylizer import Stylizer
from networks.style_transfer.vgg import VGG


def random_vgg(name: str = "vgg16", seed: int = 0) -> VGG:
    torch.manual_seed(seed)
    vgg = VGG(name)
    for conv in vgg.convolutions:
        torch.nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        torch.nn.init.normal_(conv.bias, std=0.1)
    return vgg


def random_network(transfer: str = "adaconv", vgg: VGG | None = None, seed: int = 1, **options) -> StyleTransfer:
    """Small, and measured against `vgg`, as a trained one is."""
    vgg = vgg or random_vgg()
    torch.manual_seed(seed)
    network = StyleTransfer(transfer, vgg.name, **dict(style_depth=4, style_width=8, identity=0.5) | options)
    for level in network.levels:
        if level.noise is not None:
            level.noise.data.normal_(std=0.3)
    for conv in [conv for level in network.levels for conv in level.convs]:
        conv.bias.data.normal_(std=0.1)
    if transfer != "adain":
        for predictor in network.predictors:
            predictor.bias_bias.data.normal_(std=0.3)
            predictor.bias_weight.data.normal_(std=0.3)
    network.levels[-1].convs[-1].weight.data *= 0.3 if transfer != "adain" else 0.1  # about [-1, 1]
    network.encoder_means.copy_(vgg.mean_activations([torch.rand(2, 3, 64, 64) * 2 - 1]))
    network.encoder_norms.copy_(vgg.norms())
    return network.eval().requires_grad_(False)


def random_stylizer(transfer: str = "adaconv", encoder: str = "vgg16", **options) -> Stylizer:
    network, vgg = random_network(transfer, random_vgg(encoder), **options), random_vgg(encoder)
    vgg.padding = network.encoder_padding
    return Stylizer(network, vgg)


def smooth(height: int, width: int, seed: int = 0, n: int = 1) -> torch.Tensor:
    """Random images [n, 3, H, W] in [-1, 1] with large and small shapes."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, 3, 5, 5, generator=generator) * 1.6 - 0.8
    image = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    return (image + torch.randn(n, 3, height, width, generator=generator) * 0.1).clamp(-1, 1)
