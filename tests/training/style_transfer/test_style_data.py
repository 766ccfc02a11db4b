"""What a style transfer is trained on: squares at any scale and angle, augmented styles, sources, and what is held out."""

import math
from collections import Counter
from itertools import islice

import numpy as np
import pytest
import torch
from PIL import Image

import train_style
from tests.style_fixtures import random_vgg
from torch_utils.archive import Archive
from torch_utils.files import InputError
from torch_utils.images import grid, to_uint8
from torch_utils.interrupt import StopRequest
from training.dataset import batches
from training.style_transfer.augment_styles import (
    STROKES,
    augment_style,
    coloured,
    hue_turn,
    mixed,
    permutation,
    random_colours,
    shift,
)
from training.style_transfer.config import PRESETS, StyleConfig
from training.style_transfer.crops import Crops
from training.style_transfer.report import MAX_PAIRS, StyleReporter, middles, pairs
from training.style_transfer.sources import Balance, hold_out, spread
from training.style_transfer.squares import augment_content, cut, random_square
from training.style_transfer.state import StyleState
from training.style_transfer.strokes import COLOURS, PERIODS, palette, ramp, strokes
from training.style_transfer.textures import texture

SOURCES = dict(drawings=9, paintings=4, photos=1)


def drawn(*seed: int) -> np.random.RandomState:
    return np.random.RandomState(list(seed))


