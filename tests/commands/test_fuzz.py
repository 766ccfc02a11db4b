"""Damaged and hostile files: whatever stands in them, reading ends soon, in little memory, with a result or an `InputError`.

Whole files are damaged in all the ways that a disk or a person could think of: bytes changed, lost, repeated and put in,
numbers in headers and values in JSON replaced by the worst there are, checksums put right again so that the damage gets deeper.
"""

import contextlib
import gzip
import hashlib
import io
import json
import struct
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from metrics.statistics import FeatureStatistics
from networks.generator import Generator
from scripts import dataset_tool
from torch_utils import array_file
from torch_utils.checkpoint import load_generator, read_snapshot, save_snapshot
from torch_utils.files import InputError, read_json
from torch_utils.idx import IdxImages, looks_like_idx
from torch_utils.stats import read_jsonl
from training.dataset import ImageDataset
from training.gan.config import TrainingConfig
from training.gan.state import TrainingState
from training.run.html_report import write_html_report

SECONDS, MEGABYTES = 1, 1000  # of one damaged input: processor time, and memory above what was in use before
NUMBERS = [
    0,
    1,
    -1,
    2,
    3.5,
    255,
    65536,
    10**6,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**53,
    2**63,
    10**30,
    1e308,
    float("nan"),
    float("inf"),
]
SMALL = dict(img_resolution=16, channel_base=64, channel_max=8, z_dim=4, style_depth=1, mapping_layers=1)
OPTIONS = dict(data="x", z_dim=4, style_depth=1, channel_base=64, channel_max=8)


# Damage


hostile = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(NUMBERS),
    st.text(max_size=6),
    st.sampled_from(["../../x", "/x", "a\0b", "\x1b[2J", "\ud800", "x" * 5000, "1" * 5000]),
    st.recursive(
        st.sampled_from(NUMBERS), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
    ),
)


@st.composite
def damaged_bytes(draw, data: bytes) -> bytes:
    """Up to four changes, most of them small: one byte too few hides where a hundred are seen at once."""
    for _ in range(draw(st.integers(1, 4))):
        at, length = draw(st.integers(0, len(data))), draw(st.sampled_from([1, 2, 4, 8, 100]))
        kind = draw(st.sampled_from(["change", "number", "cut", "lose", "insert", "repeat"]))
        if kind == "change":
            new = bytes(byte ^ draw(st.integers(1, 255)) for byte in data[at : at + 1])
            data = data[:at] + new + data[at + 1 :]
        elif kind == "number":
            number = draw(st.sampled_from([0, 1, 2**15, 2**16 - 1, 2**31 - 1, 2**32 - 1, 2**62, 2**64 - 1]))
            order, size = draw(st.sampled_from(["little", "big"])), draw(st.sampled_from([1, 2, 4, 8]))
            data = data[:at] + (number % 2 ** (8 * size)).to_bytes(size, order) + data[at + size :]
        elif kind == "cut":
            data = data[:at]
        elif kind == "lose":
            data = data[:at] + data[at + length :]
        elif kind == "insert":
            data = data[:at] + draw(st.binary(min_size=1, max_size=8)) + data[at:]
        else:
            data = data[:at] + data[at : at + length] * 2 + data[at + length :]
    return data


def nodes(value, path=()):
    yield path
    if isinstance(value, (dict, list)):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from nodes(value[key], (*path, key))


@st.composite
def damaged_json(draw, value) -> str:
    """One to three values replaced, removed, renamed or wrapped up."""
    value = json.loads(json.dumps(value))
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(list(nodes(value))))
        if not path:
            continue
        parent = value
        for key in path[:-1]:
            parent = parent[key]
        kind = draw(st.sampled_from(["replace", "replace", "remove", "add", "wrap", "scale"]))
        if kind == "remove":
            del parent[path[-1]]
        elif kind == "add" and isinstance(parent, dict):
            parent[draw(st.text(max_size=4))] = draw(hostile)
        elif kind == "add":
            parent.insert(path[-1], draw(hostile))
        elif kind == "wrap":
            parent[path[-1]] = [parent[path[-1]]]
        elif kind == "scale" and type(parent[path[-1]]) in (int, float):
            parent[path[-1]] *= draw(st.sampled_from([-1, 2, 0.5, 10, 1000, 10**9]))
        else:
            parent[path[-1]] = draw(hostile)
    text = json.dumps(value)
    return text.replace(": ", f": {'[' * 3000}", 1) if draw(st.integers(0, 30)) == 0 else text


