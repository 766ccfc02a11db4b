"""What the scores of many pairs are made into: one number, ranks, an art score, and intervals."""

import math

import numpy as np
import pytest
import torch

from metrics.style_transfer.combined import combined_distance, ranks
from metrics.style_transfer.offline_art_score import offline_art_score
from metrics.style_transfer.pair_bootstrap import interval, pair_weights


def test_both_trivial_pictures_have_one():
    assert combined_distance(0.5, 0.0, 0.5, 0.9) == 1  # the unchanged content
    assert combined_distance(0.0, 0.9, 0.5, 0.9) == 1  # the style image
    assert combined_distance(0.0, 0.0, 0.5, 0.9) == 0
    assert combined_distance(0.25, 0.45, 0.5, 0.9) == 1  # half of each way
    assert combined_distance(0.1, 0.45, 0.5, 0.9) == pytest.approx(0.7)
    assert combined_distance(np.array([1.0, 2]), 0.0, np.array([2.0, 1]), 1).tolist() == [0.5, 2]


def test_ranks():
    found = ranks(dict(a=0.8, b=1.0, c=0.6, d=1.2, e=0.8, f=math.nan, g=0.9))
    assert found == dict(a=2, b=None, c=1, d=None, e=2, f=None, g=4)
    assert ranks({}) == {}


def test_offline_art_score():
    styles = torch.randn(20, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert offline_art_score(0.5, styles, styles) == pytest.approx(1.5)
    moved = styles + torch.tensor([3.0, 0, 4, 0])  # the covariances agree: the squared distance of the means
    assert offline_art_score(0.5, moved, styles) == pytest.approx(1.5 * 26)
    assert offline_art_score(0, 2 * styles, styles) > 1
    few = torch.randn(3, 50, generator=torch.Generator().manual_seed(1))  # fewer than dimensions
    assert offline_art_score(0.0, few, few) == pytest.approx(1, abs=1e-6)
    with pytest.raises(ValueError, match="two samples"):
        offline_art_score(0, styles[:1], styles)


def grid(contents: int, styles: int) -> list[tuple[str, str]]:
    return [(f"c{i}", f"s{j}") for i in range(contents) for j in range(styles)]


def deviation(values: np.ndarray, weights: np.ndarray) -> float:
    return float((weights @ values / weights.sum(axis=1)).std())


def test_pairs_of_one_style_are_drawn_together():
    """20 contents in each of 8 styles, and a score that depends on the style alone: as uncertain as with 8 images."""
    pairs, of_style = grid(20, 8), np.random.RandomState(0).randn(8)
    weights = pair_weights(pairs)
    assert deviation(np.tile(of_style, 20), weights) == pytest.approx(of_style.std() / 8**0.5, rel=0.1)
    of_content = np.random.RandomState(1).randn(20)
    assert deviation(np.repeat(of_content, 8), weights) == pytest.approx(of_content.std() / 20**0.5, rel=0.1)
    assert deviation(np.ones(160), weights) == 0
    assert np.array_equal(weights, pair_weights(pairs)) and not np.array_equal(weights, pair_weights(pairs, seed=1))


def test_few_of_the_possible_pairs():
    weights = pair_weights([("c0", "s0"), ("c1", "s1")])
    assert len(weights) < 2000 and weights.sum(axis=1).min() > 0
    assert len(pair_weights([("c0", "s0")])) == 2000
    one_content = pair_weights(grid(1, 4))
    assert (one_content.sum(axis=1) == 4).all()


def test_interval():
    assert interval(np.arange(1001)) == (25, 975)
    low, high = interval(np.random.RandomState(0).randn(200_000))
    assert low == pytest.approx(-1.96, abs=0.02) and high == pytest.approx(1.96, abs=0.02)
