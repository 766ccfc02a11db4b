"""The study of modulations: its plan, its numbers, and a small one from its command to its page."""

import itertools
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

from scripts.experiments import ablation, study, study_page
from scripts.experiments.record_file import STARTS, append_record, read_records, trained_on, until
from scripts.experiments.study_numbers import aligned, interval, pace, ranks, reached, timed_on
from scripts.experiments.study_plan import BASE, METRICS, OTHERS, STAGES, planned
from tests.training.run.test_start import call
from torch_utils.files import InputError, append_jsonl
from training.gan.config import PRESETS

EMOJI = {Path("emoji32.zip"): (32, 3, "emoji")}


def plan(stage: str, seeds: int = 2, images=EMOJI, kimg: float = 8):
    return planned(STAGES[stage], images, kimg, seeds, STAGES[stage].rows, 4, "fp32")


@pytest.mark.parametrize("stage", ["modulations", "parts", "rates"])
def test_a_stage_can_stop_anywhere(stage):
    runs = plan(stage, 2, EMOJI | {Path("fashion32.zip"): (32, 1, "fashion")})
    rows = len(STAGES[stage].rows)
    assert [one.config.seed for one in runs] == [0] * 2 * rows + [1] * 2 * rows
    assert [one.row for one in runs[: 2 * rows : 2]] == list(STAGES[stage].rows)
    assert len({one.name for one in runs}) == len(runs)
    assert all(one.config.metrics == METRICS and one.config.aug == "ada" for one in runs)


def test_what_stages_share_is_run_once():
    stages = {stage: {one.name: one for one in plan(stage)} for stage in STAGES}
    for one, other in itertools.combinations(stages.values(), 2):
        assert all(
            one[name].config == other[name].config and one[name].row == other[name].row for name in one.keys() & other.keys()
        )
    rows = lambda stage: {one.row for one in stages[stage].values() if one.name in stages["modulations"]}
    assert rows("rates") == {BASE, *OTHERS} and rows("parts") == rows("same parameters") == {BASE}


def test_same_parameters_are_the_same():
    runs = {one.row: one for one in plan("same parameters", 1)}
    wanted = runs["adaconv"].parameters
    for row, one in runs.items():
        assert abs(one.parameters / wanted - 1) < 0.02, row
        assert one.config.d_channel_base == runs["adaconv"].config.d_channel_base
        assert one.config.channel_max == runs["adaconv"].config.channel_max  # which the discriminator has, too


def test_intervals():
    assert interval([5.0, 6.0]) is None
    assert interval([5.0, 6.0, 7.0]) == pytest.approx((6 - 4.303 / 3**0.5, 6 + 4.303 / 3**0.5), rel=1e-3)  # tables have 4.303
    draws = np.random.RandomState(0).normal(7, 2, (400, 3)).tolist()
    covered = sum(low <= 7 <= high for low, high in map(interval, draws)) / len(draws)
    assert 0.92 < covered < 0.98  # of a bootstrap: 0.77


def test_ranks():
    best, close, far, alone = [10.0, 11.0, 12.0], [10.5, 11.0, 12.5], [40.0, 44.0, 48.0], [1.0, 1.1]
    assert ranks(dict(a=best, b=close, c=far, d=alone)) == dict(a=1, b=1, c=3, d=1)
    assert ranks(dict(a=best, d=alone)) == dict(a=1, d=1)
    random = np.random.RandomState(1)
    trials = [ranks({row: random.normal(150, 10, 3).tolist() for row in "abcde"}) for _ in range(60)]
    assert sum(set(found.values()) != {1} for found in trials) / len(trials) < 0.15  # equal rows; of a bootstrap: 0.6


def test_where_a_level_is_reached():
    metric = METRICS[0]
    record = lambda *values: dict(points=[dict(kimg=4 * i, scores={metric: dict(value=v)}) for i, v in enumerate(values)])
    found = [record(30, 20, 10), record(10, 10, 10)]  # means 20, 15, 10
    assert reached(found, metric, 20) == 0
    assert reached(found, metric, 12.5) == pytest.approx(6)
    assert reached(found, metric, 9) is None


def test_only_what_all_seeds_have_is_averaged():
    often, seldom = ([dict(kimg=kimg) for kimg in range(0, 65, step)] for step in (8, 16))
    found = aligned([dict(points=often, parameters=1), dict(points=seldom, parameters=2)])
    assert found == [dict(points=seldom, parameters=1), dict(points=seldom, parameters=2)]