@st.composite
def damaged_image(draw, data: bytes) -> bytes:
    """Of a PNG the checksums are put right again, or else no change would get past them."""
    data = draw(damaged_bytes(data))
    return with_png_checksums(data) if draw(st.booleans()) else data


def with_png_checksums(data: bytes) -> bytes:
    at, result = 8, bytearray(data)
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        if end + 4 > len(data):
            break
        result[end : end + 4] = zlib.crc32(data[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(result)


@st.composite
def damaged_zip(draw, entries: dict[str, bytes]) -> dict[str, bytes]:
    """The zip as a whole, an entry in a zip that is whole, the names and kinds of entries, or numbers in the directory."""
    kind, entries = (
        draw(st.sampled_from(["bytes", "entry", "entry", "labels", "name", "directory", "directory"])),
        dict(entries),
    )
    packing = draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]))
    if kind == "entry":
        name = draw(st.sampled_from([name for name in entries if name != "dataset.json"]))
        entries[name] = draw(
            st.one_of(damaged_image(entries[name]), st.sampled_from([b"", b"PK\x05\x06" + bytes(18), b"x.png"]))
        )
    elif kind == "labels":
        entries["dataset.json"] = draw(damaged_json(json.loads(entries["dataset.json"]))).encode()
    elif kind == "name":
        name = draw(st.sampled_from(sorted(entries)))
        new = draw(
            st.sampled_from(["../a.png", "/a.png", "C:\\a.png", "a.png/", "a\nb.png", "\x1b[2J.png", "x" * 60000 + ".png"])
        )
        entries[new] = entries.pop(name)
    data = zipped(entries, packing if kind != "directory" else zipfile.ZIP_DEFLATED)
    if kind == "directory":
        signature, fields = draw(
            st.sampled_from(
                [(b"PK\x01\x02", range(4, 46, 2)), (b"PK\x03\x04", range(4, 30, 2)), (b"PK\x05\x06", range(4, 22, 2))]
            )
        )
        places = [at for at in range(len(data)) if data.startswith(signature, at)]
        for _ in range(draw(st.integers(1, 3))):
            at, size = draw(st.sampled_from(places)) + draw(st.sampled_from(fields)), draw(st.sampled_from([2, 4]))
            number = draw(st.sampled_from([0, 1, 8, 9, 12, 14, 100, 2**15, 2**16 - 1, 2**31, 2**32 - 1]))
            data = data[:at] + (number % 2 ** (8 * size)).to_bytes(size, "little") + data[at + size :]
    return {"data.zip": draw(damaged_bytes(data)) if kind == "bytes" else data}


