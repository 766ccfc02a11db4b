"""The content distance, and the baseline that keeps the content and takes the style's colours."""

import pytest
import torch

from metrics.style_transfer.baselines import recoloured
from metrics.style_transfer.content_distance import content_distance
from tests.style_fixtures import smooth


def maps(*shape, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_closed_forms():
    content = maps(2, 6, 16, 16)
    assert content_distance(content, content).max() < 1e-6
    mean = content.mean(dim=(2, 3), keepdim=True)
    assert torch.allclose(content_distance(2 * mean - content, content), torch.full((2,), 2.0))
    assert torch.allclose(content_distance(mean.expand_as(content), content), torch.ones(2))  # flat
    assert (content_distance(maps(2, 6, 64, 64, seed=1), maps(2, 6, 64, 64)) - 1).abs().max() < 0.05


def test_it_is_half_the_squared_distance_of_normalised_maps():
    content = maps(1, 1, 12, 12)
    output = content + maps(1, 1, 12, 12, seed=1)
    one, other = ((x - x.mean()) / x.std(correction=0) for x in (output, content))
    assert float(content_distance(output, content)) == pytest.approx(float((one - other).square().mean() / 2), abs=1e-6)


def test_mean_and_deviation_of_channels_do_not_count():
    content, output = maps(2, 6, 16, 16), maps(2, 6, 16, 16) + maps(2, 6, 16, 16, seed=1)
    scale, shift = maps(2, 6, 1, 1, seed=2) + 0.1, maps(2, 6, 1, 1, seed=3)
    assert content_distance(scale * content + shift, content).max() < 1e-6
    changed, before = content_distance(scale * output + shift, content), content_distance(output, content)
    assert torch.allclose(changed, before, atol=1e-6) and before.min() > 0.05


def test_channels_without_content_do_not_count():
    content, output = maps(1, 4, 16, 16), maps(1, 4, 16, 16)
    content[:, 3] = 0
    assert content_distance(output, content) < 1e-6  # whatever is drawn there
    half = output.clone()
    half[:, 0] = 0
    spread = content[:, :3].std(dim=(2, 3), correction=0)[0]
    assert float(content_distance(half, content)) == pytest.approx(float(spread[0] / spread.sum()), abs=1e-5)
    assert content_distance(output, torch.zeros_like(content)) == 0


def test_positions_count_and_sizes_must_agree():
    content = maps(3, 6, 16, 16)
    assert content_distance(content.flip(3), content).min() > 0.8
    together = content_distance(content.flip(3), content)
    alone = [content_distance(content.flip(3)[i : i + 1], content[i : i + 1]) for i in range(3)]
    assert torch.allclose(together, torch.cat(alone))
    with pytest.raises(ValueError, match=r"found feature maps \[3, 6, 16, 8\], wanted \[3, 6, 16, 16\]"):
        content_distance(content[..., :8], content)


def test_recoloured_has_the_colours_of_the_style():
    content, style = 0.5 * smooth(40, 48, n=2), 0.4 * smooth(32, 32, seed=1, n=2) + 0.1
    style[:, 0] += 0.5 * style[:, 1]  # correlated channels
    found = recoloured(content, style)
    for one, other in zip(found, style):
        assert torch.allclose(one.mean(dim=(1, 2)), other.mean(dim=(1, 2)), atol=1e-3)
        # the baseline divides by the number of pixels
        covariances = [torch.cov(x.flatten(1), correction=0) for x in (one, other)]
        assert torch.allclose(*covariances, atol=1e-3)
    assert torch.allclose(recoloured(content, content), content, atol=1e-3)
    grey = content.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
    assert recoloured(grey, style).isfinite().all() and recoloured(content, style * 9).abs().max() == 1
    assert recoloured(torch.zeros_like(content), style).isfinite().all()