def made_up(value: float, seconds: float, machine: str | None, precision: str = "fp32") -> dict:
    """A record of a run of 8 kimg that takes so many seconds."""
    score = lambda value: dict(value=value, floor=1.0, precision=0.5, recall=0.25)
    points = [
        dict(kimg=kimg, seconds=seconds * kimg / 8, scores={metric: score(value + 8 - kimg) for metric in METRICS})
        for kimg in (0.0, 4.0, 8.0)
    ]
    return dict(parameters=1_000_000, precision=precision, machine=machine, points=points)


def test_seconds_are_of_one_machine():
    records = [made_up(1, 80, "a"), made_up(1, 64, "a"), made_up(1, 8, "b"), made_up(1, 8, "a", "bf16"), made_up(1, 8, None)]
    assert timed_on(records) == ("a", "fp32") and timed_on(records[4:]) is None
    assert pace(records, ("a", "fp32")) == 8 and pace(records[2:], ("a", "fp32")) is None
    assert pace(records, None) is None


def shown(tmp_path, **records: list[dict]) -> list[str]:
    """The page's lines on runs with these records, by row."""
    pytest.importorskip("matplotlib", reason="needs the dev extra")
    (tmp_path / "images").mkdir()
    runs = {one.row: one for one in plan("modulations", 1)}
    return study_page.section(
        "modulations",
        Path("emoji32.zip"),
        {row: [(runs[row], one) for one in found] for row, found in records.items()},
        tmp_path,
        tmp_path / "runs",
    )


def test_a_table_of_several_machines(tmp_path):
    rows = dict(
        adaconv=[made_up(2000, 80, "a")], demod=[made_up(3, 40, "a"), made_up(5, 64, "a")], none=[made_up(1, 8, "b", "bf16")]
    )
    lines = shown(tmp_path, **rows)
    heads, _, *cells = [line.split(" | ") for line in next(line for line in lines if line.startswith("| setting")).split("\n")]
    assert [row[0] for row in cells] == ["| none", "| demod", "| adaconv"] and len(heads) == len(cells[0]) == 8
    assert [row[3] for row in cells] == ["1.0<br>1.0", "4.0<br>4.0", "2,000<br>2,000"]
    assert [row[5] for row in cells] == ["0.50, 0.25"] * 3
    assert [row[6] for row in cells] == ["–", "5.0", "10.0"]
    assert [row[7] for row in cells] == ["5.0 kimg |", "8.0 kimg<br>40 s |", "– |"]
    assert study_page.INTERVALS not in lines
    assert "Seconds are at the pace of the fastest run of a row on a, in fp32." in lines


def test_ranks_are_of_rows_with_enough_seeds(tmp_path):
    some = lambda *values: [made_up(value, 80, "a") for value in values]
    lines = shown(tmp_path, adaconv=some(100, 102, 104), demod=some(200, 204, 208), none=some(10, 11))
    heads, _, *cells = [line.split(" | ") for line in next(line for line in lines if line.startswith("| setting")).split("\n")]
    assert heads[3] == "rank" and [(row[0], row[3]) for row in cells] == [("| none", "–"), ("| adaconv", "1"), ("| demod", "2")]
    assert cells[1][4] == "102 (97.0 to 107)<br>102 (97.0 to 107)" and study_page.INTERVALS in lines


def test_a_table_of_unknown_machines_has_no_seconds(tmp_path):
    lines = shown(tmp_path, demod=[made_up(3, 40, None)])
    (table,) = (line for line in lines if line.startswith("| setting"))
    assert table.endswith("| – | 8.0 kimg |") and study_page.NO_SECONDS in lines
    assert (tmp_path / "images" / "study-emoji32-modulations.png").stat().st_size > 1000


