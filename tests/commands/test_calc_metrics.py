"""`calc_metrics.py` with every metric at once, a detector of the user's own, and pictures of nearest neighbours."""

import json
from types import SimpleNamespace

import click
import numpy as np
import pytest
import torch
from PIL import Image

import calc_metrics
from metrics.detectors import inception
from metrics.evaluation.metric_name import parse_metric
from metrics.evaluation.real_images import RealImages
from tests.metrics.detectors.test_features import StandIn
from torch_utils.files import InputError, sha256
from torch_utils.images import save_grid


class Cells(torch.nn.Module):
    """float32 [N, 3, H, W] -> [N, 12]: the mean colours of four quarters."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.adaptive_avg_pool2d(images, 2).flatten(1)


@pytest.fixture
def folders(tmp_path):
    """1000 generated images of 8x8, the first eight of which copy the last of 60 real ones; and the detector's file."""
    rng = np.random.RandomState(0)
    real, fake = rng.randint(0, 256, (60, 8, 8, 3), dtype=np.uint8), rng.randint(0, 230, (1000, 8, 8, 3), dtype=np.uint8)
    fake[:8] = real[-8:]
    for name, images in [("real", real), ("fake", fake)]:
        (tmp_path / name).mkdir()
        for i, image in enumerate(images):
            Image.fromarray(image).save(tmp_path / name / f"{i:04d}.png")
    torch.jit.script(Cells()).save(str(tmp_path / "cells.pt"))
    return tmp_path


def test_every_metric_of_a_folder_by_a_detector_of_ones_own(run_command, folders):
    names = "fd1k_full,kid1k_full-cells,pr1k3_full-cells,dc1k_full-cells"
    finished = run_command(
        "calc_metrics.py",
        *("--metrics", names, "--trust-code", "--detector", folders / "cells.pt", "--device", "cpu"),
        *("--extrapolate", "--seed", "2"),
        *("--images", folders / "fake", "--data", folders / "real", "--outdir", folders),
        *("--nearest", folders / "nearest.png"),
        env={"ADACONV_CACHE": str(folders / "cache")},
    )
    assert finished.returncode == 0, finished.stderr
    for shown in ("fd1k_full-cells", "95 %", "infinitely many", "precision", "recall", "coverage", "real vs. real, 30"):
        assert shown in finished.stdout, finished.stdout
    records = {}
    for path in folders.glob("metric-*.jsonl"):
        (record,) = map(json.loads, path.read_text().splitlines())
        assert path.name == f"metric-{record['metric']}.jsonl"
        records[record["metric"]] = record
        assert (record["detector"], record["seed"], record["mirror"], record["real"]) == ("cells", 2, False, 60)
        assert record["data"] == str(folders / "real") and record["images"] == str(folders / "fake")
        assert {"detector_hash", "resizing", "versions", "images_content", "real_content", "device"} <= set(record)
    assert set(records) == {"fd1k_full-cells", "kid1k_full-cells", "pr1k_full-cells", "dc1k_full-cells"}
    low, high = records["fd1k_full-cells"]["interval"]
    assert low < records["fd1k_full-cells"]["value"] < high

    picture = np.array(Image.open(folders / "nearest.png"))
    assert picture.shape == (80, 64, 3)
    copies = [(picture[8 * row : 8 * row + 8, :8] == picture[8 * row : 8 * row + 8, 8:16]).all() for row in range(10)]
    assert copies == sorted(copies, reverse=True), "the closest come first"


def test_bad_input(folders):
    plain = ["--images", folders / "fake", "--data", folders / "real", "--device", "cpu"]
    cases = [
        (["--metrics", "fd1k", "--detector", folders / "absent.pt"], "no such file"),
        (["--metrics", "fd1k", "--detector", "vgg"], "there are efficientnet_lite0, vgg16, dinov2_vitl14"),
        (["--metrics", "kid1k_full-vgg"], "kid runs on"),
        (["--metrics", "fid1k-efficientnet_lite0"], "only that"),
        (["--metrics", "fd1k", "--outdir", folders / "absent"], "no folder"),
        (["--metrics", "fd1k", "--nearest", folders / "absent" / "a.png"], "no folder"),
        (["--metrics", "fid1k", "--resizing", "bilinear"], "legacy_tensorflow"),
    ]
    for arguments, message in cases:
        with pytest.raises((InputError, click.ClickException), match=message):
            calc_metrics.main.main([str(argument) for argument in (*arguments, *plain)], standalone_mode=False)
    assert not list(folders.glob("metric-*")) and not list(folders.glob("*.png"))


