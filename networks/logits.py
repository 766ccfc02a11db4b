"""What both discriminators end with: the minibatch standard deviation, and logits by label."""

import torch

from networks.layers import Linear
from torch_utils.ops import in_float32

GROUP = 4  # samples that share one standard deviation


def minibatch_std(x: torch.Tensor, group_size: int, batches: int = 1) -> torch.Tensor:
    """Append one channel: the standard deviation over a group of samples, averaged over everything else.

    Karras et al. 2018, section 3. Groups are consecutive samples, so that they are the same however a batch is shared out, as
    long as every share is a multiple of `group_size`.
    """
    total, c, h, w = x.shape
    n = total // batches
    group = group_size if n % group_size == 0 else n
    y = _group_std(x.reshape(total // group, group, c, h, w))  # [total/group]
    y = y.to(x.dtype).repeat_interleave(group, output_size=total).view(-1, 1, 1, 1).expand(total, 1, h, w)
    return torch.cat([x, y.contiguous(memory_format=torch.channels_last)], dim=1)


@in_float32
def _group_std(y: torch.Tensor) -> torch.Tensor:
    """[groups, group, C, H, W] -> [groups]"""
    y = (y - y.mean(dim=1, keepdim=True)).square().mean(dim=1)
    return (y + 1e-8).sqrt().mean(dim=(1, 2, 3))


def of_label(x: torch.Tensor, embed: Linear, c: torch.Tensor | None) -> torch.Tensor:
    """Projection (Miyato and Koyama 2018): x [N, C] times the embedding of the label, one-hot c [N, c_dim] -> logits [N, 1]."""
    if c is None:
        raise ValueError(f"this discriminator is conditional: it needs labels c [N, {embed.weight.shape[1]}]")
    embedding = embed(c)
    embedding = embedding * (embedding.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()
    return (x * embedding).sum(dim=1, keepdim=True) * x.shape[1] ** -0.5
