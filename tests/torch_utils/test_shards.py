"""Several zip files in a folder are one set: the same pictures in the same order as one zip file of all."""

import errno
import itertools
import json
import os
import pickle
import shutil
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from scripts import dataset_tool
from tests.conftest import EMOJI
from tests.zip_fixtures import png
from torch_utils import shards as shards_module
from torch_utils import zip_index
from torch_utils.archive import Archive
from torch_utils.file_source import Zip
from torch_utils.files import InputError
from training import data_order
from training.dataset import ImageDataset, batches


def tool(*arguments) -> None:
    dataset_tool.main.main([str(argument) for argument in arguments], standalone_mode=False)


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> tuple[Path, Path]:
    """50 pictures with labels in one zip file, and the same in shards of 16."""
    folder = tmp_path_factory.mktemp("sets")
    for name, options in (("zip/few.zip", ()), ("shards/few", ("--max-images-per-shard", 16))):
        tool("--source", EMOJI, "--dest", folder / name, "--max-images", 50, *options)
    return folder / "zip" / "few.zip", folder / "shards" / "few"


@pytest.fixture
def shards(both, tmp_path) -> Path:
    """A copy that may be damaged."""
    return Path(shutil.copytree(both[1], tmp_path / "few"))


def test_shards_hold_their_part(both):
    assert sorted(path.name for path in both[1].iterdir()) == [f"shard-0000{i}.zip" for i in range(4)] + ["shards.json"]
    whole = json.loads(zipfile.ZipFile(both[0]).read("dataset.json"))
    labels = []
    for i, count in enumerate((16, 16, 16, 2)):
        with zipfile.ZipFile(both[1] / f"shard-0000{i}.zip") as shard:
            part = json.loads(shard.read("dataset.json"))
            assert shard.namelist() == [name for name, _ in part["labels"]] + ["dataset.json"] and len(part["labels"]) == count
            assert part["label_names"] == whole["label_names"]
            labels += part["labels"]
    assert labels == whole["labels"]


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("changes", [dict(use_labels=True), dict(mirror=True), dict(subset=20, seed=3, use_labels=True)])
def test_shards_and_zip_show_the_same(both, changes, kept, monkeypatch, tmp_path):
    if kept:
        monkeypatch.setenv("ADACONV_CACHE", str(tmp_path))
        monkeypatch.setattr(zip_index, "KEPT_FROM", 1)
    one, several = (ImageDataset(path, **changes) for path in both)
    assert (one.name, one.labels, one.c_dim, one.label_names) == (
        several.name,
        several.labels,
        several.c_dim,
        several.label_names,
    )
    assert one._names == several._names
    several.check()
    for data in (several, pickle.loads(pickle.dumps(several))):
        streams = [batches(data, 7, seed=5, start=14) for data in (one, data)]
        for (images, labels), (other_images, other_labels) in itertools.islice(zip(*streams), 20):
            assert torch.equal(images, other_images) and torch.equal(labels, other_labels)


def test_workers_read_shards(both):
    expected = list(itertools.islice(batches(ImageDataset(both[0]), 5, seed=1), 6))
    stream = batches(ImageDataset(both[1]), 5, seed=1, workers=1)
    for (images, _), (found, _) in zip(expected, stream):
        assert torch.equal(images, found)
    stream.close()


