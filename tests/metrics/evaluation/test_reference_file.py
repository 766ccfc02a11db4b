"""A saved reference: the same scores without the real images, and nothing where anything else was measured."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from metrics.evaluation import reference_file
from metrics.evaluation.evaluator import Evaluator
from metrics.evaluation.reference_file import load
from tests.commands.test_calc_metrics import Cells, folders  # noqa: F401  a fixture
from tests.metrics.evaluation.test_evaluator import EVERY, RealImages, build, pictures, score, setting  # noqa: F401  a fixture
from torch_utils import array_file
from torch_utils.files import InputError

SHAPE = (8, 8, 3)


@pytest.fixture
def file(tmp_path):
    evaluator = build(RealImages(pictures(1500)), [*EVERY, "fid1k", "kid1k"], seed=4)
    evaluator.save_reference(tmp_path / "reals.safetensors", True, SHAPE, [0, 1] * 750)
    return tmp_path / "reals.safetensors"


def without_reals(file, names=EVERY, **options) -> Evaluator:
    known = load(file)
    return Evaluator(names, None, known.real_count, known.content, "cpu", reference_file=known, **options)


def test_every_score_is_the_same_without_the_real_images(file):
    fakes = pictures(1000, seed=1, contrast=0.9)
    names = [*EVERY, "fid1k", "kid1k"]
    wanted = score(build(RealImages(pictures(1500)), names, seed=4, interval=True, extrapolate=True), fakes)
    found = score(without_reals(file, names, seed=4, interval=True, extrapolate=True), fakes)
    for one, other in zip(found, wanted):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}
    known = load(file)
    assert (known.real_count, known.seed, known.mirror, known.shape) == (1500, 4, True, SHAPE)
    assert known.labels == [0, 1] * 750 and known.content == "content"


def test_equal_references_are_equal_files(file, tmp_path):
    before = file.read_bytes()
    evaluator = build(RealImages(pictures(1500)), [*EVERY, "fid1k", "kid1k"], seed=4)
    evaluator.save_reference(file, True, SHAPE, [0, 1] * 750)
    assert file.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"cache", "reals.safetensors"}


def test_a_metric_that_it_was_not_saved_for(file):
    with pytest.raises(
        InputError, match="is for fid1k_full, kid1k_full, pr1k_full, dc1k_full, mind1k_full, fid1k, kid1k and not for fid2k"
    ):
        without_reals(file, ["fid2k_full"])
    without_reals(file, ["is5k"])  # which looks at no real image


@pytest.mark.parametrize("key, value", [("hash", "0123"), ("resizing", "bilinear")])
def test_another_detector_or_resizing(file, key, value):
    arrays, header = array_file.read(file)
    header["detectors"]["inception"][key] = value
    array_file.write(file, arrays, **header)
    with pytest.raises(InputError, match=f"was measured by inception with {key} '{value}', and here it is") as caught:
        score(without_reals(file), pictures(1000))
    assert "\n" not in str(caught.value)


CHANGES = {
    "format": lambda arrays, header: header.update(format="other/1"),
    "no metrics": lambda arrays, header: header.pop("metrics"),
    "floor": lambda arrays, header: header["metrics"]["fid1k_full"].update(floor="low"),
    "features": lambda arrays, header: arrays.update({"inception.features": arrays["inception.features"][:7]}),
    "mean": lambda arrays, header: arrays.update({"inception.1500.mean": np.zeros(3)}),
    "shape": lambda arrays, header: header.update(shape=[8]),
    "count": lambda arrays, header: header.update(real_count="many"),
}


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "text", "absent", *CHANGES])
def test_a_damaged_or_foreign_file_is_one_line(file, damage):
    whole = file.read_bytes()
    if damage in CHANGES:
        arrays, header = array_file.read(file)
        CHANGES[damage](arrays, header)
        array_file.write(file, arrays, **header)
    elif damage == "absent":
        file.unlink()
    else:
        flipped = whole[:-9] + bytes([whole[-9] ^ 4]) + whole[-8:]
        file.write_bytes({"cut": whole[:500], "empty": b"", "flipped": flipped, "text": b"hello"}[damage])
    with pytest.raises(InputError, match="no such file" if damage == "absent" else "is no reference, or damaged") as caught:
        load(file)
    assert "\n" not in str(caught.value) and "--save-reference FILE writes one" in str(caught.value)


def test_by_the_command(run_command, folders):  # noqa: F811
    names, cells = "fd1k_full,kid1k_full-cells", ["--trust-code", "--detector", folders / "cells.pt", "--device", "cpu"]
    reference, env = folders / "reals.safetensors", {"ADACONV_CACHE": str(folders / "cache")}
    save = run_command(
        "calc_metrics.py", "--metrics", names, *cells, "--data", folders / "real", "--save-reference", reference, env=env
    )
    assert save.returncode == 0, save.stderr
    assert "replaces 60 real images for fd1k_full-cells, kid1k_full-cells" in save.stdout
    scores = []
    for against in (["--data", folders / "real"], ["--reference", reference]):
        out = folders / against[0].strip("-")
        out.mkdir()
        finished = run_command(
            *("calc_metrics.py", "--metrics", names, *cells, "--images", folders / "fake", "--outdir", out, *against), env=env
        )
        assert finished.returncode == 0, finished.stderr
        scores.append({path.name: json.loads(path.read_text()) for path in out.iterdir()})
    by_data, by_reference = scores
    for name, record in by_reference.items():
        assert record["value"] == by_data[name]["value"] and record["floor"] == by_data[name]["floor"]
        assert record["real_content"] == by_data[name]["real_content"] and record["mirror"] is False
        assert record["reference"] == str(reference) and len(record["reference_hash"]) == 64

    other = folders / "other" / "cells.pt"
    other.parent.mkdir()
    torch.jit.script(torch.nn.Sequential(Cells(), torch.nn.ReLU())).save(str(other))
    images = ["--images", folders / "fake", "--reference", reference, "--device", "cpu"]
    for arguments, message in [
        (["--metrics", "fd1k_full", "--trust-code", "--trust-code", "--detector", other], "was measured by cells with hash"),
        (["--metrics", "fd1k", *cells], "and not for fd1k-cells"),
        (["--metrics", "fd1k_full", *cells, "--mirror", "1"], "replaces the real images"),
        (["--metrics", "fd1k_full", *cells, "--save-reference", folders / "absent" / "a"], "replaces the real images"),
    ]:
        finished = run_command("calc_metrics.py", *arguments, *images, env=env)
        line = finished.stderr.strip().splitlines()[-1]
        assert finished.returncode == 2 and message in line


def test_a_network_draws_by_the_labels_of_the_file(tmp_path):
    """A conditional network needs them; images of another size are not what a network draws."""
    import calc_metrics
    from networks.generator import Generator
    from torch_utils.checkpoint import save_snapshot

    (tmp_path / "real").mkdir()
    for i in range(20):
        Image.fromarray(pictures(1, seed=i)[0].permute(1, 2, 0).numpy()).save(tmp_path / "real" / f"{i:02d}.png")
    (tmp_path / "real" / "dataset.json").write_text(json.dumps({"labels": [[f"{i:02d}.png", i % 2] for i in range(20)]}))
    torch.jit.script(Cells()).save(str(tmp_path / "cells.pt"))
    small = dict(z_dim=8, channel_base=128, channel_max=16, style_depth=2)
    for name, options in [("plain", {}), ("labels", {"c_dim": 2}), ("large", {"img_resolution": 16})]:
        save_snapshot(tmp_path / f"{name}.safetensors", "generator", Generator(**{"img_resolution": 8} | small | options))
    fixed = ["--metrics", "fd1k_full-mine", "--trust-code", "--detector", tmp_path / "mine.pt", "--device", "cpu"]
    (tmp_path / "cells.pt").rename(tmp_path / "mine.pt")

    from metrics.detectors import load as features
    from metrics.evaluation import evaluator as module

    def command(*arguments):
        module.require_detector, module.load_detector = features.require_detector, features.load_detector
        calc_metrics.main.main(list(map(str, [*fixed, *arguments])), standalone_mode=False)

    data = ["--data", tmp_path / "real"]
    command("--network", tmp_path / "labels.safetensors", *data, "--save-reference", tmp_path / "labels.ref")
    command(*data, "--save-reference", tmp_path / "plain.ref")
    assert load(tmp_path / "labels.ref").labels == [0, 1] * 10 and load(tmp_path / "plain.ref").labels is None
    command("--network", tmp_path / "labels.safetensors", "--reference", tmp_path / "labels.ref", "--outdir", tmp_path)
    command("--network", tmp_path / "plain.safetensors", "--reference", tmp_path / "plain.ref", "--outdir", tmp_path)
    assert len((tmp_path / "metric-fd1k_full-mine.jsonl").read_text().splitlines()) == 2
    with pytest.raises(InputError, match="has no labels, which labels.safetensors draws by"):
        command("--network", tmp_path / "labels.safetensors", "--reference", tmp_path / "plain.ref")
    with pytest.raises(InputError, match=r"= \(8, 8, 3\), and the network draws \(16, 16, 3\)"):
        command("--network", tmp_path / "large.safetensors", "--reference", tmp_path / "plain.ref")


def test_a_file_that_cannot_be_written_leaves_nothing(file, tmp_path, monkeypatch):
    known = file.read_bytes()
    evaluator = build(RealImages(pictures(1500)), ["fid1k"])
    evaluator.prepare()
    monkeypatch.setattr(
        reference_file.array_file.safetensors.numpy, "save", lambda *a, **k: (_ for _ in ()).throw(OSError(28, "full"))
    )
    with pytest.raises(OSError):
        evaluator.save_reference(file, False, SHAPE, None)
    assert file.read_bytes() == known and {path.name for path in tmp_path.iterdir()} == {"cache", "reals.safetensors"}
