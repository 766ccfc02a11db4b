"""The operation itself: what it equals, what it does not depend on, and its derivatives."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from networks import adaconv_fast, sample_conv
from networks.adaconv import (
    AdaptiveKernels,
    KernelPredictor,
    adaconv,
    adaconv_plain,
    channels_per_group,
    demodulated,
    normalize,
)
from networks.adaconv_fast import compose
from torch_utils.ops import PADDINGS, pad

SHAPES = [  # n, c_in, c_out, groups, k, h, w
    (3, 8, 8, 8, 1, 5, 7),
    (3, 4, 4, 2, 3, 4, 5),
    (2, 6, 12, 3, 3, 4, 5),
    (2, 12, 6, 2, 5, 3, 9),
    (1, 4, 4, 1, 5, 2, 2),
    (2, 4, 4, 4, 3, 1, 1),
    (2, 4, 8, 2, 3, 1, 6),
]


def make(n, c_in, c_out, groups, k, h, w, seed=0):
    random = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(shape, generator=random, dtype=torch.float64)
    kernels = AdaptiveKernels(draw(n, c_out, c_in // groups, k, k), draw(n, c_out, c_out // groups), draw(n, c_out))
    return draw(n, c_in, h, w) * 2 + 1, kernels


def loop(x, spatial, pointwise, bias, padding):
    """The paper's two convolutions, one sample at a time and nothing composed."""
    c_in, k = x.shape[1], spatial.shape[-1]
    groups = c_in // spatial.shape[2]
    results = []
    for i in range(len(x)):
        mean, var = x[i].mean(dim=(1, 2), keepdim=True), x[i].var(dim=(1, 2), keepdim=True, unbiased=False)
        normal = (x[i : i + 1] - mean) / (var + 1e-5).sqrt()
        padded = F.pad(normal, [k // 2] * 4, mode="constant" if padding == "zeros" else padding)
        y1 = F.conv2d(padded, spatial[i], groups=groups)
        results.append(F.conv2d(y1, pointwise[i][..., None, None], bias[i], groups=groups))
    return torch.cat(results)


CLASSES = [  # every way that `adaconv` can take: 1, 2, 4, 8, 3 channels a group, odd sizes, one group, unequal widths
    (2, 16, 16, 16, 3, 7, 5),
    (3, 16, 16, 8, 3, 6, 9),
    (2, 16, 16, 4, 3, 5, 5),
    (2, 16, 16, 2, 5, 8, 7),
    (2, 9, 9, 3, 3, 4, 6),
    (2, 8, 8, 1, 1, 3, 3),
    (2, 8, 16, 4, 3, 1, 5),
    (2, 16, 8, 4, 3, 1, 1),
    (1, 12, 12, 6, 3, 5, 4),
]


@pytest.mark.parametrize("shape", CLASSES)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("small_map", [0, 2**14])  # as of a large map, as of a small one
def test_fast_form_equals_plain_form(shape, memory_format, padding, small_map, monkeypatch):
    """The result, its first and its second derivatives by every input."""
    if padding == "reflect" and min(shape[-2:]) <= shape[4] // 2:
        pytest.skip("too small to reflect")
    monkeypatch.setattr(sample_conv, "SMALL_MAP", small_map)
    monkeypatch.setattr(adaconv_fast, "CACHED", 64)
    x, kernels = make(*shape)
    found = []
    for form in (adaconv, adaconv_plain):
        inputs = [t.clone(memory_format=torch.contiguous_format).requires_grad_() for t in (x, *kernels)]
        y = form(inputs[0].contiguous(memory_format=memory_format), *inputs[1:], padding=padding)
        alone = torch.autograd.grad(y.sin().sum(), inputs, retain_graph=True)
        first = torch.autograd.grad(y.sin().sum(), inputs, create_graph=True)
        second = torch.autograd.grad(sum(g.square().sum() for g in first), inputs)
        found.append([y, *alone, *first, *second])
    for fast, plain in zip(*found):
        assert (fast - plain).abs().max() <= 1e-10 * max(plain.abs().max(), 1)


@pytest.mark.parametrize("form", [adaconv, adaconv_plain])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("padding", ["zeros", "replicate"])
def test_batched_equals_a_loop_over_samples(shape, padding, form):
    x, kernels = make(*shape)
    assert torch.allclose(form(x, *kernels, padding=padding), loop(x, *kernels, padding), rtol=0, atol=1e-12)


def test_is_adain_with_kernel_one():
    x, _ = make(4, 6, 6, 6, 1, 7, 5)
    scale, shift = torch.randn(2, 4, 6, dtype=torch.float64)
    adain = F.instance_norm(x, eps=1e-5) * scale[..., None, None] + shift[..., None, None]
    y = adaconv(x, scale[:, :, None, None, None], torch.ones(4, 6, 1, dtype=torch.float64), shift)
    assert (y - adain).abs().max() < 1e-12


def test_is_the_depthwise_form_with_pointwise_one():
    """Equation 2 of the paper: a kernel and a bias for every channel of the normalised map."""
    x, (spatial, _, bias) = make(3, 6, 6, 6, 3, 7, 5)
    y = adaconv(x, spatial, torch.ones(3, 6, 1, dtype=torch.float64), bias)
    for i in range(3):
        depthwise = F.conv2d(normalize(x[i : i + 1]), spatial[i], bias[i], padding=1, groups=6)
        assert (y[i] - depthwise[0]).abs().max() < 1e-12


@pytest.mark.parametrize("shape", SHAPES)
def test_first_and_second_derivatives(shape):
    x, kernels = make(*shape)
    inputs = [t.requires_grad_() for t in (x[:2], *(t[:2] for t in kernels))]
    assert torch.autograd.gradcheck(adaconv, inputs)
    assert torch.autograd.gradgradcheck(adaconv, inputs)


def test_sample_does_not_depend_on_its_batch():
    x, kernels = make(5, 8, 8, 2, 3, 6, 6)
    whole = adaconv(x, *kernels)
    for i in range(5):
        alone = adaconv(x[i : i + 1], *(t[i : i + 1] for t in kernels))
        assert torch.allclose(whole[i], alone[0], rtol=0, atol=1e-13)
    order = torch.tensor([3, 1, 4, 0, 2])
    assert torch.allclose(adaconv(x[order], *(t[order] for t in kernels)), whole[order], rtol=0, atol=1e-13)


def test_one_by_one_map_gives_the_bias():
    x, kernels = make(2, 4, 4, 4, 3, 1, 1)
    assert torch.equal(adaconv(x, *kernels), kernels.bias[..., None, None])


@settings(max_examples=30, deadline=None)
@given(scale=st.floats(0.01, 100), shift=st.floats(-100, 100))
def test_forgets_scale_and_shift_of_its_input(scale, shift):
    x, kernels = make(2, 4, 4, 2, 3, 8, 8)
    assert torch.allclose(adaconv(x * scale + shift, *kernels, eps=0.0), adaconv(x, *kernels, eps=0.0), rtol=0, atol=1e-7)


def test_normalize_has_zero_mean_and_unit_variance():
    x = torch.randn(3, 5, 9, 4, dtype=torch.float64) * 7 + 100
    y = normalize(x)
    assert y.mean(dim=(2, 3)).abs().max() < 1e-12
    assert (y.var(dim=(2, 3), unbiased=False) - 1).abs().max() < 1e-5


@pytest.mark.parametrize("k, groups, side", itertools.product([1, 3, 5], [32, 8, 4], [3, 5]))
@pytest.mark.parametrize("identity", [0.0, 0.5, 0.9])
def test_predicted_kernels_keep_unit_variance(k, groups, side, identity):
    torch.manual_seed(1)
    ratios = []
    for _ in range(6):
        predictor = KernelPredictor((24, side, side), 32, 32, k, groups, identity=identity)
        x = torch.randn(12, 32, 12, 12)
        y = adaconv(x, *predictor(torch.randn(12, 24, side, side)), padding="replicate")  # zeros would count as input
        ratios.append(y.var(dim=(2, 3)).mean())
    assert abs(torch.stack(ratios).mean() - 1) < 0.15  # without the two corrections it would be 0.03 to 0.6


def test_kernels_that_begin_as_the_identity_learn_as_fast_as_those_of_no_identity():
    style, moved = torch.randn(4, 8, 3, 3), []
    x = torch.randn(4, 8, 6, 6)
    for identity in (0.0, 1.0):
        torch.manual_seed(0)
        predictor = KernelPredictor((8, 3, 3), 8, 8, 3, groups=4, identity=identity)
        before = predictor(style)
        if identity:
            assert torch.allclose(adaconv(x, *before), normalize(x), atol=1e-5)
        optimiser = torch.optim.Adam([predictor.spatial_weight], lr=1e-3)
        (predictor(style).spatial * torch.randn(4, 8, 2, 3, 3)).sum().backward()
        optimiser.step()
        moved.append((predictor(style).spatial - before.spatial).square().mean().sqrt().item())
    assert moved[1] == pytest.approx(moved[0], rel=0.2) and moved[0] > 0


def test_learning_rate_multiplier_leaves_the_start_alone_and_speeds_up_the_rest():
    def moved(multiplier):
        torch.manual_seed(0)
        predictor = KernelPredictor((8, 3, 3), 8, 8, 3, lr_multiplier=multiplier, identity=0.5)
        style = torch.randn(4, 8, 3, 3)
        before = predictor(style)
        optimiser = torch.optim.Adam(predictor.parameters(), lr=1e-3)
        predictor(style).spatial.square().sum().backward()
        optimiser.step()
        return before.spatial.detach(), (predictor(style).spatial - before.spatial).abs().mean().item()

    start1, step1 = moved(1)
    start8, step8 = moved(8)
    assert torch.allclose(start1, start8, atol=1e-6)
    assert 5 < step8 / step1 < 11


def test_kernels_have_the_documented_shapes():
    kernels = KernelPredictor((5, 3, 3), 12, 24, kernel_size=5, groups=4)(torch.randn(2, 5, 3, 3))
    assert [tuple(t.shape) for t in kernels] == [(2, 24, 3, 5, 5), (2, 24, 6), (2, 24)]


def test_every_parameter_of_the_predictor_matters():
    predictor = KernelPredictor((5, 3, 3), 8, 8, 3, 2)
    adaconv(torch.randn(2, 8, 6, 6), *predictor(torch.randn(2, 5, 3, 3))).square().sum().backward()
    for name, parameter in predictor.named_parameters():
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize(
    "arguments",
    [
        dict(kernel_size=2),
        dict(groups=3),
        dict(style_shape=(4, 2, 2)),
        dict(style_shape=(4, 3, 5)),
        dict(style_shape=(0, 3, 3)),
    ],
)
def test_refuses_what_cannot_be(arguments):
    with pytest.raises(ValueError, match="kernel_size|groups|style_shape"):
        KernelPredictor(**dict(style_shape=(4, 3, 3), in_channels=8, out_channels=8) | arguments)


def test_schedule_of_the_paper():
    assert [channels_per_group(c) for c in (512, 256, 128, 64, 32)] == [1, 2, 4, 8, 8]
    assert [channels_per_group(c) for c in (48, 6, 100, 1024)] == [8, 6, 5, 1]


def test_paper_sized_predictors_are_about_equally_large():
    sizes = []
    for channels in (512, 256, 128, 64):
        spatial = KernelPredictor((64, 3, 3), channels, channels).spatial_weight
        sizes.append(spatial.numel())
    assert sizes == [64 * 9 * 512] * 4


def test_demodulated_kernels_keep_the_variance_of_a_white_map():
    torch.manual_seed(0)
    kernels = AdaptiveKernels(torch.randn(3, 16, 4, 3, 3) * 5, torch.randn(3, 16, 4) * 0.3, torch.zeros(3, 16))
    scaled = demodulated(kernels)
    assert torch.allclose(compose(*scaled[:2]).square().sum(dim=3), torch.ones(3, 4, 4), atol=1e-5)
    y = adaconv(torch.randn(3, 16, 64, 64), *scaled)
    assert (y.var(dim=(2, 3)) - 1).abs().max() < 0.15
    assert torch.equal(scaled.spatial, kernels.spatial)
    louder = demodulated(kernels._replace(spatial=kernels.spatial * 7))
    assert torch.allclose(louder.pointwise * 7, scaled.pointwise, atol=1e-5)  # the style has no say in the norm


FORMS = {  # form -> shapes that it can take
    sample_conv.Together(): CLASSES,
    sample_conv.Together(2): [(3, 16, 16, 8, 3, 6, 9), (2, 8, 16, 4, 3, 1, 5)],
    sample_conv.Each(1): CLASSES,
    sample_conv.Each(4): [(3, 16, 16, 8, 3, 6, 9), (2, 16, 16, 4, 3, 5, 5), (2, 16, 8, 4, 3, 1, 1)],
    sample_conv.Diagonals(): [shape for shape in CLASSES if shape[1] == shape[2]],
}
CASES = [(form, shape) for form, shapes in FORMS.items() for shape in shapes]


@pytest.mark.parametrize(
    "form, shape", CASES, ids=lambda value: str(value) if isinstance(value, tuple) else type(value).__name__
)
@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 0.03)])
def test_every_form_is_a_convolution_of_each_sample(form, shape, dtype, tolerance, monkeypatch):
    """And its gradients, in every number format: forms may be chosen on machines that the tests do not run on."""
    monkeypatch.setattr(sample_conv, "_form", lambda x, kernel: form)
    n, c_in, c_out, groups, k, h, w = shape
    random = torch.Generator().manual_seed(0)
    draw = lambda *size: torch.randn(size, generator=random, dtype=torch.float64).to(dtype).requires_grad_()
    inputs = [draw(n, c_in, h, w), draw(n, c_out, c_in // groups, k, k), draw(n, c_out)]
    y = sample_conv.sample_conv(inputs[0].contiguous(memory_format=torch.channels_last), *inputs[1:], k // 2)
    assert y.dtype == dtype and y.is_contiguous(memory_format=torch.channels_last)

    exact = [t.detach().double().requires_grad_() for t in inputs]
    wanted = torch.cat([F.conv2d(exact[0][i : i + 1], exact[1][i], exact[2][i], 1, k // 2, 1, groups) for i in range(n)])
    gradient = torch.randn(y.shape, generator=random, dtype=torch.float64).to(dtype)
    pairs = [(y, wanted)]
    pairs += zip(torch.autograd.grad(y, inputs, gradient), torch.autograd.grad(wanted, exact, gradient.double()))
    for found, right in pairs:
        assert found.dtype == dtype
        assert (found - right).abs().max() <= tolerance * right.abs().max()


def test_forms_are_chosen_by_shape_type_and_device(monkeypatch):
    def form(channels, per_group, side, dtype=torch.float32, amx=False):
        monkeypatch.setattr(sample_conv, "has_amx", lambda: amx)
        x, kernel = torch.empty(2, channels, side, side, dtype=dtype), torch.empty(2, channels, per_group, 3, 3, dtype=dtype)
        chosen = sample_conv._form(x, kernel)
        return type(chosen).__name__, getattr(chosen, "merged", None)

    assert form(512, 1, 4) == ("Together", 1)
    assert form(256, 2, 4) == ("Together", 4)
    assert form(512, 1, 32) == form(256, 2, 64) == ("Diagonals", None)
    assert form(128, 4, 64) == ("Each", 2)
    assert form(64, 8, 64) == ("Each", 1)
    assert form(64, 8, 64, torch.bfloat16, amx=True) == ("Each", 4)  # 32 channels a group
    assert form(64, 8, 32, torch.bfloat16, amx=True) == ("Each", 2)  # 16
    assert form(256, 2, 64, torch.bfloat16, amx=True) == ("Each", 16)
    assert form(512, 1, 64, torch.bfloat16, amx=True) == ("Diagonals", None)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("amount", [0, 1, 2])
def test_pad_is_pytorchs_and_has_two_derivatives(padding, amount):
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64).requires_grad_()
    assert torch.equal(pad(x, amount, padding), F.pad(x, [amount] * 4, mode="constant" if padding == "zeros" else padding))
    found = lambda x: pad(x.contiguous(memory_format=torch.channels_last), amount, padding)
    assert torch.autograd.gradcheck(found, x) and torch.autograd.gradgradcheck(found, x)


def test_pad_says_where_there_is_too_little_to_reflect():
    with pytest.raises(ValueError, match="too small"):
        pad(torch.zeros(1, 1, 2, 5), 2, "reflect")


@pytest.mark.parametrize(
    "spatial, pointwise, padding",
    [
        ([2, 8, 1, 3, 3], [2, 8, 8], "zeros"),  # other groups in the one than in the other
        ([2, 8, 2, 3, 3], [2, 8, 4], "zeros"),
        ([2, 8, 2, 2, 2], [2, 8, 2], "zeros"),
        ([2, 8, 2, 3, 3], [2, 8, 2], "circular"),
    ],
)
def test_kernels_that_do_not_fit_are_refused(spatial, pointwise, padding):
    with pytest.raises(ValueError, match="do not fit a map of 8 channels"):
        adaconv(torch.randn(2, 8, 6, 6), torch.randn(spatial), torch.randn(pointwise), torch.randn(2, 8), padding=padding)


def test_a_predictor_takes_its_style_by_name():
    predict, style = KernelPredictor((4, 3, 3), 8, 8, groups=4), torch.randn(2, 4, 3, 3)
    with torch.autocast("cpu", torch.bfloat16):
        for named, expected in zip(predict(style=style.bfloat16()), predict(style.bfloat16())):
            assert named.dtype == torch.float32 and torch.equal(named, expected)


@pytest.mark.parametrize("amount", [0, 1])
def test_pad_knows_its_paddings_only(amount):
    with pytest.raises(ValueError, match="'circular' must be one of zeros, replicate, reflect"):
        pad(torch.zeros(1, 1, 4, 4), amount, "circular")
