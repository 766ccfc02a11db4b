"""Labels as Hugging Face's imagefolder has them: folders that are classes, metadata.csv and metadata.jsonl."""

import io
import json
import shutil
import unicodedata
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, features

import train
from scripts import dataset_tool
from tests.training.run.test_start import call
from torch_utils.archive import Archive
from torch_utils.files import InputError
from torch_utils.image_labels import labels_of_folders, labels_of_tables
from training.dataset import ImageDataset


@pytest.fixture
def make(tmp_path):
    """make("train/cat/0.png", …) -> folder with these images."""

    def folder(*names):
        for i, name in enumerate(names):
            path = tmp_path / "data" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((8, 8, 3), i, np.uint8)).save(path)
        return tmp_path / "data"

    return folder


FOLDERS = ("train/cat/a.png", "train/cat/b.jpg", "train/dog/c.webp", "train/dog/d.png")


@pytest.mark.parametrize("part", ["", "train"])
def test_folders_are_classes(make, part):
    data = ImageDataset(make(*FOLDERS) / part, use_labels=True)
    assert data.labels == [0, 0, 1, 1] and data.label_names == ["cat", "dog"] and data.c_dim == 2


def test_splits_are_no_classes(make):
    folder = make(*FOLDERS, "test/cat/e.png")
    assert len(ImageDataset(folder)) == 5
    with pytest.raises(InputError, match="found the splits test, train, wanted one of them, such as .*test"):
        ImageDataset(folder, use_labels=True)
    assert ImageDataset(folder / "train", use_labels=True).c_dim == 2


@pytest.mark.parametrize("splits", [("Train", "Test"), ("training", "testing"), ("TRAIN", "eval"), ("train", "Evaluation")])
def test_splits_are_no_classes_in_any_writing(splits):
    names = sorted(f"{split}/cat/{i}.png" for i, split in enumerate(splits))
    with pytest.raises(InputError, match=f"found the splits {', '.join(sorted(splits))}"):
        labels_of_folders(names, Path("data"))


def test_folders_may_be_set_off_as_windows_does_it(make, tmp_path):
    folder = make(*FOLDERS)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in FOLDERS:
            archive.writestr(name, (folder / name).read_bytes())
    data = (tmp_path / "a.zip").read_bytes()  # as Python would write no such name
    for name in FOLDERS:
        data = data.replace(name.encode(), name.replace("/", "\\").encode())
    (tmp_path / "a.zip").write_bytes(data)
    data = ImageDataset(tmp_path / "a.zip", use_labels=True)
    assert data.labels == [0, 0, 1, 1] and data.label_names == ["cat", "dog"]
    call(dataset_tool.main, "--source", tmp_path / "a.zip", "--dest", tmp_path / "b.zip", "--labels-from-folders", 1)
    assert ImageDataset(tmp_path / "b.zip", use_labels=True).label_names == ["cat", "dog"]


@pytest.mark.parametrize("table", ["metadata.csv", "dataset.json"])
@pytest.mark.parametrize("form, other", [("NFC", "NFD"), ("NFD", "NFC")])
def test_names_are_the_same_however_their_accents_are_composed(make, tmp_path, table, form, other):
    packed, listed = (unicodedata.normalize(kind, "é.png") for kind in (form, other))
    assert packed != listed
    image = make("a.png") / "a.png"
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("a.png", packed):
            archive.writestr(name, image.read_bytes())
        rows = [("a.png", 0), (listed, 1)]
        text = "file_name,label\n" + "".join(f"{name},{label}\n" for name, label in rows)
        archive.writestr(table, text if table == "metadata.csv" else json.dumps({"labels": rows}))
    data = ImageDataset(tmp_path / "a.zip", use_labels=True)
    assert dict(zip(data._names, data.labels)) == {"a.png": 0, packed: 1}


def test_zips_have_folders_too(make, tmp_path):
    data = ImageDataset(shutil.make_archive(str(tmp_path / "data"), "zip", make(*FOLDERS)), use_labels=True)
    assert data.labels == [0, 0, 1, 1] and data.label_names == ["cat", "dog"]


CSV = 'file_name,text,label\na.png,hello,dog\nb.png,"a, b",cat\nsub/c.png,x,dog\n'
JSONL = [dict(file_name="a.png", label="dog"), dict(file_name="b.png", label="cat"), dict(file_name="sub/c.png", label="dog")]


@pytest.mark.parametrize("place", ["", "train/"])
@pytest.mark.parametrize(
    "table, text", [("metadata.csv", "\ufeff" + CSV), ("metadata.jsonl", "\n".join(map(json.dumps, JSONL)) + "\n\n")]
)
def test_tables_have_labels(make, place, table, text):
    folder = make(*(place + name for name in ("a.png", "b.png", "sub/c.png")))
    (folder / place / table).write_text(text, encoding="utf-8")
    data = ImageDataset(folder, use_labels=True)
    assert data.labels == [1, 0, 1] and data.label_names == ["cat", "dog"]
    assert ImageDataset(folder).label_names is None  # nobody asked


