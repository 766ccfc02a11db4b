import gzip
import io
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path
from types import SimpleNamespace

import click
import numpy as np
import pytest
import torch
from PIL import Image

from networks.generator import Generator
from networks.sampling import class_vector
from scripts import dataset_tool, image_fit
from tests.conftest import ROOT
from torch_utils.checkpoint import read_snapshot
from torch_utils.files import InputError
from training.dataset import ImageDataset
from training.gan.report import GeneratorReporter

EMOJI = ROOT / "datasets" / "emoji32.zip"


def tool(source, dest, *options):
    arguments = ["--source", source, "--dest", dest, *options]
    dataset_tool.main.main([str(argument) for argument in arguments], standalone_mode=False)


def noise(*shape, seed=0) -> np.ndarray:
    return np.random.RandomState(seed).randint(0, 256, shape, dtype=np.uint8)


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def write_idx(path: Path, array: np.ndarray) -> None:
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    (gzip.open if path.suffix == ".gz" else open)(path, "wb").write(header + array.tobytes())


@pytest.fixture
def classes(tmp_path):
    """Folders cat, dog, with three RGB images 6x4 each."""
    for i in range(6):
        save(tmp_path / "classes" / ("dog" if i < 3 else "cat") / f"{i}.png", noise(4, 6, 3, seed=i))
    return tmp_path / "classes"


def leftovers(folder: Path, *known: str) -> set[str]:
    return {path.name for path in folder.iterdir()} - set(known)


def test_folders_and_zips_go_round_without_loss(tmp_path):
    tool(EMOJI, tmp_path / "a", "--max-images", 1001)
    tool(tmp_path / "a", tmp_path / "b.zip")
    tool(tmp_path / "b.zip", tmp_path / "c.ZIP")
    assert (tmp_path / "b.zip").read_bytes() == (tmp_path / "c.ZIP").read_bytes()
    with zipfile.ZipFile(tmp_path / "b.zip") as archive:
        assert [entry.filename for entry in archive.infolist()][999:] == [
            "00000/img00000999.png",
            "00001/img00001000.png",
            "dataset.json",
        ]
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
        assert {entry.external_attr >> 16 for entry in archive.infolist()} == {0o644}  # else unzip makes unreadable files
    original, copy = ImageDataset(EMOJI, use_labels=True), ImageDataset(tmp_path / "b.zip", use_labels=True)
    copy.check()
    assert (len(copy), copy.c_dim, copy.label_names) == (1001, 9, original.label_names)
    for i in (0, 500, 1000):
        assert torch.equal(copy[i][0], original[i][0]) and copy[i][1] == original[i][1]
    assert not leftovers(tmp_path, "a", "b.zip", "c.ZIP")


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_images_are_padded_to_the_next_power_of_two(tmp_path, suffix, capsys):
    pixels, source = noise(5, 28, 28), tmp_path / f"t10k-images-idx3-ubyte{suffix}"
    write_idx(source, pixels)
    write_idx(tmp_path / f"t10k-labels-idx1-ubyte{suffix}", np.array([3, 1, 0, 1, 2], np.uint8))
    tool(source, tmp_path / "a.zip")
    tool(source, tmp_path / "b.zip", "--resolution", "32x32")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    assert "5 images written, 32x32 L, 4 classes; 0 skipped" in capsys.readouterr().out
    data = ImageDataset(tmp_path / "a.zip", use_labels=True)
    assert [label for _, label in data] == [3, 1, 0, 1, 2] and data.c_dim == 4
    expected = np.pad(pixels, ((0, 0), (2, 2), (2, 2)))
    assert torch.equal(torch.stack([image[0] for image, _ in data]), torch.from_numpy(expected))
    tool(source, tmp_path / "c.zip", "--resolution", "28x28")
    assert torch.equal(ImageDataset(tmp_path / "c.zip")[4][0][0], torch.from_numpy(pixels[4]))
    tool(source, tmp_path / "d.zip", "--resolution", "64x64", "--transform", "stretch")
    assert ImageDataset(tmp_path / "d.zip")[0][0][:, :3].float().mean() > 50  # no border


