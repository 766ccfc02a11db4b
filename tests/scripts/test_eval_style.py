"""Scores of style transfers, the stripes-and-dots test in small, and the command that prints them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

import torch_utils.precision
from metrics.style_transfer.ssim import edge_ssim, edges, ssim
from metrics.style_transfer.structure import structure_score
from networks.style_transfer.feature_losses import content_loss, gram, gram_distance, moments_loss
from networks.style_transfer.network import StyleTransfer
from networks.style_transfer.peers import make_peer
from networks.style_transfer.vgg import VGG
from scripts import eval_style
from scripts.benchmarks import style_transfer as style_speed
from scripts.experiments.stripes_and_dots import HELD_OUT, TRAINED, Styles, examine
from scripts.experiments.tiny_transfer import TinyTransfer, lift, train
from scripts.style_scores import kinds_table, over_networks
from tests.style_fixtures import random_stylizer
from torch_utils.archive import Archive
from torch_utils.checkpoint import save_snapshot
from torch_utils.files import InputError
from training.style_transfer.textures import Texture, smooth_field, texture_batch


def images(*shape, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def ssim_by_scipy(one: np.ndarray, other: np.ndarray, data_range: float) -> float:
    """The formula again, by another library's Gaussian: [H, W] twice."""
    blur = lambda x: gaussian_filter(x, 1.5, radius=5)
    mx, my = blur(one), blur(other)
    vx, vy, cov = blur(one * one) - mx**2, blur(other * other) - my**2, blur(one * other) - mx * my
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    found = (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    return float(found[5:-5, 5:-5].mean())


def test_ssim():
    one, other = images(2, 3, 40, 32), images(2, 3, 40, 32, seed=1) * 0.5
    found = ssim(one, other, data_range=2)
    for i in range(2):
        expected = np.mean([ssim_by_scipy(*(x[i, c].double().numpy() for x in (one, other)), 2) for c in range(3)])
        assert float(found[i]) == pytest.approx(expected, abs=1e-6)
    assert torch.equal(ssim(one, one, 2), torch.ones(2))
    assert torch.equal(ssim(one, other, 2), ssim(other, one, 2))
    flat = ssim(torch.full((1, 1, 16, 16), 0.2), torch.full((1, 1, 16, 16), 0.6), 1)  # only the means differ
    assert float(flat) == pytest.approx((2 * 0.2 * 0.6 + 1e-4) / (0.2**2 + 0.6**2 + 1e-4), abs=1e-6)
    with pytest.raises(ValueError, match="found images of 32×10 pixels, wanted 11"):
        ssim(one[:, :, :10], other[:, :, :10], 2)


def test_edges():
    step = torch.ones(1, 3, 20, 20)
    step[..., :10] = -1
    assert float(edges(step).max()) == pytest.approx(1)
    assert torch.allclose(edges(step.mT), edges(step).mT)
    content = torch.stack([smooth_field(64, i) for i in range(2)])
    assert torch.allclose(edge_ssim(content, content), torch.ones(2))
    assert edge_ssim(content * 0.9 + 0.1, content).min() > 0.98  # lighter
    assert torch.allclose(edge_ssim(content * 0.5 - 0.3, content * 0.5), torch.ones(2), atol=1e-3)
    assert edge_ssim(images(2, 3, 64, 64), content).max() < 0.1


def test_style_distances():
    maps = [images(2, 4, 9, 9) + 1, images(2, 8, 5, 5, seed=1) + 1]
    for measure in (content_loss, moments_loss, gram_distance):
        assert measure(maps, maps) == 0
        other = [images(*m.shape, seed=2 + i) for i, m in enumerate(maps)]
        together = measure(maps, other)
        alone = [measure([m[i : i + 1] for m in maps], [m[i : i + 1] for m in other]) for i in range(2)]
        assert float(together) == pytest.approx(float(sum(alone)) / 2, rel=1e-5) and alone[0] != alone[1]
    moved = [m + 0.5 for m in maps]
    assert float(content_loss(moved, maps)) == pytest.approx(0.25, rel=1e-5)
    assert float(moments_loss(moved, maps)) == pytest.approx(2 * 0.25, rel=1e-4)  # two layers; deviations agree
    assert float(gram_distance([2 * m for m in maps], maps)) == pytest.approx(3, rel=1e-4)
    assert float(gram_distance([0 * m for m in maps], maps)) == pytest.approx(1, rel=1e-5)
    assert torch.allclose(gram(maps[0])[1, 0, 2], (maps[0][1, 0] * maps[0][1, 2]).mean(), rtol=1e-5)
    larger = [m.repeat(1, 1, 2, 3) for m in maps]  # the same statistics in a larger map
    assert max(float(moments_loss(larger, maps)), float(gram_distance(larger, maps))) < 1e-4


def test_adain_cannot_know_which_texture_is_asked_for():
    """By construction: its kernels are the same for all of them, to rounding; those of the others are not."""
    torch.manual_seed(0)
    styles = texture_batch(HELD_OUT.all(), 64, 0)
    for transfer in ("adain", "adaconv", "predicted adain"):
        network = TinyTransfer(transfer, channels=8)
        noise = network.noise(1, 64, torch.Generator().manual_seed(0)).expand(len(styles), -1, -1, -1)
        kernels = torch.cat([t.flatten(1) for k in network.kernels(styles, noise) if k for t in k], dim=1)
        spread = float((kernels - kernels[:1]).abs().max().detach())
        assert spread < 1e-5 if transfer == "adain" else spread > 0.1, transfer
    assert lift(styles, noise).shape == (len(styles), 8, 64, 64)


def test_held_out_textures_were_not_trained_on():
    trained, held_out = TRAINED.all(), HELD_OUT.all()
    assert not {t.period for t in trained} & {t.period for t in held_out}
    assert not {t.degrees for t in trained} & {t.degrees for t in held_out}
    assert min(t.period for t in trained) < min(t.period for t in held_out)
    assert max(t.period for t in held_out) < max(t.period for t in trained)
    assert held_out[0] == Texture("stripes", 9.5, 7.5)


def test_adaconv_beats_adain_on_stripes_and_dots():
    """In small: three textures, the same to train and to examine but for the phases and the content."""
    few = Styles((7,), (0, 90), (45,))
    found = {}
    for transfer in ("adaconv", "adain"):
        network = train(transfer, 250, few.by_kind(), size=32, batch=6, channels=12)
        found[transfer] = examine(network, few, size=64)
    scores = {name: one.score.score for name, one in found.items()}
    assert scores["adaconv"] > scores["adain"] + 0.1, scores  # 0.14 to 0.2, likewise
    assert found["adaconv"].recognised > 0.5 > found["adain"].recognised  # 1 or two of three, by the processor's rounding


def test_training_repeats():
    few = Styles((8,), (0,), (45,))
    one, other = (train("adaconv", 2, few.by_kind(), size=32, batch=2, channels=8).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def networks(tmp_path):
    """Snapshots of both transfers and the weights of their encoder, none of them trained."""
    torch.manual_seed(0)
    encoder = VGG("vgg16")
    weights = tmp_path / "vgg16.pt"
    torch.save(encoder.state_dict(), weights)
    for transfer in ("adaconv", "adain"):
        network = StyleTransfer(transfer, "vgg16", style_depth=4, style_width=8)
        network.encoder_norms.copy_(encoder.norms())
        save_snapshot(tmp_path / f"{transfer}.safetensors", "style_transfer", network)
    return [tmp_path / "adaconv.safetensors", tmp_path / "adain.safetensors"], weights


@pytest.fixture
def sources(image_folder):
    """Folders of contents and styles, one below the other for each source: --content and --style."""
    content, style = image_folder(1, size=140, name="content"), image_folder(1, size=160, mode="RGBA", name="style")
    Image.new("L", (200, 130), 99).save(content / "grey.png")
    for source, colour in (("oil", "red"), ("ink", "black"), ("oil2", "blue")):
        (style / source / "deep").mkdir(parents=True)
        Image.new("RGB", (130, 130), colour).save(style / source / "deep" / "one.png")
    return ["--content", content, "--style", style]


def test_command_scores_networks(run_command, networks, sources, tmp_path):
    (adaconv, adain), weights = networks
    options = ["--encoder-weights", weights, *sources, "--size", 128, "--pairs", 3, "--out", tmp_path / "out"]
    saved = tmp_path / "saved"
    again = Path(shutil.copy(adain, tmp_path / "again.safetensors"))
    named = [text for path in (adaconv, adain, again) for text in ("--network", path)]
    done = run_command("scripts/eval_style.py", *named, *options, "--save-pictures", saved)
    assert done.returncode == 0, done.stderr
    rows = sorted(saved.iterdir())
    assert len(rows) == 6 and {"content", "style", "content-in-the-style-s-colours"} < {row.name for row in rows}
    assert all([path.name for path in sorted(row.iterdir())] == ["00000.png", "00001.png", "00002.png"] for row in rows)
    assert all(Image.open(row / "00002.png").size == (128, 128) for row in rows)
    assert (saved / "content" / "00001.png").read_bytes() != (saved / "style" / "00001.png").read_bytes()
    found = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))["evaluation"]
    assert len(found["pairs"]) == 3 and f"| {adain} |" in done.stdout and "| content | – | 1.000 ± 0.000 |" in done.stdout
    scores = found["networks"]
    assert scores["content"]["content_loss"] == 0 and scores["content"]["structure"] == 0 and scores["content"]["edges"] == 1
    assert scores["style"]["style_loss"] == 0 and scores["style"]["structure"] == 1 and scores["style"]["style_distance"] == 0
    distance = scores[str(adain)]["content_distance"]
    assert list(found["kinds"]) == ["adain"] and found["kinds"]["adain"]["networks"] == 2 and "| 2 × adain |" in done.stdout
    assert found["kinds"]["adain"]["scores"]["content_distance"] == pytest.approx([distance] * 3)
    for name in (str(adaconv), str(adain)):
        assert scores[name]["content_distance"] > 0 and scores[name]["edges"] < 1 and scores[name]["seconds"] > 0

    done = run_command("scripts/eval_style.py", "--network", adain, *sources[:2])
    assert done.returncode == 2 and "wanted" not in done.stdout and "takes --network, --content and --style" in done.stderr
    done = run_command("scripts/eval_style.py", "--speed", "--save-pictures", saved)
    assert done.returncode == 2 and "--save-pictures takes" in done.stderr
    done = run_command("scripts/eval_style.py", "--network", tmp_path / "none", *options)
    assert done.returncode == 2 and "no such network file" in done.stderr and len(done.stderr.splitlines()) == 1


