"""The sentence at the top of a report page says no more than the scores do."""

import pytest

from training.run.verdict import verdict


def records(*points):
    return [dict(nimg=1000 * kimg, way_left=left) for kimg, left in points]


@pytest.mark.parametrize(
    ("points", "planned", "words"),
    [
        ([(0, None), (5, None)], 10, None),
        ([(0, 1.0)], 10, "Too early to say: fd has only seen the untrained network."),
        ([(0, 1.0), (2, 1.3)], 10, "fd is worse than the untrained network's, which is common within the first few kimg."),
        ([(0, 1.0), (10, 0.5), (20, 0.4)], 40, "40 % of the way from the untrained network to real images is left (fd)."),
        ([(0, 1.0), (10, 0.5), (20, 0.4)], 40, "It is too early for a trend."),
        # falls by half in 10 kimg, and goes on as long as it was seen to
        ([(0, 1.0), (10, 0.64), (15, 0.452548), (20, 0.32)], None, "last 10 kimg, 10 kimg more would leave 16 %"),
        ([(0, 1.0), (10, 0.64), (15, 0.452548), (20, 0.32)], 25, "5 kimg more would leave 23 %"),
        ([(0, 1.0), (10, 0.64), (15, 0.452548), (20, 0.32)], 20, "10 kimg more would leave 16 %"),  # beyond its end
        ([(0, 1.0), (10, 0.4), (15, 0.42), (20, 0.39)], 40, "It stands still: from 10 to 20 kimg"),
        ([(0, 1.0), (10, 0.4), (15, 0.4), (20, 0.4)], 40, "It stands still"),
        ([(0, 1.0), (10, 0.3), (15, 0.4), (20, 0.5)], 40, "getting worse since 10 kimg, when 30 % was left"),
        ([(0, 1.0), (10, 0.1), (15, 0.01), (20, -0.02)], 40, "as close to real ones as those are to each other"),
        # a steep beginning is no trend of today
        ([(0, 1.0), (1, 0.8), (2, 0.5), (50, 0.4), (75, 0.41), (100, 0.4)], None, "It stands still"),
    ],
)
def test_verdict(points, planned, words):
    text = verdict("fd", records(*points), planned)
    assert (words in text) if words else text == ""
