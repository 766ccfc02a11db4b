"""`report.html`: complete, offline, harmless whatever a run directory holds, and bounded however long the run."""

import base64
import hashlib
import io
import json
import os
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from training.gan.config import TrainingConfig
from training.run import report_pictures
from training.run.html_report import score_cells, write_html_report

METRIC = "fd1k_full-efficientnet_lite0"


def lines(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def tick(kimg, **means):
    record = dict(nimg=1000 * kimg, kimg=kimg, step=125 * kimg, seconds=15.5 * kimg, sec_per_kimg=15.5, timestamp=1.7e9 + kimg)
    return record | dict(resident_mb=470.5, loss_D=0.5, loss_G=1.25, r1=0.25, real_logits=-3.0, fake_logits=-4.0) | means


def score(kimg, value, **others):
    record = dict(nimg=1000 * kimg, metric=METRIC, value=value, floor=20.0, floor_counts=[1000, 2762], seconds=16.4)
    return record | dict(way_left=(value - 20) / 200) | others


@pytest.fixture
def run_dir(tmp_path):
    """A run of 8 of 10 kimg, a snapshot every 2 kimg; the red of a grid says its kimg."""
    folder = tmp_path / "00000-emoji32-tiny-adaconv"
    folder.mkdir()
    options = TrainingConfig(data="/somewhere/emoji32.zip", kimg=10, cfg="tiny", metrics=(METRIC,))
    (folder / "training_options.json").write_text(json.dumps(options.to_json()))
    lines(folder / "stats.jsonl", [tick(kimg) for kimg in range(1, 9)])
    lines(folder / f"metric-{METRIC}.jsonl", [score(kimg, 220 - 10 * kimg) for kimg in range(0, 9, 2)])
    (folder / "log.txt").write_text("kimg 1.0  sec/kimg 15.5\n")
    save(folder / "reals.png", (0, 255, 0))
    save(folder / "fakes_init.png", (0, 0, 0))
    for kimg in (2, 4, 6, 8):
        save(folder / f"fakes{kimg:06d}.png", (kimg, 0, 0))
    return folder


def save(path, colour, size=(32, 16)):
    Image.new("RGBA" if len(colour) == 4 else "RGB", size, colour).save(path)


def noise(path, size, part=1.0):
    """Noise in the upper part, black below."""
    pixels = np.random.RandomState(0).randint(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    pixels[round(part * size[1]) :] = 0
    Image.fromarray(pixels).save(path)


class Page(HTMLParser):
    """What a browser would find in `report.html`."""

    def __init__(self, run_dir):
        super().__init__()
        write_html_report(run_dir)
        self.source = (run_dir / "report.html").read_text(encoding="utf-8")
        self.tags, self.text, self.scripts, self.inside = [], "", [], []
        self.feed(self.source)
        data = json.loads(self.scripts[0], parse_constant=pytest.fail)
        self.grids, self.charts = data["grids"], {chart["title"]: chart for chart in data["charts"]}

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.inside.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        while self.inside.pop() != tag:
            pass  # img, meta and their like have no end

    def handle_data(self, text):
        if self.inside and self.inside[-1] == "script":
            self.scripts[-1] += text
        elif not self.inside or self.inside[-1] != "style":
            self.text += text

    def image(self, **attributes):
        """The <img> with these attributes, decoded."""
        return decode(next(a["src"] for tag, a in self.tags if tag == "img" and attributes.items() <= a.items()))

    def curve(self, title, name):
        return next(curve for curve in self.charts[title]["curves"] if curve["name"] == name)


def decode(uri):
    return Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).convert("RGB")


def test_page_is_self_contained(run_dir):
    found = Page(run_dir)
    links = [a[key] for _, a in found.tags for key in ("src", "href", "srcset", "action", "data") if key in a]
    assert len(links) == 2 and all(link.startswith("data:image/") for link in links)
    assert not re.search(r"https?:|url\(|@import|\bimport\b|fetch\(|XMLHttpRequest", found.source)
    assert "link" not in dict(found.tags) and "iframe" not in dict(found.tags)


def test_only_our_script_may_run(run_dir):
    found = Page(run_dir)
    policy = next(a["content"] for tag, a in found.tags if a.get("http-equiv") == "Content-Security-Policy")
    digest = base64.b64encode(hashlib.sha256(found.scripts[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy and "default-src 'none'" in policy


HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>{{data}}\u2028"


def test_names_cannot_become_code(run_dir):
    calm = Page(run_dir)
    options = TrainingConfig(data="/x/" + HOSTILE.replace("/", "\N{DIVISION SLASH}"), cfg=HOSTILE, modulation=HOSTILE, kimg=10)
    (run_dir / "training_options.json").write_text(json.dumps(options.to_json() | {HOSTILE: {HOSTILE: HOSTILE}}))
    lines(run_dir / "stats.jsonl", [tick(8, **{HOSTILE: 1.0, "loss_" + HOSTILE: 2.0})])
    (run_dir / "log.txt").write_text(f"warning: {HOSTILE}\n", encoding="utf-8")
    if os.name != "nt":
        lines(run_dir / "metric-<b>&amp;.jsonl", [score(8, 1.0)])
    found = Page(run_dir)
    kinds = lambda page: {tag for tag, _ in page.tags}
    assert kinds(found) - kinds(calm) <= {"ul", "li", "b"} and len(found.scripts) == 2
    assert not any(name.startswith("on") for _, attributes in found.tags for name in attributes)
    assert found.charts[HOSTILE]["curves"][0]["value"] == [1.0]
    assert found.text.count("<img src=x onerror=alert(1)>{{data}}") >= 7  # title, heading, notice, options and numbers


def test_last_numbers_are_in_the_data_and_in_plain_html(run_dir):
    lines(run_dir / "stats.jsonl", [tick(kimg) for kimg in range(1, 8)] + [tick(8, loss_D=0.123456, augment_p=0.375)])
    found = Page(run_dir)
    assert found.curve("Losses", "loss_D")["value"] == [0.5] * 7 + [0.123456]
    assert found.curve("augment_p", "augment_p") == dict(name="augment_p", nimg=[8000], seconds=[124.0], value=[0.375])
    assert found.curve(METRIC, "distance")["value"][-1] == 140 and found.charts[METRIC]["floor"] == 20
    means = ["Losses", "Gradient penalties", "Mean logits", "augment_p", "Seconds per kimg", "Memory, MB"]
    assert list(found.charts)[2:] == means  # after the scores
    for text in ("emoji32", "tiny · adaconv", "8 of 10 kimg", "2m 04s of training", "15.5 s per kimg", "0.12346", "60.0 %"):
        assert text in found.text, text
    assert found.image(alt="A grid of real images").getpixel((0, 0)) == (0, 255, 0)


def test_grids_go_from_untrained_to_newest(run_dir):
    found = Page(run_dir)
    assert [grid["kimg"] for grid in found.grids] == [0, 2, 4, 6, 8]
    assert found.grids[0]["label"] == "untrained" and found.grids[2]["seconds"] == 62
    assert [decode(grid["src"]).getpixel((0, 0))[0] for grid in found.grids[:-1]] == [0, 2, 4, 6]
    assert found.grids[-1]["src"] is None and found.image(id="generated").getpixel((0, 0)) == (8, 0, 0)


def test_verdict_stands_at_the_top(run_dir):
    source = Page(run_dir).source
    words = "60 % of the way from the untrained network to real images is left"
    assert words in source and source.index(words) < source.index("<h2>Scores")
    (run_dir / f"metric-{METRIC}.jsonl").unlink()
    assert 'class="verdict"' not in Page(run_dir).source


def test_pictures_can_be_enlarged(run_dir):
    """Each pixel as a square; the rest is the script's work."""
    found = Page(run_dir)
    assert ("dialog", {"id": "zoom", "aria-label": "Enlarged picture"}) in found.tags
    assert re.search(r"#zoom img \{[^}]*image-rendering: pixelated", found.source) and "Click on a picture" in found.text
    for path in run_dir.glob("*.png"):
        path.unlink()
    assert "Click on a picture" not in Page(run_dir).text


def test_number_of_grids_is_bounded(run_dir):
    (run_dir / "stats.jsonl").unlink()
    (run_dir / f"metric-{METRIC}.jsonl").unlink()
    for kimg in range(10, 3000, 10):
        save(run_dir / f"fakes{kimg:06d}.png", (0, 0, 0), (1, 1))
    kimgs = [grid["kimg"] for grid in Page(run_dir).grids]
    assert 35 <= len(kimgs) <= 40 and (kimgs[0], kimgs[-1]) == (0, 2990)
    assert max(after - before for before, after in zip(kimgs, kimgs[1:])) <= 90


def test_size_of_pictures_is_bounded(run_dir, monkeypatch):
    for path in run_dir.glob("*.png"):
        noise(path, (200, 120), 0.5 if "init" in path.name else 1)  # 72 kB each but for one
    monkeypatch.setattr(report_pictures, "MAX_BYTES", 60_000)
    found = Page(run_dir)
    sources = [a["src"] for tag, a in found.tags if tag == "img"] + [grid["src"] for grid in found.grids[:-1]]
    assert len(sources) == 6 and 20_000 < sum(len(base64.b64decode(src.split(",")[1])) for src in sources) <= 60_000
    assert len({decode(src).size for src in sources}) == 1  # also of the one that would have had room for more


def test_small_pictures_are_exact_and_transparent_ones_lie_on_white(run_dir, monkeypatch):
    noise(run_dir / "reals.png", (64, 64))
    with Image.open(run_dir / "reals.png") as image:
        assert Page(run_dir).image(alt="A grid of real images").tobytes() == image.tobytes()
    save(run_dir / "reals.png", (9, 9, 9, 0))
    monkeypatch.setattr(report_pictures, "EXACT_BYTES", 0)
    assert Page(run_dir).image(alt="A grid of real images").getpixel((5, 5)) == (255, 255, 255)


def test_curves_of_long_runs_are_thinned_and_keep_spikes(run_dir):
    values = {4321: 99.0, 7654: float("nan")}
    means = lambda kimg: dict(loss_G=values.get(kimg, 1 + kimg % 7), loss_D=kimg % 7 if kimg % 5 else float("nan"))
    lines(run_dir / "stats.jsonl", [tick(kimg, **means(kimg)) for kimg in range(1, 10001)])
    found = Page(run_dir)
    assert 1500 < len(found.curve("Losses", "loss_D")["value"]) <= 2000
    curve = found.curve("Losses", "loss_G")
    assert len(curve["value"]) == len(curve["nimg"]) == len(curve["seconds"]) <= 2000
    assert curve["value"].count(99.0) == 1 and curve["nimg"][curve["value"].index(99.0)] == 4321000
    assert curve["nimg"][curve["value"].index(None)] == 7654000
    assert (curve["nimg"][0], curve["nimg"][-1], curve["seconds"][-1]) == (1000, 10_000_000, 155_000)


def test_numbers_that_are_not_finite(run_dir):
    bad = [tick(6, loss_G=float("nan")), tick(7, loss_G=float("inf")), tick(8, loss_G=float("nan"), sec_per_kimg=float("nan"))]
    lines(run_dir / "stats.jsonl", [tick(kimg) for kimg in range(1, 6)] + bad)
    lines(run_dir / f"metric-{METRIC}.jsonl", [score(0, 220), score(8, float("nan"))])
    found = Page(run_dir)
    assert found.curve("Losses", "loss_G")["value"] == [1.25] * 5 + [None] * 3
    assert "loss_G is not a finite number at 3 ticks, first at 6 kimg" in found.text
    assert found.curve(METRIC, "distance")["value"] == [220]


def test_damaged_files(run_dir):
    with open(run_dir / "stats.jsonl", "a") as file:
        file.write('{"nimg": 9000, "loss_D": 0.')
    with open(run_dir / f"metric-{METRIC}.jsonl", "ab") as file:
        file.write(b'[1]\n{"value": 3}\n{"nimg": "x"}\n\xff\xfe\n{"nimg"')
    for name in ("fakes000008.png", "reals.png"):
        (run_dir / name).write_bytes((run_dir / name).read_bytes()[:50])
    (run_dir / "fakes000004.png").write_text("not a picture")
    (run_dir / "training_options.json").write_text("{")
    found = Page(run_dir)
    assert found.curve("Losses", "loss_D")["nimg"] == list(range(1000, 9000, 1000))
    assert found.curve(METRIC, "distance")["nimg"] == list(range(0, 9000, 2000))
    assert [grid["kimg"] for grid in found.grids] == [0, 2, 6] and found.image(id="generated").getpixel((0, 0)) == (6, 0, 0)


def test_missing_files(run_dir):
    names = ["training_options.json", "log.txt", "reals.png", "fakes_init.png", f"metric-{METRIC}.jsonl", "stats.jsonl"]
    for name in names:
        content = (run_dir / name).read_bytes()
        (run_dir / name).unlink()
        assert Page(run_dir).grids[-1]["kimg"] == 8
        (run_dir / name).write_bytes(content)
    for path in run_dir.iterdir():
        path.unlink()
    found = Page(run_dir)
    assert found.charts == {} and found.grids == [] and run_dir.name in found.text


def test_future_that_a_resume_has_undone_is_left_out(run_dir):
    lines(run_dir / "stats.jsonl", [tick(kimg) for kimg in range(1, 6)])
    lines(run_dir / f"metric-{METRIC}.jsonl", [score(0, 220)])
    assert [grid["kimg"] for grid in Page(run_dir).grids] == [0, 2, 4]


def test_scores_have_the_time_of_training_and_one_value_each(run_dir):
    """The `seconds` of a score are those of scoring; `calc_metrics.py` adds scores of snapshots that have one already."""
    again = score(8, 150, command="calc_metrics")
    del again["way_left"]
    records = [score(0, 220), score(3, 180), score(8, 140), again, dict(again, nimg=9000)]
    lines(run_dir / f"metric-{METRIC}.jsonl", records)
    found = Page(run_dir)
    curve = found.curve(METRIC, "distance")
    assert curve["value"] == [220, 180, 140, 150] and curve["seconds"] == [0, 46.5, 124, 124]
    left = found.curve("Normalized distance (untrained: 100 %)", METRIC)
    assert left["value"] == [1, 0.8, 0.6, 0.65]


@pytest.mark.parametrize(
    "metric, best", [("mind5k_full-vgg16", 150), ("ppl2_wend1k", 150), ("content_loss", 150), ("pr1k", 220)]
)
def test_the_best_score_is_the_least_of_distances_and_path_lengths(metric, best):
    assert score_cells([score(0, 220), score(4, 150), score(8, 160)], metric)[-1].startswith(f"{best} at ")


def test_warnings_of_the_log_stand_out(run_dir):
    (run_dir / "log.txt").write_text("note: few images\nkimg 1 warning: no\n" + "warning: data <changed>\n" * 3)
    found = Page(run_dir)
    items = [attributes["class"] for tag, attributes in found.tags if tag == "li"]
    assert items == ["warning", "note"] and "data <changed> (3 times)" in found.text and "warning: no" not in found.text


def test_rewriting_changes_nothing_and_failing_neither(run_dir, monkeypatch):
    write_html_report(run_dir)
    before, names = (run_dir / "report.html").read_bytes(), sorted(os.listdir(run_dir))
    write_html_report(run_dir)
    assert (run_dir / "report.html").read_bytes() == before
    lines(run_dir / "stats.jsonl", [tick(9)])
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises(OSError, match="disk full"):
            write_html_report(run_dir)
    assert (run_dir / "report.html").read_bytes() == before and sorted(os.listdir(run_dir)) == names
    write_html_report(run_dir)
    assert (run_dir / "report.html").read_bytes() != before and sorted(os.listdir(run_dir)) == names


def test_half_a_character_is_no_obstacle(tmp_path):
    (tmp_path / "training_options.json").write_text('{"data": "\\ud800"}')
    write_html_report(tmp_path)
    assert (tmp_path / "report.html").is_file()
