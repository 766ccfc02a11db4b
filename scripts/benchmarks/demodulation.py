"""Whether weight demodulation, the baseline, is at its best: `python -m scripts.bench demodulation`."""

import functools
import statistics

import click
import torch
import torch.nn.functional as F

from networks.modulation import Demodulation
from scripts.benchmarks.timing import in_turns, ratio, timed
from scripts.output import markdown, row
from torch_utils.cli import command
from torch_utils.platform import choose_device, keep_freed_memory

SHAPES = ((512, 8), (512, 16), (512, 32), (256, 64))  # channels and side of the map


class FusedDemodulation(Demodulation):
    """One grouped convolution with a modulated and demodulated weight per sample, as StyleGAN2 writes it."""

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        weight = self.conv.scaled_weight() * self.scale(w)[:, None, :, None, None]  # [N, out, in, k, k]
        weight = weight * (weight.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8).rsqrt()
        n, out, _, k, _ = weight.shape
        x = F.conv2d(x.reshape(1, -1, *x.shape[2:]), weight.flatten(0, 1), padding=k // 2, groups=n)
        return x.view(n, out, *x.shape[2:])


def measure(channels: int, side: int, device: torch.device, seconds: float) -> tuple[float, float]:
    """Seconds of one layer's forward + backward as scaled activations, and the ratio fused : scaled."""
    torch.manual_seed(0)
    x = torch.randn(8, channels, side, side, device=device).contiguous(memory_format=torch.channels_last).requires_grad_()
    w = torch.randn(8, 576, device=device)
    jobs = {}
    for form in (Demodulation, FusedDemodulation):
        layer = form(channels, channels, 576).to(device=device, memory_format=torch.channels_last)
        work = lambda layer=layer: layer(x, w).mean().backward()
        work()  # warms up
        jobs[form] = functools.partial(timed, work, device)
    times = in_turns(jobs, seconds)
    return statistics.median(times[Demodulation]), ratio(times[FusedDemodulation], times[Demodulation])


@command()
@click.option("--device", help="cpu, cuda, mps …  [default: the best there is]")
@click.option("--seconds", type=float, default=60, help="for the repetitions of all sizes")
@click.option("--tiny", is_flag=True, help="one small layer, to try the script")
def main(device: str | None, seconds: float, tiny: bool):
    """Compare the two forms of weight demodulation: one layer, batch 8, forward + backward."""
    chosen = choose_device(device)
    keep_freed_memory()
    shapes = SHAPES if not tiny else ((16, 8),)
    print(markdown(["channels", "map", "scaled activations, ms", "fused : scaled"]))
    for channels, side in shapes:
        took, fused = measure(channels, side, chosen, seconds / len(shapes))
        print(row([channels, f"{side}×{side}", f"{1000 * took:.1f}", f"{fused:.2f}"]), flush=True)