@pytest.mark.parametrize("packed", ["images", "labels"])
def test_one_of_two_idx_files_may_be_packed(tmp_path, packed):
    for what, array in (("images-idx3", noise(5, 4, 4)), ("labels-idx1", np.array([3, 1, 0, 1, 2], np.uint8))):
        write_idx(tmp_path / f"t10k-{what}-ubyte{'.gz' * (packed in what)}", array)
    tool(next(tmp_path.glob("t10k-images*")), tmp_path / "a.zip")
    assert ImageDataset(tmp_path / "a.zip", use_labels=True).labels == [3, 1, 0, 1, 2]


def test_other_formats_are_counted(tmp_path, classes, capsys):
    for i in range(3):
        (classes / f"{i}.gif").write_bytes(b"GIF89a")
    tool(classes, tmp_path / "a.zip")
    assert "3 files not looked at: .gif (3)\n" in capsys.readouterr().out


def test_idx_without_labels_file(tmp_path):
    write_idx(tmp_path / "images.gz", noise(2, 4, 4))
    tool(tmp_path / "images.gz", tmp_path / "a.zip")
    assert json.loads(zipfile.ZipFile(tmp_path / "a.zip").read("dataset.json")) == {"labels": None}


def test_damaged_idx(tmp_path):
    source, labels = tmp_path / "x-images-idx3-ubyte", tmp_path / "x-labels-idx1-ubyte"
    write_idx(source, noise(5, 28, 28))
    whole = source.read_bytes()
    packed = gzip.compress(whole)
    for data, message in [
        (whole[:-1], "bytes of data, wanted 3920"),
        (whole[:10], "IDX"),
        (packed[:-2000], "IDX"),
        (whole[:4] + b"\xff" * 12, "at most"),
        (whole[:4] + bytes(12), "no images"),
        (b"\0\0\x08\x01" + whole[4:], "kind 00000801, wanted 00000803"),
    ]:
        source.write_bytes(data)
        with pytest.raises(InputError, match=message):
            tool(source, tmp_path / "a.zip")
    source.write_bytes(whole)
    write_idx(labels, np.zeros(4, np.uint8))
    with pytest.raises(InputError, match="4 labels, wanted 5"):
        tool(source, tmp_path / "a.zip")
    assert not leftovers(tmp_path, source.name, labels.name)


@pytest.mark.parametrize(
    ("shape", "data", "message"),
    [
        ((1, 2**31 - 1, 1), b"", "2147483647 bytes unpacked, wanted 16780416 at most"),  # asks for 2 GB, and has nothing
        ((1, 1 << 24, 1), bytes(1 << 24), "1 images of 1x16777216 pixels"),  # as a square it would take 280 TB
        ((1 << 23, 1, 1), bytes(1 << 23), "8388608 images"),
        ((16, 2048, 2048), bytes(1 << 26), "bytes unpacked"),  # 64 MB in 64 kB
    ],
)
def test_idx_that_asks_for_too_much(tmp_path, shape, data, message):
    content = b"\0\0\x08\x03" + struct.pack(">3I", *shape) + data
    (tmp_path / "images.gz").write_bytes(gzip.compress(content, 9) if data else content + bytes(0))
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=message):
            tool(tmp_path / "images.gz", tmp_path / "a.zip")
        assert tracemalloc.get_traced_memory()[1] < 60e6
    finally:
        tracemalloc.stop()
    assert not leftovers(tmp_path, "images.gz")


def test_too_many_classes(tmp_path, classes, monkeypatch):
    monkeypatch.setattr("torch_utils.image_labels.MAX_CLASSES", 1)
    with pytest.raises(InputError, match="2 folders, wanted 1 at most"):
        tool(classes, tmp_path / "a.zip", "--labels-from-folders", "1")


