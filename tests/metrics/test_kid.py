"""The kernel distance: closed forms, other implementations on the same subsets, and what it must not depend on."""

import numpy as np
import pytest
import scipy.stats
import torch

from metrics.kid import kernel_distance, kernel_interval, mmd2
from tests.metrics.test_fid import reference_package


def features(seed: int, count: int, dim: int = 48, shift: float = 0.0) -> np.ndarray:
    rng = np.random.RandomState(seed)
    return rng.randn(count, dim) @ rng.randn(dim, dim) / 7 + shift


def test_by_hand():
    """Kernels (x·y/2 + 1)^3: within x 27 at each of two ordered pairs, within y 1, across 1."""
    x, y = np.array([[2.0, 0.0], [2.0, 0.0]]), np.zeros((2, 2))
    assert mmd2(x, y) == pytest.approx(27 + 1 - 2 * 1)
    assert mmd2(np.array([[2.0, 0], [0, 2]]), y) == pytest.approx(1 + 1 - 2)  # equal images on the diagonal do not count


@pytest.mark.parametrize("subsets, size, counts", [(7, 100, (300, 400)), (3, 1000, (150, 220)), (4, 1000, (128, 128))])
def test_agrees_with_torch_fidelity_on_the_same_subsets(subsets, size, counts):
    module = reference_package("torch_fidelity.metric_kid")
    fake, real = features(0, counts[0]), features(1, counts[1], shift=0.2)
    options = dict(kid_subsets=subsets, kid_subset_size=min(size, *counts), rng_seed=5, verbose=False)
    theirs = module.kid_features_to_metric(torch.from_numpy(fake), torch.from_numpy(real), **options)
    mean, std = kernel_distance(fake, real, subsets, size, seed=5)
    assert mean == pytest.approx(theirs[module.KEY_METRIC_KID_MEAN], rel=1e-6)
    assert std == pytest.approx(theirs[module.KEY_METRIC_KID_STD], rel=1e-6, abs=1e-12)


def test_agrees_with_clean_fid_on_the_same_subsets():
    module = reference_package("cleanfid.fid")
    fake, real = features(0, 300), features(1, 250, shift=0.2)
    before = np.random.get_state()
    np.random.seed(9)
    theirs = module.kernel_distance(real, fake, num_subsets=11, max_subset_size=120)
    np.random.set_state(before)
    assert kernel_distance(fake, real, 11, 120, seed=9)[0] == pytest.approx(theirs, rel=1e-6)


def test_is_the_maximum_mean_discrepancy_of_gaussians():
    """In one dimension E (xy + 1)^3 = 1 + 3 E xy + 3 E x² E y² + E x³ E y³ for independent x and y."""
    rng = np.random.RandomState(0)
    moments = lambda mean: (mean, mean**2 + 1, mean**3 + 3 * mean)
    kernel = lambda a, b: 1 + 3 * a[0] * b[0] + 3 * a[1] * b[1] + a[2] * b[2]
    one, other = moments(0.5), moments(0.0)
    expected = kernel(one, one) + kernel(other, other) - 2 * kernel(one, other)
    found = [mmd2(rng.randn(1000, 1) + 0.5, rng.randn(1000, 1)) for _ in range(60)]
    assert abs(np.mean(found) - expected) < 4 * np.std(found) / np.sqrt(60) < 0.2 * expected


def test_is_unbiased():
    """Of equal distributions, even with few images, the mean is zero within four standard errors."""
    rng = np.random.RandomState(0)
    values = [mmd2(rng.randn(12, 8), rng.randn(15, 8)) for _ in range(2000)]
    assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(2000)


def test_neither_blocks_nor_order_matter():
    x, y = features(0, 90), features(1, 70)
    value = mmd2(x, y)
    for block in (1, 13, 70, 1000):
        assert mmd2(x, y, block) == pytest.approx(value, rel=1e-9)
    assert mmd2(x[::-1], y[np.random.RandomState(0).permutation(70)]) == pytest.approx(value, rel=1e-9)
    assert mmd2(y, x) == pytest.approx(value, rel=1e-9)


def test_the_seed_chooses_the_subsets_and_nothing_else_does():
    fake, real = features(0, 200), features(1, 200)
    np.random.seed(0)
    first = kernel_distance(fake, real, 5, 50, seed=1)
    np.random.seed(1)
    assert kernel_distance(fake, real, 5, 50, seed=1) == first
    assert kernel_distance(fake, real, 5, 50, seed=2) != first


def test_refuses_what_is_no_pair_of_samples():
    good = features(0, 10)
    for fake, message in [(good[:1], "2 feature vectors"), (good[0], r"\[N, D\]"), (good * np.nan, "not finite")]:
        with pytest.raises(ValueError, match=message):
            kernel_distance(fake, good)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    """95 % of the time; 200 trials allow 89 % to 99 %."""
    rng = np.random.RandomState(0)
    draw = lambda count, shift: rng.randn(count, 4) + shift
    truth = np.mean([mmd2(draw(3000, 0.4), draw(3000, 0.0)) for _ in range(5)])
    held = 0
    for _ in range(200):
        fake, real = draw(200, 0.4), draw(200, 0.0)
        value, (low, high) = kernel_distance(fake, real)[0], kernel_interval(fake, real)
        held += value + low <= truth <= value + high
    assert 178 <= held <= 198
    assert kernel_interval(draw(19, 0), draw(100, 0)) is None


@pytest.mark.parametrize("counts", [(1000, 200), (200, 2000)])
def test_the_interval_of_sides_that_differ_in_number(counts):
    """It is no wider than the spread of values asks for: cut to the smaller side, it was nearly twice as wide."""
    rng = np.random.RandomState(0)
    draws = [(rng.randn(counts[0], 4) + 0.4, rng.randn(counts[1], 4)) for _ in range(60)]
    spread = np.std([kernel_distance(*draw)[0] for draw in draws])
    half = np.mean([kernel_interval(*draw)[1] for draw in draws])
    assert 0.9 < half / (1.96 * spread) < 1.5


@pytest.mark.parametrize("counts, groups", [((45, 63), 10), ((11_500, 12_000), 11)])
def test_the_interval_is_students_by_disjoint_groups(counts, groups):
    fake, real = features(0, counts[0], 6), features(1, counts[1], 6, shift=0.2)
    rng = np.random.RandomState(0)
    parts = [rng.permutation(n)[: n // groups * groups].reshape(groups, -1) for n in counts]
    values = [mmd2(fake[mine], real[theirs]) for mine, theirs in zip(*parts)]
    expected = scipy.stats.t.interval(0.95, groups - 1, scale=scipy.stats.sem(values))
    assert kernel_interval(fake, real) == pytest.approx(expected)
