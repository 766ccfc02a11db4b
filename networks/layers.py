"""Layers with an equalised learning rate (Karras et al. 2018, section 4.1).

Weights start with unit variance and are scaled at run time by 1/sqrt(fan_in), so that Adam moves all layers alike.
"""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F

from networks.conv import conv2d
from torch_utils.ops import in_float32


class Linear(nn.Module):
    """[N, in_features] -> [N, out_features]."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias_init: float = 0.0,
        lr_multiplier: float = 1.0,  # how fast this layer learns, compared with the others
        gain: float = 1.0,  # standard deviation of the output for a white input of unit variance
    ):
        super().__init__()
        if not 0 < lr_multiplier < math.inf:
            raise ValueError(f"lr_multiplier {lr_multiplier} must be above 0, and finite")
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / lr_multiplier)
        self.bias = nn.Parameter(torch.full([out_features], bias_init / lr_multiplier))
        self.weight_gain, self.bias_gain = gain * lr_multiplier / in_features**0.5, lr_multiplier

    @in_float32
    def forward(self, x: torch.Tensor, gain: float = 1) -> torch.Tensor:
        """`gain` multiplies the result."""
        return F.linear(
            x * (self.weight_gain * gain), self.weight, self.bias * (self.bias_gain * gain)
        )  # gain on x, the smaller one


class Conv2d(nn.Module):
    """[N, in_channels, H, W] -> [N, out_channels, H, W], zero padding; `bias=False` leaves the bias to the activation."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3, bias: bool = True, gain: float = 1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.weight_gain = gain / (in_channels * kernel_size**2) ** 0.5

    def scaled_weight(self, gain: float = 1) -> torch.Tensor:
        return self.weight * (self.weight_gain * gain)

    def forward(self, x: torch.Tensor, gain: float = 1) -> torch.Tensor:
        """`gain` multiplies the result."""
        bias = self.bias if self.bias is None or gain == 1 else self.bias * gain
        return conv2d(x, self.scaled_weight(gain), bias)
