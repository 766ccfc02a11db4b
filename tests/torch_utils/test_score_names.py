"""Which scores are better low, and which are distances."""

import pytest

from metrics.evaluation.metric_name import KINDS
from torch_utils.score_names import is_distance, lower_is_better

OTHERS = ("pr", "dc", "is")


@pytest.mark.parametrize("kind", KINDS)
def test_every_metric(kind):
    for name in (f"{kind}50k", f"{kind}1k_full", f"{kind}5k_full-efficientnet_lite0", f"{kind}5k-2k_of_mine", kind):
        assert lower_is_better(name) == (kind not in OTHERS), name
        assert is_distance(name) == (kind not in (*OTHERS, "ppl", "ppl2_wend")), name


def test_losses_of_a_style_transfer_are_no_distances():
    for name in ("style_loss", "content_loss"):
        assert lower_is_better(name) and not is_distance(name)