@pytest.mark.skipif("ADACONV_TEST_DATA" not in os.environ, reason="ADACONV_TEST_DATA is not set")
def test_fashion_mnist(tmp_path):
    source = Path(os.environ["ADACONV_TEST_DATA"]) / "data/fashion-mnist/t10k-images-idx3-ubyte.gz"
    tool(source, tmp_path / "a.zip", "--max-images", 200)
    data = ImageDataset(tmp_path / "a.zip", use_labels=True)
    assert (len(data), data.resolution, data.channels, data.c_dim) == (200, (32, 32), 1, 10)
    assert [data[i][1] for i in range(10)] == [9, 2, 1, 1, 6, 1, 4, 6, 5, 7]  # as everybody's copy begins


def test_labels_that_are_wrong_may_be_left_out(tmp_path, classes):
    (classes / "dataset.json").write_text(json.dumps({"labels": [["cat/3.png", 0]], "label_names": ["cat"]}))
    with pytest.raises(InputError, match="found no label for"):
        tool(classes, tmp_path / "a.zip")
    tool(classes, tmp_path / "a.zip", "--labels", "none")
    assert json.loads(zipfile.ZipFile(tmp_path / "a.zip").read("dataset.json")) == {"labels": None}
    for option, value in (("--labels-from-folders", "1"), ("--labels-names", "a,b")):
        with pytest.raises(InputError, match=f"--labels none leaves them out, and {option} has no say"):
            tool(classes, tmp_path / "b.zip", "--labels", "none", option, value)


def test_labels_from_folders(tmp_path, classes):
    tool(classes, tmp_path / "a", "--labels-from-folders", "1")
    data = ImageDataset(tmp_path / "a", use_labels=True)
    assert data.label_names == ["cat", "dog"] and [label for _, label in data] == [0, 0, 0, 1, 1, 1]
    assert torch.equal(data[0][0], torch.from_numpy(noise(4, 6, 3, seed=3)).permute(2, 0, 1))
    tool(classes, tmp_path / "b")
    assert json.loads((tmp_path / "b" / "dataset.json").read_text()) == {"labels": None}
    shutil.copy(classes / "cat" / "3.png", classes)
    with pytest.raises(InputError, match=r"3\.png: found outside of a folder"):
        tool(classes, tmp_path / "c", "--labels-from-folders", "1")


def test_unreadable_images_are_skipped_named_and_counted(tmp_path, classes, capsys):
    path = classes / "cat" / "3.png"
    path.write_bytes(path.read_bytes()[:60])  # its header is whole
    for i in range(25):
        (classes / "cat" / f"text{i:02d}.png").write_text("no image")
    tool(classes, tmp_path / "a.zip", "--labels-from-folders", "true")
    printed = capsys.readouterr()
    lines = [line for line in printed.err.splitlines() if line.startswith("skipped")]
    assert len(lines) == 21 and "cat/text00.png" in lines[0]
    assert printed.out.splitlines()[-1].endswith("5 images written, 6x4 RGB, 2 classes; 26 skipped")
    data = ImageDataset(tmp_path / "a.zip", use_labels=True)  # numbered without gaps, labels in step
    assert [label for _, label in data] == [0, 0, 1, 1, 1]
    assert torch.equal(data[0][0], torch.from_numpy(noise(4, 6, 3, seed=4)).permute(2, 0, 1))


@pytest.mark.parametrize("dest", ["new/deep/a.zip", "new/deep/a"])
@pytest.mark.parametrize("whole_header", [False, True])
def test_nothing_readable_leaves_nothing(tmp_path, dest, whole_header):
    save(tmp_path / "source" / "a.png", noise(8, 8, 3))
    data = (tmp_path / "source" / "a.png").read_bytes()
    (tmp_path / "source" / "a.png").write_bytes(data[: 80 if whole_header else 20])
    with pytest.raises(InputError, match="none of 1 images can be read; the first: .*a.png"):
        tool(tmp_path / "source", tmp_path / dest)
    assert not leftovers(tmp_path, "source")


