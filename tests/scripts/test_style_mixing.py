"""Tables of two sets of seeds."""

import numpy as np
import pytest
import torch
from PIL import Image

import generate
from networks.generator import PARTS, Generator
from networks.sampling import seed_styles
from scripts import style_mixing
from scripts.gen_video import walk
from scripts.style_mixing import layers_of, mixed
from tests.training.run.test_start import call
from torch_utils.checkpoint import save_snapshot
from torch_utils.files import InputError
from torch_utils.images import to_pil


@pytest.fixture
def make_network(tmp_path):
    def make(**options):
        torch.manual_seed(0)
        G = Generator(16, channel_base=256, channel_max=16, z_dim=8, style_depth=2, **options).eval()
        for p in G.synthesis.parameters():
            torch.nn.init.normal_(p, std=0.7)
        path = tmp_path / "network.safetensors"
        save_snapshot(path, "generator", G)
        return path, G

    return make


def pixels(path):
    return np.asarray(Image.open(path))


@pytest.mark.parametrize(
    "text, wanted",
    [
        ("0-2,4", [0, 1, 2, 4]),
        ("3", [3]),
        ("all", [0, 1, 2, 3, 4, 5, 6]),
        ("coarse", [0, 1]),
        ("middle", [2, 3]),
        ("fine,0", [0, 4, 5, 6]),
    ],
)
def test_layers(text, wanted):
    assert layers_of(text, 7) == wanted


@pytest.mark.parametrize("text", ["7", "3-1", "-1", "", "rough", "1-", "0,,1"])
def test_layers_that_there_are_not(text):
    if text == "1-":
        assert layers_of(text, 7) == [1]  # as a range without an end
        return
    with pytest.raises(InputError, match="wanted numbers from 0 to 6"):
        layers_of(text, 7)


def test_all_of_a_style_in_all_layers_is_the_other_seed():
    G = Generator(16, channel_base=256, channel_max=16, z_dim=8, style_depth=2).eval()
    a, b = (seed_styles(G, seed, None, 1, None) for seed in (0, 1))
    with torch.inference_mode():
        everything = mixed(G, a, b, list(range(G.num_ws)))
        assert torch.equal(everything, mixed(G, b, b, []))
        by_parts = mixed(G, a, b, list(range(G.num_ws)), PARTS)
        assert (by_parts.int() - everything.int()).abs().max() <= 1
        assert torch.equal(mixed(G, a, b, []), mixed(G, a, b, [], PARTS))


@pytest.mark.parametrize("part", [None, *PARTS])
def test_command(make_network, tmp_path, part):
    network, G = make_network()
    words = ["--network", network, "--rows", "3,5", "--cols", "0-2", "--layers", "coarse", "--outdir", tmp_path / "out"]
    said = call(style_mixing.main, *words, *(["--part", part] if part else []), "--device", "cpu")
    assert f"6 images in {tmp_path / 'out'}" in said
    table = pixels(tmp_path / "out" / "grid.png")
    assert table.shape == (3 * 16, 4 * 16, 3) and (table[:16, :16] == 255).all()
    call(generate.main, "--network", network, "--seeds", "0-5", "--outdir", tmp_path / "alone", "--device", "cpu")
    for at, seed in (((0, 1), 0), ((0, 3), 2), ((1, 0), 3), ((2, 0), 5)):
        cell = table[16 * at[0] : 16 * at[0] + 16, 16 * at[1] : 16 * at[1] + 16]
        assert np.array_equal(cell, pixels(tmp_path / "alone" / f"seed{seed:04d}.png"))
    with torch.inference_mode():
        styles = [seed_styles(G, seed, None, 1, None) for seed in (5, 2)]
        wanted = np.asarray(to_pil(mixed(G, *styles, layers_of("coarse", G.num_ws), (part,) if part else ())))
    one = pixels(tmp_path / "out" / "5-2.png")
    assert np.abs(one.astype(int) - wanted).max() <= 1  # weights were rounded to be stored
    assert np.array_equal(one, table[32:48, 48:64]) and not np.array_equal(one, pixels(tmp_path / "alone" / "seed0005.png"))


def test_random_noise_is_that_of_the_seeds(make_network, tmp_path):
    """The same command draws the same pictures, and a head is what generate.py draws."""
    network, _ = make_network()
    words = ["--network", network, "--noise-mode", "random", "--device", "cpu"]
    for name in ("a", "b"):
        call(style_mixing.main, *words, "--rows", "3,5", "--cols", "0-1", "--outdir", tmp_path / name)
        torch.manual_seed(99)  # whatever was drawn before
    assert (tmp_path / "a" / "grid.png").read_bytes() == (tmp_path / "b" / "grid.png").read_bytes()
    call(generate.main, *words, "--seeds", "0-5", "--outdir", tmp_path / "alone")
    table = pixels(tmp_path / "a" / "grid.png")
    for at, seed in (((0, 1), 0), ((0, 2), 1), ((1, 0), 3), ((2, 0), 5)):
        cell = table[16 * at[0] : 16 * at[0] + 16, 16 * at[1] : 16 * at[1] + 16]
        assert np.array_equal(cell, pixels(tmp_path / "alone" / f"seed{seed:04d}.png"))


def test_what_has_no_parts(make_network, tmp_path):
    network, _ = make_network(modulation="demod")
    words = ["--network", network, "--rows", 0, "--cols", 1, "--outdir", tmp_path / "out", "--device", "cpu"]
    with pytest.raises(InputError, match="--part: .* predicts no kernels: its modulation is demod"):
        call(style_mixing.main, *words, "--part", "bias")
    call(style_mixing.main, *words)
    with pytest.raises(InputError, match="--layers 99: wanted numbers from 0 to 4"):
        call(style_mixing.main, *words, "--layers", 99)


def test_mixed_pictures_are_float32_on_gpus_too(make_network, monkeypatch):
    _, G = make_network()
    found, draw = [], G.synthesis.forward
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    monkeypatch.setattr(G.synthesis, "forward", lambda *a, **k: found.append(torch.backends.cudnn.allow_tf32) or draw(*a, **k))
    ws = seed_styles(G, 0, None, 1, None)
    mixed(G, ws, ws, [0])
    list(walk(G, [0, 1], 2))
    assert found == [False] * 5 and torch.backends.cudnn.allow_tf32