@pytest.fixture
def small_study(image_folder, tmp_path, monkeypatch):
    """study(*words) runs two rows with two seeds at 16 pixels for a kimg, with scores that are made up."""
    pytest.importorskip("matplotlib", reason="needs the dev extra")
    preset, made = PRESETS["small"], itertools.count()
    narrow = dict(channel_base=64, channel_max=8, d_channel_base=64, z_dim=8, style_depth=2, batch=48, aug="noaug")

    def scores(fakes):
        numbers = dict(floor=1.0, floor_counts=[4, 4], precision=0.5, recall=0.25)
        return [dict(metric=metric, value=30.0 - next(made) / 10) | numbers for metric in METRICS]

    monkeypatch.setattr(ablation, "Evaluator", lambda *_, **__: scores)
    monkeypatch.setitem(PRESETS, "small", lambda side: preset(side) | narrow)
    fixed = ["--data", image_folder(8, 16), "--outdir", tmp_path / "runs", "--docs", tmp_path / "docs", "--device", "cpu"]
    fixed += [
        "--records",
        tmp_path / "records" / "study.jsonl",
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


def test_from_the_command_to_the_page(small_study, tmp_path, monkeypatch):
    names = [f"images-{modulation}-seed{seed}" for seed in (0, 1) for modulation in ("bank", "none")]
    assert small_study("--dry-run").count("\n          ") == 4 and not (tmp_path / "docs").exists()

    assert "Stopped after 1e-09 hours" in small_study("--hours", 1e-9)  # before anything was begun
    assert not (tmp_path / "runs").exists()
    said = small_study()
    assert [line.split("] ")[1] for line in said.splitlines() if line.startswith("[")] == names
    file = tmp_path / "records" / "study.jsonl"
    records = read_records(file)
    assert list(records) == names[::-1]  # the last one first
    (record,) = records[names[0]]
    assert [point["kimg"] for point in record["points"]] == [0, 1.008] and set(record["points"][0]["scores"]) == set(METRICS)
    assert record["points"][1]["seconds"] > 0 and record["parameters"] > 0
    assert record["precision"] == "fp32" and "thread" in record["machine"]
    pages = list((tmp_path / "docs").glob("*.md"))
    assert pages == [tmp_path / "docs" / "ablation.md"]
    page = pages[0].read_text()
    assert page.count("| none |") == page.count("| bank |") == 1
    assert "--stage modulations --row bank --row none --kimg 1 --seeds 2 --snap 1 --docs" in page
    pictures = [path.name for path in sorted((tmp_path / "docs" / "images").iterdir())]
    assert pictures == ["study-images-modulations-samples.png", "study-images-modulations.png"]
    assert all(f"](images/{name})" in page for name in pictures)

    monkeypatch.setattr(ablation, "train", lambda *_: pytest.fail("nothing is left to train"))
    pages[0].write_text(page.replace("# Ablation", "# Written by hand"))
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[1:]))  # as if names[0] were a run from elsewhere, in another number format
    options = tmp_path / "runs" / names[0] / "training_options.json"
    options.write_text(options.read_text().replace('"fp32"', '"bf16"'))
    assert f"[modulations, 1/4] {names[0]}" in small_study()
    (elsewhere,) = read_records(file)[names[0]]
    assert elsewhere == record | dict(precision="bf16")
    assert pages[0].read_text() != page and file.read_text().splitlines(keepends=True)[:3] == lines[1:]

    file.write_text("".join(lines))
    shutil.rmtree(tmp_path / "runs")  # the records are enough for the page
    again = small_study()
    assert "[" not in again and not (tmp_path / "runs").exists()
    assert pages[0].read_text() == page.replace("# Ablation", "# Written by hand")
    assert small_study("--dry-run").count("  done  ") == 4


def test_stages_after_the_first_are_in_the_appendix(tmp_path):
    for stage in STAGES:
        study.write_page(stage, plan(stage, 1), {}, tmp_path, [], tmp_path)
    stages = {
        path.name: [name for name in STAGES if f"<!-- study: {name} -->" in path.read_text()] for path in tmp_path.iterdir()
    }
    assert stages == {"ablation.md": ["modulations"], "ablation-appendix.md": ["rates", "parts", "same parameters"]}


def test_rows_and_data_that_there_are_not(tmp_path):
    with pytest.raises(InputError, match="--row film: wanted one of adaconv, adain, demod, bank, none"):
        call(study.main, "--stage", "modulations", "--row", "film")
    with pytest.raises(InputError, match="there is no such file"):
        call(study.main, "--data", tmp_path / "nothing.zip", "--dry-run")


def test_a_record_of_other_settings_is_none(tmp_path):
    one, file = plan("modulations")[0], tmp_path / "study.jsonl"
    settings = study_page.settings(one.config.to_json())
    points = [dict(kimg=8.0, seconds=1.0, scores={})]
    write = lambda **changes: append_record(file, one.name, dict(settings=settings | changes, parameters=1, points=points))
    find = lambda: study_page.read_record(one, read_records(file))
    assert find() is None
    write()
    assert find()["points"] == points
    write(precision="bf16")  # any number format will do
    assert find()["settings"]["precision"] == "bf16"
    write(glr=0.5)
    assert find()["settings"]["precision"] == "bf16"


