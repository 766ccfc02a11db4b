"""Whitening and colouring: the moments it reaches, in closed form."""

import pytest
import torch

from networks.style_transfer.peers import make_peer
from networks.style_transfer.peers.wct import covariance, describe, power, whiten_and_colour
from tests.style_fixtures import random_stylizer, smooth


def features(channels: int, height: int, width: int, seed: int) -> torch.Tensor:
    """[C, h, w], channels correlated, not negative in the main, with a mean."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(channels, channels, generator=generator)
    return (mixing @ torch.randn(channels, height * width, generator=generator) + 1).view(channels, height, width)


def moments(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    flat = x.double().flatten(1)
    return flat.mean(dim=1), torch.cov(flat, correction=0)


def test_the_result_has_the_mean_and_the_covariance_of_the_style():
    content, style = features(12, 9, 7, 0), features(12, 6, 11, 1)
    found = whiten_and_colour(content.double(), describe(style.double()))
    for one, other, before in zip(moments(found), moments(style), moments(content)):
        assert torch.allclose(one, other, atol=1e-9)
        assert not torch.allclose(before, other, atol=0.1)
    assert found.shape == content.shape
    # Symmetric whitening changes as little as possible: the map is A f + b with A positive definite (Kessy et al. 2018).
    content_flat = content.double().flatten(1)
    matrix = torch.linalg.lstsq(
        (content_flat - content_flat.mean(1, True)).mT, (found.flatten(1) - found.flatten(1).mean(1, True)).mT
    )
    root, whitening = power(covariance(centred(style)), 0.5), power(covariance(centred(content)), -0.5)
    assert torch.allclose(matrix.solution.mT, root @ whitening, atol=1e-8)


def centred(x: torch.Tensor) -> torch.Tensor:
    flat = x.double().flatten(1)
    return flat - flat.mean(dim=1, keepdim=True)


def test_its_own_style_changes_nothing():
    content = features(12, 9, 7, 0)
    assert torch.allclose(whiten_and_colour(content, describe(content)), content, atol=1e-5)
    few = features(32, 4, 5, 0)  # fewer positions than channels: the covariance is singular
    assert torch.allclose(whiten_and_colour(few, describe(few)), few, atol=1e-3)


def test_powers_drop_what_is_nearly_zero():
    vectors = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))[0]
    values = torch.tensor([4.0, 1.0, 1e-9, -1e-12], dtype=torch.float64)
    found = power(vectors * values @ vectors.mT, -0.5)
    kept = vectors[:, :2]
    assert torch.allclose(found, kept * torch.tensor([0.5, 1.0], dtype=torch.float64) @ kept.mT, atol=1e-6)


def test_a_content_without_any_variation_gets_the_mean_of_the_style():
    style = features(6, 5, 5, 1)
    found = whiten_and_colour(torch.full((6, 4, 4), 0.3), describe(style))
    assert torch.allclose(found, style.mean(dim=(1, 2), keepdim=True).expand(6, 4, 4), atol=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_of_real_maps(precision):
    """In their own style images are those of the decoder; 64 cells have 512 channels."""
    stylizer = random_stylizer("adain")
    stylizer.precision = precision
    wct, content, style = make_peer("wct", stylizer), smooth(64, 64, n=2), smooth(48, 56, seed=1, n=2)
    plain = stylizer.stylize_like(content, content)  # AdaIN in its own style is the decoder alone
    found = wct.stylize_like(content, content)
    assert plain.std() > 0.05 and (found - plain).abs().max() < (1e-3 if precision == "fp32" else 0.2) * plain.std()
    drawn = wct.stylize_like(content, style)
    assert drawn.dtype == torch.float32 and (drawn - plain).abs().mean() > 0.1 * plain.std()
    alone = torch.cat([wct.stylize_like(*(x[i : i + 1] for x in (content, style))) for i in range(2)])
    assert torch.allclose(alone, drawn, atol=1e-4 if precision == "fp32" else 0.1)
    assert wct.encode_style(style).shape == (2, 512, 513)
