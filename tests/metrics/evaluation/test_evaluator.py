"""Names of metrics, and the evaluator: what it counts, keeps and refuses."""

import dataclasses
import json
import zipfile

import numpy as np
import pytest
import safetensors.numpy
import torch
from PIL import Image

from metrics.density_coverage import density_coverage
from metrics.detectors import load as load_module
from metrics.detectors.base import Detector
from metrics.evaluation import evaluator as evaluator_module
from metrics.evaluation import real_images, reference
from metrics.evaluation.baselines import blurred
from metrics.evaluation.evaluator import Evaluator
from metrics.evaluation.metric_name import parse_metric
from metrics.fid import frechet_distance
from metrics.inception_score import inception_score
from metrics.kid import kernel_distance
from metrics.mind import monge_distance
from metrics.precision_recall import precision_recall
from networks.normalized_distance import normalized_distance
from torch_utils import array_file
from torch_utils.files import InputError

DIM = 12


def cells(images: torch.Tensor) -> torch.Tensor:
    """A detector that needs no weights: means of the image's four quarters and their deviations. [N, 3, H, W] -> [N, 12]."""
    half = images.shape[2] // 2
    quarters = images.float().unfold(2, half, half).unfold(3, half, half).flatten(4).flatten(2, 3)  # (N, 3, 4, half * half)
    return torch.cat([quarters.mean(3).mean(1), quarters.std(3).mean(1), quarters.amax(3).mean(1)], 1)


def pictures(n: int, seed: int = 0, contrast: float = 1.0) -> torch.Tensor:
    """uint8 [n, 3, 8, 8]"""
    values = np.random.RandomState(seed).rand(n, 3, 8, 8) * 255 * contrast
    return torch.from_numpy(values.astype(np.uint8))


class RealImages:
    """Batches of images that count how often they are read."""

    def __init__(self, images: torch.Tensor, batch: int = 64):
        self.images, self.batch, self.reads = images, batch, 0

    def __call__(self):
        self.reads += 1
        return self.images.split(self.batch)


