"""Time and memory of a whole stylisation, AdaConv against AdaIN: `python -m scripts.eval_style --speed`."""

import functools
import statistics

import torch

from networks.style_transfer.network import PAPER_STYLE_SIDE, StyleTransfer
from networks.style_transfer.stylizer import Stylizer
from networks.style_transfer.vgg import VGG
from scripts.benchmarks.timing import in_turns, peak_bytes, ratio, timed
from scripts.output import markdown
from torch_utils.precision import AUTO, resolve_precision

TRANSFERS = ("adaconv", "adain")


def default_stylizers(config: dict, device: torch.device) -> dict[str, dict[str, Stylizer]]:
    """{number format: {transfer: stylizer}}: AdaConv and AdaIN of the same widths with random weights, as what is computed, and
    how long it takes, is the same. In float32, and in what `auto` chooses if that is another format."""
    networks = {}
    for transfer in TRANSFERS:
        torch.manual_seed(0)
        network = StyleTransfer(**config | dict(transfer=transfer)).eval().requires_grad_(False)
        encoder = VGG(network.encoder, network.encoder_padding)
        networks[transfer] = tuple(m.to(device, memory_format=torch.channels_last) for m in (network, encoder))
    precisions = dict.fromkeys(["fp32", resolve_precision(AUTO, device)[0]])
    return {
        p: {transfer: Stylizer(network, encoder, p) for transfer, (network, encoder) in networks.items()} for p in precisions
    }


def measure(stylizers: dict[str, dict[str, Stylizer]], side: int, seconds: float, device: torch.device) -> dict:
    """Encode content, encode style, decode; all take turns, so that a machine whose speed drifts slows all of them."""
    torch.manual_seed(0)
    ours = {(precision, name): one for precision, pair in stylizers.items() for name, one in pair.items()}
    style_side = side if all(s.network.adaptive for s in ours.values()) else PAPER_STYLE_SIDE
    content, style = (torch.rand(1, 3, n, n, device=device) * 2 - 1 for n in (side, style_side))
    jobs = {key: functools.partial(stylizer.stylize_like, content, style) for key, stylizer in ours.items()}
    memory = {key: peak_bytes(job, device) for key, job in jobs.items()}  # and warm-up
    times = in_turns({key: functools.partial(timed, job, device) for key, job in jobs.items()}, seconds, most=100)
    found = {
        precision: dict(
            seconds={name: statistics.median(times[precision, name]) for name in pair},
            bytes={name: memory[precision, name] for name in pair},
            time_ratio=ratio(*(times[precision, name] for name in TRANSFERS)),
            memory_ratio=memory[precision, "adaconv"] / memory[precision, "adain"],
        )
        for precision, pair in stylizers.items()
    }
    return dict(side=side, style_side=style_side, rounds=len(next(iter(times.values()))), precisions=found)


def table(found: dict) -> str:
    """Markdown"""
    rows = []
    for precision, of in found["precisions"].items():
        rows += [[name, precision, f"{took:.3f}", f"{of['bytes'][name] / 2**20:.0f}"] for name, took in of["seconds"].items()]
        rows.append(["adaconv : adain", precision, f"{of['time_ratio']:.3f}", f"{of['memory_ratio']:.3f}"])
    return markdown([f"at {found['side']}×{found['side']}", "format", "seconds", "peak memory, MiB"], rows)
