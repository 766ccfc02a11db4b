"""Trainings side by side share out the cores, and a run keeps its number of threads."""

import tempfile

import pytest
import torch

import train
from tests.commands.test_commands import NO_METRICS, SHORT
from tests.conftest import EMOJI
from torch_utils import cores
from torch_utils.cores import claimed_cores, threads_in_words, use_threads
from torch_utils.files import read_json


@pytest.fixture
def four_threads(monkeypatch, tmp_path):
    """As if PyTorch used four on a machine with four cores; claims are made in a folder of the test's own."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    monkeypatch.setattr(cores.os, "cpu_count", lambda: 4)


def test_the_first_gets_all_and_gives_them_back(four_threads):
    with claimed_cores() as first, claimed_cores() as second:
        assert (first, second) == (4, 0)
    with claimed_cores() as again:
        assert again == 4


def test_who_asks_for_fewer_leaves_the_rest(four_threads, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    with claimed_cores() as first, claimed_cores() as second:
        assert (first, second) == (3, 1)


def test_a_run_that_failed_gives_back_what_it_had(four_threads):
    with pytest.raises(KeyError), claimed_cores():
        raise KeyError
    with claimed_cores() as again:
        assert again == 4


def test_without_a_place_to_agree_all_are_taken(four_threads, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file"))
    with claimed_cores() as first:
        assert first == 4


def test_threads_are_shared_by_processes(monkeypatch):
    found = []
    monkeypatch.setattr(torch, "set_num_threads", found.append)
    use_threads(None)
    use_threads(4)
    use_threads(4, processes=3)
    use_threads(1, processes=2)
    assert found == [4, 1, 1]


def test_words(four_threads):
    assert threads_in_words(None) == ""
    assert threads_in_words(4) == ", 4 of 4 cores"
    assert threads_in_words(1) == ", 1 of 4 cores (the others are left to other programs)"


def test_a_run_takes_what_is_left_and_keeps_it(four_threads, monkeypatch, tmp_path):
    """The second of two takes one thread; going on alone, it still has one, as another number could round otherwise."""
    used = []
    monkeypatch.setattr(torch, "set_num_threads", used.append)
    data = ["--data", str(EMOJI), "--subset", "8"]
    arguments = [*SHORT, *data, *NO_METRICS, "--outdir", str(tmp_path / "runs")]
    with claimed_cores():
        train.main([*arguments, "--kimg", "0.008"], standalone_mode=False)
    (run_dir,) = (tmp_path / "runs").iterdir()
    assert read_json(run_dir / "training_options.json")["threads"] == 1 and set(used) == {1}
    train.main([*arguments, "--kimg", "0.016", "--resume", "auto"], standalone_mode=False)
    assert [*(tmp_path / "runs").iterdir()] == [run_dir] and set(used) == {1}
    train.main(["--outdir", str(tmp_path / "runs"), "--resume", str(run_dir), "--kimg", "0.024"], standalone_mode=False)
    assert read_json(run_dir / "training_options.json")["threads"] == 1 and set(used) == {1}
    train.main([*arguments, "--kimg", "0.032", "--resume", "auto", "--threads", "3"], standalone_mode=False)
    assert read_json(run_dir / "training_options.json")["threads"] == 3 and set(used) == {1, 3}
