"""Augmentation does what the paper's table says, as often as it says, and its strength finds the target."""

import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from training.gan import augment as aug
from training.gan import augment_colour as colours
from training.gan import augment_geometry as geometry
from training.gan.ada import AdaptiveStrength, r_t
from training.gan.augment import AUGPIPES, augment
from training.gan.losses import gradient_penalty

DOUBLE = torch.float64


def doubles(*values):
    return torch.tensor(values, dtype=DOUBLE)


def seeded(images, p, pipe="bgc", seed=0):
    torch.manual_seed(seed)
    return augment(images, p, pipe)


def share_is(share, expected, n):
    """Within five standard deviations of a binomial share."""
    return abs(share - expected) <= 5 * math.sqrt(expected * (1 - expected) / n)


# The whole.


@pytest.mark.parametrize("pipe", AUGPIPES)
def test_nothing_happens_with_probability_zero(pipe):
    images = torch.randn(3, 3, 9, 9)
    assert augment(images, 0, pipe) is images
    assert torch.equal(augment(images, torch.tensor(0.0), pipe), images)
    assert not torch.equal(seeded(images, 1.0, pipe), images)


UNCHANGED = {  # of images [8, 8], by p
    "blit": lambda p: (1 - p / 2) * (1 - p * 3 / 4) * (1 - p * 3 / 4),  # a shift by up to a pixel is none in half of the cases
    "geom": lambda p: (1 - p) ** 4,  # two scalings, the rotations together, a shift
    "color": lambda p: (1 - p) ** 4 * (1 - p / 2),
    "filter": lambda p: (1 - p) ** 4,
    "noise": lambda p: 1 - p,
    "cutout": lambda p: 1 - p,
}


@pytest.mark.parametrize("group", UNCHANGED)
@pytest.mark.parametrize("p", [0.1, 0.5])
def test_images_stay_themselves_as_often_as_they_must(group, p):
    """What does not leak: with p < 1 the image as it is remains the most frequent one."""
    images = torch.randn(3, 8, 8).expand(2000, -1, -1, -1)
    results = seeded(images, p, group)
    share = (results == images).flatten(1).all(dim=1).float().mean().item()
    assert share_is(share, UNCHANGED[group](p), 2000)


def test_any_number_works_as_a_probability():
    images = torch.randn(4, 3, 8, 8)
    assert torch.equal(seeded(images, 0.7, "bgcfnc"), seeded(images, torch.tensor(0.7), "bgcfnc"))


def test_images_do_not_see_each_other():
    images = torch.randn(3, 4, 9, 12)
    others = torch.cat([torch.randn(1, 4, 9, 12), images[1:2], torch.randn(1, 4, 9, 12)])
    assert torch.equal(seeded(images, 0.8, "bgcfnc")[1], seeded(others, 0.8, "bgcfnc")[1])
    for group in UNCHANGED:
        results = seeded(images[:1].expand(40, -1, -1, -1), 1.0, group)
        assert len(torch.unique(results.flatten(1), dim=0)) > 8, f"{group}: one draw for all"


@settings(deadline=None, max_examples=60)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 12), st.integers(1, 12)),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.float16]),
    pipe=st.sampled_from(list(AUGPIPES)),
    p=st.floats(0, 1),
)
def test_any_shape_and_type(shape, dtype, pipe, p):
    images = torch.randn(shape).to(dtype)
    before = images.clone()
    results = seeded(images, p, pipe)
    assert results.shape == images.shape and results.dtype == dtype and results.isfinite().all()
    assert torch.equal(results, seeded(images, p, pipe)) and torch.equal(images, before)


@pytest.mark.parametrize("channels", [2, 4])
def test_alpha_is_moved_and_cut_but_not_coloured(channels):
    images = torch.randn(8, channels, 10, 14)
    moved, coloured, cut = (seeded(images, 1.0, pipe) for pipe in ("bg", "bgcfn", "bgcfnc"))
    assert torch.equal(moved[:, -1], coloured[:, -1])
    assert not torch.equal(moved[:, -1], images[:, -1]) and not torch.equal(moved[:, :-1], coloured[:, :-1])
    hole = (cut == 0).all(dim=1)
    assert hole.flatten(1).any(dim=1).all() and torch.equal(cut[:, -1], coloured[:, -1].masked_fill(hole, 0))