def test_a_shard_that_is_missing_or_damaged_is_named_or_left_out(shards):
    second = shards / "shard-00001.zip"
    data = second.read_bytes()
    whole = ImageDataset(shards, use_labels=True)
    whole_hash = whole.content_hash()
    for damage, message in [
        (None, "this shard is missing"),
        (data[:-40], "zip"),
        (b"", "not a zip file"),
        ((shards / "shard-00003.zip").read_bytes(), "found 2 images in this shard, wanted 16"),
    ]:
        second.unlink()
        if damage is not None:
            second.write_bytes(damage)
        with pytest.raises(InputError, match=f"shard-00001.zip: .*{message}") as caught:
            ImageDataset(shards)
        assert "\n" not in str(caught.value)
        data = ImageDataset(shards, use_labels=True, skip_bad=True)
        data.check()
        assert list(data.skipped) == ["shard-00001.zip"] and "it had 16 images" in data.skipped["shard-00001.zip"]
        assert len(data) == 34 and data.labels == whole.labels[:16] + whole.labels[32:]
        again = ImageDataset(shards, use_labels=True, skip_bad=True)
        assert again.trust(data.findings()) and len(again) == 34 and again.skipped == data.skipped
        assert again.content_hash() == data.content_hash() != whole_hash
        second.write_bytes(b"")
    for path in shards.glob("*.zip"):
        path.unlink()
    with pytest.raises(InputError, match="none of 4 shards can be read; the first: .*shard-00000.zip"):
        ImageDataset(shards, skip_bad=True)


def test_an_image_of_a_shard_that_is_damaged_is_left_out_alone(shards):
    path = shards / "shard-00002.zip"
    data = bytearray(path.read_bytes())
    data[data.index(b"IEND") + 1] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match="few/shard-00002.zip: 00000/img00000032.png: found a damaged image"):
        ImageDataset(shards).check()
    found = ImageDataset(shards, skip_bad=True)
    found.check()
    assert len(found) == 49 and list(found.skipped) == ["00000/img00000032.png"]


@pytest.fixture
def many(tmp_path) -> Path:
    """80 shards of one picture each."""
    for i in range(80):
        with zipfile.ZipFile(tmp_path / f"{i:02d}.zip", "w") as archive:
            archive.writestr(f"{i:02d}.png", png(seed=i))
    return tmp_path


def open_zips() -> int:
    return sum(".zip" in os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs the list of open files")
def test_only_so_many_shards_stay_open(many, monkeypatch):
    monkeypatch.setattr(shards_module, "MAX_OPEN", 8)
    for archive in (Archive(many), pickle.loads(pickle.dumps(Archive(many)))):
        before = open_zips()
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(archive.read, list(archive.names) * 2))
        assert found == [png(seed=i) for i in range(80)] * 2
        assert open_zips() - before <= 8
        del archive


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit of open files")
def test_too_many_open_files_are_no_bad_images(many):
    import resource

    data, limits = ImageDataset(many, skip_bad=True), resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (4, limits[1]))
    try:
        for read in (data.check, lambda: data.training_batch([5]), lambda: Zip(many / "00.zip")):
            with pytest.raises(OSError, match="Too many open files") as caught:
                read()
            assert not isinstance(caught.value, InputError)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    data.check()
    assert len(data) == 80 and not data.skipped


def test_too_many_open_files_in_a_worker_are_one_line(many, monkeypatch):
    def fail(self, *arguments):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), "00.zip")

    monkeypatch.setattr(Archive, "image", fail)
    error = data_order._Batches(ImageDataset(many, skip_bad=True))[[0, 1]]  # as a worker reads, and hands it on
    assert isinstance(error, InputError) and "00.zip: Too many open files" in str(error)


def test_zip_files_of_others_are_shards_too(tmp_path):
    """Without a shards.json, and with names that do not go from one file to the next."""
    for name, images in (("b.zip", "abd"), ("a.ZIP", "ce")):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for image in images:
                archive.writestr(f"{image}.png", png(seed=ord(image)))
    archive = Archive(tmp_path)
    assert list(archive.names) == [f"{image}.png" for image in "abcde"]
    assert all(archive.read(f"{image}.png") == png(seed=ord(image)) for image in "abcde")
    assert archive.labels() is None and not archive.not_read()
    with zipfile.ZipFile(tmp_path / "b.zip", "a") as archive:
        archive.writestr("c.png", png())
        archive.writestr("d.gif", b"other")
    with pytest.raises(InputError, match="found c.png in a.ZIP and in b.zip; wanted every name once"):
        Archive(tmp_path)
    (tmp_path / "own.png").write_bytes(png())  # then it is a folder of images, as before
    assert list(Archive(tmp_path).names) == ["own.png"]


