"""Steps of real networks in real processes, with links that are as slow as asked for: the other side of `scale_model`."""

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.distributed as dist

from scripts.benchmarks.scale_model import BYTES, Link, fit
from scripts.benchmarks.sides import cycle_length, step_of
from torch_utils import distributed
from torch_utils.files import read_json, write_json
from training.gan.config import TrainingConfig
from training.gan.state import TrainingState

MESSAGES = (1 << 10, 1 << 21)  # float32 numbers, of the two messages that a link is measured by
REPEATS = 5


def build(config: TrainingConfig, side: int, device: torch.device | str) -> TrainingState:
    return TrainingState(config, side, 3, 0, device)


def parameters(config: TrainingConfig, side: int) -> tuple[int, ...]:
    """Of generator and discriminator, without the memory that they take."""
    state = build(config, side, "meta")
    return tuple(sum(p.numel() for p in network.parameters()) for network in (state.G, state.D))


def seconds_of_step(config: TrainingConfig, side: int, images: int, device: torch.device, limit: float) -> float:
    """Of a step with `images`, on the average over those with and without penalties; the first cycle is not counted."""
    state = build(config, side, device)
    step, length = step_of(config, state, torch.randn(images, 3, side, side, device=device)), cycle_length(config)
    cycles, began = [], time.monotonic()
    left = lambda: len(cycles) < 2 or (time.monotonic() - began < limit and len(cycles) < 20)
    while distributed.any_process(device, left())[0]:  # all do as many: messages of a further step would find nobody
        cycles.append(_timed(lambda: [step(number) for number in range(length)], device))
    return statistics.median(cycles[1:]) / length


def alone(config: TrainingConfig, side: int, images: int, device: torch.device, limit: float) -> tuple[float, float]:
    """(fixed, per image): seconds of a step of one process, by half as many images and by all of them."""
    counts = (max(images // 2, 1), max(images, 2))
    small, large = (seconds_of_step(config, side, count, device, limit) for count in counts)
    return fit((counts[0], small), (counts[1], large))


def together(config: TrainingConfig, side: int, world: int, device: torch.device, limit: float, slow: Link | None) -> dict:
    """In `world` processes: seconds of a step without and with messages, and the link that messages of two sizes show."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "found.json"
        distributed.launch(_worker, world, device, config, side, limit, slow, found)
        return read_json(found)


def _worker(
    rank: int, world: int, device: torch.device, config, side: int, limit: float, slow: Link | None, found: Path
) -> bool:
    images = max(config.batch // world, 1)
    measured: dict[str, float] = {}
    for name, send in (("silent", lambda p: None), ("talking", slowed(slow, world))):
        with sending(send):
            measured[name] = seconds_of_step(config, side, images, device, limit)
    times = [_message(size, device) for size in MESSAGES]
    per_neighbour = [(BYTES * size / world, seconds / (2 * (world - 1))) for size, seconds in zip(MESSAGES, times)]
    measured["latency"], per_byte = fit(*per_neighbour)  # type: ignore[arg-type]
    measured["bandwidth"] = 1 / max(per_byte, 1e-15)
    if rank == 0:
        write_json(found, measured | dict(images=images))
    return True


def slowed(link: Link | None, world: int) -> Callable:
    """`average_gradients`, after as long as a ring over this link would take."""
    send = distributed.average_gradients
    if link is None:
        return send

    def wait_and_send(found) -> None:
        found = list(found)
        time.sleep(link.ring(BYTES * sum(p.numel() for p in found), world))
        send(found)

    return wait_and_send


@contextlib.contextmanager
def sending(send: Callable) -> Iterator[None]:
    """Gradients are averaged by this function."""
    before = distributed.average_gradients
    distributed.average_gradients = send
    try:
        yield
    finally:
        distributed.average_gradients = before


def _message(size: int, device: torch.device) -> float:
    tensor = torch.zeros(size, device=device)
    return min(_timed(lambda: dist.all_reduce(tensor), device) for _ in range(REPEATS))


def _timed(work: Callable, device: torch.device) -> float:
    if dist.is_initialized():
        dist.barrier()
    began = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began
