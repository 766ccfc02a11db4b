"""Losses, regularisers, growing, precision, health: each piece of the recipe, and that every option of it has an effect."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from networks.modulation import MODULATIONS
from torch_utils.files import InputError
from torch_utils.stats import Means
from training.dataset import ImageDataset
from training.gan.ada import AdaptiveStrength
from training.gan.config import PRESETS, TrainingConfig, resolve
from training.gan.estimate import estimate
from training.gan.growth import growth_at, shrink
from training.gan.loop import make_step
from training.gan.losses import LOSSES, discriminator_loss, generator_loss, gradient_penalty, path_lengths, path_penalty
from training.gan.state import TrainingState
from training.gan.steps import _parts, _styles, adapt, discriminator_step, generate, generator_step
from training.run.health import Diverged, diversity, first_not_finite, warnings

CPU = torch.device("cpu")
TINY = dict(data="", batch=4, channel_base=128, channel_max=16, z_dim=8, style_depth=2, reg_interval=2)


def make(**changes):
    config = TrainingConfig(**TINY | changes)
    return config, TrainingState(config, 16, 3, 0)


def real_images(n=4, side=16):
    return torch.randn(n, 3, side, side, generator=torch.Generator().manual_seed(1)).clamp(-1, 1)


def after(steps=2, **changes):
    """Weights, flat, of both networks after so many steps from the same start, and the means."""
    config, state = make(**changes)
    means = Means()
    torch.manual_seed(0)
    for _ in range(steps):
        state.grow(growth_at(state.nimg, config, state.G.synthesis.resolutions))
        real = shrink(real_images(config.batch), state.G.growth, 3)
        generated = generate(state, config, real, None)
        r_t_sum = discriminator_step(state, config, real, None, means, generated)
        generator_step(state, config, real, None, means, generated)
        adapt(state, config, r_t_sum, CPU)
        state.step += 1
        state.nimg += config.batch
    flat = {name: torch.cat([p.detach().flatten() for p in getattr(state, name).parameters()]) for name in "GD"}
    return flat, means.take(), state


# ---------------------------------------------------------------- losses


def test_logistic_loss():
    real, fake = torch.tensor([[2.0], [0.0]]), torch.tensor([[1.0], [-3.0]])
    expected = F.softplus(-real).mean() + F.softplus(fake).mean()
    assert torch.allclose(discriminator_loss("logistic", real, fake), expected)
    assert torch.allclose(generator_loss("logistic", fake, None), F.softplus(-fake).mean())
    binary = F.binary_cross_entropy_with_logits  # the same thing under its other name
    assert torch.allclose(expected, binary(real, torch.ones(2, 1)) + binary(fake, torch.zeros(2, 1)))


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_pull_the_right_way(loss):
    real, fake = torch.zeros(3, 1, requires_grad=True), torch.zeros(3, 1, requires_grad=True)
    discriminator_loss(loss, real, fake).backward()
    assert (real.grad < 0).all() and (fake.grad > 0).all()  # descent raises real, lowers fake
    fake.grad = None
    generator_loss(loss, fake, real.detach()).backward()
    assert (fake.grad < 0).all()


def test_path_lengths_of_a_linear_generator():
    """images = A ws, so that ‖Jᵀy‖ is known."""
    matrix = torch.randn(12, 2 * 5, dtype=torch.float64)
    ws = torch.randn(3, 2, 5, dtype=torch.float64, requires_grad=True)
    images = (ws.flatten(1) @ matrix.t()).view(3, 3, 2, 2)
    direction = torch.randn_like(images)
    lengths = path_lengths(images, ws, direction)
    jacobian = (direction.flatten(1) @ matrix).view(3, 2, 5)
    assert torch.allclose(lengths, jacobian.square().sum(2).mean(1).sqrt())
    assert torch.allclose(path_penalty(lengths, torch.tensor(1.5)), (lengths - 1.5).square().mean())


def test_path_lengths_differ_through_the_generator():
    _, state = make()
    ws = state.G.mapping(torch.randn(2, 8)).detach().requires_grad_()
    images = state.G.synthesis(ws)
    path_lengths(images, ws, torch.randn_like(images)).sum().backward()
    assert all(p.grad is not None for name, p in state.G.named_parameters() if "modulation" in name and "bias" not in name)


def test_path_lengths_where_nothing_depends_on_w():
    """A root has an infinite derivative at 0, and 0 · ∞ is NaN."""
    weight = torch.zeros(5, 12, requires_grad=True)
    ws = torch.randn(3, 2, 5, requires_grad=True)
    lengths = path_lengths((ws.sum(1) @ weight).view(3, 3, 2, 2), ws, torch.randn(3, 3, 2, 2))
    path_penalty(lengths, 1.0).backward()
    assert torch.equal(lengths, torch.zeros(3)) and torch.equal(weight.grad, torch.zeros(5, 12))


def test_kernels_that_begin_as_the_identity_learn_with_path_lengths():
    recipe = dict(loss="logistic", pl_weight=2.0, style_mixing=0.9, modulation_options=dict(identity=1.0))
    flat, means, _ = after(steps=5, **recipe)
    assert all(values.isfinite().all() for values in flat.values()) and means["path_length"] > 0


# ---------------------------------------------------------------- every option of the recipe does something

EFFECTS = {
    "glr": (dict(glr=0.01), "G"),
    "dlr": (dict(dlr=0.01), "D"),
    "beta2": (dict(beta2=0.9), "D"),
    "loss": (dict(loss="logistic"), "D"),
    "gamma": (dict(gamma=30.0), "D"),
    "gamma 0": (dict(gamma=0.0), "D"),
    "reg_interval": (dict(reg_interval=1), "D"),
    "pl_weight": (dict(pl_weight=2.0), "G"),
    "style_mixing": (dict(style_mixing=0.9), "G"),
    "aug": (dict(aug="fixed", p=0.8), "D"),
    "augpipe": (dict(aug="fixed", p=0.8, augpipe="noise"), "D"),
    "grow": (dict(grow=True), "D"),
    "precision": (dict(precision="bf16", reg_interval=3), "D"),
    "batch": (dict(batch=8), "D"),
    "seed": (dict(seed=1), "G"),
    "modulation": (dict(modulation="adain"), "D"),
    "noise": (dict(noise=False), "G"),
    "mapping_layers": (dict(mapping_layers=3), "G"),
}


@pytest.fixture(scope="module")
def plain():
    return after()[0]


@pytest.mark.parametrize("name", EFFECTS)
def test_option_has_an_effect(name, plain):
    changes, network = EFFECTS[name]
    changed = after(**changes)[0][network]
    assert changed.isfinite().all()
    assert changed.shape != plain[network].shape or not torch.equal(changed, plain[network])


def test_the_same_options_do_the_same(plain):
    assert all(torch.equal(plain[name], value) for name, value in after()[0].items())


def test_pl_interval_and_target_and_ada_kimg():
    assert "path_length" in after(steps=1, pl_weight=1.0, pl_interval=2)[1]
    lengths = [after(steps=4, pl_weight=1.0, pl_interval=n)[2].path_mean for n in (1, 4)]
    assert lengths[0] > lengths[1] > 0  # four updates of the mean, and one
    p = lambda **changes: after(steps=8, aug="ada", **changes)[2].strength.p
    assert p(target=-0.99, ada_kimg=0.1) > p(target=-0.99, ada_kimg=1.0) > 0
    assert p(target=1.0, ada_kimg=0.1, p=0.5) < 0.5


def test_freezed_blocks_do_not_learn():
    _, state = make()
    names = [name for name, _ in state.D.named_parameters() if name.startswith(("from_rgb", "blocks.0"))]
    before = {name: state.D.state_dict()[name].clone() for name in names}
    state = after(freezed=1)[2]
    assert all(torch.equal(state.D.state_dict()[name], value) for name, value in before.items())
    assert not torch.equal(state.D.state_dict()["blocks.1.conv0.weight"], make()[1].D.state_dict()["blocks.1.conv0.weight"])


@pytest.mark.parametrize("loss", LOSSES)
def test_accumulated_gradients_are_the_whole_batch(loss):
    """Two parts of four images, and eight at once: the same latents, noise, augmentations and groups."""
    options = dict(batch=8, loss=loss, aug="ada", p=0.5, pl_weight=2.0, style_mixing=0.9, glr=1e-9, dlr=1e-9)
    whole, parts = (after(steps=1, batch_gpu=part, **options)[2] for part in (None, 4))
    for name in "GD":
        one, other = (torch.cat([p.grad.flatten() for p in getattr(state, name).parameters()]) for state in (whole, parts))
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-5 * one.abs().max())
    assert torch.allclose(whole.G.mapping.w_avg, parts.G.mapping.w_avg, rtol=1e-4, atol=1e-8)
    assert whole.path_mean == pytest.approx(parts.path_mean, rel=1e-5) and whole.path_mean > 0
    assert whole.strength.state_dict() == parts.strength.state_dict()


def test_both_updates_see_the_same_generated_images():
    """Drawn once a step; with batch_gpu, to save memory, each update draws them anew, a part at a time."""
    drawn = {}
    for part in (None, 2):
        config, state = make(batch=4, batch_gpu=part)
        calls: list[int] = []
        state.G.synthesis.register_forward_hook(lambda module, inputs, images, calls=calls: calls.append(len(images)))
        before = [p.detach().clone() for p in state.G.parameters()]
        generated = generate(state, config, real_images(), None)
        discriminator_step(state, config, real_images(), None, Means(), generated)
        generator_step(state, config, real_images(), None, Means(), generated)
        assert any(not torch.equal(a, b) for a, b in zip(before, state.G.parameters()))
        drawn[part] = calls
    assert drawn == {None: [4], 2: [2, 2, 2, 2]}


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_low_precision_learns(precision):
    config, state = make(precision=precision, reg_interval=4)
    before = [p.detach().clone() for p in state.G.parameters()]
    means = Means()
    for state.step in range(6):
        discriminator_step(state, config, real_images(), None, means)
        generator_step(state, config, real_images(), None, means)
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in state.G.parameters())
    moved = [not torch.equal(a, b) for a, b in zip(before, state.G.parameters())]
    assert sum(moved) > 0.9 * len(moved)
    assert "r1" in means.take()


@pytest.mark.parametrize("loss", LOSSES)
def test_only_the_relativistic_loss_has_r2(loss):
    means = after(loss=loss)[1]
    assert "r1" in means and ("r2" in means) == (loss == "relativistic")


# ---------------------------------------------------------------- growing


def test_growth_schedule():
    config = TrainingConfig(data="", grow=True, grow_from=8, grow_kimg=2)
    grids = [(4, 4), (8, 8), (16, 16), (32, 32)]
    at = lambda kimg: growth_at(int(kimg * 1000), config, grids)
    assert [at(k) for k in (0, 1.9, 2.0, 3, 4, 5.9, 7)] == [1, 1, 1, 1.5, 2, 2, 2.5]
    assert at(8) is None and at(1000) is None
    assert growth_at(0, dataclasses.replace(config, grow=False), grids) is None
    assert growth_at(0, dataclasses.replace(config, grow_from=16), grids) == 2
    assert growth_at(0, dataclasses.replace(config, grow_from=64), grids) is None
    values = [at(k / 100) for k in range(800)]
    assert all(0 <= b - a < 0.02 for a, b in zip(values, values[1:]))  # never jumps


def test_shrink_is_continuous_and_keeps_a_constant():
    images = real_images(side=32)
    assert shrink(images, None, 4) is images
    assert shrink(images, 1.0, 4).shape[-1] == 8 and shrink(images, 1.3, 4).shape[-1] == 16
    assert torch.allclose(shrink(images, 2 - 1e-6, 4), shrink(images, 2.0, 4), atol=1e-4)
    flat = torch.full((1, 1, 32, 32), 0.7)
    assert torch.allclose(shrink(flat, 1.5, 4), torch.full((1, 1, 16, 16), 0.7))


def test_a_resumed_run_is_as_grown_as_the_last_step_left_it(image_folder):
    """Before the next step, too: a score that a snapshot lacks is of what the snapshot has."""
    config, state = make(data=str(image_folder(8, 16)), grow=True, grow_from=8, grow_kimg=0.008, workers=0)
    dataset, grown = ImageDataset(config.data), []
    for _ in range(5):
        state.grow(None)  # as in a state that has just been loaded
        step, data = make_step(config, dataset, state, CPU)
        grown.append(state.ema.growth)
        step()
        data.close()
        grown.append(state.ema.growth)
        state.nimg += config.batch
    assert grown[2::2] == grown[1:-1:2] and len(set(grown)) > 2
    assert state.G.growth == state.D.growth == state.ema.growth


# ---------------------------------------------------------------- health


@pytest.mark.parametrize("where, named", [("G", "synthesis.layers.1.bias"), ("D", "blocks.0.conv1.weight")])
def test_nan_stops_the_training_and_is_named(where, named):
    config, state = make()
    getattr(state, where).get_parameter(named).data[0] = float("nan")
    before = {name: value.clone() for name, value in state.D.state_dict().items()}
    with pytest.raises(Diverged, match=f"{where}.{named}.*--resume"):
        discriminator_step(state, config, real_images(), None, Means())
    assert all(torch.equal(before[name], value) or not value.isfinite().all() for name, value in state.D.state_dict().items())
    assert issubclass(Diverged, InputError)  # one line for the user


def test_nan_in_the_data_and_in_gradients():
    config, state = make()
    real = real_images()
    real[1, 0, 3, 3] = float("inf")
    with pytest.raises(Diverged, match="the real images"):
        discriminator_step(state, config, real, None, Means())
    state.G.synthesis.const.register_hook(lambda gradient: gradient * float("nan"))
    with pytest.raises(Diverged, match="the gradient of G.synthesis.const"):
        generator_step(state, config, real_images(), None, Means())
    assert first_not_finite({"D": state.D}, {"x": torch.zeros(2)}) is None


def test_warning_of_a_discriminator_that_has_won():
    assert "discriminator" in warnings(dict(signs=0.999, loss_D=0.001))[0]
    assert not warnings(dict(signs=0.7, loss_D=0.3)) and not warnings({})


def test_diversity():
    assert diversity(torch.full((4, 3, 2, 2), 9, dtype=torch.uint8)) == 0
    two = torch.tensor([0, 100], dtype=torch.uint8).view(2, 1, 1, 1)
    assert diversity(two) == 50


# ---------------------------------------------------------------- presets, estimates


@pytest.mark.parametrize("cfg", PRESETS)
@pytest.mark.parametrize("side", [32, 256])
def test_presets_make_configurations(cfg, side):
    config = TrainingConfig(data="", **resolve(cfg, side, {}))
    assert config.batch >= 8 and config.gamma > 0
    assert (config.pl_weight, config.style_mixing) == ((2, 0.9) if config.loss == "logistic" else (0, 0))


@pytest.mark.parametrize("modulation", MODULATIONS)
def test_a_preset_with_options_of_adaconv_takes_other_modulations(modulation):
    config = TrainingConfig(data="", **resolve("small", 16, dict(modulation=modulation)))
    assert (config.modulation_options is None) == (modulation != "adaconv")
    assert TrainingState(config, 16, 3, 0).G.config["modulation"] == modulation


def test_loss_brings_its_regularisers_unless_told_otherwise():
    for cfg, weight in (("auto", 2), ("ffhq256", 2), ("tiny", 0), ("fashion32", 0), ("cifar", 0)):
        assert resolve(cfg, 32, dict(loss="logistic"))["pl_weight"] == weight
        assert resolve(cfg, 32, dict(loss="logistic", pl_weight=0.5))["pl_weight"] == 0.5
    stylegan2 = resolve("stylegan2", 64, dict(loss=None))
    assert (stylegan2["modulation"], stylegan2["loss"], stylegan2["style_mixing"]) == ("demod", "logistic", 0.9)


def test_estimate_is_of_real_steps():
    config, state = make(pl_weight=1.0)
    found = estimate(state, config, real_images(), None, CPU)
    assert 0.01 < found.sec_per_kimg < 1000 and found.bytes > 10**7


def test_saved_states_of_adaptation_keep_their_names():
    """States that were saved when the sum of r_t was called `signs` go on loading."""
    strength = AdaptiveStrength()
    values = dict(p=0.25, signs=7.5, images=12, updates=3)
    strength.load_state_dict(values)
    assert strength.state_dict() == values | dict(start=0.0) and (strength.r_t_sum, strength.images) == (7.5, 12)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_gradient_of_the_discriminator_by_hand(loss):
    """γ/2 · (R1 + R2), as many times more as it comes less often; whatever the step before has left. Six are one group."""
    config, state = make(loss=loss, gamma=3.0, reg_interval=4, batch=6)
    real, weights, means = real_images(6), list(state.D.parameters()), Means()
    shared = generate(state, config, real, None)
    images = [x.detach().requires_grad_() for x in (real, shared.images)]
    logits = [state.D(x) for x in images]
    r1, r2 = (gradient_penalty(y, x).mean() for y, x in zip(logits, images))
    penalty = r1 + r2 if loss == "relativistic" else r1
    wanted = torch.autograd.grad(discriminator_loss(loss, *logits) + 3.0 / 2 * 4 * penalty, weights)
    for p in weights:
        p.grad = torch.ones_like(p)
    discriminator_step(state, config, real, None, means, shared)
    for p, gradient in zip(weights, wanted):
        torch.testing.assert_close(p.grad, gradient, rtol=1e-3, atol=1e-5)
    found = means.take()
    assert found["r1"] == pytest.approx(r1.item(), rel=1e-4) and found.get("r2", r2.item()) == pytest.approx(
        r2.item(), rel=1e-4
    )


def test_the_gradient_of_the_generator_by_hand():
    """The path penalty of every second image counts for the steps without one; their noise is divided by √(H·W)."""
    config, state = make(loss="logistic", pl_weight=2.0, pl_interval=4)
    real, weights = real_images(), list(state.G.parameters())
    shared, state.path_mean = generate(state, config, real, None), 0.5
    (part,) = _parts(real, None, config)
    draws = part.half().draws(state, config, "lengths")
    ws = state.G.mapping(draws.normal(real[:2], 8))
    images = state.G.synthesis(ws, "random", draws=draws)
    lengths = path_lengths(images, ws, draws.normal(images, 3, 16, 16) / 16)
    loss = generator_loss("logistic", state.D(shared.images), None) + 2.0 * 4 * path_penalty(lengths, 0.5)
    wanted = torch.autograd.grad(loss, weights, retain_graph=True, materialize_grads=True)
    for p in weights:
        p.grad = torch.ones_like(p)
    generator_step(state, config, real, None, Means(), shared)
    for p, gradient in zip(weights, wanted):
        torch.testing.assert_close(p.grad, gradient, rtol=1e-3, atol=1e-5)
    assert state.path_mean == pytest.approx(0.5 + 0.01 * (lengths.mean().item() - 0.5))


def test_styles_are_mixed_as_often_as_asked_for_and_anywhere():
    """The first layers have one style and the others another, from each layer but the first on equally often."""
    config, state = make(style_mixing=0.6, batch=2000)
    (part,) = _parts(torch.zeros(2000, 1, 1, 1), None, config)
    ws = _styles(state, config, part, part.draws(state, config, "images"))
    first, last = ((ws == ws[:, [i]]).all(2) for i in (0, -1))
    assert (first | last).all() and not (first[:, 1:] & ~first[:, :-1]).any()
    shares = torch.bincount(first.sum(1), minlength=6) / 2000
    assert torch.allclose(shares, torch.tensor([0, 0.15, 0.15, 0.15, 0.15, 0.4]), atol=0.04)


def test_every_step_and_every_seed_draws_anew():
    pictures = {}
    for seed, nimg in ((0, 0), (0, 4), (1, 0)):
        config, state = make(seed=seed)
        state.G.load_state_dict(make()[1].G.state_dict())
        state.nimg = nimg
        pictures[seed, nimg] = generate(state, config, real_images(), None).images
    one, later, other = pictures.values()
    assert not torch.equal(one, later) and not torch.equal(one, other)
