"""Images behind a URL: the same pictures in the same order as from a disk, and what happens when the network fails."""

import errno
import importlib.util
import itertools
import json
import os
import pickle
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from scripts import dataset_tool
from scripts.card_text import without_folders
from tests.conftest import EMOJI, ROOT
from tests.web_server import serve
from torch_utils import attempts, remote, zip_index
from torch_utils.archive import Archive
from torch_utils.file_source import Zip
from torch_utils.files import InputError, name_of_url
from training.dataset import ImageDataset, batches, evaluation_batches

pytest.importorskip("aiohttp", reason="needs the remote extra")


def tool(*arguments) -> None:
    dataset_tool.main.main([str(argument) for argument in arguments], standalone_mode=False)


@pytest.fixture(scope="module")
def sets(tmp_path_factory) -> Path:
    """A folder with few.zip, 50 pictures with labels, and few/, the same in shards of 16."""
    folder = tmp_path_factory.mktemp("sets")
    tool("--source", EMOJI, "--dest", folder / "few.zip", "--max-images", 50)
    tool("--source", EMOJI, "--dest", folder / "few", "--max-images", 50, "--max-images-per-shard", 16)
    return folder


@pytest.fixture
def web(sets, monkeypatch):
    monkeypatch.setattr(attempts, "PAUSES", (0, 0))
    with serve(sets) as web:
        yield web


def equal(one, other) -> None:
    for found, wanted in itertools.zip_longest(one, other):
        assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


@pytest.mark.parametrize("name", ["few.zip", "few", "few/"])
@pytest.mark.parametrize("changes", [dict(use_labels=True), dict(mirror=True, subset=20, seed=3), dict(keep=True)])
def test_the_same_pictures_as_on_a_disk(web, sets, name, changes):
    local, far = ImageDataset(sets / name, **changes), ImageDataset(f"{web.url}/{name}", **changes)
    far.check()  # reads no image: they are looked at as they come
    assert (far.name, list(far._names), far.labels, far.label_names) == (
        "few",
        list(local._names),
        local.labels,
        local.label_names,
    )
    stream = lambda data: itertools.islice(batches(data, 7, seed=5, start=14), 20)
    equal(stream(far), stream(local))
    equal(stream(pickle.loads(pickle.dumps(far))), stream(local))
    assert all(torch.equal(a, b) for a, b in zip(evaluation_batches(far, 8), evaluation_batches(local, 8), strict=True))


def test_workers_read_from_the_network(web, sets):
    stream = batches(ImageDataset(f"{web.url}/few"), 5, seed=1, workers=1)
    equal(itertools.islice(stream, 6), itertools.islice(batches(ImageDataset(sets / "few"), 5, seed=1), 6))
    stream.close()


def test_only_what_is_needed_is_sent(web, sets, monkeypatch, tmp_path):
    monkeypatch.setattr(zip_index, "KEPT_FROM", 1)
    monkeypatch.setenv("ADACONV_CACHE", str(tmp_path))
    web.folder = tmp_path / "large"
    tool("--source", EMOJI, "--dest", web.folder / "many.zip", "--max-images", 2000)  # its directory is longer than TAIL
    data, size = ImageDataset(f"{web.url}/many.zip"), (web.folder / "many.zip").stat().st_size
    opened = sum(count for _, count in web.sent)  # the directory, and the first image
    assert opened < size / 4 and len(web.sent) <= 5
    images, _ = data.batch(range(10, 42))
    assert images.shape == (32, 3, 32, 32) and len(web.sent) <= 5 + 32
    assert sum(count for _, count in web.sent) - opened < 32 * 4096
    again = pickle.loads(pickle.dumps(data))  # a worker's: it asks for nothing but its images
    before = len(web.sent)
    assert torch.equal(again.batch([10, 41])[0], images[[0, 31]]) and len(web.sent) == before + 2
    assert data.content_hash() == ImageDataset(f"{web.url}/many.zip").content_hash()


