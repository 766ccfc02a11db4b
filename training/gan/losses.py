"""Adversarial losses and penalties: pure functions of logits and images, each with its paper."""

import math

import torch
import torch.nn.functional as F

LOSSES = ("relativistic", "logistic")


def discriminator_loss(loss: str, real_logits: torch.Tensor, fake_logits: torch.Tensor) -> torch.Tensor:
    """What D minimises. Both [N, 1] -> []."""
    if loss == "relativistic":
        return relativistic_paired(real_logits, fake_logits)
    return logistic(real_logits) + logistic(-fake_logits)


def generator_loss(loss: str, fake_logits: torch.Tensor, real_logits: torch.Tensor | None) -> torch.Tensor:
    """What G minimises; only the relativistic loss looks at the real images. [N, 1] -> []."""
    if loss == "relativistic":
        return relativistic_paired(fake_logits, real_logits)
    return logistic(fake_logits)


def relativistic_paired(logits: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Mean of softplus(−(logits − others)): small where each sample is rated above the one it is paired with.

    The discriminator minimises it with (real, fake), the generator with (fake, real)
    (Jolicoeur-Martineau 2019; Huang et al. 2024, equation 2). Both [N, 1] -> [].
    """
    return F.softplus(others - logits).mean()


def logistic(logits: torch.Tensor) -> torch.Tensor:
    """Mean of softplus(−logits): small where samples are rated as real. Non-saturating for the generator
    (Goodfellow et al. 2014, section 3). [N, 1] -> []."""
    return F.softplus(-logits).mean()


def gradient_penalty(logits: torch.Tensor, *images: torch.Tensor) -> torch.Tensor:
    """‖∇_x D(x)‖² of each image; its mean is R1 on real images, R2 on generated ones (Mescheder et al. 2018, equation 9).

    logits [N, 1] must have been computed from images [N, C, H, W], which require a gradient; or logits [N, L] from L tensors,
    each from one of its own, whose penalties are added up. -> [N], differentiable.
    """
    gradients = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return torch.stack([gradient.square().sum(dim=(1, 2, 3)) for gradient in gradients]).sum(dim=0)


def path_lengths(images: torch.Tensor, ws: torch.Tensor, direction: torch.Tensor) -> torch.Tensor:
    """‖J_wᵀ y‖ of each sample: how far images [N, C, H, W] move with ws [N, num_ws, w_dim], the layers' w counted together.

    `direction` is y [N, C, H, W], white noise divided by √(H·W) (Karras et al. 2020, section 3.2, equation 4). -> [N].
    """
    (gradient,) = torch.autograd.grad((images * direction).sum(), ws, create_graph=True)
    # Where nothing depends on w, as at first with identity=1: the norm's derivative at 0 is 0, that of a root is infinite
    return torch.linalg.vector_norm(gradient, dim=(1, 2)) / math.sqrt(ws.shape[1])


def path_penalty(lengths: torch.Tensor, mean: float) -> torch.Tensor:
    """Mean of (‖J_wᵀ y‖ − a)²; a is the moving average of the lengths (Karras et al. 2020, equation 4)."""
    return (lengths - mean).square().mean()
