"""Several runs on one page: all curves and pictures, options that differ, and nothing that a name could start."""

import json
import re

import click
import pytest
from PIL import Image

from scripts import compare
from torch_utils.files import InputError

METRIC = "fd1k_full-efficientnet_lite0"


@pytest.fixture
def make_run(tmp_path):
    def make(name, scores=(220, 120, 80), floor=20.0, **options):
        folder = tmp_path / name
        folder.mkdir()
        given = dict(data="/x/emoji32.zip", kimg=10, modulation="adaconv") | options
        (folder / "training_options.json").write_text(json.dumps(given))
        ticks = [dict(nimg=1000 * k, seconds=10.0 * k, sec_per_kimg=10.0, loss_D=0.5 * k) for k in (1, 2, 4)]
        records = [dict(nimg=2000 * i, value=value, floor=floor) for i, value in enumerate(scores)]
        (folder / "stats.jsonl").write_text("".join(json.dumps(tick) + "\n" for tick in ticks))
        (folder / f"metric-{METRIC}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
        for picture in ("fakes000002.png", "fakes000004.png", "reals.png"):
            Image.new("RGB", (8, 4)).save(folder / picture)
        return folder

    return make


def page_of(tmp_path, *folders):
    compare.main([*map(str, folders), "--out", str(tmp_path / "page.html")], standalone_mode=False)
    return (tmp_path / "page.html").read_text(encoding="utf-8")


def charts_in(page):
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.S)[1])
    return {
        chart["title"]: {curve["name"]: curve["value"] for curve in chart["curves"]} | dict(floor=chart["floor"])
        for chart in data["charts"]
    }


def test_runs_are_put_side_by_side(tmp_path, make_run, capsys):
    runs = [make_run("00000-emoji32-adaconv-seed0"), make_run("00001-emoji32-adain-seed0", (220, 150, 130), modulation="adain")]
    page = page_of(tmp_path, *runs)
    assert capsys.readouterr().out.endswith("2 runs\n")
    charts = charts_in(page)
    assert list(charts) == [METRIC, f"{METRIC}, normalized", "loss_D", "sec_per_kimg"]
    assert charts[METRIC] == {"00000-adaconv": [220, 120, 80], "00001-adain": [220, 150, 130], "floor": 20}
    assert charts["loss_D"] == {"00000-adaconv": [0.5, 1, 2], "00001-adain": [0.5, 1, 2], "floor": None}
    assert page.count("<img ") == 3 and "00000-adaconv, 4 kimg" in page
    table = page.split("Options that differ")[1].split("</section>")[0]
    assert "modulation" in table and "adain" in table and "kimg" not in table and "/x/" not in table
    assert "<b>00001-adain</b>: 55 % of the way" in page and not re.search(r"https?:", page)


def test_one_metric_for_all_verdicts(tmp_path, make_run):
    """On features that no run has looked at, though one run alone would be judged by the others; those are marked."""
    seen = "fd1k_full-another"  # which comes first by its name
    for name, scores, independent in (("00000-emoji32-plain", (200, 110), True), ("00001-emoji32-aided", (200, 65), False)):
        run = make_run(name)
        records = [dict(nimg=4000 * i, value=v, floor=20, independent=independent) for i, v in enumerate(scores)]
        (run / f"metric-{seen}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    page = page_of(tmp_path, *tmp_path.glob("0*"))
    assert page.count(f"is left ({METRIC})") == 2 and "not independent: training" in page
    assert set(charts_in(page)[seen]) == {"00000-plain", "00001-aided (not independent)", "floor"}
    assert list(charts_in(page))[:4:2] == [METRIC, seen]


def test_floors_that_differ_are_not_drawn_as_one(tmp_path, make_run):
    page = page_of(tmp_path, make_run("a"), make_run("b", floor=21.0))
    assert charts_in(page)[METRIC]["floor"] is None and "None: all options are equal." in page


def test_names_are_as_short_as_they_can_be(tmp_path):
    names = lambda *folders: compare.short_names([tmp_path / folder for folder in folders])
    assert names("00000-emoji-a-seed0", "00001-emoji-b-seed0") == ["00000-a", "00001-b"]
    assert names("x/run-a", "y/run-a") == [str(tmp_path / "x/run-a"), str(tmp_path / "y/run-a")]
    assert names("run", "run-b") == [str(tmp_path / "run"), str(tmp_path / "run-b")]  # nothing would be left of the first


def test_names_cannot_become_code(tmp_path, make_run):
    hostile = "<script>alert(1)<"
    page = page_of(tmp_path, make_run("a-x", data=hostile, cfg=hostile), make_run(hostile.replace("<script>", "<b onload=1>")))
    assert page.count("<script") == 2 and "<b onload" not in page


def test_damaged_runs_leave_gaps(tmp_path, make_run):
    broken = make_run("b")
    for path in broken.iterdir():
        path.write_bytes(b"\xff{")
    page = page_of(tmp_path, make_run("a"), broken)
    assert charts_in(page)["loss_D"] == {"a": [0.5, 1, 2], "floor": None} and page.count("<img ") == 2


def test_what_is_no_run_is_named(tmp_path, make_run):
    one = make_run("a")
    for folders, words in [
        ([one], "two different run directories"),
        ([one, one], "two different run directories"),
        ([one, tmp_path / "absent"], "absent: found neither"),
    ]:
        with pytest.raises((InputError, click.ClickException), match=words):
            page_of(tmp_path, *folders)
    with pytest.raises(InputError, match="there is no folder"):
        page_of(tmp_path / "absent", one, make_run("b"))
