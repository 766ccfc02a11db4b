"""What is told of predicted kernels, of kernels that are known."""

from pathlib import Path

import pytest
import torch

from networks.adaconv import AdaptiveKernels, KernelPredictor
from networks.generator import Generator
from scripts.experiments import kernel_differences
from scripts.experiments.kernel_differences import (
    decoder_layers,
    descriptors,
    differences,
    draw,
    effective_rank,
    generator_layers,
    outside_identity,
    spread,
    table,
)
from tests.style_fixtures import random_network, random_vgg, smooth
from tests.training.run.test_start import call
from torch_utils.files import InputError
from torch_utils.images import save_png, to_uint8

STYLES, CHANNELS = 50, 8


def kernels_of(styles: int = STYLES, identity: float = 0.9, bias: float = 0.0) -> AdaptiveKernels:
    torch.manual_seed(0)
    predictor = KernelPredictor((4, 3, 3), CHANNELS, CHANNELS, groups=2, identity=identity)
    torch.nn.init.normal_(predictor.bias_weight, std=bias)
    with torch.no_grad():
        return predictor(torch.randn(styles, 4, 3, 3))


def test_the_identity_is_at_no_distance_from_itself():
    """Whatever its scale and its sign, and whatever the style; without a tap of it a kernel is all outside."""
    identity = kernels_of(identity=1)
    found = differences(identity)
    assert set(found.values()) == {0.0} and identity.spatial.any() and identity.pointwise.any()
    scale = torch.randn(STYLES, CHANNELS)
    scaled = identity.pointwise * scale[:, :, None]
    assert outside_identity(scaled[..., None]) == pytest.approx(0, abs=1e-6)
    beside = identity.spatial.roll(1, dims=4)
    assert outside_identity(beside.flatten(3)) == 1
    assert outside_identity((3 * identity.spatial + 4 * beside).flatten(3)) == pytest.approx(16 / 25)


def test_a_predictor_begins_with_what_it_was_asked_for():
    found = differences(kernels_of(styles=400, identity=0.9))
    assert found["spatial outside identity"] == pytest.approx(0.1, abs=0.02) == found["mixing outside identity"]
    assert found["spatial varies"] == pytest.approx(0.1, abs=0.03) and found["its gain"] < 0.3 * found["its shape"]
    assert found["offsets vary"] == 0 == found["offsets rank"]  # all are 0 at first
    assert found["spatial rank"] > 10 and 3 < found["mixing rank"] <= 4  # of w's 36 numbers, and of its 4 averages
    assert differences(kernels_of(bias=1))["offsets vary"] > 0.9


def test_kernels_that_do_not_depend_on_the_style_do_not_vary():
    fixed = AdaptiveKernels(*(part[:1].expand_as(part) for part in kernels_of(identity=0, bias=1)))
    found = differences(fixed)
    outside = {name for name in found if "outside" in name}
    assert all(found[name] > 0.5 for name in outside) and not any(found[name] for name in set(found) - outside)


def test_gain_alone_is_no_change_of_shape():
    fixed = kernels_of(identity=0)
    gain = torch.rand(STYLES, CHANNELS) + 0.5
    found = differences(fixed._replace(spatial=fixed.spatial[:1] * gain[:, :, None, None, None]))
    assert found["spatial varies"] > 0.05 and found["its gain"] == pytest.approx(found["spatial varies"], abs=0.02)
    assert found["its shape"] == pytest.approx(0, abs=1e-6) == found["its spectrum"]


def test_spectra_tell_orientation_from_place():
    """A kernel that is moved by a tap differs in shape alone; one that is turned, in its spectrum, too. Neither in gain."""
    fixed = kernels_of()
    line = torch.tensor([[1.0, 0, 0], [1, 0, 0], [1, 0, 0]])
    of = lambda *two: differences(fixed._replace(spatial=torch.stack(two)[:, None, None].expand(2, CHANNELS, 4, 3, 3)))
    moved, turned = of(line, line.roll(1, dims=1)), of(line, line.t())
    assert moved["its shape"] == pytest.approx(0.5) and moved["its spectrum"] == pytest.approx(0, abs=1e-6)
    assert turned["its shape"] == pytest.approx(1 / 3) and 0.1 < turned["its spectrum"] < 1 / 3
    assert moved["its gain"] == pytest.approx(0, abs=1e-6) == turned["its gain"]