@pytest.fixture(autouse=True)
def setting(tmp_path, monkeypatch):
    """An empty cache, and the weightless detector in both detectors' places."""
    monkeypatch.setenv("ADACONV_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(evaluator_module, "require_detector", lambda name, path, file: None)

    def load(name, device, path, batch_size, file, resizing):
        head = (lambda features: features @ torch.eye(DIM)[:, :4] / 20) if name == "inception" else None
        return Detector(name, DIM, "hash of " + name, "none", torch.device(device), cells, batch_size, head)

    monkeypatch.setattr(evaluator_module, "load_detector", load)


def build(reals: RealImages, names=("fd1k_full",), key: str = "content", **options) -> Evaluator:
    return Evaluator(list(names), reals, len(reals.images), key, "cpu", **options)


def score(evaluator: Evaluator, fakes: torch.Tensor, batch: int = 100) -> list[dict]:
    return evaluator(lambda count: fakes.split(batch))


@pytest.mark.parametrize(
    "name, canonical, parts",
    [
        ("fid50k_full", "fid50k_full", ("fid", 50_000, True, "inception")),
        ("fid5k", "fid5k", ("fid", 5000, False, "inception")),
        ("fid1k-inception", "fid1k", ("fid", 1000, False, "inception")),
        ("fd2k_full", "fd2k_full-efficientnet_lite0", ("fd", 2000, True, "efficientnet_lite0")),
        ("fd10k-efficientnet_lite0", "fd10k-efficientnet_lite0", ("fd", 10_000, False, "efficientnet_lite0")),
        ("kid50k_full", "kid50k_full", ("kid", 50_000, True, "inception")),
        ("kid5k-inception", "kid5k", ("kid", 5000, False, "inception")),
        ("kid1k_full-efficientnet_lite0", "kid1k_full-efficientnet_lite0", ("kid", 1000, True, "efficientnet_lite0")),
        ("mind5k_full", "mind5k_full", ("mind", 5000, True, "inception")),
        ("mind5k_full-vgg16", "mind5k_full-vgg16", ("mind", 5000, True, "vgg16")),
        ("pr50k3_full", "pr50k_full", ("pr", 50_000, True, "inception")),
        ("pr50k_full", "pr50k_full", ("pr", 50_000, True, "inception")),
        ("dc10k_full", "dc10k_full", ("dc", 10_000, True, "inception")),
        ("dc10k-dinov2_vitl14", "dc10k-dinov2_vitl14", ("dc", 10_000, False, "dinov2_vitl14")),
        ("is50k", "is50k", ("is", 50_000, False, "inception")),
        ("ppl2_wend", "ppl2_wend50k", ("ppl2_wend", 50_000, False, "vgg16")),
        ("ppl2_wend1k", "ppl2_wend1k", ("ppl2_wend", 1000, False, "vgg16")),
    ],
)
def test_names(name, canonical, parts):
    metric = parse_metric(name)
    assert (metric.kind, metric.count, metric.full, metric.detector) == parts
    assert str(metric) == canonical and parse_metric(canonical) == metric


@pytest.mark.parametrize(
    "name, message",
    [
        ("fid10k_full-efficientnet_lite0", "only that.*fd10k_full-efficientnet_lite0"),
        ("fd10k_full-inception", "called fid10k_full"),
        ("fd10k_full-vgg", "runs on efficientnet_lite0"),
        ("mmd50k_full", "no metric 'mmd'.*fid .*kid .*fid50k_full"),
        ("ppl2_wend50k_full", "no real images; write ppl2_wend50k"),
        ("ppl2_wend1k-mine", "only that; on another network it is ppl1k-mine"),
        ("ppl1k", "on NVIDIA's VGG16 write ppl2_wend1k"),
        ("ppl1k-vgg16", "on NVIDIA's VGG16 write ppl2_wend1k"),
        ("kid50k3_full", "only pr counts 3 neighbours.*kid50k_full"),
        ("pr50k5_full", "write <metric>"),
        ("is50k_full", "no real images; it is called is50k"),
        ("is50k-efficientnet_lite0", "Inception's and has no meaning"),
        ("kid1k-vgg", "kid runs on inception, efficientnet_lite0"),
        ("fid0k", "write <metric>"),
        ("fid05k", "write <metric>"),
        ("fid_full", "write <metric>"),
        ("fid50000", "write <metric>"),
        ("fid1.5k", "write <metric>"),
        ("FID50k_full", "write <metric>"),
        ("", "write <metric>"),
    ],
)
def test_names_that_are_none(name, message):
    with pytest.raises(InputError, match=message):
        parse_metric(name)


def test_a_record():
    reals, fakes = pictures(2500), pictures(1100, seed=1, contrast=0.9)
    (record,) = score(build(RealImages(reals), seed=3), fakes)
    features, others = (cells(images).double().numpy() for images in (reals, fakes[:1000]))
    expected = frechet_distance(features.mean(0), np.cov(features.T), others.mean(0), np.cov(others.T))
    assert record["value"] == pytest.approx(expected, rel=1e-6)
    assert 0 < record["floor"] < 0.1 * record["value"]
    assert record["floor_counts"] == [1000, 1500]
    assert (record["generated"], record["real"], record["seed"]) == (1000, 2500, 3)
    assert record["metric"] == "fd1k_full-efficientnet_lite0" and record["detector"] == "efficientnet_lite0"
    assert set(record) >= {"detector_hash", "resizing", "seconds", "versions"}
    json.dumps(record)


def test_a_subset_of_the_reals_is_the_start_of_a_seeded_permutation():
    images = pictures(1700)
    evaluator = build(RealImages(images), ["fd1k"], seed=5)
    evaluator.prepare()
    (found,) = evaluator.references.values()
    order = np.random.RandomState(5).permutation(1700)
    chosen, one, other = (cells(images[order[part]]).double().numpy() for part in (slice(1000), slice(850), slice(850, 1700)))
    assert found.sample.count == 1000 and found.counts == (850, 850)
    np.testing.assert_allclose(found.sample.statistics.cov, np.cov(chosen.T), rtol=1e-9, atol=1e-9)
    expected = frechet_distance(one.mean(0), np.cov(one.T), other.mean(0), np.cov(other.T))
    assert found.distance == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    "count, full, reals, expected",
    [
        (2000, True, 10_000, ((0, 10_000), (0, 2000), (2000, 10_000))),
        (2000, True, 3001, ((0, 3001), (0, 1500), (1500, 3001))),
        (2000, False, 10_000, ((0, 2000), (0, 2000), (2000, 4000))),
        (2000, False, 3000, ((0, 2000), (0, 1500), (1500, 3000))),
        (2000, False, 900, ((0, 900), (0, 450), (450, 900))),
    ],
)
def test_real_against_real_never_compares_an_image_with_itself(count, full, reals, expected):
    metric = parse_metric(f"fd{count // 1000}k{'_full' if full else ''}")
    assert reference.sides(metric, real_images.RealImages(None, reals, "")) == tuple([part] for part in expected)


