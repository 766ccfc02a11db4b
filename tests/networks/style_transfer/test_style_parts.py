"""Parts of kernels from different styles."""

import pytest
import torch

from metrics.style_transfer.structure import structure_score
from networks.style_transfer.mask import Mask
from networks.style_transfer.regions import Regions
from networks.style_transfer.style_kernels import MOMENTS, PARTS, with_parts
from scripts.experiments.style_parts import NEARER, PAINTED, drawings, moved
from tests.networks.style_transfer.test_regions import halves
from tests.style_fixtures import random_network, random_stylizer, smooth
from torch_utils.images import to_uint8

FIELDS = dict(spatial=["spatial"], pointwise=["pointwise"], bias=["bias"], moments=["std", "mean"])


def test_a_part_is_the_other_styles_and_the_rest_is_not():
    network = random_network(statistics="exact")
    one, other = (network.kernels(torch.randn(1, *network.descriptor_shape)) for _ in range(2))
    for part in PARTS:
        for a, b in zip(one, other):
            mixed = with_parts(a, {part: b})
            for field in a._fields:
                assert getattr(mixed, field) is getattr(b if field in FIELDS[part] else a, field)
    assert with_parts(one[0], {}) is one[0] and with_parts(one[0], dict.fromkeys(PARTS, other[0])) == other[0]


@pytest.mark.parametrize("statistics", ["learned", "exact"])
def test_all_parts_are_the_style(statistics):
    """So is each part of a region's, and strength goes for parts as for styles."""
    stylizer = random_stylizer(statistics=statistics)
    stylizer.strength = 0.5
    content = to_uint8(smooth(16, 24))[0]
    one, other = (stylizer.encode_style(smooth(48, 48, seed=seed)) for seed in (3, 4))
    parts = [part for part in PARTS if statistics == "exact" or part != MOMENTS]
    regions = [Regions(Mask(halves(16, 24), 2), torch.cat([style, style])) for style in (one, other)]
    drawn = lambda style: next(stylizer.stylize_picture(content, [style]))
    plain, wanted, everywhere = drawn(one), drawn(other), drawn(regions[1])
    stylizer.parts = dict.fromkeys(parts, other)
    assert torch.equal(drawn(one), wanted) and torch.equal(drawn(regions[0]), everywhere)
    for part in parts:
        stylizer.parts = {part: other}
        assert not torch.equal(drawn(one), plain) and not torch.equal(drawn(one), wanted)


def test_three_styles_at_once_and_statistics():
    """Statistics of a fourth style are laid over what the parts have made."""
    stylizer = random_stylizer()
    styles = [stylizer.encode_style(smooth(48, 48, seed=seed)) for seed in range(4)]
    stylizer.parts = {"spatial": styles[1], "pointwise": styles[2]}
    kernels, (first, second, third, fourth) = stylizer.kernels(styles[0]), map(stylizer.network.kernels, styles)
    for found, a, b, c in zip(kernels, first, second, third):
        assert torch.equal(found.spatial, b.spatial) and torch.equal(found.pointwise, c.pointwise)
        assert torch.equal(found.bias, a.bias)
    stylizer.statistics = styles[3]
    for found, b, d in zip(stylizer.kernels(styles[0]), second, fourth):
        assert torch.equal(found.spatial, b.spatial) and torch.equal(found.bias, d.bias)
        norms = [own.composed().flatten(2).norm(dim=2) for own in (found, d)]
        assert torch.allclose(*norms, rtol=1e-3)


def test_what_is_measured():
    stylizer = random_stylizer(statistics="exact")
    pictures = [smooth(128, 128, seed=seed) for seed in (3, 4)]
    one, other = map(stylizer.encode_style, pictures)
    found = drawings(stylizer, to_uint8(smooth(128, 128))[0], one, other) | {PAINTED: pictures[1]}
    assert list(found) == ["", *PARTS, "--statistics", "all", PAINTED]
    table = moved([found, found], stylizer.encoder)
    assert list(table) == [*PARTS, "--statistics", "all"] and all(0 < row["pixels"] < 3 for row in table.values())
    assert all(0 < row["strokes"] < 3 and 0 < row["channel statistics"] < 3 for row in table.values())
    (score,) = structure_score(found["bias"], found[""], pictures[1])
    assert table["bias"]["structure score"] == pytest.approx(score.score, abs=1e-5)

    known = found | dict(spatial=found["all"], pointwise=found[""], bias=found[PAINTED])
    table = moved([known], stylizer.encoder)
    assert table["spatial"] == table["all"] and {table["all"][measure] for measure in ("pixels", "strokes")} == {1.0}
    assert set(table["pointwise"].values()) == {0.0}
    assert {table["bias"][score] for score in NEARER.values()} == {1.0}
