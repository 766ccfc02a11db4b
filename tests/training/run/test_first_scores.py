"""What stands at the beginning of a run: scores of an untrained network, those of a network that was given, or none."""

import json

import pytest

import train
from metrics.evaluation import session
from metrics.evaluation.session import Session
from scripts.card_text import score_rows
from tests.commands.test_commands import NO_METRICS, SHORT
from tests.training.gan.test_training import CPU, make
from tests.training.run.test_html_report import Page
from tests.training.run.test_start import call
from torch_utils.files import read_json, write_json
from torch_utils.run_dir import OPTIONS
from torch_utils.stats import read_jsonl
from training.gan.loop import train as train_loop
from training.run.run_records import RunRecords
from training.run.verdict import verdict

FD, KID, FULL = "fd1k_full-vgg16", "kid1k_full-vgg16", "fd1k_full-efficientnet_lite0"


def falling(*names, begin=90.0):
    """evaluate(fakes): of each metric 90, 80, 70, …"""
    values = [begin]

    def evaluate(fakes):
        next(iter(fakes(4)))
        value, values[0] = values[0], values[0] - 10
        return [dict(metric=name, value=value, floor=10.0, floor_counts=[4, 4], generated=1000, real=8) for name in names]

    return evaluate


@pytest.fixture
def trained(image_folder, tmp_path):
    """trained(kimg, *metrics, resume=False, begin=…, **options) -> records of the run, and its log."""
    folder, run_dir = image_folder(), tmp_path / "run"
    run_dir.mkdir()

    def run(kimg, *metrics, resume=False, begin=90.0, **options):
        config, dataset, state = make(folder, kimg=kimg, metrics=metrics, **dict(snap=1) | options)
        if resume:
            state.load(run_dir)
        write_json(run_dir / OPTIONS, config.to_json())
        train_loop(config, dataset, state, run_dir, falling(*metrics, begin=begin) if metrics else None, CPU)
        return RunRecords(run_dir), (run_dir / "log.txt").read_text(encoding="utf-8")

    return run


def test_a_metric_that_a_resume_adds_has_no_score_of_an_untrained_network(trained, tmp_path):
    trained(0.008, FD)
    records, log = trained(0.024, FD, KID, resume=True, begin=80.0)
    assert [record["nimg"] for record in records.scores[KID]] == [8, 16, 24]
    assert [record["way_left"] for record in read_jsonl(tmp_path / "run" / f"metric-{KID}.jsonl")] == [None] * 3
    assert [record["way_left"] for record in records.scores[FD]] == pytest.approx([1, 7 / 8, 6 / 8, 5 / 8])
    assert f"{KID} 60 at 0.0 kimg; real vs. real 10 (4 against 4)\n" in log and "untrained 90; normalized 0.62" in log
    assert verdict(KID, records.scores[KID], 1.0) == "" and "62 % of the way from the untrained" in Page(tmp_path / "run").text
    rows = dict(score_rows(records, tmp_path / "run" / "network-snapshot-000000.safetensors"))
    assert rows[f"`{KID}`"] == "60; real vs. real 10 (4 against 4)" and "untrained 90; **normalized" in rows[f"`{FD}`"]


def test_a_metric_that_a_finished_run_is_given_leaves_the_scores_of_the_others(trained, tmp_path):
    trained(0.016, FD)
    trained(0.016, FD, KID, resume=True, begin=70.0)
    nimg = {name: [r["nimg"] for r in read_jsonl(tmp_path / "run" / f"metric-{name}.jsonl")] for name in (FD, KID)}
    assert nimg == {FD: [0, 8, 16], KID: [16]}


def test_records_of_before_are_read_so_too(tmp_path):
    """They may call the first score of such a metric untrained."""
    (tmp_path / f"metric-{FD}.jsonl").write_text('{"nimg": 8, "value": 80.0, "floor": 10.0, "way_left": 1.0}\n')
    assert RunRecords(tmp_path).scores[FD][0]["way_left"] is None


