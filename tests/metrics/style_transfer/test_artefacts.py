"""Artefacts of a decoder: measured where they were put, and absent where they cannot be."""

import pytest
import torch

from metrics.style_transfer.artefacts import border_contrast, grid_pattern
from networks.style_transfer.stylizer import load_stylizer
from tests.style_fixtures import random_stylizer, smooth
from torch_utils.pretrained import find_network
from training.style_transfer.textures import texture


@pytest.mark.parametrize("period", [2, 4, 8])
def test_a_pattern_on_the_grid_is_all_of_the_detail(period):
    cell = torch.rand(1, 3, period, period, generator=torch.Generator().manual_seed(0)) - 0.5
    pattern = cell.repeat(1, 1, 96 // period, 96 // period)
    gradient = torch.linspace(-0.5, 0.5, 96).view(1, 1, -1, 1)
    assert grid_pattern(pattern).item() == pytest.approx(1, abs=1e-6)
    assert grid_pattern(pattern + gradient).item() == pytest.approx(1, abs=1e-3)  # what is smooth is no detail


def test_strokes_off_the_grid_are_no_pattern():
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(4, 3, 128, 128, generator=generator)
    assert grid_pattern(noise).abs().max() < 0.01
    x = torch.arange(128).float()
    assert grid_pattern(torch.sin(x * 2 * torch.pi / 11).expand(1, 3, 128, 128)).item() < 0.02
    assert grid_pattern(torch.zeros(1, 3, 64, 64)).item() == 0
    with pytest.raises(ValueError, match="wanted 24"):
        grid_pattern(torch.zeros(1, 3, 64, 16))


def test_border_contrast_by_hand():
    image = torch.zeros(2, 3, 64, 64)
    image[1, :, :16] = 0.5  # the upper side: 0.5, a quarter of the left and right ones: 0.125
    wanted = ((0.5**2 + 2 * 0.125**2) / 4) ** 0.5
    assert border_contrast(image).tolist() == pytest.approx([0, wanted])
    with pytest.raises(ValueError, match="wanted 64"):
        border_contrast(torch.zeros(1, 3, 63, 64))


def test_rectangles_along_borders_come_from_zeros_beyond_them():
    """A flat content has flat features, but for the borders that VGG sees; normalisation makes contrast of those."""
    flat, found = torch.full((1, 3, 96, 96), 0.3), {}
    for padding in ("zeros", "reflect"):
        stylizer = random_stylizer(padding="reflect", encoder_padding=padding)
        drawn = stylizer.stylize(flat, stylizer.network.kernels(stylizer.encode_style(smooth(64, 64, seed=3))))
        found[padding] = border_contrast(drawn).item(), drawn.std((2, 3)).max().item()
    assert found["zeros"][0] > 0.02 and found["reflect"][0] < 1e-4 and found["reflect"][1] < 1e-3


@pytest.mark.parametrize("kind, period", [("stripes", 12), ("dots", 16)])
def test_the_stylizer_in_the_repository_draws_neither(kind, period):
    """On a flat content: 0.21 to 0.45 was the border contrast of the one before it, whose encoder was padded with zeros."""
    stylizer = load_stylizer(find_network("adaconv-style", "style_transfer"))
    content = torch.tensor([-0.4, 0.0, 0.6]).view(1, 3, 1, 1).expand(1, 3, 160, 160).contiguous()
    style = texture(kind, period, 30, 192, 0)[None]
    drawn = stylizer.stylize(content, stylizer.network.kernels(stylizer.encode_style(style))).clamp(-1, 1)
    assert border_contrast(drawn).item() < 0.06
    assert grid_pattern(drawn).item() < 0.15 and drawn.std((2, 3)).mean() > 0.03  # there are strokes, and they are off the grid