def test_a_local_header_of_unusual_length(web, tmp_path):
    """Bytes between the name and the image, of which the directory says nothing."""
    import zipfile

    web.folder = tmp_path
    info = zipfile.ZipInfo("a.png")
    info.extra = b"zz" + (2000).to_bytes(2, "little") + bytes(2000)
    picture = Archive(EMOJI).read(Archive(EMOJI).names[0])
    with zipfile.ZipFile(tmp_path / "odd.zip", "w") as file:
        file.writestr(info, picture)
    assert Archive(f"{web.url}/odd.zip").read("a.png") == picture


def test_what_fails_for_a_while_is_tried_again(web, sets):
    web.faults = {"few.zip": 2}  # the first request of all
    far = ImageDataset(f"{web.url}/few.zip")
    web.faults = {"few.zip": 2}
    assert torch.equal(far.batch([7])[0], ImageDataset(sets / "few.zip").batch([7])[0])
    web.faults = {"few.zip": 2}  # among many
    assert torch.equal(far.batch(range(9))[0], ImageDataset(sets / "few.zip").batch(range(9))[0])


def test_what_fails_for_good_ends_a_run(web):
    far = ImageDataset(f"{web.url}/few")
    web.faults = {"shard-00001.zip": np.inf}
    far.batch(range(16))  # another shard
    with pytest.raises(InputError, match=r"few/shard-00001\.zip: 00000/img00000016\.png: cannot be read .*503.*tried 3 times"):
        far.batch([16])
    with pytest.raises(InputError, match="shard-00001"):
        next(batches(far, 50, seed=0))
    web.faults = {}  # it is not asked for again so soon
    before = web.gets("shard-00001.zip")
    with pytest.raises(InputError, match="tried 3 times"):
        far.batch([17])
    assert web.gets("shard-00001.zip") == before


@pytest.mark.parametrize("status, tries", [(403, 1), (401, 1), (404, 1), (429, 3), (500, 3)])
def test_what_a_server_refuses_is_not_asked_for_again(web, status, tries):
    far, web.status = ImageDataset(f"{web.url}/few.zip"), status
    web.faults, before = {"few.zip": np.inf}, web.gets("few.zip")
    with pytest.raises(InputError):
        far.batch([5])
    assert web.gets("few.zip") - before == 1 + tries  # the first for the whole batch
    far = pickle.loads(pickle.dumps(far))
    words = "there is no such file" if status == 404 else f"cannot be read .*{status}"
    with pytest.raises(InputError, match=rf"few\.zip: 00000/img00000005\.png: {words}"):
        far.batch([5])
    with pytest.raises(InputError, match=rf"few\.zip: {words}"):  # as it is opened
        ImageDataset(f"{web.url}/few.zip")
    assert "/few.zip" in web.sent[-1][0]
    web.faults = {}


def test_an_image_that_is_packed_into_too_many_bytes(web, monkeypatch):
    far = ImageDataset(f"{web.url}/few.zip")
    monkeypatch.setattr(remote, "MAX_PACKED", 100)
    before = len(web.sent)
    with pytest.raises(InputError, match="found .* bytes packed, wanted 100 at most"):
        far.batch([5])
    assert len(web.sent) == before


def test_what_is_lost_is_looked_for_later(web, monkeypatch):
    far = ImageDataset(f"{web.url}/few")
    web.faults = {"shard-00001.zip": np.inf}
    with pytest.raises(InputError):
        far.batch([16])
    web.faults = {}
    monkeypatch.setattr(attempts, "LOST", 0)
    assert far.batch([16])[0].shape == (1, 3, 32, 32)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_lost_shard_is_replaced_and_counted(web, sets, workers, tmp_path):
    """With --skip-bad 1: each batch has as many images as ever, and those of the other shards are where they have been."""
    far, local = (ImageDataset(place, use_labels=True, skip_bad=True) for place in (f"{web.url}/few", sets / "few"))
    if workers:  # which would wait between attempts: damage is seen at once
        web.folder = Path(shutil.copytree(sets, tmp_path / "sets"))
        shard = web.folder / "few" / "shard-00001.zip"
        shard.write_bytes(shard.read_bytes().replace(b"PK\3\4", b"PK\3\0"))
    else:
        web.faults = {"shard-00001.zip": np.inf}
    stream, whole = batches(far, 10, seed=0, workers=workers), batches(local, 10, seed=0)
    missing, order = 0, batches(Rows(50), 10, seed=0)
    everything = {bytes(local[i][0].numpy().tobytes()): local[i][1] for i in range(50)}
    lost = {bytes(local[i][0].numpy().tobytes()) for i in range(16, 32)}
    for (images, labels), (wanted, _), (rows, _) in itertools.islice(zip(stream, whole, order), 5):
        assert len(images) == 10
        for image, label, expected, row in zip(images, labels, wanted, rows):
            gone = 16 <= row < 32
            missing += gone
            found = image.numpy().tobytes()
            assert found not in lost and everything[found] == label
            assert torch.equal(image, expected) != gone
    assert missing == stream.replaced == 16
    stream.close()


