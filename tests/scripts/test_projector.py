"""The style that draws a picture is found again."""

import click
import numpy as np
import pytest
import torch
from PIL import Image

import calc_metrics
import generate
from networks.generator import Generator
from networks.sampling import draw_seed, seed_styles
from networks.style_transfer.vgg import load_vgg
from scripts import eval_style, projector
from scripts.projector import SHOWN, perceptual, project, psnr, read_target
from tests.training.run.test_start import call
from torch_utils.checkpoint import save_snapshot
from torch_utils.files import InputError
from torch_utils.images import from_uint8, save_png, to_uint8
from torch_utils.ws_file import load_ws

SIZES = dict(channel_base=256, channel_max=16, z_dim=8, style_depth=2)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(projector, "CANDIDATES", 16)
    monkeypatch.setattr(projector, "SIDE", 32)


@pytest.fixture
def G():
    torch.manual_seed(0)
    return Generator(16, **SIZES).eval().requires_grad_(False)


@pytest.mark.parametrize("free", [False, True])
def test_a_drawn_picture_is_found_again(G, free):
    target = from_uint8(draw_seed(G, 3)[None])
    distance = perceptual(load_vgg("vgg16"), target)
    first = project(G, distance, 1, free=free)
    found = project(G, distance, 180 if free else 60, free=free)
    assert found.distance < 0.3 * first.distance and len(found.path) == SHOWN
    assert psnr(found.path[-1], to_uint8(target)[0]) > 30
    assert found.distance == pytest.approx(distance(G.synthesis(found.ws)).item(), rel=1e-3)
    same = (found.ws == found.ws[:, :1]).all()
    assert same != free  # one style for all layers, or one for each
    assert torch.equal(project(G, distance, 1, free=free).ws, first.ws)
    assert not torch.equal(project(G, distance, 1, free=free, seed=1).ws, first.ws)


def test_distance(G):
    """0 for the target, small for a small change, and the batch's images do not mix."""
    images = from_uint8(torch.stack([draw_seed(G, seed) for seed in range(3)]))
    distance = perceptual(load_vgg("vgg16"), images[:1])
    together = distance(images)
    assert together[0] < 1e-6 and together[1:].min() > 0.05 and distance(images[:1] + 0.01) < together[1:].min() / 10
    assert torch.allclose(together[2:], distance(images[2:]), rtol=1e-4)
    grey = perceptual(load_vgg("vgg16"), images[:1, :1])
    assert grey(images[:1, :1]) < 1e-6 and grey(images[1:2, :1]) > 0.05


def test_labels_are_those_asked_for():
    torch.manual_seed(0)
    G = Generator(16, c_dim=3, **SIZES).eval().requires_grad_(False)
    c = torch.eye(3)[2:]
    target = from_uint8(draw_seed(G, 3, c)[None])
    distance = perceptual(load_vgg("vgg16"), target)
    assert project(G, distance, 2, c=c).distance != project(G, distance, 2, c=torch.eye(3)[:1]).distance


def test_command(tmp_path, G):
    network, out = tmp_path / "network.safetensors", tmp_path / "out"
    save_snapshot(network, "generator", G)
    save_png(tmp_path / "wide.png", draw_seed(G, 3).repeat_interleave(4, 1).repeat_interleave(6, 2))
    words = ["--target", tmp_path / "wide.png", "--network", network, "--steps", 8, "--device", "cpu"]
    said = call(projector.main, *words, "--outdir", out, "--space", "w+")
    assert {path.name for path in out.iterdir()} == {"target.png", "proj.png", "path.png", "projected_w.npz"}
    assert " dB; " in said and Image.open(out / "path.png").size == (16 * (SHOWN + 1), 16)
    assert Image.open(out / "target.png").size == (16, 16)
    call(generate.main, "--network", network, "--projected-w", out / "projected_w.npz", "--outdir", tmp_path / "drawn")
    drawn, proj = (np.asarray(Image.open(path)) for path in (tmp_path / "drawn" / "proj00.png", out / "proj.png"))
    assert np.array_equal(drawn, proj)
    with pytest.raises(InputError, match="--target .*: found 3 images, wanted one"):
        call(projector.main, "--target", out, *words[2:], "--outdir", out)


