"""Directions in the space of styles that change pictures much, found without labels, and steps along them."""

from collections.abc import Iterable, Sequence

import torch

from networks.generator import PARTS, Generator
from networks.layers import Linear
from networks.modulation import AdaConv
from torch_utils.directions_file import Directions
from torch_utils.files import InputError
from torch_utils.ops import to_double
from torch_utils.rng import normal

METHODS = ("sefa", "ganspace")
NOTHING = 1e-10  # of the largest |A·n|²: what is below is rounding
Steps = Iterable[tuple[Directions, int, float]]  # along which of them, and how many steps


def what_style_says(modulation: torch.nn.Module, w: torch.Tensor, parts: Sequence[str] = ()) -> torch.Tensor:
    """w [N, w_dim] -> [N, M]: what a layer computes of it by affine maps, before anything else is done with the result.

    Of AdaConv kernels, all of them or `parts`; of the others scales, shifts, and the logits that weigh a bank.
    """
    if isinstance(modulation, AdaConv):
        kernels = modulation.predictor(w.unflatten(1, modulation.style_shape))
        return torch.cat([getattr(kernels, part).flatten(1) for part in parts or PARTS], dim=1)
    return torch.cat([layer(w) for layer in modulation.children() if isinstance(layer, Linear)], dim=1)


@torch.no_grad()
def style_map(modulation: torch.nn.Module, w_dim: int, parts: Sequence[str] = ()) -> torch.Tensor:
    """The matrix A [M, w_dim] of these maps, with their gains: what w adds to what the style says is A·w."""
    device = next(modulation.parameters()).device
    units = torch.eye(w_dim, device=device)
    return (what_style_says(modulation, units, parts) - what_style_says(modulation, torch.zeros_like(units[:1]), parts)).t()


def sefa(maps: Iterable[torch.Tensor], count: int) -> torch.Tensor:
    """Closed-form factorisation (Shen and Zhou 2021, equation 5): the unit vectors n that |A·n| is largest for.

    maps: A [M, w_dim] of each layer, as one matrix below the other -> [count, w_dim], the eigenvectors of AᵀA with the
    largest eigenvalues.
    """
    gram = sum(matrix.t() @ matrix for matrix in map(to_double, maps))
    return largest(gram, count)  # type: ignore[arg-type]  # 0 of no maps, but there is one


def ganspace(w: torch.Tensor, count: int) -> torch.Tensor:
    """Principal components (Härkönen et al. 2020, section 2.1) of styles [N, w_dim] -> [count, w_dim]."""
    w = to_double(w)
    centred = w - w.mean(dim=0)
    return largest(centred.t() @ centred, count)


def largest(symmetric: torch.Tensor, count: int) -> torch.Tensor:
    """The eigenvectors with the largest eigenvalues, as rows, float32. Of both signs that with the largest entry positive."""
    vectors = torch.linalg.eigh(symmetric.cpu()).eigenvectors.flip(1)[:, :count].t()
    peaks = vectors.gather(1, vectors.abs().argmax(dim=1, keepdim=True))
    return (vectors * peaks.sign()).float()


@torch.no_grad()
def random_styles(G: Generator, count: int, c: torch.Tensor | None = None, seed: int = 0) -> torch.Tensor:
    """w [count, w_dim] of random noises, of class c [1, c_dim]."""
    device = next(G.parameters()).device
    z = normal((count, G.z_dim), "directions", seed).to(device)
    return G.mapping(z, None if c is None else c.to(device).expand(count, -1))[:, 0]


def find_directions(
    G: Generator,
    method: str,  # one of METHODS
    count: int,
    layers: list[int],  # whose maps are factorised, and whose ws the directions move
    parts: Sequence[str] = (),  # of AdaConv's kernels, likewise; none: whole styles
    samples: int = 10000,  # noises that are mapped to styles
    c: torch.Tensor | None = None,  # their class [1, c_dim]
) -> Directions:
    """The strongest first, named by method and number. A step along one is a standard deviation of w.

    `InputError` where `sefa` finds fewer that change anything.
    """
    parts = tuple(dict.fromkeys(parts))  # each moves once
    w = random_styles(G, samples, c).cpu()
    if method == "sefa":
        modulations = [layer.get_submodule("modulation") for i, layer in enumerate(G.synthesis.layers) if i in layers]
        maps = [style_map(modulation, G.w_dim, parts) for modulation in modulations]
        vectors = sefa(maps, count)
        changes = sum((to_double(matrix).cpu() @ vectors.double().t()).square().sum(dim=0) for matrix in maps)  # |A·n|²
        if (rank := int((changes > NOTHING * changes[0]).sum())) < count:  # type: ignore[index]
            raise InputError(f"--count {count}: no more than {rank} of them would change anything")
    else:
        vectors = ganspace(w, count)
    scale = ((w - w.mean(dim=0)) @ vectors.t()).std(dim=0)
    return Directions([f"{method}-{i}" for i in range(count)], vectors, layers, scale, list(parts))


def kernel_parts(G: Generator) -> tuple[str, ...]:
    """Those that are predicted, so that styles can differ in them; none where no kernels are predicted."""
    return G.synthesis.parts


def require_parts(G: Generator, parts: Iterable[str], what: str) -> None:
    """`InputError`, which begins with `what`, where not all of these parts are predicted."""
    if parts and not kernel_parts(G):
        raise InputError(f"{what} predicts no kernels: its modulation is {G.config['modulation']}")
    if missing := [part for part in parts if part not in kernel_parts(G)]:
        raise InputError(f"{what} has one {missing[0]} for all styles: it predicts {', '.join(kernel_parts(G))} alone")


def moved(ws: torch.Tensor, steps: Steps) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """ws [N, num_ws, w_dim] after all steps, and the `parts` with which `G.synthesis` draws them.

    Where directions move parts of kernels alone, those parts come from styles of their own; whole styles move all parts.
    """
    whole, alone = ws.clone(), {}
    for found, index, step in steps:
        shift = torch.zeros_like(ws[:1])
        shift[:, found.layers] = (step * found.scale[index] * found.directions[index]).to(ws.device)
        if not found.parts:
            whole += shift
        for part in found.parts:
            alone[part] = alone.get(part, 0) + shift
    return whole, {part: whole + shift for part, shift in alone.items()}