class Rows(torch.utils.data.Dataset):
    """Item i is (i, i)."""

    def __init__(self, count: int):
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int):
        return torch.tensor(i), torch.tensor(i)


def test_an_outage_ends_a_run_that_replaces_images(web, monkeypatch):
    """There is nothing to see in their place; and it does not take for ever to find that out."""
    one, several = (ImageDataset(f"{web.url}/{name}", skip_bad=True) for name in ("few.zip", "few"))
    web.faults = {".zip": np.inf}
    for data in (one, several):
        with pytest.raises(InputError, match="cannot be read"):
            data.training_batch([3, 4])
    monkeypatch.setattr("training.dataset.MAX_SEARCH", -1)
    web.faults = {}
    far, drawn = ImageDataset(f"{web.url}/few", skip_bad=True), []

    def lost(archive, name):
        drawn.append(name)
        raise InputError("lost")

    monkeypatch.setattr(Archive, "image", lost)
    with pytest.raises(InputError, match="lost"):
        far.training_batch([3])
    assert len(drawn) == 1


def test_an_image_of_another_size_is_no_damage(web, tmp_path):
    import zipfile

    web.folder = tmp_path
    tool("--source", EMOJI, "--dest", tmp_path / "large.zip", "--max-images", 5)
    tool("--source", EMOJI, "--dest", tmp_path / "small.zip", "--max-images", 5, "--resolution", "16x16")
    with zipfile.ZipFile(tmp_path / "mixed.zip", "w") as mixed:
        for i, name in enumerate(("large", "small")):
            mixed.writestr(f"{i}.png", Archive(tmp_path / f"{name}.zip").read("00000/img00000003.png"))
    far = ImageDataset(f"{web.url}/mixed.zip", skip_bad=True)
    with pytest.raises(InputError, match=r"mixed\.zip: 1\.png: found .*16"):
        far.training_batch([0, 1])


def test_a_damaged_image_is_left_out_where_all_are_looked_at(web, tmp_path):
    """As before a run that is scored."""
    web.folder = tmp_path
    tool("--source", EMOJI, "--dest", tmp_path / "few.zip", "--max-images", 20)
    archive = Archive(tmp_path / "few.zip")
    data = bytearray((tmp_path / "few.zip").read_bytes())
    at = data.index(archive.read("00000/img00000007.png")) + 100
    data[at] ^= 255
    (tmp_path / "few.zip").write_bytes(data)
    far, local = (ImageDataset(place, skip_bad=True) for place in (f"{web.url}/few.zip", tmp_path / "few.zip"))
    local.check()
    far.check(remote=True)
    assert list(far.skipped) == ["00000/img00000007.png"] and len(far) == 19
    assert all(torch.equal(a, b) for a, b in zip(evaluation_batches(far, 8), evaluation_batches(local, 8), strict=True))


def test_scores_do_not_replace(web):
    far = ImageDataset(f"{web.url}/few", skip_bad=True)
    web.faults = {"shard-00001.zip": np.inf}
    with pytest.raises(InputError, match="shard-00001"):
        list(evaluation_batches(far, 32))


def test_a_shard_that_is_lost_from_the_start(web):
    web.faults = {"shard-00001.zip": np.inf}
    with pytest.raises(InputError, match=r"few/shard-00001\.zip: cannot be read .*503.*tried 3 times.*; wanted a zip file"):
        ImageDataset(f"{web.url}/few")
    far = ImageDataset(f"{web.url}/few", skip_bad=True)
    assert len(far) == 34 and list(far.skipped) == ["shard-00001.zip"] and "it had 16 images" in far.skipped["shard-00001.zip"]


