"""This project's generator beside NVIDIA's stylegan2-ada-pytorch: `python -m scripts.bench peers --stylegan2-ada PATH`.

Same widths, batch, latents and depth of the mapping network, each side in a process of its own. Theirs computes in float32, and
is there twice: as it is, and with freed memory kept in the process, as this project's commands do, which is faster on a CPU.
"""

import contextlib
import statistics
from pathlib import Path
from typing import Any

import click
import torch

from scripts.benchmarks.timing import PRECISION, formats_of, in_turns, machine, ratio
from scripts.benchmarks.turns import ROOT, Side, check_files
from scripts.output import markdown, write_report
from torch_utils.cli import command
from torch_utils.platform import choose_device

OURS = ("adaconv", "demod")
THEIRS = {"stylegan2-ada": False, "stylegan2-ada, memory kept": True}
WORK = ("forward", "forward+backward")
WIDTHS = dict(channel_base=16384, channel_max=512, z_dim=512)
TINY = dict(channel_base=512, channel_max=32, z_dim=32, style_depth=4)


def measure(
    checkout: Path, formats: tuple[str, ...], resolution: int, batch: int, device: torch.device, seconds: float, tiny: bool
) -> list[dict]:
    """Records of work, side and format, with seconds and ratios to both forms of theirs."""
    options: dict[str, Any] = dict(resolution=resolution, batch=batch, widths=TINY if tiny else WIDTHS)
    with contextlib.ExitStack() as stack:
        found = {}
        for name, keep_memory in THEIRS.items():
            side = Side("stylegan2-ada", checkout, device, keep_memory=keep_memory, formats=["fp32"], **options)
            found[name] = stack.enter_context(side).jobs
        for name in OURS:
            side = Side("generator", ROOT, device, modulation=name, formats=list(formats), **options)
            found[name] = stack.enter_context(side).jobs
        keys = [(work, name, f) for work in WORK for name in found for f in (("fp32",) if name in THEIRS else formats)]
        jobs = {(work, name, f): found[name][f"{f} {work}"] for work, name, f in keys}
        times = in_turns(jobs, seconds, warm_up=True)
    return [
        dict(
            work=work,
            side=name,
            format=number_format,
            seconds=statistics.median(found),
            ratio={theirs: ratio(found, times[work, theirs, "fp32"]) for theirs in THEIRS},
            rounds=len(found),
        )
        for (work, name, number_format), found in times.items()
    ]


def table(results: list[dict]) -> str:
    """Markdown."""
    rows = [
        [r["work"], r["side"], r["format"], f"{r['seconds']:.3f}", *(f"{r['ratio'][name]:.2f}" for name in THEIRS)]
        for r in results
    ]
    return markdown(["work", "generator", "format", "seconds", *(f"time : {name}" for name in THEIRS)], rows)


@command()
@click.option("--stylegan2-ada", "checkout", required=True, type=click.Path(path_type=Path), help="a checkout of NVIDIA's")
@click.option("--resolution", type=click.IntRange(8, 1024), default=64, help="of the images, a power of two")
@click.option("--batch", type=click.IntRange(1), default=8)
@PRECISION
@click.option("--seconds", type=float, default=60, help="for the repetitions")
@click.option("--device", help="cpu, cuda …  [default: the best there is]")
@click.option("--out", type=click.Path(path_type=Path), default=Path("bench-peers"), help="OUT.json and OUT.md are written")
@click.option("--tiny", is_flag=True, help="small networks, to try the script")
def main(checkout, resolution, batch, precision, seconds, device, out, tiny):
    """Compare generators, forward and forward + backward, with NVIDIA's stylegan2-ada-pytorch."""
    if resolution & (resolution - 1):
        raise click.UsageError(f"--resolution {resolution}: wanted a power of two, theirs draws no other")
    check_files("--stylegan2-ada", checkout, ("training/networks.py",), "stylegan2-ada-pytorch")
    chosen = choose_device(device)
    out.parent.mkdir(parents=True, exist_ok=True)
    results = measure(checkout, formats_of(precision, chosen), resolution, batch, chosen, seconds, tiny)
    facts = dict(machine=machine(chosen), resolution=resolution, batch=batch, tiny=tiny)
    write_report(out, facts, results, table(results))
    print(table(results))
    print(f"{out}.json, {out}.md")
