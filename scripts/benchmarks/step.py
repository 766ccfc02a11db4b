"""Whole training steps beside another checkout's of this project: `python -m scripts.bench step --against PATH`.

The other may be an older commit. Both get the same options, each in a process of its own; a repetition is all steps from one
penalty to the next.
"""

import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import torch

from scripts.benchmarks.timing import PRECISION, formats_of, in_turns, machine, ratio
from scripts.benchmarks.turns import ROOT, Side, check_files
from scripts.output import markdown, write_report
from torch_utils.cli import command
from torch_utils.files import InputError
from torch_utils.platform import choose_device
from training.gan.presets import demo_preset, tiny_preset
from training.style_transfer.config import small_preset

OURS, THEIRS = "this", "other"


def gan(values: dict[str, Any]) -> dict[str, Any]:
    """Options of the side "training step", on images of 32×32."""
    return dict(values=tiny_preset(32) | dict(metrics=()) | values, resolution=32)


def small_style() -> dict[str, Any]:
    """Options of the side "style step"."""
    older = dict(style_loss="moments", identity=0.9)  # what older checkouts know, too
    return dict(values=small_preset() | older | dict(crop=128, style_crop=128))


C1024: dict[str, Any] = dict(channel_base=1024, d_channel_base=1024, channel_max=512, batch=16, z_dim=512, style_depth=64)
C1024 |= dict(reg_interval=8, gamma=1.0, glr=0.001, dlr=0.0016)
SMALLEST = dict(channel_base=128, d_channel_base=128, channel_max=8, z_dim=8, style_depth=2, batch=2, reg_interval=2)
PRESETS: dict[str, tuple[str, Callable[[], dict[str, Any]]]] = {
    "tiny": ("training step", lambda: gan({})),
    "demo": ("training step", lambda: gan(demo_preset(32) | dict(metrics=()))),
    "c1024": ("training step", lambda: gan(C1024)),
    "smallest": ("training step", lambda: gan(SMALLEST)),  # to try the script
    "style-small": ("style step", small_style),
}
FILES = ("train_style.py", "networks/adaconv.py", "torch_utils/stats.py")  # what a checkout of this project has


def measure(against: Path, preset: str, formats: tuple[str, ...], device: torch.device, seconds: float) -> list[dict]:
    """A record for each number format; what is of the other is None where it does not know the format."""
    side, options = PRESETS[preset][0], PRESETS[preset][1]()
    with (
        Side(side, ROOT, device, formats=list(formats), **options) as ours,
        Side(side, against, device, formats=list(formats), **options) as theirs,
    ):
        for what in (ours, theirs):
            if what.told["ignored"]:
                print(f"note: {what.checkout} has no option {', '.join(what.told['ignored'])}", file=sys.stderr)
            missing = [number_format for number_format in formats if number_format not in what.jobs]
            if missing:
                print(f"note: {what.checkout} does not take this step in {', '.join(missing)}", file=sys.stderr)
        jobs = {(f, name): s.jobs[f] for f in formats for name, s in ((OURS, ours), (THEIRS, theirs)) if f in s.jobs}
        if not any(name == OURS for _, name in jobs):
            raise InputError(f"--preset {preset} has no {', '.join(formats)} here")
        times = in_turns(jobs, seconds, warm_up=True)
        images = ours.told["images"]
    records, fp32 = [], times.get(("fp32", THEIRS))
    for number_format in [f for f in formats if (f, OURS) in times]:
        own, same = times[number_format, OURS], times.get((number_format, THEIRS))
        speeds = {name: images / statistics.median(found) if found else None for name, found in ((OURS, own), (THEIRS, same))}
        ratios = dict(speed_ratio=ratio(same, own) if same else None, speed_ratio_to_fp32=ratio(fp32, own) if fp32 else None)
        records.append(dict(format=number_format, images_per_second=speeds, **ratios, rounds=len(own)))
    return records


def table(results: list[dict]) -> str:
    """Markdown. Ratios are of speeds: above 1, this checkout is the faster one."""
    shown = lambda value, digits: "" if value is None else f"{value:.{digits}f}"
    rows = []
    for result in results:
        speeds = [shown(result["images_per_second"][name], 1) for name in (OURS, THEIRS)]
        rows.append([result["format"], *speeds, *(shown(result[key], 3) for key in ("speed_ratio", "speed_ratio_to_fp32"))])
    return markdown(["format", "this, img/s", "other, img/s", "speed, this : other", "speed, this : other in fp32"], rows)


@command()
@click.option("--against", required=True, type=click.Path(path_type=Path), help="another checkout of this project")
@click.option("--preset", type=click.Choice(list(PRESETS)), default="tiny", help="networks and recipe, the same for both")
@PRECISION
@click.option("--seconds", type=float, default=60, help="for the repetitions")
@click.option("--device", help="cpu, cuda …  [default: the best there is]")
@click.option("--out", type=click.Path(path_type=Path), default=Path("bench-step"), help="OUT.json and OUT.md are written")
def main(against: Path, preset: str, precision: str, seconds: float, device: str | None, out: Path):
    """Compare whole training steps with those of another checkout, say of an older commit."""
    check_files("--against", against, FILES, "this project")
    chosen = choose_device(device)
    out.parent.mkdir(parents=True, exist_ok=True)
    results = measure(against, preset, formats_of(precision, chosen), chosen, seconds)
    facts = dict(machine=machine(chosen), preset=preset)
    write_report(out, facts, results, table(results))
    print(table(results))
    print(f"{out}.json, {out}.md")
