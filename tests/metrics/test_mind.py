"""The Monge distance: closed forms, what it must not depend on, and its interval."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics import mind
from metrics.mind import monge_distance, monge_interval


def draws(seed: int, *shape: int) -> np.ndarray:
    return np.random.RandomState(seed).standard_normal(shape)


def directions(seed: int, count: int, dim: int) -> np.ndarray:
    units = draws(seed, count, dim)
    return units / np.linalg.norm(units, axis=1, keepdims=True)


def test_is_the_formula_of_the_paper():
    x, y = draws(0, 40, 6), draws(1, 40, 6) * 1.5 + 0.3
    squares = [(np.sort(x @ u) - np.sort(y @ u)) ** 2 for u in directions(9, 25, 6)]
    assert monge_distance(x, y, 25, seed=9) == pytest.approx(3 * 6 / (40 * 25) * np.sum(squares), rel=1e-12)


def test_in_one_dimension_it_is_exact():
    """Thrice the squared distance of sorted numbers, in any direction: there are two, and both say the same."""
    assert monge_distance([[3.0], [0.0], [1.0]], [[1.0], [2.0], [7.0]], 1) == pytest.approx(3 * (1 + 1 + 16) / 3)
    assert monge_distance([[0.0], [1.0]], [[5.0]], 4) == pytest.approx(3 * (25 + 16) / 2)


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 12), m=st.integers(1, 12), seed=st.integers(0, 99))
def test_different_counts_are_as_if_every_image_were_repeated(n, m, seed):
    x, y = draws(seed, n, 3), draws(seed + 100, m, 3)
    repeated = monge_distance(np.repeat(x, m, axis=0), np.repeat(y, n, axis=0), 7)
    assert monge_distance(x, y, 7) == pytest.approx(repeated, rel=1e-9)
    assert monge_distance(y, x, 7) == pytest.approx(repeated, rel=1e-9)


def test_shifted_copies():
    """Along u the shift Δ is u·Δ, whose square is |Δ|²/D on the average of all directions: 3·|Δ|²."""
    x, shift = draws(0, 50, 8), draws(1, 8)
    exact = 3 * 8 * np.mean((directions(0, 500, 8) @ shift) ** 2)
    assert monge_distance(x + shift, x, 500) == pytest.approx(exact, rel=1e-9)
    assert monge_distance(x + shift, x, 20000) == pytest.approx(3 * shift @ shift, rel=0.04)


def test_gaussians():
    """3·|Δ|² for equal covariances, 3·D·(a − b)² for spheres: what many images come to."""
    mixing, shift = draws(0, 6, 6) / 2, draws(1, 6)
    x, y = draws(2, 4000, 6) @ mixing, draws(3, 4000, 6) @ mixing + shift
    assert monge_distance(x, y) == pytest.approx(3 * shift @ shift, rel=0.12)
    assert monge_distance(2 * draws(4, 9000, 6), draws(5, 9000, 6), 50) == pytest.approx(3 * 6 * (2 - 1) ** 2, rel=0.03)


def test_sees_what_moments_do_not():
    """Two points and a Gaussian of the same mean and variance: W₂² = 2 − 2·E|z| = 2 − 2·√(2/π)."""
    points, normal = np.repeat([[-1.0], [1.0]], 5000, axis=0), draws(0, 10000, 1)
    assert monge_distance(points, normal, 1) == pytest.approx(3 * (2 - 2 * np.sqrt(2 / np.pi)), rel=0.03)


def test_equal_sets_and_order():
    x, y = draws(0, 60, 5), draws(1, 45, 5)
    assert monge_distance(x, x) == pytest.approx(0, abs=1e-25)
    assert monge_distance(x[::-1], x) == pytest.approx(0, abs=1e-25)
    value = monge_distance(x, y)
    assert monge_distance(x[np.random.RandomState(2).permutation(60)], y[::-1]) == pytest.approx(value, rel=1e-12)


def test_the_seed_draws_the_directions():
    x, y = draws(0, 30, 20), draws(1, 30, 20) + 0.5
    assert monge_distance(x, y, 20) == monge_distance(x, y, 20)
    assert monge_distance(x, y, 20) != monge_distance(x, y, 20, seed=1)


def test_blocks_do_not_count(monkeypatch):
    x, y = draws(0, 300, 7).astype(np.float32), draws(1, 200, 7).astype(np.float32)
    whole = monge_distance(x, y, 31), *monge_interval(x, y, directions=31)
    monkeypatch.setattr(mind, "BLOCK", 1024)  # two directions at a time
    monkeypatch.setattr(mind, "ROWS", 64)
    assert (monge_distance(x, y, 31), *monge_interval(x, y, directions=31)) == pytest.approx(whole, rel=1e-9)


def test_memory_is_bounded():
    """Far below the 128 MB that all projections of both sides take."""
    x, y = (np.ones((8000, 50), dtype=np.float32) for _ in range(2))
    tracemalloc.start()
    monge_distance(x, y, 1000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 * 2**20


def test_the_interval_holds_the_expectation():
    """Of shifted Gaussians at these counts, in about 95 of 100 repeated draws."""
    real = draws(10**6, 1500, 4)
    values, intervals = [], []
    for seed in range(60):
        fake = draws(seed, 400, 4) + 0.4
        values.append(monge_distance(fake, real, 40))
        intervals.append(monge_interval(fake, real, directions=40))
    held = sum(value + low <= np.mean(values) <= value + high for value, (low, high) in zip(values, intervals))
    assert 50 <= held <= 60
    assert np.mean([high - low for low, high in intervals]) < 8 * np.std(values)


@pytest.mark.parametrize(
    "fake, real, message",
    [
        (np.zeros(3), np.zeros((3, 1)), r"\[N, D\], not \[3\]"),
        (np.zeros((0, 2)), np.zeros((3, 2)), r"\[N, D\], not \[0, 2\]"),
        (np.zeros((3, 2)), np.zeros((3, 1)), "2 and 1 dimensions"),
        (np.zeros((3, 2)), np.full((3, 2), np.nan), "not finite"),
    ],
)
def test_what_it_refuses(fake, real, message):
    with pytest.raises(ValueError, match=message):
        monge_distance(fake, real)
    with pytest.raises(ValueError):
        monge_interval(fake, real)


def test_an_interval_needs_an_image_for_each_group():
    with pytest.raises(ValueError, match="10 groups need 10 feature vectors at least, not 9"):
        monge_interval(np.zeros((9, 2)), np.zeros((9, 2)))
