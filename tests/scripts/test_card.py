"""A card says what the run's records say, and shows what the network draws."""

import json
import math
import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

import generate
import train
import train_style
from networks.generator import Generator
from networks.style_transfer.stylizer import load_stylizer
from scripts import card, card_text
from scripts.card_text import choose_snapshot
from tests.commands.test_commands import NO_METRICS, SHORT
from tests.conftest import ROOT
from tests.training.run.test_start import call
from torch_utils.checkpoint import load_generator, save_snapshot
from torch_utils.files import InputError
from torch_utils.platform import machine_in_words
from training.run.run_records import RunRecords
from training.style_transfer.config import StyleConfig

FD, PR = "fd1k_full-vgg16", "pr1k_full-vgg16"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(card, "COMPARED", card.SEEDS)


@pytest.fixture
def make_run(image_folder, tmp_path):
    def make(**labels):
        words = ["--data", image_folder(12, 16, **labels), *SHORT, *NO_METRICS, "--cond", int(bool(labels)), "--gamma", 2]
        call(train.main, "--outdir", tmp_path / "runs", *words)
        (run,) = (tmp_path / "runs").iterdir()
        (snapshot,) = run.glob("network-snapshot-*")
        G = load_generator(snapshot)
        for kimg in (1, 2):
            save_snapshot(run / f"network-snapshot-{kimg:06d}.safetensors", "generator", G, nimg=1000 * kimg)
        return run

    return make


def score(run, metric, *values, **more):
    """Records of the untrained network and of the snapshots after 1, 2, … kimg."""
    for i, value in enumerate(values):
        snapshot = f"network-snapshot-{i:06d}.safetensors" if i else None
        record = dict(nimg=1000 * i, snapshot=snapshot, value=value, floor=10.0, floor_counts=[6, 6], generated=1000) | more
        with open(run / f"metric-{metric}.jsonl", "a") as file:
            file.write(json.dumps(record) + "\n")


def make_card(run, *words):
    printed = call(card.main, run, "--device", "cpu", *words)
    (path,) = re.findall(r"^Card: +(.*)$", printed, re.M)
    return printed, open(path, encoding="utf-8").read()


def test_the_snapshot_is_the_best_by_any_distance(tmp_path):
    """Of a Monge distance, too; path lengths are short where all images are one, so that none is chosen by them."""
    G = Generator(16, channel_base=64, channel_max=8, z_dim=8, style_depth=2)
    for kimg in (1, 2, 3):
        save_snapshot(tmp_path / f"network-snapshot-{kimg:06d}.safetensors", "generator", G, nimg=1000 * kimg)
    score(tmp_path, "ppl2_wend1k", 9, 3, 2, 1)
    score(tmp_path, "pr1k", 0.1, 0.2, 0.9, 0.3)
    path, why = choose_snapshot(RunRecords(tmp_path), None)
    assert path.name == "network-snapshot-000003.safetensors" and why == "the newest; none was scored by a distance"
    score(tmp_path, "mind1k_full-vgg16", 90, 5, 7, 6)
    path, why = choose_snapshot(RunRecords(tmp_path), None)
    assert path.name == "network-snapshot-000001.safetensors" and why == "the best of 3 by mind1k_full-vgg16"


def pixels(path):
    return np.asarray(Image.open(path))