@pytest.mark.parametrize("dest", ["a.zip", "a"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_failing_halfway_leaves_nothing(tmp_path, classes, monkeypatch, dest, error):
    calls = iter([b"first", error])

    def fail(image):
        result = next(calls)
        if isinstance(result, BaseException):
            raise result
        return result

    monkeypatch.setattr(dataset_tool, "png", fail)
    with pytest.raises(click.Abort if isinstance(error, KeyboardInterrupt) else InputError):
        tool(classes, tmp_path / "new" / dest)
    assert not leftovers(tmp_path, "classes")


def test_existing_destinations(tmp_path, classes):
    (tmp_path / "a.zip").write_bytes(b"precious")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "file").write_bytes(b"precious")
    (tmp_path / "empty").mkdir()
    for dest in ("a.zip", "b"):
        with pytest.raises(InputError, match="exists already"):
            tool(classes, tmp_path / dest)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b" / "file").read_bytes() == b"precious"
    with pytest.raises(InputError, match="exists already"):
        tool(classes, classes)
    for dest in (tmp_path / "a.zip" / "c", tmp_path / ("x" * 300) / "c", tmp_path / ("x" * 300)):
        with pytest.raises(InputError, match="cannot be written"):
            tool(classes, dest)
    tool(classes, tmp_path / "empty")
    assert len(ImageDataset(tmp_path / "empty")) == 6


def test_mixed_sizes_need_a_resolution(tmp_path, classes, capsys):
    save(classes / "dog" / "9.png", noise(8, 8, 3))
    with pytest.raises(InputError, match="dog/9.png: found 8x8 .* wanted 6x4 .* pass --resolution"):
        tool(classes, tmp_path / "a.zip")
    tool(classes, tmp_path / "a.zip", "--max-images", 6)  # the odd one is beyond
    tool(classes, tmp_path / "b.zip", "--resolution", "8x8")
    assert "6 images were stretched" in capsys.readouterr().out
    ImageDataset(tmp_path / "b.zip").check()


@pytest.mark.parametrize(
    ("arrays", "mode"),
    [
        ([noise(4, 4), noise(4, 4)], "L"),
        ([noise(4, 4), noise(4, 4, 2)], "LA"),
        ([noise(4, 4), noise(4, 4, 3)], "RGB"),
        ([noise(4, 4, 2), noise(4, 4, 3)], "RGBA"),
        ([noise(4, 4, 4), noise(4, 4, 4)], "RGBA"),
    ],
)
def test_kinds_are_kept_or_widened_without_loss(tmp_path, arrays, mode):
    for i, array in enumerate(arrays):
        save(tmp_path / "source" / f"{i}.png", array)
    tool(tmp_path / "source", tmp_path / "a")
    for i, array in enumerate(arrays):
        written = Image.open(tmp_path / "a" / "00000" / f"img{i:08d}.png")
        assert written.mode == mode
        assert (np.array(written.convert(Image.fromarray(array).mode)) == array).all()
    ImageDataset(tmp_path / "a").check()


@pytest.mark.parametrize(
    ("array", "colour", "mode", "corner"),
    [
        (np.full((4, 4, 4), (200, 0, 0, 0), np.uint8), "white", "RGB", (255, 255, 255)),
        (np.full((4, 4, 4), (200, 0, 0, 51), np.uint8), "#0000ff", "RGB", (40, 0, 204)),
        (np.full((4, 4, 2), (200, 0), np.uint8), "black", "L", 0),
        (np.full((4, 4, 2), (200, 0), np.uint8), "red", "RGB", (255, 0, 0)),
        (np.full((4, 4, 3), 9, np.uint8), "white", "RGB", (9, 9, 9)),
    ],
)
def test_background(tmp_path, array, colour, mode, corner, capsys):
    save(tmp_path / "source" / "0.png", array)
    tool(tmp_path / "source", tmp_path / "a", "--background", colour)
    written = Image.open(tmp_path / "a" / "00000" / "img00000000.png")
    assert written.mode == mode and written.getpixel((0, 0)) == corner
    said = "laid over" if array.shape[2] != 3 else "no image is transparent: --background changes nothing"
    assert said in capsys.readouterr().out


def test_bars_of_transparent_images_take_the_background(tmp_path):
    save(tmp_path / "source" / "0.png", np.full((2, 2, 4), (200, 0, 0, 255), np.uint8))
    tool(tmp_path / "source", tmp_path / "a", "--background", "white", "--resolution", "4x4", "--transform", "pad")
    written = Image.open(tmp_path / "a" / "00000" / "img00000000.png")
    assert written.getpixel((0, 0)) == (255, 255, 255) and written.getpixel((1, 1)) == (200, 0, 0)


def test_transparency_that_is_kept_is_said(tmp_path, capsys):
    save(tmp_path / "source" / "0.png", noise(4, 4, 4))
    tool(tmp_path / "source", tmp_path / "a.zip")
    assert "transparency is kept (RGBA); generators learn opaque images better" in capsys.readouterr().out
    tool(tmp_path / "source", tmp_path / "b.zip", "--background", "keep")
    assert "transparency is kept (RGBA)\n" in capsys.readouterr().out
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp"])
def test_exif_turns_images_of_every_format_and_as_in_training(tmp_path, name):
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:, :8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "source").mkdir()
    Image.fromarray(pixels).save(tmp_path / "source" / name, exif=exif)
    tool(tmp_path / "source", tmp_path / "a")
    direct, converted = ImageDataset(tmp_path / "source"), ImageDataset(tmp_path / "a")
    assert direct.resolution == converted.resolution == (16, 8)
    assert torch.equal(direct[0][0], converted[0][0]) and direct[0][0][:, :8].min() > 200


