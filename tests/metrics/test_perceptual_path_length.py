"""Perceptual path length: closed forms, what it must not depend on, and its network's file, with a stand-in."""

import click
import numpy as np
import pytest
import torch

import calc_metrics
from metrics.detectors import lpips
from metrics.evaluation.metric_name import parse_metric
from metrics.perceptual_path_length import interval, lpips_input, path_distances, path_length, path_record
from networks.generator import Generator
from torch_utils.checkpoint import save_snapshot
from torch_utils.files import InputError, sha256


class Linear(torch.nn.Module):
    """A generator without curves: w is z (and the class), the image A w plus noise, which both ends of a path share."""

    z_dim, c_dim, img_resolution, img_channels = 4, 0, 8, 3

    def __init__(self, c_dim: int = 0):
        super().__init__()
        self.c_dim = c_dim
        self.matrix = torch.nn.Parameter(torch.randn(4, 3 * 8 * 8, generator=torch.Generator().manual_seed(0)).double())
        self.synthesis = Synthesis(self)

    def mapping(self, z, c=None):
        return (z.double() * (1 if c is None else c.argmax(1, keepdim=True)))[:, None]


class Synthesis(torch.nn.Module):
    def __init__(self, G: Linear):
        super().__init__()
        self.matrix = G.matrix
        self.register_buffer("noise_const", torch.zeros(8, 8, dtype=torch.float64))

    def forward(self, ws):
        return (ws[:, 0] @ self.matrix).view(-1, 3, 8, 8) + self.noise_const


def plain(images: torch.Tensor) -> torch.Tensor:
    return images.double().flatten(1)


class StandIn(torch.nn.Module):
    """The outside of NVIDIA's file."""

    def forward(self, images: torch.Tensor, resize_images: bool = True, return_lpips: bool = False) -> torch.Tensor:
        if resize_images or not return_lpips:
            raise RuntimeError("not what a path length asks for")
        return torch.nn.functional.avg_pool2d(images, 4).flatten(1)


@pytest.fixture
def stand_in(tmp_path):
    path = tmp_path / "mine.pt"
    torch.jit.script(StandIn()).save(str(path))
    return path


def test_of_a_linear_generator_is_known(monkeypatch):
    """Squared distances of A w₀ and A (w₀ + ε d), over ε²: ‖A d‖², times 127.5² for the range of pixels."""
    G, epsilon = Linear(), 0.5
    found = path_distances(G, plain, 400, seed=3, epsilon=epsilon)
    from torch_utils.rng import normal

    z = normal((400, 2, 4), "path", 3).double()
    wanted = ((z[:, 1] - z[:, 0]) @ G.matrix).square().sum(1).detach().numpy() * 127.5**2
    np.testing.assert_allclose(found, wanted, rtol=1e-4)
    # E ‖A (z₁ − z₀)‖² = 2 ‖A‖²: the two ends are independent
    assert found.mean() == pytest.approx(2 * float(G.matrix.detach().square().sum()) * 127.5**2, rel=0.15)


def test_depends_on_the_seed_and_not_on_the_batch():
    G = Generator(16, z_dim=8, channel_base=128, channel_max=16, style_depth=2).eval()
    for name, parameter in G.named_parameters():
        if name.endswith("noise_strength"):
            torch.nn.init.constant_(parameter, 0.3)
    one, other = (path_distances(G, plain, 12, batch=batch, epsilon=0.1) for batch in (5, 12))
    np.testing.assert_allclose(one, other, rtol=1e-3)
    assert not np.allclose(one, path_distances(G, plain, 12, seed=1, epsilon=0.1), rtol=1e-2)
    buffers = [b.clone() for n, b in G.named_buffers() if n.endswith("noise_const")]
    assert all(torch.equal(a, b) for a, (n, b) in zip(buffers, [x for x in G.named_buffers() if x[0].endswith("noise_const")]))


def test_classes_are_drawn_from_the_labels():
    """A class of 0 maps to one point, so that its paths have no length; the share of those is the labels'."""
    found = path_distances(Linear(c_dim=2), plain, 400, classes=[0, 0, 0, 1], epsilon=0.5)
    assert 0.65 < (found == 0).mean() < 0.85
    assert (path_distances(Linear(c_dim=2), plain, 50, classes=[1], epsilon=0.5) > 0).all()


def test_the_extreme_hundredths_do_not_count():
    distances = np.arange(1000.0)
    assert path_length(distances) == np.arange(9, 991).mean()  # the percentiles themselves do
    assert path_length(np.append(np.ones(998), [-1e9, 1e9])) == 1
    assert path_length([5.0]) == 5
    for bad in ([], [np.nan], [[1.0]]):
        with pytest.raises(ValueError, match="finite"):
            path_length(bad)


def test_agrees_with_torch_fidelity_on_what_counts():
    """Its reduction (lower and higher neighbours of the percentiles 1 and 99), restated by sorting."""
    distances = np.random.RandomState(0).gamma(2, size=777)
    ordered = np.sort(distances)
    low, high = int(np.floor(0.01 * 776)), int(np.ceil(0.99 * 776))
    assert path_length(distances) == pytest.approx(ordered[low : high + 1].mean(), rel=1e-12)


