"""Files that are damaged where no checksum sees it, since it was made anew: made by somebody who means harm, and not by a disk.

With them come the files of styles and directions, of descriptors and references, and tables of labels. Limits are those of
`test_fuzz`.
"""

import contextlib
import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from PIL import Image

from metrics.evaluation import reference_file
from metrics.evaluation.metric_name import parse_metric
from networks.generator import PARTS
from networks.style_transfer.descriptor_file import load_descriptor, save_descriptor
from networks.style_transfer.mask import Mask
from networks.style_transfer.style_files import read_picture
from tests.commands.test_fuzz import Reader, damaged_bytes, damaged_image, damaged_json, fuzz, hostile, nodes, zipped
from tests.style_fixtures import random_network
from torch_utils import array_file
from torch_utils.archive import open_images
from torch_utils.directions_file import Directions, load_directions, save_directions
from torch_utils.tensor_file import load_saved
from torch_utils.ws_file import load_parts, load_ws, save_ws
from training.dataset import ImageDataset
from training.gan.config import TrainingConfig
from training.gan.state import TrainingState
from training.run.saved_state import checksum

SHAPES = st.lists(st.sampled_from([0, 1, 2, 3, 18, 2**20]), max_size=3).filter(lambda shape: math.prod(shape) <= 2**20)


# Tensors that nobody wanted


@st.composite
def strange_tensor(draw) -> torch.Tensor:
    kind = draw(st.sampled_from(["values", "values", "expanded", "sparse", "meta"]))
    if kind == "expanded":
        return torch.zeros(1).expand(draw(st.sampled_from([2**20, 2**33, 2**40])))
    if kind == "sparse":
        return torch.sparse_coo_tensor(torch.zeros(1, 0, dtype=torch.long), torch.zeros(0), (2**40,))
    if kind == "meta":
        return torch.zeros(2**33, device="meta")
    dtype = draw(st.sampled_from([torch.float32, torch.float64, torch.int64, torch.bool, torch.complex64, torch.float16]))
    return torch.full(
        draw(SHAPES), draw(st.sampled_from([0, 1, math.nan, math.inf, -1e30])) if dtype.is_floating_point else 1
    ).to(dtype)


def laughs() -> list:
    """A small file that would be read as 2^40 values."""
    value: list = [0]
    for _ in range(40):
        value = [value, value]
    return value


@st.composite
def resealed_state(draw, whole: dict) -> dict[str, bytes]:
    """A state with other values in it, whose checksum is right."""
    values = copy_of(whole)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from([path for path in nodes(values) if path]))
        parent = values
        for key in path[:-1]:
            parent = parent[key]
        kind = draw(st.sampled_from(["tensor", "value", "value", "remove", "change", "laughs"]))
        if kind == "remove":
            del parent[path[-1]]
        elif kind == "laughs":
            parent[path[-1]] = laughs()
            break  # and no checksum: nothing here would come to its end either
        elif kind == "change" and isinstance(parent[path[-1]], torch.Tensor) and is_small(parent[path[-1]]):
            parent[path[-1]] = parent[path[-1]] * draw(st.sampled_from([math.nan, 1e30, -1]))
        else:
            parent[path[-1]] = draw(strange_tensor() if kind == "tensor" else hostile)
    if kind != "laughs" and all(map(is_small, tensors(values))):
        values["checksum"] = checksum({name: value for name, value in values.items() if name != "checksum"})
    buffer = io.BytesIO()
    torch.save(values, buffer)
    return {"training-state.pt": buffer.getvalue()}


def is_small(tensor: torch.Tensor) -> bool:
    """Whether its values can be computed with."""
    return tensor.numel() <= 2**20 and tensor.layout == torch.strided


def copy_of(value):
    if isinstance(value, dict):
        return {key: copy_of(item) for key, item in value.items()}
    return [copy_of(item) for item in value] if isinstance(value, list) else value


def tensors(values):
    todo = [values]
    while todo:
        value = todo.pop()
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, dict):
            todo += value.values()
        elif isinstance(value, list):
            todo += value


def check_state(state: TrainingState) -> None:
    """What no run has."""
    assert all(t.isfinite().all() for name in state.NETWORKS for t in getattr(state, name).state_dict().values())
    assert 0 <= state.strength.p <= 1 and math.isfinite(state.path_mean)
    assert min(state.nimg, state.step, state.seconds, state.snapshot_nimg + 1) >= 0
    assert all(
        math.isfinite(total) and count > 0 for total, count in zip(state.means.sums.values(), state.means.counts.values())
    )
    assert state.means.sums.keys() == state.means.counts.keys() and all(isinstance(name, str) for name in state.means.sums)
    for optimiser in (state.opt_G, state.opt_D):
        for values in optimiser.state.values():
            assert all(value.isfinite().all() for value in values.values())


