"""The predicted kernels of one level of the decoder, and what the map must look like after them."""

from collections.abc import Mapping
from typing import NamedTuple

import torch

from networks.adaconv import AdaptiveKernels
from networks.adaconv_fast import centre, compose

MOMENTS_EPS = 1e-3  # added to a variance of about 1 before it is made exact: channels in which there is nothing are left alone
MOMENTS = "moments"  # each channel's exact mean and standard deviation
PARTS = (*AdaptiveKernels._fields, MOMENTS)  # of a style that can come from different styles


class StyleKernels(NamedTuple):
    """The kernels of one level of the decoder (`AdaptiveKernels`), and what the map must look like afterwards."""

    spatial: torch.Tensor  # [N, C_out, C_in / groups, k, k]
    pointwise: torch.Tensor  # [N, C_out, C_out / groups]
    bias: torch.Tensor  # [N, C_out]
    std: torch.Tensor | None = None  # [N, C_out], each channel's, exactly; None: as it comes
    mean: torch.Tensor | None = None  # likewise

    def composed(self) -> torch.Tensor:
        """As `AdaptiveKernels` has it."""
        return AdaptiveKernels(*self[:3]).composed()

    def upon(self, scale: torch.Tensor, mean: torch.Tensor) -> "StyleKernels":
        """These kernels, times 1/`scale` and plus `mean` [N, C_out, 1, 1]."""
        std = 1 / scale[:, :, :, 0]
        return self._replace(pointwise=self.pointwise * std, bias=self.bias * std[:, :, 0] + mean[:, :, 0, 0])


def with_moments(x: torch.Tensor, kernels: StyleKernels) -> torch.Tensor:
    """x [N, C, H, W], each channel scaled and shifted to the mean and the standard deviation that `kernels` ask for, if any.

    AdaIN's equation, after the predicted convolution in place of before it: they say what AdaIN cannot, and no less than AdaIN.
    """
    if kernels.std is None or kernels.mean is None:
        return x
    centred, scale, _ = centre(x, MOMENTS_EPS)
    shift = kernels.mean[:, :, None, None].to(x.dtype)
    return torch.addcmul(shift, centred, (scale * kernels.std[:, :, None, None]).to(x.dtype))


def with_parts(kernels: StyleKernels, others: Mapping[str, StyleKernels]) -> StyleKernels:
    """One style's kernels, but for the parts that others have: {one of PARTS: the style that it comes from}."""
    for part, other in others.items():
        fields = ("std", "mean") if part == MOMENTS else (part,)
        kernels = kernels._replace(**{field: getattr(other, field) for field in fields})
    return kernels


def with_statistics(structure: StyleKernels, statistics: StyleKernels) -> StyleKernels:
    """One style's kernels, scaled and shifted so that each channel gets the mean and the standard deviation of another style's.

    Exactly, where these are exact. Elsewhere, on a white map, the standard deviation of an output channel is the norm of its
    composed kernel, and its mean is the bias.
    """
    own, other = (compose(k.spatial, k.pointwise).flatten(1, 2).norm(dim=2, keepdim=True) for k in (structure, statistics))
    return statistics._replace(spatial=structure.spatial, pointwise=structure.pointwise * other / own.clamp(min=1e-8))
