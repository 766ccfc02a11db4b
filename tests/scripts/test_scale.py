"""What more GPUs would make of a run: the model by closed forms, and against real processes with links that are made slow."""

import json
import math

import click
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scripts import bench
from scripts.benchmarks import scale_measure
from scripts.benchmarks.scale import counts_of
from scripts.benchmarks.scale_measure import parameters, together
from scripts.benchmarks.scale_memory import kept, states, wider
from scripts.benchmarks.scale_model import Costs, Link, fit, rows
from tests.ranks import run_ranks
from tests.training.run.test_start import call
from torch_utils.files import InputError
from torch_utils.memory import training_bytes
from training.gan.config import TrainingConfig
from training.gan.state import TrainingState

SMALLEST = dict(channel_base=128, d_channel_base=128, channel_max=8, z_dim=8, style_depth=2, batch=4, reg_interval=2, data="")


def test_a_ring():
    """Of two, each sends half of its numbers twice; of many, about all of them twice, whatever their number."""
    assert Link(100).ring(50, 1) == 0
    assert Link(100).ring(50, 2) == pytest.approx(0.5)
    assert Link(100).ring(50, 1000) == pytest.approx(2 * 50 / 100 * 999 / 1000)
    assert Link(100, 0.25).ring(0, 5) == pytest.approx(2 * 4 * 0.25)


def test_machines_are_rings_of_rings():
    costs = Costs(0.5, 0.1, (25, 50), Link(1000), Link(10), per_machine=4)
    assert costs.messages(1) == 0
    assert costs.messages(4) == pytest.approx(2 * 3 / 4 * 300 / 1000)
    assert costs.messages(8) == pytest.approx(costs.messages(4) + 2 * 1 / 2 * 300 / 10)
    assert costs.messages(5) == pytest.approx(costs.messages(8)), "a second machine is one, however few work on it"
    assert costs.step(4, 3) == pytest.approx(0.5 + 0.3 + costs.messages(4))


COSTS = st.builds(
    Costs,
    st.floats(0, 1),
    st.floats(1e-4, 1),
    st.tuples(st.integers(0, 10**9), st.integers(0, 10**9)),
    st.builds(Link, st.floats(1e8, 1e12), st.floats(0, 1e-3)),
    st.builds(Link, st.floats(1e8, 1e12), st.floats(0, 1e-3)),
    st.integers(1, 16),
)


@given(COSTS, st.integers(1, 512), st.integers(1, 8))
def test_nothing_is_for_nothing(costs, batch, least):
    """More processes are never more than so many times as fast, unless a step's fixed part is shared by more images."""
    first, *others = found = rows(costs, [1, 2, 4, 64, 1000], max(batch, least), least)
    assert first.efficiency == pytest.approx(1) and first.talking == 0
    for row in others:
        assert 0 <= row.talking < 1 and row.batch >= row.world * least
        assert row.speed <= row.world * max(row.batch / row.world / first.batch, 1) * (1 + 1e-9)
        assert row.speed == pytest.approx(first.sec_per_kimg / row.sec_per_kimg)
    if costs.messages(1000) == 0 and costs.fixed == 0:
        assert all(row.efficiency == pytest.approx(1) for row in found)


@given(st.floats(0, 10), st.floats(0, 10), st.integers(1, 100), st.integers(101, 200))
def test_a_line_through_two_measurements(fixed, per_unit, small, large):
    line = lambda size: (size, fixed + per_unit * size)
    assert fit(line(small), line(large)) == pytest.approx((fixed, per_unit), abs=1e-6)
    assert min(fit((small, 2.0), (large, 1.0))) >= 0, "noise must not give negative seconds"


def test_parameters_are_those_of_the_networks():
    config = TrainingConfig(**SMALLEST)
    state = TrainingState(config, 16, 3, 0)
    assert parameters(config, 16) == tuple(sum(p.numel() for p in n.parameters()) for n in (state.G, state.D))


def uneven_worker(rank, world, device, config, out):
    limit = 0.0 if rank else 60.0  # the second process has no time left after two cycles, the first has
    cycles = []
    count = lambda *_: lambda number: cycles.append(number)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scale_measure, "step_of", count)
        scale_measure.seconds_of_step(config, 16, 2, device, limit)
    (out / f"{rank}").write_text(f"{len(cycles)}")


def test_processes_measure_as_many_steps(tmp_path):
    """Else one waits for messages of a step that the other does not do."""
    run_ranks(uneven_worker, 2, TrainingConfig(**SMALLEST), tmp_path)
    first, second = (int((tmp_path / f"{rank}").read_text()) for rank in (0, 1))
    assert first == second == 20 * SMALLEST["reg_interval"]


