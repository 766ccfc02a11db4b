"""Generator and discriminator as other tools rely on them."""

import math

import pytest
import torch
import torch.nn.functional as F

from networks.adaconv import demodulated
from networks.adaconv_fast import centre
from networks.discriminator import Discriminator, minibatch_std
from networks.generator import PARTS, Generator
from networks.modulation import MODULATIONS
from networks.resolutions import resolutions
from networks.sampling import one_hot, sample
from torch_utils.ops import downsample2x, upsample2x
from training.gan.growth import shrink

SMALL = dict(channel_base=256, channel_max=32, z_dim=16, style_depth=4)


def small(resolution=16, **arguments):
    torch.manual_seed(0)
    return Generator(resolution, **SMALL | arguments)


@pytest.mark.parametrize("modulation", MODULATIONS)
@pytest.mark.parametrize("channels, c_dim", [(1, 0), (3, 0), (4, 3), (2, 0)])
def test_generator_makes_images(modulation, channels, c_dim):
    G = small(32, img_channels=channels, c_dim=c_dim, modulation=modulation)
    c = one_hot([0, 2], c_dim) if c_dim else None
    ws = G.mapping(torch.randn(2, G.z_dim), c)
    assert ws.shape == (2, G.num_ws, G.w_dim) == (2, 1 if modulation == "none" else 7, 36)
    images = G.synthesis(ws)
    assert images.shape == (2, channels, 32, 32)
    assert 0.1 < images.std() < 3
    D = Discriminator(32, channels, c_dim, channel_base=256, channel_max=32)
    assert D(images, c).shape == (2, 1)


@pytest.mark.parametrize("modulation", MODULATIONS)
def test_image_does_not_depend_on_its_batch(modulation):
    G = small(modulation=modulation).double()
    z = torch.randn(5, G.z_dim, dtype=torch.float64)
    whole = G(z)
    assert (whole[2] - G(z[2:3])[0]).abs().max() < 1e-11
    assert (whole[1] - whole[3]).abs().mean() > 1e-3  # and different noise does give different images


@pytest.mark.parametrize("modulation", MODULATIONS)
def test_every_parameter_learns(modulation):
    G = small(modulation=modulation, c_dim=2)
    D = Discriminator(16, 3, 2, channel_base=256, channel_max=32)
    c = one_hot([0, 1, 0, 1], 2)
    D(G(torch.randn(4, G.z_dim), c, noise_mode="random"), c).square().sum().backward()
    for network in (G, D):
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_without_noise_there_is_none():
    G = small(noise=False)
    assert not [name for name in G.state_dict() if "noise" in name]
    ws = G.mapping(torch.randn(2, G.z_dim))
    assert torch.equal(G.synthesis(ws, noise_mode="random"), G.synthesis(ws, noise_mode="none"))


def test_default_256_generator_has_at_most_30_million_parameters():
    with torch.device("meta"):
        G = Generator(256)
    assert sum(p.numel() for p in G.parameters()) <= 30_000_000
    assert (G.w_dim, G.num_ws) == (576, 13)


def test_truncation():
    G = small()
    z = torch.randn(64, G.z_dim)
    for _ in range(200):
        G.mapping.update_w_avg(G.mapping(z)[:, 0].mean(0))
    w = G.mapping(z)
    average = G.mapping.w_avg
    assert average.abs().sum() > 0
    assert torch.allclose(G.mapping(z, truncation_psi=0), average.expand_as(w), atol=1e-5)
    half = G.mapping(z, truncation_psi=0.5, truncation_cutoff=2)
    assert torch.allclose(half[:, :2], (w[:, :2] + average) / 2, atol=1e-5)
    assert torch.equal(half[:, 2:], w[:, 2:])


def test_noise_modes():
    G = small()
    for layer in G.synthesis.layers:
        layer.noise_strength.data.fill_(0.5)
    ws = G.mapping(torch.randn(1, G.z_dim))
    const, again, none = G.synthesis(ws), G.synthesis(ws, "const"), G.synthesis(ws, "none")
    random, other = G.synthesis(ws, "random"), G.synthesis(ws, "random")
    assert torch.equal(const, again)
    assert not torch.equal(const, none) and not torch.equal(random, other) and not torch.equal(random, none)
    with pytest.raises(ValueError, match="noise_mode"):
        G.synthesis(ws, "sometimes")