def test_layout_and_autocast_change_nothing():
    images = torch.randn(4, 3, 16, 16)
    expected = seeded(images, 0.8, "bgcf")
    assert torch.allclose(seeded(images.contiguous(memory_format=torch.channels_last), 0.8, "bgcf"), expected, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(seeded(images, 0.8, "bgcf"), expected)


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 5, 8, 8)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="wanted"):
        augment(torch.randn(shape), 0.5)


@pytest.mark.parametrize("arguments", [dict(p=1.1), dict(p=-0.1), dict(p=math.nan), dict(p=0.5, pipe="everything")])
def test_other_options_are_refused(arguments):
    with pytest.raises(ValueError, match="wanted"):
        augment(torch.randn(1, 3, 8, 8), **arguments)
    with pytest.raises(ValueError, match="uint8"):
        augment(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), 0.5)


@pytest.mark.parametrize("shape", [(1, 3, 3, 4), (2, 2, 3, 2)])
def test_derivatives(shape):
    images = torch.randn(shape, dtype=DOUBLE, requires_grad=True)
    function = lambda x: seeded(x, 1.0, "bgcfnc")
    assert torch.autograd.gradcheck(function, images) and torch.autograd.gradgradcheck(function, images)


def test_r1_goes_through():
    """‖∇_x D(T x)‖² is ‖Tᵀ∇D‖², which for D = w·(T x)² a difference quotient finds too."""
    images = torch.randn(2, 3, 5, 5, dtype=DOUBLE, requires_grad=True)
    weight = torch.randn(3, 5, 5, dtype=DOUBLE, requires_grad=True)

    def penalty():
        shown = seeded(images, 0.9)
        return gradient_penalty((shown.square() * weight).sum(dim=(1, 2, 3))[:, None], images).mean()

    (gradient,) = torch.autograd.grad(penalty(), weight)
    direction = torch.randn_like(weight)
    with torch.no_grad():
        weight += 1e-4 * direction
    above = penalty()
    with torch.no_grad():
        weight -= 2e-4 * direction
    assert (above - penalty()).item() / 2e-4 == pytest.approx((gradient * direction).sum().item(), rel=1e-6)


# Pixel blitting.


@pytest.mark.parametrize("count", range(4))
def test_quarter_turns_are_rot90(count):
    images = torch.randn(2, 3, 6, 6)
    inverse = geometry.quarter_turns2d(torch.full((2,), -float(count)))
    assert torch.equal(geometry.blit(images, inverse), torch.rot90(images, count, (2, 3)))


def test_flip_is_flip():
    images = torch.randn(2, 3, 6, 9)
    inverse = geometry.scale2d(torch.tensor([-1.0, 1.0]), torch.ones(2))
    assert torch.equal(geometry.blit(images, inverse), torch.stack([images[0].flip(2), images[1]]))


@pytest.mark.parametrize("x, y", [(2, 0), (0, -3), (-1, 2)])
def test_whole_shifts_are_rolls_with_reflection(x, y):
    images = torch.randn(1, 3, 6, 9)
    result = geometry.blit(images, geometry.translate2d(torch.tensor([-float(x)]), torch.tensor([-float(y)])))
    padded = F.pad(images, (3, 3, 3, 3), mode="reflect")
    assert torch.equal(result, padded[..., 3 - y : 9 - y, 3 - x : 12 - x])
    inside = slice(max(y, 0), 6 + min(y, 0)), slice(max(x, 0), 9 + min(x, 0))
    assert torch.equal(result[..., *inside], torch.roll(images, (y, x), (2, 3))[..., *inside])


