"""Images drawn from a generator, as uint8 batches."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from networks.generator import Generator
from torch_utils.files import InputError
from torch_utils.images import to_uint8
from torch_utils.precision import float32
from torch_utils.rng import normal


def one_hot(classes: Sequence[int], c_dim: int) -> torch.Tensor:
    """[N, c_dim] float32."""
    return F.one_hot(torch.as_tensor(classes, dtype=torch.long), c_dim).float()


def class_vector(c_dim: int, label: str | None, names: list[str] | None, network: Path) -> torch.Tensor | None:
    """One-hot [1, c_dim] of a class given by number or name; None for an unconditional network."""
    if c_dim == 0:
        if label is not None:
            raise InputError(f"--class {label}: {network} was trained without labels")
        return None
    known = f"a number from 0 to {c_dim - 1}" + (f" or one of {', '.join(names)}" if names else "")
    if label is None:
        raise InputError(f"{network} was trained with labels, so --class is needed: {known}")
    if names and label in names:
        return one_hot([names.index(label)], c_dim)
    if not label.isdecimal() or int(label) >= c_dim:
        raise InputError(f"--class {label}: wanted {known}")
    return one_hot([int(label)], c_dim)


def draw_labels(count: int, c_dim: int, seed: int = 0, classes: Sequence[int] | None = None) -> torch.Tensor | None:
    """[count, c_dim] float32, one-hot, drawn evenly from `classes` (by default each class once); None where c_dim is 0."""
    if not c_dim:
        return None
    classes = range(c_dim) if classes is None else classes
    picks = torch.randint(len(classes), (count,), generator=torch.Generator().manual_seed(seed))
    return one_hot([classes[i] for i in picks.tolist()], c_dim)


@torch.inference_mode()
def sample(
    G: Generator,
    count: int,
    seed: int = 0,  # the same seed gives the same images, to rounding whatever the batch size
    classes: Sequence[int] | None = None,  # to draw from evenly, such as the labels of the training images; conditional G only
    batch: int = 32,
    share: tuple[int, int] = (0, 1),  # (rank, world size): only batches rank, rank + world size, …
    psi: float = 1,  # truncation, of the layers below `cutoff`
    cutoff: int | None = None,
) -> Iterator[torch.Tensor]:
    """`count` images of a generator in batches, uint8 [≤ batch, C, H, W], on its device."""
    device = next(G.parameters()).device
    z = normal((count, G.z_dim), "sample", seed)
    c = draw_labels(count, G.c_dim, seed, classes)
    rank, world = share
    for i in range(rank * batch, count, world * batch):
        labels = None if c is None else c[i : i + batch].to(device)
        yield to_uint8(G(z[i : i + batch].to(device), labels, psi, cutoff))


@torch.inference_mode()
def draw_seed(
    G: Generator,
    seed: int,
    c: torch.Tensor | None = None,  # [1, c_dim]
    psi: float = 1,  # truncation, of the layers below `cutoff`
    cutoff: int | None = None,
    noise_mode: str = "const",
) -> torch.Tensor:
    """uint8 [C, H, W], as `generate.py` draws it. One image a forward, with its own random numbers, so that no other seed can
    change it."""
    return draw_styles(G, seed_styles(G, seed, c, psi, cutoff), seed, noise_mode)


@float32()
@torch.inference_mode()
def draw_styles(
    G: Generator,
    ws: torch.Tensor,  # [1, num_ws, w_dim]
    seed: int = 0,  # of random noise
    noise_mode: str = "const",
    parts: Mapping[str, torch.Tensor] | None = None,  # of kernels that come from other ws
) -> torch.Tensor:
    """uint8 [C, H, W]; in float32 on GPUs, too, so that every command and the viewer draw the same."""
    torch.manual_seed(seed)
    return to_uint8(G.synthesis(ws, noise_mode, parts=parts))[0]


def check_cutoff(G: Generator, cutoff: int | None, psis: Sequence[float]) -> None:
    """`InputError` where more layers are to be truncated than there are, or none of `psis` truncates any."""
    if cutoff is not None and cutoff > G.num_ws:
        raise InputError(f"--trunc-cutoff {cutoff}: this network has {G.num_ws} layers")
    if cutoff is not None and all(psi == 1 for psi in psis):
        raise InputError(f"--trunc-cutoff {cutoff}: has no say without --trunc, as a psi of 1 truncates nothing")


@float32()
def seed_styles(G: Generator, seed: int, c: torch.Tensor | None, psi: float, cutoff: int | None) -> torch.Tensor:
    """ws [1, num_ws, w_dim] of a seed."""
    device = next(G.parameters()).device
    return G.mapping(seed_noise(G, [seed]).to(device), None if c is None else c.to(device), psi, cutoff)


def seed_noise(G: Generator, seeds: Sequence[int]) -> torch.Tensor:
    """z [N, z_dim] of each seed, as StyleGAN's commands draw it."""
    return torch.from_numpy(np.stack([np.random.RandomState(seed).randn(G.z_dim) for seed in seeds])).float()