def test_labels_change_images_and_are_required():
    G = small(c_dim=3)
    z = torch.randn(1, G.z_dim)
    assert not torch.allclose(G(z, one_hot([0], 3)), G(z, one_hot([1], 3)))
    with pytest.raises(ValueError, match="conditional"):
        G(z)
    D = Discriminator(16, 3, 3, channel_base=256, channel_max=32)
    image = torch.randn(1, 3, 16, 16)
    assert not torch.allclose(D(image, one_hot([0], 3)), D(image, one_hot([1], 3)))
    with pytest.raises(ValueError, match="conditional"):
        D(image)


def test_layers_can_be_mixed_by_ws():
    G = small()
    a, b = G.mapping(torch.randn(2, G.z_dim)).split(1)
    mixed = torch.cat([a[:, :3], b[:, 3:]], dim=1)
    images = [G.synthesis(ws) for ws in (a, b, mixed)]
    assert not any(torch.allclose(images[2], other) for other in images[:2])


@pytest.mark.parametrize("demodulate", [False, True])
def test_parts_of_kernels_come_from_other_styles(demodulate):
    """By hand, layer by layer: the kernels that `parts` should give are what each layer convolves with."""
    options = dict(channel_base=256, channel_max=16, z_dim=8, style_depth=2, modulation_options=dict(demodulate=demodulate))
    G = Generator(16, **options).eval()
    for p in G.synthesis.parameters():
        torch.nn.init.normal_(p, std=0.7)  # biases of kernels are zero at first
    own, other = G.mapping(torch.randn(2, 8)), G.mapping(torch.randn(2, 8))
    assert torch.equal(G.synthesis(own, parts={}), G.synthesis(own))
    drawn = {}
    for part in PARTS:
        drawn[part] = G.synthesis(own, parts={part: other})
        kernels = []
        for i, layer in enumerate(G.synthesis.layers):
            mine, theirs = (layer.modulation.predictor(w[:, i].unflatten(1, (2, 3, 3))) for w in (own, other))
            mixed = mine._replace(**{part: getattr(theirs, part)})
            kernels.append(demodulated(mixed) if demodulate else mixed)
        found = [layer.modulation.kernels(own[:, i], **{part: other[:, i]}) for i, layer in enumerate(G.synthesis.layers)]
        assert all(torch.equal(a, b) for x, y in zip(found, kernels) for a, b in zip(x, y))
    pictures = [G.synthesis(own), G.synthesis(other), *drawn.values()]
    assert all((a - b).abs().max() > 1e-3 for i, a in enumerate(pictures) for b in pictures[:i])
    assert torch.allclose(G.synthesis(own, parts=dict.fromkeys(PARTS, other)), G.synthesis(other), atol=1e-5)
    second = own.clone()
    second[:, 1:] = other[:, 1:]
    assert torch.allclose(G.synthesis(own, parts=dict.fromkeys(PARTS, second)), G.synthesis(second), atol=1e-5)
    with pytest.raises(ValueError, match="found parts colour of adaconv, wanted spatial, pointwise, bias"):
        G.synthesis(own, parts=dict(colour=other))


@pytest.mark.parametrize("modulation", [name for name in MODULATIONS if name != "adaconv"])
def test_only_predicted_kernels_have_parts(modulation):
    G = Generator(16, channel_base=256, channel_max=16, z_dim=8, style_depth=2, modulation=modulation)
    ws = G.mapping(torch.randn(1, 8))
    with pytest.raises(ValueError, match=f"found parts spatial of {modulation}, wanted .* of adaconv"):
        G.synthesis(ws, parts=dict(spatial=ws))


def test_style_can_be_projected():
    """A gradient reaches ws, as a projector needs it, twice (path length)."""
    G = small().double()
    ws = G.mapping(torch.randn(1, G.z_dim, dtype=torch.float64)).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(G.synthesis(ws).square().sum(), ws, create_graph=True)
    gradient.square().sum().backward()
    assert ws.grad.abs().sum() > 0


@pytest.mark.parametrize("resolution", [0, 4, 7, 100, -8, 33, (64, 7), (8, 2048), (16, 16, 3), "16", 2.5])
def test_impossible_resolutions(resolution):
    with pytest.raises(ValueError, match="cannot be made|must be a side"):
        Generator(resolution, **SMALL)


