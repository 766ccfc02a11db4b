"""Intervals of Fréchet distances, and their values at infinitely many images, where the truth is known."""

import numpy as np
import pytest

from metrics.fid import frechet_distance
from metrics.jackknife import FrechetJackknife
from metrics.statistics import FeatureStatistics

DIM = 6


def statistics(features: np.ndarray) -> FeatureStatistics:
    found = FeatureStatistics(features.shape[1])
    found.update(features)
    return found


def parts(features: np.ndarray, real: FeatureStatistics, groups: int = 10) -> FrechetJackknife:
    return FrechetJackknife([statistics(group) for group in np.array_split(features, groups)], real)


@pytest.fixture(scope="module")
def real() -> FeatureStatistics:
    """Exactly zero mean and unit covariance, so that the truth needs no sampling."""
    return FeatureStatistics.from_state_dict(
        {"count": np.array([10**6]), "mean": np.zeros(DIM), "scatter": np.eye(DIM) * (10**6 - 1)}
    )


def test_distances_of_unions_are_distances_of_their_images(real):
    features = np.random.RandomState(0).randn(100, DIM) + 1
    found = parts(features, real)
    for chosen in ([0], [3, 4, 5], [9, 0], range(10)):
        rows = np.concatenate([features[10 * i : 10 * i + 10] for i in chosen])
        expected = frechet_distance(real.mean, real.cov, rows.mean(0), np.cov(rows.T))
        assert found.distance(chosen) == pytest.approx(expected, rel=1e-9)


def test_the_interval_is_as_wide_as_distances_of_other_draws_differ(real):
    rng = np.random.RandomState(0)
    values, halves = [], []
    for _ in range(150):
        found = parts(1.2 * rng.randn(300, DIM) + 0.3, real)
        values.append(found.distance(range(10)))
        low, high = found.interval()
        assert low == -high
        halves.append(high)
    held = np.abs(np.array(values) - np.mean(values)) <= halves
    assert 0.89 <= held.mean() <= 0.995  # 95 %, in 150 trials


def test_more_images_narrow_the_interval(real):
    rng = np.random.RandomState(1)
    wide, narrow = (np.mean([parts(rng.randn(n, DIM) + 0.5, real).interval()[1] for _ in range(10)]) for n in (200, 3200))
    assert narrow == pytest.approx(wide / 4, rel=0.3)


def test_extrapolation_takes_the_bias_away(real):
    """The same distribution: the truth is zero, and the distance of few images is not."""
    rng = np.random.RandomState(2)
    found = [parts(rng.randn(400, DIM), real) for _ in range(40)]
    plain = np.mean([one.distance(range(10)) for one in found])
    extrapolated = np.mean([one.at_infinity() for one in found])
    assert abs(extrapolated) < 0.25 * plain


def test_extrapolation_of_another_distribution(real):
    rng = np.random.RandomState(3)
    truth = DIM * (0.5**2 + (1.3 - 1) ** 2)
    found = [parts(1.3 * rng.randn(200, DIM) + 0.5, real) for _ in range(400)]
    plain, extrapolated = np.mean([(one.distance(range(10)), one.at_infinity()) for one in found], axis=0)
    assert abs(extrapolated - truth) < 0.5 * abs(plain - truth)


def test_takes_two_groups_of_two(real):
    for features, groups in [(np.zeros((10, DIM)), 1), (np.zeros((3, DIM)), 2)]:
        with pytest.raises(ValueError, match="two groups"):
            parts(features, real, groups)
