"""Time and memory of the modulations, side by side: `python -m scripts.bench modulation`.

Every number is a ratio within one run: the variants take turns, each in every number format. One factor moves at a time around
a centre.
"""

import copy
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from networks.adaconv import AdaptiveKernels, adaconv_plain
from networks.modulation import AdaConv
from scripts.benchmarks import timing
from scripts.benchmarks.sides import step_of
from scripts.benchmarks.timing import allow_tf32, autocast, in_turns, peak_bytes, ratio, timed
from scripts.output import markdown, save_figure, write_report
from torch_utils.cli import command
from torch_utils.ops import upsample2x
from torch_utils.platform import choose_device, keep_freed_memory
from training.gan.config import TrainingConfig
from training.gan.presets import auto_preset
from training.gan.state import TrainingState

VARIANTS = ("demod", "adain", "adaconv", "adaconv-loop")
BASELINE = "demod"
WORK = ("modulation alone", "forward", "forward+backward", "training step")  # the first: last layer, no learned convolution
STEPS = (*WORK[:-1], "plain step", "penalised step")  # what is timed: a step in training is either, weighted as they come


@dataclass(frozen=True)
class Case:
    """One point of the table."""

    resolution: int = 64
    batch: int = 8
    per_group: int | None = None  # channels per group of AdaConv; None: the paper's schedule


SWEEPS = {
    "headline": [Case(resolution=64), Case(resolution=128)],
    "resolution": [Case(resolution=r) for r in (32, 64, 128, 256)],
    "batch": [Case(batch=b) for b in (1, 2, 4, 8, 16, 32)],
    "channels per group": [Case(per_group=c) for c in (1, 2, 4, 8)],
}


class LoopedAdaConv(AdaConv):
    """One sample at a time and step by step, as public code for the style-transfer half does it."""

    def forward(self, x: torch.Tensor, w: torch.Tensor, **parts: torch.Tensor) -> torch.Tensor:
        kernels = self.kernels(w, **parts)
        x = torch.cat([adaconv_plain(x[i : i + 1], *AdaptiveKernels(*(t[i : i + 1] for t in kernels))) for i in range(len(x))])
        return self.conv(upsample2x(x) if self.up else x)


def build(variant: str, case: Case, device: torch.device, tiny: bool) -> tuple[TrainingConfig, TrainingState]:
    """Networks of the `auto` preset (or small ones, to try the script), with everything but the modulation equal."""
    values = auto_preset(case.resolution) | dict(batch=case.batch, metrics=())
    if tiny:
        values |= dict(channel_base=512, channel_max=32, z_dim=32, style_depth=4)
    modulation = variant.removesuffix("-loop")
    options = {"per_group": case.per_group} if modulation == "adaconv" and case.per_group else None
    config = TrainingConfig(data="", modulation=modulation, modulation_options=options, **values)
    state = TrainingState(config, case.resolution, 3, 0, device)
    if variant.endswith("-loop"):
        for layer in state.G.synthesis.layers:
            layer.modulation.__class__ = LoopedAdaConv
    return config, state


def work_of(
    variant: str, case: Case, formats: tuple[str, ...], device: torch.device, tiny: bool
) -> dict[tuple[str, str], Callable[[], None]]:
    """(number format, name) -> one repetition. One set of networks serves all formats: weights are float32 in each."""
    config, state = build(variant, case, device, tiny)
    G = state.G
    z = torch.randn(case.batch, G.z_dim, device=device)
    real = torch.randn(case.batch, 3, case.resolution, case.resolution, device=device)
    real = real.contiguous(memory_format=torch.channels_last)
    last: Any = G.synthesis.layers[-1]
    alone = copy.deepcopy(last.modulation)
    alone.conv.forward = lambda x: x
    map_shape = (case.batch, len(last.bias), case.resolution, case.resolution)
    w = torch.randn(case.batch, G.w_dim, device=device)

    def works_in(number_format: str) -> dict[str, Callable[[], None]]:
        step = step_of(replace(config, precision=number_format), state, real)
        x = torch.randn(map_shape, device=device, dtype=torch.bfloat16 if number_format == "bf16" else torch.float32)
        x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
        gradients = {dtype: x.detach().to(dtype) for dtype in (torch.float32, torch.bfloat16)}

        def modulate():
            alone.zero_grad(set_to_none=True)
            allow_tf32(number_format)
            with autocast(number_format, device):
                y = alone(x, w)
            y.backward(gradients[y.dtype])
            x.grad = None

        def forward():
            allow_tf32(number_format)
            with torch.no_grad(), autocast(number_format, device):
                G(z)

        def forward_backward():
            G.zero_grad(set_to_none=True)
            allow_tf32(number_format)
            with autocast(number_format, device):
                images = G(z)
            images.float().square().mean().backward()

        works = {"modulation alone": modulate, "forward": forward, "forward+backward": forward_backward}
        if not variant.endswith("-loop"):  # most of a step is the discriminator's, which is the same
            works |= {"plain step": lambda: step(1), "penalised step": lambda: step(0)}
        return works

    return {(number_format, name): work for number_format in formats for name, work in works_in(number_format).items()}