@pytest.mark.parametrize(
    "resolution, smallest, levels",
    [(64, (4, 4), 5), ((96, 64), (6, 4), 5), ((384, 512), (6, 8), 7), (28, (7, 7), 3), (24, (6, 6), 3), ((8, 40), (4, 20), 2)],
)
def test_resolutions(resolution, smallest, levels):
    found = resolutions(resolution)
    assert found[0] == smallest and len(found) == levels
    assert found[-1] == (resolution if isinstance(resolution, tuple) else (resolution, resolution))
    assert all((2 * h, 2 * w) == larger for (h, w), larger in zip(found, found[1:]))


@pytest.mark.parametrize("modulation", MODULATIONS)
@pytest.mark.parametrize("shape", [(24, 16), (16, 24), (28, 28), (12, 20)])
@pytest.mark.parametrize("channels", [1, 4])
def test_any_shape(modulation, shape, channels):
    G = small(shape, modulation=modulation, img_channels=channels)
    images = G(torch.randn(2, G.z_dim))
    assert images.shape == (2, channels, *shape)
    D = Discriminator(shape, channels, channel_base=256, channel_max=32)
    D(images).sum().backward()
    assert G.img_resolution == (shape if shape[0] != shape[1] else shape[0])


@pytest.mark.parametrize("modulation", MODULATIONS)
def test_growth_adds_levels_smoothly(modulation):
    """A level that is just being faded in changes nothing yet, and one that is wholly there is what an ungrown network has."""
    G = small(32, modulation=modulation)
    D = Discriminator(32, channel_base=256, channel_max=32, growing=True)
    ws = G.mapping(torch.randn(4, G.z_dim))
    whole = G.synthesis(ws)
    shown, rated = {}, {}
    for growth in (1.0, 1 + 1e-6, 1.5, 2 - 1e-6, 2.0, 3.0):
        G.growth = D.growth = growth
        shown[growth] = G.synthesis(ws)
        assert shown[growth].shape == whole.shape
        small_images = G.synthesis(ws, full_size=False)
        assert small_images.shape[2] == 8 * 2 ** (math.ceil(growth) - 1)
        rated[growth] = D(shrink(whole, growth, 4))
        assert D(small_images).shape == (4, 1)
    for a, b in ((1.0, 1 + 1e-6), (2 - 1e-6, 2.0)):
        assert torch.allclose(shown[a], shown[b], atol=1e-4)
    assert not torch.allclose(shown[1.0], shown[1.5], atol=1e-2)
    assert torch.allclose(rated[2 - 1e-6], rated[2.0], atol=1e-4)
    assert torch.equal(shown[3.0], whole)
    assert G.config["growth"] == 3.0


def test_growing_discriminator_fades_continuously():
    """Where a level comes in, D sees what it saw before, the smaller image, blurred once by going up and down."""
    torch.manual_seed(0)
    D = Discriminator(32, channel_base=256, channel_max=32, growing=True).double()
    images = torch.randn(4, 3, 32, 32, dtype=torch.float64)
    for level in (1, 2):
        smaller = shrink(images, float(level), 4)
        D.growth = float(level)
        before = D(downsample2x(upsample2x(smaller)))
        jumps = []
        for fade in (1e-3, 1e-4, 1e-5):
            D.growth = level + fade
            jumps.append((D(shrink(images, level + fade, 4)) - before).abs().max().item())
        assert jumps[0] > 9 * jumps[1] > 81 * jumps[2] > 0  # the difference goes to zero with the fade
        assert jumps[2] < 1e-4
        D.growth = level + 1 - 1e-5
        after = D(shrink(images, level + 1 - 1e-5, 4))
        D.growth = level + 1.0
        assert (after - D(shrink(images, level + 1.0, 4))).abs().max() < 1e-4
    D.growth = None
    assert D(images).shape == (4, 1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("modulation", MODULATIONS)
def test_sixteen_bits_are_close(modulation, dtype):
    G, D = small(32, modulation=modulation), Discriminator(32, channel_base=256, channel_max=32)
    z = torch.randn(4, G.z_dim)
    exact = G(z)
    with torch.autocast("cpu", dtype):
        images = G(z)
        logits = D(images)
        ws = G.mapping(z)
    assert images.dtype == logits.dtype == ws.dtype == torch.float32  # sums of levels, logits and styles
    assert torch.equal(ws, G.mapping(z))
    assert (images - exact).abs().mean() < 0.03 * exact.std() and not torch.equal(images, exact)
    logits.sum().backward()
    assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in G.parameters())


