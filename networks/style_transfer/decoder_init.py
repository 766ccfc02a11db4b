"""A decoder that draws before it has learned anything: it starts as the encoder in reverse."""

import torch
import torch.nn as nn

from networks.style_transfer.network import StyleTransfer
from networks.style_transfer.vgg import CONVOLUTIONS, VGG, StyleFeatures

CONTRAST = 0.4  # standard deviation of the first images, in [-1, 1]


@torch.no_grad()
def init_from_encoder(network: StyleTransfer, encoder: VGG, contents: StyleFeatures) -> None:
    """Set the decoder's convolutions to the transposed ones of `encoder`, which is rescaled already (`VGG.rescale`).

    The transpose of a convolution is nearly its inverse, up to a scale, where its filters are nearly orthogonal: Zeiler and
    Fergus 2014 (section 2.1) draw with filters like VGG's that way. Scales are found layer by layer, so that each layer's
    output has unit variance (Mishkin and Matas 2016), and zero mean in every channel, when `contents` are drawn in their own
    styles. Where the decoder has a layer more than the encoder, that layer starts as the identity.
    """
    kernels = network.kernels(network.encode_style(contents))
    transposed = iter(reversed(encoder.convolutions))
    x = contents.relu4_1
    for level, own, count in zip(network.levels, kernels, reversed(CONVOLUTIONS[network.encoder])):
        x = level.modulate(x, own)
        for i, conv in enumerate(level.convs, count - len(level.convs)):
            if i < 0:
                nn.init.dirac_(conv.weight)
            else:
                conv.weight.copy_(next(transposed).weight.transpose(0, 1).flip(2, 3))
            conv.bias.zero_()
            y = level.conv(x, conv)
            mean = y.mean(dim=(0, 2, 3))
            y -= mean.view(1, -1, 1, 1)
            gain = (CONTRAST if level.last and conv is level.convs[-1] else 1) / y.std().clamp(min=1e-8)
            conv.weight.mul_(gain)
            conv.bias.sub_(gain * mean)
            x = level.activate(gain * y, conv)
