"""Random numbers of a shared batch: the same in whatever parts it is drawn."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torch_utils.rng import BLOCK, BatchDraws


def drawn(batch, first, n, batches=1, key="key"):
    """One draw of each kind after the other, [batches, n, numbers]."""
    draws, like = BatchDraws(batch, first, key, batches=batches), torch.empty(batches * n, 3, dtype=torch.float64)
    rows = (
        draws.normal(like, 2, 3).flatten(1),
        draws.uniform(like)[:, None],
        draws.integers(like, 3, 9, 2),
        draws.normal(like, 1),
    )
    return torch.cat([row.double() for row in rows], dim=1).unflatten(0, (batches, n))


@settings(max_examples=50, deadline=None)
@given(batch=st.integers(1, 3 * BLOCK), cuts=st.lists(st.integers(1, 3 * BLOCK - 1), max_size=5), batches=st.integers(1, 2))
def test_parts_are_the_whole(batch, cuts, batches):
    edges = [0, *sorted({cut for cut in cuts if cut < batch}), batch]
    parts = [drawn(batch, a, b - a, batches) for a, b in zip(edges, edges[1:])]
    assert torch.equal(torch.cat(parts, dim=1), drawn(batch, 0, batch, batches))


def test_no_two_images_and_no_two_uses_are_given_the_same():
    batch = 2 * BLOCK + 4
    rows = torch.cat([drawn(batch, 0, batch, batches=2).flatten(0, 1), drawn(batch, 0, batch, key="other")[0]])
    assert len(rows[:, :6].unique(dim=0)) == 3 * batch
    assert rows[:, 6].min() >= 0 and rows[:, 6].max() < 1 and set(rows[:, 7:9].flatten().tolist()) == {3, 4, 5, 6, 7, 8}
    assert abs(rows[:, :6].mean()) < 0.15 and abs(rows[:, :6].std() - 1) < 0.1


def test_the_global_generator_is_left_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    drawn(8, 0, 8)
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(ValueError, match="images 4 to 8, wanted those of a batch of 8"):
        drawn(8, 4, 5)
