"""Sweeps of truncation."""

import re

import click
import numpy as np
import pytest
import torch
from PIL import Image

import generate
from scripts import truncation
from scripts.truncation import psis_of
from tests.commands.test_calc_metrics import Cells
from tests.scripts.test_style_mixing import make_network, pixels  # noqa: F401  a fixture
from tests.training.run.test_start import call
from torch_utils.files import InputError
from torch_utils.labelled_grid import CELL, GAP, LINE


def test_psis():
    assert psis_of("0,0.5,1,0.5") == [0, 0.5, 1] and psis_of("-1") == [-1]
    for text in ("", "a", "0,,1", "nan", "inf", ",".join(map(str, range(33)))):
        with pytest.raises(click.BadParameter, match="does not read as up to 32 values of psi"):
            psis_of(text)


def test_pictures_are_those_of_generate(make_network, tmp_path):  # noqa: F811
    network, _ = make_network()
    words = ["--network", network, "--device", "cpu", "--trunc-cutoff", 3]
    said = call(truncation.main, *words, "--seeds", "4,7", "--trunc", "0,0.5", "--output", tmp_path / "new" / "sweep.png")
    assert f"written: {tmp_path / 'new' / 'sweep.png'}" in said
    picture = pixels(tmp_path / "new" / "sweep.png").astype(int)
    left = picture.shape[1] - 2 * (CELL + GAP)
    call(generate.main, *words, "--trunc", 0.5, "--seeds", "4,7", "--outdir", tmp_path)
    for row, seed in enumerate((4, 7)):
        top, beside = LINE + row * (CELL + GAP), left + CELL + GAP
        cell = picture[top : top + CELL : CELL // 16, beside : beside + CELL : CELL // 16]
        assert np.abs(cell - pixels(tmp_path / f"seed{seed:04d}.png")).max() <= 1


def test_scores_of_each_psi(make_network, tmp_path, monkeypatch):  # noqa: F811
    """All images are one at psi 0, so that no real one is among them."""
    monkeypatch.setenv("ADACONV_CACHE", str(tmp_path / "cache"))
    network, _ = make_network()
    (tmp_path / "real").mkdir()
    for i, image in enumerate(np.random.RandomState(0).randint(0, 256, (12, 16, 16, 3), dtype=np.uint8)):
        Image.fromarray(image).save(tmp_path / "real" / f"{i}.png")
    words = ["--network", network, "--seeds", 0, "--trunc", "0,1", "--output", tmp_path / "s.png", "--device", "cpu"]
    torch.jit.script(Cells()).save(str(tmp_path / "cells.pt"))
    metrics = ["--metrics", "pr1k_full-cells,fd1k_full", "--data", tmp_path / "real", "--detector", tmp_path / "cells.pt"]
    metrics.append("--trust-code")
    said = call(truncation.main, *words, *metrics)
    head, _, none, whole = re.findall(r"^\|.*$", said, re.M)
    assert head == "| psi | precision | recall | fd1k_full-cells |"
    none, whole = ([float(cell) for cell in row.strip("| ").split(" | ")] for row in (none, whole))
    assert none[0] == 0 and whole[0] == 1 and none[2] == 0 and none[3] != whole[3] > 0
    metrics[1] = "pr1k_full-cells,pr2k_full-cells"
    said = call(truncation.main, *words, *metrics)
    heads = [f"{name}, {metric}" for metric in metrics[1].split(",") for name in ("precision", "recall")]
    assert f"| psi | {' | '.join(heads)} |" in said


def test_what_cannot_be_scored(make_network, tmp_path):  # noqa: F811
    network, _ = make_network()
    words = ["--network", network, "--seeds", 0, "--output", tmp_path / "s.png", "--device", "cpu"]
    for more, message in (
        (["--data", tmp_path], "--data: wants --metrics"),
        (["--trust-code"], "--trust-code: wants --metrics"),
        (["--detector", "vgg16"], "--detector: wants --metrics"),
        (["--metrics", "pr1k_full-nothing"], "no detector is called"),
        (["--metrics", "pr1k_full-vgg16"], "--data is missing"),
        (["--metrics", "none"], "nothing to score"),
    ):
        with pytest.raises(InputError, match=message):
            call(truncation.main, *words, *more)
    assert not (tmp_path / "s.png").exists()


def test_names_and_layers_that_there_are_not(make_network, tmp_path):  # noqa: F811
    network, G = make_network()
    words = ["--network", network, "--device", "cpu", "--seeds", "0"]
    for command, output in ((truncation.main, "--output"), (generate.main, "--grid")):
        more = ["--outdir", tmp_path] * (command is generate.main)
        with pytest.raises(click.BadParameter, match="x.jpg' is to be a PNG; wanted a name that ends in .png"):
            call(command, *words, *more, output, tmp_path / "x.jpg")
        with pytest.raises(InputError, match=f"^--trunc-cutoff 99: this network has {G.num_ws} layers$"):
            call(command, *words, *more, output, tmp_path / "x.png", "--trunc-cutoff", 99)
        with pytest.raises(InputError, match="^--trunc-cutoff 2: has no say without --trunc, as a psi of 1 truncates nothing$"):
            call(command, *words, *more, output, tmp_path / "x.png", "--trunc-cutoff", 2, "--trunc", "1")
    assert not list(tmp_path.glob("x.*"))