def test_tables_of_shards_are_read(tmp_path):
    for name, rows in (("a.zip", "a.png,dog"), ("b.zip", "b.png,cat")):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr(f"in/{rows[:5]}", png())
            archive.writestr("in/metadata.csv", f"file_name,label\n{rows}\n")
    data = ImageDataset(tmp_path, use_labels=True)
    assert data.labels == [1, 0] and data.label_names == ["cat", "dog"]


@pytest.mark.parametrize("table", ["metadata.csv", "metadata.jsonl", "dataset.json"])
def test_tables_beside_shards_are_named_to_who_wants_labels(tmp_path, table):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("0/a.png", png())
    (tmp_path / table).write_text("file_name,label\na.png,dog\n")
    assert len(ImageDataset(tmp_path)) == 1
    with pytest.raises(InputError, match=f"{table}: found labels where none are read"):
        ImageDataset(tmp_path, use_labels=True)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("{", "JSON"),
        ("[]", "wanted"),
        ('{"shards": []}', "wanted"),
        ('{"shards": [3]}', "found 3, wanted a file of this folder"),
        ('{"shards": [{"file": "../a.zip", "images": 3}]}', "wanted a file of this folder"),
        ('{"shards": [{"file": "/etc/passwd", "images": 3}]}', "wanted a file of this folder"),
        ('{"shards": [{"file": "shard-00000.zip", "images": true}]}', "found True images"),
        ('{"shards": [{"file": "shard-00000.zip", "images": -1}]}', "found -1 images"),
        ('{"shards": [{"file": "..", "images": 1}]}', "shard is missing"),
    ],
)
def test_a_table_of_shards_from_outside(shards, table, message):
    (shards / "shards.json").write_text(table)
    with pytest.raises(InputError, match=message):
        ImageDataset(shards)


def test_labels_of_shards_must_fit_together(shards):
    with zipfile.ZipFile(shards / "shard-00000.zip") as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    metadata = json.loads(entries["dataset.json"])
    for change, message in [
        (metadata | {"label_names": ["x"] * 9}, "shard-00001.zip/dataset.json: found other label_names"),
        (metadata | {"labels": metadata["labels"][1:]}, "found no label for 00000/img00000000.png"),
        (metadata | {"labels": metadata["labels"] + [["00000/img00000020.png", 0]]}, "found two labels for"),
    ]:
        with zipfile.ZipFile(shards / "shard-00000.zip", "w") as archive:
            for name, data in (entries | {"dataset.json": json.dumps(change).encode()}).items():
                archive.writestr(name, data)
        with pytest.raises(InputError, match=message):
            ImageDataset(shards, use_labels=True)


def test_the_tool_writes_shards_into_a_new_folder_only(tmp_path, both):
    with pytest.raises(InputError, match="writes a folder of zip files, and --dest .*a.zip is one file"):
        tool("--source", EMOJI, "--dest", tmp_path / "a.zip", "--max-images-per-shard", 10)
    with pytest.raises(InputError, match="exists already"):
        tool("--source", EMOJI, "--dest", both[1], "--max-images-per-shard", 10)
    tool("--source", both[1], "--dest", tmp_path / "b.zip")  # and reads them
    assert (tmp_path / "b.zip").read_bytes() == both[0].read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"b.zip"}


@pytest.mark.slow
def test_a_run_on_shards_is_that_on_the_zip_file(both, tmp_path, run_command):
    networks = []
    for i, data in enumerate(both):
        small = [
            "--cfg",
            "tiny",
            "--kimg",
            0.064,
            "--batch",
            16,
            "--tick",
            0.032,
            "--metrics",
            "none",
            "--cond",
            1,
            "--workers",
            i,
        ]
        done = run_command("train.py", "--data", data, "--outdir", tmp_path / str(i), *small)
        assert done.returncode == 0, done.stderr
        (snapshot,) = (tmp_path / str(i)).glob("*/network-snapshot-000000.safetensors")
        networks.append(snapshot.read_bytes())
    assert networks[0] == networks[1]
