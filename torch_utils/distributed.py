"""Several processes, one per GPU: start them, and keep their gradients equal.

Gradients are averaged by an explicit all_reduce and not by DistributedDataParallel, whose hooks do not work with the second
derivative that R1 takes.
"""

import contextlib
import datetime
import logging
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from torch_utils.files import InputError, disk_trouble, first_line
from torch_utils.interrupt import StopRequest, prepare_streams


def check_gpus(gpus: int, device: torch.device) -> None:
    """`InputError` where a command cannot start this many processes, one per GPU."""
    if gpus > 1 and (device.type not in ("cpu", "cuda") or device.index is not None):
        raise InputError(f"--gpus {gpus} goes with --device cpu or cuda, not {device}")
    if device.type == "cuda" and gpus > torch.cuda.device_count():
        raise InputError(f"--gpus {gpus}: there are {torch.cuda.device_count()}")


def launch(worker: Callable, world: int, device: torch.device, *args) -> bool:
    """Run worker(rank, world, device, *args) in `world` processes; in this one where world is 1.

    True where it ran to its end; False where a worker returns False, or a signal asked to stop.
    """
    if world == 1:
        return worker(0, 1, device, *args)
    with tempfile.TemporaryDirectory() as folder:
        try:
            logging.getLogger("torch.multiprocessing.spawn").setLevel(logging.ERROR)  # it logs every process that it ends
            with StopRequest() as stop:
                context = mp.spawn(_join, args=(worker, world, device, Path(folder), args), nprocs=world, join=False)
                stop.children += context.pids()
                try:
                    while not context.join(timeout=1):
                        pass
                except KeyboardInterrupt:
                    for process in context.processes:
                        process.kill()
                    raise
                return not stop.requested
        except mp.ProcessRaisedException:
            for path in Path(folder).glob("error-*"):  # a user's mistake stays one line
                raise InputError(path.read_text(encoding="utf-8")) from None
            raise
        except mp.ProcessExitedException as error:
            if stop.requested:  # before it could listen
                return False
            raise InputError(f"one of the {world} processes was ended from outside ({first_line(error)})") from None


def _join(rank: int, worker: Callable, world: int, device: torch.device, folder: Path, args: tuple) -> None:
    prepare_streams()
    if device.type == "cuda":
        device = torch.device("cuda", rank)
        torch.cuda.set_device(device)
    elif device.type == "cpu":
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // world))
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        init_method=(folder / "rendezvous").as_uri(),
        rank=rank,
        world_size=world,
        timeout=datetime.timedelta(hours=12),  # rank 0 may evaluate for hours while the others wait
    )
    try:
        worker(rank, world, device, *args)
        dist.barrier()  # a process that leaves while another still talks to it takes that one down
    except (InputError, OSError) as error:
        if told := error if isinstance(error, InputError) else disk_trouble(error):
            (folder / f"error-{rank}").write_text(str(told), encoding="utf-8")
        raise
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


def average(values: dict[str, float], device: torch.device) -> dict[str, float]:
    """The mean of every value over all processes, in one message; all have the same names."""
    if not dist.is_initialized():
        return values
    tensor = torch.tensor(list(values.values()), dtype=torch.float32, device=device)
    dist.all_reduce(tensor)
    return dict(zip(values, (tensor / dist.get_world_size()).tolist()))


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


def any_process(flag: bool, device: torch.device) -> bool:
    """Whether `flag` is set in any process; all get the same answer, and so stop at the same step."""
    if not dist.is_initialized():
        return flag
    tensor = torch.tensor(float(flag), device=device)
    dist.all_reduce(tensor)
    return tensor.item() > 0


def wait_for_all() -> None:
    if dist.is_initialized():
        dist.barrier()
