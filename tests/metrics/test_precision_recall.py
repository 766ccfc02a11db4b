"""Precision and recall, density and coverage: shapes whose answer is known, other implementations, blocks and duplicates."""

import numpy as np
import pytest
import torch

from metrics.density_coverage import density_coverage
from metrics.neighbours import nearest, squared_distances, squared_radii
from metrics.precision_recall import precision_recall
from tests.metrics.test_fid import reference_package


def features(seed: int, count: int, dim: int = 24, scale: float = 1.0) -> np.ndarray:
    return scale * np.random.RandomState(seed).randn(count, dim)


def naive_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.sqrt(np.square(x[:, None] - y[None]).sum(2))


def naive_radii(x: np.ndarray, k: int) -> np.ndarray:
    return np.sort(naive_distances(x, x), axis=1)[:, k]  # the first is the image itself


def test_on_a_line_by_hand():
    """Reals at 0, 1, 2, 3 with radius 1 (k = 1); of the generated three, those at 0.5 and 4 are within, 9 is not."""
    real, fake = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([[0.5], [4.0], [9.0]])
    precision, recall = precision_recall(fake, real, k=1)
    assert precision == pytest.approx(2 / 3)
    assert recall == 1  # radii 3.5, 3.5 and 5: -3 .. 4 and 0.5 .. 7.5
    density, coverage = density_coverage(fake, real, k=1)
    assert density == pytest.approx(2 / 3)  # 0.5 is within the open balls of 0 and of 1, and 4 in none
    assert coverage == 0.5


def test_agrees_with_torch_fidelity():
    module = reference_package("torch_fidelity.metric_prc")
    for seed, scale in [(0, 1.0), (1, 0.7), (2, 1.3)]:
        fake, real = features(seed, 300, scale=scale), features(seed + 10, 250)
        for k in (1, 3, 5):
            tensors = torch.from_numpy(fake), torch.from_numpy(real)
            for save in (False, True):
                options = dict(prc_neighborhood=k, prc_batch_size=64, save_cpu_ram=save, verbose=False)
                theirs = module.prc_features_to_metric(*tensors, **options)
                expected = theirs[module.KEY_METRIC_PRECISION], theirs[module.KEY_METRIC_RECALL]
                assert precision_recall(fake, real, k) == pytest.approx(expected, rel=1e-6)


def test_density_and_coverage_agree_with_their_equations():
    for seed, scale in [(0, 1.0), (1, 0.6)]:
        fake, real = features(seed, 120, scale=scale), features(seed + 10, 90)
        inside = naive_distances(fake, real) < naive_radii(real, 5)
        assert density_coverage(fake, real) == pytest.approx((inside.sum() / (5 * 120), inside.any(0).mean()))


def test_of_equal_distributions():
    """Coverage expects 1 - 2^-k or so (Naeem et al. 2020, section 3.3), density 1."""
    fake, real = features(0, 1500, 3), features(1, 1500, 3)
    density, coverage = density_coverage(fake, real)
    assert density == pytest.approx(1, abs=0.1) and coverage == pytest.approx(1 - 2**-5, abs=0.02)
    precision, recall = precision_recall(fake, real)
    assert precision == pytest.approx(recall, abs=0.03) and precision > 0.8


def test_lost_classes_cost_recall_and_strange_images_cost_precision():
    real = np.concatenate([features(0, 200), features(1, 200) + 30])
    one_class, strange = features(2, 400), np.concatenate([real, features(3, 400) - 60])
    precision, recall = precision_recall(one_class, real)
    assert recall <= 0.5 < precision
    precision, recall = precision_recall(strange, real)
    assert precision == pytest.approx(0.5) and recall == 1


def test_an_outlier_among_the_reals_moves_precision_and_not_density():
    real, fake = features(0, 300, 8), features(1, 300, 8) + 20
    outlier = np.concatenate([real, np.full((1, 8), 25.0)])
    assert precision_recall(fake, real)[0] == 0 and precision_recall(fake, outlier)[0] == 1
    assert density_coverage(fake, outlier)[0] < density_coverage(fake, real)[0] + 1 / 5 + 1e-9


@pytest.mark.parametrize("block", [1, 37, 1000, 10**6])
def test_neither_blocks_nor_order_matter(block):
    fake, real = features(0, 61), features(1, 50)
    shuffled = np.random.RandomState(0).permutation
    for function in (precision_recall, density_coverage):
        assert function(fake, real, block=block) == function(fake, real)
        assert function(shuffled(fake), shuffled(real)) == function(fake, real)


def test_no_block_is_larger_than_asked_for():
    x, y = features(0, 40), features(1, 30)
    sizes = [found.size for _, found in squared_distances(x, y, block=100)]
    assert max(sizes) <= 100 and sum(sizes) == 1200


def test_copies_are_at_no_distance():
    """Rounding must not part an image from its copy, far from the origin neither."""
    real = features(0, 50).astype(np.float32) + 1e3
    ((_, distances),) = squared_distances(*[real.astype(np.float64)] * 2)
    assert (np.diag(distances) == 0).all() and (distances + np.eye(50) > 1e-3).all()
    assert precision_recall(real, real) == (1, 1)
    collapsed = np.repeat(real[:1], 50, axis=0)
    assert precision_recall(collapsed, real) == (1, 1 / 50)  # its manifold is one point, and one real image is there
    twice = np.concatenate([real, real])
    assert (squared_radii(twice.astype(np.float64), 1) == 0).all()


def test_nearest():
    x, y = features(0, 20), features(1, 35)
    indices, distances = nearest(x, y, 4, block=50)
    expected = naive_distances(x, y)
    assert (indices == np.argsort(expected, axis=1)[:, :4]).all()
    np.testing.assert_allclose(distances, np.sort(expected, axis=1)[:, :4], rtol=1e-9)


def test_refuses_too_few_and_unequal():
    with pytest.raises(ValueError, match="3 neighbours take more than 3"):
        precision_recall(features(0, 3), features(1, 10))
    with pytest.raises(ValueError, match="5 neighbours take more than 5"):
        density_coverage(features(0, 3), features(1, 5))
    assert density_coverage(features(0, 1), features(1, 6))[1] <= 1
    for function in (precision_recall, density_coverage):
        with pytest.raises(ValueError, match="dimensions"):
            function(features(0, 10, 3), features(1, 10, 4))
        with pytest.raises(ValueError, match="not finite"):
            function(features(0, 10) * np.inf, features(1, 10))
    with pytest.raises(ValueError, match="4 neighbours take 4"):
        nearest(features(0, 2), features(1, 3), 4)
