"""Directions in a file."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torch_utils import directions_file
from torch_utils.directions_file import Directions, checked_names, load_directions, save_directions, steps_along
from torch_utils.files import InputError

PARTS = ("spatial", "pointwise", "bias")


def directions(parts=()) -> Directions:
    return Directions(["bright", "b"], torch.eye(18)[[3, 4]], [0, 2], torch.tensor([1.0, 0.5]), list(parts))


@pytest.mark.parametrize("parts", [(), ("spatial", "bias")])
def test_what_is_written_is_read(tmp_path, parts):
    save_directions(tmp_path / "d.npz", directions(parts))
    found = load_directions(tmp_path / "d.npz", 5, 18, PARTS)
    assert torch.equal(found.directions, torch.eye(18)[[3, 4]]) and found.scale.tolist() == [1, 0.5]
    assert (found.names, found.layers, found.parts) == (["bright", "b"], [0, 2], list(parts))
    with np.load(tmp_path / "d.npz", allow_pickle=False) as file:
        assert file["directions"].dtype == np.float32 and file["names"].tolist() == ["bright", "b"]


@pytest.mark.parametrize(
    "changed, message",
    [
        (dict(scale=None), "found no `scale`"),
        (dict(directions=np.eye(17)[:2]), r"2 names, directions \[2, 17\], 2 scales, wanted \[K, 18\]"),
        (dict(directions=np.eye(18)[:3]), r"2 names, directions \[3, 18\]"),
        (dict(directions=np.eye(18)[:2] * 2), "not of unit length"),
        (dict(directions=np.full((2, 18), np.nan)), "not finite"),
        (dict(directions=np.eye(18, dtype=int)[:2]), "found `directions` int64"),
        (dict(scale=np.array([1.0, 0])), "scales not above 0"),
        (dict(layers=np.array([0, 5])), r"found layers \[0, 5\], wanted numbers from 0 to 4"),
        (dict(layers=np.array([1, 1])), "found layers"),
        (dict(layers=np.array([], int)), "found layers"),
        (dict(names=np.array(["a", "a"])), "two directions would be called 'a'"),
        (dict(names=np.array(["a", "b:c"])), "cannot name a direction"),
        (dict(names=np.array(["a", "b\x1b[2J"])), "cannot name a direction"),
        (dict(parts=np.array(["texture"])), "moves texture alone, and this network has spatial, pointwise, bias"),
        (dict(names=np.array([{}, {}])), "cannot be read as directions"),  # pickles, which are not loaded
    ],
)
def test_what_are_no_directions_of_this_network(tmp_path, changed, message):
    save_directions(tmp_path / "d.npz", directions())
    with np.load(tmp_path / "d.npz") as file:
        arrays = {name: array for name, array in (dict(file) | changed).items() if array is not None}
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(InputError, match=message):
        load_directions(tmp_path / "d.npz", 5, 18, PARTS)


def test_parts_of_a_network_that_has_none(tmp_path):
    save_directions(tmp_path / "d.npz", directions(["bias"]))
    with pytest.raises(InputError, match="moves bias alone, and this network has no such parts"):
        load_directions(tmp_path / "d.npz", 5, 18, ())


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_damaged_files_are_one_line(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("damaged") / "d.npz"
    arrays = directions()
    np.savez_compressed(
        path, names=arrays.names, directions=arrays.directions, layers=arrays.layers, scale=arrays.scale, parts=[""]
    )
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    with pytest.raises(InputError, match="d.npz: "):
        load_directions(path, 5, 18, ())


def test_what_is_too_large_once_it_is_unpacked(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "d.npz", directions=np.zeros((10**4, 18)))
    monkeypatch.setattr(directions_file, "MAX_BYTES", 2**15)
    with pytest.raises(InputError, match="d.npz: found more than 0 MB of directions"):
        load_directions(tmp_path / "d.npz", 5, 18, PARTS)


def test_names_are_changed_by_number_or_name():
    found = directions().renamed({"0": "light", "b": "warm"})
    assert found.names == ["light", "warm"] and found.find("warm") == 1 and found.find("0") == 0
    assert directions().renamed({"1": "0"}).find("0") == 1  # a name goes before a number
    for names in ({"2": "x"}, {"c": "x"}, {"0": "b"}, {"0": ""}, {"0": "a=b"}, {"0": "x" * 41}, {"0": " x"}):
        with pytest.raises(InputError):
            directions().renamed(names)
    assert checked_names(["größer", "a b"]) == ["größer", "a b"]


def test_steps_on_a_command_line(tmp_path):
    path = tmp_path / "C:odd=name.npz"
    save_directions(path, directions())
    steps = steps_along([f"{path}:bright=2.5", f"{path}:1=-1e-1"], 5, 18, PARTS)
    assert [(index, step) for _, index, step in steps] == [(0, 2.5), (1, -0.1)] and steps[0][0] is steps[1][0]
    for text in (
        f"{path}",
        f"{path}:bright",
        f"{path}:bright=",
        f"{path}:bright=x",
        f"{path}:bright=nan",
        ":b=1",
        f"{path}:=1",
    ):
        with pytest.raises(InputError, match="does not read as a step along a direction"):
            steps_along([text], 5, 18, PARTS)
    with pytest.raises(InputError, match="name.npz: found no direction 'dark', wanted bright, b, or a number"):
        steps_along([f"{path}:dark=1"], 5, 18, PARTS)
    with pytest.raises(InputError, match="no such file with directions"):
        steps_along([f"{tmp_path / 'no.npz'}:dark=1"], 5, 18, PARTS)
