"""Weights that keep their magnitude: forced weight normalisation (EDM2: Karras et al. 2024, section 2.3).

Layers are scaled so that weights of unit variance keep the variance of what they act on (`networks.layers`). Adam makes
weights grow, and learn ever more slowly for it, each layer at a pace of its own. Here the weights of each output keep the
magnitude with which they begin: only their direction is learned. New weights begin with that of unit variance, so that a
learning rate means the same in all layers, networks and modulations; those of a network to start from keep theirs.
"""

from collections.abc import Iterator

import torch
from torch import nn

from networks.adaconv import KernelPredictor
from networks.discriminator import Discriminator
from networks.generator import Generator
from networks.layers import Conv2d, Linear


def spheres(network: nn.Module) -> Iterator[tuple[nn.Parameter, float]]:
    """Weights [outputs, …], and the root mean square that each output's have.

    Not of the last layers, whose scale is that of images or logits, and not of what begins at zero or as an identity: biases,
    and with identity 1 the kernel predictors' weights. Of a weight that reads one channel, as a discriminator's first of grey
    images, the sign alone is left, which is never learned; its bias is.
    """
    last: list[nn.Module] = list(network.synthesis.to_rgb) if isinstance(network, Generator) else []
    last += network.last_layers() if isinstance(network, Discriminator) else []
    for layer in network.modules():
        if isinstance(layer, KernelPredictor) and layer.identity < 1:
            for weight in (layer.spatial_weight, layer.pointwise_weight):
                if weight is not None:
                    yield weight, 1 / layer.lr_multiplier
        elif isinstance(layer, (Linear, Conv2d)) and layer not in last:
            yield layer.weight, 1 / layer.bias_gain if isinstance(layer, Linear) else 1.0


@torch.no_grad()
def normalise(network: nn.Module) -> None:
    """Bring new weights to their spheres exactly."""
    for weight, size in spheres(network):
        weight.mul_(size * weight[0].numel() ** 0.5 / _lengths(weight))


@torch.no_grad()
def make_tangent(network: nn.Module) -> list[tuple[nn.Parameter, torch.Tensor]]:
    """Take from gradients what would change magnitudes: they become those of normalised weights, as EDM2 has them.

    -> the weights that have a gradient, and the length of each output's [outputs, 1, …].
    """
    held = []
    for weight, _ in spheres(network):
        if weight.grad is not None:
            lengths = _lengths(weight)
            along = _sum(weight.grad * weight) / lengths.square()
            weight.grad.addcmul_(weight, along, value=-1)
            held.append((weight, lengths))
    return held


@torch.no_grad()
def keep_lengths(held: list[tuple[nn.Parameter, torch.Tensor]]) -> None:
    """After an update, back to what `make_tangent` has found."""
    for weight, lengths in held:
        weight.mul_(lengths / _lengths(weight))


def _lengths(weight: torch.Tensor) -> torch.Tensor:
    """[outputs, …] -> [outputs, 1, …], above 0. Not of flattened rows: in the layout channels_last these would be copies."""
    return torch.linalg.vector_norm(weight, dim=tuple(range(1, weight.ndim)), keepdim=True).clamp_min(1e-12)


def _sum(values: torch.Tensor) -> torch.Tensor:
    """[outputs, …] -> [outputs, 1, …]"""
    return values.sum(tuple(range(1, values.ndim)), keepdim=True)
