"""Adversarial losses and penalties: pure functions of logits and images, each with its paper."""

import torch
import torch.nn.functional as F


def relativistic_paired(logits: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Mean of softplus(−(logits − others)): small where each sample is rated above the one it is paired with.

    The discriminator minimises it with (real, fake), the generator with (fake, real)
    (Jolicoeur-Martineau 2019; Huang et al. 2024, equation 2). Both [N, 1] -> [].
    """
    return F.softplus(others - logits).mean()


def gradient_penalty(logits: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """‖∇_x D(x)‖², averaged over the batch: R1 on real images, R2 on generated ones (Mescheder et al. 2018, equation 9).

    logits [N, 1] must have been computed from images [N, C, H, W], which require a gradient. -> [], differentiable.
    """
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.square().sum(dim=(1, 2, 3)).mean()
