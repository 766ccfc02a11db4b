"""Real images and their mirror images: never one on each side where real images are compared with real images."""

import numpy as np
import pytest
import torch

from metrics.density_coverage import density_coverage
from metrics.detectors.base import Detector
from metrics.evaluation.metric_name import parse_metric
from metrics.evaluation.nearest import neighbours
from metrics.evaluation.real_images import RealImages as Row
from metrics.evaluation.reference import sides
from metrics.evaluation.reference_file import FORMAT, load
from metrics.fid import frechet_distance
from tests.metrics.evaluation.test_evaluator import (  # noqa: F401  one is a fixture
    DIM,
    RealImages,
    build,
    cells,
    pictures,
    score,
    setting,
)
from torch_utils import array_file
from torch_utils.files import InputError


def mirrored(count: int, **options) -> torch.Tensor:
    """uint8 [2 * count, 3, 8, 8]"""
    images = pictures(count, **options)
    return torch.cat([images, images.flip(3)])


def positions(parts) -> np.ndarray:
    return np.concatenate([np.arange(0), *(np.arange(*part) for part in parts)])


def row(count: int, seed: int = 0) -> Row:
    return Row(None, count, "", seed, mirrored=True)


def test_a_row_has_every_image_once_and_its_twin_half_a_row_further_on():
    order = row(14, seed=3).order()
    assert sorted(order) == list(range(14)) and (order[:7] % 7 == order[7:] % 7).all()
    assert 0 < (order[:7] >= 7).sum() < 7, "some are flipped"
    assert (order == row(14, seed=3).order()).all() and (order != row(14, seed=4).order()).any()


@pytest.mark.parametrize(
    "name, count, used, first, second",
    [
        ("fd2k_full", 10_000, 10_000, 2000, 6000),
        ("fd2k_full", 7000, 7000, 2000, 3500),  # of half of 3500 images the first 2000: some are twins
        ("fd2k_full", 3002, 3002, 1500, 1502),
        ("fd2k", 10_000, 2000, 2000, 2000),
        ("fd2k", 3002, 2000, 1500, 1502),
        ("fd2k", 2, 2, 0, 2),
    ],
)
def test_no_image_is_on_one_side_and_its_twin_on_the_other(name, count, used, first, second):
    real = row(count)
    chosen, one, other = (positions(parts) for parts in sides(parse_metric(name), real))
    assert (len(chosen), len(one), len(other)) == (used, first, second) and (chosen == np.arange(used)).all()
    one, other = (real.order()[side] for side in (one, other))
    assert len({*one}) == first and len({*other}) == second
    assert not {*(one % real.different)} & {*(other % real.different)}
    if 2 * max(first, second) <= real.different:  # there are enough without twins
        assert len({*(one % real.different)}) == first and len({*(other % real.different)}) == second


def test_real_against_real_is_of_different_images():
    """By moments, by features, and both again from the cache."""
    images, names = mirrored(1600), ["fd1k_full", "dc1k_full-efficientnet_lite0"]
    order, features = row(3200, seed=5).order(), cells(images).double().numpy()
    one, other = (features[order[parts]] for parts in (np.r_[:800, 1600:1800], np.r_[800:1600, 2400:3200]))
    distance = frechet_distance(one.mean(0), np.cov(one.T), other.mean(0), np.cov(other.T))
    density, coverage = density_coverage(one, other)
    for _ in range(2):
        evaluator = build(RealImages(images), names, seed=5, mirrored=True)
        by_moments, by_features = score(evaluator, pictures(1000, seed=1))
        assert by_moments["floor"] == pytest.approx(distance, rel=1e-6) and by_moments["floor_counts"] == [1000, 1600]
        assert by_features["between_reals"] == pytest.approx({"coverage": coverage, "density": density})
        assert by_moments["real"] == by_features["real"] == 3200


def test_what_was_kept_of_other_rows_is_not_used():
    detector = Detector("cells", DIM, "hash", "none", torch.device("cpu"), cells, 32)
    before = dict(content="", real_count=6, seed=0, detector="cells", hash="hash", resizing="none", end=6)
    before = array_file.cache_path("features", **before)
    assert Row(None, 6, "").cache_path("features", detector, end=6) == before
    assert row(6).cache_path("features", detector, end=6) != before


def test_the_usual_distance_between_real_images_is_not_that_of_twins():
    """Twins have the same features here: beside no distance at all any sample would seem to be far from the data."""
    images = mirrored(200)
    features = both_ways(images[:200]).double()
    apart = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist").fill_diagonal_(torch.inf)
    detector = Detector("cells", DIM, "hash", "none", torch.device("cpu"), both_ways, 32)
    real = Row(lambda: images.split(64), 400, "twins", mirrored=True)
    found = neighbours(pictures(5, seed=1), detector, real, 4)
    assert found.between_real == pytest.approx(apart.amin(1).quantile(0.5).item(), rel=1e-3)
    evaluator = build(RealImages(images), key="all", mirrored=True)
    assert evaluator.nearest(images[:20], 1).closeness == 0 < evaluator.nearest(images[:20], 1).between_real


def both_ways(images: torch.Tensor) -> torch.Tensor:
    """As `cells`, and blind to left and right."""
    return (cells(images) + cells(images.flip(3))) / 2


def test_an_image_and_its_twin_are_one():
    with pytest.raises(InputError, match="two real images at least, and the data has 1$"):
        build(RealImages(mirrored(1)), mirrored=True)
    (record,) = score(build(RealImages(mirrored(2)), mirrored=True), pictures(1000))
    assert record["floor_counts"] == [2, 2] and record["real"] == 4


def test_a_reference_of_before_is_good_where_nothing_was_mirrored(tmp_path):
    file = tmp_path / "reals.safetensors"
    for mirror, images in ((False, pictures(1100)), (True, mirrored(550))):
        build(RealImages(images), key=str(mirror), mirrored=mirror).save_reference(file, mirror, (8, 8, 3), None)
        arrays, header = array_file.read(file)
        assert header["format"] == FORMAT and load(file).mirror == mirror
        array_file.write(file, arrays, **header | {"format": "adaconv-reference/1"})
        if mirror:
            with pytest.raises(InputError, match="older one, in which real images were compared with their own mirror images"):
                load(file)
        else:
            assert load(file).real_count == 1100