def test_several_metrics_share_one_pass_and_agree_with_each_alone():
    reals, fakes = RealImages(pictures(2300)), pictures(2000, seed=1, contrast=0.8)
    names = ["fd2k", "fd1k_full", "fid1k", "fd1k_full-efficientnet_lite0"]
    calls = []

    def fake_batches(count):
        calls.append(count)
        return fakes.split(130)

    together = build(reals, names)(fake_batches)
    assert [record["metric"] for record in together] == ["fd2k-efficientnet_lite0", "fd1k_full-efficientnet_lite0", "fid1k"]
    assert calls == [2000] and reals.reads == 2  # once per detector
    for record in together:
        (alone,) = score(build(RealImages(reals.images), [record["metric"]], key="other"), fakes)
        assert alone["value"] == pytest.approx(record["value"], rel=1e-9)
        assert alone["floor"] == pytest.approx(record["floor"], rel=1e-9)


def test_a_kept_reference_gives_the_same_floats_without_a_look_at_the_reals():
    fakes = pictures(1000, seed=1)
    first, second, third = (RealImages(pictures(1500)) for _ in range(3))
    wanted = score(build(first), fakes)[0]
    found = score(build(second), fakes)[0]
    assert (first.reads, second.reads) == (1, 0)
    assert (found["value"], found["floor"], found["floor_counts"]) == (wanted["value"], wanted["floor"], wanted["floor_counts"])
    score(build(third, key="other content"), fakes)
    score(build(third, seed=1), fakes)
    score(build(third, names=["fd1k"]), fakes)
    assert third.reads == 3


