"""The pace of a generator's training run, for --hours: of real steps, on a state that is thrown away."""

import contextlib
import dataclasses
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from networks.sampling import sample
from torch_utils import distributed, torchrun
from torch_utils.cores import use_threads
from torch_utils.files import InputError, read_json, write_json
from torch_utils.platform import keep_freed_memory
from training.data_order import readers_watched
from training.dataset import ImageDataset
from training.gan.config import TrainingConfig
from training.gan.growth import growth_at
from training.gan.loop import make_step
from training.gan.state import TrainingState, build_state
from training.run.pace import Pace, time_steps


def find_pace(
    config: TrainingConfig,
    dataset: ImageDataset,
    device: torch.device,
    run_dir: Path | None,  # with a state to go on from
    inception: Path | None,
    build_evaluator: Callable,  # of (config, dataset, device, inception)
) -> Pace | None:
    """As many processes as the run will have make steps and scores; None where a signal asked to stop.

    Nothing that they change is left: the run builds all that it needs anew.
    """
    print("Measuring the pace, with networks that are thrown away …", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "pace.json"
        arguments = config, dataset, run_dir, inception, build_evaluator, found
        return Pace(**read_json(found)) if distributed.launch(_measure, config.gpus, device, *arguments) else None


def _measure(rank: int, world: int, device: torch.device, config, dataset, run_dir, inception, build_evaluator, found) -> bool:
    """One process; the first one times the scores, too, and writes `found`."""
    began = time.monotonic()
    keep_freed_memory()
    use_threads(config.threads, torchrun.on_this_machine(world))
    state = build_state(config, dataset, device, run_dir)
    pace, score = time_training(config, dataset, state, device, rank, world), 0.0
    if rank == 0:
        if evaluator := build_evaluator(config, dataset, device, inception):
            with distributed.all_threads(config.threads):
                score = evaluator.seconds(lambda count: sample(state.ema, count, config.seed, dataset.labels))
        write_json(found, dataclasses.asdict(Pace(pace, score, time.monotonic() - began)))
    return True


def time_training(
    config: TrainingConfig, dataset: ImageDataset, state: TrainingState, device: torch.device, rank: int = 0, world: int = 1
) -> float:
    """Seconds per kimg of the steps that a run would make from `state` on, which is spent by that.

    Random generators are left as they were. `InputError` where images are still growing.
    """
    if growth_at(state.nimg, config, state.G.synthesis.resolutions) is not None:
        raise InputError("--hours: with --grow 1 the pace changes until all sizes are there; until then the length is --kimg")
    if config.aug == "ada":
        state.strength.at_work()
    intervals = (config.reg_interval if config.penalises else 1), (config.pl_interval if config.pl_weight else 1)
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng([device] if device.type == "cuda" else []))
        stack.enter_context(readers_watched())
        step, data = make_step(config, dataset, state, device, rank, world)
        stack.enter_context(contextlib.closing(data))
        return time_steps(step, config, state, math.lcm(*intervals), device)