def zipped(entries: dict[str, bytes], packing: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", packing) as archive:
        for name, data in entries.items():
            archive.writestr(zipfile.ZipInfo(name), data, packing)  # whose date is always the same
    return buffer.getvalue()


@st.composite
def damaged_folder(draw, entries: dict[str, bytes]) -> dict[str, bytes]:
    name = draw(st.sampled_from(sorted(entries)))
    if name == "dataset.json":
        new = draw(st.one_of(damaged_json(json.loads(entries[name])).map(str.encode), damaged_bytes(entries[name])))
    else:
        new = draw(damaged_image(entries[name]))
    return {f"data/{other}": data for other, data in (entries | {name: new}).items()}


@st.composite
def damaged_snapshot(draw, data: bytes, tables: list[str]) -> dict[str, bytes]:
    """Of a safetensors file: its bytes, its header, or the JSON in the header."""
    kind = draw(st.sampled_from(["bytes", "header", *tables * 2]))
    if kind == "bytes":
        return {"network.safetensors": draw(damaged_bytes(data))}
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    if kind == "header":
        text = draw(damaged_json(header))
    else:
        header["__metadata__"][kind] = draw(damaged_json(json.loads(header["__metadata__"][kind])))
        text = json.dumps(header)
    text = text.encode()
    size = len(text) if draw(st.integers(0, 9)) else draw(st.sampled_from([0, 1, 2**31, 2**40, 2**63, 2**64 - 1]))
    return {"network.safetensors": struct.pack("<Q", size) + text + data[8 + struct.unpack("<Q", data[:8])[0] :]}


@st.composite
def damaged_idx(draw, pixels: bytes, labels: bytes) -> dict[str, bytes]:
    pixels, labels = draw(st.sampled_from([(draw(damaged_bytes(pixels)), labels), (pixels, draw(damaged_bytes(labels)))]))
    if draw(st.booleans()):
        pixels = gzip.compress(pixels, 1)
        pixels = draw(damaged_bytes(pixels)) if draw(st.booleans()) else pixels
    return {"x-images-idx3-ubyte": pixels, "x-labels-idx1-ubyte": labels}


# Readers


class Reader(NamedTuple):
    damaged: st.SearchStrategy[dict[str, bytes]]  # files by name
    read: Callable[[Path], None]  # everything that there is, in the folder with these files


def read_network(folder: Path) -> None:
    G = load_generator(folder / "network.safetensors")
    read_snapshot(folder / "network.safetensors", tensors=False)
    G(torch.zeros(1, G.z_dim), torch.zeros(1, G.c_dim) if G.c_dim else None)  # what loads can also draw


def read_data(path: Path, skip_bad: bool = False) -> None:
    data = ImageDataset(path, mirror=True, use_labels=True, skip_bad=skip_bad)
    data.check()
    data.content_hash()
    for i in range(0 if skip_bad else len(data) - 1, len(data)):
        data[i]


def make_data(folder: Path) -> None:
    source, dest = next(path for path in folder.iterdir() if "labels" not in path.name), folder / "new"
    arguments = ["--source", source, "--dest", dest, "--resolution", "8x8"]
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            dataset_tool.main.main([str(argument) for argument in arguments], standalone_mode=False)
    except InputError:
        assert not dest.exists()
        raise
    ImageDataset(dest).check()
    for path in sorted(dest.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    dest.rmdir()


def read_idx(folder: Path) -> None:
    looks_like_idx(folder / "x-images-idx3-ubyte")
    images = IdxImages(folder / "x-images-idx3-ubyte")
    images.labels()
    images.image(images.names[-1])


@pytest.fixture(scope="module")
def readers(tmp_path_factory) -> dict[str, Reader]:
    folder = tmp_path_factory.mktemp("whole")
    random = np.random.RandomState(0)
    torch.manual_seed(0)

    def packed(format: str, channels: int = 3, **options) -> bytes:
        buffer = io.BytesIO()
        pixels = random.randint(0, 256, (8, 8, channels), dtype=np.uint8)
        Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(buffer, format=format, **options)
        return buffer.getvalue()

    exif, text = Image.Exif(), PngImagePlugin.PngInfo()
    exif[0x0112] = 6
    text.add_text("comment", "x" * 40, zip=True)
    labels = {"a/0.png": 0, "a/1.jpg": 1, "b/2.webp": 2, "b/3.bmp": 1}
    entries = {
        "a/0.png": packed("PNG", pnginfo=text),
        "a/1.jpg": packed("JPEG", exif=exif),
        "b/2.webp": packed("WEBP", lossless=True),
        "b/3.bmp": packed("BMP"),
        "dataset.json": json.dumps(
            {"labels": [list(item) for item in labels.items()], "label_names": ["x", "y", "z"]}
        ).encode(),
    }

    G = Generator(**SMALL, c_dim=2).eval()
    save_snapshot(folder / "network", "generator", G, nimg=3000, label_names=["x", "y"])

    pixels = b"\0\0\x08\x03" + struct.pack(">3I", 5, 8, 8) + random.bytes(5 * 64)
    classes = b"\0\0\x08\x01" + struct.pack(">I", 5) + bytes(5)

    arrays = dict(count=np.array([5]), mean=np.zeros(4), scatter=np.eye(4))
    array_file.save(folder / "kept", arrays, metric="fd1k", floor=1.5, floor_counts=[3, 2])

    config = TrainingConfig(**OPTIONS, metrics=("fd1k_full-efficientnet_lite0",))
    state = TrainingState(config, 16, 3, 0)
    state.save(folder)

    records = [{"nimg": 1000 * i, "loss_D": 0.5, "value": 3.25, "floor": 1.0, "seconds": 0.1 * i} for i in range(4)]
    log = "".join(json.dumps(record) + "\n" for record in records).encode()

    (folder / "images").mkdir()
    (folder / "images" / "0.png").write_bytes(entries["a/0.png"])
    (folder / "images" / "1.png").write_bytes(b"")
    images = ImageDataset(folder / "images", skip_bad=True)
    images.check()

    def read_statistics(path: Path) -> None:
        with contextlib.redirect_stderr(io.StringIO()):
            if kept := array_file.load(path, lambda arrays, header: arrays):  # what is damaged is measured anew
                FeatureStatistics.from_state_dict(kept)

    def read_state(folder: Path) -> None:
        with contextlib.redirect_stderr(io.StringIO()):
            state.load(folder)

    def options(draw_from: dict) -> st.SearchStrategy[bytes]:
        return st.one_of(damaged_json(draw_from).map(str.encode), damaged_bytes(json.dumps(draw_from).encode()))

    run = {"training_options.json": json.dumps(config.to_json()).encode(), "stats.jsonl": log, "metric-fd.jsonl": log}
    run |= {"reals.png": entries["a/0.png"], "fakes000001.png": entries["a/0.png"], "log.txt": b"warning: x\n"}
    damaged_run = st.sampled_from(sorted(run)).flatmap(
        lambda name: st.one_of(damaged_bytes(run[name]), options(config.to_json())).map(lambda data: run | {name: data})
    )
    return {
        "network": Reader(damaged_snapshot((folder / "network").read_bytes(), ["config", "info"]), read_network),
        "zip": Reader(damaged_zip(entries), lambda folder: read_data(folder / "data.zip")),
        "zip, skipping": Reader(damaged_zip(entries), lambda folder: read_data(folder / "data.zip", skip_bad=True)),
        "folder": Reader(damaged_folder(entries), lambda folder: read_data(folder / "data")),
        "dataset_tool, zip": Reader(damaged_zip(entries), make_data),
        "dataset_tool, idx": Reader(damaged_idx(pixels, classes), make_data),
        "idx": Reader(damaged_idx(pixels, classes), read_idx),
        "options": Reader(
            options(config.to_json()).map(lambda data: {"options.json": data}),
            lambda folder: TrainingConfig.from_json(read_json(folder / "options.json")),
        ),
        "findings": Reader(
            options(images.findings()).map(lambda data: {"data.json": data}),
            lambda path: ImageDataset(folder / "images", skip_bad=True).trust(read_json(path / "data.json")),
        ),
        "state": Reader(
            damaged_bytes((folder / "training-state.pt").read_bytes()).map(lambda data: {"training-state.pt": data}), read_state
        ),
        "statistics": Reader(
            damaged_snapshot((folder / "kept").read_bytes(), ["reference"]),
            lambda folder: read_statistics(folder / "network.safetensors"),
        ),
        "log": Reader(
            damaged_bytes(log).map(lambda data: {"stats.jsonl": data}), lambda folder: read_jsonl(folder / "stats.jsonl")
        ),
        "page": Reader(damaged_run, lambda folder: [write_html_report(folder), (folder / "report.html").unlink()]),
    }


NAMES = (
    "network",
    "zip",
    "zip, skipping",
    "folder",
    "dataset_tool, zip",
    "dataset_tool, idx",
    "idx",
    "options",
    "findings",
    "state",
    "statistics",
    "log",
    "page",
)


EACH = pytest.mark.parametrize("name", NAMES)


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in folder.rglob("*")
    }


def peak_megabytes(restart: bool = False) -> float:
    """The most memory that this process has had; 0 where the system does not say."""
    try:
        if restart:
            Path("/proc/self/clear_refs").write_text("5")
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1000


def fuzz(reader: Reader, root: Path, examples: int, known: bool) -> int:
    """Read about `examples` damaged inputs; returns how many it was."""
    count = 0

    @settings(
        max_examples=examples,
        derandomize=known,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],  # a damaged file is not made simpler: that would take minutes
        print_blob=True,
    )
    @given(reader.damaged)
    def once(files: dict[str, bytes]) -> None:
        nonlocal count
        count += 1
        folder = root / str(count)
        for name, data in ({"bystander.txt": b"not theirs"} | files).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        bystander = folder / "bystander.txt"
        bystander.rename(root / "bystander.txt")
        before, start, began = contents(root), peak_megabytes(restart=True), time.process_time()
        try:
            reader.read(folder)
        except InputError as error:
            assert str(error).isprintable() and len(str(error)) < 3000
        seconds, megabytes = time.process_time() - began, peak_megabytes() - start
        assert contents(root) == before
        assert seconds < SECONDS and megabytes < MEGABYTES, f"{seconds:.2f} s, {megabytes:.0f} MB"
        for path in sorted(folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        folder.rmdir()

    once()
    return count


@pytest.mark.filterwarnings("ignore")
@EACH
def test_damaged_files(readers, tmp_path, name):
    assert set(NAMES) == set(readers)
    assert fuzz(readers[name], tmp_path, 30, known=True) >= 20


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@EACH
def test_a_thousand_damaged_files(readers, tmp_path, name):
    assert fuzz(readers[name], tmp_path, 1000, known=False) >= 950