def test_networks_are_of_a_kind_that_differ_in_weights_alone():
    networks = [random_stylizer(transfer, **options) for transfer, options in (
        ("adaconv", {}), ("adain", {}), ("adaconv", dict(kernel_size=1)), ("adaconv", {}), ("adaconv", dict(kernel_size=1)),
    )]  # fmt: skip
    methods = dict(zip("abcde", networks)) | dict(gatys=make_peer("gatys", networks[0]))
    assert eval_style.kinds_of(methods) == dict(a="adaconv", b="adain", c="adaconv (2)", d="adaconv", e="adaconv (2)")


def test_networks_of_several_seeds():
    rows = {name: dict(structure=value, combined=1.0) for name, value in dict(a=0.1, b=0.4, c=0.1, content=0.0).items()}
    found = over_networks(rows, dict(a="adaconv", b="adain", c="adaconv"))
    assert found == {"adaconv": dict(networks=2, scores=dict(combined=(1, 1, 1), structure=(0.1, 0.1, 0.1)))}
    found = over_networks(rows, dict(a="adaconv", b="adaconv"))
    assert found["adaconv"]["scores"]["structure"] == pytest.approx((0.25, 0.1, 0.4))
    assert kinds_table(found).splitlines()[-1] == "| 2 × adaconv | 1.000 (1.000 to 1.000) | 0.250 (0.100 to 0.400) |"


