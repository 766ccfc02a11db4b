"""Seeds beside the real images nearest to them."""

import dataclasses
import re

import numpy as np
import pytest
from PIL import Image

import generate
from metrics.evaluation.nearest import Neighbours
from scripts import neighbours
from tests.scripts.test_style_mixing import make_network, pixels  # noqa: F401  a fixture
from tests.training.run.test_start import call
from torch_utils import attempts
from torch_utils.files import InputError
from torch_utils.labelled_grid import CELL, GAP, LINE


def test_copies_are_found(make_network, tmp_path, monkeypatch):  # noqa: F811
    """Two of three seeds are among the real images, which are shown beside them first, at no distance."""
    monkeypatch.setenv("ADACONV_CACHE", str(tmp_path / "cache"))
    network, _ = make_network()
    call(generate.main, "--network", network, "--seeds", "3,5,8", "--outdir", tmp_path / "real", "--device", "cpu")
    missing = pixels(tmp_path / "real" / "seed0005.png")
    (tmp_path / "real" / "seed0005.png").unlink()
    for i, image in enumerate(np.random.RandomState(0).randint(0, 256, (6, 16, 16, 3), dtype=np.uint8)):
        Image.fromarray(image).save(tmp_path / "real" / f"{i}.png")
    words = ["--network", network, "--data", tmp_path / "real", "--detector", "vgg16", "--device", "cpu"]
    said = call(neighbours.main, *words, "--seeds", "3,5,8", "--count", 2, "--output", tmp_path / "near.png")
    assert re.search(r"nearer than 0.5, perhaps copies: seeds 3, 8$", said, re.M) and "is 0.00 to " in said
    picture = pixels(tmp_path / "near.png")
    left = picture.shape[1] - 3 * (CELL + GAP)
    cell = lambda row, column: picture[LINE + row * (CELL + LINE + GAP) :, left + column * (CELL + GAP) :][
        : CELL : CELL // 16, : CELL : CELL // 16
    ]
    for row, seed in ((0, 3), (2, 8)):
        own = pixels(tmp_path / "real" / f"seed{seed:04d}.png")
        assert np.array_equal(cell(row, 0), own) and np.array_equal(cell(row, 1), own)
        assert not np.array_equal(cell(row, 2), own)
    assert np.array_equal(cell(1, 0), missing) and not np.array_equal(cell(1, 1), missing)
    said = call(neighbours.main, *words, "--seeds", "5", "--count", 64, "--output", tmp_path / "all.png")  # there are eight
    assert pixels(tmp_path / "all.png").shape[1] == left + 9 * (CELL + GAP) and "perhaps" not in said


def test_what_is_missing(make_network, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(attempts, "PAUSES", ())
    network, _ = make_network()
    words = ["--network", network, "--seeds", 0, "--output", tmp_path / "n.png", "--device", "cpu", "--detector", "vgg16"]
    with pytest.raises(InputError, match="--data is missing"):
        call(neighbours.main, *words)
    (network.parent / "training_options.json").write_text('{"data": "http://127.0.0.1:9/few.zip"}')
    with pytest.raises(InputError, match="this network was trained on http://127.0.0.1:9/few.zip; name it"):  # and not asked
        call(neighbours.main, *words)
    with pytest.raises(InputError, match="few.zip: cannot be read|needs aiohttp"):
        call(neighbours.main, *words, "--data", "http://127.0.0.1:9/few.zip")
    with pytest.raises(InputError, match="nothing.zip"):
        call(neighbours.main, *words, "--data", tmp_path / "nothing.zip")
    assert not (tmp_path / "n.png").exists()


def test_copies_of_pictures_that_are_there_twice():
    """The usual distance between real images is none, and what is no copy is infinitely far."""
    found = Neighbours(np.arange(2), np.zeros((2, 2), dtype=int), np.array([[0.0, 3.0], [2.0, 3.0]]), 0.0)
    assert neighbours.ratios(found).tolist() == [[0, np.inf], [np.inf, np.inf]]
    assert neighbours.ratios(dataclasses.replace(found, between_real=2.0)).tolist() == [[0, 1.5], [1, 1.5]]