def test_ranks_of_known_families():
    torch.manual_seed(0)
    mean, basis = torch.randn(1, 40), torch.linalg.qr(torch.randn(40, 3)).Q.t()
    amount = torch.randn(200, 1)
    assert effective_rank(mean + amount * basis[:1]) == pytest.approx(1)
    assert effective_rank(mean + amount[:20] * basis[:1]) == pytest.approx(1)  # fewer styles than numbers, too
    assert effective_rank(mean + torch.randn(2000, 3) @ basis) == pytest.approx(3, abs=0.05)
    assert effective_rank(mean.expand(5, -1)) == 0
    assert spread(mean + amount * 0) == 0 and spread(torch.cat([mean, -mean])) == pytest.approx(1)


def test_a_generator_layer_by_layer(tmp_path):
    torch.manual_seed(0)
    G = Generator(16, channel_base=256, channel_max=16, z_dim=8, c_dim=3, style_depth=2).eval().requires_grad_(False)
    found = {title: differences(kernels) for title, kernels in generator_layers(G, 20)}
    assert list(found) == [f"{i}: 16 channels" for i in range(5)]
    assert all(0.03 < row["spatial outside identity"] < 0.2 and row["spatial varies"] > 0.02 for row in found.values())
    torch.nn.init.zeros_(G.synthesis.layers[1].modulation.predictor.spatial_weight)
    changed = {title: differences(kernels) for title, kernels in generator_layers(G, 20)}
    assert changed["1: 16 channels"]["spatial varies"] == 0 and changed["0: 16 channels"] == found["0: 16 channels"]

    lines = table(changed, found).splitlines()
    assert len(lines) == 2 + 5 + 1 and lines[3].startswith("| 1: 16 channels | 0 % | 0 % |") and "untrained" in lines[-1]
    pytest.importorskip("matplotlib", reason="needs the dev extra")
    draw({"one": [found, changed], "two": [changed, found]}, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 10_000


def test_a_style_transfer_level_by_level(tmp_path):
    """Spread evenly over the images at the path; networks see the same ones."""
    for i in range(5):
        save_png(tmp_path / f"{i}.png", to_uint8(smooth(40, 48, seed=i))[0])
    vgg = random_vgg()
    networks = [random_network(vgg=vgg, statistics=statistics) for statistics in ("exact", "learned")]
    exact, learned = descriptors(vgg, networks, tmp_path, 3)
    assert len(exact) == len(learned) == 3 and exact.shape[1:] == networks[0].descriptor_shape
    with pytest.raises(InputError, match="found 1 styles, wanted two at least"):
        descriptors(vgg, networks, tmp_path / "0.png", 3)
    found = {title: differences(kernels) for title, kernels in decoder_layers(networks[1], learned)}
    assert list(found) == [f"{i}: {channels} channels" for i, channels in enumerate((512, 256, 128, 64))]
    assert all(row["spatial varies"] > 0 < row["offsets rank"] <= 2 for row in found.values())  # of three styles
    assert found["0: 512 channels"]["mixing outside identity"] == 0  # a channel for itself: there is nothing to mix


def test_the_command(run_command):
    script = "scripts/experiments/kernel_differences.py"
    done = run_command(script, "--network", "emoji32", "--count", 3, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert "\nemoji32\n" in done.stdout and "| untrained |" in done.stdout and "| 6: 32 channels |" in done.stdout
    done = run_command(script, "--network", "adaconv-style", "--device", "cpu")
    assert done.returncode == 2 and "--style says where they are" in done.stderr


def test_networks_of_one_name_are_both_shown(tmp_path, monkeypatch):
    """Snapshots of two runs have the same file names."""
    drawn, paths = [], [tmp_path / run / "network-snapshot-000160.safetensors" for run in ("one", "other")]
    layers = [("4×4", kernels_of())]
    monkeypatch.setattr(kernel_differences, "find_network", Path)
    monkeypatch.setattr(kernel_differences, "trained_and_not", lambda *_: (layers, layers))
    monkeypatch.setattr(kernel_differences, "draw", lambda found, out: drawn.append(list(found)))
    words = [word for path in paths for word in ("--network", path)]
    shown = call(kernel_differences.main, *words, "--out", tmp_path / "curves.png", "--device", "cpu")
    assert drawn == [["network-snapshot-000160", "other/network-snapshot-000160"]]
    assert all(f"\n{name}\n" in shown for name in drawn[0])
