"""One style a region: one kernel a place, moments of the region, and what that means for pictures."""

import pytest
import torch
import torch.nn.functional as F

from networks.adaconv_fast import centre, compose
from networks.style_transfer.mask import Mask
from networks.style_transfer.network import Level
from networks.style_transfer.regions import Regions, level_in_regions, region_kernels, region_moments
from networks.style_transfer.style_kernels import StyleKernels
from networks.style_transfer.stylizer import Stylizer
from tests.style_fixtures import random_stylizer, smooth
from torch_utils.images import to_uint8

NETWORKS = {
    "adaconv": {},
    "exact": dict(statistics="exact"),
    "noise": dict(noise=True, padding="reflect", encoder_padding="reflect"),
    "zeros": dict(padding="zeros", kernel_size=5),
    "adain": dict(transfer="adain"),
}


def halves(height: int, width: int) -> torch.Tensor:
    """Left black, right white, uint8 [3, H, W]."""
    picture = torch.zeros(3, height, width, dtype=torch.uint8)
    picture[:, :, width // 2 :] = 255
    return picture


def random_kernels(channels: int, seed: int, groups: int = 2) -> StyleKernels:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(1, channels, channels // groups, 3, 3), (1, channels, channels // groups), (1, channels)]
    return StyleKernels(*(torch.randn(shape, generator=generator) * 0.5 for shape in shapes))


def descriptors(stylizer: Stylizer, *seeds: int) -> torch.Tensor:
    return torch.cat([stylizer.encode_style(smooth(48, 48, seed=seed)) for seed in seeds])


def drawn(stylizer: Stylizer, content: torch.Tensor, style) -> torch.Tensor:
    (picture,) = stylizer.stylize_picture(content, [style])
    return picture.float()


# ---------------------------------------------------------------- one level


def grouped(kernels: StyleKernels) -> torch.Tensor:
    """The composed kernel without groups, [C_out, C_in, k, k]."""
    _, c_out, per_group, k, _ = kernels.spatial.shape
    small = compose(kernels.spatial, kernels.pointwise).view(c_out, per_group, k, k)
    dense = torch.zeros(c_out, c_out, k, k)
    for out in range(c_out):
        first = out // per_group * per_group
        dense[out, first : first + per_group] = small[out]
    return dense


@pytest.mark.parametrize(
    "up, keep, exact", [(False, False, False), (True, False, False), (True, True, False), (False, False, True)]
)
def test_one_kernel_for_each_place(up, keep, exact):
    """K(p) = Σ m_r(p) K_r / σ_r, with the biases likewise, is what a place is convolved with: between two regions, too."""
    torch.manual_seed(0)
    level = Level(4, 4, 1, up, last=True, padding="replicate", keep=keep)
    level.learned = lambda x: x  # the map that a style modulates
    x = torch.randn(1, 4, 12, 10) * 2 + 1
    size = (24, 20) if up else (12, 10)
    masks = Mask(halves(*size), 2, 6).at(*size)
    kernels = [random_kernels(4, seed) for seed in (1, 2)]
    if exact:
        kernels = [k._replace(std=torch.rand(1, 4) + 0.5, mean=torch.randn(1, 4)) for k in kernels]
    found = level_in_regions(level, x, kernels, masks, None, cell=12)

    regions = [region_kernels(level, x, k, m[None], None, 12) for k, m in zip(kernels, masks)]
    wide = F.pad(F.interpolate(x, scale_factor=2) if up else x, (1, 1, 1, 1), mode="replicate")[0]
    soft = 0
    for y, column in [(0, 0), (5, size[1] // 2 - 1), (7, size[1] // 2), (size[0] - 1, size[1] - 1), (3, size[1] // 2 - 2)]:
        kernel, bias = 0, 0
        for region, mask in zip(regions, masks):
            own = grouped(region.kernels) * region.scale.view(1, -1, 1, 1)
            share = mask[0, y, column]
            kernel = kernel + share * own
            bias = bias + share * (region.kernels.bias[0] - (own * region.mean.view(1, -1, 1, 1)).sum(dim=(1, 2, 3)))
        soft += 0.1 < masks[0, 0, y, column] < 0.9
        wanted = (kernel * wide[:, y : y + 3, column : column + 3]).sum(dim=(1, 2, 3)) + bias
        assert torch.allclose(found[0, :, y, column], wanted, atol=1e-4)
    assert soft >= 3


def test_moments_of_a_region():
    x = smooth(40, 30, n=2) * 3 + 5
    weights = torch.zeros(40, 30)
    weights[:, 17:] = 0.7
    scale, mean = region_moments(x, weights)
    part = x[:, :, :, 17:]
    assert torch.allclose(mean, part.mean(dim=(2, 3), keepdim=True), atol=1e-5)
    assert torch.allclose(scale, (part.var(dim=(2, 3), correction=0, keepdim=True) + 1e-5).rsqrt(), rtol=1e-4)
    _, whole_scale, whole_mean = centre(x)
    scale, mean = region_moments(x, torch.full((40, 30), 0.3))
    assert torch.allclose(scale, whole_scale, rtol=1e-4) and torch.allclose(mean, whole_mean, atol=1e-5)


def test_moments_do_not_depend_on_the_bands(monkeypatch):
    x, weights = smooth(40, 30), torch.rand(40, 30, generator=torch.Generator().manual_seed(0))
    whole = region_moments(x, weights)
    monkeypatch.setattr("networks.style_transfer.regions.CACHED", 300)
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in zip(region_moments(x, weights), whole))


def test_exact_statistics_are_those_of_each_region():
    """Whatever lies beside it: after the first level's kernels, each region has its style's means and deviations."""
    stylizer = random_stylizer(statistics="exact")
    level = stylizer.network.levels[0]
    level.learned = lambda x: x
    x = torch.randn(1, 512, 16, 12).relu() * 2
    x[:, :, :, 6:] += 3
    masks = Mask(halves(16, 12), 2, 0).at(16, 12)
    styles = descriptors(stylizer, 1, 2)
    kernels = [stylizer.network.kernels(style)[0] for style in styles.split(1)]
    y = level_in_regions(level, x, kernels, masks, None, cell=16)
    for part, own in zip((y[:, :, :, :6], y[:, :, :, 6:]), kernels):
        assert torch.allclose(part.mean(dim=(2, 3)), own.mean, atol=1e-3)
        ratio = part.std(dim=(2, 3), correction=0) / own.std
        assert ratio.max() < 1.001 and ratio.median() > 0.99  # MOMENTS_EPS spares channels in which there is nothing


def test_adain_is_spatial_control():
    """Huang and Belongie 2017, section 7.3: each region of relu4_1 gets its own style's statistics; other levels do nothing."""
    stylizer = random_stylizer("adain")
    features = stylizer.encode(smooth(64, 48))
    masks = Mask(halves(8, 6), 2, 0).at(8, 6)
    kernels = [stylizer.network.kernels(style) for style in descriptors(stylizer, 1, 2).split(1)]
    level = stylizer.network.levels[0]
    level.learned = lambda x: x
    y = level_in_regions(level, features, [k[0] for k in kernels], masks, None, cell=8)
    for place, own in zip((slice(0, 3), slice(3, 6)), kernels):
        part = features[..., place]
        normal = (part - part.mean(dim=(2, 3), keepdim=True)) / (part.var(dim=(2, 3), correction=0, keepdim=True) + 1e-5).sqrt()
        wanted = normal * own[0].spatial.view(1, -1, 1, 1) + own[0].bias[..., None, None]
        assert torch.allclose(y[..., place], wanted, atol=2e-3)
    assert kernels[0][1:] == [None] * 3


# ---------------------------------------------------------------- pictures


@pytest.mark.parametrize("tile, strength", [(0, 1), (16, 1), (0, 0.4)])
@pytest.mark.parametrize("name", NETWORKS)
def test_one_region_is_no_mask(name, tile, strength):
    stylizer = random_stylizer(**NETWORKS[name])
    stylizer.tile, stylizer.strength = tile, strength
    content, style = to_uint8(smooth(35, 43))[0], descriptors(stylizer, 3)
    mask = Mask(torch.zeros(3, 35, 43, dtype=torch.uint8), 1)
    found, wanted = drawn(stylizer, content, Regions(mask, style)), drawn(stylizer, content, style)
    assert found.shape == (3, 35, 43) and wanted.std() > 2 and (found - wanted).abs().max() <= 1


@pytest.mark.parametrize("name", NETWORKS)
def test_tiles_draw_the_same(name):
    stylizer = random_stylizer(**NETWORKS[name])
    content = to_uint8(smooth(61, 75))[0]
    regions = Regions(Mask(halves(61, 75), 2, 9), descriptors(stylizer, 3, 4))
    stylizer.tile = 0
    whole = drawn(stylizer, content, regions)
    stylizer.tile = 24
    assert (drawn(stylizer, content, regions) - whole).abs().max() <= 1


@pytest.mark.parametrize("name", NETWORKS)
def test_each_region_has_its_style(name):
    """Away from the middle a region is drawn as if the other one had its style, too. Not exactly: the maps of a region's later
    levels, and so their moments, have places beside the border that the other style reaches; random weights make much of it."""
    stylizer = random_stylizer(**NETWORKS[name])
    content = to_uint8(smooth(48, 176))[0]
    a, b = descriptors(stylizer, 3, 4).split(1)
    pictures = {
        pair: drawn(stylizer, content, Regions(Mask(halves(48, 176), 2, 4), torch.cat(pair)))
        for pair in ((a, a), (b, b), (a, b), (b, a))
    }
    left, right = slice(0, 40), slice(136, 176)
    distance = lambda one, other, place: (pictures[one] - pictures[other])[:, :, place].abs().mean()
    same = distance((a, b), (a, a), left) + distance((a, b), (b, b), right)
    same += distance((b, a), (b, b), left) + distance((b, a), (a, a), right)
    different = distance((a, b), (b, b), left) + distance((a, b), (a, a), right)
    different += distance((b, a), (a, a), left) + distance((b, a), (b, b), right)
    assert different > 4 and same < 0.6 * different


@pytest.mark.parametrize("name", NETWORKS)
def test_deep_inside_the_other_style_does_not_count(name, monkeypatch):
    """But for what it changes in moments of the region's own maps, which with AdaIN is nothing."""
    stylizer = random_stylizer(**NETWORKS[name])
    content, styles = to_uint8(smooth(32, 176))[0], descriptors(stylizer, 3, 4, 5)
    mask, moments = Mask(halves(32, 176), 2, 4), []
    one = drawn(stylizer, content, Regions(mask, styles[[0, 1]]))
    other = drawn(stylizer, content, Regions(mask, styles[[0, 2]]))
    assert (one - other)[:, :, 120:].abs().mean() > 0.5
    if name != "adain":
        assert (one - other)[:, :, :40].abs().max() > 0
        record = lambda *arguments: moments.append(region_moments(*arguments)) or moments[-1]
        monkeypatch.setattr("networks.style_transfer.regions.region_moments", record)
        one = drawn(stylizer, content, Regions(mask, styles[[0, 1]]))
        monkeypatch.setattr("networks.style_transfer.regions.region_moments", lambda *arguments: moments.pop(0))
        other = drawn(stylizer, content, Regions(mask, styles[[0, 2]]))
        assert not moments and (one - other)[:, :, 120:].abs().mean() > 0.5
    assert (one - other)[:, :, :40].abs().max() == 0


def test_the_same_style_twice_is_not_that_style_once():
    """Because each region is normalised by itself; normalised together, the pictures are the same."""
    stylizer = random_stylizer()
    content, style = to_uint8(smooth(40, 64))[0], descriptors(stylizer, 3)
    regions = Regions(Mask(halves(40, 64), 2), torch.cat([style, style]))
    once = drawn(stylizer, content, style)
    assert (drawn(stylizer, content, regions) - once).abs().mean() > 1
    with pytest.MonkeyPatch.context() as patch:
        whole = lambda x, weights, eps=1e-5: region_moments(x, torch.ones_like(weights), eps)
        patch.setattr("networks.style_transfer.regions.region_moments", whole)
        assert (drawn(stylizer, content, regions) - once).abs().max() <= 1


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (9, 17), (33, 50)])
def test_odd_sizes(size):
    stylizer = random_stylizer()
    content, styles = to_uint8(smooth(*size))[0], descriptors(stylizer, 3, 4)
    if size == (1, 1):
        regions = Regions(Mask(torch.zeros(3, 1, 1, dtype=torch.uint8), 1), styles[:1])
    else:
        regions = Regions(Mask(halves(*size), 2, 3), styles)
    assert drawn(stylizer, content, regions).shape == (3, *size)


@pytest.mark.parametrize("name", ["adain", "exact"])
def test_strength_0_is_the_contents_own(name):
    """Each region's own statistics, so that with AdaIN the features are unchanged, whatever the styles."""
    stylizer = random_stylizer(**NETWORKS[name])
    content, styles = to_uint8(smooth(40, 64))[0], descriptors(stylizer, 3, 4)
    regions = Regions(Mask(halves(40, 64), 2, 0), styles)
    stylizer.strength = 0
    found, flipped = drawn(stylizer, content, regions), drawn(stylizer, content, regions._replace(descriptors=styles.flip(0)))
    assert (found - flipped).abs().max() <= 1
    if name == "adain":
        assert (found - drawn(stylizer, content, styles[:1])).abs().max() <= 1
        stylizer.strength = 1
        assert (drawn(stylizer, content, regions) - found).abs().mean() > 1


def test_statistics_of_another_style():
    stylizer = random_stylizer()
    content, styles = to_uint8(smooth(40, 64))[0], descriptors(stylizer, 3, 4)
    regions = Regions(Mask(halves(40, 64), 2), styles)
    plain = drawn(stylizer, content, regions)
    stylizer.statistics = descriptors(stylizer, 5)
    assert (drawn(stylizer, content, regions) - plain).abs().mean() > 0.2


def test_sixteen_bits():
    stylizer = random_stylizer()
    content, regions = to_uint8(smooth(64, 96))[0], Regions(Mask(halves(64, 96), 2), descriptors(stylizer, 3, 4))
    plain = drawn(stylizer, content, regions)
    stylizer.precision = "bf16"
    assert 0 < (drawn(stylizer, content, regions) - plain).abs().mean() < 3
