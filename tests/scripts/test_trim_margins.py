"""Margins of one colour are cut off, and nothing else is."""

import io
import os
import sys
import zipfile
from pathlib import PureWindowsPath

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from scripts import dataset_writer, trim_margins
from scripts.trim_margins import INSIDE, trimmed
from tests.training.run.test_start import call
from torch_utils.files import InputError


def framed(left: int, top: int, right: int, bottom: int, frame=(0, 0, 0), seed: int = 0) -> Image.Image:
    """A picture of 40×60 pixels, unlike the frame in every one of them, in a frame with slight noise."""
    rng = np.random.RandomState(seed)
    pixels = np.empty((60 + top + bottom, 40 + left + right, 3))
    pixels[:] = np.array(frame) + rng.randint(-8, 9, pixels.shape)
    pixels[top : top + 60, left : left + 40] = rng.randint(100, 156, (60, 40, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


@settings(deadline=None, max_examples=30)
@given(
    st.tuples(*[st.integers(0, 30)] * 4).filter(lambda margins: margins[0] or margins[1]),
    st.sampled_from([(0, 0, 0), (255, 255, 255), (200, 10, 10)]),
)
def test_frames_of_any_width_and_colour_are_cut(margins, colour):
    image, (left, top, *_) = framed(*margins, frame=colour), margins
    inside = [INSIDE if margin else 0 for margin in margins]
    cut = trimmed(image)
    assert cut.size == (40 - inside[0] - inside[2], 60 - inside[1] - inside[3])
    assert cut.getpixel((0, 0)) == image.getpixel((left + inside[0], top + inside[1]))


def test_a_picture_without_a_frame_stays_as_it_is():
    rng = np.random.RandomState(0)
    image = Image.fromarray(rng.randint(0, 256, (50, 40, 3)).astype(np.uint8))
    assert trimmed(image).tobytes() == image.tobytes()


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255)])
def test_a_picture_of_one_colour_stays_as_it_is(colour):
    image = Image.new("RGB", (40, 30), colour)
    assert trimmed(image).size == (40, 30)


@pytest.mark.parametrize("inside", range(1, 9))
def test_hardly_anything_inside_a_frame(inside):
    pixels = np.zeros((30, 30, 3), np.uint8)
    pixels[12 : 12 + inside, 12 : 12 + inside] = 200
    side = 30 if inside <= 2 * INSIDE else inside - 2 * INSIDE
    assert trimmed(Image.fromarray(pixels)).size == (side, side)
    pixels[:, 12 : 12 + inside] = 200  # one axis only
    assert trimmed(Image.fromarray(pixels)).size == (side, 30)


def test_what_is_transparent_becomes_white(run_command, tmp_path):
    """And not what lies beneath it."""
    pixels = np.zeros((40, 40, 4), np.uint8)
    pixels[10:30, 10:30] = (200, 100, 0, 255)
    pixels[18:22, 18:22, 3] = 0  # a hole
    (tmp_path / "scans").mkdir()
    Image.fromarray(pixels).save(tmp_path / "scans" / "a.png")
    Image.new("LA", (8, 8), (0, 0)).save(tmp_path / "scans" / "b.png")
    done = run_command("scripts/trim_margins.py", "--source", tmp_path / "scans", "--dest", tmp_path / "new")
    assert done.returncode == 0 and "2 images, 1 of them trimmed" in done.stdout, done.stderr
    for name, size, colour in (("a.png", (14, 14), (200, 100, 0)), ("b.png", (8, 8), (255, 255, 255))):
        with Image.open(tmp_path / "new" / name) as image:
            assert (image.mode, image.size, image.getpixel((0, 0))) == ("RGB", size, colour)
            assert name != "a.png" or image.getpixel((7, 7)) == (255, 255, 255)


def test_command(run_command, tmp_path):
    (tmp_path / "scans" / "deep").mkdir(parents=True)
    framed(10, 5, 10, 5).save(tmp_path / "scans" / "deep" / "a.png")
    Image.fromarray(np.random.RandomState(1).randint(0, 256, (50, 40, 3)).astype(np.uint8)).save(tmp_path / "scans" / "b.png")
    arguments = ["--source", tmp_path / "scans", "--dest", tmp_path / "paintings"]
    done = run_command("scripts/trim_margins.py", *arguments)
    assert done.returncode == 0 and "2 images, 1 of them trimmed" in done.stdout, done.stderr
    with Image.open(tmp_path / "paintings" / "deep" / "a.png") as a, Image.open(tmp_path / "paintings" / "b.png") as b:
        assert a.size == (40 - 2 * INSIDE, 60 - 2 * INSIDE) and b.size == (40, 50)
    again = run_command("scripts/trim_margins.py", *arguments)
    assert again.returncode == 2 and "exists already" in again.stderr and len(again.stderr.strip().splitlines()) == 1


