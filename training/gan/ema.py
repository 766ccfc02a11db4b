"""The exponential moving average of the generator, which is the network that users get."""

import torch


@torch.no_grad()
def update_ema(ema: torch.nn.Module, network: torch.nn.Module, batch: int, nimg: int, half_life: float, rampup: float) -> None:
    """Move `ema` towards `network` after `batch` images, `nimg` in all.

    `half_life` is in images, and is at most `rampup` of the images seen so far: early weights are forgotten quickly.
    """
    half_life = min(half_life, nimg * rampup)
    keep = 0.5 ** (batch / max(half_life, 1e-8))
    torch._foreach_lerp_(list(ema.parameters()), list(network.parameters()), 1 - keep)
    for average, buffer in zip(ema.buffers(), network.buffers()):
        average.copy_(buffer)
