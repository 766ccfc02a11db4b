"""What a training will take: seconds and memory, from a few real steps."""

import time
from dataclasses import dataclass

import torch

from torch_utils.stats import Means, resident_bytes
from training.gan.config import TrainingConfig
from training.gan.state import TrainingState
from training.gan.steps import discriminator_step, generator_step


@dataclass(frozen=True)
class Estimate:
    sec_per_kimg: float
    bytes: int  # resident memory of the process, or of the GPU what tensors take


def estimate(state: TrainingState, config: TrainingConfig, images: torch.Tensor, c: torch.Tensor | None, device) -> Estimate:
    """Time real updates of `state`, which is spent by that. images [N, C, H, W] of one process, N = batch / gpus.

    Steps with penalties count as often as they come. The first round warms up. Evaluation and snapshots are not counted.
    """
    seconds = {}
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    for phase in (0, 1, 0, 1):  # phase 0 has all penalties, phase 1 none
        for name, step in (("D", discriminator_step), ("G", generator_step)):
            state.step = phase
            began = time.monotonic()
            step(state, config, images, c, Means())
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            seconds[name, phase] = time.monotonic() - began
    every = {"D": config.reg_interval if config.gamma else 0, "G": config.pl_interval if config.pl_weight else 0}
    one = sum(
        (seconds[name, 0] + (n - 1) * seconds[name, 1]) / n if n else seconds[name, 1] for name, n in every.items()
    )  # seconds of a step
    memory = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else resident_bytes()
    return Estimate(one / config.batch * 1000, memory)