def test_a_detector_of_ones_own_has_its_own_name():
    assert str(parse_metric("fd1k", "cells", ["cells"])) == "fd1k-cells"
    assert str(parse_metric("kid1k", "cells", ["cells"])) == "kid1k"  # Inception, whatever --detector says
    with pytest.raises(InputError, match="pr runs on inception, efficientnet_lite0, vgg16, dinov2_vitl14, cells"):
        parse_metric("pr1k-cell", more=["cells"])


def test_the_whole_path_of_inception_with_a_stand_in(folders, monkeypatch):
    """Read, resized, mirrored, kept: the score of a folder with the mirrored images in it; and again, from disk."""
    monkeypatch.setenv("ADACONV_CACHE", str(folders / "cache"))
    torch.manual_seed(0)
    torch.jit.script(StandIn(64)).save(str(folders / "inception.pt"))
    monkeypatch.setattr(inception, "DIM", 64)  # of 2048 features, the square root of a covariance takes seconds
    monkeypatch.setattr(inception, "SHA256", sha256(folders / "inception.pt"))  # as if it were the field's own
    (folders / "both").mkdir()
    for i, path in enumerate(sorted((folders / "real").iterdir())):
        image = Image.open(path)
        image.save(folders / "both" / f"a{i:04d}.png")
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folders / "both" / f"b{i:04d}.png")

    def command(out, *arguments):
        out.mkdir()
        fixed = [
            "--metrics",
            "fid1k_full",
            "--images",
            folders / "fake",
            "--inception",
            folders / "inception.pt",
            "--outdir",
            out,
        ]
        calc_metrics.main.main([str(a) for a in (*fixed, "--device", "cpu", *arguments)], standalone_mode=False)
        return json.loads((out / "metric-fid1k_full.jsonl").read_text())

    mirrored = command(folders / "1", "--data", folders / "real", "--mirror", "1")
    by_hand = command(folders / "2", "--data", folders / "both")
    assert (mirrored["mirror"], mirrored["real"], by_hand["mirror"], by_hand["real"]) == (True, 120, False, 120)
    assert mirrored["value"] == pytest.approx(by_hand["value"], rel=1e-9)
    assert mirrored["resizing"].startswith("clean-fid") and mirrored["detector_hash"] == by_hand["detector_hash"]

    def nothing(*_):
        raise AssertionError("the real images were measured again")

    monkeypatch.setattr(RealImages, "measure", nothing)
    again = command(folders / "3", "--data", folders / "real", "--mirror", "1", "--workers", "0")
    assert (again["value"], again["floor"]) == (mirrored["value"], mirrored["floor"])


def test_flipped_real_images_are_measured_once_for_all_metrics_to_come(folders, monkeypatch):
    monkeypatch.setenv("ADACONV_CACHE", str(folders / "cache"))
    measured, measure = [], RealImages.measure
    monkeypatch.setattr(RealImages, "measure", lambda *arguments: measured.append(arguments[0].count) or measure(*arguments))
    fixed = ["--images", folders / "fake", "--data", folders / "real", "--mirror", 1, "--device", "cpu"]
    for names in ("kid1k_full-cells,pr1k_full-cells,fd1k_full-cells", "fd1k-cells,dc1k_full-cells"):
        arguments = [*fixed, "--metrics", names, "--trust-code", "--detector", folders / "cells.pt"]
        calc_metrics.main.main([str(a) for a in arguments], standalone_mode=False)
    assert measured == [120]