# Arrays


@st.composite
def damaged_arrays(draw, arrays: dict[str, np.ndarray]) -> dict[str, bytes]:
    """An .npz with its bytes, its arrays, or the headers of its arrays changed."""
    arrays, kind = dict(arrays), draw(st.sampled_from(["bytes", "array", "array", "header"]))
    if kind == "array":
        name = draw(st.sampled_from(sorted(arrays)))
        dtype = draw(st.sampled_from(["f4", "f8", "f2", "i8", "u1", "c8", "b1", "U5", "S3", "M8[s]", "V8"]))
        shape = draw(st.sampled_from([arrays[name].shape, *map(tuple, draw(st.lists(SHAPES, min_size=1, max_size=2)))]))
        if math.prod(shape) > 2**16:
            shape = (3,)
        arrays[name] = np.zeros(shape, dtype)
        if dtype[0] == "f":
            arrays[name] = arrays[name] + draw(st.sampled_from([0, 1, np.nan, np.inf]))
        elif dtype == "U5" and arrays[name].size:
            arrays[name].flat[0] = draw(st.text(max_size=5))
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    if kind != "header":
        return {"a.npz": draw(damaged_bytes(buffer.getvalue())) if kind == "bytes" else buffer.getvalue()}
    buffer.seek(0)
    with np.load(buffer) as file:
        entries = {f"{name}.npy": file.zip.read(f"{name}.npy") for name in file.files}
    name = draw(st.sampled_from(sorted(entries)))
    length = int.from_bytes(entries[name][8:10], "little")
    header = draw(
        st.sampled_from(
            ["(2**40,)", "(1099511627776,)", "(-1,)", "(0, 1099511627776)", "(" * 200, "('a',)", "(1, 10000000000)"]
        )
    )
    kind = draw(st.sampled_from(["<f4", "|O", "<U999999", "<f8", "|V0", "x"]))
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {header}, }}"
    entries[name] = (
        entries[name][:8] + length.to_bytes(2, "little") + text.encode().ljust(length)[:length] + entries[name][10 + length :]
    )
    return {"a.npz": zipped(entries)}


def read_styles(folder: Path) -> None:
    ws = load_ws(folder / "a.npz", 5, 18)
    parts = load_parts(folder / "a.npz", PARTS, ws.shape)
    for values in (ws, *parts.values()):
        assert values.shape[1:] == (5, 18) and values.isfinite().all() and values.dtype == torch.float32


def read_directions(folder: Path) -> None:
    found = load_directions(folder / "a.npz", 5, 18, PARTS)
    assert len(found.names) == len(found.directions) == len(found.scale) and found.directions.isfinite().all()


# References and tables


@st.composite
def resealed_reference(draw, arrays: dict[str, np.ndarray], header: dict, write: Callable[..., bytes]) -> dict[str, bytes]:
    if draw(st.integers(0, 3)):
        text = draw(damaged_json(header))
        try:
            return {"r.safetensors": write(arrays, json.loads(text))}
        except (ValueError, TypeError, RecursionError):
            return {"r.safetensors": text.encode()}
    changed = dict(arrays)
    name = draw(st.sampled_from(sorted(changed)))
    changed[name] = (
        np.full(draw(SHAPES), draw(st.sampled_from([0, 1, -1, np.nan])), draw(st.sampled_from(["f4", "f8", "i4"])))
        if draw(st.booleans())
        else changed[name] * 0 - 1
    )
    return {"r.safetensors": write(changed, header)}


def read_reference(folder: Path) -> None:
    file = reference_file.load(folder / "r.safetensors")
    metric = parse_metric("fd1k-vgg16")
    detector = SimpleNamespace(name="vgg16", hash="ab", resizing="none", dim=4)
    for reference in file.references_for([metric], detector).values():
        assert np.isfinite(reference.sample.statistics.mean).all() and reference.sample.statistics.count > 1
    height, width, channels = file.shape
    assert 0 < height * width < 2**32 and 1 <= channels <= 4 and 0 <= file.seed < 2**32 and file.real_count > 0
    assert file.labels is None or all(0 <= label < 2**16 for label in file.labels)


def read_labels(folder: Path) -> None:
    data = ImageDataset(folder / "data", use_labels=True)
    assert data.c_dim > 0 and all(0 <= data[i][1] < data.c_dim for i in range(len(data)))


def read_pictures(folder: Path) -> None:
    archive = open_images(folder / "0.png")
    for name in archive.names:
        picture = read_picture(archive, name, 8)
        assert picture.dtype == torch.uint8 and picture.shape[0] == 3 and min(picture.shape[1:]) == 8
    Mask(read_picture(archive, archive.names[0]), 2)


