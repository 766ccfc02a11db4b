"""The benchmark and the study, small: what they measure and write, and that a study goes on where it stopped."""

import colorsys
import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from scripts.benchmarks import modulation
from scripts.benchmarks.demodulation import Demodulation, FusedDemodulation
from scripts.benchmarks.timing import peak_bytes
from scripts.experiments import ablation as study
from scripts.experiments import ablation_page, ablation_tables
from torch_utils.files import InputError
from training.gan.config import PRESETS

CPU = torch.device("cpu")


def test_bench_writes_ratios(run_command, tmp_path):
    pytest.importorskip("matplotlib", reason="needs the dev extra")
    shown = ["--sweep", "channels per group", "--seconds", "0", "--tiny", "--device", "cpu", "--precision", "fp32"]
    shown += ["--out", tmp_path / "b"]
    finished = run_command("scripts/bench.py", "modulation", *shown)
    assert finished.returncode == 0, finished.stderr
    results = json.loads((tmp_path / "b.json").read_text())["results"]
    assert [r["case"]["per_group"] for r in results] == [1, 2, 4, 8]
    for work in modulation.WORK:
        variants = [v for v in modulation.VARIANTS if work != "training step" or v != "adaconv-loop"]
        found = {variant: results[-1]["variants"][variant][work] for variant in variants}
        for variant, values in found.items():
            assert values["seconds"] > 0 and values["time_ratio"][variant] == 1
            assert values["bytes"] > 0 or work == "forward"
    assert (tmp_path / "b.md").read_text().count("| channels per group |") == 4 * len(modulation.WORK)
    assert (tmp_path / "b.png").stat().st_size > 1000


def test_peak_bytes_of_a_known_function():
    def function():
        a = torch.ones(1000)  # 4000 bytes
        a = a + torch.ones(500).repeat(2)
        del a

    assert 8000 <= peak_bytes(function, CPU) <= 14000


def test_growth_exponent():
    assert abs(modulation.growth([(x, 3 * x**1.7) for x in (1, 2, 4, 8)]) - 1.7) < 1e-9


def test_looped_variant_is_the_same_network():
    case = modulation.Case(resolution=16, batch=3)
    networks = [modulation.build(variant, case, CPU, tiny=True)[1].G for variant in ("adaconv", "adaconv-loop")]
    z = torch.randn(3, networks[0].z_dim)
    assert torch.allclose(networks[0](z), networks[1](z), atol=1e-5)
    assert type(networks[1].synthesis.layers[0].modulation) is modulation.LoopedAdaConv


def test_rows_of_a_study_are_distinct_runs():
    for table, rows in study.TABLES.items():
        configs = [study.configure(changes, Path("emoji32.zip"), 32, 8, 4, 0) for changes in rows.values()]
        assert len({study.run_name(config) for config in configs}) == len(rows), table
        default = study.configure({}, Path("emoji32.zip"), 32, 8, 4, 0)
        assert default in configs, table  # each table has the default to compare with


def test_same_parameters_are_the_same():
    rows = study.TABLES["same parameters"]
    counts = {row: ablation_tables.parameters(study.configure(rows[row], Path("x.zip"), 32, 8, 4, 0), 32, 3) for row in rows}
    for row in ("adain, wider", "demod, wider"):
        assert abs(counts[row] / counts["adaconv"] - 1) < 0.02, counts