@pytest.mark.parametrize("height, width, orientations", [(32, 32, 8), (16, 32, 4)])
def test_blit_draws(height, width, orientations):
    n = 4000
    torch.manual_seed(0)
    inverse = geometry.draw_blit(torch.empty(n, 3, height, width, dtype=DOUBLE), 1.0)
    kinds, counts = torch.unique(inverse[:, :2, :2].flatten(1), dim=0, return_counts=True)
    assert len(kinds) == orientations and torch.equal(kinds.abs().sum(dim=1), torch.full((len(kinds),), 2.0, dtype=DOUBLE))
    assert all(share_is(count / n, 1 / orientations, n) for count in counts.tolist())
    if height != width:  # no turn that would need another shape
        assert (inverse[:, 0, 1] == 0).all()
    shift = torch.linalg.inv(inverse)[:, :2, 2]
    for found, side in ((shift[:, 0], width), (shift[:, 1], height)):
        limit = side / 8
        assert found.abs().max() == limit and torch.equal(found, found.round())
        assert share_is((found == 0).double().mean().item(), 0.5 / limit, n)


# General geometric transformations.


@pytest.mark.parametrize("taps, moments", [(colours.SYM2, 2), (geometry.SYM6, 6)])
def test_wavelets_are_orthogonal_with_vanishing_moments(taps, moments):
    taps, k = np.array(taps), np.arange(len(taps))
    assert len(taps) == 2 * moments and abs(taps.sum() - math.sqrt(2)) < 1e-11
    for shift in range(1, moments):
        assert abs((taps[2 * shift :] * taps[: -2 * shift]).sum()) < 1e-11
    assert abs((taps**2).sum() - 1) < 1e-11
    for power in range(moments):
        terms = (-1.0) ** k * (k / len(taps)) ** power * taps
        assert abs(terms.sum()) < 1e-9


def wave(x, y):
    """A smooth image as a function of the place, period of 14 pixels and more."""
    return torch.sin(0.4 * x + 0.15 * y) + torch.cos(0.2 * x - 0.4 * y + 1)


def places(height, width):
    x, y = torch.arange(width, dtype=DOUBLE) - (width - 1) / 2, torch.arange(height, dtype=DOUBLE) - (height - 1) / 2
    return x.expand(height, width), y[:, None].expand(height, width)


GEOMETRY = {
    "flip": lambda: geometry.scale2d(doubles(-1), doubles(1)),
    "quarter turn": lambda: geometry.quarter_turns2d(doubles(1)),
    "half turn": lambda: geometry.quarter_turns2d(doubles(2)),
    "whole shift": lambda: geometry.translate2d(doubles(3), doubles(-2)),
    "shift": lambda: geometry.translate2d(doubles(0.3), doubles(-1.6)),
    "turn": lambda: geometry.rotate2d(doubles(0.5)),
    "larger": lambda: geometry.scale2d(doubles(1.4), doubles(1.4)),
    "smaller": lambda: geometry.scale2d(doubles(0.8), doubles(0.8)),
    "stretched and turned": lambda: geometry.rotate2d(doubles(-2)) @ geometry.scale2d(doubles(0.8), doubles(1.25)),
}


@pytest.mark.parametrize("name", GEOMETRY)
@pytest.mark.parametrize("height, width", [(32, 32), (27, 40)])
def test_resampling_moves_images_to_where_they_belong(name, height, width):
    forward = GEOMETRY[name]()
    inverse = torch.linalg.inv(forward)
    x, y = places(height, width)
    from_x, from_y = (row[0] * x + row[1] * y + row[2] for row in inverse[0, :2])
    inside = (from_x.abs() < (width - 1) / 2 - 5) & (from_y.abs() < (height - 1) / 2 - 5)
    inside &= (x.abs() < (width - 1) / 2 - 5) & (y.abs() < (height - 1) / 2 - 5)
    assert inside.sum() > 100
    result = geometry.resample(wave(x, y)[None, None], inverse)[0, 0]
    assert (result - wave(from_x, from_y))[inside].abs().max() < 0.03
    assert (wave(x, y) - wave(from_x, from_y))[inside].abs().max() > 0.3  # it did have to move


