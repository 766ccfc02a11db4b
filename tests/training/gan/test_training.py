"""Losses, the moving average, the steps, and that a resumed training is the training."""

import copy
import dataclasses
import json

import pytest
import torch
import torch.nn.functional as F

from networks.modulation import MODULATIONS
from torch_utils.files import InputError
from torch_utils.stats import Means, read_jsonl
from training.dataset import ImageDataset
from training.gan.config import PRESETS, TrainingConfig
from training.gan.ema import update_ema
from training.gan.loop import discriminator_step, generator_step, make_step, train
from training.gan.losses import gradient_penalty, relativistic_paired
from training.gan.state import TrainingState

CPU = torch.device("cpu")
TINY = dict(batch=4, channel_base=128, channel_max=16, z_dim=8, style_depth=2, reg_interval=2, tick=0.008, snap=2, workers=0)


def test_relativistic_loss():
    real, fake = torch.tensor([[2.0], [0.0]]), torch.tensor([[1.0], [3.0]])
    assert torch.allclose(relativistic_paired(real, fake), (F.softplus(torch.tensor(-1.0)) + F.softplus(torch.tensor(3.0))) / 2)
    assert torch.allclose(relativistic_paired(real + 5, fake + 5), relativistic_paired(real, fake))  # only differences count


def test_gradient_penalty_of_a_known_function():
    x = torch.randn(3, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 4, 4, dtype=torch.float64, requires_grad=True)
    penalty = gradient_penalty((x.square() * weight).sum(dim=(1, 2, 3))[:, None], x).mean()
    assert torch.allclose(penalty, (2 * x * weight).square().sum() / 3)
    (gradient,) = torch.autograd.grad(penalty, weight)
    assert torch.allclose(gradient, (8 * x.square() * weight).sum(0) / 3)


def test_ema_half_life():
    network, ema = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    network.weight.data.fill_(1)
    ema.weight.data.fill_(0)
    for i in range(10):
        update_ema(ema, network, batch=100, nimg=10**6 + i, half_life=1000, rampup=0.05)
    assert abs(ema.weight.item() - 0.5) < 1e-6
    update_ema(ema, network, batch=100, nimg=100, half_life=1000, rampup=0.05)  # early: 5 images
    assert ema.weight.item() > 0.999


def make(folder, **changes):
    dataset = ImageDataset(folder, use_labels=changes.get("cond", False))
    config = TrainingConfig(**TINY | dict(data=str(folder)) | changes)
    return config, dataset, TrainingState(config, dataset.height, dataset.channels, dataset.c_dim)


def tensors(state):
    return {
        f"{name}.{key}": value for name in ("G", "D", "ema") for key, value in getattr(state, name).state_dict().items()
    } | {
        f"{name}.{i}.{key}": value
        for name in ("opt_G", "opt_D")
        for i, values in getattr(state, name).state_dict()["state"].items()
        for key, value in values.items()
    }


def assert_same(one, other):
    assert (one.nimg, one.step) == (other.nimg, other.step)
    a, b = tensors(one), tensors(other)
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


@pytest.mark.parametrize("modulation", MODULATIONS)
def test_steps_move_what_they_should(image_folder, modulation):
    config, dataset, state = make(image_folder(), modulation=modulation)
    real = torch.randn(4, 3, 16, 16)
    before = copy.deepcopy((state.G.state_dict(), state.D.state_dict()))
    means = Means()
    discriminator_step(state, config, real, None, means)
    weights = [name for name, _ in state.G.named_parameters()]
    assert all(torch.equal(before[0][name], state.G.state_dict()[name]) for name in weights)
    assert any(not torch.equal(before[1][name], value) for name, value in state.D.state_dict().items())
    before = copy.deepcopy((state.G.state_dict(), state.D.state_dict()))
    generator_step(state, config, real, None, means)
    assert any(not torch.equal(before[0][name], state.G.state_dict()[name]) for name in weights)
    assert all(torch.equal(before[1][name], value) for name, value in state.D.state_dict().items())
    assert {"loss_D", "loss_G", "r1", "r2"} <= means.take().keys()