@pytest.mark.parametrize("name", ["a.png", "a.webp"])
def test_first_frame_of_an_animation_and_as_in_training(tmp_path, name):
    frames = [Image.new("RGB", (8, 4), colour) for colour in ("red", "lime", "blue")]
    (tmp_path / "source").mkdir()
    frames[0].save(tmp_path / "source" / name, save_all=True, append_images=frames[1:], lossless=True)
    tool(tmp_path / "source", tmp_path / "a")
    for data in (ImageDataset(tmp_path / "source"), ImageDataset(tmp_path / "a")):
        assert len(data) == 1 and data[0][0][:3, 0, 0].tolist() == [255, 0, 0]


def idx_source(folder, labels):
    folder.mkdir(parents=True)
    write_idx(folder / "t10k-images-idx3-ubyte", noise(len(labels), 4, 4))
    write_idx(folder / "t10k-labels-idx1-ubyte", np.array(labels, np.uint8))
    return folder / "t10k-images-idx3-ubyte"


@pytest.mark.parametrize(
    ("folder", "seventh"),
    [
        ("fashion-mnist", "Sneaker"),
        ("FashionMNIST/raw", "Sneaker"),
        ("KMNIST", "ya"),
        ("MNIST/raw", "7"),
        ("emnist", None),
        ("drawings", None),
    ],
)
def test_known_families_of_idx_files_bring_names_of_classes(tmp_path, folder, seventh):
    tool(idx_source(tmp_path / folder, [3, 7]), tmp_path / "a.zip")
    data = ImageDataset(tmp_path / "a.zip", use_labels=True)
    assert (data.label_names[7] if seventh else data.label_names) == seventh
    assert data.c_dim == (10 if seventh else 8)


