"""VGG's feature maps after any of its ReLUs, by the field's names. `VGG.forward` gives the first of each resolution only."""

from collections.abc import Sequence

import torch

from networks.style_transfer.vgg import VGG


def relu_maps(vgg: VGG, images: torch.Tensor, names: Sequence[str]) -> list[torch.Tensor]:
    """RGB [N, 3, H, W] in [-1, 1] -> maps [N, C, h, w] in the order of `names`, such as "relu3_2". `ValueError` for others."""
    found = {name: x for name, x in vgg.relus(images) if name in names}
    if missing := set(names) - set(found):
        raise ValueError(f"{vgg.name} up to conv4_1 has no {', '.join(sorted(missing))}")
    return [found[name] for name in names]
