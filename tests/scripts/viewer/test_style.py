"""What the style page draws, and the command that draws it again, without a page."""

import shlex
import shutil

import numpy as np
import pytest
import torch

import stylize
from scripts.viewer import markup
from scripts.viewer.studio import MAX_STRENGTH, STYLES, Order, Picture, Studio, painted_mask, preset, preset_names, read_upload
from scripts.viewer.wish import NONE, Wish, order_of
from tests.conftest import ROOT
from tests.scripts.viewer.networks import save_stylizer
from tests.style_fixtures import smooth
from torch_utils.files import InputError
from torch_utils.images import save_png, to_uint8

WISH = Wish("", "hokusai", None, 1, 40, NONE, None, None, None)


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    network, weights = save_stylizer(tmp_path_factory.mktemp("stylizer"))
    return Studio(network, weights)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with pictures, where commands find the checkout's styles, too."""
    monkeypatch.chdir(tmp_path)
    for name, seed in (("photo.png", 0), ("my style.png", 1)):
        save_png(tmp_path / name, to_uint8(smooth(48, 64, seed=seed))[0])
    (tmp_path / "scripts" / "viewer").mkdir(parents=True)
    shutil.copytree(STYLES, tmp_path / "scripts" / "viewer" / "styles")
    return tmp_path


def painting(part: float, side: int = 30) -> dict:
    """As the editor of regions sends it: a brush over the upper part."""
    layer = np.zeros((side, side * 4 // 3, 4), dtype=np.uint8)
    layer[: round(side * part)] = 255
    return {"background": layer, "layers": [layer], "composite": layer}


@pytest.mark.parametrize(
    "wish",
    [
        {},
        dict(strength=0.35, size=33),
        dict(style="my style.png", preset="renoir"),
        dict(second="renoir", painting=painting(0.5)),
        dict(second="renoir", second_style="my style.png", painting=painting(0.3), strength=1.5),
        dict(second="van-gogh", mask="two.png", painting=painting(0.5)),
        dict(mask="two.png", painting=painting(0.5)),  # without a second style they are nothing
    ],
)
def test_every_command_draws_the_same_bytes(studio, here, wish):
    mask = torch.zeros(3, 24, 32, dtype=torch.uint8)
    mask[:, 8:] = 200
    save_png(here / "two.png", mask)
    order = order_of(WISH._replace(content="photo.png", **wish))
    image = studio.draw(order)
    if order.mask:
        save_png(here / order.mask.name, order.mask.pixels)
    program, script, *words = shlex.split(studio.command(order, device="cpu"))
    assert (program, script) == ("python", "stylize.py") and ("--mask" in words) == (order.second is not None)
    stylize.main.main(words, standalone_mode=False)
    assert (here / "drawn.png").read_bytes() == markup.png(image)
    assert order.second is None or not torch.equal(image, studio.draw(order_of(WISH._replace(content="photo.png"))))


def test_a_style_called_like_the_photograph(here):
    (here / "other").mkdir()
    shutil.copy("my style.png", "other/photo.png")
    wish = WISH._replace(content="photo.png", style="other/photo.png", second="renoir", second_style="photo.png")
    order = order_of(wish._replace(painting=painting(0.5)))
    assert (order.content.name, order.style.name, order.second.name) == ("photo.png", "style/photo.png", "second/photo.png")


@pytest.mark.parametrize("name", ["mask.png", "drawn.png"])
def test_a_photograph_called_like_what_the_page_gives_away(studio, here, name):
    shutil.copy("photo.png", name)
    order = order_of(WISH._replace(content=name, second="renoir", painting=painting(0.5)))
    words = shlex.split(studio.command(order))
    assert f"photograph/{name}" in words and words.count("mask.png") == words.count("drawn.png") == 1


def test_presets_are_pictures_of_the_checkout():
    assert preset_names() == ["hokusai", "renoir", "van-gogh"]
    for name in preset_names():
        assert (ROOT / preset(name).name).is_file() and min(preset(name).pixels.shape[1:]) > 150
    with pytest.raises(InputError, match="found no style '../../x'"):
        preset("../../x")


def test_nothing_yet():
    assert order_of(WISH._replace(content=None)) is None


def test_a_region_that_is_not_painted(here):
    assert painted_mask(painting(0)["layers"], torch.zeros(3, 9, 12, dtype=torch.uint8), 9) is None
    for drawn in (None, painting(0), {"layers": []}):
        assert order_of(WISH._replace(content="photo.png", second="renoir", painting=drawn)).second is None


def test_a_region_that_is_everything(studio, here):
    with pytest.raises(InputError, match="found 1 colours"):
        studio.draw(order_of(WISH._replace(content="photo.png", second="renoir", painting=painting(1))))


@pytest.mark.parametrize(
    "name, contents, message",
    [
        ("notes.txt", b"hello", r"^notes.txt: is no picture; wanted .png"),
        ("styles.zip", b"PK", r"^styles.zip: is no picture"),
        ("notes.png", b"hello", r"^notes.png: found no image in it, wanted PNG"),
        ("half.png", None, r"^half.png: found a damaged image"),
    ],
)
def test_wrong_files(tmp_path, name, contents, message):
    save_png(tmp_path / "whole.png", to_uint8(smooth(32, 32))[0])
    (tmp_path / name).write_bytes(contents or (tmp_path / "whole.png").read_bytes()[:900])
    with pytest.raises(InputError, match=message) as found:
        read_upload(tmp_path / name)
    assert str(tmp_path) not in str(found.value)  # where uploads are kept is nobody's business


def test_a_picture_of_too_many_pixels(tmp_path, monkeypatch):
    save_png(tmp_path / "large.png", torch.zeros(1, 200, 200, dtype=torch.uint8))
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 30_000)  # as `serve` sets it, to more
    with pytest.raises(InputError, match="large.png: .*exceeds limit of 30000 pixels"):
        read_upload(tmp_path / "large.png")


@pytest.mark.parametrize(
    "changed, message",
    [
        (dict(strength=MAX_STRENGTH + 1), "found strength 4"),
        (dict(strength=float("nan")), "found strength nan"),
        (dict(size=5000), "found a size of 5000"),
        (dict(content=Picture("long.png", torch.zeros(3, 10, 90, dtype=torch.uint8))), "long.png: found 90×10 pixels"),
    ],
)
def test_values_that_the_page_does_not_offer(changed, message):
    square = Picture("square.png", torch.zeros(3, 32, 32, dtype=torch.uint8))
    with pytest.raises(InputError, match=message):
        Order(**dict(content=square, style=square) | changed)