def test_statistics_are_float32_in_sixteen_bits():
    """Values whose squares fp16 cannot hold."""
    x = (torch.randn(2, 8, 16, 16) * 500).half()
    centred, scale, mean = centre(x)
    assert scale.dtype == torch.float32
    assert torch.allclose(scale.flatten(), x.float().std(dim=(2, 3), correction=0).reciprocal().flatten(), rtol=1e-3)
    assert mean.dtype == torch.float32 and torch.allclose(mean[..., 0, 0], x.float().mean(dim=(2, 3)), atol=1e-2)


@pytest.mark.parametrize("used", [(0,), (1,), (2,), (0, 1), (1, 2), (0, 1, 2)])
def test_derivatives_of_centred_maps_and_their_statistics(used):
    x = torch.randn(2, 3, 3, 4, dtype=torch.float64, requires_grad=True)
    function = lambda x: [centre(x)[i] for i in used]
    assert torch.autograd.gradcheck(function, x) and torch.autograd.gradgradcheck(function, x)
    centred, scale, mean = centre(x)
    assert torch.allclose(centred + mean, x) and torch.allclose(mean, x.mean((2, 3), keepdim=True))


def test_freeze():
    D = Discriminator(32, channel_base=256, channel_max=32)
    D.freeze(2)
    frozen = {name.split(".")[0] + name.split(".")[1] for name, p in D.named_parameters() if not p.requires_grad}
    assert frozen == {"from_rgb0", "blocks0", "blocks1"}


@pytest.mark.parametrize("arguments", [dict(modulation="nothing"), dict(img_channels=5), dict(channel_base=15)])
def test_impossible_arguments(arguments):
    with pytest.raises(ValueError, match="modulation|img_channels|channel_base"):
        Generator(16, **SMALL | arguments)