def test_a_network_draws_a_class_by_the_name_that_its_data_had(tmp_path):
    tool(idx_source(tmp_path / "fashion-mnist", [3, 7]), tmp_path / "a.zip")
    data = ImageDataset(tmp_path / "a.zip", use_labels=True)
    G = Generator(img_resolution=8, img_channels=1, c_dim=data.c_dim, z_dim=8, channel_base=64, channel_max=8, style_depth=2)
    reporter = SimpleNamespace(
        state=SimpleNamespace(nimg=0, ema=G, averages=[]), dataset=data, config=SimpleNamespace(mirror=False, seed=0, seen=())
    )
    GeneratorReporter.write_network(reporter, tmp_path / "network.safetensors")
    names = read_snapshot(tmp_path / "network.safetensors", tensors=False).info["label_names"]
    assert class_vector(10, "Sneaker", names, tmp_path / "network.safetensors").argmax() == 7


def test_labels_beyond_a_familys_names_are_not_of_that_family(tmp_path):
    tool(idx_source(tmp_path / "mnist", [3, 10]), tmp_path / "a.zip")
    assert ImageDataset(tmp_path / "a.zip", use_labels=True).label_names is None


def test_names_of_classes_do_not_steer_a_terminal(tmp_path, capsys):
    source = idx_source(tmp_path / "digits", [0, 1])
    tool(source, tmp_path / "a.zip", "--labels-names", "nought\x1b[2J, one")
    shown = capsys.readouterr().out
    assert "class names: nought\\x1b[2J, one" in shown and "\x1b" not in shown


def test_names_of_classes_from_the_command_line_or_a_file(tmp_path, classes, capsys):
    source = idx_source(tmp_path / "mnist", [0, 1])
    tool(source, tmp_path / "a.zip", "--labels-names", "nought, one")
    assert "class names: nought, one" in capsys.readouterr().out
    (tmp_path / "names.txt").write_text("nought\none\n\nunused, but known\n")
    tool(source, tmp_path / "b.zip", "--labels-names", tmp_path / "names.txt")
    assert ImageDataset(tmp_path / "a.zip", use_labels=True).label_names == ["nought", "one"]
    data = ImageDataset(tmp_path / "b.zip", use_labels=True)
    assert data.label_names == ["nought", "one", "unused, but known"] and data.c_dim == 3
    metadata = json.loads(zipfile.ZipFile(tmp_path / "b.zip").read("dataset.json"))
    assert metadata["labels"] == [["00000/img00000000.png", 0], ["00000/img00000001.png", 1]]  # as StyleGAN reads them
    tool(classes, tmp_path / "c", "--labels-from-folders", "1", "--labels-names", "Katze,Hund")
    assert ImageDataset(tmp_path / "c", use_labels=True).label_names == ["Katze", "Hund"]


def test_one_class_is_no_plural(tmp_path, classes, capsys):
    shutil.rmtree(classes / "dog")
    tool(classes, tmp_path / "a", "--labels-from-folders", "1")
    assert ", 1 class; 0 skipped" in capsys.readouterr().out


def test_transforms(tmp_path):
    """16x8, black but for its middle square, which is white but for a grey pixel in its corner."""
    pixels = np.zeros((8, 16), np.uint8)
    pixels[:, 4:12] = 255
    pixels[0, 4] = 55
    save(tmp_path / "source" / "a.png", pixels)

    def result(size, transform, *options):
        dest = tmp_path / f"{size}-{transform}-{'-'.join(options)}.zip"
        tool(tmp_path / "source", dest, "--resolution", size, "--transform", transform, *options)
        return ImageDataset(dest)[0][0][0].numpy()

    assert (result("8x8", "center-crop") == pixels[:, 4:12]).all()
    assert (result("16x4", "center-crop") == result("16x4", "center-crop-wide")[6:10]).all()
    assert (result("16x8", "center-crop-wide") == np.pad(pixels, ((4, 4), (0, 0)))).all()
    assert (result("20x10", "pad") == np.pad(pixels, ((1, 1), (2, 2)))).all()
    shrunk = result("8x8", "pad", "--resize-filter", "box")
    assert (shrunk == np.pad(pixels.reshape(4, 2, 8, 2).mean((1, 3)), ((2, 2), (0, 0)))).all()
    squeezed = result("8x8", "stretch", "--resize-filter", "box")
    assert (squeezed == pixels.reshape(8, 8, 2).mean(2)).all()
    assert (result("8x8", "stretch", "--resize-filter", "lanczos") != squeezed).any()


