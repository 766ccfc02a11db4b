"""Losses of style transfer, the squares it is trained on, the command, and that a resumed training is the training."""

import json
import multiprocessing
import os
import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import train_style
from networks.style_transfer.feature_losses import (
    CONTENT_LOSSES,
    COVARIANCE_WEIGHT,
    STYLE_LOSSES,
    cmd_loss,
    content_loss,
    gram,
    gram_loss,
    moments_loss,
    normalized_content_loss,
    structure_loss,
)
from networks.style_transfer.stylizer import load_stylizer
from networks.style_transfer.vgg import VGG
from torch_utils.archive import Archive
from torch_utils.files import InputError
from torch_utils.images import from_uint8
from torch_utils.stats import read_jsonl
from training.dataset import batches
from training.image_memory import in_words
from training.run.health import Diverged
from training.run.start import find_run, restore, stored_options
from training.style_transfer.config import PRESETS, StyleConfig
from training.style_transfer.crops import Crops, shrunk
from training.style_transfer.loop import sample_images, style_step
from training.style_transfer.loop import train_style as train
from training.style_transfer.report import middles
from training.style_transfer.state import StyleState

CPU = torch.device("cpu")
TINY = dict(encoder="vgg16", style_depth=2, style_width=4, adaptive=True, crop=32, resize=40, batch=2, workers=0)
TINY |= dict(style_crop=32, hold_out_content=1, hold_out_style=1, cfg="small", style_weight=1.0)


def fake_vgg(seed: int = 0) -> VGG:
    """With weights that keep the variance: no file is needed, and features are of a sensible size."""
    torch.manual_seed(seed)
    network = VGG("vgg16")
    for layer in network.convolutions:
        torch.nn.init.kaiming_normal_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    return network


@pytest.fixture(scope="session")
def encoder_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("encoder") / "vgg16.pth"
    torch.save(fake_vgg().state_dict(), path)
    return path


