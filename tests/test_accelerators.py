"""On an accelerator things come out as on the CPU: `pytest -m gpu`. ADACONV_TEST_DEVICE names another device, such as cpu."""

import os

import numpy as np
import pytest
import torch
from PIL import Image

from networks.adaconv import KernelPredictor, adaconv
from networks.generator import Generator
from networks.modulation import MODULATIONS
from tests.conftest import ROOT
from torch_utils.precision import float32
from torch_utils.stats import read_jsonl

MPS = torch.backends.mps.is_available()
DEVICE = os.environ.get("ADACONV_TEST_DEVICE") or ("cuda" if torch.cuda.is_available() else "mps" if MPS else None)
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(DEVICE is None, reason="there is no accelerator")]
TINY = ("--cfg", "tiny", "--batch", 4, "--cbase", 64, "--cmax", 8, "--tick", 0.02, "--snap", 1, "--metrics", "none")
CLOSE = dict(rtol=1e-3, atol=1e-3)


def pixels(file) -> np.ndarray:
    return np.asarray(Image.open(file)).astype(int)


def gradients(device: str) -> list[torch.Tensor]:
    torch.manual_seed(0)
    predict = KernelPredictor((4, 3, 3), 16, 16, identity=0.5)
    x, style = torch.randn(3, 16, 8, 8), torch.randn(3, 4, 3, 3)
    predict, x, style = predict.to(device), x.to(device).requires_grad_(), style.to(device).requires_grad_()
    with float32():
        y = adaconv(x, *predict(style), padding="reflect")
        first = torch.autograd.grad(y.square().sum(), [x, style], create_graph=True)
        second = torch.autograd.grad(sum(g.square().sum() for g in first), [*predict.parameters()], allow_unused=True)
    return [value.detach().cpu() for value in (y, *first, *second) if value is not None]


def test_adaconv_and_its_gradients_twice():
    for ours, expected in zip(gradients(DEVICE), gradients("cpu"), strict=True):
        torch.testing.assert_close(ours / expected.abs().max(), expected / expected.abs().max(), **CLOSE)


@pytest.mark.parametrize("modulation", MODULATIONS)
def test_generators_draw_the_same(modulation):
    torch.manual_seed(0)
    G = Generator(16, 3, z_dim=16, modulation=modulation, style_depth=2, channel_base=128, channel_max=16).eval()
    z = torch.randn(4, 16)
    with torch.no_grad(), float32():
        expected = G(z)
        torch.testing.assert_close(G.to(DEVICE)(z.to(DEVICE)).cpu(), expected, **CLOSE)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("more", [(), ("--projected", 1, "--aug", "fixed", "--p", 0.5)], ids=["pixels", "features"])
def test_train_resume_and_draw(run_command, image_folder, tmp_path, precision, more):
    """In a run's own format; its network is then drawn on the CPU and on the device."""
    if more:
        pytest.importorskip("efficientnet_lite_pytorch", reason="needs the offline extra")
    data = image_folder()
    run = lambda kimg: run_command(
        "train.py", "--outdir", tmp_path / "runs", "--data", data, *TINY, *more, "--device", DEVICE,
        "--precision", precision, "--kimg", kimg, "--resume", "auto",
    )  # fmt: skip
    for kimg in (0.04, 0.08):
        finished = run(kimg)
        assert finished.returncode == 0, finished.stderr
    (run_dir,) = (tmp_path / "runs").iterdir()
    losses = [record["loss_D"] for record in read_jsonl(run_dir / "stats.jsonl")]
    assert len(losses) == 4 and np.isfinite(losses).all()
    drawn = {}
    for device in (DEVICE, "cpu"):
        out = tmp_path / device
        finished = run_command("generate.py", "--network", run_dir, "--seeds", 0, "--outdir", out, "--device", device)
        assert finished.returncode == 0, finished.stderr
        drawn[device] = pixels(out / "seed0000.png")
    assert abs(drawn[DEVICE] - drawn["cpu"]).max() <= 2


def test_stylize(run_command, tmp_path):
    pictures = ROOT / "scripts" / "viewer" / "styles"
    drawn = []
    for device in (DEVICE, "cpu"):
        file = tmp_path / f"{device}.png"
        finished = run_command(
            "stylize.py", "--content", pictures / "renoir.jpg", "--style", pictures / "van-gogh.jpg", "--content-size", 64,
            "--output", file, "--device", device,
        )  # fmt: skip
        assert finished.returncode == 0, finished.stderr
        drawn.append(pixels(file))
    assert abs(drawn[0] - drawn[1]).mean() < 1