def test_a_card_is_made_of_the_records(make_run, tmp_path):
    run = make_run()
    (run / "stats.jsonl").write_text("".join(json.dumps(dict(nimg=1000 * k, seconds=70.0 * k)) + "\n" for k in (1, 2)))
    score(run, FD, 210, 60, 110, interval=[58.0, 62.0])
    score(run, PR, 0.5, 0.5, precision=0.75, recall=0.25, floor=None, between_reals=dict(precision=0.9, recall=0.8))
    printed, text = make_card(run)
    assert "network-snapshot-000001.safetensors (the best of 2 by fd1k_full-vgg16)" in printed
    for words in (
        "| data | images: 12 images, 16×16, 3 channels |",
        "| images seen | 1,000, in steps of 4 |",
        "| time of training | 1m 10s, 70 s/kimg",
        f"| machine | {machine_in_words(torch.device('cpu'))}; cpu, 1 process",
        "| preset | `tiny`: ",
        "60 (95 %: 58 to 62); real vs. real 10 (6 against 6); untrained 210; **normalized 0.25**",
        "precision 0.75, recall 0.25; real vs. real precision 0.9, recall 0.8",
        "![card-seeds](card-seeds.png)",
        "8 that are closest to a training image",
    ):
        assert words in text, words
    others = re.search(r"other options \| (.*) \|", text)[1].split(", ")
    assert set(others) >= {"gamma 2", "batch 4", "kimg 0.016"} and not any(o.startswith(("z-dim", "data")) for o in others)
    command = re.search(r"^python .*", text, re.M)[0]
    assert "--outdir runs --data images --cfg tiny" in command and "--gamma 2" in command
    assert str(tmp_path) not in text and str(ROOT) not in text  # a card is published