@pytest.fixture
def pictures(tmp_path):
    """pictures(name, n) -> folder of smooth images, each of a size of its own."""

    def make(name: str, n: int = 4):
        folder = tmp_path / name
        folder.mkdir()
        rng = np.random.RandomState(len(name))
        for i in range(n):
            pixels = rng.randint(0, 256, (5, 6, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((48 + 7 * i, 61 - 3 * i)).save(folder / f"{i:03d}.jpg")
        return folder

    return make


def features(*seeds: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(sum(seeds))
    shapes = (2, 3, 8, 8), (2, 5, 4, 4)
    return [torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in shapes]


# Losses


@pytest.mark.parametrize("loss", [*CONTENT_LOSSES.values(), *STYLE_LOSSES.values()])
def test_losses_are_zero_for_equals_and_have_derivatives(loss):
    x, y = features(0), features(1)
    assert loss(x, x).item() < 1e-4  # the moments' square roots are of tiny numbers
    assert loss(x, y).item() > 0.01
    inputs = [f.requires_grad_() for f in x]
    assert torch.autograd.gradcheck(lambda *parts: loss(list(parts), y), inputs)
    loss(inputs, [f.detach() for f in inputs]).backward()
    assert all(f.grad is None or f.grad.isfinite().all() for f in inputs)  # also where two styles agree


@pytest.mark.parametrize("loss", list(STYLE_LOSSES.values()))
def test_style_losses_do_not_see_where_things_are(loss):
    x, y = features(0), features(1)
    moved = [f.roll((3, 1), (2, 3)).flip(3) for f in y]
    assert loss(x, moved).item() == pytest.approx(loss(x, y).item(), rel=1e-9)


def test_moments_by_hand():
    x, y = features(0), features(1)
    wanted = 0
    for a, b in zip(x, y):
        for statistic in (lambda f: f.mean((2, 3)), lambda f: (f.var((2, 3), correction=0) + 1e-5).sqrt()):
            wanted += ((statistic(a) - statistic(b)) ** 2).mean()
    assert torch.allclose(moments_loss(x, y), wanted)


def test_the_normalized_content_loss_sees_patterns_only():
    """Neither a channel's scale nor its shift, and twice what is missing to a correlation of 1."""
    x, y = features(0)[-1], features(1)[-1]
    scale, shift = torch.rand(2, 5, 1, 1) + 0.5, torch.randn(2, 5, 1, 1)
    found = normalized_content_loss([x], [y])
    assert torch.allclose(found, normalized_content_loss([scale * x + shift], [y]), rtol=1e-3)
    correlations = [
        torch.corrcoef(torch.stack(pair))[0, 1] for pair in zip(x.flatten(2).flatten(0, 1), y.flatten(2).flatten(0, 1))
    ]
    assert torch.allclose(found, 2 * (1 - torch.stack(correlations)).mean(), rtol=1e-3)
    assert not torch.allclose(content_loss([x], [y]), content_loss([scale * x + shift], [y]), rtol=0.1)


def test_gram_sees_what_moments_do_not():
    """Two channels that agree, and two that do not, each with the same mean and spread."""
    wave = torch.linspace(0, 6.28, 65)[:-1].sin().view(1, 1, 1, -1)
    together, apart = torch.cat([wave, wave], 1), torch.cat([wave, wave.roll(16, 3)], 1)
    assert moments_loss([together], [apart]).item() < 1e-10
    assert gram_loss([together], [apart]).item() > 0.1
    assert torch.allclose(gram(together)[0], torch.full((2, 2), wave.square().mean().item()))


def test_the_structure_loss_by_hand():
    """Moments, and covariances relative to both; the latter neither see a shift nor a common scale."""
    x, y = features(0), features(1)
    apart = 0
    for one, other in zip(x, y):
        for a, b in zip(one, other):
            a, b = (torch.cov(f.flatten(1), correction=0) for f in (a, b))
            apart += (a - b).square().sum() / (a.square().sum() + b.square().sum()) / len(one)
    assert torch.allclose(structure_loss(x, y), moments_loss(x, y) + COVARIANCE_WEIGHT * apart, rtol=1e-4)
    excess = lambda x, y: structure_loss(x, y) - moments_loss(x, y)
    moved = [[3 * f + 7 for f in maps] for maps in (x, y)]
    assert torch.allclose(excess(*moved), excess(x, y), rtol=1e-3)
    assert structure_loss(x, x).item() == pytest.approx(0, abs=1e-6)
    flat = [torch.ones_like(f) for f in x]
    assert torch.isfinite(structure_loss(flat, flat)) and 0 < excess(x, flat) <= COVARIANCE_WEIGHT * len(x)


def test_cmd_sees_higher_moments():
    spread = torch.tensor([-1.0, 1, -1, 1]).view(1, 1, 2, 2)
    skewed = torch.tensor([-(3**0.5), 3**-0.5, 3**-0.5, 3**-0.5]).view(1, 1, 2, 2)  # same mean and variance
    assert moments_loss([spread], [skewed]).item() < 1e-10
    assert cmd_loss([spread], [skewed]).item() > 0.01
    assert cmd_loss([spread], [skewed], order=5).item() > cmd_loss([spread], [skewed], order=2).item()


# Squares


def test_squares_depend_on_the_position_alone(pictures):
    crops = Crops(Archive(pictures("photos")), 32, 40, held_out=1)
    first, again, other = crops[1, 7][0], crops[1, 7][0], crops[1, 8][0]
    assert first.shape == (3, 32, 32) and first.dtype == torch.uint8
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert len(crops) == 3 and crops.held_out == ["003.jpg"]
    assert crops.middle("003.jpg").shape == (3, 32, 32)
    whole = batches(crops, 2, seed=0, positions=True)
    seen = [next(whole)[0] for _ in range(4)]
    later = batches(crops, 2, seed=0, start=4, positions=True)
    assert torch.equal(next(later)[0], seen[2])  # what a resumed training sees


def test_squares_of_any_image(tmp_path):
    """Grey, alpha, palette, smaller than the square: all become RGB of the size asked for."""
    for i, mode in enumerate(("L", "LA", "RGBA", "P", "RGB")):
        Image.new(mode, (9 + i, 30)).save(tmp_path / f"{i}.png")
    crops = Crops(Archive(tmp_path), 32, 32)
    for i in range(5):
        assert crops[i, 0][0].shape == (3, 32, 32)
    assert crops[1, 0][0].min() == 255  # transparent: white


def test_squares_of_damaged_images(pictures):
    folder = pictures("photos")
    path = folder / "001.jpg"
    path.write_bytes(path.read_bytes()[:-100])  # the header is whole
    (folder / "002.jpg").write_bytes(b"nonsense")
    with pytest.raises(InputError, match=r"002\.jpg"):
        Crops(Archive(folder), 32, 40).check()
    with pytest.raises(InputError, match=r"001\.jpg"):
        Crops(Archive(folder), 32, 40)[1, 0]
    crops = Crops(Archive(folder), 32, 40, skip_bad=True)
    assert list(crops.check()) == ["002.jpg"] and len(crops) == 3
    assert torch.equal(crops[1, 5][0], crops[2, 5][0])  # the next one in its place


def test_squares_of_a_line_are_refused_or_left_out(tmp_path):
    """60,000 × 1 pixels are few, and 60,000 · 40 × 40 are many."""
    Image.new("RGB", (60_000, 1)).save(tmp_path / "a.png")
    Image.new("RGB", (1, 60_000)).save(tmp_path / "b.png")
    for name in ("c.png", "d.png"):
        Image.new("RGB", (40, 50)).save(tmp_path / name)
    with pytest.raises(InputError, match=r"a\.png: would have 2400000×40 pixels with a short side of 40, wanted 67108864"):
        Crops(Archive(tmp_path), 32, 40).check()
    crops = Crops(Archive(tmp_path), 32, 40, 1, skip_bad=True)
    found = crops.check()
    assert list(found) == ["a.png", "b.png"] and "b.png: would have 40×2400000 pixels" in found["b.png"]
    assert len(crops) == 1 and crops.nbytes == 3 * 40 * 50


def test_damaged_images_that_are_held_out(pictures):
    """Behind a good header: what is to be shown is decoded, and left out."""
    folder = pictures("photos")
    path = folder / "003.jpg"
    path.write_bytes(path.read_bytes()[:-100])
    crops = Crops(Archive(folder), 32, 40, 2, skip_bad=True)
    found = crops.check()
    assert list(found) == ["003.jpg"] and "damaged" in found["003.jpg"]
    assert crops.held_out == ["002.jpg"] and crops.set_aside == ("002.jpg", "003.jpg") and len(crops) == 2
    assert middles(crops, 4).shape == (1, 3, 32, 32)
    with pytest.raises(InputError, match=r"held out can be read; the first: .*003\.jpg"):
        Crops(Archive(folder), 32, 40, 1, skip_bad=True).check()
    whole = Crops(Archive(folder), 32, 40, 2)
    assert whole.check() == {}
    with pytest.raises(InputError, match=r"003\.jpg"):
        middles(whole, 4)


def test_squares_of_images_in_memory(pictures, monkeypatch):
    """The same ones, whether none, some or all of the images are kept; and what was kept needs no file."""
    archive = Archive(pictures("photos"))
    decode, decoded, found = Archive.image, [], []
    monkeypatch.setattr(Archive, "image", lambda archive, name: decoded.append(name) or decode(archive, name))
    crops = Crops(archive, 32, 40)
    crops.check()
    assert crops.nbytes == sum(np.array(shrunk(archive.image(name), 40)).nbytes for name in archive.names)
    for room, kept in ((0, 0), (crops.nbytes - 1, 3), (crops.nbytes, 4)):
        monkeypatch.setattr("training.image_memory.KEPT_BYTES", room)
        crops = Crops(archive, 32, 40)
        crops.check()
        assert crops.in_memory == (kept == 4)
        decoded.clear()
        stream = batches(crops, 2, seed=0, positions=True, workers=2 if crops.in_memory else 0)
        found.append(torch.stack([next(stream)[0].clone() for _ in range(6)]))
        assert not multiprocessing.active_children()  # workers would have nothing to do
        assert len(decoded) == kept + 3 * (4 - kept)  # three epochs
        assert torch.equal(found[0], found[-1])
        crops[1, 7][0].zero_()  # what is kept is not what is handed out
    decoded.clear()
    assert torch.equal(crops[1, 7][0], pickle.loads(pickle.dumps(crops))[1, 7][0]) and len(decoded) == 1
    for path in archive.path.iterdir():
        path.unlink()
    stream = batches(crops, 2, seed=0, start=4, positions=True)
    assert torch.equal(torch.stack([next(stream)[0] for _ in range(4)]), found[0][2:])


def test_what_is_kept_in_memory_is_said(monkeypatch):
    monkeypatch.setattr("training.image_memory.KEPT_BYTES", 100 << 20)
    assert in_words(5000) == in_words(5000, partly=True) == ", kept in memory (1 MB)"
    assert in_words(200 << 20) == ""
    assert in_words(2000 << 20, partly=True) == ", as many as fit kept in memory (100 of 2,000 MB)"


@pytest.mark.parametrize("side, short, held_out", [(64, 32, 0), (32, 32, 4)])
def test_squares_that_cannot_be(pictures, side, short, held_out):
    with pytest.raises(InputError):
        Crops(Archive(pictures("photos")), side, short, held_out)


# Training


def make(content, style, **changes):
    config = StyleConfig(**TINY | dict(content=str(content), style=str(style)) | changes)
    crops = train_style.list_images(config)
    return config, crops, StyleState(config)


@pytest.mark.parametrize("transfer", ["adaconv", "adain"])
def test_one_pair_is_learned(transfer):
    """The whole of it, on one content and one style: all losses fall to a fraction."""
    config = StyleConfig(content="", style="", transfer=transfer, **TINY | dict(style_depth=8, style_width=16, lr=0.004))
    state, encoder = StyleState(config), fake_vgg()
    generator = torch.Generator().manual_seed(0)
    content, style = (F.interpolate(torch.rand(1, 3, n, n, generator=generator) * 2 - 1, size=32) for n in (4, 16))
    state.measure_encoder(encoder, [content, style])
    encoder.rescale(state.network.encoder_means)
    losses = []
    for _ in range(60):
        style_step(state, config, encoder, content, style)
        losses.append(state.means.take())
    first, last = losses[0], losses[-1]
    assert last["style"] < 0.35 * first["style"] and last["content"] < 0.8 * first["content"], (first, last)


def tensors(state):
    return {
        key: value
        for name in ("network", "optimiser")
        for key, value in _flat(getattr(state, name).state_dict(), name).items()
        if isinstance(value, torch.Tensor)
    }


def _flat(values, prefix):
    if not isinstance(values, dict):
        return {prefix: values}
    return {name: leaf for key, value in values.items() for name, leaf in _flat(value, f"{prefix}.{key}").items()}


@pytest.mark.parametrize(
    "changes",
    [
        dict(),
        dict(transfer="adain", style_loss="gram"),
        dict(identity_weight=1.0, workers=1),
        dict(style_augment=True, content_augment=True, balance_sources=True),
        dict(style_augment=True, content_augment=True, workers=1),
        dict(identity_weight=1.0, precision="bf16"),
        dict(transfer="adain", style_loss="cmd", precision="bf16"),
        dict(lr_end=0.1, ramp_kimg=0.01),
        dict(statistics="exact", noise=True, padding="reflect", encoder_padding="reflect", precision="bf16"),
    ],
)
def test_resumed_training_is_the_training(pictures, tmp_path, changes):
    content, style = pictures("photos"), pictures("paintings", 3)
    states = {}
    for name, lengths in (("whole", [0.012]), ("parts", [0.006, 0.012])):
        run_dir = tmp_path / name
        run_dir.mkdir()
        for kimg in lengths:
            config, crops, state = make(content, style, kimg=kimg, tick=0.002, snap=2, **changes)
            if kimg != lengths[0]:
                state.load(run_dir)
            assert train(config, *crops, state, fake_vgg(), run_dir, CPU)
        states[name] = state
    whole, parts = (tensors(state) for state in states.values())
    assert whole.keys() == parts.keys() and len(whole) > 40
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
    records = [read_jsonl(tmp_path / name / "stats.jsonl") for name in states]
    assert [r["nimg"] for r in records[0]] == [r["nimg"] for r in records[1]] == [2, 4, 6, 8, 10, 12]
    assert [r["style"] for r in records[0]] == [r["style"] for r in records[1]]


def test_the_encoder_is_measured_on_images_of_all_sources(tmp_path):
    """The first names may all be drawings, in which most channels of VGG are off: measured on these, others grow by 100."""
    for name, grey in (("a", 0), ("b", 255)):
        (tmp_path / name).mkdir()
        for i in range(40):
            Image.new("RGB", (40, 40), (grey,) * 3).save(tmp_path / name / f"{i:03d}.png")
    crops = Crops(Archive(tmp_path), 32, 40)
    found = [float(image.mean()) for image in sample_images([crops], CPU)]
    assert sorted(found) == [-1.0] * 16 + [1.0] * 16


def test_going_on_with_other_eyes_is_refused(pictures, tmp_path):
    config, crops, state = make(pictures("photos"), pictures("paintings"), kimg=0.002)
    state.network.encoder_norms.copy_(1.5 * fake_vgg().norms())
    state.step = 1
    with pytest.raises(InputError, match="other weights"):
        train(config, *crops, state, fake_vgg(), tmp_path / "run", CPU)
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_not_finite_stops_the_training(pictures):
    config, crops, state = make(pictures("photos"), pictures("paintings"))
    state.network.levels[1].convs[0].weight.data[0, 0, 0, 0] = torch.nan
    images = [from_uint8(c[0, 0][0][None]) for c in crops]
    with pytest.raises(Diverged, match=r"levels\.1\.convs\.0\.weight"):
        style_step(state, config, fake_vgg(), *images)
    assert not state.optimiser.state_dict()["state"]  # no update was made of it


@pytest.mark.parametrize(
    "changes",
    [
        dict(content_weight=3.0),
        dict(style_weight=3.0),
        dict(style_ramp=1.0),
        dict(style_loss="gram"),
        dict(style_loss="cmd"),
        dict(style_loss="structure"),
        dict(identity=1.0),
        dict(identity_weight=1.0),
        dict(content_loss="normalized"),
        dict(precision="bf16"),
        dict(lr=0.01),
        dict(kernel_size=1),
        dict(kernel_size=5),
        dict(style_depth=3),
        dict(style_width=5),
        dict(transfer="adain"),
        dict(transfer="predicted-adain"),
        dict(statistics="exact"),
        dict(padding="reflect"),
        dict(encoder_padding="reflect"),
        dict(noise=True),
        dict(seed=1),
        dict(beta2=0.5),
    ],
)
def test_options_of_the_step_have_an_effect(pictures, changes):
    content, style = pictures("photos"), pictures("paintings")
    found = []
    for given in ({}, changes):
        config, crops, state = make(content, style, **given)
        encoder = fake_vgg()
        encoder.padding = config.encoder_padding  # as `load_vgg` sets it
        for i in range(2):
            images = [from_uint8(torch.stack([c[0, i][0], c[1, i][0]])) for c in crops]
            style_step(state, config, encoder, *images)
        found.append(state.network.levels[-1].convs[0].weight)
    assert found[0].shape != found[1].shape or not torch.equal(*found)


def test_styles_may_be_cut_larger_than_contents(pictures, tmp_path):
    config, crops, state = make(pictures("photos"), pictures("paintings"), kimg=0.002, style_crop=40, crop=32)
    assert crops[0][0, 0][0].shape == (3, 32, 32) and crops[1][0, 0][0].shape == (3, 40, 40)
    (tmp_path / "run").mkdir()
    assert train(config, *crops, state, fake_vgg(), tmp_path / "run", CPU)
    with Image.open(tmp_path / "run" / "fakes000000.png") as picture:  # styles in the first column, in the contents' size
        assert picture.width % 32 == 0 and picture.height % 32 == 0
    assert StyleConfig(content="a", style="b", crop=64).style_side == 64


@pytest.mark.parametrize("wrong", [dict(crop=128), dict(style_crop=128), dict(crop=128, style_crop=256, identity_weight=1.0)])
def test_the_papers_style_encoder_wants_its_size(wrong):
    options = dict(content="a", style="b", cfg="paper")
    with pytest.raises(InputError, match="takes 256 only"):
        train_style.resolve(options | wrong, CPU)
    assert train_style.resolve(options | wrong | dict(adaptive=True), CPU).adaptive
    assert train_style.resolve(options | dict(crop=128, style_crop=256), CPU).crop == 128


def test_the_style_weight_rises_and_stays():
    config = StyleConfig(content="a", style="b", style_weight=3.0, style_ramp=2.0)
    assert [config.style_weight_at(nimg) for nimg in (0, 500, 1000, 2000, 9000)] == [0, 0.75, 1.5, 3, 3]
    assert StyleConfig(content="a", style="b", style_weight=3.0).style_weight_at(0) == 3


def test_the_learning_rate_falls_and_stays():
    config = StyleConfig(content="a", style="b", lr=0.4, lr_end=0.5, ramp_kimg=2)
    assert [round(config.lr_at(nimg), 9) for nimg in (0, 1000, 2000, 9000)] == [0.4, 0.3, 0.2, 0.2]
    assert StyleConfig(content="a", style="b", lr=0.4).lr_at(5000) == 0.4
    content, style = torch.rand(2, 2, 3, 32, 32)
    config = StyleConfig(**TINY | dict(content="a", style="b", lr_end=0.5, ramp_kimg=0.004))
    state, encoder = StyleState(config), fake_vgg()
    for nimg, rate in ((0, config.lr), (4, config.lr / 2)):
        state.nimg = nimg
        style_step(state, config, encoder, content, style)
        assert state.optimiser.param_groups[0]["lr"] == pytest.approx(rate)


def test_a_training_starts_from_the_mirrored_encoder_once(pictures, tmp_path):
    """The first step's weights are within a step of the transposed ones; a continuation does not start again."""
    images, encoder, last = (pictures("photos"), pictures("paintings")), fake_vgg(), {}
    for start in ("random", "mirrored"):
        (tmp_path / start).mkdir()
        config, crops, state = make(*images, kimg=0.002, lr=1e-6, decoder_start=start)
        assert train(config, *crops, state, fake_vgg(), tmp_path / start, CPU)
        last[start] = state.network.levels[0].convs[0].weight.detach().flatten()
    encoder.rescale(state.network.encoder_means)
    wanted = encoder.convolutions[-1].weight.transpose(0, 1).flip(2, 3).flatten()
    alike = {start: torch.cosine_similarity(weight, wanted, dim=0).item() for start, weight in last.items()}
    assert alike["mirrored"] > 0.999 and abs(alike["random"]) < 0.1
    longer, crops, state = make(*images, kimg=0.004, lr=1e-6, decoder_start="mirrored")
    state.load(tmp_path / "mirrored", CPU)
    state.network.levels[0].convs[0].weight.data.zero_()
    assert train(longer, *crops, state, fake_vgg(), tmp_path / "mirrored", CPU)
    assert state.network.levels[0].convs[0].weight.abs().max() < 1e-3


# The command


def options(content, style, encoder_file, outdir, changes=()):
    values = dict(
        TINY, content=content, style=style, encoder_weights=encoder_file, outdir=outdir, kimg=0.006, tick=0.002, snap=2
    )
    for name, value in (values | dict(changes)).items():
        yield from (f"--{name.replace('_', '-')}", str(value).lower() if isinstance(value, bool) else str(value))


def test_command_trains_resumes_and_shows(run_command, pictures, encoder_file, tmp_path):
    content, style, outdir = pictures("photos"), pictures("paintings"), tmp_path / "runs"
    arguments = list(options(content, style, encoder_file, outdir))
    done = run_command("train_style.py", *arguments)
    assert done.returncode == 0, done.stderr
    (run_dir,) = outdir.iterdir()
    names = {path.name for path in run_dir.iterdir()}
    assert names >= {
        "report.html",
        "training_options.json",
        "log.txt",
        "stats.jsonl",
        "reals.png",
        "styles.png",
        "fakes_init.png",
        "fakes000000.png",
        "network-snapshot-000000.safetensors",
        "metric-style_loss.jsonl",
        "metric-content_loss.jsonl",
        "training-state.pt",
    }
    with Image.open(run_dir / "fakes000000.png") as picture:
        assert picture.size == (64, 64)  # a content and a style, beside and under each other
    page = (run_dir / "report.html").read_text(encoding="utf-8")
    assert "style_loss" in page and "photos" in page and "adaconv" in page

    stylizer = load_stylizer(run_dir / "network-snapshot-000000.safetensors", encoder_file)
    descriptor = stylizer.encode_style(torch.zeros(1, 3, 50, 40))
    image = stylizer.stylize(torch.zeros(1, 3, 33, 47), stylizer.network.kernels(descriptor))
    assert image.shape == (1, 3, 33, 47) and image.isfinite().all()

    more = run_command("train_style.py", *arguments, "--kimg", "0.010", "--resume", "auto")
    assert more.returncode == 0, more.stderr
    assert [r["nimg"] for r in read_jsonl(run_dir / "stats.jsonl")] == [2, 4, 6, 8, 10]
    assert len(list(outdir.iterdir())) == 1
    config = json.loads((run_dir / "training_options.json").read_text())
    assert config["kimg"] == 0.010 and config["transfer"] == "adaconv"


def test_auto_finds_only_the_like(pictures, tmp_path):
    content, style = pictures("photos"), pictures("paintings")
    config, crops, state = make(content, style, kimg=0.002, tick=0.002, snap=1)
    run_dir = tmp_path / "runs" / "00000-x"
    run_dir.mkdir(parents=True)
    (run_dir / "training_options.json").write_text(json.dumps(config.to_json()))
    state.save(run_dir)
    assert find_run(tmp_path / "runs", config) == run_dir
    assert find_run(tmp_path / "runs", make(content, style, kimg=5, workers=1)[0]) == run_dir
    assert find_run(tmp_path / "runs", make(content, style, lr=0.1)[0]) is None


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(content="nowhere"), "nowhere"),
        (dict(encoder_weights="nowhere.pth"), "nowhere.pth"),
        (dict(encoder="vgg19"), "vgg19"),
        (dict(crop=48), "48"),
        (dict(adaptive=False), "256"),
        (dict(hold_out_style=4), "held out"),
        (dict(hold_out_style=0), "--hold-out-style-folders"),
        (dict(hold_out_content_folders="nowhere"), "nowhere"),
        (dict(style_loss="none"), "style-loss"),
        (dict(transfer="wct"), "nothing to train: python stylize.py --transfer wct --network NETWORK, one of --transfer adain"),
        (dict(transfer="patch-swap"), "nothing to train: python stylize.py --transfer patch-swap --network"),
        (dict(transfer="gatys"), "nothing to train: python stylize.py --transfer gatys --network NETWORK, of any transfer"),
        (dict(resume="nowhere"), "nowhere"),
        (dict(device="nothing"), "nothing"),
    ],
)
def test_command_says_in_one_line_what_is_wrong(run_command, pictures, encoder_file, tmp_path, changes, message):
    outdir = tmp_path / "runs"
    done = run_command(
        "train_style.py", *options(pictures("photos"), pictures("paintings"), encoder_file, outdir, changes), cwd=tmp_path
    )
    assert done.returncode == 2 and message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not outdir.exists()


