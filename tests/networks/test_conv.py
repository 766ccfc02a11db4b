"""The convolution with learned weights, and its derivatives."""

import pytest
import torch
import torch.nn.functional as F

from networks import conv
from networks.conv import conv2d


def case(n=2, c_in=3, c_out=4, size=(4, 5), k=3, dtype=torch.float64, bias=True):
    x = torch.randn(n, c_in, *size, dtype=dtype).contiguous(memory_format=torch.channels_last).requires_grad_()
    weight = torch.randn(c_out, c_in, k, k, dtype=dtype, requires_grad=True)
    return x, weight, torch.randn(c_out, dtype=dtype, requires_grad=True) if bias else None


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("bias", [False, True])
def test_all_derivatives(k, bias):
    arguments = case(k=k, bias=bias)
    torch.testing.assert_close(conv2d(*arguments), F.conv2d(*arguments, padding=k // 2))
    assert torch.autograd.gradcheck(conv2d, arguments)
    assert torch.autograd.gradgradcheck(conv2d, arguments)


@pytest.mark.parametrize("needed", [0, 1, 2])
def test_one_gradient_at_a_time(needed):
    arguments = case()
    for i, tensor in enumerate(arguments):
        tensor.requires_grad_(i == needed)
    (found,) = torch.autograd.grad(conv2d(*arguments).square().sum(), arguments[needed])
    (wanted,) = torch.autograd.grad(F.conv2d(*arguments, padding=1).square().sum(), arguments[needed])
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("k", [1, 3])
def test_the_product_is_the_librarys_gradient_of_the_weight(k):
    x, weight, _ = case(n=3, c_in=6, c_out=8, size=(4, 3), k=k)
    y = torch.randn(3, 8, 4, 3, dtype=torch.float64)
    (wanted,) = torch.autograd.grad(F.conv2d(x, weight, padding=k // 2), weight, y)
    torch.testing.assert_close(conv._weight_gradient(x.detach(), y, k), wanted)


@pytest.mark.parametrize("size", [(4, 4), (8, 8)])  # by a product, and by the library
def test_under_autocast_it_is_the_librarys_to_rounding(size):
    arguments = case(n=4, c_in=16, c_out=8, size=size, dtype=torch.float32)

    def gradients(convolve):
        with torch.autocast("cpu", torch.bfloat16):
            y = convolve(*arguments)
        assert y.dtype == torch.bfloat16
        (by_x,) = torch.autograd.grad(y.float().square().sum(), arguments[0], create_graph=True)
        return y, by_x, *torch.autograd.grad(by_x.square().mean() + y.float().mean(), arguments)

    for found, wanted in zip(gradients(conv2d), gradients(lambda x, w, b: F.conv2d(x, w, b, padding=1)), strict=True):
        assert found.dtype == wanted.dtype
        assert (found - wanted).float().norm() <= 0.01 * wanted.float().norm()
