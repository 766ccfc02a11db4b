"""The style distance: closed forms, what must not change it, and what moments cannot see but it does."""

import pytest
import torch

from metrics.style_transfer.content_distance import LAYER
from metrics.style_transfer.style_distance import LAYERS, QUANTILES, between, directions, slices, style_distance
from metrics.style_transfer.vgg_layers import relu_maps
from networks.style_transfer.feature_losses import gram_distance, moments_loss
from tests.style_fixtures import random_vgg, smooth


def maps(*shape, seed: int = 0) -> torch.Tensor:
    """Positive and skew, as after a ReLU."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).exp()


def trace(features: torch.Tensor) -> torch.Tensor:
    """[N]: the channels' variances, summed."""
    return features.flatten(2).var(dim=2, correction=0).sum(dim=1)


def test_directions_are_a_fixed_basis():
    assert torch.allclose(directions(24).T @ directions(24), torch.eye(24), atol=1e-5)
    directions.cache_clear()
    before = directions(24)
    torch.manual_seed(1)
    directions.cache_clear()
    assert torch.equal(directions(24), before)


def test_closed_forms():
    style = maps(2, 8, 32, 32)  # as many positions as quantiles: nothing is left out
    assert 32 * 32 == QUANTILES
    assert torch.equal(style_distance([style], [style]), torch.zeros(2))
    shift = torch.randn(8, generator=torch.Generator().manual_seed(1))
    found = style_distance([style + shift.view(1, 8, 1, 1)], [style])
    assert torch.allclose(found, shift.norm() / trace(style).sqrt(), rtol=1e-4)
    mean = style.mean(dim=(2, 3), keepdim=True)
    assert torch.allclose(style_distance([mean.expand_as(style)], [style]), torch.ones(2), rtol=1e-4)
    for factor in (0.5, 3):
        found = style_distance([mean + factor * (style - mean)], [style])
        assert torch.allclose(found, torch.full((2,), abs(factor - 1.0)), rtol=1e-4)


def test_of_one_channel_it_is_wasserstein():
    one, other = maps(1, 1, 32, 32), maps(1, 1, 32, 32, seed=1)
    expected = (one.flatten().sort().values - other.flatten().sort().values).square().mean() / trace(other)
    assert float(style_distance([one], [other])) == pytest.approx(float(expected.sqrt()[0]), rel=1e-4)


def test_positions_and_sizes_do_not_count():
    style, output = maps(2, 8, 20, 24), maps(2, 8, 20, 24, seed=1) * 0.7
    before = style_distance([output], [style])
    order = torch.randperm(20 * 24, generator=torch.Generator().manual_seed(0))
    permuted = output.flatten(2)[:, :, order].view_as(output)
    assert torch.allclose(style_distance([permuted], [style]), before, atol=1e-6)
    assert style_distance([permuted], [output]).max() < 1e-6
    larger = output.repeat(1, 1, 2, 3)
    assert torch.allclose(style_distance([larger], [style]), before, atol=1e-6)
    assert style_distance([larger], [output]).max() < 1e-6
    more = style_distance([maps(2, 8, 96, 96, seed=2)], [maps(2, 8, 48, 48, seed=3)])
    assert more.max() < 0.2  # two samples of the same distribution


def test_no_layer_outweighs_another():
    output, style = ([maps(1, c, 16, 16, seed=seed + c) for c in (4, 8)] for seed in (0, 1))
    alone = [style_distance([x], [y]) for x, y in zip(output, style)]
    scaled = style_distance([output[0] * 100, output[1]], [style[0] * 100, style[1]])
    assert torch.allclose(scaled, sum(alone) / 2, rtol=1e-4)
    assert torch.allclose(style_distance(output, style), sum(alone) / 2, rtol=1e-5)
    with pytest.raises(ValueError):
        style_distance(output, style[:1])


def test_each_pair_for_itself():
    output, style = [maps(3, 6, 16, 16)], [maps(3, 6, 12, 12, seed=1)]
    together = style_distance(output, style)
    alone = [style_distance([output[0][i : i + 1]], [style[0][i : i + 1]]) for i in range(3)]
    assert torch.allclose(together, torch.cat(alone), rtol=1e-5) and len(set(together.tolist())) == 3
    assert torch.equal(between([slices(output[0])], [slices(style[0])]), together)


def test_it_sees_what_means_deviations_and_gram_matrices_do_not():
    """Two independent channels, of two values or of Gaussian ones, brought to the same mean and covariance."""
    generator = torch.Generator().manual_seed(0)
    two_values = torch.randn(2, 64 * 64, generator=generator).sign()
    gaussian = torch.randn(2, 64 * 64, generator=generator)
    found = []
    for x in (two_values, gaussian):
        x = x - x.mean(dim=1, keepdim=True)
        x = torch.linalg.inv(torch.linalg.cholesky(x @ x.T / x.shape[1])) @ x
        found.append([(x + 3).view(1, 2, 64, 64)])
    assert moments_loss(*found) < 1e-6 and gram_distance(*found) < 1e-4
    assert float(style_distance(*found)) > 0.1


def test_layers_by_name():
    vgg, image = random_vgg(), smooth(40, 56)
    firsts = relu_maps(vgg, image, ("relu1_1", "relu2_1", "relu3_1", "relu4_1"))
    assert all(torch.equal(one, other) for one, other in zip(firsts, vgg(image), strict=True))
    shapes = [tuple(x.shape) for x in relu_maps(vgg, image, ("relu3_3", "relu1_2", "relu2_2"))]
    assert shapes == [(1, 256, 10, 14), (1, 64, 40, 56), (1, 128, 20, 28)]
    for x in relu_maps(vgg, image, LAYERS):
        assert x.min() == 0
    with pytest.raises(ValueError, match="vgg16 up to conv4_1 has no relu3_4, relu5_1"):
        relu_maps(vgg, image, ("relu5_1", "relu1_1", "relu3_4"))


def test_no_layer_is_one_that_training_compares():
    """Those are what `VGG.forward` gives: the first of each resolution."""
    assert not {"relu1_1", "relu2_1", "relu3_1", "relu4_1"} & {*LAYERS, LAYER}


@pytest.mark.parametrize("change", [lambda x: x.flip(3), lambda x: x.roll(16, 2)])
def test_of_real_maps(change):
    """A mirrored or moved image is nearer than another one."""
    vgg, image, other = random_vgg(), smooth(64, 64), smooth(64, 64, seed=1)
    target = [slices(x) for x in relu_maps(vgg, image, LAYERS)]
    distance = lambda x: float(between([slices(m) for m in relu_maps(vgg, x, LAYERS)], target))
    assert distance(image) == 0 and 0 < distance(change(image)) < distance(other)