def test_resampling_equals_blitting_inside():
    x, y = places(24, 24)
    images = wave(x, y)[None, None]
    for forward in (GEOMETRY["quarter turn"](), GEOMETRY["whole shift"](), GEOMETRY["flip"]()):
        inverse = torch.linalg.inv(forward)
        assert torch.allclose(
            geometry.resample(images, inverse), geometry.blit(images, inverse), atol=0.15
        )  # borders too: both reflect
        difference = geometry.resample(images, inverse) - geometry.blit(images, inverse)
        assert difference[..., 6:-6, 6:-6].abs().max() < 0.02


@pytest.mark.parametrize("height, width", [(16, 16), (3, 5), (1, 8)])
def test_resampling_without_motion_reconstructs(height, width):
    """White noise comes back from twice the size, at the borders too: the two passes of the filter cancel."""
    images = torch.randn(2, 3, height, width, dtype=DOUBLE)
    almost = geometry.translate2d(doubles(1e-9, 0), doubles(0, 0))
    result = geometry.resample(images, almost)
    assert torch.allclose(result[0], images[0], atol=1e-6) and not torch.equal(result[0], images[0])
    assert torch.equal(result[1], images[1])


@settings(deadline=None, max_examples=40)
@given(
    shape=st.tuples(st.integers(1, 14), st.integers(1, 14)),
    numbers=st.tuples(*[st.floats(-3, 3)] * 4),
    shift=st.tuples(*[st.floats(-99, 99)] * 2),
)
def test_resampling_keeps_flat_images_flat(shape, numbers, shift):
    """Whatever the motion: gains are one everywhere, and there is always something to reflect."""
    inverse = doubles(*numbers[:2], shift[0], *numbers[2:], shift[1], 0, 0, 1).view(1, 3, 3)
    images = torch.full((1, 2, *shape), 0.7, dtype=DOUBLE)
    assert torch.allclose(geometry.resample(images, inverse), images, atol=1e-6)


def test_resampling_is_antialiased():
    """Stripes that are too fine for the smaller picture become grey and not other stripes."""
    x, _ = places(48, 48)
    stripes = torch.cos(0.8 * math.pi * x)[None, None]
    result = geometry.resample(stripes, geometry.scale2d(doubles(2.2), doubles(2.2)))[..., 16:32, 16:32]
    assert result.abs().max() < 0.1
    wide = torch.cos(0.2 * math.pi * x)[None, None]
    assert geometry.resample(wide, geometry.scale2d(doubles(2.2), doubles(2.2)))[..., 16:32, 16:32].abs().max() > 0.8


def test_geometry_draws():
    n = 4000
    torch.manual_seed(0)
    images = torch.empty(n, 1, 16, 32, dtype=DOUBLE)
    forward = torch.linalg.inv(geometry.draw_geometry(images, 1.0))
    assert forward[:, 0, 2].std().item() == pytest.approx(0.125 * 32, rel=0.06)
    assert forward[:, 1, 2].std().item() == pytest.approx(0.125 * 16, rel=0.06)
    assert forward[:, :2, 2].mean(dim=0).abs().max() < 0.3
    linear = forward[:, :2, :2]
    scale = torch.linalg.det(linear).log2() / 2
    assert scale.std().item() == pytest.approx(0.2, rel=0.06) and abs(scale.mean()) < 0.02
    singular = torch.linalg.svdvals(linear)
    stretch = (singular[:, 0] / singular[:, 1]).log2() / 2
    assert stretch.square().mean().sqrt().item() == pytest.approx(0.2, rel=0.06)

    for p in (0.4, 0.7):  # of any rotation, though there are two
        linear = torch.linalg.inv(geometry.draw_geometry(images, p))[:, :2, :2]
        assert share_is((linear[:, 0, 1] != 0).double().mean().item(), p, n)
        rows, columns = ((product[:, 0, 1].abs() < 1e-9) for product in (linear @ linear.mT, linear.mT @ linear))
        for only_one in (linear[rows & ~columns][:, 0], linear[columns & ~rows][:, :, 0]):  # rotation before, after stretching
            assert len(only_one) > 200
            directions = F.normalize(only_one, dim=1)
            assert directions.mean(dim=0).abs().max() < 0.2 and (directions.square().mean(dim=0) - 0.5).abs().max() < 0.15


