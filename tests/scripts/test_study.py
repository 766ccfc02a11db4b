"""The study of modulations: its plan, its numbers, and a small one from its command to its page."""

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from scripts.experiments import ablation, study, study_page
from scripts.experiments.study_page import better, interval, ranks, reached
from scripts.experiments.study_plan import METRICS, STAGES, planned
from tests.training.run.test_start import call
from torch_utils.files import InputError
from training.gan.config import PRESETS

EMOJI = {Path("emoji32.zip"): (32, 3)}


def plan(stage: str, seeds: int = 2, sizes=EMOJI):
    return planned(STAGES[stage], sizes, 8, seeds, STAGES[stage].rows, 4, "fp32")


@pytest.mark.parametrize("stage", ["modulations", "parts", "rates"])
def test_a_stage_can_stop_anywhere(stage):
    runs = plan(stage, 2, EMOJI | {Path("fashion32.zip"): (32, 1)})
    rows = len(STAGES[stage].rows)
    assert [one.config.seed for one in runs] == [0] * 2 * rows + [1] * 2 * rows
    assert [one.row for one in runs[: 2 * rows : 2]] == list(STAGES[stage].rows)
    assert len({one.name for one in runs}) == len(runs)
    assert all(one.config.metrics == METRICS and one.config.aug == "ada" for one in runs)


def test_what_stages_share_is_run_once():
    stages = [{one.name: one for one in plan(stage)} for stage in STAGES]
    for one, other in itertools.combinations(stages, 2):
        shared = one.keys() & other.keys()
        assert shared == {one_name for one_name in one if one[one_name].row == "adaconv"}
        assert all(one[name].config == other[name].config for name in shared)


def test_same_parameters_are_the_same():
    runs = {one.row: one for one in plan("same parameters", 1)}
    wanted = runs["adaconv"].parameters
    for row, one in runs.items():
        assert abs(one.parameters / wanted - 1) < 0.02, row
        assert one.config.d_channel_base == runs["adaconv"].config.d_channel_base
        assert one.config.channel_max == runs["adaconv"].config.channel_max  # which the discriminator has, too


def test_intervals_and_ranks():
    assert interval([5.0, 6.0]) is None
    low, high = interval([5.0, 6.0, 7.0, 8.0])
    assert 5 <= low < 6.5 < high <= 8
    many = np.random.RandomState(0).standard_normal(400)
    low, high = interval(list(many))
    assert high - low == pytest.approx(2 * 1.96 * many.std() / 20, rel=0.05)
    best, close, far, alone = [1.0, 2.0, 3.0], [1.5, 2.0, 3.5], [10.0, 11.0, 12.0], [0.0, 0.1]
    assert better(best, far) and not better(far, best) and not better(best, close) and not better(alone, far)
    assert ranks(dict(a=best, b=close, c=far, d=alone)) == dict(a=1, b=1, c=3, d=1)


def test_where_a_level_is_reached():
    metric = METRICS[0]
    record = lambda *values: dict(
        points=[dict(kimg=4 * i, seconds=40 * i, scores={metric: dict(value=v)}) for i, v in enumerate(values)]
    )
    found = [record(30, 20, 10), record(10, 10, 10)]  # means 20, 15, 10
    assert reached(found, metric, 20) == (0, 0)
    assert reached(found, metric, 12.5) == pytest.approx((6, 60))
    assert reached(found, metric, 9) is None


@pytest.fixture
def small_study(image_folder, tmp_path, monkeypatch):
    """study(*words) runs two rows with two seeds at 16 pixels for a kimg, with scores that are made up."""
    pytest.importorskip("matplotlib", reason="needs the dev extra")
    preset, made = PRESETS["small"], itertools.count()
    narrow = dict(channel_base=64, channel_max=8, d_channel_base=64, z_dim=8, style_depth=2, batch=48, aug="noaug")

    def scores(fakes):
        numbers = dict(floor=1.0, floor_counts=[4, 4], precision=0.5, recall=0.25)
        return [dict(metric=metric, value=30.0 - next(made) / 10) | numbers for metric in METRICS]

    monkeypatch.setattr(ablation, "Evaluator", lambda *_: scores)
    monkeypatch.setitem(PRESETS, "small", lambda side: preset(side) | narrow)
    fixed = ["--data", image_folder(8, 16), "--outdir", tmp_path / "runs", "--docs", tmp_path / "docs", "--device", "cpu"]
    fixed += [
        "--stage",
        "modulations",
        "--row",
        "none",
        "--row",
        "bank",
        "--kimg",
        1,
        "--seeds",
        2,
        "--snap",
        1,
        "--precision",
        "fp32",
    ]
    return lambda *words: call(study.main, *fixed, *words)


def test_from_the_command_to_the_page(small_study, tmp_path):
    names = [f"images-{modulation}-seed{seed}" for seed in (0, 1) for modulation in ("bank", "none")]
    assert small_study("--dry-run").count("\n          ") == 4 and not (tmp_path / "docs").exists()

    assert "Stopped after 1e-09 hours" in small_study("--hours", 1e-9)  # before anything was begun
    assert not (tmp_path / "runs").exists()
    said = small_study()
    assert [line.split("] ")[1] for line in said.splitlines() if line.startswith("[")] == names
    records = sorted((tmp_path / "docs" / "study").glob("*.json"))
    assert len(records) == 4
    record = json.loads(records[0].read_text())
    assert [point["kimg"] for point in record["points"]] == [0, 1.008] and set(record["points"][0]["scores"]) == set(METRICS)
    assert record["points"][1]["seconds"] > 0 and record["parameters"] > 0
    page = (tmp_path / "docs" / "study.md").read_text()
    assert page.startswith("# Modulations compared\n") and page.count("| none |") == page.count("| bank |") == 1
    assert "--stage modulations --row bank --row none --kimg 1 --seeds 2" in page
    (picture,) = (tmp_path / "docs" / "images").iterdir()
    assert picture.name == "study-images-modulations.png" and f"](images/{picture.name})" in page

    shutil.rmtree(tmp_path / "runs")  # the records are enough for the page
    (tmp_path / "docs" / "study.md").write_text(page.replace("# Modulations compared", "# Written by hand"))
    again = small_study()
    assert "[" not in again and not (tmp_path / "runs").exists()
    assert (tmp_path / "docs" / "study.md").read_text() == page.replace("# Modulations compared", "# Written by hand")
    records[0].unlink()
    assert small_study().count("[modulations") == 1  # what is missing, and no more
    assert small_study("--dry-run").count("  done  ") == 4


def test_rows_and_data_that_there_are_not(tmp_path):
    with pytest.raises(InputError, match="--row film: wanted one of adaconv, adain, demod, bank, none"):
        call(study.main, "--stage", "modulations", "--row", "film")
    with pytest.raises(InputError, match="there is no such file"):
        call(study.main, "--data", tmp_path / "nothing.zip", "--dry-run")


def test_a_record_of_other_settings_is_none(tmp_path):
    one = plan("modulations")[0]
    settings = study_page.settings(one.config.to_json())
    points = [dict(kimg=8.0, seconds=1.0, scores={})]
    write = lambda **changes: (tmp_path / f"{one.name}.json").write_text(
        json.dumps(dict(settings=settings | changes, parameters=1, points=points))
    )
    write()
    assert study_page.read_record(one, tmp_path)["points"] == points
    write(glr=0.5)
    assert study_page.read_record(one, tmp_path) is None
