"""The Fréchet distance: closed forms, other implementations, and the statistics that go in."""

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.fid import frechet_distance
from metrics.statistics import FeatureStatistics, PrefixStatistics
from torch_utils.torchvision_compat import import_torchvision


def gaussian(seed: int, dim: int = 12, samples: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of correlated samples; singular where there are no more samples than dimensions."""
    rng = np.random.RandomState(seed)
    features = rng.randn(samples, dim) @ rng.randn(dim, dim) + rng.randn(dim)
    return features.mean(0), np.cov(features, rowvar=False)


def reference_package(name: str):
    """A module of a package that imports torchvision on its way; skips where either is missing."""
    try:
        import_torchvision()
    except ImportError as error:
        pytest.skip(f"torchvision: {error}")
    return pytest.importorskip(name, exc_type=ImportError)


def test_of_equal_gaussians_is_zero():
    mu, sigma = gaussian(0)
    assert frechet_distance(mu, sigma, mu, sigma) == pytest.approx(0, abs=1e-9)


def test_of_equal_singular_gaussians_is_zero():
    mu, sigma = gaussian(0, dim=40, samples=10)
    assert frechet_distance(mu, sigma, mu, sigma) == pytest.approx(0, abs=1e-9)


def test_of_equal_covariances_is_the_distance_of_the_means():
    mu, sigma = gaussian(1)
    assert frechet_distance(mu, sigma, mu + 3, sigma) == pytest.approx(9 * 12)


def test_of_diagonal_covariances():
    a, b = np.array([4.0, 9.0, 0.0]), np.array([1.0, 25.0, 16.0])
    zero = np.zeros(3)
    assert frechet_distance(zero, np.diag(a), zero, np.diag(b)) == pytest.approx(1 + 4 + 16)


def test_of_disjoint_supports_is_the_sum_of_traces():
    zero = np.zeros(2)
    assert frechet_distance(zero, np.diag([2.0, 0.0]), zero, np.diag([0.0, 3.0])) == pytest.approx(5)


@pytest.mark.parametrize("samples", [(10, 12), (10, 39), (39, 200), (200, 10)])
def test_of_few_samples_by_the_samples_themselves(samples):
    """Singular values of centred samples, where there are fewer than dimensions, are what the covariances give."""
    rng = np.random.RandomState(0)
    mixing, found = rng.randn(40, 40), []
    for count in samples:
        statistics = FeatureStatistics(40)
        for batch in np.array_split(rng.randn(count, 40) @ mixing + count, 3):
            part = FeatureStatistics(40)
            part.update(batch)
            statistics.merge(part)
        assert (statistics.centred is None) == (count >= 40)
        if count < 40:
            assert np.allclose(statistics.centred @ statistics.centred.T, statistics.cov)
            assert FeatureStatistics.from_state_dict(statistics.state_dict()).centred is None
        found.append(statistics)
    one, two = found
    moments = one.mean, one.cov, two.mean, two.cov
    assert frechet_distance(*moments, one.centred, two.centred) == pytest.approx(frechet_distance(*moments), rel=1e-9)
    scaled = frechet_distance(*moments, one.centred, None if two.centred is None else 2 * two.centred)
    assert two.centred is None or scaled != pytest.approx(frechet_distance(*moments), rel=1e-3)  # it is what is used


def test_in_one_dimension_and_of_points():
    one, zero = np.ones(1), np.zeros((1, 1))
    assert frechet_distance(one, zero, 3 * one, zero) == pytest.approx(4)
    assert frechet_distance(one, zero + 4, one, zero + 9) == pytest.approx(1)


def test_agrees_with_a_dense_square_root():
    (mu1, sigma1), (mu2, sigma2) = gaussian(2), gaussian(3)
    root = scipy.linalg.sqrtm(sigma1 @ sigma2)
    expected = np.square(mu1 - mu2).sum() + np.trace(sigma1 + sigma2 - 2 * root.real)
    assert frechet_distance(mu1, sigma1, mu2, sigma2) == pytest.approx(expected, rel=1e-9)


def test_agrees_with_clean_fid():
    cleanfid = reference_package("cleanfid.fid")
    for seed in range(3):
        arguments = *gaussian(seed, 64, 300), *gaussian(seed + 10, 64, 300)
        assert frechet_distance(*arguments) == pytest.approx(cleanfid.frechet_distance(*arguments), rel=1e-6)


def test_agrees_with_torch_fidelity():
    torch_fidelity = reference_package("torch_fidelity.metric_fid")
    for seed in range(3):
        (mu1, sigma1), (mu2, sigma2) = gaussian(seed, 64, 300), gaussian(seed + 10, 64, 300)
        stats = {"mu": mu1, "sigma": sigma1}, {"mu": mu2, "sigma": sigma2}
        expected = torch_fidelity.fid_statistics_to_metric(*stats, verbose=False)[torch_fidelity.KEY_METRIC_FID]
        assert frechet_distance(mu1, sigma1, mu2, sigma2) == pytest.approx(expected, rel=1e-6)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 1000),
    dim=st.integers(1, 10),
    samples=st.integers(2, 30),
    scale=st.sampled_from([1e-3, 1.0, 1e3]),
)
def test_is_symmetric_rotation_invariant_and_not_negative(seed, dim, samples, scale):
    rng = np.random.RandomState(seed)
    first, second = (scale * (rng.randn(samples, dim) + rng.randn(dim)) for _ in range(2))

    def distance(a, b):
        one, other = FeatureStatistics(dim), FeatureStatistics(dim)
        one.update(a)
        other.update(b)
        return frechet_distance(one.mean, one.cov, other.mean, other.cov)

    value = distance(first, second)
    near = pytest.approx(value, rel=1e-5, abs=1e-6 * scale**2)
    assert value >= 0
    assert distance(second, first) == near
    rotation = np.linalg.qr(rng.randn(dim, dim))[0]
    assert distance(first @ rotation, second @ rotation) == near


@pytest.mark.parametrize(
    "change, message",
    [
        ({"mu1": np.zeros(3)}, "should be"),
        ({"sigma2": np.eye(3)}, "should be"),
        ({"mu1": np.zeros(3), "sigma1": np.eye(3)}, "3 dimensions"),
        ({"mu1": np.zeros((2, 1))}, "should be"),
        ({"mu2": np.array([0, np.nan])}, "not finite"),
        ({"sigma1": np.full((2, 2), np.inf)}, "not finite"),
        ({"sigma1": np.array([[1.0, 2.0], [0.0, 1.0]])}, "not symmetric"),
    ],
)
def test_refuses_what_is_no_gaussian(change, message):
    good = {"mu1": np.zeros(2), "sigma1": np.eye(2), "mu2": np.zeros(2), "sigma2": np.eye(2)}
    with pytest.raises(ValueError, match=message):
        frechet_distance(**(good | change))


@pytest.mark.parametrize("batch", [1, 7, 100, 1000])
def test_statistics_do_not_depend_on_the_batch(batch):
    """Far from zero, where sums of squares would have lost ten of sixteen digits."""
    features = np.random.RandomState(0).randn(300, 5) * [1, 2, 3, 4, 5] + 1e5
    statistics = FeatureStatistics(5)
    for start in range(0, len(features), batch):
        statistics.update(features[start : start + batch])
    assert statistics.count == 300
    np.testing.assert_allclose(statistics.mean, features.mean(0), rtol=1e-14)
    np.testing.assert_allclose(statistics.cov, np.cov(features, rowvar=False), rtol=1e-8, atol=1e-9)


def test_statistics_merge_and_come_back_from_a_dict():
    features = np.random.RandomState(1).randn(50, 3).astype(np.float32)
    one, other, empty = FeatureStatistics(3), FeatureStatistics(3), FeatureStatistics(3)
    one.update(features[:20])
    other.update(features[20:])
    empty.update(features[:0])
    one.merge(other)
    one.merge(empty)
    empty.merge(one)
    np.testing.assert_allclose(empty.cov, np.cov(features.astype(np.float64), rowvar=False), rtol=1e-12)
    again = FeatureStatistics.from_state_dict(one.state_dict())
    assert again.count == 50 and (again.mean == one.mean).all() and (again.cov == one.cov).all()


def test_statistics_refuse_bad_features():
    statistics = FeatureStatistics(3)
    with pytest.raises(ValueError, match="should be"):
        statistics.update(np.zeros((2, 4)))
    with pytest.raises(ValueError, match="finite"):
        statistics.update(np.array([[0, np.nan, 0]]))
    statistics.update(np.zeros((1, 3)))
    with pytest.raises(ValueError, match="two samples"):
        statistics.cov  # noqa: B018


def test_statistics_are_the_statistics_of_slices_whatever_the_order():
    features = np.random.RandomState(2).randn(60, 4)
    statistics = PrefixStatistics(4, [10, 25, 60, 25])
    order = np.random.RandomState(3).permutation(60)
    for positions in np.array_split(order, 7):
        statistics.update(positions, features[positions])
    for start, stop in [(0, 10), (10, 25), (0, 25), (0, 60), (25, 60)]:
        part = statistics.between(start, stop)
        assert part.count == stop - start
        np.testing.assert_allclose(part.cov, np.cov(features[start:stop], rowvar=False), rtol=1e-10, atol=1e-12)