def test_dry_run_leaves_nothing(run_command, pictures, encoder_file, tmp_path):
    outdir = tmp_path / "runs"
    done = run_command("train_style.py", *options(pictures("photos"), pictures("paintings"), encoder_file, outdir), "-n")
    assert done.returncode == 0 and "parameters" in done.stdout and not outdir.exists()
    assert "3 images of photos, kept in memory (1 MB); 1 held out" in done.stdout


def test_presets_are_whole_and_the_documented_command_is_the_papers(tmp_path):
    for values in PRESETS.values():
        StyleConfig.from_json(dict(content="a", style="b") | values())
    paper = StyleConfig(content="a", style="b", **PRESETS["paper"]())
    assert (paper.style_depth, paper.crop, paper.encoder, paper.adaptive) == (512, 256, "vgg19", False)
    with pytest.raises(InputError, match="lr"):
        StyleConfig.from_json(dict(content="a", style="b", lr=-1))


def test_every_option_of_the_command_is_an_option_of_the_training():
    shown, fields = {option.name for option in train_style.main.params}, set(StyleConfig.__dataclass_fields__)
    others = {"outdir", "resume", "device", "desc", "dry_run"}
    assert fields - shown == {"beta2", "run", "squares_apart"} and shown - fields == others, fields ^ shown


