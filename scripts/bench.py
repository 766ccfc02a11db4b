"""Time and memory of the three modulations, side by side: `python -m scripts.bench modulation`.

Every number is a ratio within one run: the variants take turns, so that a machine whose speed drifts slows all of them. One
factor moves at a time around a centre. Each repetition's ratio is taken by itself, and the median is reported.
"""

import copy
import gc
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import torch
import torch.nn.functional as F

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from networks.adaconv import adaconv_plain
from networks.modulation import AdaConv, Demodulation
from torch_utils.cli import command, run
from torch_utils.files import atomic_write, write_json
from torch_utils.ops import upsample2x
from torch_utils.platform import choose_device, keep_freed_memory
from torch_utils.stats import Means
from training.config import TrainingConfig, auto_preset
from training.ema import update_ema
from training.loop import discriminator_step, generator_step
from training.state import TrainingState

VARIANTS = ("demod", "adain", "adaconv", "adaconv-loop")
BASELINE = "demod"
WORK = ("modulation alone", "forward", "forward+backward", "training step")  # the first: last layer, no learned convolution


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

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        kernels = self.predictor(w.unflatten(1, self.style_shape))
        x = torch.cat([adaconv_plain(x[i : i + 1], *(t[i : i + 1] for t in kernels)) for i in range(len(x))])
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


def work_of(variant: str, case: Case, device: torch.device, tiny: bool) -> dict[str, tuple[Callable[[], None], float]]:
    """Name -> (one repetition, weight). The step with R1 and R2 counts as often as it comes in a training."""
    config, state = build(variant, case, device, tiny)
    G = state.G
    z = torch.randn(case.batch, G.z_dim, device=device)
    real = torch.randn(case.batch, 3, case.resolution, case.resolution, device=device)
    real = real.contiguous(memory_format=torch.channels_last)

    def forward():
        with torch.no_grad():
            G(z)

    def forward_backward():
        G.zero_grad(set_to_none=True)
        G(z).square().mean().backward()

    alone = copy.deepcopy(G.synthesis.layers[-1].modulation)
    alone.conv.forward = lambda x: x
    width = G.synthesis.layers[-1].bias.numel()
    x = torch.randn(case.batch, width, case.resolution, case.resolution, device=device)
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    w = torch.randn(case.batch, G.w_dim, device=device)

    def modulate():
        alone.zero_grad(set_to_none=True)
        alone(x, w).backward(x.detach())
        x.grad = None

    def step(phase: int):
        state.step, means = phase, Means()
        discriminator_step(state, config, real, None, means)
        generator_step(state, config, real, None, means)
        update_ema(state.ema, state.G, config.batch, 10**6, config.ema_kimg * 1000, config.ema_rampup)

    works = {"modulation alone": modulate, "forward": forward, "forward+backward": forward_backward}
    if not variant.endswith("-loop"):  # most of a step is the discriminator's, which is the same
        works |= {"plain step": lambda: step(1), "penalised step": lambda: step(0)}
    return works


