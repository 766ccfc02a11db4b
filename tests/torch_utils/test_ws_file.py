"""Styles in a file."""

import numpy as np
import pytest
import torch

from torch_utils import ws_file
from torch_utils.files import InputError
from torch_utils.ws_file import load_parts, load_ws, save_ws, ws_bytes


def test_what_is_written_is_read(tmp_path):
    ws = torch.randn(3, 5, 18)
    save_ws(tmp_path / "w.npz", ws)
    assert torch.equal(load_ws(tmp_path / "w.npz", 5, 18), ws)
    np.savez(tmp_path / "one.npz", w=ws[:, :1].double().numpy())  # of another program: one style for all layers
    assert torch.equal(load_ws(tmp_path / "one.npz", 5, 18), ws[:, :1].expand(-1, 5, -1))


def test_styles_of_parts_are_beside_them(tmp_path):
    ws, bias = torch.randn(3, 5, 18), torch.randn(3, 5, 18)
    save_ws(tmp_path / "w.npz", ws, {"bias": bias})
    assert (tmp_path / "w.npz").read_bytes() == ws_bytes(ws, {"bias": bias}) != ws_bytes(ws)
    found = load_parts(tmp_path / "w.npz", ("spatial", "bias"), ws.shape)
    assert list(found) == ["bias"] and torch.equal(found["bias"], bias)
    assert torch.equal(load_ws(tmp_path / "w.npz", 5, 18), ws) and not load_parts(tmp_path / "w.npz", ("spatial",), ws.shape)


@pytest.mark.parametrize(
    "other, message",
    [
        (np.zeros((1, 5, 18)), r"found bias float64 \[1, 5, 18\], wanted float \[3, 5, 18\] as `w` has"),
        (np.zeros((3, 5, 18), int), "found bias int64"),
        (np.full((3, 5, 18), np.inf), "is not finite"),
    ],
)
def test_what_are_no_styles_of_parts(tmp_path, other, message):
    np.savez(tmp_path / "w.npz", w=np.zeros((3, 5, 18)), bias=other)
    with pytest.raises(InputError, match=message):
        load_parts(tmp_path / "w.npz", ("bias",), (3, 5, 18))


@pytest.mark.parametrize(
    "arrays, message",
    [
        (dict(z=np.zeros((1, 5, 18))), "found no `w`"),
        (dict(w=np.zeros((1, 4, 18))), r"found float64 \[1, 4, 18\], wanted float \[N, 5, 18\]"),
        (dict(w=np.zeros((5, 18))), "wanted float"),
        (dict(w=np.zeros((0, 5, 18))), "wanted float"),
        (dict(w=np.zeros((1, 5, 18), int)), "found int64"),
        (dict(w=np.full((1, 5, 18), np.nan)), "is not finite"),
        (dict(w=np.array([{"a": 1}])), "cannot be read as styles"),  # a pickle, which is not loaded
    ],
)
def test_what_are_no_styles_of_this_network(tmp_path, arrays, message):
    np.savez(tmp_path / "w.npz", **arrays)
    with pytest.raises(InputError, match=message):
        load_ws(tmp_path / "w.npz", 5, 18)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no zip", b"\x93NUMPY"])
def test_damaged_files(tmp_path, content):
    (tmp_path / "w.npz").write_bytes(content)
    with pytest.raises(InputError, match="w.npz: cannot be read as styles"):
        load_ws(tmp_path / "w.npz", 5, 18)
    with pytest.raises(InputError, match="no such file"):
        load_ws(tmp_path / "none.npz", 5, 18)


def test_what_is_too_large_once_it_is_unpacked(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "w.npz", w=np.zeros((100, 5, 18)))
    monkeypatch.setattr(ws_file, "MAX_BYTES", 2**15)
    assert (tmp_path / "w.npz").stat().st_size < 2**15
    with pytest.raises(InputError, match="w.npz: found more than 0 MB of styles"):
        load_ws(tmp_path / "w.npz", 5, 18)


def test_no_error_recommends_pickles(tmp_path):
    (tmp_path / "w.npz").write_text("# a document")
    with pytest.raises(InputError, match="not a zip file"):
        load_ws(tmp_path / "w.npz", 5, 18)
