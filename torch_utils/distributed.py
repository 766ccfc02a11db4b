"""Several processes, one per GPU: start them, and keep their gradients equal.

`--gpus N` starts N of them here; `torchrun` starts them before us, here or on many machines. Either way a command prepares its
work in one process, and `launch` gives it to all of them. Gradients are averaged by an explicit all_reduce and not by
DistributedDataParallel, whose hooks do not work with the second derivative that R1 takes.
"""

import contextlib
import datetime
import logging
import os
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import click
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from torch_utils import torchrun
from torch_utils.files import InputError, disk_trouble, first_line
from torch_utils.interrupt import STATUS, StopRequest, prepare_streams

WAIT = datetime.timedelta(hours=12)  # the first process may evaluate for hours while the others wait
UNFINISHED = "unfinished"  # file of a process whose worker was asked to stop
DISMISSAL = datetime.timedelta(minutes=2)  # within which the others are told that a command could not begin
GRACE = 5  # seconds that the others leave to whoever watches over all, to find the process that ended first


class PeerLost(InputError):
    """Another process has ended, and so this one cannot go on."""


def check_gpus(gpus: int, device: torch.device) -> None:
    """`InputError` where a command cannot start this many processes, one per GPU."""
    if gpus > 1 and (device.type not in ("cpu", "cuda") or device.index is not None):
        raise InputError(f"--gpus {gpus} goes with --device cpu or cuda, not {device}")
    here = torchrun.on_this_machine(gpus)
    if device.type == "cuda" and here > torch.cuda.device_count():
        shared_out = "" if here == gpus else f" on this machine, for {here} of them"
        raise InputError(f"--gpus {gpus}: there are {torch.cuda.device_count()}{shared_out}")


def launch(worker: Callable, world: int, device: torch.device, *args) -> bool:
    """Run worker(rank, world, device, *args) in `world` processes; in this one where world is 1.

    True where it ran to its end; False where a worker returns False, or a signal asked to stop.
    """
    if world == 1:
        return worker(0, 1, device, *args)
    if there := torchrun.place():
        _meet(there)
        return _perform(there, worker, device, args)
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
                return not stop.requested and not any(Path(folder).glob(f"{UNFINISHED}-*"))
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
    backend = "nccl" if device.type == "cuda" else "gloo"
    store = dist.FileStore(str(folder / "rendezvous"), world)  # a URL's %20 would stay as it is
    store.set_timeout(WAIT)
    dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=WAIT)
    try:
        if worker(rank, world, device, *args) is False:
            (folder / f"{UNFINISHED}-{rank}").touch()
        wait_for_all()  # a process that leaves while another still talks to it takes that one down
    except PeerLost:
        time.sleep(GRACE)
        raise
    except (InputError, OSError) as error:
        if told := error if isinstance(error, InputError) else disk_trouble(error):
            (folder / f"error-{rank}").write_text(str(told), encoding="utf-8")
        raise
    finally:
        dist.destroy_process_group()


# ---------------------------------------------------------------- torchrun


class Shared:
    """A command that torchrun may start in several processes: the first one is the command, the others do what it launches."""

    def __init__(self, command: click.Command):
        self.command, self.name = command, command.name

    def main(self, **settings: Any) -> None:
        there = torchrun.place()
        if there and there.rank > 0:
            return self._follow(there)
        try:
            self.command.main(**settings)
        except Exception:
            if there and there.world > 1 and not dist.is_initialized():  # the others would wait for hours
                with contextlib.suppress(PeerLost):
                    self._dismiss(there, DISMISSAL)
            raise
        if there and there.world > 1:
            self._dismiss(there, WAIT)

    def _dismiss(self, there: torchrun.Place, wait: datetime.timedelta) -> None:
        """Nothing is left to do."""
        _meet(there, wait)
        _hand_out(None)
        dist.destroy_process_group()

    def _follow(self, there: torchrun.Place) -> None:
        _meet(there)
        while work := _hand_out(None):
            worker, device, args = work
            if not _perform(there, worker, device, args, hand_out=False):
                sys.exit(STATUS)
        dist.destroy_process_group()


def _meet(there: torchrun.Place, wait: datetime.timedelta = WAIT) -> None:
    """Objects go by gloo, before anybody has chosen a GPU."""
    if dist.is_initialized():
        return
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    with _talking():
        shared, rank, world = next(dist.rendezvous("env://", timeout=wait))
        dist.init_process_group(backend, store=_unused(shared, there, wait), rank=rank, world_size=world, timeout=WAIT)


