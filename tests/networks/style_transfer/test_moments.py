"""Means and deviations of feature maps."""

import pytest
import torch

from networks.style_transfer.moments import CACHED, EPS, covariance, moments


@pytest.mark.parametrize("shape", [(2, 3, 3, 4), (1, 1, 1, 1), (2, 512, 20, 20)])  # the last is more than one part
def test_moments_are_those_of_the_map(shape):
    x = 5 + 3 * torch.randn(shape, dtype=torch.float64)
    mean, std = moments(x)
    assert torch.allclose(mean, x.mean((2, 3))) and torch.allclose(std, (x.var((2, 3), correction=0) + EPS).sqrt())
    assert shape[1] < 512 or x[0].numel() > CACHED


def test_moments_are_float32_in_sixteen_bits():
    """Values whose squares fp16 cannot hold, and a deviation that is small beside the mean."""
    x = (20_000 + 100 * torch.randn(2, 8, 40, 40)).half()
    mean, std = moments(x)
    assert mean.dtype == std.dtype == torch.float32
    assert torch.allclose(mean, x.float().mean((2, 3)), rtol=1e-5)
    assert torch.allclose(std, x.double().std((2, 3), correction=0).float(), rtol=1e-4)


def test_a_constant_channel_has_no_deviation():
    mean, std = moments(torch.full((1, 2, 9, 9), 12.345))
    assert torch.equal(mean, torch.full((1, 2), 12.345)) and torch.equal(std, torch.full((1, 2), EPS).sqrt())


def test_derivatives_of_moments():
    x = torch.randn(2, 3, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(moments, x) and torch.autograd.gradgradcheck(moments, x)
    assert torch.autograd.gradcheck(lambda x: moments(x)[1], x)  # one of them alone


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_gradient_in_parts_is_that_of_the_whole(dtype):
    x = torch.rand(2, 512, 20, 20).to(dtype).requires_grad_()
    weights = torch.randn(2, 2, 512)
    loss = lambda x: sum((w * m).sum() for w, m in zip(weights, moments(x)))
    (found,) = torch.autograd.grad(loss(x), x)
    (wanted,) = torch.autograd.grad(loss(x), x, create_graph=True)
    assert found.dtype == dtype and torch.allclose(found, wanted)


def test_covariances_are_those_of_the_map():
    x = (5 + 3 * torch.randn(2, 4, 7, 6, dtype=torch.float64)).requires_grad_()
    of = lambda x: covariance(x, moments(x)[0].detach())
    found = of(x)
    for one, wanted in zip(x, found):
        assert torch.allclose(torch.cov(one.flatten(1), correction=0), wanted)
    plain = torch.autograd.grad(sum(torch.cov(one.flatten(1), correction=0).sin().sum() for one in x), x)
    assert torch.allclose(torch.autograd.grad(found.sin().sum(), x)[0], plain[0])  # of the means, too
    assert torch.autograd.gradcheck(of, x) and torch.autograd.gradgradcheck(of, x)


def test_covariances_in_sixteen_bits():
    x = (torch.rand(2, 8, 20, 20) + 3).bfloat16()
    found = covariance(x, moments(x)[0])
    wanted = torch.stack([torch.cov(one.float().flatten(1), correction=0) for one in x])
    assert found.dtype == torch.float32 and (found - wanted).abs().max() < 0.02 * wanted.abs().max()