def test_baselines_by_either_name(folders, monkeypatch, capsys):
    """`--yardsticks` is what the option was called first."""
    monkeypatch.setenv("ADACONV_CACHE", str(folders / "cache"))
    fixed = ["--images", folders / "fake", "--data", folders / "real", "--metrics", "fd1k"]
    fixed += ["--trust-code", "--detector", folders / "cells.pt"]
    shown = []
    for option in ("--baselines", "--yardsticks"):
        calc_metrics.main.main([str(a) for a in (*fixed, "--device", "cpu", option)], standalone_mode=False)
        shown.append(capsys.readouterr().out)
    assert "real images blurred to 8×8" in shown[0] and shown[0] == shown[1]


@pytest.mark.parametrize("name", ["all.png", "zzz.png"])  # before and after the samples in the order of names
def test_a_grid_among_the_samples_is_named(folders, name):
    save_grid(folders / "fake" / name, torch.zeros(20, 3, 8, 8, dtype=torch.uint8), 5)
    arguments = ["--metrics", "fd1k", "--trust-code", "--detector", folders / "cells.pt", "--device", "cpu"]
    arguments += ["--images", folders / "fake", "--data", folders / "real"]
    message = f"{name} has 40x32 pixels and the other images 8x8: it seems to be a grid of them .*move it to another folder"
    with pytest.raises(InputError, match=message):
        calc_metrics.main.main([str(argument) for argument in arguments], standalone_mode=False)
    Image.new("RGB", (9, 8)).save(folders / "fake" / name)  # of another size, but no grid: as before
    with pytest.raises(InputError, match="dataset_tool.py makes images equal"):
        calc_metrics.main.main([str(argument) for argument in arguments], standalone_mode=False)


@pytest.mark.parametrize("where", ["real", "fake"])
def test_one_unreadable_image_is_one_line(folders, where, monkeypatch):
    monkeypatch.setenv("ADACONV_CACHE", str(folders / "cache"))
    path = folders / where / "0033.png"
    path.write_bytes(path.read_bytes()[:60])
    arguments = ["--metrics", "fd1k_full", "--trust-code", "--detector", folders / "cells.pt"]
    arguments += ["--device", "cpu", "--outdir", folders]
    arguments += ["--images", folders / "fake", "--data", folders / "real", "--save-reference", folders / "reals.safetensors"]
    with pytest.raises(InputError, match="0033.png") as caught:
        calc_metrics.main.main([str(argument) for argument in arguments], standalone_mode=False)
    assert "\n" not in str(caught.value)
    assert not list(folders.glob("metric-*")) and not list(folders.glob("*.safetensors")) and not (folders / "cache").exists()


def test_scores_with_another_resizing_are_no_scores_of_the_run(folders, monkeypatch, tmp_path):
    """They would stand in for those that training measures."""
    added = []
    monkeypatch.setattr(calc_metrics, "write_records", lambda folder, records: added.append(folder))
    for resizing in ("clean", "legacy_tensorflow"):
        request = SimpleNamespace(nearest=None, outdir=None, data=None, mirror=None, reference=None, resizing=resizing)
        network = tmp_path / "network-snapshot-000001.safetensors"
        session = SimpleNamespace(
            request=request, training=dict(data="d"), network=network, with_origin=lambda records: records
        )
        calc_metrics.report(session, {}, [])
    assert added == [tmp_path]
    session.training = dict(mirror=True)  # a network outside a run
    request.resizing = "clean"
    calc_metrics.report(session, {}, [])
    assert added == [tmp_path]


@pytest.mark.parametrize("option", ["--baselines", "--nearest"])
def test_what_stands_beside_generated_images_needs_some(folders, option):
    more = [option] if option == "--baselines" else [option, folders / "n.png"]
    words = ["--data", folders / "real", "--save-reference", folders / "r.safetensors", "--metrics", "fd1k_full", *more]
    with pytest.raises(InputError, match="stand beside generated images: give --network or --images"):
        calc_metrics.main.main([str(word) for word in words], standalone_mode=False)