def test_a_server_that_falls_silent(web, monkeypatch):
    monkeypatch.setattr(remote, "SILENCE", 0.3)
    far = ImageDataset(f"{web.url}/few.zip")
    web.hangs = {"few.zip"}
    with pytest.raises(InputError, match="few.zip: .*cannot be read .*tried 3 times"):
        far.batch([3])


def test_a_server_that_sends_whole_files(web, tmp_path):
    web.parts = False
    with pytest.raises(InputError, match=r"few\.zip: .*the server sends whole files only, wanted .*parts"):
        ImageDataset(f"{web.url}/few.zip")
    web.parts = True
    web.folder = tmp_path
    tool("--source", EMOJI, "--dest", tmp_path / "few.zip", "--max-images", 200)
    web.parts = False
    with pytest.raises(InputError, match="the server sends whole files only"):  # of which one piece would do
        ImageDataset(f"{web.url}/few.zip")


@pytest.mark.parametrize(
    "path, words",
    [
        ("{web}/none.zip", r"none\.zip: there is no such file; wanted a zip file of images"),
        ("{web}/none", r"none/shards\.json: there is no such file; wanted a folder of shards"),
        ("{web}/few/shards.json.zip", "there is no such file"),
        ("{web}/text.zip", "File is not a zip file"),
        ("http://127.0.0.1:9/few.zip", "cannot be read .*tried 3 times"),
        ("http://[::1/few.zip", r"few\.zip: "),
        ("http:///", "wanted a folder of shards"),
        ("telepathy://few.zip", "Protocol not known: telepathy"),
        ("::://", "wanted a folder of shards"),
    ],
)
def test_urls_of_nothing(web, tmp_path, sets, path, words):
    (tmp_path / "text.zip").write_text("text")
    web.folder = tmp_path if "text" in path else sets
    with pytest.raises(InputError, match=words) as error:
        Archive(path.format(web=web.url))
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


def test_what_has_to_be_installed(web, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "aiohttp" else find(name, *more))
    with pytest.raises(InputError, match=r"few\.zip: needs aiohttp: pip install .*\[remote\]"):
        Archive(f"{web.url}/few.zip")
    if not find("s3fs"):
        with pytest.raises(InputError, match="s3://bucket/few.zip: Install s3fs"):
            Archive("s3://bucket/few.zip")


def test_a_zip_file_that_changes_under_a_run(web, tmp_path):
    web.folder = tmp_path
    tool("--source", EMOJI, "--dest", tmp_path / "few.zip", "--max-images", 20)
    far = ImageDataset(f"{web.url}/few.zip")
    (tmp_path / "few.zip").unlink()
    tool("--source", EMOJI, "--dest", tmp_path / "few.zip", "--resolution", "16x16", "--max-images", 20)
    with pytest.raises(InputError, match="few.zip: 00000/img000000.*: (found|cannot)"):
        far.batch(range(20))


def test_other_stores_and_caches(web, sets, tmp_path):
    """fsspec's own: in memory, and a copy on the disk."""
    import fsspec

    expected = ImageDataset(sets / "few").batch(range(50))
    memory = fsspec.filesystem("memory")
    for path in (sets / "few").iterdir():
        memory.pipe_file(f"/few/{path.name}", path.read_bytes())
    equal([ImageDataset("memory://few").batch(range(50))], [expected])
    equal([ImageDataset(f"simplecache::{web.url}/few").batch(range(50))], [expected])
    assert max(count for path, count in web.sent if path.endswith(".zip")) > 16 * 1000  # whole files
    cached = ImageDataset(f"simplecache::{web.url}/few")
    before = len(web.sent)
    equal(itertools.islice(batches(cached, 10, 0), 15), itertools.islice(batches(ImageDataset(sets / "few"), 10, 0), 15))
    assert len(web.sent) == before  # three epochs later
    equal([ImageDataset(f"file://{sets}/few.zip").batch(range(50))], [expected])


def test_the_tool_makes_a_set_of_what_lies_elsewhere(web, sets, tmp_path):
    for name, source in (("far", web.url), ("near", sets)):
        tool("--source", f"{source}/few", "--dest", tmp_path / f"{name}.zip", "--resolution", "16x16")
    assert (tmp_path / "far.zip").read_bytes() == (tmp_path / "near.zip").read_bytes()


