"""Random numbers that depend on how far a training run is, and on nothing that happened before."""

import hashlib

import torch


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