def measure(
    case: Case, variants: tuple[str, ...], formats: tuple[str, ...], device: torch.device, seconds: float, tiny: bool
) -> dict[str, dict[str, dict[str, dict]]]:
    """format -> variant -> work -> seconds, bytes, and ratios to every other variant in this format and to float32."""
    jobs, memory = {}, {}
    for variant in variants:
        for (number_format, name), function in work_of(variant, case, formats, device, tiny).items():
            memory[number_format, variant, name] = peak_bytes(function, device)  # and warm-up
            jobs[number_format, variant, name] = lambda function=function: timed(function, device)
    order = sorted(jobs, key=lambda job: STEPS.index(job[2]))  # the same work, one after the other
    times = in_turns({job: jobs[job] for job in order}, seconds)

    interval = auto_preset(case.resolution).get("reg_interval", TrainingConfig.reg_interval)
    for job in [job for job in times if job[2] == "plain step"]:
        plain, penalised, whole = ((*job[:2], name) for name in ("plain step", "penalised step", "training step"))
        times[whole] = [(p + (interval - 1) * q) / interval for p, q in zip(times[penalised], times[plain])]
        memory[whole] = max(memory[penalised], memory[plain])

    def summary(number_format: str, variant: str, name: str) -> dict:
        own, others = (number_format, variant, name), [v for v in variants if (number_format, v, name) in times]
        values = dict(
            seconds=statistics.median(times[own]),
            bytes=memory[own],
            time_ratio={v: ratio(times[own], times[number_format, v, name]) for v in others},
            memory_ratio={v: memory[own] / max(memory[number_format, v, name], 1) for v in others},
            rounds=len(times[own]),
        )
        if ("fp32", variant, name) in times:
            values["time_to_fp32"] = ratio(times[own], times["fp32", variant, name])
        return values

    return {f: {v: {name: summary(f, v, name) for name in WORK if (f, v, name) in times} for v in variants} for f in formats}


def growth(points: list[tuple[float, float]]) -> float:
    """The exponent p of seconds ∝ x^p that fits best."""
    x, y = np.log(np.array(points)).T
    return float(np.polyfit(x, y, 1)[0])


COLUMNS = [("adaconv", "demod"), ("adain", "demod"), ("adaconv", "adain"), ("adaconv", "adaconv-loop")]


def table(results: list[dict]) -> str:
    """Markdown, a row for each case, number format and kind of work."""
    heads = ["sweep", "px", "batch", "C/groups", "format", "work", "demod, s"]
    heads += [f"{a} : {b}, time" for a, b in COLUMNS] + ["adaconv : the same in fp32, time"]
    heads += [f"{a} : {b}, memory" for a, b in COLUMNS[:2]]
    rows = []
    for result in results:
        case, variants = result["case"], result["variants"]
        for work in WORK:
            cells = [result["sweep"], case["resolution"], case["batch"], case["per_group"] or "paper", result["format"], work]
            cells += [f"{variants[BASELINE][work]['seconds']:.3f}"]
            cells += [f"{variants[a][work]['time_ratio'][b]:.2f}" if work in variants.get(b, ()) else "" for a, b in COLUMNS]
            to_fp32 = variants["adaconv"][work].get("time_to_fp32")
            cells += [f"{to_fp32:.2f}" if to_fp32 and result["format"] != "fp32" else ""]
            cells += [f"{variants[a][work]['memory_ratio'][b]:.2f}" for a, b in COLUMNS[:2]]
            rows.append(cells)
    return markdown(heads, rows)