@pytest.mark.parametrize("name", ["target.png", "proj.png", "path.png"])
def test_a_target_is_not_replaced(tmp_path, G, name, monkeypatch):
    """By the crop of it, for one, which has the name that people choose, too; whatever way the folder is written."""
    monkeypatch.setattr(projector, "project", lambda *arguments: pytest.fail("was projected"))
    save_snapshot(tmp_path / "network.safetensors", "generator", G)
    face = tmp_path / "face"
    face.mkdir()
    save_png(face / name, draw_seed(G, 3).repeat_interleave(4, 1).repeat_interleave(6, 2))
    (tmp_path / "link").symlink_to(face)
    before = (face / name).read_bytes()
    common = ["--network", tmp_path / "network.safetensors", "--device", "cpu"]
    for target, outdir in ((face / name, face), (face / name, tmp_path / "link"), (tmp_path / "link" / name, face)):
        with pytest.raises(InputError, match=f"--outdir .*{name}: is the file of --target .*{name}, wanted another one"):
            call(projector.main, "--target", target, "--outdir", outdir, *common)
    with pytest.raises(InputError, match=f"--outdir .*{name}: is one of the files of --target .*face, wanted another one"):
        call(projector.main, "--target", face, "--outdir", face, *common)
    assert (face / name).read_bytes() == before and list(face.iterdir()) == [face / name]


@pytest.mark.parametrize("main", [projector.main, eval_style.main, calc_metrics.main])
def test_seeds_that_no_generator_takes(main):
    (seed,) = (option for option in main.params if option.name == "seed")
    assert seed.type.convert(str(2**32 - 1), seed, None) == 2**32 - 1
    for number in ("99999999999999999999", str(2**32), "-1"):
        with pytest.raises(click.BadParameter, match="is not in the range"):
            seed.type.convert(number, seed, None)


def test_targets_are_cropped_and_grey_where_the_network_is(tmp_path):
    Image.new("RGB", (40, 20), "red").save(tmp_path / "red.png")
    assert read_target(tmp_path / "red.png", Generator(16, img_channels=1, **SIZES)).shape == (1, 1, 16, 16)
    assert read_target(tmp_path / "red.png", Generator((16, 32), **SIZES)).shape == (1, 3, 16, 32)
    with pytest.raises(InputError, match="draws 4 channels, wanted 1 or 3"):
        read_target(tmp_path / "red.png", Generator(16, img_channels=4, **SIZES))


def test_styles_are_saved_and_drawn_again(tmp_path, G):
    network, file = tmp_path / "network.safetensors", tmp_path / "deep" / "w.npz"
    save_snapshot(network, "generator", G)
    common = ["--network", network, "--device", "cpu"]
    call(generate.main, *common, "--seeds", "4,9", "--trunc", 0.7, "--outdir", tmp_path / "a", "--save-ws", file)
    call(generate.main, *common, "--projected-w", file, "--outdir", tmp_path / "b", "--grid", tmp_path / "g.png")
    for one, other in (("seed0004", "proj00"), ("seed0009", "proj01")):
        assert (tmp_path / "a" / f"{one}.png").read_bytes() == (tmp_path / "b" / f"{other}.png").read_bytes()
    saved = load_ws(file, G.num_ws, G.w_dim)
    assert torch.allclose(saved[1:], seed_styles(G, 9, None, 0.7, None), atol=1e-2)
    assert Image.open(tmp_path / "g.png").size == (32, 16)
    for words, message in (
        ([], "wanted --seeds, or --projected-w"),
        (["--seeds", "1", "--projected-w", file], "but not both"),
        (["--projected-w", file, "--trunc", 0.5], "--trunc: has no say in --projected-w"),
        (["--projected-w", file, "--class", 1], "--class: has no say"),
        (["--seeds", "1", "--trunc-cutoff", 2], "--trunc-cutoff 2: has no say without --trunc, as a psi of 1"),
        (["--projected-w", file, "--show-kernels", tmp_path / "k.png"], "--show-kernels: found 2 styles, wanted one"),
    ):
        with pytest.raises(InputError, match=message):
            call(generate.main, *common, "--outdir", tmp_path / "c", *words)
