"""The three modulations, each against the form that its paper writes down."""

import pytest
import torch
import torch.nn.functional as F

from networks.modulation import MODULATIONS
from torch_utils.ops import upsample2x


def make(name, up=False, c_in=16, c_out=12):
    torch.manual_seed(0)
    module = MODULATIONS[name](c_in, c_out, 36, up=up).double()
    for parameter in module.parameters():  # leave nothing at a special value
        parameter.data += 0.1 * torch.randn_like(parameter)
    return module, torch.randn(3, c_in, 6, 5, dtype=torch.float64), torch.randn(3, 36, dtype=torch.float64)


@pytest.mark.parametrize("name", MODULATIONS)
@pytest.mark.parametrize("up", [False, True])
def test_shape_derivatives_and_batch(name, up):
    module, x, w = make(name, up)
    y = module(x, w)
    assert y.shape == ((3, 12, 12, 10) if up else (3, 12, 6, 5))
    assert torch.allclose(y[1:2], module(x[1:2], w[1:2]), atol=1e-12)
    x, w = x[:1, :, :3, :3].clone().requires_grad_(), w[:1].clone().requires_grad_()
    scalar = lambda x, w: module(x, w).tanh().sum()
    assert torch.autograd.gradcheck(scalar, (x, w))
    assert torch.autograd.gradgradcheck(scalar, (x, w))


@pytest.mark.parametrize("up", [False, True])
def test_demodulation_equals_its_fused_form(up):
    """A modulated and demodulated weight per sample, as StyleGAN2 writes it."""
    module, x, w = make("demod", up)
    weight = module.conv.scaled_weight() * module.scale(w)[:, None, :, None, None]  # [N, out, in, 3, 3]
    weight = weight / (weight.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8).sqrt()
    z = upsample2x(x) if up else x
    fused = torch.cat([F.conv2d(z[i : i + 1], weight[i], padding=1) for i in range(3)])
    assert torch.allclose(module(x, w), fused, atol=1e-12)


def test_adain_equals_instance_norm_and_affine():
    module, x, w = make("adain")
    y = F.instance_norm(x) * module.scale(w)[..., None, None] + module.shift(w)[..., None, None]
    assert torch.allclose(module(x, w), module.conv(y), atol=1e-12)


def test_adaconv_can_be_adain():
    """With 1×1 kernels, a group per channel and a pointwise part of one, the layers agree."""
    torch.manual_seed(0)
    layer = MODULATIONS["adaconv"](16, 12, 36, kernel_size=1, per_group=1).double()
    layer.predictor.pointwise_weight.data.zero_()
    layer.predictor.pointwise_bias.data.fill_(1 / layer.predictor.lr_multiplier)
    adain = MODULATIONS["adain"](16, 12, 36).double()
    adain.conv.load_state_dict(layer.conv.state_dict())
    x, w = torch.randn(2, 16, 5, 5, dtype=torch.float64), torch.randn(2, 36, dtype=torch.float64)
    kernels = layer.predictor(w.view(2, 4, 3, 3))
    adain.scale.forward = lambda _: kernels.spatial.reshape(2, 16)
    adain.shift.forward = lambda _: kernels.bias
    assert torch.allclose(layer(x, w), adain(x, w), rtol=0, atol=1e-12)


def test_adaconv_needs_a_descriptor():
    with pytest.raises(ValueError, match="w_dim"):
        MODULATIONS["adaconv"](8, 8, 32)