def test_minibatch_std():
    x = torch.randn(8, 3, 4, 4, dtype=torch.float64)
    y = minibatch_std(x, 4)
    for i in range(8):
        group = x[i // 4 * 4 :][:4]
        expected = group.var(dim=0, unbiased=False).add(1e-8).sqrt().mean()
        assert torch.allclose(y[i, 3], expected.expand(4, 4))
    assert torch.equal(y[:, :3], x)
    assert minibatch_std(x[:6], 4).shape == (6, 4, 4, 4)  # not divisible: one group
    assert minibatch_std(x[:1], 4)[0, 3].abs().max() <= 1e-3  # alone there is no deviation


@pytest.mark.parametrize("c_dim", [0, 3])
def test_samples_do_not_depend_on_the_batch(c_dim):
    G = small(c_dim=c_dim).eval()
    one, other = (torch.cat(list(sample(G, 7, seed=3, batch=b))) for b in (2, 5))
    assert one.shape == (7, 3, 16, 16) and one.dtype == torch.uint8
    assert (one.int() - other.int()).abs().max() <= 1
    assert not torch.equal(one, torch.cat(list(sample(G, 7, seed=4, batch=2))))


def test_samples_follow_the_classes_given():
    G = small(c_dim=3).eval()
    only = torch.cat(list(sample(G, 4, seed=0, classes=[1, 1])))
    assert torch.equal(only, torch.cat(list(sample(G, 4, seed=0, classes=[1]))))
    assert not torch.equal(only, torch.cat(list(sample(G, 4, seed=0, classes=[2]))))


@pytest.mark.parametrize("size", [4, 6])
def test_batches_behind_one_another_are_rated_as_if_alone(size):
    torch.manual_seed(0)
    D = Discriminator(16, 3, c_dim=3, channel_base=128, channel_max=16).double()
    one, other = torch.randn(2, size, 3, 16, 16, dtype=torch.float64)
    c = torch.eye(3, dtype=torch.float64)[torch.arange(size) % 3]
    together = D(torch.cat([one, other]), c.repeat(2, 1), batches=2)
    assert torch.allclose(together, torch.cat([D(one, c), D(other, c)]), rtol=0, atol=1e-12)
    as_one = D(torch.cat([one, other]), c.repeat(2, 1))  # groups of four are the same in both
    assert torch.allclose(together, as_one, rtol=0, atol=1e-6) == (size % 4 == 0)


@pytest.mark.parametrize("modulation", MODULATIONS)
def test_ws_of_another_network_are_refused(modulation):
    G = small(modulation=modulation)
    ws = G.mapping(torch.randn(2, 16))
    for wrong in (torch.cat([ws, ws], 1), ws[:, 1:], ws[..., :-9], ws[:, 0]):
        with pytest.raises(ValueError, match=rf"ws \[2, .*must be \[N, {G.num_ws}, 36\]"):
            G.synthesis(wrong)
    if modulation == "adaconv":
        with pytest.raises(ValueError, match="bias"):
            G.synthesis(ws, parts={"bias": ws[:, :1]})


@pytest.mark.parametrize("modulation", MODULATIONS)
def test_sizes_without_numbers(modulation):
    """On the device `meta`."""
    with torch.device("meta"):
        G, D = small(modulation=modulation), Discriminator(16, 3, **{k: SMALL[k] for k in ("channel_base", "channel_max")})
        assert D(G(torch.empty(4, 16))).shape == (4, 1)


@pytest.mark.parametrize(
    "resolution, options, said",
    [
        (16, dict(kernel_size=9, padding="reflect"), "kernel_size 9 is too large to reflect the smallest map, 4×4"),
        (16, dict(per_group=0), "per_group 0"),
    ],
)
def test_options_that_could_not_be_trained_with(resolution, options, said):
    with pytest.raises(ValueError, match=said):
        small(resolution, modulation_options=options)


@pytest.mark.parametrize("modulation", MODULATIONS)
@pytest.mark.parametrize("padding", ["zeros", "reflect"])
def test_no_samples_give_no_images(modulation, padding):
    G = small(modulation=modulation, modulation_options=dict(padding=padding) if modulation == "adaconv" else None)
    z = torch.randn(0, 16, requires_grad=True)
    images = G(z)
    assert images.shape == (0, 3, *images.shape[2:]) and images.shape[2:] == G(torch.randn(1, 16)).shape[2:]
    (gradient,) = torch.autograd.grad(images.square().sum(), z, create_graph=True)
    gradient.square().sum().backward()
    assert gradient.shape == z.shape and all(p.grad is None or not p.grad.any() for p in G.parameters())


def test_the_discriminator_by_hand():
    """Gains keep variances, and the logit is a mean over √C of products with the label's embedding of unit magnitude."""
    torch.manual_seed(0)
    D = Discriminator(16, 3, 3, channel_base=128, channel_max=16).double()
    for p in D.parameters():
        p.data += 0.3 * torch.randn_like(p)  # biases are zero at first
    images, c = torch.randn(4, 3, 16, 16, dtype=torch.float64), one_hot([0, 2, 1, 0], 3).double()
    act = lambda x: 2**0.5 * F.leaky_relu(x, 0.2)
    x = act(D.from_rgb[0](images))
    for block in D.blocks:
        y = act(block.conv1(downsample2x(act(block.conv0(x)))))
        x = (y + block.skip(downsample2x(x))) / 2**0.5
    x = D.out(act(D.hidden(act(D.conv(minibatch_std(x, 4))).flatten(1))))
    embedding = D.embed(c)
    unit = embedding / embedding.square().mean(1, keepdim=True).sqrt()
    torch.testing.assert_close(D(images, c), (x * unit).sum(1, keepdim=True) / 16**0.5)


def test_neither_the_magnitude_of_noise_nor_of_embedded_labels_counts():
    G = small(c_dim=3)
    z, c = torch.randn(2, G.z_dim), one_hot([0, 2], 3)
    ws = G.mapping(z, c)
    G.mapping.embed.weight.data.mul_(7)
    torch.testing.assert_close(G.mapping(3 * z, c), ws)


def test_the_average_style_moves_by_two_thousandths():
    G = small()
    G.mapping.update_w_avg(torch.ones(G.w_dim))
    torch.testing.assert_close(G.mapping.w_avg, torch.full([G.w_dim], 0.002))


def test_each_image_has_random_noise_of_its_own():
    G = small()
    for layer in G.synthesis.layers:
        layer.noise_strength.data.fill_(0.5)
    one, other = G.synthesis(G.mapping(torch.randn(1, G.z_dim)).repeat(2, 1, 1), "random")
    assert not torch.allclose(one, other, atol=1e-2)
