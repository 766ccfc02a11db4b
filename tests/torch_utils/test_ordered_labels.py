"""Labels that are read in the order of names: those that JSON has, or none; and in little memory."""

import json
import os
import subprocess
import sys
import zipfile
from array import array

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import ROOT
from tests.zip_fixtures import large_zip, png
from torch_utils import archive, ordered_labels
from torch_utils.archive import Archive
from torch_utils.files import InputError, parse_json
from torch_utils.ordered_labels import read_in_order

on_a_busy_core = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
NAMES = st.lists(st.text('ab[],"\\ {}:1é/', max_size=6), max_size=8)


@pytest.fixture(autouse=True, scope="module")
def small_chunks():
    """Cuts wherever one can be, wrong places included."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ordered_labels, "CHUNK", 1)
        yield


def read(data: bytes, names: list[str]):
    """(classes, what else there is), or None."""
    classes = array("i")
    rest = read_in_order(data, iter(names), classes)
    return rest if rest is None else (list(classes), rest)


@on_a_busy_core
@given(NAMES, st.lists(st.integers(0, 70000), min_size=8), st.booleans(), st.sampled_from([None, 1]), st.lists(st.text("[],a")))
def test_the_same_as_json(names, labels, escaped, indent, label_names):
    table = {"labels": list(zip(names, labels)), "label_names": label_names}
    data = json.dumps(table, ensure_ascii=escaped, indent=indent).encode()
    found = read(data, names)
    assert found in (None, (labels[: len(names)], {"labels": [], "label_names": label_names}))
    if names and not any("]" in name for name in names):
        assert found
        assert read(data, names[1:]) is None, "in another order"


ENTRIES = ['["a", 1]', '["b",0]', '["a", true]', '["a", -1]', '["a", 1.0]', '["a"]', '["a", 1, 2]', '["a", [1]]', '"ab"', "{}"]
PIECES = st.sampled_from(
    [*ENTRIES, '["a", 99999999999]', ",", ", ", ",\v", "]", "]]", "[", "", " ", '"', "\0", "\ufeff", "}", "1"]
)


@on_a_busy_core
@given(st.lists(PIECES, max_size=8), st.sampled_from(["]}", ' ], "label_names": ["x"]}', '], "labels": []}', "", "]} x", "]"]))
def test_what_is_read_is_what_json_says(pieces, ending):
    """Of any text: never anything that `json` would refuse, or read in another way."""
    data = ('{"labels": [' + "".join(pieces) + ending).encode()
    found = read(data, ["a", "b", "a"])
    if found:
        table = parse_json(data, "data")
        assert [label for _, label in table["labels"]] == found[0]
        assert [name for name, _ in table["labels"]] == ["a", "b", "a"][: len(found[0])]
        assert all(type(label) is int and label >= 0 for label in found[0])
        assert table | {"labels": []} == found[1]


def test_some_are_read():
    assert read(b'{"labels": [["a", 1], ["b",0]\n]}', ["a", "b", "c"]) == ([1, 0], {"labels": []})
    assert read(b'{"label_names": ["x"], "labels": [["a", 1]]}', ["a"]) is None, "only where labels come first"


@pytest.mark.parametrize("table", [[["b.png", 1], ["a.png", 0]], [["a.png", 0], ["b.png", 1]], {"b.png": 1, "a.png": 0}])
def test_any_order_has_the_same_labels(image_folder, table):
    folder = image_folder(2)
    for old, new in zip(sorted(folder.iterdir()), "ab"):
        old.rename(folder / f"{new}.png")
    (folder / "dataset.json").write_text(json.dumps({"labels": table}))
    assert Archive(folder).labels() == {"a.png": 0, "b.png": 1}
    (folder / "dataset.json").write_text(json.dumps({"labels": table, "label_names": ["one"]}))
    with pytest.raises(InputError, match="b.png: found label 1, wanted a whole number below 1"):
        Archive(folder).labels()


@pytest.mark.parametrize("shards", [False, True])
def test_labels_in_order_are_not_parsed_as_a_whole(tmp_path, monkeypatch, shards):
    for i in range(3 if shards else 1):
        path = large_zip(tmp_path / f"{i}.zip", 2000, 7, first=2000 * i)
    monkeypatch.setattr(archive, "parse_json", None)
    labels = Archive(tmp_path if shards else path).labels()
    assert list(labels.values()) == [i % 7 for i in range(len(labels))] and len(labels) == (6000 if shards else 2000)


OPEN = """
import sys, time
from torch_utils.archive import Archive
peak = lambda: int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) / 1024
before, began = peak(), time.process_time()
labels = Archive(sys.argv[1]).labels()
assert list(labels.values()) == [i % 1000 for i in range(int(sys.argv[2]))]
print(time.process_time() - began, peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the memory")
def test_a_million_labels(tmp_path):
    """Seconds of the processor, so that others that are at work change little; and memory beyond the interpreter's."""
    command = [sys.executable, "-c", OPEN, str(large_zip(tmp_path / "a.zip", 1_000_000, 1000)), "1000000"]
    environment = os.environ | {"ADACONV_CACHE": str(tmp_path / "cache")}
    for _ in range(2):
        result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        seconds, megabytes = map(float, result.stdout.split())
        assert seconds < 20 and megabytes < 300, (seconds, megabytes)


def test_names_with_backslashes_in_any_order(tmp_path):
    """As some programs for Windows pack them; a table that has slashes there means the same images."""
    names = ["cls\\0.png", "cls\\1.png"]
    for labels in ([[names[0], 0], [names[1], 1]], [[names[1], 1], [names[0], 0]]):
        path = tmp_path / "backslashes.zip"
        with zipfile.ZipFile(path, "w") as file:
            for name in names:
                file.writestr(name, png(8, 8))
            file.writestr("dataset.json", json.dumps(dict(labels=labels)))
        found = Archive(path).labels()
        assert [found[name] for name in names] == [0, 1]
