"""What more GPUs would make of a run, from a step of one: `python -m scripts.bench scale --cfg ffhq256 --resolution 256`."""

import dataclasses
import os
from pathlib import Path

import click
import torch

from scripts.benchmarks.scale_measure import alone, parameters, together
from scripts.benchmarks.scale_memory import memory_table
from scripts.benchmarks.scale_model import BYTES, Costs, Link, rows
from scripts.benchmarks.timing import machine
from scripts.output import markdown, write_report
from torch_utils.cli import command
from torch_utils.files import InputError
from torch_utils.platform import choose_device, keep_freed_memory
from torch_utils.precision import AUTO, prepare, resolve_precision
from training.gan.config import TrainingConfig, resolve
from training.gan.presets import PRESETS

WORLDS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)
LEAST = 4  # images on a process: a group of the minibatch standard deviation


def counts_of(text: str) -> list[int]:
    """`1,2,4` -> [1, 2, 4]"""
    parts = text.split(",")
    if not all(part.strip().isdecimal() and 0 < int(part) <= 100_000 for part in parts):
        raise click.BadParameter(f"{text!r} does not read as numbers of processes; write 1,2,4")
    return sorted({int(part) for part in parts})


def table(costs: Costs, worlds: list[int], batch: int, kimg: float, price: float | None) -> str:
    """Markdown: a row for each number of processes, with the whole run's hours and price."""
    heads = ["GPUs", "images a step", "s/kimg", "times as fast", "efficiency", "sending", "hours", "GPU hours"]
    lines = []
    for row in rows(costs, worlds, batch, min(LEAST, batch)):
        hours = row.sec_per_kimg * kimg / 3600
        line = [
            row.world,
            row.batch,
            f"{row.sec_per_kimg:.3g}",
            f"{row.speed:.1f}",
            f"{row.efficiency:.0%}",
            f"{row.talking:.0%}",
        ]
        line += [f"{hours:.3g}", f"{hours * row.world:.3g}"]
        lines.append(line + ([f"{hours * row.world * price:.3g}"] if price is not None else []))
    return markdown(heads + ["price"] * (price is not None), lines)


def measured_table(
    config, side: int, worlds: list[int], device: torch.device, limit: float, slow: Link | None
) -> tuple[str, list]:
    """Markdown and records: steps without messages, with them, and what the model adds for them."""
    lines, records = [], []
    for world in [world for world in worlds if world > 1]:
        found = together(config, side, world, device, limit, slow)
        own = Link(found["bandwidth"], found["latency"])
        costs = Costs(found["silent"], 0, parameters(config, side), own, own, per_machine=world)
        predicted = costs.step(world, 0)
        if slow:
            predicted += dataclasses.replace(costs, inside=slow, between=slow).messages(world)
        records.append(dict(world=world, predicted=predicted, **found))
        cells = [f"{1000 * seconds:.1f}" for seconds in (found["silent"], found["talking"], predicted)]
        lines.append([world, found["images"], *cells, f"{predicted / found['talking']:.2f}", f"{own.bandwidth / 1e9:.3g}"])
    heads = ["processes", "images on each", "silent, ms", "sending, ms", "model, ms", "model : measured", "GB/s"]
    return markdown(heads, lines), records


