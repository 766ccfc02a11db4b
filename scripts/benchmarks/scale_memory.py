"""What a training process holds, by what it is for, from networks without memory: `python -m scripts.bench scale --memory`.

Of each step the tensors are counted that backpropagation keeps. What is needed for a moment only is not, nor is augmentation.
"""

import dataclasses
from collections.abc import Callable

import torch

from scripts.benchmarks.scale_measure import build
from scripts.output import markdown
from training.gan.config import TrainingConfig
from training.gan.losses import gradient_penalty, path_lengths
from training.gan.state import TrainingState

GPUS = (24, 80)  # GB
FACTORS = (1, 2, 4, 8)  # of all widths
VALUE = 4  # bytes, in float32


@dataclasses.dataclass(frozen=True)
class States:
    """What there is of each parameter, whatever the batch, in bytes."""

    count: int  # parameters of G and D
    weights: int
    gradients: int
    adam: int  # two means of each
    averages: int  # of G

    @property
    def together(self) -> int:
        return self.weights + self.gradients + self.adam + self.averages


def states(state: TrainingState) -> States:
    size = lambda network: VALUE * sum(t.numel() for t in (*network.parameters(), *network.buffers()))
    learn = VALUE * sum(p.numel() for network in (state.G, state.D) for p in network.parameters())
    averages = sum(map(size, (state.ema, *state.averages)))
    return States(learn // VALUE, size(state.G) + size(state.D), learn, 2 * learn, averages)


def kept(state: TrainingState, config: TrainingConfig, images: int) -> int:
    """Bytes that backpropagation keeps of so many images in float32, with penalties, in the update that keeps more of them."""
    z = lambda count: torch.empty(count, config.z_dim, device=state.G.mapping.w_avg.device)
    fake = state.G(z(images)).detach()

    def generator() -> None:
        state.D(state.G.synthesis(state.G.mapping(z(images)), "random"))
        if config.pl_weight > 0:
            ws = state.G.mapping(z(max(images // 2, 1)))
            moved = state.G.synthesis(ws, "random")
            path_lengths(moved, ws, torch.empty_like(moved))

    def discriminator() -> None:
        alike = config.loss == "relativistic"
        real = (torch.cat([fake, fake]) if alike else fake).requires_grad_(config.gamma > 0)
        logits = state.D(real, None, 2 if alike else 1)
        if config.gamma > 0:
            gradient_penalty(logits, real)
        if not alike:
            state.D(fake.detach())

    state.D.requires_grad_(False)
    of_generator = _saved(generator, state)
    state.D.requires_grad_(True)
    return max(of_generator, _saved(discriminator, state))


def _saved(work: Callable[[], None], state: TrainingState) -> int:
    """Bytes of the memory that autograd saves in work(), each part once; weights have their own place."""
    own = {p.untyped_storage()._cdata for network in (state.G, state.D) for p in network.parameters()}
    found: dict[int, torch.Tensor] = {}  # tensors are held, so that no other one gets the same address

    def save(tensor: torch.Tensor) -> torch.Tensor:
        found.setdefault(tensor.untyped_storage()._cdata, tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
        work()
    return sum(tensor.untyped_storage().nbytes() for place, tensor in found.items() if place not in own)


def wider(config: TrainingConfig, factor: int) -> TrainingConfig:
    names = ("channel_base", "channel_max", "d_channel_base")
    return dataclasses.replace(config, **{name: factor * value for name in names if (value := getattr(config, name))})


def memory_table(config: TrainingConfig, side: int, least: int) -> str:
    """Markdown: a row for each factor of the widths, and from how many parameters GPUs are full of what there is of each."""
    lines, found = [], []
    for factor in FACTORS:
        scaled = wider(config, factor)
        state = build(scaled, side, "meta")
        of = states(state)
        steps = [kept(state, scaled, images) for images in (config.batch, least)]
        parts = (of.weights, of.gradients, of.adam, of.averages, of.together, *steps)
        lines.append([factor, f"{of.count / 1e6:,.1f}", *(f"{part / 1e9:.3g}" for part in parts)])
        found.append(of.together / of.count)
    full = [f"{gpu} GB from {gpu * 1000 / found[-1]:,.0f} million" for gpu in GPUS]
    heads = ["times as wide", "million parameters", "weights, GB", "gradients", "Adam", "averages", "these together"]
    table = markdown([*heads, f"a step of {config.batch} images", f"of {least} images"], lines)
    return f"{table}\n\n{found[-1]:.1f} bytes a parameter: they alone fill {', and '.join(full)}."
