"""Several processes, one per GPU: start them, and keep their gradients equal.

Gradients are averaged by an explicit all_reduce and not by DistributedDataParallel, whose hooks do not survive the second
derivative that R1 takes.
"""

import contextlib
import datetime
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def launch(worker: Callable, world: int, device: torch.device, *args) -> None:
    """Run worker(rank, world, device, *args) in `world` processes; in this one where world is 1."""
    if world == 1:
        return worker(0, 1, device, *args)
    with tempfile.TemporaryDirectory() as folder:
        address = "file:///" + os.path.join(folder, "rendezvous").replace(os.sep, "/").lstrip("/")
        mp.spawn(_join, args=(worker, world, device, address, args), nprocs=world)


def _join(rank: int, worker: Callable, world: int, device: torch.device, address: str, args: tuple) -> None:
    if device.type == "cuda":
        device = torch.device("cuda", rank)
        torch.cuda.set_device(device)
    elif device.type == "cpu":
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // world))
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        init_method=address,
        rank=rank,
        world_size=world,
        timeout=datetime.timedelta(hours=12),  # rank 0 may evaluate for long while the others wait
    )
    try:
        worker(rank, world, device, *args)
    finally:
        dist.destroy_process_group()


def average_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Replace gradients by their mean over all processes, in one message. Does nothing in a single process."""
    if not dist.is_initialized():
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.reshape(-1) for g in gradients])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients])):
        gradient.copy_(mean.view_as(gradient))


def average(tensor: torch.Tensor) -> torch.Tensor:
    """The mean of a tensor over all processes."""
    if not dist.is_initialized():
        return tensor
    tensor = tensor.clone()
    dist.all_reduce(tensor)
    return tensor / dist.get_world_size()


@contextlib.contextmanager
def all_threads() -> Iterator[None]:
    """Use every CPU core, while the other processes wait for this one."""
    before = torch.get_num_threads()
    if dist.is_initialized():
        torch.set_num_threads(os.cpu_count() or 1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def wait_for_all() -> None:
    if dist.is_initialized():
        dist.barrier()