def growth_lines(results: list[dict]) -> list[str]:
    """How the cost of a training step grows with batch and with pixels."""
    lines = []
    by_pixels = lambda case: case["resolution"] ** 2
    for sweep, size in (("batch", lambda case: case["batch"]), ("resolution", by_pixels), ("headline", by_pixels)):
        for number_format in timing.FORMATS:
            rows = [r for r in results if r["sweep"] == sweep and r["format"] == number_format]
            for variant in rows[0]["variants"] if len(rows) > 1 else ():
                points = [(size(r["case"]), s["seconds"]) for r, s in step_points(rows, variant)]
                if len(points) > 1:
                    what = "batch" if sweep == "batch" else "pixels"
                    exponent = growth(points)
                    lines.append(f"- sweep of {sweep}, {variant}, {number_format}: seconds of a step ∝ {what}^{exponent:.2f}")
    return lines


def step_points(rows: list[dict], variant: str) -> list[tuple[dict, dict]]:
    """Rows whose training steps were timed with this variant, and their times."""
    steps = [(row, row["variants"].get(variant, {}).get("training step")) for row in rows]
    return [(row, step) for row, step in steps if step]


def plot(results: list[dict], path: Path) -> None:
    from matplotlib.figure import Figure

    sweeps = list(dict.fromkeys(r["sweep"] for r in results))
    figure = Figure(figsize=(4.2 * len(sweeps), 3.4), layout="constrained")
    axes = figure.subplots(1, len(sweeps), squeeze=False)
    key = {"headline": "resolution", "resolution": "resolution", "batch": "batch", "channels per group": "per_group"}
    for axis, sweep in zip(axes[0], sweeps):
        for number_format in dict.fromkeys(r["format"] for r in results):
            rows = [r for r in results if r["sweep"] == sweep and r["format"] == number_format]
            for variant in rows[0]["variants"]:
                shown = step_points(rows, variant) if variant != BASELINE else []
                if shown:
                    where = [r["case"][key[sweep]] for r, _ in shown]
                    axis.plot(where, [s["time_ratio"][BASELINE] for _, s in shown], "o-", label=f"{variant}, {number_format}")
        axis.axhline(1, color="grey", lw=0.8)
        axis.set(xscale="log", xlabel=sweep, ylabel=f"training step, time : {BASELINE}")
        axis.set_ylim(0, 1.1 * axis.dataLim.ymax)
        axis.set_xticks([r["case"][key[sweep]] for r in rows], [str(r["case"][key[sweep]]) for r in rows])
        axis.minorticks_off()
    axes[0][0].legend()
    save_figure(figure, path, dpi=110)


@command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("bench"), help="OUT.json, OUT.md and OUT.png are written")
@click.option("--device", help="cpu, cuda, mps …  [default: the best there is]")
@timing.PRECISION
@click.option("--seconds", type=float, default=60, help="for the repetitions of each case, all formats together")
@click.option(
    "--memory", type=float, default=16, help="GiB; the first case of a sweep whose baseline takes a quarter of it is its last"
)
@click.option("--sweep", type=click.Choice([*SWEEPS, "all"]), default="headline", help="which factor to move")
@click.option("--loop-up-to", type=int, default=64, help="largest resolution at which the per-sample loop is timed too")
@click.option("--tiny", is_flag=True, help="small networks, to try the script")
def main(out: Path, device: str | None, precision: str, seconds: float, memory: float, sweep: str, loop_up_to: int, tiny: bool):
    """Compare the modulations: the layer alone, a generator forward and forward + backward, and a whole training step."""
    import matplotlib  # noqa: F401  an error now, and not when everything has been measured

    chosen = choose_device(device)
    formats = timing.formats_of(precision, chosen)
    keep_freed_memory()
    out.parent.mkdir(parents=True, exist_ok=True)
    facts, results = dict(machine=timing.machine(chosen), tiny=tiny), []
    for name in SWEEPS if sweep == "all" else [sweep]:
        for case in SWEEPS[name]:
            variants = VARIANTS if case.resolution <= loop_up_to else VARIANTS[:-1]
            measured = measure(case, variants, formats, chosen, seconds, tiny)
            rows: list[dict] = [dict(sweep=name, case=vars(case), format=f, variants=measured[f]) for f in formats]
            results += rows
            write_report(out, facts, results, "\n".join([table(results), "", *growth_lines(results)]))
            print(table(rows), flush=True)
            if 4 * rows[0]["variants"][BASELINE]["training step"]["bytes"] > memory * 2**30:
                print(f"note: larger cases of {name!r} are left out, for memory", file=sys.stderr)
                break
    plot(results, out.with_suffix(".png"))
    print(f"{out}.json, {out}.md, {out}.png")