def test_where_there_is_one_style_none_are_mixed(image_folder):
    options = dict(modulation="none", loss="logistic", style_mixing=1.0, pl_weight=2.0)
    config, _, state = make(image_folder(), **options)
    means, real = Means(), torch.randn(4, 3, 16, 16)
    discriminator_step(state, config, real, None, means)
    generator_step(state, config, real, None, means)
    assert state.path_mean > 0 and "loss_G" in means.take()


def test_penalty_comes_at_its_interval_and_gamma_weighs_it(image_folder):
    folder, steps = image_folder(), {}
    for gamma in (0.001, 1000.0):
        config, _, state = make(folder, gamma=gamma)
        seen = []
        for state.step in range(4):
            means = Means()
            torch.manual_seed(0)
            discriminator_step(state, config, torch.randn(4, 3, 16, 16), None, means)
            seen.append("r1" in means.take())
        assert seen == [True, False, True, False]
        steps[gamma] = state.D.state_dict()["out.weight"].clone()
    assert not torch.equal(steps[0.001], steps[1000.0])


def test_learning_rates_are_options_and_not_states(image_folder, tmp_path):
    folder = image_folder()
    make(folder, glr=0.01, dlr=0.02)[2].save(tmp_path)
    _, _, state = make(folder, glr=0.3, dlr=0.4)
    state.load(tmp_path)
    assert (state.opt_G.param_groups[0]["lr"], state.opt_D.param_groups[0]["lr"]) == (0.3, 0.4)


def test_learning_rates_scale_the_steps(image_folder):
    """Adam's first step moves every weight by about its learning rate."""
    config, _, state = make(image_folder(), glr=0.01, dlr=0.03)
    to_rgb, out = state.G.synthesis.to_rgb[0].weight, state.D.out.weight
    before = to_rgb.detach().clone(), out.detach().clone()
    real = torch.randn(4, 3, 16, 16)
    discriminator_step(state, config, real, None, Means())
    generator_step(state, config, real, None, Means())
    assert (to_rgb - before[0]).abs().median().item() == pytest.approx(0.01, rel=0.05)
    assert (out - before[1]).abs().median().item() == pytest.approx(0.03, rel=0.05)


def test_learns_a_single_picture(image_folder):
    """Adversarial training works at all: with one picture to learn, samples end up near it."""
    folder = image_folder(1, 8)
    config, dataset, state = make(folder, batch=8, kimg=2.4, tick=10, glr=0.005, dlr=0.005, ema_kimg=0.1)
    (folder.parent / "run").mkdir()
    picture = dataset[0][0].float() / 127.5 - 1
    z = torch.randn(8, 8)
    before = (state.ema(z) - picture).square().mean()
    train(config, dataset, state, folder.parent / "run", None, CPU)
    assert (state.ema(z) - picture).square().mean() < before / 3


@pytest.mark.parametrize(
    "options", [dict(), dict(cond=True), dict(workers=2), dict(modulation="demod", mirror=True), dict(modulation="bank")]
)
def test_resume_is_bit_for_bit(image_folder, tmp_path, options):
    folder = image_folder(10, labels=3)
    runs = [tmp_path / name for name in ("whole", "parts")]
    for run in runs:
        run.mkdir()
    config, dataset, whole = make(folder, kimg=0.032, **options)
    train(config, dataset, whole, runs[0], None, CPU)

    config, dataset, first = make(folder, kimg=0.016, **options)
    train(config, dataset, first, runs[1], None, CPU)
    config, dataset, second = make(folder, kimg=0.032, **options)
    second.load(runs[1])
    assert_same(first, second)
    train(config, dataset, second, runs[1], None, CPU)
    assert_same(whole, second)
    assert whole.step == 8

    for name in ("fakes_init.png", "fakes000000.png"):
        assert (runs[0] / name).read_bytes() == (runs[1] / name).read_bytes()
    one, other = ([{k: r[k] for k in ("nimg", "loss_D", "loss_G")} for r in read_jsonl(run / "stats.jsonl")] for run in runs)
    assert one == other and [r["nimg"] for r in one] == [8, 16, 24, 32]


