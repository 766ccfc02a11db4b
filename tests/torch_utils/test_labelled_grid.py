"""Tables of small pictures with words."""

import pytest
import torch

from torch_utils import labelled_grid as module
from torch_utils.files import InputError
from torch_utils.labelled_grid import CELL, GAP, LINE, labelled_grid


def pictures(rows: int, columns: int, channels: int = 3, height: int = 8, width: int = 8) -> list[list[torch.Tensor]]:
    cells = torch.arange(rows * columns, dtype=torch.uint8).view(rows, columns, 1, 1, 1) * 10
    return [list(row) for row in cells.expand(rows, columns, channels, height, width)]


def test_every_picture_is_in_its_place():
    found = labelled_grid(pictures(2, 3), ["a", "b", "c"], ["", ""])
    assert found.shape == (3, LINE + 2 * (CELL + GAP) - GAP, 3 * (CELL + GAP)) and found.dtype == torch.uint8
    for row in range(2):
        for column in range(3):
            top, left = LINE + row * (CELL + GAP), column * (CELL + GAP)
            assert (found[:, top : top + CELL, left : left + CELL] == 10 * (3 * row + column)).all()
            assert (found[:, top : top + CELL, left + CELL : left + CELL + GAP] == 255).all()
    assert (found[:, :LINE] < 128).any()  # the heads


def test_words_beside_and_below():
    plain = labelled_grid(pictures(2, 2), ["", ""], ["", ""])
    named = labelled_grid(pictures(2, 2), ["", ""], ["", "a long name"])
    left = named.shape[2] - plain.shape[2]
    assert left > 40 and torch.equal(named[:, :, left:], plain)
    assert (named[:, : LINE + CELL, :left] == 255).all() and (named[:, LINE + CELL :, :left] < 128).any()
    assert (named[:, :, :4] == 255).all()  # letters do not touch the border
    captioned = labelled_grid(pictures(2, 2), ["", ""], ["", ""], [["", ""], ["0.5", ""]])
    assert captioned.shape[1] == plain.shape[1] + 2 * LINE
    assert (captioned[:, -LINE:, :CELL] < 128).any() and (captioned[:, -LINE:, CELL:] == 255).all()
    grouped = labelled_grid(pictures(4, 1), [""], [""] * 4, group=2)
    assert grouped.shape[1] == LINE + 4 * CELL + GAP


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_other_channels_and_sides(channels):
    found = labelled_grid(pictures(1, 1, channels, 20, 30), [""], [""])
    assert found.shape == (3, LINE + 80, 120 + GAP)  # ×4, and so 96 pixels at least
    assert labelled_grid(pictures(1, 1, channels, 100, 30), [""], [""]).shape == (3, LINE + 100, 30 + GAP)


def test_what_would_be_too_large(monkeypatch):
    monkeypatch.setattr(module, "MAX_PIXELS", 10**4)
    with pytest.raises(InputError, match="the picture would have .* pixels, wanted 10000 at most"):
        labelled_grid(pictures(2, 2), ["", ""], ["", ""])