@pytest.mark.parametrize("table", ["file_name,label\na.png,3\nb.png,0\n", 'file_name,category\na.png,"3"\nb.png,00\n'])
def test_numbers_are_classes(make, table):
    folder = make("a.png", "b.png")
    (folder / "metadata.csv").write_text(table)
    data = ImageDataset(folder, use_labels=True)
    assert data.labels == [3, 0] and data.c_dim == 4 and data.label_names is None


@pytest.mark.parametrize(
    "table, message",
    [
        ("file_name,label\na.png,1\n", "metadata.csv: found no label for b.png"),
        ("file_name,label\na.png,1\na.png,2\n", "two labels for a.png"),
        ("name,label\na.png,1\n", "no file_name beside a label"),
        ("file_name,label\na.png,1\nb.png,99999\n", "found label 99999, wanted a whole number below 65536"),
        ("file_name,label\na.png,\nb.png,2\n", "a.png: found label ''"),
        ("file_name,label\na.png\nb.png,2\n", "a.png: found label 'None'"),
        ('file_name,label\n"a.png,1\n', "cannot be read: "),
        (
            "file_name,text\na.png,1\n",
            "found no labels, wanted .* a metadata.csv .*, or a folder for each class",
        ),
        ("", "found no labels"),
        ("x" * (2 << 20), "found 2097152 bytes, wanted"),
    ],
)
def test_wrong_tables_are_one_line_to_who_wants_labels(make, table, message):
    folder = make("a.png", "b.png")
    (folder / "metadata.csv").write_text(table)
    assert len(ImageDataset(folder)) == 2
    with pytest.raises(InputError, match=message):
        ImageDataset(folder, use_labels=True)


@pytest.mark.parametrize(
    "line, message",
    [
        ("[1]", "a row that is a list"),
        ("{", "line 1: cannot be read as JSON"),
        ('{"file_name": 3, "label": 1}', "no file_name"),
        ('{"file_name": "a.png", "label": true}', "a.png: found label 'True'"),
        ('{"file_name": "a.png", "label": -1}', "found label -1"),
        ('{"file_name": "a.png", "label": [1]}', r"found label '\[1\]'"),
    ],
)
def test_wrong_lines(make, line, message):
    folder = make("a.png")
    (folder / "metadata.jsonl").write_text(line)
    with pytest.raises(InputError, match=message):
        ImageDataset(folder, use_labels=True)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(["metadata.csv", "metadata.jsonl"]))
def test_damaged_tables_are_labels_or_one_error(data, table):
    for text in (data, b"file_name,label\na.png," + data, b'{"file_name": "a.png", "label": ' + data):
        try:
            found = labels_of_tables(["a.png"], {table: text}, Path("data"))
        except InputError as error:
            assert len(str(error).splitlines()) == 1
        else:
            assert found is None or 0 <= found[0]["a.png"] < 1 << 16


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=6), st.lists(st.sampled_from("xy"), max_size=2))
def test_folders_above_the_classes_change_nothing(classes, above):
    where = Path("data")
    names = [f"{name}/{i}.png" for i, name in enumerate(classes)]
    labels, known = labels_of_folders(names, where)
    assert [known[labels[name]] for name in names] == classes
    deeper, also = labels_of_folders(["/".join([*above, name]) for name in names], where)
    assert list(deeper.values()) == list(labels.values()) and also == known


def test_a_run_is_conditioned_by_folders(make, tmp_path):
    words = ["--data", make(*FOLDERS), "--cfg", "tiny", "--cond", 1, "-n", "--metrics", "none"]
    said = call(train.main, "--outdir", tmp_path, *words)
    assert "4 images, 8×8, 3 channels, 2 classes" in said


def test_the_tool_takes_tables_and_splits(make, tmp_path):
    folder = make("train/a.png", "train/b.png")
    (folder / "train" / "metadata.csv").write_text("file_name,label\na.png,dog\nb.png,cat\n")
    call(dataset_tool.main, "--source", folder, "--dest", tmp_path / "a.zip")
    data = ImageDataset(tmp_path / "a.zip", use_labels=True)
    assert data.labels == [1, 0] and data.label_names == ["cat", "dog"]


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_avif_is_read_upright_and_damage_is_named(tmp_path):
    pixels = np.zeros((16, 8, 3), np.uint8)
    pixels[:8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned to the right
    (tmp_path / "data").mkdir()
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "AVIF", quality=100, exif=exif)
    (tmp_path / "data" / "a.avif").write_bytes(buffer.getvalue())
    archive = Archive(tmp_path / "data")
    assert archive.shape("a.avif") == (3, 8, 16)
    turned = np.asarray(archive.image("a.avif")).astype(int)
    assert turned.shape == (8, 16, 3) and turned[:, 9:].min() > 240 and turned[:, :7].max() < 15
    call(dataset_tool.main, "--source", tmp_path / "data", "--dest", tmp_path / "a.zip")
    assert len(ImageDataset(tmp_path / "a.zip")) == 1
    for damaged in (buffer.getvalue()[:-40], buffer.getvalue()[:60], b"", bytes(200)):
        (tmp_path / "data" / "a.avif").write_bytes(damaged)
        with pytest.raises(InputError, match="a.avif: found (no image|a damaged image)"):
            Archive(tmp_path / "data").image("a.avif")
