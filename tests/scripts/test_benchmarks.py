"""The benchmark's number formats, and its comparisons with other checkouts, which run in processes of their own."""

import json
import os
import time

import pytest
import torch

from scripts.benchmarks import modulation, peers, sides, step, timing
from scripts.benchmarks.turns import Side
from tests.commands.test_commands import one_line
from tests.conftest import ROOT
from torch_utils.files import InputError

CPU = torch.device("cpu")
WIDTHS = dict(channel_base=128, channel_max=8, z_dim=8)
STAND_IN = """
import sys
import torch

print("a line that is no answer")


class Generator(torch.nn.Module):
    def __init__(self, z_dim, c_dim, w_dim, img_resolution, img_channels, mapping_kwargs={}, synthesis_kwargs={}):
        super().__init__()
        assert "networks" not in sys.modules and synthesis_kwargs["num_fp16_res"] == 0
        width = min(synthesis_kwargs["channel_base"] // img_resolution, synthesis_kwargs["channel_max"])
        self.shape = (width, img_resolution, img_resolution)
        self.linear = torch.nn.Linear(z_dim, width)
        self.conv = torch.nn.Conv2d(width, img_channels, 1)

    def forward(self, z, c, noise_mode="const"):
        assert z.dtype == torch.float32 and not torch.is_autocast_enabled("cpu") and noise_mode == "random"
        assert c.shape == (len(z), 0)
        return self.conv(self.linear(z)[:, :, None, None].expand(-1, *self.shape))
"""


@pytest.fixture
def peer(tmp_path):
    """A checkout with a package `training` of its own, as NVIDIA's has."""
    (tmp_path / "peer" / "training").mkdir(parents=True)
    (tmp_path / "peer" / "training" / "__init__.py").touch()
    (tmp_path / "peer" / "training" / "networks.py").write_text(STAND_IN)
    return tmp_path / "peer"


# ---------------------------------------------------------------- what is measured, and how


def test_turns_alternate_and_ratios_are_of_the_same_round():
    order, seconds = [], {"a": [1, 4, 9], "b": [2, 2, 3]}
    left = {name: iter(times) for name, times in seconds.items()}
    found = timing.in_turns({name: lambda name=name: order.append(name) or next(left[name]) for name in seconds}, 0)
    assert found == seconds and order == ["a", "b", "b", "a", "a", "b"]
    assert timing.ratio(found["a"], found["b"]) == 2  # of 1/2, 4/2 and 9/3
    assert timing.ratio([1, 10, 100], [2, 2, 100]) == 1  # that of the medians is 5


def test_both_has_tf32_where_it_exists():
    assert timing.formats_of("both", CPU) == ("fp32", "bf16")
    assert timing.formats_of("both", torch.device("cuda")) == ("fp32", "tf32", "bf16")
    assert timing.formats_of("bf16", CPU) == ("bf16",)


def test_work_runs_in_the_format_it_says(monkeypatch):
    case = modulation.Case(resolution=16, batch=2)
    works = modulation.work_of("adaconv", case, ("fp32", "bf16"), CPU, tiny=True)
    assert {name for _, name in works} == set(modulation.STEPS)
    seen, convolve = [], torch.nn.functional.conv2d

    def watched(*arguments, **options):
        result = convolve(*arguments, **options)
        seen.append(result.dtype)
        return result

    monkeypatch.setattr(torch.nn.functional, "conv2d", watched)
    for (number_format, name), work in works.items():
        seen.clear()
        work()
        in_bf16 = number_format == "bf16" and name != "modulation alone"  # whose kernels may stay in float32
        assert (torch.bfloat16 in seen) == in_bf16 or name == "modulation alone", (number_format, name)


def test_formats_are_compared_with_float32():
    case = modulation.Case(resolution=16, batch=2)
    found = modulation.measure(case, ("demod", "adain", "adaconv"), ("fp32", "bf16"), CPU, 0, tiny=True)
    for variant in ("demod", "adaconv"):
        for work in modulation.WORK:
            assert found["fp32"][variant][work]["time_to_fp32"] == 1
            values = found["bf16"][variant][work]
            assert values["time_to_fp32"] not in (0, 1) and values["time_ratio"][variant] == 1
    rows = [dict(sweep="headline", case=vars(case), format=f, variants=found[f]) for f in found]
    lines = modulation.table(rows).splitlines()
    assert len(lines) == 2 + 2 * len(modulation.WORK)
    cell = lines[0].split("|").index(" adaconv : the same in fp32, time ")
    assert all(not line.split("|")[cell].strip() for line in lines[2:] if "| fp32 |" in line)
    assert all(float(line.split("|")[cell]) > 0 for line in lines[2:] if "| bf16 |" in line)
    alone = modulation.measure(case, ("demod",), ("bf16",), CPU, 0, tiny=True)
    assert "time_to_fp32" not in alone["bf16"]["demod"]["forward"]


def test_a_cycle_has_every_penalty_in_its_proportion():
    values = step.gan(step.SMALLEST)["values"]
    jobs, told = sides.training_step(values | dict(loss="logistic", pl_weight=1.0, pl_interval=3, new=1), 16, ["fp32"], CPU)
    assert told == dict(images=2 * 6, steps=6, ignored=["new"])
    jobs["fp32"]()
    assert sides.training_step(values | dict(gamma=0.0), 16, ["fp32"], CPU)[1]["steps"] == 1


