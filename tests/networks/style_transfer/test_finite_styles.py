"""Whatever a style looks like, its descriptor is finite, or is refused by name: a picture drawn with NaN is black."""

import pytest
import torch

from networks.style_transfer.moments import moments
from networks.style_transfer.style_files import read_styles
from networks.style_transfer.vgg import WIDTHS, StyleFeatures
from tests.style_fixtures import random_network, random_stylizer, smooth
from torch_utils.files import InputError
from torch_utils.images import save_png, to_uint8


def test_channels_that_are_on_at_the_first_position_only_are_encoded():
    """Differences to that position add up to slightly less than they should, and the mean comes out below zero."""
    network = random_network(statistics="exact")
    features = torch.zeros(1, 64, 1024, 1024).contiguous(memory_format=torch.channels_last)
    features[:, :, 0, 0] = torch.linspace(0.1, 1.1, 64)
    found = moments(features)
    assert found[0].min() < 0, "the case that this test is about"
    mean, std = (torch.cat([values, values.abs().repeat(1, sum(WIDTHS) // 64 - 1)], dim=1) for values in found)
    style = StyleFeatures(torch.rand(1, 512, 4, 4), mean, std)
    assert network.encode_style(style).isfinite().all()
    assert torch.allclose(network.encode_style(style), network.encode_style(style._replace(mean=mean.clamp(min=0))), atol=1e-5)


def test_a_style_whose_descriptor_is_not_finite_is_refused_by_name(tmp_path):
    stylizer = random_stylizer()
    save_png(tmp_path / "style.png", to_uint8(smooth(40, 48))[0])
    assert read_styles(tmp_path / "style.png", stylizer)[0].descriptor.isfinite().all()
    stylizer.network.style_encoder.linear.bias.data[0] = torch.nan
    with pytest.raises(InputError, match="style.png: found a descriptor of the style that is not finite"):
        read_styles(tmp_path / "style.png", stylizer)
