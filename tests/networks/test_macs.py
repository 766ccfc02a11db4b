"""Generators on Macs, as style transfer in tests/networks/style_transfer/test_macs.py: on fake tensors."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from metrics.perceptual_path_length import path_distances
from networks.directions import ganspace, sefa
from networks.generator import Generator
from networks.style_transfer.vgg import VGG
from scripts import projector
from scripts.gen_video import walk
from scripts.projector import perceptual, psnr
from tests.networks.style_transfer.test_macs import on_mps
from torch_utils import ops

SIZES = dict(channel_base=256, channel_max=16, z_dim=8, style_depth=2)


@pytest.fixture(autouse=True)
def meta_is_mps(monkeypatch):
    monkeypatch.setattr(ops, "MPS", "meta")


@pytest.mark.parametrize("method", [lambda *maps: sefa(maps, 3), lambda w, _: ganspace(w, 3)])
def test_directions(method):
    found = on_mps(method, (30, 12), (7, 12))
    assert (found.shape, found.dtype, found.device.type) == ((3, 12), torch.float32, "cpu")


@pytest.mark.parametrize("space", ["w", "z"])
def test_a_walk(space, monkeypatch):
    def first(_):
        with torch.device("meta"):
            G = Generator(16, **SIZES).eval()
        return next(walk(G, [0, 1, 2], 2, space=space))

    monkeypatch.setattr(torch.Tensor, "numpy", lambda x: np.zeros(x.shape))  # a fake has no values
    assert on_mps(first, (1,)).shape == (1, 3, 16, 16)


def test_path_lengths(monkeypatch):
    def lengths(_):
        with torch.device("meta"):
            G = Generator(16, **SIZES).eval()
        return path_distances(G, lambda images: images.flatten(1), 3)

    monkeypatch.setattr(torch.Tensor, "numpy", lambda x: np.zeros(x.shape))
    assert on_mps(lengths, (1,)).shape == (3,)


def test_a_projection(monkeypatch):
    """Macs have no gradient of antialiased interpolation."""

    def interpolate(*arguments, antialias=False, **named):
        assert not antialias
        return resized(*arguments, **named)

    def gradient(images, target):
        with torch.device("meta"):
            vgg = VGG("vgg16")
        images.requires_grad_()
        perceptual(vgg, target)(images).sum().backward()
        return images.grad

    resized = F.interpolate
    monkeypatch.setattr(F, "interpolate", interpolate)
    assert on_mps(gradient, (2, 3, 40, 48), (1, 3, 40, 48)).shape == (2, 3, 40, 48)
    monkeypatch.setattr(torch.Tensor, "item", lambda x: 1.0)
    assert on_mps(psnr, (3, 8, 8), (3, 8, 8)) == pytest.approx(48.13, abs=0.01)


@pytest.mark.parametrize("size", [(32, 32), (33, 61), (48, 40)])
def test_antialiasing_changes_nothing_where_pictures_grow(size):
    images, factor = torch.randn(2, 3, *size), projector.SIDE / min(size)
    plain, other = (F.interpolate(images, scale_factor=factor, mode="bilinear", antialias=a) for a in (False, True))
    assert torch.allclose(plain, other, atol=2e-6)
