"""Processes that talk to one another by gloo, from one that has imported PyTorch already."""

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist

from tests.forked_command import PRELOADED
from torch_utils import distributed

CPU = torch.device("cpu")


def run_ranks(worker: Callable, world: int, *args) -> None:
    """As `distributed.launch(worker, world, cpu, *args)`, without the seconds of importing PyTorch once for each process."""
    if world == 1 or sys.platform != "linux":
        distributed.launch(worker, world, CPU, *args)
        return
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    with tempfile.TemporaryDirectory() as folder:
        processes = [context.Process(target=_rank, args=(rank, world, folder, worker, args)) for rank in range(world)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(240)
            process.kill()
        assert [process.exitcode for process in processes] == [0] * world


def _rank(rank: int, world: int, folder: str, worker: Callable, args: tuple) -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    dist.init_process_group("gloo", store=dist.FileStore(str(Path(folder) / "rendezvous"), world), rank=rank, world_size=world)
    worker(rank, world, CPU, *args)
    dist.barrier()
    dist.destroy_process_group()
