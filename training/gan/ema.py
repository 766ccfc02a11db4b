"""Moving averages of the generator: the exponential one, which is the network that users get, and power functions."""

import torch

from training.gan.ema_profile import kept


def update_ema(ema: torch.nn.Module, network: torch.nn.Module, batch: int, nimg: int, half_life: float, rampup: float) -> None:
    """Move `ema` towards `network` after `batch` images, `nimg` in all.

    `half_life` is in images, and is at most `rampup` of the images seen so far: early weights are forgotten quickly.
    """
    half_life = min(half_life, nimg * rampup)
    move(ema, network, 0.5 ** (batch / max(half_life, 1e-8)))


def update_power_average(average: torch.nn.Module, network: torch.nn.Module, batch: int, nimg: int, width: float) -> None:
    """Likewise an average whose profile is a power function of this width, see `training.gan.ema_profile`."""
    move(average, network, kept(width, nimg, batch))


@torch.no_grad()
def move(average: torch.nn.Module, network: torch.nn.Module, keep: float) -> None:
    """Parameters are averaged, with the part `keep` of the old ones; buffers are copied."""
    torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - keep)
    for old, buffer in zip(average.buffers(), network.buffers()):
        old.copy_(buffer)