def test_command_keeps_to_sources(run_command, networks, sources, tmp_path):
    (adaconv, _), weights = networks
    options = ["--network", adaconv, "--encoder-weights", weights, *sources, "--size", 128, "--out", tmp_path / "out"]
    done = run_command("scripts/eval_style.py", *options, "--style-folders", "oil,ink/deep")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))["evaluation"]
    assert found["style_folders"] == ["oil", "ink/deep"]
    assert {pair["style"] for pair in found["pairs"]} == {"oil/deep/one.png", "ink/deep/one.png"}  # and not oil2's
    done = run_command("scripts/eval_style.py", *options, "--style-folders", "oil,pencil")
    assert done.returncode == 2 and "no images in a sub-folder pencil; it has ink/deep, oil/deep, oil2/deep" in done.stderr
    done = run_command("scripts/eval_style.py", *options, "--content-folders", "oil")
    assert done.returncode == 2 and "no images in a sub-folder oil; it has no sub-folders" in done.stderr
    done = run_command("scripts/eval_style.py", "--textures", "--content-folders", "oil")
    assert done.returncode == 2 and "take --content and --style" in done.stderr


def test_command_turns_styles(run_command, networks, sources, tmp_path):
    pytest.importorskip("matplotlib", reason="needs the dev extra")
    (adaconv, adain), weights = networks
    options = ["--network", adain, "--encoder-weights", weights, *sources, "--size", 128, "--out", tmp_path / "out"]
    done = run_command("scripts/eval_style.py", *options, "--pairs", 0, "--turning", "--style-folders", "oil")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert "evaluation" not in found and found["turning"]["picture"] == "oil/deep/one.png"
    stripes = found["turning"]["styles"]["stripes"]
    assert list(stripes) == [str(adain), "content", "style"] and len(stripes["style"]["degrees"][0]) == 12
    assert stripes["style"]["correlation"] > 0.99 and "| stripes | style | 1.00 | 1.00 | 1.00 |" in done.stdout
    with Image.open(tmp_path / "out-turning-stripes.png") as picture:
        assert picture.size == (12 * 128, 2 * 128)
    assert (tmp_path / "out-turning.png").exists() and (tmp_path / "out-turning-picture.png").exists()
    done = run_command("scripts/eval_style.py", "--network", adaconv, "--turning")
    assert done.returncode == 2 and "--turning takes --network and --content" in done.stderr