def test_its_pictures_are_the_seeds_and_copies_are_seen(make_run, tmp_path):
    run = make_run()
    _, text = make_card(run, "--out", tmp_path / "card")
    call(generate.main, "--network", run, "--seeds", "0-63", "--outdir", tmp_path / "o", "--grid", tmp_path / "g.png")
    shown, plain = pixels(tmp_path / "card" / "card-seeds.png"), pixels(tmp_path / "g.png")
    factor = len(shown) // len(plain)
    assert shown.shape[1] >= card.WIDE and np.array_equal(shown[::factor, ::factor], plain)
    beside = pixels(tmp_path / "card" / "card-nearest.png")
    side = beside.shape[0] // card.ROWS
    real = [np.asarray(Image.open(path)) for path in (tmp_path / "images").iterdir()]
    cell = beside[:side, side : 2 * side][:: side // 16, :: side // 16]
    assert any(np.array_equal(cell, image) for image in real)
    apart = float(re.search(r"closest sample ([\d.]+) times", text)[1])
    copies = torch.stack([torch.from_numpy(image.copy()).permute(2, 0, 1) for image in real])
    words = card.nearest(RunRecords(run), copies, tmp_path / "copies.png", torch.device("cpu"))
    assert "closest sample 0.00 times" in words and apart > 0
    records = RunRecords(run)
    for looked, detector in (({}, "efficientnet_lite0"), (dict(projected=1.0), "vgg16")):
        records.options |= looked
        words = card.nearest(records, copies, tmp_path / "copies.png", torch.device("cpu"))
        assert f"nearest to it, on {detector}" in words


def test_which_network(make_run, tmp_path, monkeypatch):
    monkeypatch.setattr(card, "nearest", lambda *arguments: "")  # which takes the longest
    run = make_run()
    assert "000002.safetensors (the newest; none was scored" in make_card(run)[0]
    score(run, "is1k", 1, 5, 3)  # the more, the better: no distance
    assert "000002.safetensors (the newest" in make_card(run)[0]
    printed, text = make_card(run, "--network", "network-snapshot-000000.safetensors")
    assert "000000.safetensors (as asked for)" in printed and "| images seen | 16," in text
    with pytest.raises(InputError, match="nothing.safetensors: .* has no such snapshot"):
        make_card(run, "--network", "nothing.safetensors")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(run / "network-snapshot-000000.safetensors", elsewhere)
    with pytest.raises(InputError, match="has no such snapshot"):  # its scores would be those of another network
        make_card(run, "--network", elsewhere / "network-snapshot-000000.safetensors")
    with pytest.raises(InputError, match="no network-snapshot"):
        make_card(tmp_path / "runs")
    with pytest.raises(InputError, match="there is no such run directory"):
        make_card(tmp_path / "none")


def test_a_score_of_a_snapshot_that_was_replaced_counts_no_more(make_run):
    """Of two snapshots in one kimg the later one has the file, and the former's score is not of it."""
    run = make_run()
    records = [dict(nimg=nimg, snapshot=f"network-snapshot-{nimg // 1000:06d}.safetensors") for nimg in (8, 16, 1000, 2000)]
    values = (20.0, 90.0, 60.0, 70.0)
    (run / f"metric-{FD}.jsonl").write_text("".join(json.dumps(r | dict(value=v)) + "\n" for r, v in zip(records, values)))
    path, why = card_text.choose_snapshot(RunRecords(run), None)
    assert path.name == "network-snapshot-000001.safetensors" and why == f"the best of 3 by {FD}"
    shared = run / "network-snapshot-000000.safetensors"
    assert card_text.score_rows(RunRecords(run), shared) == [(f"`{FD}`", "90")]
    (run / f"metric-{FD}.jsonl").write_text(json.dumps(records[0] | dict(value=20.0)) + "\n")
    assert card_text.score_rows(RunRecords(run), shared) == []
    assert card_text.choose_snapshot(RunRecords(run), None)[1].startswith("the newest")


def test_scores_of_an_average_stand_beside_those_of_its_snapshot(make_run):
    run = make_run()
    records = [
        dict(nimg=0, snapshot=None, value=90.0),
        *(
            dict(nimg=2000, snapshot=name, value=value, command="calc_metrics")
            for name, value in (("network-snapshot-000002.safetensors", 60.0), ("network-ema-0.080.safetensors", 50.0))
        ),
    ]
    average = run / "network-ema-0.080.safetensors"
    shutil.copy(run / "network-snapshot-000002.safetensors", average)
    for order in (records, records[::-1]):
        (run / f"metric-{FD}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in order))
        found = RunRecords(run)
        assert [record["value"] for record in found.scores[FD]] == [90, 60]
        (one,), (other,) = (card_text.score_rows(found, path) for path in (run / records[1]["snapshot"], average))
        assert "60" in one[1] and "50" in other[1]


def test_packed_in_half_precision(make_run, tmp_path, monkeypatch):
    run, file = make_run(labels=3), tmp_path / "packed" / "clothes16.safetensors"
    printed, text = make_card(run, "--pack", file, "--out", tmp_path / "card")
    size = f"{file.stat().st_size / 10**6:.2f} MB"
    assert f"Packed:        {file}, {size}\n" in printed and f"in half precision, {size}" in text
    assert text.startswith("# clothes16.safetensors\n") and "a column for each class" in text
    assert {path.name for path in (tmp_path / "card").iterdir()} == {
        "clothes16.md",
        "clothes16-seeds.png",
        "clothes16-nearest.png",
    }
    whole, packed = load_generator(run / "network-snapshot-000002.safetensors"), load_generator(file)
    with safe_open(file, "pt") as stored:
        assert {str(stored.get_slice(name).get_dtype()) for name, _ in whole.named_parameters()} == {"F16"}
    assert packed.config == whole.config and {value.dtype for value in packed.parameters()} == {torch.float32}
    z, c = torch.randn(3, whole.z_dim), torch.eye(3)
    assert (whole(z, c) - packed(z, c)).abs().max() < 0.02
    monkeypatch.setattr(card_text, "MAX_PACKED", 1000)
    assert "more than the 0.001 MB that the repository takes" in make_card(run, "--pack", file)[0]


def test_numbers_that_half_precision_cannot_hold(tmp_path):
    G = Generator(16, channel_base=256, channel_max=16, z_dim=8, style_depth=2)
    G.synthesis.const.data[0] = 1e6
    save_snapshot(tmp_path / "large.safetensors", "generator", G)
    with pytest.raises(InputError, match="synthesis.const has numbers that half precision cannot hold"):
        card_text.pack(tmp_path / "large.safetensors", tmp_path / "half.safetensors", G)
    assert not (tmp_path / "half.safetensors").exists()


def test_a_run_of_which_little_is_left(make_run, capsys):
    """As of a version that wrote less, on another machine: what is not recorded is said to be so."""
    run = make_run()
    for name in ("training_options.json", "log.txt", "stats.jsonl"):
        (run / name).unlink()
    printed, text = make_card(run)
    assert "note: no nearest training images" in printed and "nearest.png" not in text
    assert "| machine | not recorded |" in text and "| time of training | not recorded |" in text and "# not recorded" in text


def test_a_card_of_a_style_transfer(image_folder, tmp_path):
    images = [image_folder(6, 40, name=name) for name in ("photos", "paintings")]
    words = ["--cfg", "small", "--content", images[0], "--style", images[1], "--kimg", 0.004, "--transfer", "adain"]
    words += ["--crop", 32, "--style-crop", 32, "--resize", 40, "--hold-out-content", 2, "--hold-out-style", 3, "--batch", 2]
    call(train_style.main, "--outdir", tmp_path / "runs", "--device", "cpu", *words)
    (run,) = (tmp_path / "runs").iterdir()
    packed = tmp_path / "drawn.safetensors"
    printed, text = make_card(run, "--pack", packed, "--out", tmp_path / "card")
    assert load_stylizer(packed).network.transfer == "adain" and f"Packed:        {packed}" in printed
    for said in ("# drawn.safetensors", "| images seen | 4, in steps of 2 |", "adain on vgg16", "| `style_loss` | "):
        assert said in text, said
    assert "4 images of photos; 2 held out" in text and "3 images of paintings; 3 held out" in text
    assert "| preset | `small`: " in text and "encoder vgg16" in text and "lr-end 0.05" in text
    assert set(re.search(r"other options \| (.*) \|", text)[1].split(", ")) >= {"transfer adain", "crop 32", "hold-out-style 3"}
    width, height = Image.open(tmp_path / "card" / "drawn-held-out.png").size
    assert width > height > 300 and str(tmp_path) not in text
    shutil.rmtree(images[0])
    printed, text = make_card(run)
    assert "held-out.png" not in text and "note: no picture of held-out images" in printed


def test_options_that_are_paths_without_their_places():
    options = {"encoder_weights": "/home/me/vgg19.pth", "crop": 32, "cfg": "small"}
    assert card_text.options_in_words(StyleConfig, {}, options)[1] == "crop 32, encoder-weights vgg19.pth"


def test_commands_without_the_places_of_a_machine():
    shown = card_text.without_folders(f"python train.py --outdir /tmp/x/runs --data {ROOT}/datasets/emoji32.zip --desc 'a b'")
    assert shown == "python train.py --outdir runs --data datasets/emoji32.zip --desc 'a b'"
    assert card_text.shorter("C:\\data\\photos64.zip") == "photos64.zip" and card_text.shorter("photos/x.zip") == "photos/x.zip"
    for word, short in [
        ("--data=/home/me/photos64.zip", "--data=photos64.zip"),
        ("--data=https://user:word@host/bucket/photos64.zip?key=1", "--data=photos64"),
        ("--data=photos64.zip", "--data=photos64.zip"),
        ("--lr=0.1", "--lr=0.1"),
        ("../../me/photos64.zip", "photos64.zip"),
        ("..\\me\\photos64.zip", "photos64.zip"),
        (f"{ROOT}/../me/photos64.zip", "photos64.zip"),
        ("~/photos64.zip", "photos64.zip"),
        ("\\\\host\\share\\photos64.zip", "photos64.zip"),
        ("C:/data/photos64.zip", "photos64.zip"),
        ("/", ""),
    ]:
        assert card_text.shorter(word) == short, word
    assert card_text.without_folders("broken 'quote") == "broken 'quote"
    assert math.isclose(card_text.MAX_PACKED, 12e6)