@pytest.mark.slow
def test_real_images_are_learned_from(run_command, test_data, tmp_path):
    """With VGG-16 as it is: held-out losses fall."""
    weights = test_data / "weights" / "vgg16_to_conv4_1.safetensors"
    arguments = dict(content=test_data / "data" / "photos", style=test_data / "data" / "paintings", encoder_weights=weights)
    arguments |= dict(
        outdir=tmp_path / "runs", cfg="small", crop=64, style_crop=64, resize=128, kimg=0.4, tick=0.1, snap=4, workers=0
    )
    flat = [text for name, value in arguments.items() for text in (f"--{name.replace('_', '-')}", str(value))]
    done = run_command("train_style.py", *flat, timeout=1800, env={"OMP_NUM_THREADS": str(os.cpu_count())})
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "runs").glob("*/metric-style_loss.jsonl")
    records = read_jsonl(path)
    assert records[-1]["value"] < 0.65 * records[0]["value"]  # 0.54 in bf16 on a CPU


def test_contents_and_styles_are_cut_at_different_places(tmp_path):
    """Where neither is augmented; but in runs that began before, and go on."""
    ramp = torch.arange(128, dtype=torch.uint8)
    image = torch.stack([ramp.expand(128, 128), ramp[:, None].expand(128, 128), torch.zeros(128, 128, dtype=torch.uint8)])
    for name in ("photos", "paintings"):
        (tmp_path / name).mkdir()
        for i in range(2):
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / name / f"{i}.png")
    paths, given = (tmp_path / "photos", tmp_path / "paintings"), dict(resize=128)
    for apart in (True, False):
        config, crops, _ = make(*paths, **given, squares_apart=apart)
        places = [[tuple(images[0, i][0][:2, 0, 0].tolist()) for i in range(50)] for images in crops]
        same = sum(one == other for one, other in zip(*places))
        assert same < 5 if apart else same == 50
        assert places[0] == [tuple(Crops(Archive(paths[0]), 32, 128)[0, i][0][:2, 0, 0].tolist()) for i in range(50)]
    stored = {name: value for name, value in config.to_json().items() if name != "squares_apart"}
    run_dir = tmp_path / "runs" / "00000-x"
    run_dir.mkdir(parents=True)
    (run_dir / "training_options.json").write_text(json.dumps(stored))
    assert not stored_options(StyleConfig, run_dir).squares_apart and not restore(StyleConfig, run_dir, {}).squares_apart
    StyleState(config).save(run_dir)
    assert find_run(tmp_path / "runs", make(*paths, **given)[0]) == run_dir and make(*paths)[0].squares_apart
