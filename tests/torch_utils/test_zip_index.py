"""The index of a large zip file: kept, shared, and never believed beyond what it can say."""

import multiprocessing
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.zip_fixtures import large_zip
from torch_utils import zip_index
from torch_utils.archive import Archive
from torch_utils.files import InputError
from torch_utils.name_list import NameList
from training.dataset import ImageDataset, batches


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, in which small zip files have a place, too."""
    monkeypatch.setenv("ADACONV_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(zip_index, "KEPT_FROM", 1)
    return tmp_path / "cache" / "zip-indices"


def only(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def test_a_kept_index_is_that_of_the_file(tmp_path, cache, monkeypatch):
    path = large_zip(tmp_path / "a.zip", 50)
    own, kept = Archive(path), only(cache)
    monkeypatch.setattr(zip_index, "read_directory", None)  # is not asked again
    again = Archive(path)
    assert list(again.names) == list(own.names) == [f"00000/img{i:08d}.png" for i in range(50)]
    assert all(again.read(name) == own.read(name) for name in own.names)
    path.rename(tmp_path / "b.zip")
    assert len(Archive(tmp_path / "b.zip").names) == 50 and only(cache) == kept


def test_another_file_has_another_index(tmp_path, cache):
    path = large_zip(tmp_path / "a.zip", 50)
    times = os.stat(path)
    Archive(path)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"img00000007", b"img0000007x"))  # the same size and, as below, the same time
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert "00000/img0000007x.png" in Archive(path).names and len(list(cache.iterdir())) == 2


@pytest.mark.parametrize("what", ["cut", "bit", "empty", "text", "pickle", "names", "folder", "another"])
def test_a_damaged_index_is_made_anew(tmp_path, cache, what, capsys):
    path = large_zip(tmp_path / "a.zip", 50)
    expected = list(Archive(path).names)
    kept = only(cache)
    data = bytearray(kept.read_bytes())
    if what == "folder":
        kept.unlink()
        kept.mkdir()
    elif what == "pickle":
        np.save(kept, np.array([{}], dtype=object), allow_pickle=True)
    elif what == "names":  # by someone who can make the sum, too
        array = np.load(kept)
        array[zip_index.HEAD + 16 : zip_index.HEAD + 24] = 255
        array[zip_index.HEAD - zip_index.KEY : zip_index.HEAD] = np.frombuffer(
            zip_index._sum(array[: zip_index.HEAD - zip_index.KEY].tobytes(), array[zip_index.HEAD :]), np.uint8
        )
        np.save(kept, array)
    elif what == "another":
        other = large_zip(tmp_path / "b.zip", 60)
        Archive(other)
        (second,) = set(cache.iterdir()) - {kept}
        second.replace(kept)
    else:
        data[-1] ^= 1
        kept.write_bytes({"cut": data[:-100], "bit": data, "empty": b"", "text": b"no index"}[what])
    capsys.readouterr()
    assert list(Archive(path).names) == expected
    assert "making it anew" in capsys.readouterr().err
    if what != "folder":  # which is left alone
        assert list(Archive(path).names) == expected and not capsys.readouterr().err


def test_without_a_place_to_keep_it_the_file_is_read(tmp_path, cache, monkeypatch, capsys):
    monkeypatch.setenv("ADACONV_CACHE", os.devnull)
    assert len(Archive(large_zip(tmp_path / "a.zip", 50)).names) == 50
    assert "could not be kept" in capsys.readouterr().err


def test_processes_share_a_kept_index(tmp_path, cache):
    path = large_zip(tmp_path / "a.zip", 2000)
    data = ImageDataset(path, subset=1500)
    pickled = pickle.dumps(data)
    assert len(pickled) < 15_000  # the subset's numbers alone
    copy = pickle.loads(pickled)
    assert isinstance(copy._archive.names.text.base, np.ndarray) and list(copy._names) == list(data._names)
    stream = batches(ImageDataset(path), 5, seed=0, workers=1)
    try:
        assert next(stream)[0].shape == (5, 3, 4, 6)
    finally:
        stream.close()
    assert not multiprocessing.active_children()
    only(cache).unlink()
    with pytest.raises(InputError, match="is gone; start again"):
        pickle.loads(pickle.dumps(data))


def test_names_are_a_list_of_names():
    words = ["b/ä.png", "a.png", "b/z.png", "c", "b/\udc80.png", "🙂"]
    names, expected = NameList.of(words), sorted(words)
    assert names == expected and list(names) == expected and names != expected[1:] and names[-1] == expected[-1]
    assert names[1:3] == expected[1:3] and names[::-1] == expected[::-1] and names[4:2] == []
    assert [names.row(name) for name in expected] == list(range(6)) and names.index("c") == expected.index("c")
    assert "a.png" in names and "a" not in names and 3 not in names and "" not in names
    some = names.take(np.array([0, 2, 5]))
    assert some == [expected[i] for i in (0, 2, 5)] and some.row(expected[5]) == 2 and expected[1] not in some
    assert some.take(np.array([1, 2])) == [expected[2], expected[5]]
    for wrong in (6, -7):
        with pytest.raises(IndexError):
            names[wrong]
    with pytest.raises(ValueError, match="not there"):
        names.index("d")
    assert NameList.joined([NameList.of("ab"), NameList.of(""), NameList.of("xyc").take(np.array([1, 2]))]) == list("abxy")
    assert NameList.joined([NameList.of("ab"), NameList.of("bc")]) is None and len(NameList.of("")) == 0


OPEN = """
import sys, time
from torch_utils.archive import Archive
began = time.process_time()
archive = Archive(sys.argv[1])
seconds = time.process_time() - began
assert len(archive.names) == int(sys.argv[2]) and archive.image(archive.names[-1]).size == (6, 4)
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))  # getrusage knows that of the parent
print(seconds, int(peak.split()[1]) / 1024)
"""


def opened(path: Path, count: int, cache: Path) -> tuple[float, float]:
    """Seconds of the processor, so that others that are at work change little, and megabytes of a process in all."""
    command = [sys.executable, "-c", OPEN, str(path), str(count)]
    environment = os.environ | {"ADACONV_CACHE": str(cache)}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    seconds, megabytes = map(float, result.stdout.split())
    return seconds, megabytes


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the memory")
def test_a_million_images_open_in_seconds_and_little_memory(tmp_path):
    path = large_zip(tmp_path / "a.zip", 1_000_000)
    for limit in (5, 1):
        seconds, megabytes = opened(path, 1_000_000, tmp_path / "cache")
        assert seconds < limit and megabytes < 300, (seconds, megabytes)


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the memory")
def test_a_hundred_thousand_images_open_at_once(tmp_path):
    path = large_zip(tmp_path / "a.zip", 100_000)
    for limit in (2, 0.5):
        seconds, megabytes = opened(path, 100_000, tmp_path / "cache")
        assert seconds < limit and megabytes < 150, (seconds, megabytes)