def test_names():
    assert name_of_url("https://a.org/b/faces64.zip?key=1") == "faces64" and name_of_url("s3://bucket/set/") == "set"
    assert name_of_url("https://a.org") == "images" and name_of_url("s3://bucket/a#b.zip") == "a#b"
    words = "train.py --data 'https://user:secret@a.org/b/faces64.zip?key=secret' --cfg tiny"
    assert without_folders(words) == "train.py --data faces64 --cfg tiny"


def test_a_disk_that_fails_for_a_while(sets, monkeypatch):
    monkeypatch.setattr(attempts, "PAUSES", (0, 0))
    data, expected = ImageDataset(sets / "few"), ImageDataset(sets / "few").batch([40])
    left, reading, reopened = [], Zip.open, []

    def shaky(self, name, max_bytes):
        if left and left.pop():
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return reading(self, name, max_bytes)

    monkeypatch.setattr(Zip, "open", shaky)
    monkeypatch.setattr(Zip, "reopen", lambda self, name: reopened.append(self.path.name))
    left += ["bad"] * 2
    equal([data.batch([40])], [expected])
    assert reopened == ["shard-00002.zip"] * 2
    left += ["bad"] * 3
    with pytest.raises(InputError, match=r"shard-00002\.zip: .*Input/output error.*tried 3 times"):
        data.batch([40])
    equal([data.batch([40])], [expected])  # nothing is remembered of a disk: other images are there


@pytest.mark.slow
@pytest.mark.parametrize("name", ["few.zip", "few"])
def test_a_run_over_the_network_is_the_run_from_a_disk(web, sets, name, tmp_path):
    """To the bit, with a resume between; its options keep the URL, and so does what scores it."""
    options = "--cfg tiny --cbase 64 --d-cbase 64 --cmax 8 --batch 4 --tick 0.008 --snap 100 --metrics none --workers 0".split()

    def train(outdir: Path, data, kimg: float) -> Path:
        words = ["train.py", "--outdir", outdir, "--data", data, "--kimg", kimg, "--resume", "auto", *options]
        done = subprocess.run([sys.executable, *map(str, words)], cwd=ROOT, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stderr
        return next(outdir.iterdir())

    far = train(tmp_path / "far", f"{web.url}/{name}", 0.016)
    assert json.loads((far / "training_options.json").read_text())["data"] == f"{web.url}/{name}"
    train(tmp_path / "far", f"{web.url}/{name}", 0.024)
    near = train(tmp_path / "near", sets / name, 0.024)
    names = [sorted(path.name for path in run.glob("network-*.safetensors"))[-1] for run in (far, near)]
    assert names[0] == names[1]
    from safetensors.torch import load_file

    networks = [load_file(run / names[0]) for run in (far, near)]
    assert networks[0].keys() == networks[1].keys()
    assert all(torch.equal(networks[0][key], networks[1][key]) for key in networks[0])


def test_a_run_says_how_many_images_it_replaced(web, tmp_path):
    data = f"{web.url}/few"
    options = "--cfg tiny --cbase 64 --d-cbase 64 --cmax 8 --batch 10 --kimg 0.05 --tick 0.05 --metrics none --workers 0"
    script = "import train; from torch_utils import attempts; attempts.PAUSES = (0, 0); train.main()"
    words = [sys.executable, "-c", script, "--outdir", tmp_path, "--data", data, "--skip-bad", "1", *options.split()]
    run = subprocess.Popen([str(word) for word in words], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not list(tmp_path.glob("*/training_options.json")):  # the set is open, and no image kept in memory
        assert run.poll() is None, run.communicate()
        time.sleep(0.01)
    web.faults = {"shard-00001.zip": np.inf}
    out, err = run.communicate(timeout=200)
    assert run.returncode == 0, err
    record = json.loads((next(tmp_path.iterdir()) / "stats.jsonl").read_text().splitlines()[-1])
    assert 10 <= record["images_replaced"] <= 16
    assert f"warning: {record['images_replaced']} images could not be read, and others were seen instead" in out
