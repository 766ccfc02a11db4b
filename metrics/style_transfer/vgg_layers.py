"""VGG's feature maps after any of its ReLUs, by the field's names. `VGG.forward` gives the first of each resolution only."""

from collections.abc import Sequence

import torch
import torch.nn as nn

from networks.style_transfer.vgg import VGG


def relu_maps(vgg: VGG, images: torch.Tensor, names: Sequence[str]) -> list[torch.Tensor]:
    """RGB [N, 3, H, W] in [-1, 1] -> maps [N, C, h, w] in the order of `names`, such as "relu3_2". `ValueError` for others."""
    x, level, convolution, found = ((images + 1) / 2 - vgg.shift) / vgg.scale, 1, 0, {}
    for layer in vgg.features:
        x = layer(x)
        if isinstance(layer, nn.MaxPool2d):
            level, convolution = level + 1, 0
        elif isinstance(layer, nn.ReLU):
            convolution += 1
            name = f"relu{level}_{convolution}"
            if name in names:
                found[name] = x
    if missing := set(names) - set(found):
        raise ValueError(f"found no {', '.join(sorted(missing))} in {vgg.name} up to relu{level}_{convolution}")
    return [found[name] for name in names]
