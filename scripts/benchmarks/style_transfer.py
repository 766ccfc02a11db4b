"""Time and memory of a whole stylisation, AdaConv against AdaIN: `python -m scripts.eval_style --speed`."""

import functools
import statistics

import torch

from networks.style_transfer.network import PAPER_STYLE_SIDE, StyleTransfer
from networks.style_transfer.stylizer import Stylizer
from networks.style_transfer.vgg import VGG
from scripts.benchmarks.timing import in_turns, peak_bytes, ratio, timed
from scripts.output import markdown


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
    jobs = {name: functools.partial(stylizer.stylize_like, content, style) for name, stylizer in stylizers.items()}
    memory = {name: peak_bytes(job, device) for name, job in jobs.items()}  # and warm-up
    times = in_turns({name: functools.partial(timed, job, device) for name, job in jobs.items()}, seconds, most=100)
    return dict(
        side=side,
        style_side=style_side,
        rounds=len(times["adain"]),
        seconds={name: statistics.median(found) for name, found in times.items()},
        bytes=memory,
        time_ratio=ratio(times["adaconv"], times["adain"]),
        memory_ratio=memory["adaconv"] / memory["adain"],
    )


def table(found: dict) -> str:
    """Markdown"""
    rows = [[name, f"{took:.3f}", f"{found['bytes'][name] / 2**20:.0f}"] for name, took in found["seconds"].items()]
    rows.append(["adaconv : adain", f"{found['time_ratio']:.3f}", f"{found['memory_ratio']:.3f}"])
    return markdown([f"at {found['side']}×{found['side']}", "seconds", "peak memory, MiB"], rows)
