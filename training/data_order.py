"""In which order a training run sees its images: batches that depend only on the seed and the images seen so far."""

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Generator, Iterator

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, default_collate

from torch_utils.files import InputError, disk_trouble, first_line
from torch_utils.interrupt import SIGNALS
from training.image_stream import ImageStream

PATIENCE = 60  # seconds
SILENCE = f"note: no images have come for {PATIENCE} seconds; the disk is slow, or a process that reads them has been stopped"


def permutation(n: int, *seed: int) -> np.ndarray:
    """int64 [n]; by RandomState, because numpy promises never to change what it draws."""
    return np.random.RandomState(np.random.MT19937(np.random.SeedSequence(seed))).permutation(n)


def batches(
    dataset: Dataset,
    batch_size: int,  # of this process
    seed: int,
    start: int = 0,  # images that all processes together have seen already
    rank: int = 0,
    world: int = 1,
    workers: int = 0,  # spawned processes; 0 reads in this one, as does a data set that is kept in memory
    pin_memory: bool = False,
    positions: bool = False,  # ask for item (i, p), for datasets that draw something from an image by p
) -> ImageStream:
    """Endless (uint8 [B, C, H, W], int64 [B]), in an order that depends on nothing but `seed` and the images seen.

    Image number p of a training run is `permutation(p // n)[p % n]`, with a new permutation of all n images for every epoch.
    Global batch k begins at image `start + k * batch_size * world`; rank r takes its r-th slice. So a run that is resumed
    at `start` sees what an uninterrupted one would have seen, whatever the number of workers.

    No global random state is read or changed. `close()` stops the workers. `InputError` for images that cannot be read.
    """
    n = len(dataset)  # type: ignore[arg-type]  # `Dataset` leaves it to its subclasses
    if batch_size < 1 or start < 0 or not 0 <= rank < world or n < 1:
        raise ValueError(f"{batch_size=}, {start=}, {rank=}, {world=}, {n} images")
    if getattr(dataset, "in_memory", False):  # nothing is left to do for workers, and each would decode it all for itself
        workers = 0
    loader = DataLoader(
        _Batches(dataset),
        batch_size=None,  # the order hands out whole batches
        sampler=_order(n, batch_size, seed, start + rank * batch_size, batch_size * world, positions),
        num_workers=workers,  # they persist: an endless order has one epoch only, to the loader
        pin_memory=pin_memory,
        generator=torch.Generator(),  # else the loader draws from the global one
        multiprocessing_context="spawn" if workers else None,
        worker_init_fn=_init_worker,
    )
    return ImageStream(_iterate(loader))


def _order(n: int, batch_size: int, seed: int, first: int, step: int, positions: bool) -> Iterator[list]:
    """Lists of indices, one for each batch of one rank."""
    epoch, order = -1, None
    while True:
        batch = []
        for position in range(first, first + batch_size):
            if position // n != epoch:
                epoch = position // n
                order = permutation(n, seed, epoch)
            index = int(order[position % n])
            batch.append((index, position) if positions else index)
        yield batch
        first += step


class _Batches(Dataset):
    """Item [i, j, …] is the batch of these images, or an `InputError`: raised in a worker it would come out as a traceback."""

    def __init__(self, dataset: Dataset):
        self.dataset = dataset

    def __getitem__(self, indices: list):
        try:
            if hasattr(self.dataset, "training_batch"):
                return self.dataset.training_batch(indices)
            return default_collate([self.dataset[i] for i in indices])
        except InputError as error:
            return error
        except OSError as error:
            if trouble := disk_trouble(error):
                return trouble
            raise


def _iterate(loader: DataLoader) -> Generator[tuple, None, None]:
    iterator = iter(loader)
    patience = Patience(PATIENCE, SILENCE) if loader.num_workers else None
    try:
        while True:
            with patience or contextlib.nullcontext():
                item = next(iterator)
            if isinstance(item, InputError):
                raise item
            yield item
    finally:
        if patience:
            patience.close()
        del iterator  # stops the workers; must not wait until a traceback lets go of this frame


class Patience:
    """`with patience:` around what should not take long; where it takes longer than so many seconds, a note says so.

    One thread looks now and then, so that a block costs nothing (a thread of its own for each took 0.1 ms).
    """

    def __init__(self, seconds: float, text: str):
        self._seconds, self._text = seconds, text
        self._began: float | None = None  # of the block that is running
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def __enter__(self) -> None:
        self._began = time.monotonic()

    def __exit__(self, *exception) -> None:
        self._began = None

    def close(self) -> None:
        self._closed.set()
        self._thread.join()

    def _watch(self) -> None:
        said = None
        while not self._closed.wait(self._seconds / 4):
            began = self._began
            if began not in (None, said) and time.monotonic() - began >= self._seconds:
                said = began
                print(self._text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def readers_watched() -> Iterator[None]:
    """PyTorch raises `RuntimeError` anywhere when a data worker is killed; here that becomes `InputError`."""
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise InputError(
            f"a process that reads images was ended from outside ({first_line(error)}); --workers 0 needs the least memory"
        ) from None


def _init_worker(worker: int) -> None:
    """A signal to stop may reach every process of a group; the main one answers it, and stops the workers."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(1)
