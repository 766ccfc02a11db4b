"""Which real images a request opens: none that it does not need, and a run's own as the run took them."""

import json

import pytest
import torch

from metrics.evaluation.request import Request
from metrics.evaluation.session import Session
from metrics.evaluation.shards import ALONE
from tests.commands.test_calc_metrics import Cells, folders  # noqa: F401  a fixture
from tests.metrics.evaluation.test_evaluator import setting  # noqa: F401  a fixture
from tests.scripts.test_style_mixing import make_network  # noqa: F401  a fixture
from torch_utils.checkpoint import save_snapshot
from torch_utils.files import InputError
from training.dataset import ImageDataset


def open_session(**options) -> Session:
    return Session(Request(**options), ImageDataset, torch.device("cpu"), ALONE)


def test_an_inception_score_alone_needs_no_real_images(folders):  # noqa: F811
    session = open_session(metrics=["is1k"], images=folders / "fake")
    assert session.real is None
    records, _ = session.evaluate()
    (record,) = session.with_origin(records["images"])
    assert record["metric"] == "is1k" and record["value"] >= 1 and record["real"] == 0 and record["real_content"] is None
    assert record["floor"] is None and not {"data", "mirror"} & set(record)


@pytest.mark.parametrize("more", [dict(metrics=["is1k", "fd1k"]), dict(nearest=True), dict(baselines=True)])
def test_what_needs_real_images_asks_for_them(folders, more):  # noqa: F811
    more |= {"nearest": folders / "n.png"} if "nearest" in more else {}
    request = dict(metrics=["is1k"], images=folders / "fake") | more
    with pytest.raises(InputError, match="--data is missing"):
        open_session(**request)
    assert len(open_session(**request, data=folders / "real").real) == 60


def test_images_that_a_run_left_out_are_left_out_of_its_scores(make_network, image_folder, tmp_path, capsys):  # noqa: F811
    network, _ = make_network()
    data = image_folder(12, 16)
    bad = sorted(path for path in data.rglob("*.png"))[3]
    bad.write_bytes(bad.read_bytes()[:60])
    run = dict(data=str(data), mirror=True, skip_bad=True)
    torch.jit.script(Cells()).save(str(tmp_path / "cells.pt"))
    request = dict(metrics=["kid1k_full-efficientnet_lite0"], network=network)

    def with_options(**options):
        (tmp_path / "training_options.json").write_text(json.dumps(options))
        return open_session(**request)

    session = with_options(**run)
    trained_on = ImageDataset(data, mirror=True, skip_bad=True)
    trained_on.check()
    assert len(session.real) == 22 and session.real.content_hash() == trained_on.content_hash()
    assert f"left out as in training: 1 that cannot be read, such as {bad.name}" in capsys.readouterr().err
    session.evaluator.prepare()
    assert session.evaluator.real.mirrored
    with pytest.raises(InputError, match=bad.name):
        with_options(**run | dict(skip_bad=False))
    with pytest.raises(InputError, match=bad.name):  # other images than the run's, as far as anybody has said
        open_session(**request, data=data)


def test_a_network_alone_is_scored_as_it_was_trained(make_network, image_folder, tmp_path):  # noqa: F811
    """A copy outside its run has what its header says."""
    network, G = make_network()
    request = dict(metrics=["kid1k_full-efficientnet_lite0"], network=network, data=image_folder(12, 16))
    assert len(open_session(**request).real) == 12
    save_snapshot(network, "generator", G, mirror=True, seed=3)
    session = open_session(**request)
    assert len(session.real) == 24 and session.training["seed"] == 3
    assert len(open_session(**request, mirror=False).real) == 12


def test_scores_are_measured_in_float32(folders):  # noqa: F811
    """On GPUs convolutions are TF32 by default; a run's own scores are not, and these are compared with them."""
    session, seen = open_session(metrics=["is1k"], images=folders / "fake"), []

    def fakes(count):
        seen.append(torch.backends.cudnn.allow_tf32)
        yield from session.fakes()["images"](count)

    before = torch.backends.cudnn.allow_tf32
    session.evaluator(fakes)
    assert seen == [False] and torch.backends.cudnn.allow_tf32 == before