@command()
@click.option("--cfg", type=click.Choice(sorted(PRESETS)), default="small", show_default=True, help="preset of train.py")
@click.option("--resolution", type=click.IntRange(8, 1024), default=32, show_default=True, help="side of the images, in pixels")
@click.option("--batch", type=click.IntRange(1, 1 << 16), help="images of a step  [default: the preset's]")
@click.option("--kimg", type=click.FloatRange(0, 1e7, min_open=True), help="length of the run  [default: the preset's]")
@click.option(
    "--gpus", "worlds", type=counts_of, default=",".join(map(str, WORLDS)), metavar="N,N,…", help="numbers of processes"
)
@click.option(
    "--sec-per-kimg", type=click.FloatRange(0, min_open=True), help="of one process, from a run  [default: measured here]"
)
@click.option("--per-machine", type=click.IntRange(1, 1024), default=8, show_default=True, help="processes")
@click.option(
    "--inside", type=click.FloatRange(0, min_open=True), default=150, show_default=True, help="link in a machine, GB/s"
)
@click.option(
    "--between", type=click.FloatRange(0, min_open=True), default=12.5, show_default=True, help="link of machines, GB/s"
)
@click.option("--latency", type=click.FloatRange(0), default=20, show_default=True, help="of a message, in microseconds")
@click.option("--price", type=click.FloatRange(0), help="of a GPU for an hour, in any currency")
@click.option("--memory", is_flag=True, help="also say what a process holds in memory, and with networks 2 to 8 times as wide")
@click.option("--measure", is_flag=True, help="also run these processes here, and hold the model against them")
@click.option("--slow", type=click.FloatRange(0, min_open=True), help="with --measure: make links this slow, GB/s")
@click.option(
    "--seconds", type=click.FloatRange(0, 3600, min_open=True), default=20, show_default=True, help="for each measurement"
)
@click.option("--device", help="cpu, cuda …  [default: the best there is]")
@click.option("--out", type=click.Path(path_type=Path), default=Path("bench-scale"), help="OUT.json and OUT.md are written")
def main(
    cfg,
    resolution,
    batch,
    kimg,
    worlds,
    sec_per_kimg,
    per_machine,
    inside,
    between,
    latency,
    price,
    memory,
    measure,
    slow,
    seconds,
    device,
    out,
):
    """Say what 1 to 1,000 GPUs would make of a run: seconds, share of sending, GPU hours and price.

    The batch is shared out as long as each GPU has 4 images, and grows from there on: then learning rates are to be chosen
    anew. Nothing is said of how well a larger batch learns.

    \b
    Examples:
      python -m scripts.bench scale --cfg ffhq256 --resolution 256 --sec-per-kimg 40 --price 2
      python -m scripts.bench scale --cfg tiny --gpus 1,2,4 --measure --slow 0.1 --device cpu
    """
    if slow and not measure:
        raise InputError("--slow: has no say without --measure")
    chosen = choose_device(device)
    keep_freed_memory()
    given = {"batch": batch, "kimg": kimg, "precision": resolve_precision(AUTO, chosen)[0]}
    config = TrainingConfig(**resolve(cfg, resolution, given) | dict(data="", metrics=()))
    prepare(config.precision)
    sizes = parameters(config, resolution)
    if sec_per_kimg:
        fixed, per_image = 0.0, sec_per_kimg / 1000
    else:
        fixed, per_image = alone(config, resolution, config.batch, chosen, seconds)
    here, there = (Link(speed * 1e9, latency * 1e-6) for speed in (inside, between))
    costs = Costs(fixed, per_image, sizes, here, there, per_machine)
    texts = [
        f"{sizes[0]:,} and {sizes[1]:,} parameters: {BYTES * sum(sizes) / 1e6:.1f} MB of gradients a step. "
        f"A step of one process: {1000 * fixed:.3g} ms and {1000 * per_image:.3g} ms an image.",
        table(costs, worlds, config.batch, config.kimg, price),
    ]
    if memory:
        texts.append(memory_table(config, resolution, min(LEAST, config.batch)))
    records = []
    if measure:
        if chosen.type == "cpu" and max(worlds) > 4 * (os.cpu_count() or 1):
            raise InputError(f"--measure: --gpus {max(worlds)} are too many for {os.cpu_count()} cores")
        text, records = measured_table(config, resolution, worlds, chosen, seconds, Link(slow * 1e9) if slow else None)
        texts.append(text)
    text = "\n\n".join(texts)
    print(text)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_report(out, dict(machine=machine(chosen), cfg=cfg, resolution=resolution), records, text)
    print(f"{out}.json, {out}.md")