def test_a_slow_link_is_waited_for(torch_threads_of_children):
    """Messages through a link so slow that nothing else counts: the model is nearly all there is."""
    config = TrainingConfig(**SMALLEST)
    slow = Link(4 * sum(parameters(config, 16)) / 0.5)  # half a second for what a process has to say in a step
    found = together(config, 16, 2, torch.device("cpu"), 0.01, slow)
    expected = sum(slow.ring(4 * count, 2) for count in parameters(config, 16))
    assert math.isclose(expected, 0.5)
    assert found["talking"] >= expected and found["images"] == 2
    assert found["bandwidth"] > 0 and found["latency"] >= 0


@pytest.fixture
def torch_threads_of_children(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def test_the_command(tmp_path):
    words = ["scale", "--cfg", "tiny", "--gpus", "8,1,2", "--sec-per-kimg", 10, "--price", 3, "--kimg", 36]
    said = call(bench.main, *words, "--device", "cpu", "--out", tmp_path / "s")
    lines = [line.strip("| ").split(" | ") for line in said.splitlines() if line.startswith("| ")][2:]
    assert [line[0] for line in lines] == ["1", "2", "8"]
    assert lines[0][2:] == ["10", "1.0", "100%", "0%", "0.1", "0.1", "0.3"]
    assert "parameters" in (tmp_path / "s.md").read_text() and json.loads((tmp_path / "s.json").read_text())["cfg"] == "tiny"


def test_what_is_held_of_each_parameter():
    """As much as the check before a run counts, and more by what Adam and gradients really are after a step."""
    state = TrainingState(TrainingConfig(**SMALLEST), 16, 3, 0)
    assert states(state).together == sum(map(training_bytes, (state.G, state.D, state.ema)))
    (loss := state.D(state.G(torch.randn(4, 8))).sum()).backward()
    state.opt_D.step(), state.opt_G.step()
    size = lambda tensors: sum(tensor.nbytes for tensor in tensors)
    gradients = [p.grad for network in (state.G, state.D) for p in network.parameters() if p.grad is not None]
    means = [t for o in (state.opt_G, state.opt_D) for kept in o.state.values() for t in kept.values() if t.ndim]
    assert loss.isfinite() and 0.95 * states(state).gradients < size(gradients) <= states(state).gradients
    assert 0.95 * states(state).adam < size(means) <= states(state).adam


@pytest.mark.parametrize("changes", [{}, dict(loss="logistic", pl_weight=2.0), dict(gamma=0.0)])
def test_what_backpropagation_keeps_is_known_without_memory(changes):
    config = TrainingConfig(**SMALLEST | changes)
    sketch, state = (TrainingState(config, 16, 3, 0, device) for device in ("meta", "cpu"))
    four, eight = (kept(sketch, config, images) for images in (4, 8))
    assert kept(state, config, 4) == pytest.approx(four, rel=0.05)  # number formats of a device may differ
    assert 4 * 16 * 16 * 4 * 10 < four < eight < 2 * four, "ten numbers and more of each pixel; weights are kept once"
    config = wider(config, 2)
    assert kept(TrainingState(config, 16, 3, 0, "meta"), config, 4) > 1.5 * four


def test_the_command_says_what_memory_holds(tmp_path):
    words = ["scale", "--cfg", "tiny", "--gpus", "1", "--sec-per-kimg", 10, "--device", "cpu", "--out", tmp_path / "s"]
    assert "times as wide" not in call(bench.main, *words)
    said = call(bench.main, *words, "--memory")
    rows = [line.strip("| ").split(" | ") for line in said.partition("times as wide")[2].splitlines() if line.startswith("| ")][
        1:
    ]
    assert [row[0] for row in rows] == ["1", "2", "4", "8"]
    assert float(rows[0][6]) == pytest.approx(sum(map(float, rows[0][2:6])), rel=0.01)
    assert "they alone fill 24 GB from 1," in said


def test_mistakes(tmp_path):
    assert counts_of("4,1,4") == [1, 4]
    for text in ("", "0", "1,,2", "a", "1-4", "1000000"):
        with pytest.raises(click.BadParameter, match="does not read as numbers of processes"):
            counts_of(text)
    with pytest.raises(InputError, match="--slow: has no say without --measure"):
        call(bench.main, "scale", "--slow", 1, "--out", tmp_path / "s")
    with pytest.raises(InputError, match="--measure: --gpus 1000 are too many"):
        words = ["--gpus", "1000", "--measure", "--sec-per-kimg", 1, "--device", "cpu", "--out", tmp_path / "s"]
        call(bench.main, "scale", *words)