# Colours.

COLOURS = doubles((0.5, -0.25, 0.1), (-1, 1, 0.5))[:, :, None, None].expand(-1, -1, 2, 3)


def test_brightness_and_contrast():
    amounts = doubles(0.3, -0.5)
    each = amounts.view(2, 1, 1, 1)
    assert torch.allclose(colours.recolour(COLOURS, colours.brighten(amounts)), COLOURS + each)
    assert torch.allclose(colours.recolour(COLOURS, colours.contrast(amounts)), COLOURS * each)
    both = colours.contrast(doubles(2, 2)) @ colours.brighten(amounts)
    assert torch.allclose(colours.recolour(COLOURS, both), 2 * (COLOURS + each))


def test_luma_flip():
    result = colours.recolour(COLOURS, colours.flip_luma(doubles(1, 0)))
    luma = COLOURS.mean(dim=1, keepdim=True)
    assert torch.allclose(result[0], (COLOURS - 2 * luma)[0]) and torch.equal(result[1], COLOURS[1])


def test_hue():
    third = 2 * math.pi / 3
    result = colours.recolour(COLOURS, colours.rotate_hue(doubles(third, -third)))
    assert torch.allclose(result[0], COLOURS[0].roll(1, 0))  # red to green
    assert torch.allclose(result[1], COLOURS[1].roll(-1, 0))
    result = colours.recolour(COLOURS, colours.rotate_hue(doubles(0.7, math.pi)))
    luma = COLOURS.mean(dim=1, keepdim=True)
    assert torch.allclose(result.mean(dim=1, keepdim=True), luma)
    chroma, before = result - luma, COLOURS - luma
    cosine = (chroma * before).sum(dim=1) / before.square().sum(dim=1)
    assert torch.allclose(chroma.square().sum(dim=1), before.square().sum(dim=1))
    assert torch.allclose(cosine[:, 0, 0], doubles(math.cos(0.7), -1))


def test_saturation():
    luma = COLOURS.mean(dim=1, keepdim=True)
    result = colours.recolour(COLOURS, colours.saturate(doubles(0, 3)))
    assert torch.allclose(result[0], luma[0].expand(3, -1, -1))
    assert torch.allclose(result[1], (luma + 3 * (COLOURS - luma))[1])


def test_grey_is_a_colour():
    grey = torch.randn(50, 1, 3, 3, dtype=DOUBLE)
    torch.manual_seed(0)
    matrix = colours.draw_colour(grey, 0.8)
    expected = colours.recolour(grey.expand(-1, 3, -1, -1), matrix)
    assert torch.allclose(colours.recolour(grey, matrix).expand(-1, 3, -1, -1), expected)


def test_colour_draws():
    n = 4000
    torch.manual_seed(0)
    matrix = colours.draw_colour(torch.empty(n, 3, 1, 1, dtype=DOUBLE), 1.0)
    gain = matrix[:, 0, :3].sum(dim=1)  # of greys: contrast, negative where luma was flipped
    assert share_is((gain < 0).double().mean().item(), 0.5, n)
    assert gain.abs().log2().std().item() == pytest.approx(0.5, rel=0.06)
    assert (matrix[:, 0, 3] / gain).std().item() == pytest.approx(0.2, rel=0.06)
    saturation = (torch.linalg.det(matrix) / gain**3).log2() / 2
    assert saturation.std().item() == pytest.approx(1, rel=0.06) and abs(saturation.mean()) < 0.08
    red = matrix[:, :3, 0] - matrix[:, :3, 0].mean(dim=1, keepdim=True)  # where red's chroma ends up
    assert F.normalize(red, dim=1).mean(dim=0).abs().max() < 0.06


# Bands of frequencies.


