"""A picture of few colours as regions."""

import pytest
import torch

from networks.style_transfer.mask import Mask
from torch_utils.files import InputError


def picture(*rows: str) -> torch.Tensor:
    """uint8 RGB [3, H, W]: k black, b blue, r red, g green, y grey, w white."""
    colours = dict(k=(0, 0, 0), b=(0, 0, 255), r=(255, 0, 0), g=(0, 255, 0), y=(128, 128, 128), w=(255, 255, 255))
    return torch.tensor([[colours[letter] for letter in row] for row in rows], dtype=torch.uint8).permute(2, 0, 1)


def test_regions_are_sorted_from_dark_to_light():
    mask = Mask(picture("wgy", "rbk"), 6, 0)
    assert mask.colours == ["#000000", "#0000ff", "#ff0000", "#808080", "#00ff00", "#ffffff"]
    assert mask.labels.tolist() == [[5, 4, 3], [2, 1, 0]]
    equal = torch.tensor([[[71, 60]], [[61, 60]], [[26, 60]]])  # equally bright: 299·11 + 587·1 = 114·34
    assert Mask(equal.byte(), 2, 0).colours == ["#3c3c3c", "#473d1a"]


def test_masks_are_one_hot_without_blur():
    masks = Mask(picture("kkw", "wrw"), 3, 0).at(2, 3)
    assert masks.dtype == torch.float32 and masks.shape == (3, 1, 2, 3)
    assert masks[0, 0].tolist() == [[1, 1, 0], [0, 0, 0]] and masks[1, 0].tolist() == [[0, 0, 0], [0, 1, 0]]
    assert torch.equal(masks.sum(dim=0), torch.ones(1, 2, 3))


def test_other_sizes_take_the_nearest_pixel():
    whole = picture("kkww", "kkww", "rrww", "rrww")
    small, large = Mask(whole, 3, 0).at(2, 2), Mask(whole, 3, 0).at(8, 8)
    assert torch.equal(large, Mask(whole, 3, 0).at(4, 4).repeat_interleave(2, 2).repeat_interleave(2, 3))
    assert small.argmax(dim=0)[0].tolist() == [[0, 2], [1, 2]]
    odd = Mask(whole, 3, 0).at(33, 33)
    assert torch.equal(odd.sum(dim=0), torch.ones(1, 33, 33)) and 200 < odd[0].sum() < 340


@pytest.mark.parametrize("size", [(333, 500), (334, 500), (333, 499), (100, 150), (1001, 1500), (2, 3)])
def test_rounded_ratios_fit(size):
    mask = torch.zeros(3, 667, 1000, dtype=torch.uint8)
    mask[:, :, 500:] = 255
    assert Mask(mask, 2).at(*size).shape == (2, 1, *size)


@pytest.mark.parametrize("size", [(1000, 667), (340, 500), (333, 505), (667, 667)])
def test_other_ratios_are_refused(size):
    mask = torch.zeros(3, 667, 1000, dtype=torch.uint8)
    mask[:, :, 500:] = 255
    with pytest.raises(InputError, match=f"found 1000×667 pixels, wanted the ratio of the content's {size[1]}×{size[0]}"):
        Mask(mask, 2).at(*size)


def test_a_region_that_vanishes_is_refused():
    mask = torch.zeros(3, 64, 64, dtype=torch.uint8)
    mask[:, 0, 0] = 200
    Mask(mask, 2).at(64, 64)
    with pytest.raises(InputError, match="found no pixel of #c8c8c8 in it at 8×8, wanted one at least in every region"):
        Mask(mask, 2).at(8, 8)


def test_wrong_numbers_of_colours():
    with pytest.raises(InputError) as caught:
        Mask(picture("kkkw", "kkkw"), 3)
    assert str(caught.value) == "found 2 colours (#000000 75 %, #ffffff 25 %), wanted 3, one for each style"
    with pytest.raises(InputError, match=r"found 3 colours .*, wanted 2, one for each style; JPEG .* blur colours, a PNG"):
        Mask(picture("kkrw"), 2)
    noise = torch.randint(0, 256, (3, 20, 20), generator=torch.Generator().manual_seed(0)).byte()
    with pytest.raises(InputError, match=r"found 400 colours \((#[0-9a-f]{6} 0.25 %, ){6}…\), wanted 2"):
        Mask(noise, 2)


def test_the_soft_border_has_its_width():
    """95 % of the change lie within it; sums stay 1; it is as wide along a slope."""
    mask = torch.zeros(3, 96, 96, dtype=torch.uint8)
    mask[:, :, 48:] = 255
    border = Mask(mask, 2, 20).at(96, 96)
    assert torch.allclose(border.sum(dim=0), torch.ones(1, 96, 96), atol=1e-6)
    row = border[1, 0, 10]
    assert torch.allclose(row, row.flip(0).neg() + 1, atol=1e-5) and (row.diff() >= -1e-6).all()
    assert 0.94 < (row[57] + row[58]) / 2 - (row[37] + row[38]) / 2 < 0.97
    assert row[32] < 2e-3 and row[16] == 0
    slope = (torch.arange(96)[:, None] + torch.arange(96) >= 96).byte() * 255
    diagonal = Mask(slope.expand(3, -1, -1), 2, 20).at(96, 96)[1, 0].diagonal()
    across = torch.tensor([diagonal[48 - 7], diagonal[48 + 7]])  # 14 · √2 = 20 pixels apart
    assert 0.93 < across[1] - across[0] < 0.98


def test_a_border_wider_than_the_picture():
    masks = Mask(picture("kw", "kw"), 2, 100).at(2, 2)
    assert torch.allclose(masks.sum(dim=0), torch.ones(1, 2, 2)) and (masks > 0.4).all()