def random_image(height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(drawn(seed).randint(0, 256, (3, height, width), dtype=np.uint8))


def stripes(period: float, degrees: float, size: int) -> torch.Tensor:
    return to_uint8(texture("stripes", period, degrees, size, seed=0))


def period_and_degrees(image: torch.Tensor) -> tuple[float, float]:
    """Of the strongest wave in a square image: pixels, and degrees of its crests above the horizontal, in [0, 180)."""
    values, side = image.double().mean(0).numpy(), image.shape[1]
    window = np.hanning(side)
    values = (values - values.mean()) * window * window[:, None]
    power = np.abs(np.fft.rfft2(values, (8 * side, 8 * side)))
    row, column = np.unravel_index(power.argmax(), power.shape)
    down, right = np.fft.fftfreq(8 * side)[row], column / (8 * side)
    return 1 / math.hypot(down, right), math.degrees(math.atan2(right, down)) % 180


def write_sources(folder, **sources: int):
    """Smooth images of 48×40 and more pixels in sub-folders."""
    for name, count in sources.items():
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = drawn(len(name), i).randint(0, 256, (5, 6, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((48 + i, 40)).save(folder / name / f"{i:03d}.png")
    return folder


# Squares


@pytest.mark.parametrize("degrees", [0, 17, 90, 135, 260])
def test_a_turn_turns_strokes(degrees):
    period, found = period_and_degrees(cut(stripes(12, 30, 200), 100, 100, 120, degrees, 120))
    assert abs((found - 30 - degrees + 90) % 180 - 90) < 1
    assert period == pytest.approx(12, rel=0.02)


@pytest.mark.parametrize("size, degrees", [(64, 0), (100, 0), (200, 0), (64, 30), (110, 30), (140, 45)])
def test_a_scale_changes_the_period(size, degrees):
    period, _ = period_and_degrees(cut(stripes(16, 30, 200), 100, 100, size, degrees, 64))
    assert period == pytest.approx(16 * 64 / size, rel=0.03)


@pytest.mark.parametrize("degrees", [0, 20])
def test_what_shrinks_is_antialiased(degrees):
    """Stripes of 3 pixels become grey at a quarter of the size, instead of wide ones."""
    shrunk = cut(stripes(3, 0, 300), 150, 150, 192, degrees, 48).double()
    assert shrunk.std((1, 2)).max() < 0.1 * stripes(3, 0, 300).double().std((1, 2)).min()


def test_squares_that_keep_their_size_keep_their_pixels():
    image = random_image(50, 70)
    assert torch.equal(cut(image, 20, 30, 32, 0, 32), image[:, 14:46, 4:36])
    turned = cut(image, 20, 30, 32, 90, 32).int() - image[:, 14:46, 4:36].rot90(1, (1, 2)).int()
    assert turned.abs().max() <= 1  # Pillow cuts decimals off


@pytest.mark.parametrize("height, width, side", [(40, 40, 40), (40, 97, 32), (130, 64, 32), (64, 64, 64)])
@pytest.mark.parametrize("turn", [False, True])
def test_no_border_shows(height, width, side, turn):
    """An image of one colour stays one, wherever it is cut."""
    image = torch.tensor([255, 200, 90], dtype=torch.uint8).view(3, 1, 1).expand(3, height, width)
    for i in range(150):
        square = random_square(image, side, drawn(i), turn)
        assert square.shape == (3, side, side) and torch.equal(square, image[:, :1, :1].expand_as(square))


def test_squares_have_all_sizes_places_and_angles():
    """A red ramp from left to right and a green one from top to bottom say where a square was."""
    x, y = torch.meshgrid(torch.arange(128), torch.arange(128), indexing="xy")
    image = torch.stack([x, y, torch.zeros_like(x)]).mul(2).to(torch.uint8)
    sizes, places, angles, mirrored = [], [], [], []
    for i in range(400):
        square = random_square(image, 32, drawn(i), turn=i % 2 == 1).double() / 2
        right, down = ((square.diff(dim=d).mean((1, 2))[:2] * 32).numpy() for d in (2, 1))
        places.append(square.mean((1, 2))[:2].numpy())
        (sizes if i % 2 == 0 else angles).append(math.hypot(*right) if i % 2 == 0 else math.atan2(right[1], right[0]))
        mirrored.append(right[0] * down[1] - right[1] * down[0] < 0)
    assert 32 <= min(sizes) + 1 < 36 and 120 < max(sizes) < 129
    assert np.histogram(np.log(sizes), 3, (math.log(32), math.log(128)))[0].min() > 40  # of 67 on average
    assert np.histogram(angles, 8, (-math.pi, math.pi))[0].min() > 10  # of 25 on average
    assert np.min(places) < 30 and np.max(places) > 98 and 150 < sum(mirrored) < 250


def test_contents_stay_upright():
    image = stripes(8, 20, 128)
    for i in range(20):
        _, degrees = period_and_degrees(augment_content(image, None, 64, drawn(i)))
        assert min(abs(degrees - 20), abs(degrees - 160)) < 3  # mirrored or not


# Colours


def test_a_permutation_keeps_the_channels():
    image = random_image(20, 30)
    for order in ([1, 2, 0], [2, 1, 0]):
        assert torch.equal(coloured(image, permutation(np.array(order))), image[order])


def test_a_hue_turn_keeps_the_sum_of_the_channels_and_all_of_grey():
    image = random_image(20, 30).clamp(80, 170)  # nothing is clipped
    turned = coloured(image, hue_turn(1.0))
    assert (turned.double().sum(0) - image.double().sum(0)).abs().max() <= 1.5 + 1e-9  # rounding
    assert (turned.double() - image.double()).abs().max() > 20
    grey = image[:1].expand(3, -1, -1)
    assert torch.equal(coloured(grey, hue_turn(2.0)), grey)
    third = 2 * math.pi / 3
    assert torch.equal(coloured(image, hue_turn(third)), image[[2, 0, 1]])


def test_shifts_scale_move_and_invert():
    image = random_image(20, 30).clamp(100, 150)
    found = coloured(image, shift(np.array([1.5, 1, 0.5]), np.array([0, 20, 0]))).double()
    assert (found[0] - (127.5 + 1.5 * (image[0].double() - 127.5))).abs().max() <= 0.5
    assert torch.equal(found[1], image[1].double() + 20)
    assert found[2].std() == pytest.approx(image[2].double().std().item() / 2, rel=0.05)
    assert torch.equal(coloured(image, shift(np.full(3, -1.0), np.zeros(3))), 255 - image)


def test_colours_are_left_alone_as_often_as_said():
    unchanged = sum(np.array_equal(random_colours(drawn(i)), np.eye(4)) for i in range(600))
    # 0.27 of them, by the probabilities, and a sixth of all permutations is none
    assert 0.21 * 600 < unchanged < 0.38 * 600


# Mixtures, and what is drawn


def test_mixtures_have_something_of_both():
    black, white = torch.zeros(3, 64, 64, dtype=torch.uint8), torch.full((3, 64, 64), 255, dtype=torch.uint8)
    kinds = Counter()
    for i in range(40):
        image = mixed(black, white, drawn(i)).double()
        flat = image.std() == 0
        kinds[bool(flat)] += 1
        assert 0.25 * 255 < image.mean() < 0.75 * 255
        assert flat or image.min() == 0 and image.max() == 255 and ((image > 0) & (image < 255)).double().mean() > 0.02
    assert min(kinds.values()) > 8


def test_styles_are_drawn_mixed_and_cut_in_their_shares():
    """Of images of one colour, what is drawn has more colours; what is mixed has asked for another image."""
    grey, asked, many, n = torch.full((3, 32, 32), 128, dtype=torch.uint8), [], 0, 800
    for i in range(n):
        square = augment_style(grey, lambda rng: asked.append(rng.randint(5)) or grey, 32, drawn(i))
        assert square.shape == (3, 32, 32) and square.dtype == torch.uint8
        many += square.double().std((1, 2)).max().item() > 0
    assert abs(many - STROKES * n) < 4 * math.sqrt(STROKES * n)
    assert abs(len(asked) - 0.135 * n) < 4 * math.sqrt(0.135 * n) and set(asked) == set(range(5))


def test_drawn_styles_have_the_periods_that_they_say():
    periods, angles, colours = [], [], set()
    for i in range(60):
        image = strokes(128, drawn(i))
        assert image.shape == (3, 128, 128) and image.dtype == torch.uint8 and image.double().std() > 1
        assert torch.equal(image, strokes(128, drawn(i)))
        period, degrees = period_and_degrees(image)
        periods.append(period)
        angles.append(degrees)
        colours.add(tuple(image.double().mean((1, 2)).div(64).long().tolist()))
    inside = sum(128 * PERIODS[0] * 0.8 < period < 128 * PERIODS[1] * 1.3 for period in periods)
    assert inside > 33  # of 60: the ends and colours of brush strokes repeat at other distances
    assert np.histogram(angles, 4, (0, 180))[0].min() > 5 and len(colours) > 10
    assert np.quantile(periods, 0.8) > 1.5 * np.quantile(periods, 0.2)


def test_palettes():
    counts = {len(palette(drawn(i))) for i in range(60)}
    assert counts == set(range(2, COLOURS + 1))
    colours = np.array([[0, 100, 200], [255, 0, 200]])
    assert ramp(colours)[[0, 255]].tolist() == colours.tolist() and ramp(colours)[128, 2] == 200


# Crops with these


def augmented(path, seed: int = 0, **options) -> Crops:
    return Crops(Archive(path), 32, 40, 2, seed, balance=True, augment=augment_style, **options)


def test_augmented_squares_depend_on_seed_and_position_alone(tmp_path):
    crops = augmented(write_sources(tmp_path / "styles", **SOURCES))
    items = [(i % len(crops), i) for i in range(40)]
    forwards = [crops[item][0] for item in items]
    afresh = augmented(tmp_path / "styles")
    backwards = [afresh[item][0] for item in reversed(items)][::-1]
    assert all(torch.equal(a, b) for a, b in zip(forwards, backwards))
    other = augmented(tmp_path / "styles", seed=1)
    assert sum(torch.equal(other[item][0], square) for item, square in zip(items, forwards)) < 20
    assert sum(torch.equal(crops[index, position + 40][0], forwards[i]) for i, (index, position) in enumerate(items)) < 20


@pytest.mark.parametrize("workers", [0, 1])
def test_a_resumed_run_sees_the_same_augmented_squares(tmp_path, workers):
    crops = augmented(write_sources(tmp_path / "styles", **SOURCES))
    whole = [images for images, _ in islice(batches(crops, 4, 1, positions=True), 8)]
    later = batches(augmented(tmp_path / "styles"), 4, 1, start=12, workers=workers, positions=True)
    assert all(torch.equal(next(later)[0], images) for images in whole[3:])
    later.close()


def test_contents_and_styles_of_a_position_are_cut_by_different_numbers():
    """The contents of drawn styles are of all sizes."""
    ramp_image = torch.arange(128, dtype=torch.uint8).expand(3, 128, 128)
    grey, sizes = torch.full((3, 32, 32), 128, dtype=torch.uint8), []
    for i in range(400):
        if augment_style(grey, lambda rng: grey, 32, drawn(i)).double().std((1, 2)).max() > 0:
            sizes.append(augment_content(ramp_image, None, 32, drawn(i)).double().std().item())
    assert len(sizes) > 20 and max(sizes) > 3 * min(sizes)


def test_styles_are_mixed_with_any_other(tmp_path):
    crops = Crops(Archive(write_sources(tmp_path / "styles", **SOURCES)), 32, 40, 2)
    images = [crops._image(i, 0) for i in range(len(crops))]
    others = []

    def augment(image, another, side, rng):
        given = another(rng)
        others.append(next(i for i, other in enumerate(images) if other is given))
        return image[:, :side, :side]

    crops._augment = augment
    for position in range(100):
        crops[0, position]
    assert set(others) == set(range(len(crops)))


def test_what_is_held_out_is_never_read(tmp_path, monkeypatch):
    folder = write_sources(tmp_path / "styles", **SOURCES)
    decode, seen = Archive.image, Counter()
    monkeypatch.setattr(Archive, "image", lambda archive, name: seen.update([name]) or decode(archive, name))
    monkeypatch.setattr("training.image_memory.KEPT_BYTES", 0)  # every time anew
    crops = augmented(folder, held_out_folders=["paintings"], skip_bad=True)
    for _ in islice(batches(crops, 8, 0, positions=True), 40):
        pass
    assert set(seen) == {f"drawings/{i:03d}.png" for i in range(8)}  # the last ones by name: of drawings, and of photos
    assert crops.held_out == ["drawings/008.png", *(f"paintings/{i:03d}.png" for i in range(4)), "photos/000.png"]
    assert sum(seen.values()) > 320  # second images of mixtures too


# Sources


NAMES = sorted([f"a/{i}" for i in range(5)] + [f"b/deep/{i}" for i in range(3)] + ["b/x", "c"])


def test_folders_and_the_last_images_are_held_out():
    kept, held = hold_out(NAMES, 0, ["b"], "here")
    assert held == ["b/deep/0", "b/deep/1", "b/deep/2", "b/x"] and sorted(kept + held) == NAMES
    assert hold_out(NAMES, 2, ["b/deep/"], "here")[1] == ["b/deep/0", "b/deep/1", "b/deep/2", "b/x", "c"]
    assert hold_out(NAMES, 3, [], "here") == (NAMES[:-3], NAMES[-3:])
    assert hold_out(NAMES, 0, [], "here") == (NAMES, [])


@pytest.mark.parametrize(
    "last, folders, message",
    [
        (0, ["d"], "no images in a sub-folder d; it has a, b/deep, b"),
        (0, ["deep"], "sub-folder deep"),
        (0, [""], "sub-folder"),
        (0, ["a/0"], "sub-folder a/0"),
        (10, [], "10 images, of which 10 cannot be held out"),
        (1, ["a", "b"], "10 images, of which 10 cannot be held out"),
    ],
)
def test_what_cannot_be_held_out(last, folders, message):
    with pytest.raises(InputError, match=message):
        hold_out(NAMES, last, folders, "here")


@pytest.mark.parametrize("damaged, which", [("paintings", "held out"), ("drawings", "to train on")])
def test_images_that_cannot_be_read_may_leave_nothing(tmp_path, damaged, which):
    folder = write_sources(tmp_path / "styles", drawings=3, paintings=2)
    crops = Crops(Archive(folder), 32, 40, skip_bad=True, held_out_folders=["paintings"])
    assert crops.check() == {} and len(crops) == 3
    (folder / damaged / "000.png").write_bytes(b"nothing")
    assert set(crops.check()) == {f"{damaged}/000.png"}
    for path in (folder / damaged).iterdir():
        path.write_bytes(b"nothing")
    with pytest.raises(InputError, match=f"none of its images {which} can be read; the first: "):
        Crops(Archive(folder), 32, 40, skip_bad=True, held_out_folders=["paintings"]).check()


def test_a_flat_archive_has_no_folders_to_hold_out():
    with pytest.raises(InputError, match="no sub-folders"):
        hold_out(["a", "b"], 0, ["x"], "here")


def test_sources_are_seen_by_the_square_roots_of_their_numbers():
    """Exactly so in every epoch; and each image as often as the others of its source."""
    numbers = dict(a=400, b=100, c=9, d=1)
    names = [f"{source}/{i}" for source, count in numbers.items() for i in range(count)]
    balance, n, epochs = Balance(names), 510, 40
    seen = Counter()
    for epoch in range(epochs):
        here = Counter(names[balance(index, epoch * n + (index * 7) % n)] for index in range(n))
        of_source = Counter(name[0] for name in here.elements())
        for source, count in numbers.items():
            assert of_source[source] == pytest.approx(n * math.sqrt(count) / 34, abs=1)
        seen += here
    for source in numbers:
        counts = [seen[name] for name in names if name[0] == source]
        assert max(counts) - min(counts) <= 1
    assert set(seen) == set(names)


def test_a_single_source_is_seen_as_without_balance():
    balance = Balance([f"{i}.png" for i in range(7)])
    for epoch in range(3):
        assert sorted(balance(index, 7 * epoch + index) for index in range(7)) == list(range(7))


def test_crops_are_balanced_in_the_order_of_a_run(tmp_path):
    """16 images of one source and one of another: every fifth is of the latter instead of every seventeenth."""
    for source, count, colour in (("few", 1, "white"), ("many", 16, "black")):
        (tmp_path / source).mkdir()
        for i in range(count):
            Image.new("RGB", (40, 40), colour).save(tmp_path / source / f"{i}.png")
    shares = []
    for balance in (False, True):
        crops = Crops(Archive(tmp_path), 32, 40, balance=balance)
        crops.check()
        images = torch.cat([images for images, _ in islice(batches(crops, 17, 0, positions=True), 20)])
        shares.append((images[:, 0, 0, 0] == 255).double().mean().item())
    assert shares == pytest.approx([1 / 17, 3 / 17])  # a fifth of 17, rounded


def test_a_spread_takes_of_every_source():
    assert spread(NAMES, 3) == ["a/0", "b/deep/0", "b/x"]
    assert spread(NAMES, 6) == ["a/0", "a/2", "b/deep/0", "b/deep/1", "b/x", "c"]
    assert spread(NAMES, 99) == NAMES and spread(list("abcdefgh"), 4) == ["a", "c", "e", "g"]
    assert len(spread([f"{i}/x" for i in range(50)], 5)) == 5


@pytest.mark.parametrize("contents, styles", [(2, 3), (8, 16), (64, 64), (5, 64), (64, 1), (12, 9)])
def test_pairs_are_different_and_even(contents, styles):
    found = pairs(contents, styles, MAX_PAIRS)
    assert len(set(found)) == len(found) == min(contents * styles, MAX_PAIRS)
    for side, count in enumerate((contents, styles)):
        often = Counter(pair[side] for pair in found)
        assert set(often) == set(range(count)) and max(often.values()) - min(often.values()) <= 1


# The command's side, and the report


def test_presets_augment_where_they_say():
    wanted = dict(content="a", style="b")
    assert all(getattr(StyleConfig(**wanted | PRESETS["small"]()), f"{what}_augment") for what in wanted)
    assert not any(getattr(StyleConfig(**wanted | PRESETS["paper"]()), f"{what}_augment") for what in wanted)


def configured(tmp_path, **changes) -> StyleConfig:
    values = dict(encoder="vgg16", style_depth=2, style_width=4, adaptive=True, crop=32, style_crop=40, resize=40, cfg="small")
    return StyleConfig(content=str(tmp_path / "contents"), style=str(tmp_path / "styles"), **values | changes)


def test_options_reach_the_images(tmp_path):
    write_sources(tmp_path / "contents", near=1, wide=14)
    write_sources(tmp_path / "styles", **SOURCES)
    plain = train_style.list_images(configured(tmp_path, hold_out_content=2))
    assert [len(images.held_out) for images in plain] == [2, 4]
    held = dict(hold_out_content=0, hold_out_content_folders=("near",), hold_out_style=1, hold_out_style_folders=("paintings",))
    contents, styles = train_style.list_images(configured(tmp_path, **held))
    assert len(contents) == 14 and contents.held_out == ["near/000.png"]
    assert len(styles) == 9 and styles.held_out == [*(f"paintings/{i:03d}.png" for i in range(4)), "photos/000.png"]
    for i, change in enumerate((dict(content_augment=True), dict(style_augment=True))):
        changed = train_style.list_images(configured(tmp_path, hold_out_content=2, **change))
        for j in range(2):
            differ = any(not torch.equal(changed[j][k % 5, k][0], plain[j][k % 5, k][0]) for k in range(20))
            assert differ == (j == i)
    balanced = train_style.list_images(configured(tmp_path, hold_out_content=2, balance_sources=True))
    assert all(any(not torch.equal(a[k, k][0], b[k, k][0]) for k in range(len(a))) for a, b in zip(balanced, plain))


def test_the_report_is_of_all_sources_and_of_few_pairs(tmp_path):
    write_sources(tmp_path / "contents", wide=14, near=2)
    write_sources(tmp_path / "styles", drawings=12, more=9, paintings=4, photos=1)
    held = dict(hold_out_content=12, hold_out_style=0, hold_out_style_folders=("drawings", "paintings", "photos"))
    config = configured(tmp_path, style_augment=True, **held)
    images = train_style.list_images(config)
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    make = lambda: StyleReporter(config, *images, StyleState(config), random_vgg(), run_dir, torch.device("cpu"), StopRequest())
    reporter = make()
    reporter.first_pictures()
    scores = reporter.scores()
    assert [score["pairs"] for score in scores] == [MAX_PAIRS] * 2 and len(images[0].held_out) * len(
        images[1].held_out
    ) > MAX_PAIRS
    assert make().scores() == scores

    shown = [name.split("/")[0] for name in spread(images[1].held_out, 4)]
    assert sorted(set(shown)) == ["drawings", "paintings", "photos"]
    assert torch.equal(reporter.styles, middles(images[1], 4)) and len(reporter.contents) == 6
    with Image.open(run_dir / "styles.png") as picture:
        pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)
    seen = torch.cat([styles for styles, _ in islice(batches(images[1], 2, 2 * config.seed + 1, positions=True), 16)])
    assert torch.equal(pixels, grid(seen, 8))  # as the loop draws them
