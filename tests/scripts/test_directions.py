"""Directions as a user finds, names and takes them: scripts.directions, generate.py --direction, and what they move."""

import numpy as np
import pytest
import torch
from PIL import Image

import generate
from networks.directions import find_directions, random_styles
from scripts import directions
from scripts.experiments.direction_moves import moves, randomised
from tests.scripts.test_style_mixing import make_network, pixels  # noqa: F401  a fixture
from tests.training.run.test_start import call
from torch_utils.directions_file import load_directions, save_directions
from torch_utils.files import InputError
from torch_utils.labelled_grid import CELL, GAP, LINE

PARTS = ("spatial", "pointwise", "bias")


@pytest.fixture
def find(make_network, tmp_path):  # noqa: F811
    """find("--count", 3, c_dim=…) -> the directions in out/ of a small network, and what was printed."""

    def run(*words, seeds="0,1", **options):
        path, G = make_network(**options)
        words = ["--network", path, "--outdir", tmp_path / "out", "--seeds", seeds, "--device", "cpu", *words]
        said = call(directions.main, *words)
        return load_directions(tmp_path / "out" / "directions.npz", G.num_ws, G.w_dim, PARTS), said

    return run


def test_directions_are_found_and_drawn(find, tmp_path):
    found, said = find("--count", 3, "--samples", 300, "--reach", 2)
    assert "3 directions in" in said and found.names == ["sefa-0", "sefa-1", "sefa-2"] and found.layers == [0, 1, 2, 3, 4]
    picture = pixels(tmp_path / "out" / "directions.png")
    height, left = LINE + 6 * CELL + 2 * GAP, picture.shape[1] - 7 * (CELL + GAP)
    assert picture.shape[0] == height and 40 < left < 100
    cell = lambda row, column: picture[
        LINE + row * CELL + row // 2 * GAP :, left + column * (CELL + GAP) : left + (column + 1) * (CELL + GAP) - GAP
    ][: CELL : CELL // 16, :: CELL // 16]
    network = tmp_path / "network.safetensors"
    for row, column, name, step in ((0, 0, "sefa-0", -2), (3, 6, "sefa-1", 2), (4, 3, "2", 0)):
        step = f"{tmp_path / 'out' / 'directions.npz'}:{name}={step}"
        words = ["--network", network, "--seeds", row % 2, "--outdir", tmp_path, "--direction", step, "--device", "cpu"]
        call(generate.main, *words)
        assert np.abs(cell(row, column).astype(int) - pixels(tmp_path / f"seed{row % 2:04d}.png")).max() <= 1
    assert not np.array_equal(cell(0, 0), cell(0, 6)) and not np.array_equal(cell(0, 0), cell(2, 0))


def test_other_ways_to_find_them(find):
    found, _ = find("--method", "ganspace", "--count", 2, "--samples", 300, "--layers", "coarse")
    assert found.names == ["ganspace-0", "ganspace-1"] and found.layers == [0] and found.parts == []
    found, _ = find("--part", "spatial", "--samples", 300, "--name", "7=strokes")
    assert found.parts == ["spatial"] and found.names[7] == "strokes" and len(found.names) == 8
    found, _ = find("--count", 2, "--class", 1, "--samples", 300, c_dim=2)
    other, _ = find("--count", 2, "--class", 0, "--samples", 300, c_dim=2)
    assert torch.allclose(found.directions, other.directions) and not torch.equal(found.scale, other.scale)


def test_renaming(find, tmp_path):
    file = tmp_path / "out" / "directions.npz"
    before, _ = find("--count", 2, "--samples", 300)
    found, _ = find("--directions", file, "--name", "0=brightness", "--name", "sefa-1=warm")
    assert found.names == ["brightness", "warm"] and torch.equal(found.directions, before.directions)
    assert torch.equal(found.scale, before.scale)


def test_what_cannot_be_done_leaves_nothing_behind(find, tmp_path):
    refused = [
        (["--count", 99], {}, "--count 99: styles of .* have 18 dimensions"),
        (["--part", "bias"], dict(modulation="adain"), "--part: .* predicts no kernels: its modulation is adain"),
        (["--name", "brightness"], {}, "--name brightness: wanted a number or a name, and a new name"),
        (["--name", "8=x"], {}, "found no direction '8'"),
        (["--layers", "9"], {}, "--layers 9: wanted numbers from 0 to 4"),
        (["--directions", tmp_path / "none.npz"], {}, "no such file with directions"),
        (["--directions", tmp_path / "none.npz", "--count", 3], {}, "--count: has no say in --directions"),
        ([], dict(c_dim=2), "--class is needed"),
    ]
    for words, options, message in refused:
        with pytest.raises(InputError, match=message):
            find(*words, **options)
        assert not (tmp_path / "out").exists()


@pytest.fixture
def draw(make_network, tmp_path):  # noqa: F811
    """draw("--direction", …) -> pixels of seed 3."""
    path, G = make_network()

    def run(*words):
        call(generate.main, "--network", path, "--seeds", 3, "--outdir", tmp_path, "--device", "cpu", *words)
        return pixels(tmp_path / "seed0003.png").astype(int)

    return run, G, tmp_path


def test_steps_in_generate(draw):
    run, G, folder = draw
    whole, part = (find_directions(G, "sefa", 2, [0, 1], parts, samples=200) for parts in ([], ["pointwise"]))
    save_directions(folder / "whole.npz", whole)
    save_directions(folder / "part.npz", part)
    plain, there = run(), run("--direction", f"{folder}/whole.npz:0=2")
    assert np.abs(there - plain).mean() > 1
    call(generate.main, *("--network", folder / "network.safetensors", "--seeds", 3, "--outdir", folder / "w"),
         *("--direction", f"{folder}/whole.npz:0=2", "--save-ws", folder / "w.npz", "--device", "cpu"))  # fmt: skip
    back = f"{folder}/whole.npz:0=-2"
    call(generate.main, *("--network", folder / "network.safetensors", "--projected-w", folder / "w.npz"),
         *("--outdir", folder, "--direction", back, "--device", "cpu"))  # fmt: skip
    assert np.abs(pixels(folder / "proj00.png").astype(int) - plain).max() <= 1  # there and back again
    alone = run("--direction", f"{folder}/part.npz:sefa-1=2")
    assert np.abs(alone - plain).mean() > 0.5
    both = run("--direction", f"{folder}/part.npz:sefa-1=2", "--direction", f"{folder}/whole.npz:0=2")
    assert np.abs(both - alone).mean() > 0.5 and np.abs(both - there).mean() > 0.5
    run("--show-kernels", folder / "a.png")
    run("--direction", f"{folder}/part.npz:1=2", "--show-kernels", folder / "b.png")
    assert not np.array_equal(np.asarray(Image.open(folder / "a.png")), np.asarray(Image.open(folder / "b.png")))
    with pytest.raises(InputError, match="--save-ws: a --direction moves a part of the kernels alone"):
        run("--direction", f"{folder}/part.npz:1=2", "--save-ws", folder / "v.npz")
    with pytest.raises(InputError, match="part.npz: found no direction 'warm'"):
        run("--direction", f"{folder}/part.npz:warm=2")


def test_found_directions_move_more_than_random_ones(draw):
    _, G, _ = draw
    found = find_directions(G, "sefa", 2, list(range(G.num_ws)), samples=300)
    other = randomised(found)
    assert torch.allclose(other.directions.norm(dim=1), torch.ones(2)) and torch.equal(other.scale, found.scale)
    ws = random_styles(G, 16, seed=1)[:, None].repeat(1, G.num_ws, 1)
    assert set(moves(G, found, 0, ws).values()) == {0.0}
    assert 0 < moves(G, found, 0.5, ws)["pixels"] < moves(G, found, 2, ws)["pixels"]


def test_a_part_that_is_named_twice_moves_once(find, tmp_path):
    found, _ = find("--part", "spatial", "--part", "spatial", "--samples", 300)
    assert found.parts == ["spatial"]
    file = tmp_path / "twice.npz"
    save_directions(file, found._replace(parts=["spatial", "spatial"]))
    with pytest.raises(InputError, match="spatial, spatial"):
        load_directions(file, 5, 18, PARTS)
