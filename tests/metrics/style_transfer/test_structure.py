"""The structure score: what it answers to, what it must not, and closed forms."""

import math

import pytest
import torch

from metrics.style_transfer.structure import (
    ORIENTATIONS,
    PATCHES,
    PERIODS,
    distance,
    from_distances,
    mean_score,
    smallest_side,
    stroke_descriptors,
    structure_score,
)
from scripts.experiments.structure_response import responses
from torch_utils.images import from_uint8, to_uint8
from training.style_transfer.textures import DEVIATION, KINDS, MEAN, Texture, smooth_field, texture, texture_batch

FINE = (4, 8, 16)  # for small images


def wave(period: float, degrees: float, size: int = 128) -> torch.Tensor:
    """[1, 3, size, size]: a grey sine whose brightness changes in this direction."""
    y, x = torch.meshgrid(*[torch.arange(size).double()] * 2, indexing="ij")
    angle = math.radians(degrees)
    light = torch.sin(2 * math.pi * (x * math.cos(angle) + y * math.sin(angle)) / period + 0.3)
    return (0.5 * light).float().expand(1, 3, -1, -1)


def test_energy_of_a_wave_is_the_filters_gain_squared():
    """A filter of period λ and Gaussian deviation 0.56 λ passes a wave at frequency f with exp(−½ (2π 0.56 λ |f − f₀|)²)."""
    for period, degrees in ((8, 0), (8, 22.5), (16, 112.5), (11, 30)):
        found = stroke_descriptors(wave(period, degrees)).square().mean(dim=1).view(len(PERIODS), ORIENTATIONS)
        expected = torch.zeros(len(PERIODS), ORIENTATIONS, dtype=torch.float64)
        for i, tuned in enumerate(PERIODS):
            for j in range(ORIENTATIONS):
                for sign in (1, -1):  # a real wave is two complex ones
                    one, other = (math.radians(degrees), sign / period), (math.pi * j / ORIENTATIONS, 1 / tuned)
                    gap = math.dist(*((f * math.cos(a), f * math.sin(a)) for a, f in (one, other)))
                    expected[i, j] += math.exp(-0.5 * (2 * math.pi * 0.56 * tuned * gap) ** 2) ** 2
        assert (found - expected / expected.sum()).abs().max() < 0.02, (period, degrees)


def test_squares_sum_to_one():
    descriptors = stroke_descriptors(texture_batch([Texture("stripes", 9, 20), Texture("dots", 12, 0)], 128, 0))
    assert descriptors.shape == (2, PATCHES**2, len(PERIODS) * ORIENTATIONS)
    assert torch.allclose(descriptors.square().sum(dim=2).mean(dim=1), torch.ones(2), atol=1e-3)
    assert stroke_descriptors(torch.full((1, 3, 128, 128), 0.3)).abs().max() < 1e-6  # no strokes


def test_distance_of_points_is_euclidean():
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(3, 1, 32, generator=generator) for _ in range(2))
    assert torch.allclose(distance(a.expand(-1, 50, -1), b.expand(-1, 50, -1)), (a - b).norm(dim=2)[:, 0], rtol=1e-5)
    sets = torch.randn(3, 50, 32, generator=generator)
    assert distance(sets, sets[:, torch.randperm(50, generator=generator)]).max() < 1e-6  # order does not count
    assert torch.allclose(distance(sets, sets + 0.1), torch.full([3], 0.1 * 32**0.5), rtol=1e-4)  # all moved alike


def test_response():
    """Each in its place on a scale whose end, two textures without anything in common, is √2."""
    found = responses()
    same = ("another phase", "half the contrast, lighter", "another colour of the same luminance", "128×128 pixels")
    assert all(found[name] < 0.02 for name in same)
    assert found["half horizontal, half vertical → the halves swapped"] < 0.05
    turned = [found[f"turned by {degrees}°"] for degrees in ("7.5", "22.5", "45", "90")]
    assert turned == sorted(turned) and turned[0] > 0.2 and turned[1] > 0.6
    assert 1.35 < turned[-1] < 2**0.5
    assert 0.4 < found["1.2 times the period"] < found["twice the period"] < 2**0.5
    for name in ("stripes → dots", "stripes → white noise", "stripes → no strokes"):
        assert found[name] > 0.6, name
    assert found["half horizontal, half vertical → both everywhere"] > 0.5  # though their mean descriptors are the same