def test_center_crop_of_any_size_stays_inside():
    generator = random.Random(0)
    for _ in range(300):
        image = Image.new("L", (generator.randint(1, 50), generator.randint(1, 50)), 200)
        size = (generator.randint(1, 50), generator.randint(1, 50))
        for transform in dataset_tool.TRANSFORMS.values():
            result = transform(image, size, Image.Resampling.LANCZOS)
            assert result.size == ((size[0], size[0]) if transform is image_fit.center_crop_wide else size)
        assert image_fit.center_crop(image, size, Image.Resampling.BOX).getextrema() == (200, 200)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--resolution", "64"], "WIDTHxHEIGHT"),
        (["--resolution", "0x64"], "WIDTHxHEIGHT"),
        (["--resolution", "99999x64"], "WIDTHxHEIGHT"),
        (["--transform", "center-crop"], "wants --resolution"),
        (["--transform", "center-crop-wide", "--resolution", "8x16"], "as wide as high"),
        (["--max-images", "0"], "range"),
        (["--labels-from-folders", "maybe"], "maybe"),
        (["--background", "beautiful"], "neither keep nor a colour"),
        (["--labels-names", "cat,dog"], "has no labels to name"),
        (["--labels-from-folders", "1", "--labels-names", "cat"], "found 1 name, wanted 2"),
        (["--labels-from-folders", "1", "--labels-names", "cat,cat"], "different names"),
    ],
)
def test_wrong_options(tmp_path, classes, options, message):
    with pytest.raises((InputError, click.ClickException)) as caught:
        tool(classes, tmp_path / "a.zip", *options)
    text = caught.value.format_message() if isinstance(caught.value, click.ClickException) else str(caught.value)
    assert message in text and not leftovers(tmp_path, "classes")


def test_metadata_of_images_is_not_carried_along(tmp_path):
    image = Image.fromarray(noise(4, 4, 3))
    (tmp_path / "source").mkdir()
    image.save(tmp_path / "source" / "a.png", icc_profile=b"profile", dpi=(72, 72))
    tool(tmp_path / "source", tmp_path / "a")
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    assert (tmp_path / "a" / "00000" / "img00000000.png").read_bytes() == buffer.getvalue()


def test_names_that_lead_out_of_a_zip_lead_nowhere(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(noise(4, 4, 3)).save(buffer, format="PNG")
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        for name in ("x/../../out.png", "/out.png"):
            archive.writestr(name, buffer.getvalue())
    tool(tmp_path / "evil.zip", tmp_path / "deep" / "a")
    assert len(list((tmp_path / "deep" / "a").rglob("*.png"))) == len(list(tmp_path.rglob("*.png"))) > 0


@pytest.mark.parametrize("command", [[str(ROOT / "scripts" / "dataset_tool.py")], ["-m", "scripts.dataset_tool"]])
def test_as_a_process_from_any_folder(tmp_path, classes, command):
    def run(*arguments):
        return subprocess.run(
            [sys.executable, *command, *map(str, arguments)],
            cwd=ROOT if command[0] == "-m" else tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )

    good = run("--source", classes, "--dest", tmp_path / "a.zip")
    assert good.returncode == 0 and good.stdout.splitlines()[-1].endswith("6 images written, 6x4 RGB, no labels; 0 skipped")
    bad = run("--source", tmp_path / "absent", "--dest", tmp_path / "b.zip")
    assert bad.returncode == 2 and bad.stderr.startswith("error:") and len(bad.stderr.splitlines()) == 1