def timed(function: Callable[[], None], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    began = time.perf_counter()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def peak_bytes(function: Callable[[], None], device: torch.device) -> int:
    """Most memory that tensors take during `function`, over what they take before it."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        function()
        return torch.cuda.max_memory_allocated(device) - before
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        function()
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    level = np.cumsum([e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())])
    return int(level.max(initial=0))


def measure(case: Case, variants: tuple[str, ...], device: torch.device, seconds: float, tiny: bool) -> dict:
    """variant -> work -> {"seconds": …, "bytes": …}, and ratios to every other variant, from turns within about `seconds`."""
    jobs = {variant: work_of(variant, case, device, tiny) for variant in variants}
    memory = {
        v: {name: peak_bytes(function, device) for name, function in job.items()} for v, job in jobs.items()
    }  # and warm-up
    times = {v: {name: [] for name in job} for v, job in jobs.items()}
    began, rounds = time.monotonic(), 0
    while rounds < 3 or (time.monotonic() - began < seconds and rounds < 50):
        for name in jobs[BASELINE]:
            for variant in variants if rounds % 2 == 0 else reversed(variants):
                if name in jobs[variant]:
                    times[variant][name].append(timed(jobs[variant][name], device))
        rounds += 1

    interval = auto_preset(case.resolution).get("reg_interval", TrainingConfig.reg_interval)
    results = {}
    for variant in variants:
        t = times[variant]
        if "plain step" not in t:
            continue
        t["training step"] = [(p + (interval - 1) * q) / interval for p, q in zip(t["penalised step"], t["plain step"])]
        memory[variant]["training step"] = max(memory[variant]["penalised step"], memory[variant]["plain step"])
    for variant in variants:
        results[variant] = {
            name: dict(
                seconds=statistics.median(times[variant][name]),
                bytes=memory[variant][name],
                time_ratio={
                    v: statistics.median(a / b for a, b in zip(times[variant][name], times[v][name]))
                    for v in variants
                    if name in times[v]
                },
                memory_ratio={v: memory[variant][name] / max(memory[v][name], 1) for v in variants if name in memory[v]},
                rounds=rounds,
            )
            for name in WORK
            if name in times[variant]
        }
    return results


class FusedDemodulation(Demodulation):
    """One grouped convolution with a modulated and demodulated weight per sample, as StyleGAN2 writes it."""

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        weight = self.conv.scaled_weight() * self.scale(w)[:, None, :, None, None]  # [N, out, in, k, k]
        weight = weight * (weight.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8).rsqrt()
        n, out, _, k, _ = weight.shape
        x = F.conv2d(x.reshape(1, -1, *x.shape[2:]), weight.flatten(0, 1), padding=k // 2, groups=n)
        return x.view(n, out, *x.shape[2:])


def demodulation(device: torch.device, seconds: float) -> str:
    """Whether the baseline is at its best: one layer of weight demodulation, forward + backward, in both forms. Markdown."""
    lines = ["| channels | map | scaled activations, ms | fused : scaled |", "| --- | --- | --- | --- |"]
    for channels, side in ((512, 8), (512, 16), (512, 32), (256, 64)):
        torch.manual_seed(0)
        x = torch.randn(8, channels, side, side, device=device).contiguous(memory_format=torch.channels_last).requires_grad_()
        w = torch.randn(8, 576, device=device)
        times, began = ([], []), time.monotonic()
        layers = [form(channels, channels, 576).to(device) for form in (Demodulation, FusedDemodulation)]
        layers = [layer.to(memory_format=torch.channels_last) for layer in layers]
        jobs = [lambda layer=layer, x=x, w=w: layer(x, w).mean().backward() for layer in layers]
        while len(times[0]) < 4 or (time.monotonic() - began < seconds / 4 and len(times[0]) < 50):
            for job, found in zip(jobs, times):
                found.append(timed(job, device))
        ratio = statistics.median(b / a for a, b in zip(times[0][1:], times[1][1:]))  # the first ones warm up
        lines.append(f"| {channels} | {side}×{side} | {1000 * statistics.median(times[0][1:]):.1f} | {ratio:.2f} |")
    return "\n".join(lines)


def growth(points: list[tuple[float, float]]) -> float:
    """The exponent p of seconds ∝ x^p that fits best."""
    x, y = np.log(np.array(points)).T
    return float(np.polyfit(x, y, 1)[0])


COLUMNS = [("adaconv", "demod"), ("adain", "demod"), ("adaconv", "adain"), ("adaconv", "adaconv-loop")]


def table(results: list[dict]) -> str:
    """Markdown, a row for each case and kind of work."""
    heads = ["sweep", "px", "batch", "C/groups", "work", "demod, s"]
    heads += [f"{a} : {b}, time" for a, b in COLUMNS] + [f"{a} : {b}, memory" for a, b in COLUMNS[:2]]
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    for result in results:
        case, found = result["case"], result["variants"]
        for work in WORK:
            cells = [result["sweep"], case["resolution"], case["batch"], case["per_group"] or "paper", work]
            cells += [f"{found[BASELINE][work]['seconds']:.3f}"]
            cells += [f"{found[a][work]['time_ratio'][b]:.2f}" if work in found.get(b, ()) else "" for a, b in COLUMNS]
            cells += [f"{found[a][work]['memory_ratio'][b]:.2f}" for a, b in COLUMNS[:2]]
            lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return "\n".join(lines)


def growth_lines(results: list[dict]) -> list[str]:
    """How the cost of a training step grows with batch and with pixels."""
    lines = []
    by_pixels = lambda case: case["resolution"] ** 2
    for sweep, size in (("batch", lambda case: case["batch"]), ("resolution", by_pixels), ("headline", by_pixels)):
        rows = [r for r in results if r["sweep"] == sweep]
        if len(rows) > 1:
            for variant in rows[0]["variants"]:
                points = [
                    (size(r["case"]), r["variants"][variant]["training step"]["seconds"])
                    for r in rows
                    if "training step" in r["variants"].get(variant, ())
                ]
                if len(points) > 1:
                    what = "batch" if sweep == "batch" else "pixels"
                    lines.append(f"- {variant}: seconds of a training step ∝ {what}^{growth(points):.2f}")
    return lines


def plot(results: list[dict], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    sweeps = list(dict.fromkeys(r["sweep"] for r in results))
    figure, axes = plt.subplots(1, len(sweeps), figsize=(4.2 * len(sweeps), 3.4), squeeze=False, constrained_layout=True)
    key = {"headline": "resolution", "resolution": "resolution", "batch": "batch", "channels per group": "per_group"}
    for axis, sweep in zip(axes[0], sweeps):
        rows = [r for r in results if r["sweep"] == sweep]
        for variant in rows[0]["variants"]:
            if variant != BASELINE:
                shown = [r for r in rows if "training step" in r["variants"].get(variant, ())]
                if not shown:
                    continue
                ratios = [r["variants"][variant]["training step"]["time_ratio"][BASELINE] for r in shown]
                axis.plot([r["case"][key[sweep]] for r in shown], ratios, "o-", label=variant)
        axis.axhline(1, color="grey", lw=0.8)
        axis.set(xscale="log", xlabel=sweep, ylabel=f"training step, time : {BASELINE}")
        axis.set_ylim(0, 1.1 * axis.dataLim.ymax)
        axis.set_xticks([r["case"][key[sweep]] for r in rows], [str(r["case"][key[sweep]]) for r in rows])
        axis.minorticks_off()
    axes[0][0].legend()
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=110)


@command()
@click.argument("what", type=click.Choice(["modulation", "demodulation"]))
@click.option("--out", type=click.Path(path_type=Path), default=Path("bench"), help="OUT.json, OUT.md and OUT.png are written")
@click.option("--device", help="cpu, cuda, mps …  [default: the best there is]")
@click.option("--seconds", type=float, default=60, help="for the repetitions of each case")
@click.option(
    "--memory", type=float, default=16, help="GiB; the first case of a sweep whose baseline takes a quarter of it is its last"
)
@click.option("--sweep", type=click.Choice([*SWEEPS, "all"]), default="headline", help="which factor to move")
@click.option("--loop-up-to", type=int, default=64, help="largest resolution at which the per-sample loop is timed too")
@click.option("--tiny", is_flag=True, help="small networks, to try the script")
def main(what: str, out: Path, device: str | None, seconds: float, memory: float, sweep: str, loop_up_to: int, tiny: bool):
    """Compare the modulations: forward, forward + backward, and a whole training step; or the two forms of demodulation."""
    import matplotlib  # noqa: F401  at the end it would be late to miss it

    device = choose_device(device)
    keep_freed_memory()
    if what == "demodulation":
        print(demodulation(device, seconds))
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    machine = dict(
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine(),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        python=platform.python_version(),
    )
    results = []
    for name in SWEEPS if sweep == "all" else [sweep]:
        for case in SWEEPS[name]:
            variants = VARIANTS if case.resolution <= loop_up_to else VARIANTS[:-1]
            found = measure(case, variants, device, seconds, tiny)
            results.append(dict(sweep=name, case=vars(case), variants=found))
            write_json(out.with_suffix(".json"), dict(machine=machine, tiny=tiny, results=results))
            print(table(results[-1:]), flush=True)
            if 4 * found[BASELINE]["training step"]["bytes"] > memory * 2**30:
                print(f"note: larger cases of {name!r} are left out, for memory", file=sys.stderr)
                break
    text = "\n".join([json.dumps(machine), "", table(results), "", *growth_lines(results), ""])
    with atomic_write(out.with_suffix(".md"), "w") as file:
        file.write(text)
    plot(results, out.with_suffix(".png"))
    print(f"{out}.json, {out}.md, {out}.png")


if __name__ == "__main__":
    run(main)
