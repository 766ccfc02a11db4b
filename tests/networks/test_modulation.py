"""The modulations, each against the form that its paper writes down."""

import pytest
import torch
import torch.nn.functional as F

from networks.adaconv import PARTS
from networks.generator import Generator
from networks.modulation import MODULATIONS, STYLED_ONCE
from torch_utils.ops import upsample2x


def make(name, up=False, c_in=16, c_out=12, table=MODULATIONS, **options):
    torch.manual_seed(0)
    module = table[name](c_in, c_out, 36, up=up, **options).double()
    for parameter in module.parameters():  # leave nothing at a special value
        parameter.data += 0.1 * torch.randn_like(parameter)
    return module, torch.randn(3, c_in, 6, 5, dtype=torch.float64), torch.randn(3, 36, dtype=torch.float64)


@pytest.mark.parametrize("table, name", [*((MODULATIONS, name) for name in MODULATIONS), (STYLED_ONCE, "none")])
@pytest.mark.parametrize("up", [False, True])
def test_shape_derivatives_and_batch(table, name, up):
    module, x, w = make(name, up, table=table)
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


@pytest.mark.parametrize("up", [False, True])
def test_adain_equals_instance_norm_and_affine(up):
    module, x, w = make("adain", up)
    y = F.instance_norm(x) * module.scale(w)[..., None, None] + module.shift(w)[..., None, None]
    assert torch.allclose(module(x, w), module.conv(upsample2x(y) if up else y), atol=1e-12)


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


def test_a_layer_whose_parts_are_chosen_has_derivatives_too():
    module, x, w = make("adaconv", kernel_size=5, parts="pointwise+bias")
    x, w = x[:1, :, :3, :3].clone().requires_grad_(), w[:1].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x, w: module(x, w).tanh().sum(), (x, w))
    assert torch.autograd.gradgradcheck(lambda x, w: module(x, w).tanh().sum(), (x, w))


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
@pytest.mark.parametrize("chosen", PARTS)
def test_two_styles_differ_in_the_chosen_part_alone(chosen, kernel_size):
    layer, x, w = make("adaconv", parts=chosen, kernel_size=kernel_size)
    kernels = layer.kernels(w)
    for part, (one, other, _) in kernels._asdict().items():
        assert torch.equal(one, other) == (part != chosen), part
    assert kernels.spatial.shape == (3, 16, 8, kernel_size, kernel_size)
    y = layer(x[:1].expand(3, -1, -1, -1), w)
    assert (y[0] - y[1]).abs().max() > 1e-3
    y.square().sum().backward()  # and the others are learned
    assert all(p.grad.abs().sum() > 0 for p in layer.parameters())


@pytest.mark.parametrize("chosen", [*PARTS, "pointwise+bias"])
@pytest.mark.parametrize("kernel_size, identity", [(3, 0.0), (3, 0.9), (1, 0.5), (5, 0.0)])
def test_parts_that_are_not_predicted_keep_the_variance_of_a_map(chosen, kernel_size, identity):
    variances = []
    for seed in range(4):
        torch.manual_seed(seed)
        layer = MODULATIONS["adaconv"](
            16, 16, 216, parts=chosen, kernel_size=kernel_size, identity=identity, padding="replicate"
        )
        layer.conv = torch.nn.Identity()
        variances.append(layer(torch.randn(12, 16, 12, 12), torch.randn(12, 216)).var(dim=(2, 3)).mean())
    assert abs(torch.stack(variances).mean() - 1) < 0.3


def test_the_learning_rate_of_constants_is_that_of_predictors():
    starts = []
    for multiplier in (1.0, 8.0):
        torch.manual_seed(0)
        layer = MODULATIONS["adaconv"](8, 8, 36, parts="bias", identity=0.5, lr_multiplier=multiplier)
        starts.append(layer.kernels(torch.zeros(1, 36)))
        assert layer.predictor.spatial_bias.abs().max() < 4 / multiplier
    assert torch.allclose(starts[0].spatial, starts[1].spatial, atol=1e-6)


