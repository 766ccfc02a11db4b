"""Random numbers that depend on how far a training run is, and on nothing that happened before."""

import hashlib

import torch

BLOCK = 32  # images whose numbers are drawn at once


def mix(*values) -> int:
    """A 63-bit seed from anything printable; different values give unrelated seeds."""
    digest = hashlib.sha256(repr(values).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def reseed(seed: int, rank: int, nimg: int) -> None:
    """Seed torch's generators from (seed, rank, images seen), so that a resumed run needs no generator's state."""
    torch.manual_seed(mix("step", seed, rank, nimg))


def normal(shape: tuple[int, ...], *values) -> torch.Tensor:
    """Standard normal numbers on the CPU, fixed by `values`; the global generators are left alone."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(mix(*values)))


class Draws:
    """A row of random numbers for each image of `like` [N, …], on its device: [N, *shape]. By torch's global generators."""

    def normal(self, like: torch.Tensor, *shape: int) -> torch.Tensor:
        """Of the type of `like`, as are uniform ones."""
        return self._draw(torch.randn, like, shape, like.dtype)

    def uniform(self, like: torch.Tensor, *shape: int) -> torch.Tensor:
        """In [0, 1)."""
        return self._draw(torch.rand, like, shape, like.dtype)

    def integers(self, like: torch.Tensor, low: int, high: int, *shape: int) -> torch.Tensor:
        """int64 from `low` to `high` − 1."""
        return self._draw(lambda size, **options: torch.randint(low, high, size, **options), like, shape, torch.int64)

    def _draw(self, sample, like: torch.Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        return sample((len(like), *shape), dtype=dtype, device=like.device)


class BatchDraws(Draws):
    """For images `first`, `first` + 1, … of a batch that several processes share. What image i is given depends on `key`, on i
    and on what was drawn before; not on who draws it, nor on how many images it is drawn together with.

    Numbers come in blocks of `BLOCK` images, each of a generator of its own; a process draws the blocks that its images lie in,
    and leaves what is not its own. So one process with the whole batch draws no more than it needs.
    """

    def __init__(self, batch: int, first: int, *key, batches: int = 1):
        """`batches`: as many images, one batch behind the other, each of which has numbers of its own."""
        self.batch, self.first, self.key, self.batches = batch, first, key, batches
        self._generators: dict[int, torch.Generator] = {}

    def _draw(self, sample, like: torch.Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        end = self.first + len(like) // self.batches
        if end > self.batch:
            raise ValueError(f"found images {self.first} to {end - 1}, wanted those of a batch of {self.batch}")
        rows = []
        for start in range(self.first // BLOCK * BLOCK, end, BLOCK):
            size = (min(BLOCK, self.batch - start), self.batches, *shape)
            block = sample(size, dtype=dtype, device=like.device, generator=self._generator(start, like.device))
            rows.append(block[max(self.first - start, 0) : end - start])
        mine = rows[0] if len(rows) == 1 else torch.cat(rows)
        return mine.transpose(0, 1).reshape(len(like), *shape)

    def _generator(self, start: int, device: torch.device) -> torch.Generator:
        if start not in self._generators:
            self._generators[start] = torch.Generator(device).manual_seed(mix(*self.key, start))
        return self._generators[start]


GLOBAL = Draws()
