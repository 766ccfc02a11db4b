"""What a training run will take: seconds and memory, from a few real steps."""

import time
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from torch_utils.images import from_uint8
from torch_utils.platform import keep_freed_memory
from torch_utils.precision import prepare
from torch_utils.stats import Means, resident_bytes
from training.dataset import ImageDataset, batches
from training.gan.config import TrainingConfig
from training.gan.state import TrainingState, build_state
from training.gan.steps import discriminator_step, generate, generator_step
from training.run.health import too_long

LIMIT = 30  # seconds


@dataclass(frozen=True)
class Estimate:
    sec_per_kimg: float
    sec_per_sample: float  # of the moving average's images, which scores are computed of
    bytes: int  # resident memory of the process, or of the GPU what tensors take
    least: bool  # `bytes` is of fewer images than a process has


def estimate(
    state: TrainingState, config: TrainingConfig, images: torch.Tensor, c: torch.Tensor | None, device, limit: float = LIMIT
) -> Estimate:
    """Time real updates of `state`, which is spent by that. images [N, C, H, W] of one process, N = batch / gpus.

    Steps with penalties count as often as they come. Steps of two images warm up; then come as many of the N as fit into
    `limit` seconds, at least two. Evaluation and snapshots are not counted.
    """
    began = time.monotonic()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    part = lambda n: (images[:n], None if c is None else c[:n])
    n = min(2, len(images))
    seconds = _step(state, config, *part(n), device)
    affordable = int(n * limit / 4 / (time.monotonic() - began))  # a round costs about two and a half steps, and there are two
    if (n := min(max(affordable, n), len(images))) > 2 or len(images) <= 2:
        for _ in range(2):
            seconds = _step(state, config, *part(n), device)
    memory = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else resident_bytes()
    z = torch.randn(n, state.ema.z_dim, device=device)
    with torch.inference_mode():
        sample = _timed(device, lambda: state.ema(z, part(n)[1]))
    return Estimate(seconds * len(images) / n / config.batch * 1000, sample / n, memory, n < len(images))


def _step(state: TrainingState, config: TrainingConfig, images: torch.Tensor, c: torch.Tensor | None, device) -> float:
    """Seconds of a step, of those with and without penalties on the average."""
    total = _timed(device, lambda: generate(state, config, images, c))  # once, for both updates
    every = config.reg_interval if config.penalises else 0, config.pl_interval if config.pl_weight else 0
    for step, interval in zip((discriminator_step, generator_step), every):
        seconds = []
        for state.step in (0, 1):  # step 0 has all penalties, step 1 none
            generated = generate(state, config, images, c)
            seconds.append(_timed(device, lambda: step(state, config, images, c, Means(), generated)))  # noqa: B023, F821  called at once
            del generated  # as a run does, before it makes the next
        total += (seconds[0] + (interval - 1) * seconds[1]) / interval if interval else seconds[1]
    return total


def _timed(device: torch.device, work) -> float:
    began = time.monotonic()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.monotonic() - began


def print_costs(config: TrainingConfig, dataset: ImageDataset, device: torch.device, done: float, scored: int) -> None:
    """Of real steps on real images, with networks that are thrown away; `done` kimg are behind us."""
    if done >= config.kimg:
        print(f"Time:          none: the run is at its end of {config.kimg:g} kimg; a larger --kimg goes on")
        return
    prepare(config.precision)
    keep_freed_memory()
    state = build_state(config, dataset, device)
    if config.aug == "ada":
        state.strength.at_work()
    images, labels = next(batches(dataset, config.batch // config.gpus, config.seed))
    c = F.one_hot(labels, dataset.c_dim).float().to(device) if dataset.c_dim else None
    costs = estimate(state, config, from_uint8(images.to(device)), c, device)
    print("\n".join(costs_in_words(costs, config, device, done, scored)))


def costs_in_words(costs: Estimate, config: TrainingConfig, device: torch.device, done: float, scored: int) -> list[str]:
    """Lines for --dry-run. `done` kimg are behind us; `scored` images are drawn for the scores of a snapshot."""
    left = config.kimg - done
    hours = costs.sec_per_kimg * left / 3600
    where = "of the GPU" if device.type == "cuda" else "resident"
    length = f"the {left:g} kimg that are left" if done else f"{left:g} kimg"
    lines = [
        f"Memory:        {'at least' if costs.least else 'about'} {costs.bytes / 2**20:,.0f} MB {where}, each process",
        f"Time:          {costs.sec_per_kimg:.2f} s/kimg, {hours:.2f} hours for {length}, scores not counted",
    ]
    if scored:
        drawing = costs.sec_per_sample * scored / 3600
        times = int(left / (config.tick * config.snap)) + 1
        lines.append(
            f"Scores:        {drawing:.2f} hours to draw {scored:,} images, about {times} times, and their features on top"
        )
    return lines + too_long(costs.sec_per_kimg, left, device, config.way_out)
