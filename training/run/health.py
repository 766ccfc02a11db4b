"""Signs that a training run goes wrong: values that are not finite, a discriminator that has won, samples that are all alike,
and a length that would take this machine days."""

import torch

from torch_utils.files import InputError

MAX_HOURS = 72  # of a CPU, without a warning


class Diverged(InputError):
    """NaN or infinity, met before it could spoil the weights; the last saved state is good."""

    def __init__(self, what: str, nimg: int, culprit: str | None):
        first = f"; the first such tensor is {culprit}" if culprit else ""
        super().__init__(
            f"{what} is not finite at {nimg / 1000:.3f} kimg{first}. The last saved state is good: go on from it with --resume "
            "RUN_DIR and half of --glr and --dlr, or twice --gamma, or --precision fp32"
        )


def check_finite(
    what: str, value: torch.Tensor, nimg: int, networks: dict[str, torch.nn.Module], inputs: dict[str, torch.Tensor]
) -> None:
    """Raise `Diverged` where `value` has NaN or infinity, and name the first of the inputs, weights and gradients that has."""
    if not value.isfinite().all():
        raise Diverged(what, nimg, first_not_finite(networks, inputs))


def first_not_finite(networks: dict[str, torch.nn.Module], inputs: dict[str, torch.Tensor]) -> str | None:
    """Inputs first, then each network's weights, buffers and gradients in their order."""
    tensors = dict(inputs)
    for prefix, network in networks.items():
        tensors |= {f"{prefix}.{name}": tensor for name, tensor in network.state_dict().items()}
    for prefix, network in networks.items():
        gradients = ((name, parameter.grad) for name, parameter in network.named_parameters())
        tensors |= {f"the gradient of {prefix}.{name}": grad for name, grad in gradients if grad is not None}
    return next((name for name, tensor in tensors.items() if not tensor.isfinite().all()), None)


def diversity(images: torch.Tensor) -> float:
    """How much images differ from each other: standard deviation over the batch, uint8 [N, C, H, W], averaged over pixels."""
    return images.float().std(dim=0, correction=0).mean().item()


def too_long(sec_per_kimg: float, kimg: float, device: torch.device, way_out: str) -> list[str]:
    """A warning where the rest of a run, `kimg` long, would keep a CPU busy for days."""
    hours = sec_per_kimg * kimg / 3600
    if device.type != "cpu" or hours < MAX_HOURS:
        return []
    return [f"warning: at {sec_per_kimg:,.1f} s/kimg, {kimg:,.5g} kimg take {hours:,.0f} hours on this CPU: {way_out}"]


def warnings(means: dict[str, float]) -> list[str]:
    """What the averages of a tick say about the balance of the two networks."""
    if means.get("signs", 0) > 0.98 and means.get("loss_D", 1) < 0.05:
        return [
            "warning: the discriminator tells nearly all images apart (loss_D "
            f"{means['loss_D']:.4f}): the generator learns little from it; more --gamma or --aug ada may help"
        ]
    return []