def test_command_compares_peers(run_command, networks, sources, tmp_path):
    """In all tables, beside the network that they stand on, on the same pairs."""
    pytest.importorskip("matplotlib", reason="needs the dev extra")
    (adaconv, adain), weights = networks
    peers = ["wct", "patch-swap", "fitted", "gatys"]
    sizes = ["--encoder-weights", weights, *sources, "--size", 122, "--out", tmp_path / "out", "--device", "cpu"]
    options = ["--network", adain, *sizes]
    done = run_command("scripts/eval_style.py", *options, "--peers", ",".join(peers), "--peer-steps", 1, "--pairs", 2)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))["evaluation"]
    assert list(found["networks"])[:5] == [str(adain), *peers]
    distances = {found["networks"][name]["content_distance"] for name in (str(adain), *peers)}
    assert len(distances) == 5 and all(found["networks"][name]["seconds"] > 0 for name in peers)
    assert all(set(peers) < set(pair["scores"]) for pair in found["pairs"])
    done = run_command("scripts/eval_style.py", *options, "--peers", "wct", "--pairs", 0, "--turning")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))["turning"]
    assert list(found["styles"]["stripes"]) == [str(adain), "wct", "content", "style"] and "| stripes | wct |" in done.stdout
    with Image.open(tmp_path / "out-turning-stripes.png") as picture:
        assert picture.size == (12 * 122, 3 * 122)
    for message, wrong in (
        ("wct: found a network of adaconv, wanted one of", ["--network", adaconv, *sizes, "--peers", "wct"]),
        ("--peers wtc: there are wct, patch-swap, fitted, gatys", [*options, "--peers", "wct,wtc"]),
        ("--peers takes --network", ["--textures", "--peers", "wct"]),
        ("--peer-steps takes --peers fitted or gatys", [*options, "--peer-steps", 2, "--peers", "wct"]),
        ("a --network has this name, too", ["--network", "wct", *sizes, "--peers", "wct"]),
        ("--network style: the tables have a row of this name", ["--network", adaconv, "--network", "./style", *sizes]),
        ("the style's colours: the tables have", ["--network", "content in the style's colours", *sizes]),
    ):
        done = run_command("scripts/eval_style.py", *wrong)
        assert done.returncode == 2 and message in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr


