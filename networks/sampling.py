"""Images drawn from a generator, as uint8 batches."""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F

from networks.generator import Generator
from torch_utils.images import to_uint8
from torch_utils.rng import normal


def one_hot(classes: Sequence[int], c_dim: int) -> torch.Tensor:
    """[N, c_dim] float32."""
    return F.one_hot(torch.as_tensor(classes, dtype=torch.long), c_dim).float()


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
    seed: int = 0,  # the same seed gives the same images, whatever the batch size
    classes: Sequence[int] | None = None,  # to draw from evenly, such as the labels of the training images; conditional G only
    batch: int = 32,
    share: tuple[int, int] = (0, 1),  # (rank, world size): only batches rank, rank + world size, …
) -> Iterator[torch.Tensor]:
    """`count` images of a generator in batches, uint8 [≤ batch, C, H, W], on its device."""
    device = next(G.parameters()).device
    z = normal((count, G.z_dim), "sample", seed)
    c = draw_labels(count, G.c_dim, seed, classes)
    rank, world = share
    for i in range(rank * batch, count, world * batch):
        labels = None if c is None else c[i : i + batch].to(device)
        yield to_uint8(G(z[i : i + batch].to(device), labels))