def read_weights(folder: Path) -> None:
    try:
        load_saved(folder / "training-state.pt")
    except Exception as error:  # as its callers do
        assert not isinstance(error, MemoryError)


NAMES = ("state", "weights", "styles", "directions", "descriptor", "reference", "tables", "pictures")
EACH = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(scope="module")
def readers(tmp_path_factory) -> dict[str, Reader]:
    folder = tmp_path_factory.mktemp("whole")
    config = TrainingConfig(data="x", z_dim=4, style_depth=1, channel_base=64, channel_max=8, aug="ada", run="abc")
    state = TrainingState(config, 16, 3, 0)
    for network, optimiser in ((state.G, state.opt_G), (state.D, state.opt_D)):
        for parameter in network.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimiser.step()
    state.means.add(loss_D=0.5)
    state.save(folder)
    whole = torch.load(folder / "training-state.pt", weights_only=True)

    def read_state(folder: Path) -> None:
        fresh = TrainingState(config, 16, 3, 0)
        with contextlib.redirect_stderr(io.StringIO()):
            fresh.load(folder)
        check_state(fresh)

    torch.manual_seed(0)
    save_ws(folder / "w.npz", torch.randn(2, 5, 18), {"spatial": torch.randn(2, 5, 18)})
    save_directions(folder / "d.npz", Directions(["a", "b"], torch.eye(18)[:2], [0, 2], torch.ones(2), ["spatial"]))
    with np.load(folder / "w.npz") as w, np.load(folder / "d.npz") as d:
        styles, directions = dict(w), dict(d)

    network = random_network("adain")
    save_descriptor(folder / "style", torch.zeros(1, *network.descriptor_shape), network)

    arrays = {"vgg16.5.count": np.array([5]), "vgg16.5.mean": np.zeros(4), "vgg16.5.scatter": np.eye(4)}
    entry = dict(kind="fd", detector="vgg16", used=5, floor=0.5, floor_counts=[2, 2], between_reals=None)
    header = dict(format=reference_file.FORMAT, metrics={"fd1k-vgg16": entry}, real_count=5, content="x", seed=0, mirror=False)
    header |= dict(detectors={"vgg16": dict(hash="ab", resizing="none")}, shape=[8, 8, 3])
    labelled = arrays | {"labels": np.array([0, 1, 0, 1, 1], np.int32)}

    def write(arrays: dict, header: dict) -> bytes:
        array_file.write(folder / "reference", arrays, **header)
        return (folder / "reference").read_bytes()

    buffer = io.BytesIO()
    Image.fromarray(np.random.RandomState(0).randint(0, 256, (16, 12, 4), dtype=np.uint8)).save(buffer, "PNG")
    png = buffer.getvalue()
    rows = [{"file_name": f"{i}.png", "label": name} for i, name in enumerate("aba")]
    csv = "".join(
        f"{row['file_name']},{row['label']}\n" for row in [{"file_name": "file_name", "label": "label"}, *rows]
    ).encode()
    lines = damaged_json(rows).map(
        lambda text: "\n".join(map(json.dumps, json.loads(text))).encode() if "[[[" not in text else text.encode()
    )
    images = {f"data/{i}.png": png for i in range(3)}
    tables = st.one_of(damaged_bytes(csv).map(lambda data: ("csv", data)), lines.map(lambda data: ("jsonl", data)))
    return {
        "state": Reader(resealed_state(whole), read_state),
        "weights": Reader(resealed_state(whole), read_weights),
        "styles": Reader(damaged_arrays(styles), read_styles),
        "directions": Reader(damaged_arrays(directions), read_directions),
        "descriptor": Reader(
            damaged_bytes((folder / "style").read_bytes()).map(lambda data: {"s.safetensors": data}),
            lambda folder: load_descriptor(folder / "s.safetensors", network),
        ),
        "reference": Reader(resealed_reference(labelled, header, write), read_reference),
        "tables": Reader(tables.map(lambda table: images | {f"data/metadata.{table[0]}": table[1]}), read_labels),
        "pictures": Reader(damaged_image(png).map(lambda data: {"0.png": data}), read_pictures),
    }


@pytest.mark.filterwarnings("ignore")
@EACH
def test_resealed_files(readers, tmp_path, name):
    assert set(NAMES) == set(readers)
    assert fuzz(readers[name], tmp_path, 30, known=True) >= 15


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@EACH
def test_a_thousand_resealed_files(readers, tmp_path, name):
    assert fuzz(readers[name], tmp_path, 1000, known=False) >= 500
