"""Structure score: how well the strokes of an image (their orientations and scales, patch by patch) match those of a style.

A pure function of images. Mean and contrast, which AdaIN transfers, have no effect on it: see docs/structure.md.
"""

import functools
import math
from typing import NamedTuple

import torch

from torch_utils.ops import to_double

PERIODS = (4, 8, 16, 32)  # pixels from stroke to stroke that the filters are tuned to, an octave apart
ORIENTATIONS = 8  # 22.5° apart
ENVELOPE = 0.56  # deviation of a filter's Gaussian in periods: one octave wide
REACH = 2.5  # of a filter to each side, in deviations
WINDOW = 1.0  # deviation in periods of the Gaussian in which energy is averaged
PATCHES = 16  # per side, spread evenly over the image, whatever its size
BASES = 16  # random orthonormal bases, whose vectors are the directions of the sliced distance
FLAT = 1e-6  # energy of a wave with an amplitude of a quarter of a grey level: less is rounding
LUMINANCE = (0.299, 0.587, 0.114)


class StructureScore(NamedTuple):
    score: float  # 1 - output / content; 1: strokes as in the style, 0: no nearer to it than the content's
    output: float  # distance of the output to the style
    content: float  # distance of the content to the style


def luminance(images: torch.Tensor) -> torch.Tensor:
    """RGB [N, 3, H, W] -> [N, H, W]"""
    return torch.einsum("nchw,c->nhw", images, images.new_tensor(LUMINANCE))


@torch.no_grad()
def stroke_descriptors(images: torch.Tensor, periods: tuple[int, ...] = PERIODS) -> torch.Tensor:
    """RGB [N, 3, H, W] in [-1, 1] -> [N, PATCHES², len(periods) · ORIENTATIONS]: the strokes in each patch.

    Square roots of a patch's local energies after complex Gabor filters, divided by the root of the whole image's energy. So
    their squares sum to 1 in the mean over the patches; mean and contrast of the image have no effect, nor has the position of
    a stroke in its patch, but its orientation and scale have. `ValueError` where the filters are larger than the image.
    """
    least = smallest_side(periods)
    if min(images.shape[2:]) < least:
        size = f"{images.shape[3]}×{images.shape[2]} pixels"
        raise ValueError(f"found an image of {size}, wanted {least} at least on each side for periods up to {max(periods)}")
    light = luminance(to_double(images))
    light = (light - light.mean(dim=(1, 2), keepdim=True)).to(torch.complex128)
    height, width = light.shape[1:]
    energies = []
    for period in periods:
        window_y, window_x = _windows(height, period), _windows(width, period)
        for i in range(ORIENTATIONS):
            # A Gabor filter with a round envelope is a product of one along x and one along y: two matrices.
            angle = math.pi * i / ORIENTATIONS
            along_x = _gabor(width, period, math.cos(angle)).to(light.device)
            along_y = _gabor(height, period, math.sin(angle)).to(light.device)
            energy = (along_y @ light @ along_x.mT).abs().square()
            energies.append(window_y.to(light.device) @ energy @ window_x.to(light.device).mT)
    stacked = torch.stack(energies, dim=-1).flatten(1, 2)  # [N, PATCHES², channels]
    whole = stacked.sum(dim=2).mean(dim=1) + FLAT
    return (stacked / whole[:, None, None]).sqrt().float().to(images.device)


def smallest_side(periods: tuple[int, ...] = PERIODS) -> int:
    """Of an image: the largest filter, and one more period to move it in."""
    return 2 * _reach(max(periods)) + max(periods)


def _reach(period: int) -> int:
    return math.ceil(REACH * ENVELOPE * period)


def _places(size: int, period: int) -> torch.Tensor:
    """Where a filter is evaluated: wholly within the image, every half period, which is fine enough for energy."""
    return torch.arange(_reach(period), size - _reach(period), max(period // 2, 1))


@functools.lru_cache(maxsize=256)
def _gabor(size: int, period: int, slope: float) -> torch.Tensor:
    """[places, size]: a Gaussian of unit sum times a complex wave, around each place."""
    distance = torch.arange(size) - _places(size, period)[:, None].double()
    weight = torch.exp(-0.5 * (distance / (ENVELOPE * period)) ** 2) * (distance.abs() <= _reach(period))
    return weight / weight.sum(dim=1, keepdim=True) * torch.exp(2j * math.pi * slope / period * distance)


@functools.lru_cache(maxsize=32)
def _windows(size: int, period: int) -> torch.Tensor:
    """[PATCHES, places]: weights of the mean around each patch's centre. At the border only the inner side has any."""
    places = _places(size, period).double()
    centres = (torch.arange(PATCHES).double() + 0.5) * size / PATCHES - 0.5
    exponent = -0.5 * ((places - centres[:, None]) / (WINDOW * period)) ** 2
    return torch.softmax(exponent, dim=1)


@functools.lru_cache(maxsize=8)
def _directions(channels: int) -> torch.Tensor:
    """[channels, BASES · channels], always the same."""
    generator = torch.Generator().manual_seed(0)
    bases = torch.linalg.qr(torch.randn(BASES, channels, channels, generator=generator)).Q
    return bases.permute(1, 0, 2).flatten(1)


def slices(descriptors: torch.Tensor) -> torch.Tensor:
    """[N, P, K] -> [N, P, BASES · K]: the projections of a set on each direction, sorted."""
    return (descriptors @ _directions(descriptors.shape[2]).to(descriptors)).sort(dim=1).values


def between(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Distances of `slices` [N, P, BASES · K], or of one to many -> [N]."""
    return ((one - other).square().mean(dim=(1, 2)) * (one.shape[2] / BASES)).sqrt()


def distance(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Sliced Wasserstein distance of sets of descriptors, [N, P, K] and [N, P, K] -> [N].

    In each direction the sets are sorted and compared pair by pair. Times √K, so that of two sets of one repeated descriptor
    it is the Euclidean distance: at most √2 for textures without a common orientation and scale.
    """
    return between(slices(one), slices(other))


def structure_score(output: torch.Tensor, content: torch.Tensor, style: torch.Tensor, periods=PERIODS) -> list[StructureScore]:
    """Of images [N, 3, H, W] in [-1, 1]; `style` may have another size. One result for each, whatever the batch."""
    result, before, target = (stroke_descriptors(images, periods) for images in (output, content, style))
    return [from_distances(float(a), float(b)) for a, b in zip(distance(result, target), distance(before, target))]


def from_distances(output: float, content: float) -> StructureScore:
    """NaN where the content already has the strokes of the style."""
    return StructureScore(1 - output / content if content > 0 else math.nan, output, content)


def mean_score(scores: list[StructureScore]) -> StructureScore:
    """Of many pairs: from the mean distances, so that a pair of nearly equal structure does not outweigh the others."""
    return from_distances(*(sum(getattr(s, name) for s in scores) / len(scores) for name in ("output", "content")))