def test_a_network_that_was_given_is_not_called_untrained(trained, tmp_path):
    records, log = trained(0.016, FD, warm_start=True)
    assert [record["way_left"] for record in read_jsonl(tmp_path / "run" / f"metric-{FD}.jsonl")] == [None] * 3
    assert [record["way_left"] for record in records.scores[FD]] == [None] * 3 and verdict(FD, records.scores[FD], 1.0) == ""
    assert records.grids[0][:2] == (0, "at the start")
    assert f"{FD} 70 at 0.0 kimg; real vs. real 10 (4 against 4); at the start 90\n" in log
    page = Page(tmp_path / "run")
    assert "untrained" not in log + page.text and page.grids[0]["label"] == "at the start"
    ((_, row),) = score_rows(records, tmp_path / "run" / "network-snapshot-000000.safetensors")
    assert row == "70; real vs. real 10 (4 against 4); at the start 90"


@pytest.mark.parametrize("warm", [False, True])
def test_baselines_take_records_of_untrained_networks_only(tmp_path, monkeypatch, warm):
    same = dict(generated=1000, real=8, real_content="c", seed=0, floor=None, detector_hash="x", resizing=None)
    record = dict(metric=FD) | same
    (tmp_path / f"metric-{FD}.jsonl").write_text(json.dumps(record | dict(nimg=0, value=90.0)) + "\n")

    class Opened(Session):
        def __init__(self):
            self.network, self.training, self.G = tmp_path / "a.safetensors", dict(warm_start=warm), None
            self.shards = session.Shards(0, 1)
            self.evaluator = lambda fakes: "measured"

    monkeypatch.setattr(session, "untrained", lambda G, seed: G)
    found = Opened()._evaluate_untrained([record])
    assert found == "measured" if warm else found[0]["value"] == 90
    for name in same:
        assert Opened()._evaluate_untrained([record | {name: "another"}]) == "measured"


def test_a_run_remembers_that_it_was_begun_from_a_network(image_folder, tmp_path):
    words = ["--outdir", tmp_path / "runs", "--data", image_folder(8), *SHORT, *NO_METRICS]
    options = lambda run: read_json(run / OPTIONS)
    call(train.main, *words)
    (first,) = (tmp_path / "runs").iterdir()
    call(train.main, *words, "--seed", 1, "--resume", first / "network-snapshot-000000.safetensors")
    second = max((tmp_path / "runs").iterdir())
    assert (options(first)["warm_start"], options(second)["warm_start"]) == (False, True)
    call(train.main, *words, "--seed", 1, "--resume", "auto", "--kimg", 0.024)
    call(train.main, "--outdir", tmp_path / "runs", "--resume", second, "--kimg", 0.032)
    assert options(second)["warm_start"] and options(second)["kimg"] == 0.032 and len(list((tmp_path / "runs").iterdir())) == 2
    call(train.main, *words, "--resume", "auto", "--kimg", 0.024)
    assert not options(first)["warm_start"] and options(first)["kimg"] == 0.024


@pytest.mark.parametrize("typed", ["fd1k_full", "fd1k_full-efficientnet_lite0,fd1k_full"])
def test_a_metric_by_another_name_is_scored_once(image_folder, tmp_path, monkeypatch, typed):
    """It was scored again at each resume, as its records have the canonical name."""
    words = ["--outdir", tmp_path / "runs", "--data", image_folder(8), *SHORT, "--metrics", typed]
    monkeypatch.setattr(train, "build_evaluator", lambda config, *_: falling(*config.metrics))
    call(train.main, *words)
    (run,) = (tmp_path / "runs").iterdir()
    assert read_json(run / OPTIONS)["metrics"] == [FULL]
    scores = read_jsonl(run / f"metric-{FULL}.jsonl")
    write_json(run / OPTIONS, read_json(run / OPTIONS) | dict(metrics=typed.split(",")))  # as earlier versions stored it
    call(train.main, "--outdir", tmp_path / "runs", "--device", "cpu", "--resume", run)
    call(train.main, *words, "--resume", "auto")
    assert read_jsonl(run / f"metric-{FULL}.jsonl") == scores and [score["nimg"] for score in scores] == [0, 8, 16]
    assert read_json(run / OPTIONS)["metrics"] == [FULL]
