"""What --network means, for every command that has it."""

import shutil

import pytest

import calc_metrics
import generate
from networks.generator import Generator
from scripts import eval_style
from tests.training.run.test_start import call
from torch_utils import pretrained
from torch_utils.checkpoint import save_snapshot
from torch_utils.files import InputError
from torch_utils.pretrained import PRETRAINED, find_network, names_of


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder in the place of `pretrained/`, with two generators, one of which draws 16×16, and weights of an encoder."""
    G = Generator(16, channel_base=256, channel_max=16, z_dim=8, style_depth=2)
    (tmp_path / "pretrained").mkdir()
    save_snapshot(tmp_path / "pretrained" / "emoji16.safetensors", "generator", G, half=True)
    for name in ("emoji32", "vgg16_to_conv4_1"):
        shutil.copy(PRETRAINED / f"{name}.safetensors", tmp_path / "pretrained")
    monkeypatch.setattr(pretrained, "PRETRAINED", tmp_path / "pretrained")
    return tmp_path / "pretrained"


def test_names_are_those_of_networks(folder):
    assert names_of("generator") == ["emoji16", "emoji32"] and names_of("style_transfer") == []
    with pytest.raises(InputError, match="^emoji64: no such network file; by name there are: emoji16, emoji32$"):
        find_network("emoji64", "generator")
    with pytest.raises(InputError, match="no such network file; give one that train_style.py wrote"):
        find_network("adaconv-style", "style_transfer")
    with pytest.raises(InputError, match="no such network file"):
        find_network("x" * 300, "generator")


def test_names_files_and_folders(folder, tmp_path, monkeypatch, capsys):
    assert find_network("emoji16", "generator") == folder / "emoji16.safetensors"
    assert "Network:" in capsys.readouterr().out
    run = tmp_path / "here" / "emoji16"
    run.mkdir(parents=True)
    shutil.copy(folder / "emoji32.safetensors", run / "network-snapshot-000001.safetensors")
    monkeypatch.chdir(run.parent)
    assert find_network("emoji16", "generator") == folder / "emoji16.safetensors"  # the name goes first
    capsys.readouterr()
    for path in (run, "../here/emoji16"):
        assert find_network(path, "generator").samefile(run / "network-snapshot-000001.safetensors")
    assert "Network:" in capsys.readouterr().out
    assert find_network(folder / "emoji16.safetensors", "generator") == folder / "emoji16.safetensors"
    assert not capsys.readouterr().out  # the user knows


def test_commands_take_names(folder, tmp_path, image_folder):
    seeds = ["--seeds", 0, "--device", "cpu", "--outdir"]
    call(generate.main, *seeds, tmp_path / "default")
    call(generate.main, *seeds, tmp_path / "named", "--network", "emoji32")
    call(generate.main, *seeds, tmp_path / "other", "--network", "emoji16")
    pictures = [(tmp_path / name / "seed0000.png").read_bytes() for name in ("default", "named", "other")]
    assert pictures[0] == pictures[1] != pictures[2]
    score = ["--metrics", "fd1k_full-vgg16", "--data", image_folder(4), "--device", "cpu"]
    for command, words, names in (
        (generate.main, [*seeds, tmp_path], "emoji16, emoji32"),
        (calc_metrics.main, score, "emoji16, emoji32"),
        (eval_style.main, ["--speed", "--out", tmp_path / "style"], "give one"),
    ):
        with pytest.raises(InputError, match=names):
            call(command, *words, "--network", "emoji64")
    with pytest.raises(InputError, match="the network draws \\(32, 32, 3\\)"):
        call(calc_metrics.main, *score, "--network", "emoji32")
