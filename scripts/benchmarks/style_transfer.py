"""Time and memory of a whole stylisation, AdaConv against AdaIN: `python -m scripts.eval_style --speed`."""

import functools
import statistics
import time

import torch

from networks.style_transfer.network import PAPER_STYLE_SIDE, StyleTransfer
from networks.style_transfer.stylizer import Stylizer
from networks.style_transfer.vgg import VGG
from scripts.benchmarks.timing import peak_bytes, timed


def whole(stylizer: Stylizer, content: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
    return stylizer.stylize(content, stylizer.network.kernels(stylizer.encode_style(style)))


def default_stylizers(config: dict, device: torch.device) -> dict[str, Stylizer]:
    """AdaConv and AdaIN of the same widths with random weights: what is computed, and how long it takes, is the same."""
    found = {}
    for transfer in ("adaconv", "adain"):
        torch.manual_seed(0)
        network = StyleTransfer(**config | dict(transfer=transfer)).eval().requires_grad_(False)
        network, encoder = (m.to(device, memory_format=torch.channels_last) for m in (network, VGG(network.encoder)))
        found[transfer] = Stylizer(network, encoder)
    return found


def measure(stylizers: dict[str, Stylizer], side: int, seconds: float, device: torch.device) -> dict:
    """Encode content, encode style, decode; the two take turns, so that a machine whose speed drifts slows both."""
    torch.manual_seed(0)
    style_side = side if all(s.network.adaptive for s in stylizers.values()) else PAPER_STYLE_SIDE
    content, style = (torch.rand(1, 3, n, n, device=device) * 2 - 1 for n in (side, style_side))
    jobs = {name: functools.partial(whole, stylizer, content, style) for name, stylizer in stylizers.items()}
    memory = {name: peak_bytes(job, device) for name, job in jobs.items()}  # and warm-up
    times, began = {name: [] for name in jobs}, time.monotonic()
    while len(times["adain"]) < 3 or (time.monotonic() - began < seconds and len(times["adain"]) < 100):
        for name in sorted(jobs, reverse=len(times["adain"]) % 2 == 1):
            times[name].append(timed(jobs[name], device))
    ratios = [a / b for a, b in zip(times["adaconv"], times["adain"])]
    return dict(
        side=side,
        style_side=style_side,
        rounds=len(ratios),
        seconds={name: statistics.median(found) for name, found in times.items()},
        bytes=memory,
        time_ratio=statistics.median(ratios),
        memory_ratio=memory["adaconv"] / memory["adain"],
    )


def table(found: dict) -> str:
    """Markdown"""
    lines = [f"| at {found['side']}×{found['side']} | seconds | peak memory, MiB |", "| --- | --- | --- |"]
    for name in found["seconds"]:
        lines.append(f"| {name} | {found['seconds'][name]:.3f} | {found['bytes'][name] / 2**20:.0f} |")
    lines.append(f"| adaconv : adain | {found['time_ratio']:.3f} | {found['memory_ratio']:.3f} |")
    return "\n".join(lines)