# ---------------------------------------------------------------- processes


def test_a_side_waits_without_computing_and_ends():
    with Side("generator", ROOT, CPU, modulation="demod", formats=["fp32"], resolution=16, batch=2, widths=WIDTHS) as side:
        assert set(side.jobs) == {"fp32 forward", "fp32 forward+backward"}
        assert all(0 < job() < 60 for job in side.jobs.values())
        if os.path.exists(f"/proc/{side.process.pid}/stat"):
            ticks = lambda: sum(map(int, open(f"/proc/{side.process.pid}/stat").read().rsplit(")", 1)[1].split()[11:13]))
            time.sleep(0.1)
            before = ticks()
            time.sleep(0.5)
            assert ticks() - before <= 5  # hundredths of a second
    assert side.process.returncode == 0


def test_a_side_that_fails_is_named(peer):
    options = dict(resolution=16, batch=2, widths=WIDTHS, formats=["fp32"])
    (peer / "training" / "networks.py").write_text("def Generator(z_dim):\n    pass\n")
    with pytest.raises(InputError, match=r"peer: cannot be timed \(TypeError: .*unexpected keyword"):
        Side("stylegan2-ada", peer, CPU, **options)
    (peer / "training" / "networks.py").write_text(STAND_IN.replace("assert c.shape", "sys.exit('had enough')  #"))
    with Side("stylegan2-ada", peer, CPU, **options) as side, pytest.raises(InputError, match="has ended: had enough"):
        side.jobs["fp32 forward"]()


def test_peers(run_command, peer, tmp_path):
    options = ["--resolution", 16, "--batch", 2, "--seconds", 0, "--tiny", "--device", "cpu", "--out", tmp_path / "p"]
    caching = {"PYTHONDONTWRITEBYTECODE": ""}  # is off for peers, whatever it is for us
    finished = run_command("scripts/bench.py", "peers", "--stylegan2-ada", peer, *options, env=caching)
    assert finished.returncode == 0, finished.stderr
    found = json.loads((tmp_path / "p.json").read_text())
    assert (found["resolution"], found["batch"], found["tiny"]) == (16, 2, True)
    rows = {(r["work"], r["side"], r["format"]): r for r in found["results"]}
    wanted = [(name, "fp32") for name in peers.THEIRS] + [(name, f) for name in peers.OURS for f in ("fp32", "bf16")]
    assert set(rows) == {(work, *who) for work in peers.WORK for who in wanted}
    for (_, name, _), row in rows.items():
        assert row["seconds"] > 0 and set(row["ratio"]) == set(peers.THEIRS)
        assert name not in peers.THEIRS or row["ratio"][name] == 1
        assert name not in peers.OURS or row["ratio"]["stylegan2-ada"] > 1  # the stand-in has next to nothing to do
    assert peers.table(found["results"]) in (tmp_path / "p.md").read_text() and peers.table(found["results"]) in finished.stdout
    assert not list(peer.rglob("__pycache__"))


def test_step_against_itself(run_command, tmp_path):
    options = ["--preset", "smallest", "--seconds", 0, "--device", "cpu", "--out", tmp_path / "s"]
    finished = run_command("scripts/bench.py", "step", "--against", ROOT, *options)
    assert finished.returncode == 0, finished.stderr
    results = json.loads((tmp_path / "s.json").read_text())["results"]
    assert [r["format"] for r in results] == ["fp32", "bf16"] and results[0]["speed_ratio"] == results[0]["speed_ratio_to_fp32"]
    for result in results:
        assert 0.2 < result["speed_ratio"] < 5 and all(speed > 0 for speed in result["images_per_second"].values())
    assert step.table(results) in (tmp_path / "s.md").read_text() and "note:" not in finished.stderr


def test_a_format_that_one_side_lacks_leaves_a_gap():
    rows = [
        dict(format="bf16", images_per_second=dict(this=3.0, other=None), speed_ratio=None, speed_ratio_to_fp32=1.5, rounds=3)
    ]
    assert step.table(rows).splitlines()[-1] == "| bf16 | 3.0 |  |  | 1.500 |"


def test_a_step_of_style_transfer(monkeypatch):
    small = step.small_style()["values"]
    small |= dict(crop=32, style_crop=32, style_width=8, style_depth=2, batch=1, from_the_future=1)
    jobs, told = sides.style_step(small, ["fp32"], CPU)
    assert told == dict(images=1, steps=1, ignored=["from_the_future"])
    jobs["fp32"]()


@pytest.mark.parametrize(
    "what, option, missing", [("peers", "--stylegan2-ada", "training/networks.py"), ("step", "--against", "train_style.py")]
)
def test_a_path_that_is_no_checkout(run_command, tmp_path, what, option, missing):
    message = one_line(run_command("scripts/bench.py", what, option, tmp_path, "--out", tmp_path / "new" / "b"))
    assert f"{option} {tmp_path}: found no {missing}" in message
    assert not (tmp_path / "new").exists()


def test_wrong_options(run_command, peer):
    assert "power of two" in one_line(run_command("scripts/bench.py", "peers", "--stylegan2-ada", peer, "--resolution", 48))
    assert "Missing" in one_line(run_command("scripts/bench.py"))
