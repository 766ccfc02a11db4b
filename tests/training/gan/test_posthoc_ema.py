"""Power-function averages, and any width from snapshots of two."""

import copy

import numpy as np
import pytest
import torch

from scripts.ema import TRIED, choose, rebuild
from tests.training.gan.test_training import CPU, assert_same, make
from torch_utils.checkpoint import load_generator
from torch_utils.files import TEMPORARY, InputError
from torch_utils.run_dir import EMA, averages, only_trainer
from training.gan.ema import update_power_average
from training.gan.ema_profile import MAX_WIDTH, WIDTHS, exponent, fit, inner_product, kept
from training.gan.loop import train


@pytest.mark.parametrize("width", [0.03, 0.05, 0.1, 0.2, MAX_WIDTH])
def test_an_average_has_the_width_that_was_asked_for(width):
    """Of the weights that the recursion gives to its steps, computed step by step."""
    gamma, steps = exponent(width), 20_000
    assert gamma > 0 and np.sqrt((gamma + 1) / (gamma + 3)) / (gamma + 2) == pytest.approx(width)
    profile = np.zeros(steps)
    for i in range(steps):
        keep = kept(width, 8 * (i + 1), 8)
        profile *= keep
        profile[i] = 1 - keep
    assert profile.sum() == pytest.approx(1)
    t = (np.arange(steps) + 0.5) / steps
    mean = profile @ t
    assert np.sqrt(profile @ (t - mean) ** 2) == pytest.approx(width, rel=1e-3)


def test_widths_without_an_exponent_are_refused():
    for width in (0, -0.1, MAX_WIDTH + 0.01):
        with pytest.raises(ValueError, match="found a width"):
            exponent(width)


@pytest.mark.parametrize("first", [(1.0, 3.0), (2.5, 6.94), (4.0, 16.97)])
@pytest.mark.parametrize("second", [(1.0, 0.5), (2.5, 16.97), (3.0, 6.94)])
def test_inner_product_is_the_integral(first, second):
    (t1, g1), (t2, g2) = first, second
    n = 200_000
    tau = (np.arange(n) + 0.5) / n * min(t1, t2)
    product = (g1 + 1) * tau**g1 / t1 ** (g1 + 1) * (g2 + 1) * tau**g2 / t2 ** (g2 + 1)
    assert inner_product(t1, g1, t2, g2) == pytest.approx(product.mean() * min(t1, t2), rel=1e-6)
    assert inner_product(t2, g2, t1, g1) == pytest.approx(inner_product(t1, g1, t2, g2))


@pytest.mark.parametrize("width", [0.03, 0.05, 0.08, 0.15, 0.2])
def test_a_width_is_rebuilt_from_two_others(width):
    """Of weights that wander: the rebuilt average is near the direct one, in terms of what separates it from the weights."""
    rng, steps, dim, every = np.random.default_rng(0), 3000, 200, 100
    weights = np.cumsum(rng.normal(size=(steps, dim)) + 0.05, axis=0)
    direct, two, snapshots, times, widths = np.zeros(dim), np.zeros((2, dim)), [], [], []
    for i, now in enumerate(weights, 1):
        direct = direct + (1 - kept(width, 8 * i, 8)) * (now - direct)
        for k, own in enumerate(WIDTHS):
            two[k] += (1 - kept(own, 8 * i, 8)) * (now - two[k])
            if i % every == 0:
                snapshots.append(two[k].copy())
                times.append(8 * i)
                widths.append(own)
    x, missed = fit(times, widths, times[-1], width)
    error = np.linalg.norm(x @ np.array(snapshots) - direct) / np.linalg.norm(weights[-1] - direct)
    assert missed < 0.02 and error < 0.01
    assert x.sum() == pytest.approx(1, abs=1e-9)
    if width in WIDTHS:
        assert missed < 1e-6 and error < 1e-6
    fewer, more = fit(times[-8:], widths[-8:], times[-1], 0.15)[1], fit(times, widths, times[-1], 0.15)[1]
    assert fewer > 2 * more


def test_the_first_step_of_an_average_takes_the_weights():
    network, average = torch.nn.BatchNorm1d(3), torch.nn.BatchNorm1d(3)
    torch.nn.init.normal_(network.weight)
    network.running_mean.fill_(7)
    update_power_average(average, network, 4, 4, 0.1)
    assert torch.equal(average.weight, network.weight) and torch.equal(average.running_mean, network.running_mean)
    before, after = average.weight.clone(), copy.deepcopy(network)
    torch.nn.init.normal_(after.weight)
    update_power_average(average, after, 4, 40, 0.1)
    keep = (1 - 0.1) ** (exponent(0.1) + 1)
    assert torch.allclose(average.weight, keep * before + (1 - keep) * after.weight)


@pytest.fixture
def trained(image_folder, tmp_path):
    """trained(name, kimg, resume=False, **options) -> state and run directory."""
    folder = image_folder()

    def run(name, kimg, resume=False, **options):
        config, dataset, state = make(folder, kimg=kimg, **dict(posthoc_ema=True, snap=1) | options)
        run_dir = tmp_path / name
        run_dir.mkdir(exist_ok=True)
        if resume:
            state.load(run_dir)
        train(config, dataset, state, run_dir, None, CPU)
        return state, run_dir

    return run


def test_averages_do_not_change_the_training(trained):
    assert_same(trained("with", 0.016)[0], trained("without", 0.016, posthoc_ema=False)[0])


