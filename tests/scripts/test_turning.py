"""The turning test: angles of known strokes, and what known transfers get."""

import math

import pytest
import torch
from PIL import Image

from scripts.experiments.turning import (
    TURNS,
    as_tensor,
    changes,
    clearness,
    degrees_of,
    mean_degrees,
    plot,
    record,
    run_turning,
    stripes,
    stroke_vectors,
    table,
    turned_square,
    turning,
)
from torch_utils.images import to_pil, to_uint8
from training.style_transfer.textures import smooth_field, texture

SIZE = 96


def apart(one: float, other: float) -> float:
    """Degrees between two orientations."""
    return abs((one - other + 90) % 180 - 90)


def turned_stripes() -> torch.Tensor:
    return torch.stack([stripes(turn, SIZE) for turn in TURNS])


def contents(n: int = 2) -> torch.Tensor:
    """With edges of their own, all in one direction."""
    return torch.stack([(texture("stripes", 20, 50 + 30 * i, SIZE, i) + smooth_field(SIZE, i)).clamp(-1, 1) for i in range(n)])


@pytest.mark.parametrize("period", [6, 12, 25])
def test_angle_of_stripes(period):
    for degrees in (0, 7, 22.5, 45, 80, 90, 111, 135, 179):
        vector = stroke_vectors(texture("stripes", period, degrees, 128, 0)[None])
        assert apart(float(degrees_of(vector)), degrees) < 2, (period, degrees)
        assert 0.95 < float(vector.abs()) <= 1 + 1e-9


def test_what_has_no_direction():
    assert stroke_vectors(torch.zeros(1, 3, 64, 64)) == 0
    noise = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0)) - 0.5
    assert float(stroke_vectors(noise).abs()) < 0.05
    assert float(stroke_vectors(texture("dots", 12, 20, 128, 0)[None]).abs()) < 0.05
    halves = torch.cat([texture("stripes", 12, d, 128, 0) for d in (0, 90)], dim=2)[None]
    assert float(stroke_vectors(halves).abs()) < 0.1


def test_angle_turns_with_the_image():
    image = torch.stack([contents(1)[0], texture("stripes", 9, 30, SIZE, 0)])
    before = stroke_vectors(image)
    assert torch.allclose(stroke_vectors(image.rot90(1, (2, 3))), -before, atol=1e-6)  # by 90°, doubled
    assert torch.allclose(stroke_vectors(image.flip(3)), before.conj(), atol=1e-6)
    assert torch.allclose(stroke_vectors(image * 0.5 + 0.2), before, atol=1e-6)


def test_no_border_in_a_turned_square():
    plain = (90, 120, 40)  # what is outside of the picture is black
    for size in ((200, 150), (150, 201), (384, 384)):
        for degrees in TURNS:
            extrema = turned_square(Image.new("RGB", size, plain), degrees, 64).getextrema()
            assert extrema == tuple((value, value) for value in plain), (size, degrees)
    grey = Image.new("RGB", (200, 150), plain)
    picture = to_pil(to_uint8(texture("stripes", 24, 0, 280, 0)[None])[0])
    for degrees in TURNS:
        vector = stroke_vectors(as_tensor(turned_square(picture, degrees, 128))[None])
        assert apart(float(degrees_of(vector)), degrees) < 2
    assert turned_square(picture, 15, 64).size == (64, 64)
    assert clearness(picture, 64) > 0.9 > 0.1 > clearness(grey, 64)


def test_a_transfer_that_returns_the_turned_style():
    styles = turned_stripes()
    found = turning(styles.expand(2, -1, -1, -1, -1), styles)
    assert found.slope == 1 and found.correlation > 0.999 and found.strength == pytest.approx(1, abs=0.01)
    assert all(apart(drawn, turn) < 2 for row in found.degrees for drawn, turn in zip(row, TURNS))
    assert mean_degrees(found) == pytest.approx(TURNS, abs=2)


def test_a_transfer_that_returns_the_content():
    images = contents()[:, None].expand(-1, len(TURNS), -1, -1, -1)
    found = turning(images, turned_stripes())
    assert abs(found.correlation) < 1e-6 and found.slope == 0 and found.strength == 0 and found.clearness == 0
    assert changes(images[0]).abs().max() == 0


def test_strokes_over_a_content():
    """The content's own edges, though stronger than the strokes, do not count; the direction of the strokes does."""
    styles = turned_stripes()
    over = lambda strokes: contents()[:, None] + 0.2 * strokes
    found = turning(over(styles), styles)
    assert found.correlation > 0.99 and found.slope == 1 and found.strength == pytest.approx(0.2, abs=0.01)
    across = turning(over(styles.roll(6, 0)), styles)  # by 90°
    assert across.correlation < -0.99 and across.slope == 1
    back = turning(over(styles.flip(0).roll(1, 0)), styles)  # the other way round
    assert abs(back.correlation) < 0.05 and back.slope == -1


def test_colours_that_turn_with_the_style_are_no_strokes():
    """A content that becomes lighter or darker changes along its own edges, whatever the style's direction."""
    gains = torch.tensor([1 + 0.3 * math.sin(2 * math.radians(turn)) for turn in TURNS]).view(-1, 1, 1, 1)
    found = turning(contents()[:, None] * gains, turned_stripes())
    assert abs(found.correlation) < 0.1 and abs(found.slope) < 0.1


def test_noise_does_not_correlate():
    noise = torch.rand(6, len(TURNS), 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) - 0.5
    found = turning(noise, turned_stripes())
    assert abs(found.correlation) < 0.3 and found.clearness < 0.2


def test_run(tmp_path):
    picture = to_pil(to_uint8(texture("stripes", 24, 33, 200, 0)[None])[0])
    transfers = {"half": lambda content, style: (content + style) / 2, "grey": lambda content, style: 0 * content}
    found, shown = run_turning(transfers, list(contents()[:, None]), picture, SIZE, torch.device("cpu"))
    assert list(found) == ["stripes", "picture"] and list(found["stripes"]) == ["half", "grey", "content", "style"]
    for group in found.values():
        assert group["half"].correlation > 0.99 and group["style"].correlation > 0.99
        assert group["half"].strength == pytest.approx(0.5, abs=0.02)
        assert abs(group["content"].correlation) < 1e-6 and abs(group["grey"].correlation) < 1e-6
    assert apart(found["picture"]["half"].degrees[0][0], 33) < 3
    assert shown["stripes"].shape == (3 * len(TURNS), 3, SIZE, SIZE) and shown["stripes"].dtype == torch.uint8
    assert "| picture | half | 1.00 | 1.00 | 0.50 |" in table(found)
    assert record(found)["styles"]["stripes"]["style"]["slope"] == 1
    pytest.importorskip("matplotlib", reason="needs the dev extra")
    plot(found, tmp_path / "curve.png")
    with Image.open(tmp_path / "curve.png") as curve:
        assert curve.width > 500
    only, _ = run_turning(transfers, list(contents()[:, None]), None, SIZE, torch.device("cpu"))
    assert list(only) == ["stripes"]
