"""The portable forms: equation 3 as shifted products, and the other operations of a network that is traced."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import networks.modulation
from networks import adaconv_fast, conv, portable, sample_conv
from networks.adaconv import adaconv, adaconv_plain
from networks.generator import Generator
from networks.modulation import MODULATIONS
from networks.portable import PORTABLE, portable_operations
from networks.style_transfer import moments
from torch_utils import ops


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 3),
    groups=st.integers(1, 3),
    in_per_group=st.integers(1, 4),
    out_per_group=st.integers(1, 3),
    k=st.sampled_from([1, 3, 5]),
    height=st.integers(3, 9),
    width=st.integers(3, 9),
    padding=st.sampled_from(ops.PADDINGS),
    seed=st.integers(0, 1000),
)
def test_shifted_products_are_equation_3(n, groups, in_per_group, out_per_group, k, height, width, padding, seed):
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(shape, generator=generator, dtype=torch.float64)
    c_out = groups * out_per_group
    x = draw(n, groups * in_per_group, height, width)
    kernels = draw(n, c_out, in_per_group, k, k), draw(n, c_out, out_per_group), draw(n, c_out)
    with portable_operations():
        y = adaconv(x, *kernels, padding=padding)
        without_bias = adaconv_fast.sample_conv(x, kernels[0], None, k // 2)
    torch.testing.assert_close(without_bias, sample_conv.sample_conv(x, kernels[0], None, k // 2), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(y, adaconv_plain(x, *kernels, padding=padding), rtol=1e-10, atol=1e-10)


def test_no_convolution_has_computed_weights(monkeypatch):
    """Nor any other operation that takes a kernel: what is left are products and sums."""
    monkeypatch.setattr(torch.nn.functional, "conv2d", None)
    x, kernel, bias = torch.randn(2, 4, 5, 6), torch.randn(2, 4, 2, 3, 3), torch.randn(2, 4)
    assert portable.convolve_by_shifts(x, kernel, bias, 1).shape == x.shape


@pytest.mark.parametrize("padding", ops.PADDINGS)
def test_the_other_operations_are_the_same(padding):
    torch.manual_seed(0)
    x, weight, bias = torch.randn(2, 3, 6, 7).double(), torch.randn(4, 3, 3, 3).double(), torch.randn(4).double()
    pairs = [
        (ops.pad, (x, 2, padding)),
        (conv.conv2d, (x, weight, bias)),
        (conv.conv2d, (x, weight)),
        (adaconv_fast.centre, (x, 1e-3)),
        (moments.moments, (x,)),
        (ops.average_to, (x, 4)),
        (ops.average_to, (torch.randn(1, 2, 21, 2).double(), 4)),
    ]
    for function, arguments in pairs:
        wanted, found = function(*arguments), PORTABLE[function](*arguments)
        for a, b in zip(*((y,) if isinstance(y, torch.Tensor) else y for y in (wanted, found))):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    assert {f for f, _ in pairs} | {sample_conv.sample_conv} == set(PORTABLE)


def test_they_are_in_use_within_the_block_only():
    G = Generator(8, channel_base=64, channel_max=8, z_dim=4, style_depth=2).eval()
    z = torch.randn(2, 4)
    before = G(z)
    with pytest.raises(KeyError), portable_operations():
        assert networks.modulation.centre is portable.centre and adaconv_fast.sample_conv is portable.convolve_by_shifts
        torch.testing.assert_close(G(z), before, rtol=1e-4, atol=1e-5)
        raise KeyError
    assert networks.modulation.centre is adaconv_fast.centre is not portable.centre
    assert torch.equal(G(z), before)


def test_no_derivative_of_our_own_is_left(monkeypatch):
    """A function with a derivative of its own would be opaque to whoever traces the network."""

    def refuse(*arguments):
        raise AssertionError("called")

    for module, name in (
        (adaconv_fast, "_Centre"),
        (sample_conv, "_Convolution"),
        (conv, "_Convolution"),
        (ops, "_Pad"),
        (moments, "_Moments"),
    ):
        monkeypatch.setattr(getattr(module, name), "apply", refuse)
    for modulation in MODULATIONS:
        G = Generator(8, channel_base=64, channel_max=8, z_dim=4, style_depth=2, modulation=modulation).eval()
        with pytest.raises(AssertionError, match="called"):
            G(torch.randn(1, 4))
        with portable_operations():
            assert G(torch.randn(1, 4)).isfinite().all()