def test_what_fails_leaves_nothing(run_command, tmp_path):
    (tmp_path / "scans").mkdir()
    for name in ("a.png", "a.jpg"):
        framed(10, 5, 10, 5).save(tmp_path / "scans" / name)
    for problem in ("two images would be called a.png", "b.png"):
        done = run_command("scripts/trim_margins.py", "--source", tmp_path / "scans", "--dest", tmp_path / "new")
        assert done.returncode == 2 and problem in done.stderr and len(done.stderr.strip().splitlines()) == 1, done.stderr
        assert [path.name for path in tmp_path.iterdir()] == ["scans"]
        (tmp_path / "scans" / "a.jpg").unlink(missing_ok=True)
        (tmp_path / "scans" / "b.png").write_bytes(b"no image")


@pytest.mark.parametrize("dest", ["new/paintings", "new/paintings.zip"])
@pytest.mark.parametrize("name", ["{}/out/x.png", "a\\..\\..\\..\\out\\x.png"])
def test_names_that_lead_out_of_the_data_set(tmp_path, name, dest):
    """Those of a zip file, which may be anybody's, are where a picture is written."""
    name = name.format(tmp_path)
    hostile(tmp_path / "scans.zip", name)
    with pytest.raises(InputError, match="x.png: leads out of the data set"):
        call(trim_margins.main, "--source", tmp_path / "scans.zip", "--dest", tmp_path / dest)
    assert [path.name for path in tmp_path.rglob("*")] == ["scans.zip"]


@pytest.mark.parametrize("name", ["C:x.png", "C:/x.png", "/x.png", "\\x.png", "a\\..\\..\\x.png"])
def test_names_that_lead_out_of_the_data_set_on_windows(tmp_path, name, monkeypatch):
    monkeypatch.setattr(dataset_writer, "PurePath", PureWindowsPath)
    hostile(tmp_path / "scans.zip", name)
    with pytest.raises(InputError, match="x.png: leads out of the data set"):
        call(trim_margins.main, "--source", tmp_path / "scans.zip", "--dest", tmp_path / "new")
    assert [path.name for path in tmp_path.rglob("*")] == ["scans.zip"]


@pytest.mark.parametrize("dest", ["new", "new.zip"])
@pytest.mark.parametrize("name", ["../x.png", "a/../../x.png"])  # hidden in a zip file, as all that begins with a dot
def test_whoever_writes(tmp_path, name, dest):
    with pytest.raises(InputError, match="x.png: leads out"), dataset_writer.new_dataset(tmp_path / dest) as write:
        write(name, b"")
    assert not list(tmp_path.rglob("*"))


def test_names_that_only_look_so(tmp_path):
    hostile(tmp_path / "scans.zip", "a..b/c../x...png")
    call(trim_margins.main, "--source", tmp_path / "scans.zip", "--dest", tmp_path / "new")
    assert (tmp_path / "new" / "a..b" / "c.." / "x...png").is_file()


def hostile(path, name: str) -> None:
    """A zip file whose second picture has this name."""
    data = io.BytesIO()
    Image.new("RGB", (8, 8)).save(data, "PNG")
    with zipfile.ZipFile(path, "w") as archive:
        for each in ("0.png", name):
            archive.writestr(each, data.getvalue())


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_names_that_are_not_utf8_are_named_where_a_zip_cannot_have_them(tmp_path):
    (tmp_path / "source").mkdir()
    framed(5, 5, 5, 5).save(tmp_path / "source" / "a.png")
    (tmp_path / "source" / "a.png").rename(os.fsdecode(os.fsencode(tmp_path / "source") + b"/caf\xe9.png"))
    with pytest.raises(InputError, match=r"caf\\udce9.png: found a name that is not UTF-8"):
        call(trim_margins.main, "--source", tmp_path / "source", "--dest", tmp_path / "a.zip")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
    call(trim_margins.main, "--source", tmp_path / "source", "--dest", tmp_path / "a")
    assert len(list((tmp_path / "a").iterdir())) == 1
