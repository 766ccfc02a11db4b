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
    and with identity 1 the kernel predictors' weights.
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
        rows = weight.flatten(1)
        weight.mul_(_by_output(size * rows.shape[1] ** 0.5 / _lengths(rows), weight))


@torch.no_grad()
def make_tangent(network: nn.Module) -> list[tuple[nn.Parameter, torch.Tensor]]:
    """Take from gradients what would change magnitudes: they become those of normalised weights, as EDM2 has them.

    -> the weights that have a gradient, and the length of each output's [outputs, 1].
    """
    held = []
    for weight, _ in spheres(network):
        if weight.grad is not None:
            rows, slopes = weight.flatten(1), weight.grad.flatten(1)
            lengths = _lengths(rows)
            along = (slopes * rows).sum(1, keepdim=True) / lengths.square()
            weight.grad.sub_((along * rows).view_as(weight))
            held.append((weight, lengths))
    return held


@torch.no_grad()
def keep_lengths(held: list[tuple[nn.Parameter, torch.Tensor]]) -> None:
    """After an update, back to what `make_tangent` has found."""
    for weight, lengths in held:
        weight.mul_(_by_output(lengths / _lengths(weight.flatten(1)), weight))


def _lengths(rows: torch.Tensor) -> torch.Tensor:
    """[N, …] -> [N, 1], above 0."""
    return torch.linalg.vector_norm(rows, dim=1, keepdim=True).clamp_min(1e-12)


def _by_output(factors: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return factors.view(-1, *[1] * (weight.ndim - 1))