@pytest.mark.parametrize("parts", ["colour", "", "spatial,bias", ["bias"], 3])
def test_parts_that_there_are_not(parts):
    with pytest.raises(ValueError, match="parts .* must be some of spatial, pointwise, bias, joined by +"):
        MODULATIONS["adaconv"](8, 8, 36, parts=parts)


@pytest.mark.parametrize("up", [False, True])
def test_a_bank_equals_the_form_of_its_paper(up):
    """Kang et al. 2023, equation 4: kernels weighted by a softmax, and then StyleGAN2's modulation and demodulation."""
    module, x, w = make("bank", up, kernels=3)
    bank = module.conv.scaled_weight().view(3, 12, 16, 3, 3)
    z = upsample2x(x) if up else x
    for i in range(3):
        shares = torch.exp(module.selection(w)[i])
        weight = sum(share * kernel for share, kernel in zip(shares / shares.sum(), bank)) * module.scale(w)[i, :, None, None]
        weight = weight / (weight.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8).sqrt()
        assert torch.allclose(module(x, w)[i], F.conv2d(z[i : i + 1], weight, padding=1)[0], atol=1e-12)


@pytest.mark.parametrize("up", [False, True])
def test_a_bank_of_one_kernel_is_weight_demodulation(up):
    demodulation, x, w = make("demod", up)
    bank = MODULATIONS["bank"](16, 12, 36, up=up, kernels=1).double()
    missing, unexpected = bank.load_state_dict(demodulation.state_dict(), strict=False)
    assert set(missing) == {"selection.weight", "selection.bias"} and not unexpected
    assert torch.allclose(bank(x, w), demodulation(x, w), atol=1e-12)


def test_a_bank_in_sixteen_bits():
    module, x, w = make("bank")
    wanted, module = module(x, w), module.float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = module(x.float(), w.float())
    assert found.dtype == torch.bfloat16
    assert (found.double() - wanted).square().mean() < 1e-4 * wanted.square().mean()


@pytest.mark.parametrize("kernels", [0, 257, 2.0, True, "4"])
def test_banks_that_there_are_not(kernels):
    with pytest.raises(ValueError, match="kernels .* must be a whole number from 1 to 256"):
        MODULATIONS["bank"](8, 8, 36, kernels=kernels)


def test_without_modulation_the_style_enters_at_the_constant_alone():
    G = Generator(16, channel_base=256, channel_max=16, z_dim=8, style_depth=2, modulation="none", noise=False).double()
    ws = G.mapping(torch.randn(2, 8).double())
    assert ws.shape == (2, 1, 18)
    first, *others = G.synthesis.layers
    x = G.synthesis.const * first.modulation.scale(ws[:, 0])[:, :, None, None]
    act = lambda layer, x: 2**0.5 * F.leaky_relu(x + layer.bias[:, None, None], 0.2)
    x = act(first, F.conv2d(x, first.modulation.conv.scaled_weight(), padding=1))
    image = G.synthesis.to_rgb[0](x)
    for i, layer in enumerate(others):
        assert not hasattr(layer.modulation, "scale")
        x = act(layer, F.conv2d(x if i % 2 else upsample2x(x), layer.modulation.conv.scaled_weight(), padding=1))
        if i % 2:
            image = upsample2x(image) + G.synthesis.to_rgb[i // 2 + 1](x)
    assert torch.allclose(G.synthesis(ws), image, atol=1e-12)
    assert 0.3 < G(torch.randn(64, 8).double()).std(dim=0).mean() < 3  # and different noise gives different pictures


@pytest.mark.parametrize("name", ["adain", "demod", "bank"])
def test_the_learning_rate_of_affine_maps_can_be_multiplied(name):
    """Their weights begin so much smaller, so that Adam moves them so much faster; the layer is the same at first."""
    x, w, layers = torch.randn(2, 16, 4, 4), torch.randn(2, 36), []
    for multiplier in (1.0, 8.0):
        torch.manual_seed(0)
        layers.append(MODULATIONS[name](16, 12, 36, lr_multiplier=multiplier))
    assert torch.allclose(layers[0](x, w), layers[1](x, w), atol=1e-5)
    for (part, p), q in zip(layers[0].named_parameters(), layers[1].parameters()):
        assert torch.allclose(p, q if part.startswith("conv") else 8 * q), part
