"""--forced-norm: weights of each output stay on the sphere on which they began, and gradients are those along it."""

import pytest
import torch

from networks.discriminator import Discriminator
from networks.generator import Generator
from networks.modulation import MODULATIONS
from tests.training.gan.test_schedule import assert_same, run
from training.gan.magnitudes import keep_lengths, make_tangent, normalise, spheres

SMALL = dict(channel_base=256, channel_max=16)


def networks(modulation="adaconv"):
    torch.manual_seed(0)
    return Generator(16, z_dim=8, style_depth=2, modulation=modulation, c_dim=2, **SMALL), Discriminator(16, c_dim=2, **SMALL)


def sizes(network):
    return torch.cat([weight.detach().flatten(1).square().mean(1).sqrt() / size for weight, size in spheres(network)])


@pytest.mark.parametrize("modulation", MODULATIONS)
def test_what_is_on_a_sphere(modulation):
    """All weights with inputs, but for the last layers' and those that begin at zero; they begin near their sphere."""
    for network in networks(modulation):
        held = {weight.data_ptr() for weight, _ in spheres(network)}
        free = {name for name, p in network.named_parameters() if p.ndim > 1 and p.data_ptr() not in held}
        assert {name.removesuffix(".weight") for name in free if "bias" not in name and "const" not in name} <= {
            *(f"synthesis.to_rgb.{i}" for i in range(3)),
            "out",
        }
        assert sizes(network).mean() == pytest.approx(1, abs=0.1)
        for p in network.parameters():
            p.data.mul_(3)
        normalise(network)
        torch.testing.assert_close(sizes(network), torch.ones_like(sizes(network)))


def test_kernels_that_begin_at_zero_are_on_no_sphere_and_learn(image_folder, tmp_path):
    """With identity 1 there is no magnitude to keep; it was 0 / 0."""
    state = run(image_folder(), tmp_path / "runs", 0.016, forced_norm=True, modulation_options=dict(identity=1.0))
    predicted = [p for name, p in state.G.named_parameters() if name.endswith(("spatial_weight", "pointwise_weight"))]
    assert predicted and all(p.isfinite().all() and p.any() for p in predicted)
    assert not {p.data_ptr() for p in predicted} & {p.data_ptr() for p, _ in spheres(state.G)}


def test_gradients_are_those_of_normalised_weights():
    """Of a layer whose weights are divided by their magnitude in the graph, as EDM2 writes it."""
    torch.manual_seed(0)
    D = Discriminator(16, **SMALL).double()
    normalise(D)
    x = torch.randn(4, 3, 16, 16, dtype=torch.double)
    held = list(spheres(D))
    raw = [weight.detach().clone().requires_grad_() for weight, _ in held]
    names = {weight.data_ptr(): name for name, weight in D.named_parameters()}
    unit = lambda w, size: size * w / w.flatten(1).square().mean(1).sqrt().view(-1, *[1] * (w.ndim - 1))
    normalised = {names[weight.data_ptr()]: unit(w, size) for (weight, size), w in zip(held, raw)}
    torch.func.functional_call(D, normalised, (x,)).square().sum().backward()
    D(x).square().sum().backward()
    make_tangent(D)
    for (weight, _), expected in zip(held, raw):
        torch.testing.assert_close(weight.grad, expected.grad)
        assert (weight.grad * weight).flatten(1).sum(1).abs().max() < 1e-9


def test_training_keeps_magnitudes(image_folder, tmp_path):
    folder = image_folder()
    free = run(folder, tmp_path / "free", 0.024, glr=0.05, dlr=0.05)
    held = run(folder, tmp_path / "held", 0.024, glr=0.05, dlr=0.05, forced_norm=True)
    for name in ("G", "D"):
        torch.testing.assert_close(sizes(getattr(held, name)), torch.ones_like(sizes(getattr(held, name))))
        assert (sizes(getattr(free, name)) - 1).abs().max() > 0.05
    assert not torch.equal(free.D.out.weight, held.D.out.weight)


def test_a_network_to_start_from_keeps_its_magnitudes():
    """It may have learned without --forced-norm; what is frozen, or has no gradient, stays as it is."""
    torch.manual_seed(0)
    D = Discriminator(16, **SMALL)
    for p in D.parameters():
        p.data.mul_(1 + torch.rand(len(p)).view(-1, *[1] * (p.ndim - 1)))
    before = {name: p.detach().clone() for name, p in D.named_parameters()}
    D(torch.randn(4, 3, 16, 16)).sum().backward()
    D.blocks[0].conv0.weight.grad = None
    held = make_tangent(D)
    torch.optim.SGD(D.parameters(), lr=0.1).step()
    keep_lengths(held)
    names, lengths = {weight.data_ptr(): name for name, weight in D.named_parameters()}, lambda w: w.flatten(1).norm(dim=1)
    assert torch.equal(D.blocks[0].conv0.weight, before["blocks.0.conv0.weight"])
    for weight, _ in held:
        torch.testing.assert_close(lengths(weight), lengths(before[names[weight.data_ptr()]]))
        assert not torch.equal(weight, before[names[weight.data_ptr()]])


def test_an_output_of_zeros_makes_no_nan():
    D = Discriminator(16, **SMALL)
    D.blocks[0].conv0.weight.data[0] = 0
    D(torch.randn(4, 3, 16, 16)).sum().backward()
    keep_lengths(make_tangent(D))
    assert all(p.isfinite().all() and p.grad.isfinite().all() for p in D.parameters())


def test_resume_is_bit_for_bit(image_folder, tmp_path):
    folder, options = image_folder(), dict(forced_norm=True)
    whole = run(folder, tmp_path / "whole", 0.032, **options)
    run(folder, tmp_path / "parts", 0.016, **options)
    assert_same(whole, run(folder, tmp_path / "parts", 0.032, state=True, **options))