def test_the_interval_holds_the_truth():
    rng = np.random.RandomState(0)
    truth = path_length(rng.gamma(2, size=10**6))
    draws = [rng.gamma(2, size=2000) for _ in range(200)]
    inside = sum(path_length(d) + interval(d)[0] <= truth <= path_length(d) + interval(d)[1] for d in draws)
    assert 180 <= inside <= 199


def test_what_the_distance_looks_at():
    grey = torch.full((2, 1, 8, 8), -1.0)
    assert torch.equal(lpips_input(grey), torch.zeros(2, 3, 8, 8))
    alpha = torch.cat([torch.full((1, 3, 8, 8), -1.0), torch.zeros(1, 1, 8, 8)], 1)
    assert torch.allclose(lpips_input(alpha), torch.full((1, 3, 8, 8), 127.5))
    large = torch.randn(1, 3, 512, 600)
    assert lpips_input(large).shape == (1, 3, 256, 300)
    assert torch.allclose(lpips_input(large)[0, :, 3, 4], (large[0, :, 6:8, 8:10].mean((1, 2)) + 1) * 127.5, atol=1e-3)


def test_only_the_fields_own_file_has_the_fields_name(stand_in, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="fetch https.*--vgg FILE"):
        lpips.find(None, official=True)
    with pytest.raises(InputError, match="no such file"):
        lpips.find(tmp_path / "absent.pt", official=True)
    (tmp_path / "text.pt").write_text("<html>")
    with pytest.raises(InputError, match="no TorchScript"):
        lpips.find(tmp_path / "text.pt", official=False)
    with pytest.raises(InputError, match="not the file that ppl2_wend means.*ppl50k-mine"):
        lpips.find(stand_in, official=True)
    cut = tmp_path / "cut.pt"
    cut.write_bytes(stand_in.read_bytes()[:-100])
    with pytest.raises(InputError, match="no TorchScript"):
        lpips.find(cut, official=False)

    device = torch.device("cpu")
    assert lpips.load(stand_in, device).name == "mine"
    stand_in.rename(tmp_path / "vgg16.pt")
    assert lpips.load(tmp_path / "vgg16.pt", device).name == "other_vgg16"
    with pytest.raises(ValueError, match="measured on vgg16, not on other_vgg16"):
        path_record(parse_metric("ppl2_wend1k"), Linear(), lpips.load(tmp_path / "vgg16.pt", device), 0, None)
    monkeypatch.setattr(lpips, "SHA256", sha256(tmp_path / "vgg16.pt"))
    assert lpips.load(tmp_path / "vgg16.pt", device).name == "vgg16"
    lpips.find(tmp_path / "vgg16.pt", official=True)

    torch.jit.script(torch.nn.Identity()).save(str(tmp_path / "other.pt"))
    with pytest.raises(InputError, match="does not take") as caught:
        lpips.load(tmp_path / "other.pt", device)
    assert "\n" not in str(caught.value)


def test_by_the_command(stand_in, tmp_path, monkeypatch, capsys):
    """All the way with a stand-in behind the field's checksum, which therefore has its name here."""
    torch.manual_seed(0)
    G = Generator(16, z_dim=8, channel_base=128, channel_max=16, style_depth=2)
    snapshot = tmp_path / "network.safetensors"
    save_snapshot(snapshot, "generator", G)
    score = ["--network", snapshot, "--device", "cpu", "--outdir", tmp_path]

    def command(*arguments):
        calc_metrics.main.main(list(map(str, [*score, *arguments])), standalone_mode=False)

    command("--metrics", "ppl1k-mine", "--trust-code", "--vgg", stand_in)
    monkeypatch.setattr(lpips, "SHA256", sha256(stand_in))
    command("--metrics", "ppl2_wend1k", "--vgg", stand_in)
    shown = capsys.readouterr().out
    assert "ppl2_wend1k  (1000 images; vgg16" in shown and "95 %" in shown
    from torch_utils.stats import read_jsonl

    (mine,), (record,) = (read_jsonl(tmp_path / f"metric-{name}.jsonl") for name in ("ppl1k-mine", "ppl2_wend1k"))
    assert record["value"] == mine["value"] > 0 and record["interval"][0] < record["value"] < record["interval"][1]
    assert record["detector_hash"] == sha256(stand_in) and record["snapshot_hash"] == sha256(snapshot)
    assert (record["detector"], mine["detector"], record["epsilon"]) == ("vgg16", "mine", 1e-4)

    with pytest.raises((InputError, click.ClickException), match="needs the generator itself"):
        calc_metrics.main.main(["--metrics", "ppl2_wend1k", "--images", str(tmp_path)], standalone_mode=False)
    with pytest.raises(InputError, match="fetch https"):
        command("--metrics", "ppl2_wend1k")
