"""What is timed. Packages are imported where they are used: they are those of the checkout in hand."""

from collections.abc import Callable

import torch

from scripts.benchmarks.timing import allow_tf32


def step_of(config, state, real: torch.Tensor) -> Callable[[int], None]:
    """-> step(number): one update of both networks and of the average; the number says which penalties are due."""
    from torch_utils.stats import Means
    from training.ema import update_ema
    from training.steps import discriminator_step, generator_step

    def step(number: int) -> None:
        allow_tf32(config.precision)
        state.step, means = number, Means()
        discriminator_step(state, config, real, None, means)
        generator_step(state, config, real, None, means)
        update_ema(state.ema, state.G, config.batch, 10**6, config.ema_kimg * 1000, config.ema_rampup)

    return step