HEADERS = {  # what a kept reference may say of itself that is no reference
    "floor": {"floor": "12"},
    "floor nan": {"floor": float("nan")},
    "floor true": {"floor": True},
    "no floor": {"floor": ...},
    "counts": {"floor_counts": [750]},
    "counts of text": {"floor_counts": "ab"},
    "a list": [],
}


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "foreign", "dimensions", "not finite", "header", *HEADERS])
def test_a_damaged_reference_is_computed_anew(damage, tmp_path, capsys):
    fakes = pictures(1000, seed=1)
    wanted = score(build(RealImages(pictures(1500))), fakes)[0]
    (path,) = (tmp_path / "cache" / "statistics").iterdir()
    whole = path.read_bytes()
    if damage == "flipped":
        path.write_bytes(whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:])
    elif damage == "foreign":
        path.write_bytes(safetensors.numpy.save({"weight": np.zeros(3)}))
    elif damage == "header":
        path.write_bytes(whole.replace(b'floor_counts\\": [750', b'floor_counts\\": [751'))
        assert path.read_bytes() != whole
    elif damage in HEADERS or damage in ("dimensions", "not finite"):  # with a checksum that is right
        arrays, header = array_file.read(path)
        if damage == "dimensions":
            arrays |= {"mean": arrays["mean"][:-1].copy(), "scatter": arrays["scatter"][:-1, :-1].copy()}
        elif damage == "not finite":
            arrays["scatter"][0, 0] = np.nan
        elif damage == "a list":
            header = {}
        else:
            header = {key: value for key, value in (header | HEADERS[damage]).items() if value is not ...}
        array_file.write(path, arrays, **header)
    else:
        path.write_bytes(whole[: {"cut": 300, "empty": 0}[damage]])
    reals = RealImages(pictures(1500))
    assert score(build(reals), fakes)[0]["value"] == wanted["value"]
    assert reals.reads == 1 and "damaged" in capsys.readouterr().err
    assert path.read_bytes() == whole


def test_without_a_place_to_keep_it_the_number_is_the_same(tmp_path, monkeypatch, capsys):
    fakes = pictures(1000, seed=1)
    wanted = score(build(RealImages(pictures(1500))), fakes)[0]["value"]
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ADACONV_CACHE", str(tmp_path / "file"))
    assert score(build(RealImages(pictures(1500))), fakes)[0]["value"] == wanted
    assert "could not be kept" in capsys.readouterr().err


def test_neither_batches_nor_order_matter():
    reals, fakes = pictures(1500), pictures(1000, seed=1, contrast=0.9)
    wanted = score(build(RealImages(reals)), fakes)[0]["value"]
    assert score(build(RealImages(reals, batch=7), key="a", batch_size=5), fakes, batch=33)[0]["value"] == pytest.approx(
        wanted, rel=1e-9
    )
    backwards = build(RealImages(reals.flip(0)), key="b")
    assert score(backwards, fakes.flip(0))[0]["value"] == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("prepared", [False, True])
def test_threads_change_no_bit(monkeypatch, prepared):
    """Nor does it matter whether a detector has its images prepared by them, or is handed them as they are."""
    reals, fakes = pictures(1500), pictures(1000, seed=1, contrast=0.9)
    load = evaluator_module.load_detector
    if prepared:
        halves = dict(prepare=lambda image: image.float() / 2, compute=lambda images: cells(images * 2))
        monkeypatch.setattr(evaluator_module, "load_detector", lambda *a: dataclasses.replace(load(*a), **halves))
    names = ["fid1k_full", "pr1k_full", "fd1k"]
    found = [score(build(RealImages(reals), names, key=str(n), workers=n), fakes, batch=33) for n in (0, 1, 3)]
    for records in found[1:]:
        for record, wanted in zip(records, found[0]):
            assert record["value"] == wanted["value"] and record["floor"] == wanted["floor"]


def test_paths_are_not_for_an_evaluator():
    with pytest.raises(InputError, match="ppl2_wend50k needs the generator.*calc_metrics.py --network"):
        build(RealImages(pictures(10)), ["ppl2_wend"])


