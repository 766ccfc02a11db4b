"""The inception score: closed forms and torch-fidelity."""

import numpy as np
import pytest
import torch

from metrics.inception_score import inception_score
from tests.metrics.test_fid import reference_package


def test_of_one_sure_image_per_class_is_the_number_of_classes():
    logits = 1000 * np.tile(np.eye(7), (10, 1))
    assert inception_score(logits) == pytest.approx((7, 0))


def test_of_images_that_say_nothing_or_the_same_is_one():
    assert inception_score(np.zeros((20, 5))) == pytest.approx((1, 0))
    assert inception_score(np.tile([[3.0, 1.0, -2.0]], (30, 1))) == pytest.approx((1, 0))


def test_of_two_classes_by_hand():
    """p = (0.8, 0.2) and its mirror image: the KL divergence to (0.5, 0.5) is log 2 - H(0.8)."""
    logits = np.log(np.tile([[0.8, 0.2], [0.2, 0.8]], (10, 1)))
    expected = np.exp(np.log(2) + 0.8 * np.log(0.8) + 0.2 * np.log(0.2))
    assert inception_score(logits) == pytest.approx((expected, 0))


@pytest.mark.parametrize("count, splits", [(200, 10), (203, 10), (64, 1)])
def test_agrees_with_torch_fidelity(count, splits):
    module = reference_package("torch_fidelity.metric_isc")
    logits = np.random.RandomState(0).randn(count, 30) * 3
    theirs = module.isc_features_to_metric(torch.from_numpy(logits), splits, shuffle=False)
    expected = theirs[module.KEY_METRIC_ISC_MEAN], theirs[module.KEY_METRIC_ISC_STD]
    assert inception_score(logits, splits) == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_does_not_depend_on_a_shift_of_the_logits_nor_on_the_order_within_a_part():
    logits = np.random.RandomState(1).randn(60, 9) * 4
    shifted = logits + np.random.RandomState(2).randn(60, 1) * 100
    assert inception_score(shifted) == pytest.approx(inception_score(logits), rel=1e-9)
    assert inception_score(logits[::-1], 1) == pytest.approx(inception_score(logits, 1), rel=1e-12)


def test_refuses_fewer_images_than_parts():
    with pytest.raises(ValueError, match="10 feature vectors"):
        inception_score(np.zeros((9, 4)))
