"""This project's generator beside NVIDIA's stylegan2-ada-pytorch: `python -m scripts.bench peers --stylegan2-ada PATH`.

Same widths, batch, latents and depth of the mapping network, each side in a process of its own. Theirs computes in float32, and
is there twice: as it is, and with freed memory kept in the process, as this project's commands do, which is faster on a CPU.
"""

import contextlib
import json
import statistics
from pathlib import Path
from typing import Any

import click
import torch

from scripts.benchmarks.timing import FORMATS, PRECISION_HELP, formats_of, in_turns, machine, ratio
from scripts.benchmarks.turns import ROOT, Side, check_files
from torch_utils.cli import command
from torch_utils.files import atomic_write, write_json
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
        sides = {}
        for name, keep_memory in THEIRS.items():
            side = Side("stylegan2-ada", checkout, device, keep_memory=keep_memory, formats=["fp32"], **options)
            sides[name] = stack.enter_context(side)
        for name in OURS:
            side = Side("generator", ROOT, device, modulation=name, formats=list(formats), **options)
            sides[name] = stack.enter_context(side)
        jobs = {}
        for work in WORK:
            for name, side in sides.items():
                for job in side.jobs:
                    number_format, of = job.split(" ")
                    if of == work:
                        side.jobs[job]()  # warms up
                        jobs[work, name, number_format] = side.jobs[job]
        times = in_turns(jobs, seconds)
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
    lines = [f"| work | generator | format | seconds | {' | '.join(f'time : {name}' for name in THEIRS)} |", "|" + " --- |" * 6]
    for result in results:
        cells = [result[key] for key in ("work", "side", "format")]
        cells += [f"{result['seconds']:.3f}", *(f"{result['ratio'][name]:.2f}" for name in THEIRS)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


@command()
@click.option("--stylegan2-ada", "checkout", required=True, type=click.Path(path_type=Path), help="a checkout of NVIDIA's")
@click.option("--resolution", type=click.IntRange(8, 1024), default=64, help="of the images, a power of two")
@click.option("--batch", type=click.IntRange(1), default=8)
@click.option("--precision", type=click.Choice([*FORMATS, "both"]), default="both", help=f"ours; {PRECISION_HELP}")
@click.option("--seconds", type=float, default=60, help="for the repetitions")
@click.option("--device", help="cpu, cuda …  [default: the best there is]")
@click.option("--out", type=click.Path(path_type=Path), default=Path("bench-peers"), help="OUT.json and OUT.md are written")
@click.option("--tiny", is_flag=True, help="small networks, to try the script")
def main(
    checkout: Path, resolution: int, batch: int, precision: str, seconds: float, device: str | None, out: Path, tiny: bool
):
    """Compare generators, forward and forward + backward, with NVIDIA's stylegan2-ada-pytorch."""
    if resolution & (resolution - 1):
        raise click.UsageError(f"--resolution {resolution}: wanted a power of two, theirs draws no other")
    check_files("--stylegan2-ada", checkout, ("training/networks.py",), "stylegan2-ada-pytorch")
    chosen = choose_device(device)
    out.parent.mkdir(parents=True, exist_ok=True)
    results = measure(checkout, formats_of(precision, chosen), resolution, batch, chosen, seconds, tiny)
    facts = dict(machine=machine(chosen), resolution=resolution, batch=batch, tiny=tiny)
    write_json(out.with_suffix(".json"), dict(**facts, results=results))
    with atomic_write(out.with_suffix(".md"), "w") as file:
        file.write(f"{json.dumps(facts)}\n\n{table(results)}\n")
    print(table(results))
    print(f"{out}.json, {out}.md")