def test_the_distance_grows_with_the_blur(pytestconfig):
    with zipfile.ZipFile(pytestconfig.rootpath / "datasets/emoji32.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".png"))[:1000]
        images = np.stack([np.array(Image.open(archive.open(name)).convert("RGB")) for name in names])
    reals = torch.from_numpy(images).permute(0, 3, 1, 2)
    evaluator = build(RealImages(reals))
    values = [score(evaluator, torch.cat(list(blurred(reals.split(50), size))))[0]["value"] for size in (32, 16, 8, 4, 2, 1)]
    assert values == sorted(values) and values[0] < 1e-6 * values[1]


def test_blurred():
    images = pictures(5)
    assert torch.equal(torch.cat(list(blurred(images.split(2), 8))), images)
    (flat,) = blurred([images], 1)
    assert flat.shape == images.shape and flat.dtype == torch.uint8 and flat.float().std((2, 3)).max() == 0
    assert torch.allclose(flat[:, :, 0, 0].float(), images.float().mean((2, 3)), atol=0.51)


def test_normalized_distance():
    assert normalized_distance(10, real_vs_real=2, untrained=18) == 0.5
    assert normalized_distance(18, real_vs_real=2, untrained=18) == 1
    assert normalized_distance(10, real_vs_real=None, untrained=18) is None
    assert normalized_distance(10, real_vs_real=2, untrained=2) is None
    assert normalized_distance(10, real_vs_real=20, untrained=18) is None


def test_few_images(capsys):
    with pytest.raises(InputError, match="two real images"):
        build(RealImages(pictures(1)))
    (record,) = score(build(RealImages(pictures(3))), pictures(1000))
    assert record["floor"] is None and record["floor_counts"] == [1, 2]
    assert "compares 3 images by 12 features" in capsys.readouterr().err


def test_other_numbers_of_images_than_promised():
    with pytest.raises(InputError, match="found 999 of the 1000 images to score"):
        score(build(RealImages(pictures(1500))), pictures(999))
    for images in (1400, 1600):
        evaluator = Evaluator(["fd1k_full"], RealImages(pictures(images)), 1500, f"short {images}", "cpu")
        with pytest.raises(InputError, match="1500 images"):
            evaluator.prepare()


def test_no_metrics_no_work():
    evaluator = build(RealImages(pictures(1)), names=[])
    assert evaluator(lambda count: pytest.fail("no images are needed")) == []


def test_a_detector_that_is_not_here_is_missed_at_once(monkeypatch):
    def missing(name, path, file):
        raise InputError("not here")

    monkeypatch.setattr(evaluator_module, "require_detector", missing)
    with pytest.raises(InputError, match="fd1k_full-efficientnet_lite0: not here"):
        build(RealImages(pictures(100)))


# ---------------------------------------------------------------- metrics that go by features


EVERY = ["fid1k_full", "kid1k_full", "pr1k3_full", "dc1k_full", "is1k", "mind1k_full"]


def test_every_metric_from_one_pass_over_either_side():
    reals, fakes = pictures(1500), pictures(1300, seed=1, contrast=0.97)
    source, drawn = RealImages(reals), []

    def fake_batches(count):
        drawn.append(count)
        return fakes.split(130)

    records = build(source, EVERY, seed=4)(fake_batches)
    assert drawn == [1000] and source.reads == 1
    order = np.random.RandomState(4).permutation(1500)
    real, fake = cells(reals[order]).numpy(), cells(fakes[:1000]).numpy()
    fid, kid, pr, dc, score_of_classes, monge = records
    assert [record["metric"] for record in records] == [name.replace("k3", "k") for name in EVERY]
    expected = frechet_distance(fake.mean(0), np.cov(fake.T), real.mean(0), np.cov(real.T))
    assert fid["value"] == pytest.approx(expected, rel=1e-4)  # here of float32 means
    assert (kid["value"], kid["std"]) == kernel_distance(fake, real, seed=4) and kid["value_is"] == "distance"
    assert (pr["precision"], pr["recall"]) == precision_recall(fake, real)
    assert pr["value"] == pytest.approx(2 / (1 / pr["precision"] + 1 / pr["recall"])) and pr["value_is"] == "f_score"
    assert (dc["density"], dc["value"]) == density_coverage(fake, real) and dc["value_is"] == "coverage"
    logits = fake @ np.eye(DIM, 4, dtype=np.float32) / 20
    assert score_of_classes["value"] == pytest.approx(inception_score(logits)[0], rel=1e-6)
    assert [record["real"] for record in records] == [1500] * 4 + [0, 1500]
    assert monge["value"] == monge_distance(fake, real, seed=4) and monge["value_is"] == "distance"
    json.dumps(records)


def test_what_real_images_score_against_real_images():
    reals = pictures(1500)
    records = score(build(RealImages(reals), EVERY), pictures(1000, seed=1, contrast=0.8))
    real = cells(reals[np.random.RandomState(0).permutation(1500)]).numpy()
    fid, kid, pr, dc, score_of_classes, monge = records
    assert monge["floor"] == monge_distance(real[:750], real[750:]) and 0 < monge["floor"] < 0.2 * monge["value"]
    assert kid["floor"] == kernel_distance(real[:750], real[750:])[0] and abs(kid["floor"]) < 0.1 * kid["value"]
    assert pr["floor"] is dc["floor"] is score_of_classes["floor"] is None
    precision, recall = precision_recall(real[:750], real[750:])
    assert (pr["between_reals"]["precision"], pr["between_reals"]["recall"]) == (precision, recall)
    assert dc["between_reals"]["coverage"] == density_coverage(real[:750], real[750:])[1]
    assert kid["floor_counts"] == pr["floor_counts"] == [750, 750]


def test_features_of_the_reals_are_kept_for_all_metrics_that_go_by_them(tmp_path):
    fakes, reals = pictures(1000, seed=1), RealImages(pictures(1500))
    first = score(build(reals, ["dc1k_full", "pr1k_full"]), fakes)
    again = score(build(reals, ["fid1k_full", "dc1k_full", "pr1k_full", "kid1k_full"]), fakes)
    assert reals.reads == 1 and [record["value"] for record in again[1:3]] == [record["value"] for record in first]
    score(build(reals, ["pr1k_full"], key="other content"), fakes)
    assert reals.reads == 2
    for path in (tmp_path / "cache").glob("*/*.safetensors"):
        path.write_bytes(path.read_bytes()[:-5])
    assert score(build(reals, ["dc1k_full", "pr1k_full"]), fakes) == [
        record | {"seconds": pytest.approx(0, abs=60)} for record in first
    ]
    assert reals.reads == 3


def test_features_measured_for_one_metric_serve_the_next():
    """Moments from the features of all images, a subset from the features of all; every order of asking reads once."""
    fakes, real = pictures(1000, seed=1), RealImages(pictures(2500))
    score(build(real, ["pr1k_full"]), fakes)
    later = [score(build(real, [name]), fakes)[0] for name in ("fid1k_full", "fid1k", "kid1k", "kid1k_full")]
    assert real.reads == 1
    for record in later:
        (alone,) = score(build(RealImages(real.images), [record["metric"]], key="other " + record["metric"]), fakes)
        assert record["value"] == pytest.approx(alone["value"], rel=1e-9)
        assert record["floor"] == pytest.approx(alone["floor"], rel=1e-9)


def test_a_subset_of_the_reals_is_all_that_is_looked_at(tmp_path):
    (record,) = score(build(RealImages(pictures(5000)), ["kid1k"]), pictures(1000, seed=1))
    assert record["real"] == 1000 and record["floor_counts"] == [1000, 1000]
    (path,) = (tmp_path / "cache" / "features").iterdir()
    assert path.stat().st_size < 2100 * DIM * 4


def test_moments_alone_keep_no_features(tmp_path):
    evaluator = build(RealImages(pictures(1500)), ["fid1k_full"])
    score(evaluator, pictures(1000, seed=1))
    assert not (tmp_path / "cache" / "features").exists()
    assert all(reference.sample.features is None for reference in evaluator.references.values())


def test_intervals_and_extrapolation_where_they_are_asked_for():
    reals, fakes = pictures(1500), pictures(1000, seed=1, contrast=0.9)
    plain = score(build(RealImages(reals), EVERY), fakes)
    assert not any("interval" in record or "extrapolated" in record for record in plain)
    full = score(build(RealImages(reals), EVERY, interval=True, extrapolate=True), fakes)
    for record, before in zip(full, plain):
        assert record["value"] == pytest.approx(before["value"], rel=1e-9)
        assert ("interval" in record) == (record["metric"] in ("fid1k_full", "kid1k_full", "mind1k_full"))
        assert ("extrapolated" in record) == (record["metric"] == "fid1k_full")
    for record in (*full[:2], full[-1]):
        low, high = record["interval"]
        assert low < record["value"] < high < 1.5 * record["value"]
    assert 0.9 * full[0]["value"] < full[0]["extrapolated"] < full[0]["value"]


def test_the_interval_holds_other_draws():
    evaluator = build(RealImages(pictures(1500)), ["fid1k_full"], interval=True)
    first, *others = (score(evaluator, pictures(1000, seed=seed, contrast=0.9))[0] for seed in range(100, 110))
    low, high = first["interval"]
    assert sum(low <= other["value"] <= high for other in others) >= 7


def test_the_inception_score_needs_classes(monkeypatch):
    evaluator = build(RealImages(pictures(100)), ["is1k"])
    load = evaluator_module.load_detector
    monkeypatch.setattr(evaluator_module, "load_detector", lambda *a: dataclasses.replace(load(*a), logits=None))
    with pytest.raises(InputError, match="needs class probabilities"):
        evaluator.prepare()


@pytest.mark.parametrize("name, count", [("pr1k_full", 3), ("dc1k_full", 5)])
def test_neighbours_need_real_images(name, count):
    with pytest.raises(InputError, match=f"{name} needs {count + 1} real images at least, and the data has {count}"):
        build(RealImages(pictures(count)), [name])
    (record,) = score(build(RealImages(pictures(count + 1)), [name]), pictures(1000, seed=1))
    assert record["between_reals"] is None


def test_a_torchscript_file_is_a_detector_by_its_name(tmp_path, monkeypatch):
    for name in ("require_detector", "load_detector"):
        monkeypatch.setattr(evaluator_module, name, getattr(load_module, name))
    path = tmp_path / "mean colour.pt"
    torch.jit.script(MeanColour()).save(str(path))
    evaluator = build(RealImages(pictures(1100)), ["fd1k_full-mean_colour", "kid1k_full-mean_colour"], detector_file=path)
    records = score(evaluator, pictures(1000, seed=1, contrast=0.9))
    assert [record["metric"] for record in records] == ["fd1k_full-mean_colour", "kid1k_full-mean_colour"]
    assert records[0]["value"] > 10 * records[0]["floor"] and records[0]["resizing"] == "by the network itself"


class MeanColour(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean((2, 3))


def test_nearest_finds_copies():
    reals = pictures(300)
    fakes = torch.cat([pictures(5, seed=1), reals[[7, 250]], pictures(5, seed=2)])
    found = build(RealImages(reals), seed=3).nearest(fakes, 4)
    assert set(found.order[:2]) == {5, 6} and found.real.shape == found.distances.shape == (12, 4)
    assert (found.real[[5, 6], 0] == [7, 250]).all() and (found.distances[[5, 6], 0] == 0).all()
    assert (np.diff(found.distances, axis=1) >= 0).all()
    expected = np.linalg.norm(cells(fakes)[:1].double() - cells(reals).double(), axis=1)
    assert found.distances[0, 0] == pytest.approx(expected.min(), rel=1e-6) and found.real[0, 0] == expected.argmin()
    assert 0.5 < found.closeness < 2
    copies = build(RealImages(reals)).nearest(reals[:50], 1)
    assert copies.closeness == 0


def test_scores_on_features_that_training_has_looked_at_are_marked():
    evaluator = build(RealImages(pictures(20)), ("fd1k_full", "fd1k_full-vgg16"), seen=("efficientnet_lite0",))
    assert [record["independent"] for record in score(evaluator, pictures(1000, seed=1))] == [False, True]