def _unused(store: dist.Store, there: torchrun.Place, wait: datetime.timedelta) -> dist.Store:
    """A part of torchrun's store in which there is nothing yet. Processes that are started again find there what those before
    them have left, such as addresses where nobody listens any more; and how often that was, machines may count differently.

    The first process chooses a name, and says it to everyone by the word that this one has made up.
    """
    own = uuid.uuid4().hex
    if there.rank > 0:
        store.set(f"word/{there.rank}", own)
        name = store.get(f"name/{own}").decode()  # waits until it is there
        store.set(f"heard/{name}/{there.rank}", "")
        return dist.PrefixStore(name, store)
    missing, until = set(range(1, there.world)), time.monotonic() + wait.total_seconds()
    while missing:
        if time.monotonic() > until:
            raise PeerLost(f"{len(missing)} of the other processes of this run have not come within {wait}")
        for rank in sorted(missing):
            if store.check([f"word/{rank}"]):  # may be an old one still, for which nobody waits
                store.set(f"name/{store.get(f'word/{rank}').decode()}", own)
        time.sleep(0.1)
        missing = {rank for rank in missing if not store.check([f"heard/{own}/{rank}"])}
    return dist.PrefixStore(own, store)


def _hand_out(work: tuple | None) -> tuple | None:
    """What the first process has, in all of them."""
    box = [work]
    with _talking():
        dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
    return box[0]


def _perform(there: torchrun.Place, worker: Callable, device: torch.device, args: tuple, hand_out: bool = True) -> bool:
    try:
        if hand_out:
            _hand_out((worker, device, args))
        if device.type == "cuda":
            device = torch.device("cuda", there.local_rank)
            torch.cuda.set_device(device)
        finished = worker(there.rank, there.world, device, *args)
        wait_for_all()
        return finished
    except PeerLost:
        time.sleep(GRACE)
        raise


# ---------------------------------------------------------------- talking


@contextlib.contextmanager
def _talking() -> Iterator[None]:
    """PyTorch raises `RuntimeError` where a process cannot be reached."""
    try:
        yield
    except RuntimeError as error:
        raise PeerLost(f"another process of this run has ended, or cannot be reached ({first_line(error)[:300]})") from None


def place() -> tuple[int, int]:
    """(rank, number of processes) of those that share a batch."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def average_tensor(values: torch.Tensor) -> torch.Tensor:
    """The mean over all processes, of the same shape."""
    if not dist.is_initialized():
        return values
    total = values.clone()
    with _talking():
        dist.all_reduce(total)
    return total / dist.get_world_size()


def average_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Replace gradients by their mean over all processes, in one message. Does nothing in a single process."""
    if not dist.is_initialized():
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    mean = average_tensor(torch.cat([g.reshape(-1) for g in gradients]))
    for gradient, part in zip(gradients, mean.split([g.numel() for g in gradients])):
        gradient.copy_(part.view_as(gradient))


def average(values: dict[str, float], device: torch.device) -> dict[str, float]:
    """The mean of every value over all processes, in one message; all have the same names."""
    if not dist.is_initialized():
        return values
    means = average_tensor(torch.tensor(list(values.values()), dtype=torch.float64, device=device))
    return dict(zip(values, means.tolist()))


def check_equal(tensors: Iterable[tuple[str, torch.Tensor]], device: torch.device) -> None:
    """`InputError`, in all processes, where these are not the same in all of them: by the sum of each one's bits."""
    if not dist.is_initialized():
        return
    names, values = zip(*tensors)
    own = torch.stack([_sum_of_bits(value).to(device) for value in values])
    everyone = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    with _talking():
        dist.all_gather(everyone, own)
    table = torch.stack(everyone)
    differs = (table != table[0]).cpu()
    if differs.any():
        tensor, rank = (int(differs.any(dim).nonzero()[0]) for dim in (0, 1))
        found = f"{names[tensor]} of process {rank} is not that of process 0, and {int(differs.any(0).sum())} in all differ"
        raise InputError(f"the processes have come apart: {found}; --resume goes on from what was saved before")


def _sum_of_bits(tensor: torch.Tensor) -> torch.Tensor:
    whole = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()]
    return tensor.detach().view(whole).sum(dtype=torch.int64)


@contextlib.contextmanager
def all_threads(threads: int | None) -> Iterator[None]:
    """Use those of all processes on this machine, while the others wait for this one; None: every CPU core."""
    before = torch.get_num_threads()
    if dist.is_initialized():
        torch.set_num_threads(threads or os.cpu_count() or 1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def any_process(device: torch.device, *flags: bool) -> list[bool]:
    """Whether each flag is set in any process; all get the same answer, and so do the same at the same step."""
    if not dist.is_initialized():
        return list(flags)
    return [share > 0 for share in average_tensor(torch.tensor(flags, dtype=torch.float32, device=device)).tolist()]


def wait_for_all() -> None:
    if dist.is_initialized():
        with _talking():
            dist.barrier()