def test_study_runs_resumes_and_writes(image_folder, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib", reason="needs the dev extra")
    tiny = PRESETS["tiny"]
    small = dict(channel_base=128, channel_max=16, d_channel_base=128, z_dim=8, style_depth=2, batch=20)
    score = dict(metric=tiny(16)["metrics"][0], value=3.0, floor=1.0, floor_counts=[4, 4])
    monkeypatch.setattr(study, "Evaluator", lambda *_, **__: lambda fakes: [dict(score)])
    monkeypatch.setitem(PRESETS, "tiny", lambda side: tiny(side) | small)
    monkeypatch.setattr(study, "TABLES", {"noise": study.TABLES["noise"]})
    records = tmp_path / "ablation.jsonl"
    arguments = ["--data", image_folder(8, 16), "--outdir", tmp_path / "runs", "--docs", tmp_path / "docs", "--device", "cpu"]
    arguments += ["--records", records]
    again = lambda *more: study.main([str(a) for a in [*arguments, "--kimg", 1, "--snap", 1, *more]], standalone_mode=False)

    again()
    runs = sorted((tmp_path / "runs").iterdir())
    assert [path.name for path in runs] == ["images-adaconv-noise=False-seed0", "images-adaconv-seed0"]
    page = tmp_path / "docs" / "ablation-appendix.md"
    page.write_text(page.read_text().replace("# Ablation", "# Written by hand"))
    assert page.read_text().count("| no noise |") == 1
    names = [f"ablation-images-noise{end}.png" for end in ("", "-samples")]
    assert sorted(path.name for path in (tmp_path / "docs" / "images").iterdir()) == sorted(names)
    samples = tmp_path / "docs" / "images" / names[1]
    with Image.open(samples) as sheet:
        assert sheet.width > 2 * 16 * 16 and sheet.height > 2 * 2 * 16  # strips, and names of rows beside them

    shutil.rmtree(tmp_path / "runs")  # the records are enough for the numbers; the picture of samples stays
    drawn = samples.read_bytes()
    again()
    assert not (tmp_path / "runs").exists()
    assert samples.read_bytes() == drawn and f"](images/{samples.name})" in page.read_text()
    samples.unlink()
    again()
    assert not samples.exists() and samples.name not in page.read_text()
    records.write_text("".join(line for line in records.open() if "noise=False" not in line))  # as if it had not been run
    again("--write-only")
    assert not (tmp_path / "runs").exists() and "| no noise |" not in page.read_text()
    again()
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["images-adaconv-noise=False-seed0"]
    assert page.read_text().startswith("# Written by hand") and page.read_text().count("| no noise |") == 1

    records.unlink()
    monkeypatch.setitem(PRESETS, "tiny", lambda side: tiny(side) | small | dict(gamma=7.0))
    with pytest.raises(InputError, match="other settings"):
        again()


def test_rows_of_one_beginning_have_one_hue():
    colours = ablation_page.colours_of(["adaconv, ×1", "adaconv, ×4", "demod, ×1", "none"])
    hues = [colorsys.rgb_to_hsv(*colour) for colour in colours.values()]
    assert hues[0][0] == pytest.approx(hues[1][0], abs=0.01) and hues[0][1] > hues[1][1] + 0.2
    assert len({round(hue[0], 1) for hue in hues}) == 3


def test_seconds_are_at_the_fastest_pace_of_each_size_of_images():
    paces = [(1, 1.0, 2.0), (2, 1.5, 4.0), (3, 2.0, 3.0), (4, None, 9.0), (6, None, 5.0)]
    ticks = [dict(nimg=1000 * n, sec_per_kimg=p) | ({} if growth is None else dict(growth=growth)) for n, growth, p in paces]
    assert ablation_page.seconds_of(ticks) == {0: 0, 1000: 2, 2000: 5, 3000: 8, 4000: 13, 6000: 23}


def test_a_study_that_is_stopped_writes_no_record(image_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(study, "Evaluator", lambda *_, **__: None)
    monkeypatch.setattr(study, "train", lambda *_: False)  # as after SIGTERM
    arguments = ["--data", image_folder(8, 16), "--outdir", tmp_path / "runs", "--docs", tmp_path / "docs", "--device", "cpu"]
    arguments += ["--records", tmp_path / "ablation.jsonl"]
    with pytest.raises(SystemExit) as stopped:
        study.main([str(a) for a in [*arguments, "--table", "noise"]], standalone_mode=False)
    assert stopped.value.code == 3
    assert not (tmp_path / "ablation.jsonl").exists() and not list((tmp_path / "docs").rglob("*.md"))


def test_fused_demodulation_is_the_same_layer():
    torch.manual_seed(0)
    layers = [kind(8, 6, 36).double() for kind in (Demodulation, FusedDemodulation)]
    layers[1].load_state_dict(layers[0].state_dict())
    x, w = torch.randn(3, 8, 5, 7, dtype=torch.float64), torch.randn(3, 36, dtype=torch.float64)
    assert torch.allclose(layers[0](x, w), layers[1](x, w), atol=1e-12)