def test_evaluation_does_not_change_the_training(image_folder, tmp_path):
    folder = image_folder()

    def evaluate(fakes):
        torch.randn(5)
        images = torch.cat(list(fakes(5)))
        assert images.dtype == torch.uint8 and len(images) >= 5
        return [dict(metric="fd1k", value=float(images.float().std()), floor=1.0, floor_counts=[2, 2])]

    states = []
    for i, scorer in enumerate((None, evaluate)):
        config, dataset, state = make(folder, kimg=0.016)
        (tmp_path / str(i)).mkdir()
        train(config, dataset, state, tmp_path / str(i), scorer, CPU)
        states.append(state)
    assert_same(*states)
    records = read_jsonl(tmp_path / "1" / "metric-fd1k.jsonl")
    assert [r["nimg"] for r in records] == [0, 16] and records[0]["way_left"] == 1
    assert records[1]["snapshot"] == "network-snapshot-000000.safetensors"
    expected = (records[1]["value"] - 1) / (records[0]["value"] - 1)
    assert records[1]["way_left"] == pytest.approx(expected)


def test_previous_state_is_kept_and_used(image_folder, tmp_path):
    _, _, state = make(image_folder())
    for state.nimg in (4, 8):
        state.save(tmp_path)
    assert sorted(p.name for p in tmp_path.glob("*.pt")) == ["training-state.previous.pt", "training-state.pt"]
    _, _, fresh = make(tmp_path / "images")
    fresh.load(tmp_path)
    assert fresh.nimg == 8
    (tmp_path / "training-state.pt").write_bytes(b"damaged")
    fresh.load(tmp_path)
    assert fresh.nimg == 4
    (tmp_path / "training-state.pt").unlink()
    (tmp_path / "training-state.previous.pt").write_bytes(b"nonsense")
    with pytest.raises(InputError, match="cannot be resumed"):
        fresh.load(tmp_path)
    (tmp_path / "training-state.previous.pt").unlink()
    with pytest.raises(InputError, match="no training-state"):
        fresh.load(tmp_path)


def test_same_seed_same_weights(image_folder):
    folder = image_folder()
    one, same, other = (make(folder, seed=seed)[2] for seed in (0, 0, 1))
    assert_same(one, same)
    assert not torch.equal(one.G.synthesis.const, other.G.synthesis.const)


def test_presets_are_configurations(image_folder):
    for name, preset in PRESETS.items():
        for resolution in (16, 32, 64, 256, 1024):
            config = TrainingConfig(data="x", cfg=name, **preset(resolution))
            values = json.loads(json.dumps(config.to_json()))
            assert TrainingConfig.from_json(values) == config
    for bad in ([], {"data": "x", "surprise": 1}, {"seed": 1}):
        with pytest.raises(InputError):
            TrainingConfig.from_json(bad)
    assert dataclasses.is_dataclass(config)


def test_a_step_moves_the_average_by_the_half_life_of_the_options(image_folder):
    """In thousands of images: after as many the average has come half the way."""
    config, dataset, state = make(image_folder(), ema_kimg=0.004)  # a batch
    state.nimg = 10**6
    before = [p.clone() for p in state.ema.parameters()]
    step, data = make_step(config, dataset, state, CPU)
    step()
    data.close()
    for old, new, p in zip(before, state.ema.parameters(), state.G.parameters()):
        torch.testing.assert_close(new, (old + p.detach()) / 2)
    assert torch.equal(state.ema.mapping.w_avg, state.G.mapping.w_avg) and state.ema.mapping.w_avg.any()