def test_resume_is_bit_for_bit(trained):
    whole, whole_dir = trained("whole", 0.032)
    trained("parts", 0.016)
    parts, parts_dir = trained("parts", 0.032, resume=True)
    assert_same(whole, parts)
    one, other = whole.averages.state_dict(), parts.averages.state_dict()
    assert len(one) == 2 * len(whole.ema.state_dict()) == len(other)
    assert all(torch.equal(one[name], other[name]) for name in one)
    files = [(nimg, width) for nimg, width, _ in averages(whole_dir)]
    assert files == [(nimg, width) for nimg in (8, 16, 24, 32) for width in WIDTHS]
    for (_, _, a), (_, _, b) in zip(averages(whole_dir), averages(parts_dir)):
        assert a.name == b.name
        a, b = load_generator(a).state_dict(), load_generator(b).state_dict()
        assert all(torch.equal(a[name], b[name]) for name in a)


def test_averages_of_an_undone_future_go(trained):
    _, run_dir = trained("run", 0.016)
    later = averages(run_dir)[-1][2].with_name("0000000020-0.050.safetensors")
    later.write_bytes(b"")
    half_written = later.with_name(f".{later.name}.1{TEMPORARY}")
    half_written.write_bytes(b"")
    with only_trainer(run_dir):
        assert not half_written.exists()
    trained("run", 0.016, resume=True)
    assert [nimg for nimg, _, _ in averages(run_dir)] == [8, 8, 16, 16]


def test_they_begin_with_a_run_or_not_at_all(trained, capsys):
    trained("run", 0.008, posthoc_ema=False)
    with pytest.raises(InputError, match="cannot be resumed from .*--posthoc-ema"):
        trained("run", 0.016, resume=True)
    with pytest.raises(InputError, match="found no averages in ema/"):
        rebuild(trained("run", 0.016, resume=True, posthoc_ema=False)[1], 0.08)


def test_rebuilt_networks(trained):
    state, run_dir = trained("run", 0.032, glr=0.05)
    G, missed = rebuild(run_dir, WIDTHS[1])
    assert missed < 1e-6
    for name, value in state.averages[1].named_parameters():
        assert torch.allclose(dict(G.named_parameters())[name], value, rtol=1e-3, atol=1e-3)
    assert torch.equal(G.mapping.w_avg, state.ema.mapping.w_avg)
    distance = lambda a, b: sum((p - q).square().sum() for p, q in zip(a.parameters(), b.parameters())).sqrt().item()
    gaps = [distance(rebuild(run_dir, width)[0], state.G) for width in (0.05, 0.08, 0.1, 0.15, 0.2)]
    assert gaps == sorted(gaps) and gaps[0] < gaps[-1] / 2  # wider averages lie farther back
    other = averages(run_dir)[0][2]
    other.write_bytes(averages(trained("wider", 0.008, channel_max=32, channel_base=256)[1])[0][2].read_bytes())
    with pytest.raises(InputError, match="another network"):
        rebuild(run_dir, 0.08)
    for name, message in (("0000000004-0.900", "found a width of 0.9"), ("0000000000-0.050", "of no images")):
        strange = other.rename(other.with_name(f"{name}.safetensors"))
        with pytest.raises(InputError, match=f"ema: .*{message}"):
            rebuild(run_dir, 0.08)
        other = strange


def test_averages_know_how_far_the_networks_have_grown(trained):
    growing = dict(grow=True, grow_from=8, grow_kimg=0.012)
    _, run_dir = trained("run", 0.040, **growing)
    grown = [load_generator(path).growth for _, width, path in averages(run_dir) if width == WIDTHS[0]]
    assert grown == [1.0, pytest.approx(1.0), pytest.approx(1 + 8 / 12), None, None]
    assert rebuild(run_dir, 0.08)[0].growth is None
    for path in (run_dir / EMA).glob("*"):
        if int(path.name[:10]) > 24:
            path.unlink()
    assert rebuild(run_dir, 0.08)[0].growth == pytest.approx(1 + 8 / 12)


def test_the_best_width_is_chosen(trained, capsys):
    run_dir = trained("run", 0.032, glr=0.05)[1]
    wanted = next(rebuild(run_dir, 0.07)[0].parameters()).clone()
    distance = lambda G: (next(G.parameters()) - wanted).abs().sum().item()
    assert choose(run_dir, "fd1k", lambda G: dict(value=distance(G))) == 0.07
    assert "independent" not in capsys.readouterr().out
    assert choose(run_dir, "pr1k", lambda G: dict(value=-distance(G), independent=False)) == 0.07
    shown = capsys.readouterr().out
    assert "pr1k: not independent" in shown
    assert all(f"| {width:.2f} |" in shown for width in TRIED) and "| the run's own |" in shown


def test_command(trained, run_command, tmp_path):
    run_dir = trained("run", 0.032)[1]
    done = run_command("scripts/ema.py", run_dir, "--width", 0.08)
    assert done.returncode == 0, done.stderr
    assert "width 0.08 at 0.032 kimg" in done.stdout
    drawn = run_command(
        "generate.py", "--network", run_dir / "network-ema-0.080.safetensors", "--seeds", 0, "--outdir", tmp_path
    )
    assert drawn.returncode == 0 and (tmp_path / "seed0000.png").is_file()
    new = tmp_path / "new" / "average.safetensors"  # its folder was missed only after all the scoring
    assert run_command("scripts/ema.py", run_dir, "--width", 0.08, "--out", new).returncode == 0 and new.is_file()
    for options in ([], ["--width", 0.08, "--choose", "fd1k"]):
        assert "give either --width or --choose" in run_command("scripts/ema.py", run_dir, *options).stderr
