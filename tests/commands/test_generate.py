"""`generate.py` writes each picture once, and draws in one number format wherever it runs."""

import numpy as np
import pytest
import torch

import generate
from networks.sampling import draw_styles, seed_styles
from scripts.viewer.look import Look
from scripts.viewer.open_network import OpenNetwork
from tests.scripts.test_style_mixing import make_network  # noqa: F401  a fixture
from tests.training.run.test_start import call
from torch_utils.files import InputError
from torch_utils.precision import prepare


@pytest.mark.parametrize(
    "words, message",
    [
        (["--seeds", "0-3", "--grid", "out/seed0002.png"], "seed0002.png: is one of the images of --outdir"),
        (["--seeds", 7, "--show-kernels", "out/../out/seed0007.png"], "seed0007.png: is one of the images of --outdir"),
        (["--seeds", 7, "--grid", "k.png", "--show-kernels", "k.png"], "--show-kernels k.png: is written for --grid already"),
        (["--projected-w", "w.npz", "--save-ws", "w.npz"], "--save-ws w.npz: is the file of --projected-w w.npz"),
    ],
)
def test_no_file_is_written_twice_or_over_one_that_is_read(make_network, tmp_path, monkeypatch, words, message):  # noqa: F811
    network, G = make_network()
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "w.npz", w=torch.zeros(1, G.num_ws, G.w_dim).numpy())
    before = (tmp_path / "w.npz").read_bytes()
    with pytest.raises(InputError, match=message):
        call(generate.main, "--network", network, "--outdir", "out", "--device", "cpu", *words)
    assert not (tmp_path / "out").exists() and (tmp_path / "w.npz").read_bytes() == before
    call(generate.main, "--network", network, "--seeds", 2, "--outdir", "out", "--grid", "out/seed0003.png", "--device", "cpu")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"seed0002.png", "seed0003.png"}


def test_pictures_are_drawn_in_float32(make_network):  # noqa: F811
    """Also by a process that is prepared for sixteen bits, as the viewer's is: on GPUs products would be TF32 there."""
    network, G = make_network()
    flags = lambda: (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32)
    before, seen = flags(), []
    spy = lambda *_: seen.append(flags())
    try:
        prepare("bf16")
        page = OpenNetwork(network)
        for module in (G.mapping, G.synthesis, page.G.mapping, page.G.synthesis):
            module.register_forward_pre_hook(spy)
        draw_styles(G, seed_styles(G, 0, None, 1, None))
        page.draw(Look())
        assert len(seen) == 4 and set(seen) == {(False, False)} and flags() == (True, True)
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before