def test_bands_divide_the_spectrum():
    filters = colours.band_filters()
    assert filters.shape == (4, 43) and np.allclose(filters, filters[:, ::-1])
    assert np.allclose(filters.sum(axis=0), np.eye(43)[21])
    frequency = np.linspace(0, np.pi, 257)
    response = filters @ np.cos(frequency * np.arange(-21, 22)[:, None])
    assert response.min() > -1e-12 and response.max() < 1 + 1e-12
    edges = np.pi * np.array([0, 1 / 8, 1 / 4, 1 / 2, 1])
    for band in range(4):
        middle = 0 if band == 0 else np.sqrt(edges[band] * edges[band + 1])
        assert response[:, np.abs(frequency - middle).argmin()].argmax() == band


def test_only_the_band_of_a_wave_is_amplified():
    x, _ = places(64, 64)
    for frequency, band in ((math.pi, 3), (0, 0)):  # where one band has it all
        image = torch.cos(frequency * (x - x[0, 0]))[None, None]
        for other in range(1, 4):
            gains = torch.ones(1, 4, dtype=DOUBLE)
            gains[0, other] = 3
            assert torch.allclose(colours.amplify(image, gains), image * (3 if other == band else 1), atol=1e-6)
    flat = torch.full((1, 1, 5, 7), 0.3, dtype=DOUBLE)
    assert torch.allclose(colours.amplify(flat, doubles(2, 5, 6, 7)[None]), 4 * flat)  # twice by rows, twice by columns

    filters, phase = colours.band_filters(), 0.3 * np.pi
    response = filters @ np.cos(phase * np.arange(-21, 22))
    wave = torch.cos(phase * x)[None, None]
    result = colours.amplify(wave, doubles(1, 1, 4, 1)[None])
    assert torch.allclose(result[..., 21:-21], wave[..., 21:-21] * (1 + 3 * response[2]))
    assert response[2] > 0.5


def test_gains_keep_the_power_of_natural_images():
    amounts = torch.ones(1, 4, dtype=DOUBLE)
    assert torch.equal(colours.band_gains(amounts), amounts)
    for band in range(4):
        single = amounts.clone()
        single[0, band] = 2.5
        gains = colours.band_gains(single)
        assert (gains.square() @ (doubles(10, 1, 1, 1) / 13)).item() == pytest.approx(1)
        others = [gains[0, other] for other in range(4) if other != band]
        assert gains[0, band] / others[0] == pytest.approx(2.5) and others[0] == others[1] == others[2]
    torch.manual_seed(0)
    ratio = colours.draw_gains(torch.empty(4000, 1, 1, 1, dtype=DOUBLE), 1.0).log2().diff(dim=1)
    assert torch.allclose(ratio.std(dim=0), torch.full((3,), 2**0.5, dtype=DOUBLE), rtol=0.06)


# Corruptions.


def test_noise():
    torch.manual_seed(0)
    noise = aug.draw_noise(torch.empty(3000, 3, 8, 8), 1.0).flatten(1)
    spread = noise.std(dim=1)
    assert spread.square().mean().sqrt().item() == pytest.approx(0.1, rel=0.06)
    assert spread.mean().item() == pytest.approx(0.1 * math.sqrt(2 / math.pi), rel=0.06)  # half-normal
    assert ((noise / spread[:, None]).pow(4).mean() - 3).abs() < 0.2  # normal within an image
    images = torch.randn(2, 3, 4, 4)
    assert torch.equal(aug.add_noise(images, images), 2 * images)


def test_cutout():
    images = torch.ones(2, 4, 16, 24)
    result = aug.cut_out(images, torch.tensor([[0.5, 0.5], [0.0, 1.0]]), torch.tensor([0.5, 0.5]))
    expected = torch.ones(2, 4, 16, 24)
    expected[0, :, 4:12, 6:18] = 0
    expected[1, :, 12:, :6] = 0
    assert torch.equal(result, expected)
    torch.manual_seed(0)
    lost = (aug.cut_out(torch.ones(3000, 1, 16, 24), *aug.draw_cutout(torch.ones(3000, 1, 16, 24), 1.0)) == 0).float()
    assert lost.mean().item() == pytest.approx((7 / 16) ** 2, rel=0.03)  # a side of 1/2 loses 1/16 at the border on average
    middle = lost.mean(dim=(0, 1))
    assert middle[8, 12].item() == pytest.approx(0.25, abs=0.03) and middle[0, 0].item() < 0.1