def test_of_several_records_the_last_counts(tmp_path):
    file = tmp_path / "made" / "records.jsonl"
    assert read_records(file) == {}
    for name, value in (("one", 1), ("other", 2), ("one", 3)):
        append_record(file, name, dict(value=value))
    with open(file, "a") as unfinished:
        unfinished.write('{"name": "third", "val')
    one, other = ([dict(name=name, value=value) for value in values] for name, values in (("one", (3, 1)), ("other", (2,))))
    assert read_records(file) == dict(one=one, other=other)


def test_a_record_ends_where_it_is_asked_to():
    points = [dict(kimg=kimg) for kimg in (0.0, 8.0, 16.016)]
    assert [until(dict(points=points), kimg) for kimg in (12, 20)] == [None, None]
    assert [until(dict(points=points), kimg)["points"][-1]["kimg"] for kimg in (8, 16)] == [8.0, 16.016]
    assert until(dict(points=[]), 8) is None


def test_a_record_of_other_images_is_none(tmp_path):
    one, file = plan("modulations")[0], tmp_path / "study.jsonl"
    record = dict(settings=study_page.settings(one.config.to_json()), parameters=1, points=[dict(kimg=8.0)])
    append_record(file, one.name, record | dict(content="others"))
    assert study_page.read_record(one, read_records(file)) is None
    append_record(file, one.name, record)  # of before contents were recorded
    assert study_page.read_record(one, read_records(file))


def test_a_longer_record_outlives_a_shorter_one(tmp_path):
    long, short = (plan("modulations", kimg=kimg)[0] for kimg in (16, 8))
    settings, file = study_page.settings(long.config.to_json()), tmp_path / "study.jsonl"
    for points in ([dict(kimg=0.0), dict(kimg=16.0)], [dict(kimg=0.0), dict(kimg=8.0)]):
        append_record(file, long.name, dict(settings=settings, parameters=1, points=points))
    ends = [study_page.read_record(one, read_records(file))["points"][-1]["kimg"] for one in (long, short)]
    assert ends == [16, 8]


@pytest.mark.parametrize("main", [study.main, ablation.main])
def test_two_data_sets_of_one_name(main, tmp_path, image_folder):
    (tmp_path / "other").mkdir()
    twin = shutil.copytree(folder := image_folder(8, 16), tmp_path / "other" / folder.name)
    with pytest.raises(InputError, match="wanted files of different names"):
        call(main, "--data", folder, "--data", twin, "--records", tmp_path / "none.jsonl", "--outdir", tmp_path / "runs")


def test_where_a_run_was_trained(tmp_path):
    assert trained_on(tmp_path) is None
    for nimg, machine, expected in ((0, "a", "a"), (480, "a", "a"), (960, "b", None)):
        append_jsonl(tmp_path / STARTS, dict(nimg=nimg, machine=machine, content="c"))
        assert trained_on(tmp_path) == expected
    (tmp_path / STARTS).unlink()
    append_jsonl(tmp_path / STARTS, dict(nimg=480, machine="a", content="c"))  # who knows where it began
    assert trained_on(tmp_path) is None


def test_a_last_score_that_was_interrupted_is_made_up_for(small_study, tmp_path, monkeypatch):
    scores, calls, file = ablation.Evaluator(), itertools.count(), tmp_path / "records" / "study.jsonl"

    def interrupted(fakes):
        if next(calls) == 1:  # of the first run's last snapshot
            os.kill(os.getpid(), signal.SIGTERM)
        list(fakes(4))
        return scores(fakes)

    monkeypatch.setattr(ablation, "Evaluator", lambda *_, **__: interrupted)
    small_study()
    assert not file.exists() and len(list((tmp_path / "runs").iterdir())) == 1
    small_study()
    records = read_records(file)
    assert len(records) == 4 and all(len(found) == 1 for found in records.values())
    assert all(record["points"][-1]["kimg"] == 1.008 and record["machine"] for (record,) in records.values())


def test_a_run_without_the_score_that_is_asked_for(small_study, tmp_path):
    small_study("--kimg", 2, "--snap", 2)
    file = tmp_path / "records" / "study.jsonl"
    before = file.read_text()
    with pytest.raises(InputError, match="has scores at 0, 2.016 kimg, wanted one at 1; give another"):
        small_study("--snap", 1)
    assert file.read_text() == before


def test_a_run_on_other_images_of_the_same_name(small_study, tmp_path):
    small_study()
    (tmp_path / "records" / "study.jsonl").unlink()
    images = next(path for path in tmp_path.rglob("*.png") if "runs" not in path.parts and "docs" not in path.parts)
    images.unlink()
    with pytest.raises(InputError, match="was trained on other images"):
        small_study()
