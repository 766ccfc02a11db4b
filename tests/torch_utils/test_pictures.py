"""Pictures that commands draw: kernels, tables, images brought to a size."""

import numpy as np
import pytest
import torch
from PIL import Image

from networks.style_transfer.kernel_picture import colours, kernel_picture
from torch_utils.files import InputError
from torch_utils.images import as_square, from_pil, to_pil, with_short_side
from torch_utils.table_picture import CELL, GAP, table_picture, thumbnail


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_pillow_and_back(mode):
    image = torch.randint(0, 256, (len(mode), 5, 7), dtype=torch.uint8)
    assert torch.equal(from_pil(to_pil(image)), image)


def test_colours_diverge():
    negative, zero, positive = colours(np.array([-1.0, 0.0, 1.0])).astype(int)
    assert negative[2] > negative[0] + 100 and positive[0] > positive[2] + 100 and (zero == 255).all()
    assert np.array_equal(colours(np.array([-9.0, 9.0])), colours(np.array([-1.0, 1.0])))
    half = colours(np.array([0.5])).astype(int)[0]
    assert (half >= positive).all() and half.sum() < zero.sum()


def test_kernels_stand_in_order():
    """Taps of 4 pixels, kernels of 12 with gaps of 2; an output channel's are neighbours."""
    kernels = torch.zeros(64, 2, 3, 3)
    kernels[0, 0, 0, 0], kernels[0, 1, 2, 1], kernels[17, 0, 1, 1] = 1, -1, 1
    picture = kernel_picture([("layer", kernels)])
    assert picture.dtype == torch.uint8 and picture.shape == (3, 12 + 34 + 4 * 14 + 12, 12 + 32 * 14 + 12)
    field = picture[:, 12 + 34 :, 12:]
    colour = lambda row, column, y, x: field[:, row * 14 + y * 4 + 1, column * 14 + x * 4 + 1].int()
    is_red = lambda c: c[0] > c[2] + 100
    assert is_red(colour(0, 0, 0, 0)) and is_red(colour(1, 2, 1, 1)) and is_red(-colour(0, 1, 2, 1))  # 17 · 2 is 1 · 32 + 2
    assert (colour(0, 0, 1, 1) == 255).all() and (field[:, 0, 12] < 200).all()


def test_kernels_of_any_size_and_number():
    small, large = torch.randn(8, 1, 1, 1), torch.randn(512, 512, 5, 5)
    picture = kernel_picture([("small", small), ("large", large), ("none", torch.zeros(4, 4, 31, 31))])
    assert picture.shape[0] == 3 and picture.float().std() > 10
    assert max(picture.shape) < 15_000
    assert not torch.equal(kernel_picture([("one", small)]), kernel_picture([("two", small)]))  # titles are drawn


def test_outliers_leave_the_others_visible():
    kernels = torch.randn(512, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    plain, kernels[5, 0, 1, 1] = kernel_picture([("", kernels)]).float(), 1000
    assert (kernel_picture([("", kernels)]).float() - plain).abs().mean() < 1


def test_table():
    wide, tall = torch.zeros(3, 10, 40, dtype=torch.uint8), torch.full((3, 40, 10), 9, dtype=torch.uint8)
    assert thumbnail(wide).size == (CELL, CELL // 4) and thumbnail(tall).size == (CELL // 4, CELL)
    table = table_picture([["", thumbnail(wide), "name"], [thumbnail(tall)] * 3])
    step = CELL + GAP
    assert table.shape == (3, 2 * step - GAP, 3 * step - GAP)
    assert (table[:, :CELL, :CELL] == 255).all() and (table[:, CELL // 2, step + 5] == 0).all()
    assert (table[:, 5, step + CELL // 2] == 255).all()  # above a wide picture
    assert (table[:, step + 5, CELL // 2] == 9).all() and (table[:, step + 5, 5] == 255).all()
    words = table[:, :CELL, 2 * step :]
    assert (words < 100).any() and (words == 255).float().mean() > 0.9


def test_sizes():
    image = from_pil(Image.linear_gradient("L").convert("RGB").resize((30, 20)))
    assert with_short_side(image, 10).shape == (3, 10, 15) and with_short_side(image, 40).shape == (3, 40, 60)
    assert torch.equal(with_short_side(image, 20), image)
    assert with_short_side(torch.zeros(3, 1, 1, dtype=torch.uint8), 7).shape == (3, 7, 7)
    assert with_short_side(torch.zeros(3, 1000, 3, dtype=torch.uint8), 1).shape == (3, 333, 1)
    with pytest.raises(InputError, match="10000×40000000 pixels with a short side of 10000"):
        with_short_side(torch.zeros(3, 4000, 1, dtype=torch.uint8), 10_000)


def test_square_of_the_middle():
    image = torch.zeros(3, 20, 60, dtype=torch.uint8)
    image[:, :, 20:40] = 200
    assert (as_square(image, 8) > 150).all() and as_square(image, 8).shape == (3, 8, 8)
    assert (as_square(image.transpose(1, 2), 8) > 150).all()
