"""Options that move by the images seen."""

import math

import pytest
import torch

from tests.training.gan.test_training import CPU, assert_same, make
from torch_utils.files import write_json
from torch_utils.run_dir import OPTIONS
from torch_utils.stats import read_jsonl
from training.gan.config import TrainingConfig
from training.gan.loop import train
from training.gan.schedule import inverse_sqrt, scheduled, warmup
from training.run.schedule import cosine
from training.run.start import restore

MOVING = dict(
    lr_warmup_kimg=0.008,
    lr_decay_kimg=0.012,
    lr_end=0.25,
    gamma=2.0,
    gamma_end=0.2,
    beta2=0.9,
    beta2_end=0.99,
    aug="fixed",
    p=0.1,
    p_end=0.5,
    ramp_kimg=0.024,
)


def run(folder, run_dir, kimg, state=None, **options):
    config, dataset, fresh = make(folder, kimg=kimg, **options)
    run_dir.mkdir(exist_ok=True)
    if state:
        fresh.load(run_dir)
    train(config, dataset, fresh, run_dir, None, CPU)
    return fresh


def test_forms():
    assert [cosine(n, 3.0, 1.0, kimg=2) for n in (0, 2000, 10**9)] == [3.0, 1.0, 1.0]
    assert cosine(1000, 3.0, 1.0, kimg=2) == pytest.approx(2)
    assert cosine(500, 3.0, 1.0, kimg=2) == pytest.approx(2 + math.sqrt(0.5))
    assert [warmup(n, kimg=4) for n in (0, 1000, 4000, 9000)] == [0, 0.25, 1, 1] and warmup(0, kimg=0) == 1
    assert [inverse_sqrt(n, kimg=2) for n in (0, 2000, 8000, 32000)] == [1, 1, 0.5, 0.25]
    assert inverse_sqrt(10**9, kimg=None) == 1


def test_each_option_moves_its_own_value():
    at = lambda nimg=50_000, **options: scheduled(TrainingConfig(data="x", glr=0.4, dlr=0.2, ramp_kimg=100, **options), nimg)
    assert at() == {} == at(aug="fixed", p=0.3)
    assert at(lr_warmup_kimg=200) == pytest.approx(dict(glr=0.1, dlr=0.05))
    assert at(lr_decay_kimg=12.5) == pytest.approx(dict(glr=0.2, dlr=0.1))
    assert at(lr_end=0.5) == pytest.approx(dict(glr=0.3, dlr=0.15))
    assert at(lr_end=0.5, lr_warmup_kimg=100, lr_decay_kimg=12.5) == pytest.approx(dict(glr=0.075, dlr=0.0375))
    assert at(gamma=2.0, gamma_end=1.0) == pytest.approx(dict(gamma=1.5))
    assert at(beta2=0.9, beta2_end=0.99) == pytest.approx(dict(beta2=0.945))
    assert at(aug="fixed", p=0.0, p_end=0.3) == pytest.approx(dict(p=0.15))
    assert at(aug="ada", p=0.0, p_end=0.3) == {}  # there the strength is adapted


def test_values_are_used_and_reported(image_folder, tmp_path):
    state = run(image_folder(), tmp_path / "run", 0.024, **MOVING)
    last = scheduled(TrainingConfig(data="x", **MOVING), 20)  # of the step that ended at 24 images
    for optimiser, name in ((state.opt_G, "glr"), (state.opt_D, "dlr")):
        group = optimiser.param_groups[0]
        assert (group["lr"], group["betas"]) == (last[name], (0.0, last["beta2"]))
    assert state.strength.p == last["p"]
    records = read_jsonl(tmp_path / "run" / "stats.jsonl")
    assert [record["nimg"] for record in records] == [8, 16, 24]
    for record in records:
        steps = [scheduled(TrainingConfig(data="x", **MOVING), record["nimg"] - back) for back in (8, 4)]
        for name in ("glr", "dlr", "gamma", "beta2", "p"):
            assert record[name] == pytest.approx(sum(step[name] for step in steps) / 2)


@pytest.mark.parametrize(
    "options", [dict(gamma_end=100.0), dict(beta2_end=0.1), dict(lr_end=0.1), dict(aug="fixed", p=0.1, p_end=0.9)]
)
def test_a_schedule_changes_what_is_learned(image_folder, tmp_path, options):
    folder = image_folder()
    start = {name: value for name, value in options.items() if not name.endswith("_end")}
    whole, moved = (run(folder, tmp_path / str(i), 0.016, ramp_kimg=0.008, **o) for i, o in enumerate((start, options)))
    assert not torch.equal(whole.D.out.weight, moved.D.out.weight)


def test_a_schedule_that_stays_is_no_schedule(image_folder, tmp_path):
    folder, start = image_folder(), dict(gamma=2.0, beta2=0.9, aug="fixed", p=0.1)
    plain = run(folder, tmp_path / "plain", 0.016, **start)
    stays = run(folder, tmp_path / "stays", 0.016, **start, gamma_end=2.0, beta2_end=0.9, p_end=0.1, lr_decay_kimg=1.0)
    assert_same(plain, stays)
    assert "gamma" in read_jsonl(tmp_path / "stays" / "stats.jsonl")[0]
    assert not {"glr", "dlr", "gamma", "beta2"} & read_jsonl(tmp_path / "plain" / "stats.jsonl")[0].keys()


def test_resume_is_bit_for_bit(image_folder, tmp_path):
    folder = image_folder()
    whole = run(folder, tmp_path / "whole", 0.032, **MOVING)
    run(folder, tmp_path / "parts", 0.016, **MOVING)
    assert_same(whole, run(folder, tmp_path / "parts", 0.032, state=True, **MOVING))
    one, other = (read_jsonl(tmp_path / name / "stats.jsonl") for name in ("whole", "parts"))
    assert [r["gamma"] for r in one] == [r["gamma"] for r in other] and one[0]["gamma"] > one[-1]["gamma"]


def test_p_that_ada_has_found_ends_with_it(image_folder, tmp_path):
    folder = image_folder()
    config, dataset, state = make(folder, aug="ada", target=-1.0, ada_kimg=0.1, kimg=0.032)
    train(config, dataset, state, tmp_path, None, CPU)
    assert state.strength.p > 0
    write_json(tmp_path / OPTIONS, config.to_json())
    fixed = restore(TrainingConfig, tmp_path, dict(aug="fixed", kimg=0.036))
    state.load(tmp_path)
    train(fixed, dataset, state, tmp_path, None, CPU)
    assert state.strength.p == fixed.p == 0.2


def test_a_fixed_p_is_that_of_the_options(image_folder):
    """Also where the saved state has another one."""
    config, _, state = make(image_folder(), aug="fixed", p=0.5)
    state.strength.p = 0.1
    state.follow(config)
    assert state.strength.p == 0.5