def test_command_prints_both_numbers(run_command, tmp_path):
    done = run_command("scripts/eval_style.py", "--textures", "--steps", 2, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))["textures"]["transfers"]
    for transfer in ("adaconv", "adain"):
        assert f"| {transfer} | {found[transfer]['score']['score']:.3f} |" in done.stdout
    with Image.open(tmp_path / "out-textures.png") as picture:
        assert picture.width >= 768 and picture.height >= 512  # with labels


def test_speed(monkeypatch):
    monkeypatch.setattr(torch_utils.precision, "has_amx", lambda: True)
    config = dict(encoder="vgg16", style_depth=4, style_width=8)
    stylizers = style_speed.default_stylizers(config, torch.device("cpu"))
    found = style_speed.measure(stylizers, 64, 0, torch.device("cpu"))
    assert found["rounds"] == 3 and list(found["precisions"]) == ["fp32", "bf16"]
    for of in found["precisions"].values():
        assert of["time_ratio"] > 0 and min(of["bytes"].values()) > 0
    wide, narrow = (of["bytes"]["adain"] for of in found["precisions"].values())
    assert narrow < wide and style_speed.table(found).count("adaconv : adain") == 2


def test_folders_of_rows_stay_apart_and_inside(tmp_path):
    rows = ["runs/a", "runs a", "Runs-a", "..", "/", "../../a-2", ".hidden", "a.b", "runs-a-2"]
    found = eval_style.row_folders(rows)
    assert list(found) == rows and found["runs/a"] == "runs-a" and found["runs a"] == "runs-a-2"
    assert found["a.b"] == "a.b" and found[".hidden"] == "hidden" and found["runs-a-2"] == "runs-a-2-2"
    assert len({name.casefold() for name in found.values()}) == len(rows)
    black = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    eval_style.save_pictures(tmp_path / "saved", 3, {row: black for row in rows})
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]
    assert all((tmp_path / "saved" / name / "00003.png").is_file() for name in found.values())
    eval_style.save_pictures(None, 0, {"..": black})


def test_pairs_and_images(image_folder):
    contents, styles = list("abc"), list("xy")
    assert eval_style.pairs_of(contents, styles, 100) == [(c, s) for c in "abc" for s in "xy"]
    few = eval_style.pairs_of(contents, styles, 4)
    assert len(set(few)) == 4 and few == eval_style.pairs_of(contents, styles, 4)
    archive = Archive(image_folder(2, size=48))
    assert eval_style.read_image(archive, archive.names[0], 32).shape == (1, 3, 32, 32)
    (archive.path / "000.png").write_bytes(b"no image")
    with pytest.raises(InputError, match="000.png"):
        eval_style.read_image(archive, archive.names[0], 32)


@pytest.mark.slow
def test_scores_order_what_a_person_would(test_data):
    """A painting's crop has the strokes of the painting's other half; a photograph has not; blur takes them away."""
    paintings, photos = (Archive(test_data / "data" / name) for name in ("paintings", "photos"))
    painting, photo = (eval_style.read_image(a, a.names[0], 512) for a in (paintings, photos))
    left, right, photo = painting[..., :256], painting[..., 256:], photo[..., :256]
    blurred = torch.nn.functional.avg_pool2d(left, 9, 1, 4)
    score = lambda output: structure_score(output, photo, right)[0].score
    assert score(left) > max(score(blurred), 0)