# How strong.


def test_signs():
    real, fake = torch.tensor([[2.0], [-1.0], [3.0], [1.0]], requires_grad=True), torch.tensor([[1.0], [-2.0], [-1.0], [4.0]])
    logistic, relativistic = (r_t(loss, real, fake) for loss in ("logistic", "relativistic"))
    assert (logistic.item(), relativistic.item()) == (0.5, 0.5)
    assert r_t("relativistic", real + 7, fake + 7) == 0.5 != r_t("logistic", real + 7, fake + 7)
    assert r_t("logistic", real, fake - 9) == 0.5 != r_t("relativistic", real, fake - 9)
    assert not logistic.requires_grad and not relativistic.requires_grad
    with pytest.raises(ValueError, match="hinge"):
        r_t("hinge", real, fake)


def test_strength_moves_by_its_step():
    strength = AdaptiveStrength(p=0.5, target=0.6, ada_kimg=2, interval=4)
    for _ in range(3):
        strength.update(10, 10)
        assert strength.p == 0.5
    strength.update(-10, 10)  # mean 0.5, below
    assert strength.p == pytest.approx(0.5 - 40 / 2000)
    for signs in (1, 10, 10, 10):
        strength.update(signs, 10)  # mean 0.775
    assert strength.p == pytest.approx(0.5)
    for _ in range(4):
        strength.update(6, 10)  # at the target
    assert strength.p == pytest.approx(0.5)


@given(st.lists(st.floats(-1, 1), max_size=60), st.floats(0, 1))
def test_strength_stays_a_probability(means, p):
    strength = AdaptiveStrength(p=p, ada_kimg=0.05, interval=2)
    for mean in means:
        strength.update(mean * 32, 32)
        assert 0 <= strength.p <= 1


def test_strength_reaches_its_bounds():
    strength = AdaptiveStrength(ada_kimg=1, interval=1)
    for _ in range(20):
        strength.update(100, 100)
    assert strength.p == 1
    for _ in range(20):
        strength.update(0, 100)
    assert strength.p == 0


@pytest.mark.parametrize("steps", [0, 1, 6, 7])
def test_strength_continues_exactly(steps):
    signs = np.random.RandomState(0).uniform(-1, 1, 40) * 8 + 5
    whole, first = (AdaptiveStrength(p=0.1, ada_kimg=0.7) for _ in range(2))
    for value in signs[:steps]:
        first.update(value, 8)
    state = json.loads(json.dumps(first.state_dict()))
    assert all(type(value) in (int, float) for value in first.state_dict().values())
    second, other = (AdaptiveStrength(p=p, ada_kimg=0.7) for p in (0.1, 0.9))
    second.load_state_dict(state)
    other.load_state_dict(state)
    assert other.p == 0.9, "another --p was given since"
    for value in signs[steps:]:
        second.update(value, 8)
    for value in signs:
        whole.update(value, 8)
    assert second.state_dict() == whole.state_dict() and whole.p not in (0.1, 0.9)
    second.load_state_dict({name: value for name, value in state.items() if name != "start"})  # as older states are
    assert second.p == state["p"]


@pytest.mark.parametrize("target", [0.3, 0.6, 0.8])
def test_strength_finds_the_target(target):
    """A discriminator whose r falls from 0.95 as p rises, seen through signs of 64 images a step."""
    rng, strength, found = np.random.RandomState(0), AdaptiveStrength(target=target, ada_kimg=20), []
    for step in range(4000):
        r = 0.95 - 0.9 * strength.p
        strength.update((2 * (rng.rand(64) < (1 + r) / 2) - 1).sum(), 64)
        if step >= 2000:
            found.append(strength.p)
    assert np.mean(found) == pytest.approx((0.95 - target) / 0.9, abs=0.02)


@pytest.mark.parametrize("options", [dict(p=2), dict(ada_kimg=0), dict(interval=0)])
def test_strength_refuses_nonsense(options):
    with pytest.raises(ValueError, match="wanted"):
        AdaptiveStrength(**options)