def test_turned_and_mirrored_together_changes_nothing():
    one, other = (texture("stripes", 10, degrees, 128, 0)[None] for degrees in (10, 70))
    before = float(distance(stroke_descriptors(one), stroke_descriptors(other)))
    for change in (lambda x: x.mT, lambda x: x.flip(3), lambda x: x.rot90(1, (2, 3))):
        assert float(distance(stroke_descriptors(change(one)), stroke_descriptors(change(other)))) == pytest.approx(
            before, rel=0.02
        )


def test_score():
    style, content = texture("stripes", 9, 30, 128, 0)[None], smooth_field(128, 0)[None]
    other = texture("stripes", 9, 30, 256, 1)[None]  # the same strokes, elsewhere, in a larger image
    assert structure_score(style, content, style)[0].score == 1
    assert structure_score(content, content, style)[0].score == 0
    assert structure_score(style * 0.5 + 0.2, content, other)[0].score > 0.97
    mixed = structure_score((style + content) / 2, content, style)[0]
    assert 0 < mixed.score < 1 and mixed.score == 1 - mixed.output / mixed.content
    assert math.isnan(structure_score(style, style, style)[0].score)
    assert mean_score([from_distances(0.5, 1), from_distances(0, 0)]).score == 0.5


def test_batch_does_not_matter():
    images = texture_batch([Texture("stripes", 9, 20), Texture("dots", 12, 0), Texture("stripes", 14, 70)], 96, 0)
    contents = torch.stack([smooth_field(96, i) for i in range(3)])
    together = structure_score(images, contents, images.flip(0), FINE)
    for i, found in enumerate(together):
        alone = structure_score(images[i : i + 1], contents[i : i + 1], images.flip(0)[i : i + 1], FINE)[0]
        assert found == pytest.approx(alone, abs=1e-6)


def test_small_images_are_refused():
    least = smallest_side()
    assert stroke_descriptors(torch.zeros(1, 3, least, least)).isfinite().all()
    with pytest.raises(ValueError, match=f"found an image of 200×{least - 1} pixels, wanted {least}"):
        stroke_descriptors(torch.zeros(1, 3, least - 1, 200))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("period, degrees", [(6, 0), (9.5, 33), (16, 75), (24, 120)])
def test_textures_have_one_mean_and_variance(kind, period, degrees):
    image = texture(kind, period, degrees, 64, seed=3)
    assert image.abs().max() <= 1  # nothing would be clipped
    for pixels, tolerance in ((image, 1e-6), (from_uint8(to_uint8(image[None]))[0], 4e-3)):
        assert (pixels.mean(dim=(1, 2)) - torch.tensor(MEAN)).abs().max() < tolerance
        assert (pixels.std(dim=(1, 2), correction=0) - torch.tensor(DEVIATION)).abs().max() < tolerance


def test_textures_are_what_they_say():
    level, upright = texture("stripes", 8, 0, 64, 0), texture("stripes", 8, 90, 64, 0)
    assert level.std(dim=2).max() < 1e-5 and upright.std(dim=1).max() < 1e-5
    assert torch.allclose(level[:, 8:], level[:, :-8], atol=1e-5)  # repeats after a period
    dots = texture("dots", 8, 0, 64, 0)
    assert torch.allclose(dots[:, 8:, 8:], dots[:, :-8, :-8], atol=1e-5)
    assert dots.max() - dots.mean() > 1.5 * (dots.mean() - dots.min())  # light dots on a dark ground
    assert not torch.equal(dots, texture("dots", 8, 0, 64, 1))
    with pytest.raises(ValueError, match="squares"):
        texture("squares", 8, 0, 64, 0)
