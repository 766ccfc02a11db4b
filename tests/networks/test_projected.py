"""The projected discriminator: what it sees of an image, and how it rates that."""

import pytest
import torch
import torch.nn.functional as F

from metrics.detectors.names import EFFICIENTNET
from networks import efficientnet, projected
from networks.discriminator import Discriminator
from networks.efficientnet import feature_maps, frozen, normalised
from networks.logits import minibatch_std
from networks.projected import (
    CHANNELS,
    DEVIATIONS,
    KEPT,
    SEEN,
    SHIFTS,
    Head,
    ProjectedDiscriminator,
    Projection,
    _resized,
    seen_size,
)
from tests.conftest import EMOJI
from torch_utils.ops import downsample2x
from training.dataset import ImageDataset

pytest.importorskip("efficientnet_lite_pytorch", reason="needs the offline extra")


def build(side=32, c_dim=0, seed=0):
    torch.manual_seed(seed)
    return ProjectedDiscriminator((side, side), c_dim, mbstd_group_size=4)


@pytest.fixture(scope="module")
def emoji():
    return ImageDataset(EMOJI).training_batch(list(range(0, 1600, 200)))[0].float() / 127.5 - 1  # [8, 3, 32, 32]


@pytest.mark.parametrize(
    "size, seen",
    [((32, 32), (96, 96)), ((64, 64), (128, 128)), ((256, 256), (224, 224)), ((64, 32), (128, 64)), ((16, 128), (32, 224))],
)
def test_images_are_enlarged_to_what_the_network_can_see(size, seen):
    assert seen_size(size) == seen
    maps = ProjectedDiscriminator(size, 0, 4).features(torch.zeros(1, 3, *size))
    assert [tuple(x.shape[2:]) for x in maps] == [(seen[0] // stride, seen[1] // stride) for stride in (4, 8, 16, 32)]


def test_the_name_that_scores_are_marked_by_is_the_detectors():
    assert SEEN == EFFICIENTNET


def test_maps_are_of_about_unit_variance(emoji):
    """As the pixels of images are, so that heads begin as equalised layers should."""
    for x in build().features(emoji):
        assert 0.5 < x.std() < 2


def test_maps_and_gradients_are_those_of_the_package(emoji):
    from efficientnet_lite_pytorch import EfficientNet

    plain = EfficientNet.from_name("efficientnet-lite0").eval().double().requires_grad_(False)
    plain.load_state_dict(torch.load(efficientnet.find(), weights_only=True))
    both = []
    for network in (plain, frozen(emoji.device, torch.float64)):
        x = efficientnet.normalised(F.interpolate(emoji[:2].double(), size=96) * 127).requires_grad_()
        maps = efficientnet.feature_maps(network, x)
        (gradient,) = torch.autograd.grad(sum(each.square().mean() for each in maps), x)
        both.append([*maps, gradient])
    for expected, found in zip(*both):  # batch norms were folded in float32
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item())


def test_an_image_is_seen_alone(emoji):
    P = build()
    for together, alone in zip(P.features(emoji), P.features(emoji[3:4])):
        torch.testing.assert_close(together[3:4], alone, rtol=1e-4, atol=1e-4)


def test_only_the_heads_can_learn_and_only_they_and_the_projections_are_kept():
    P = build()
    P.requires_grad_(True)  # as each update of the discriminator does
    assert {name.split(".")[0] for name, _ in P.named_parameters()} == {"heads"}
    assert {name.split(".")[0] for name in P.state_dict()} == {"heads", "across_channels", "across_scales"}
    assert not any(p.requires_grad for p in frozen(torch.device("cpu")).parameters())


def test_gradients_reach_the_image_through_every_scale(emoji):
    P, x = build(), emoji.clone().requires_grad_()
    maps = P.features(x)
    leaves = [y.detach().requires_grad_() for y in maps]
    logits, by_leaves = P(maps), P(leaves)
    assert logits.shape == (8, 4)
    for i in range(4):
        of_maps = torch.autograd.grad(by_leaves[:, i].sum(), leaves, retain_graph=True)
        assert [bool(g.any()) for g in of_maps] == [i == j for j in range(4)]  # each rates the map of its own scale
        (of_image,) = torch.autograd.grad(logits[:, i].sum(), x, retain_graph=True)
        assert of_image.abs().flatten(1).amax(1).min() > 0


def test_batches_behind_one_another_are_rated_as_if_alone(emoji):
    P = build()
    one, other = P.features(emoji), P.features(emoji.flip(3))
    both = P([torch.cat(pair) for pair in zip(one, other)], batches=2)
    torch.testing.assert_close(both, torch.cat([P(one), P(other)]), rtol=1e-4, atol=1e-5)


def test_a_shift_moves_what_is_seen(emoji):
    """A shift by whole pixels of the image is what the image moved over a replicated border has."""
    P = build()
    enlarged = F.pad(emoji, [4] * 4, mode="replicate")
    pixels = SHIFTS // 2 - 6  # the image is enlarged three times: 6 of the enlarged are 2 of its own
    moved = enlarged[:, :, 2:34, 4:36]  # two rows up
    inside = lambda x: x[:, :, 6:-6, 6:-6]  # apart from borders, where enlarging has nothing to go by
    seen, expected = P.features(emoji, (pixels, SHIFTS // 2))[0], P.features(moved)[0]
    plain = P.features(emoji)[0]
    assert (inside(seen) - inside(expected)).abs().mean() < 0.1 * (inside(seen) - inside(plain)).abs().mean()


@pytest.mark.parametrize(
    "old, new", [((32, 32), (96, 96)), ((64, 48), (128, 96)), ((672, 672), (224, 224)), ((300, 250), (224, 192))]
)
def test_resizing_is_what_pytorch_has_for_it(old, new):
    img = torch.rand(2, 3, *old, generator=torch.Generator().manual_seed(0))
    way = dict(mode="area") if new < old else dict(mode="bicubic", align_corners=False)
    torch.testing.assert_close(_resized(img, new), F.interpolate(img, new, **way), rtol=1e-5, atol=1e-6)


def test_one_side_may_grow_where_the_other_shrinks():
    columns = torch.linspace(-1, 1, 16).expand(1, 3, 512, 16)
    wanted = F.interpolate(columns, (512, 32), mode="bicubic", align_corners=False)[:, :, :224]
    torch.testing.assert_close(_resized(columns, (224, 32)), wanted)


def test_maps_are_halved_only_where_that_leaves_no_half_pixel(monkeypatch):
    """Of 224×224 pixels the last has 7×7."""
    sizes = []
    halved = lambda x: sizes.append(x.shape[2:]) or downsample2x(x)
    monkeypatch.setattr(projected, "downsample2x", halved)
    P = build(256)
    P([torch.zeros(1, width, side, side) for width, side in zip(CHANNELS, (56, 28, 14, 7))])
    assert sizes and not any(side % 2 for size in sizes for side in size)


def test_one_network_serves_scores_and_training(emoji):
    """Even if a score, which takes no gradients, comes first."""
    efficientnet._frozen.cache_clear()
    with torch.inference_mode():
        first = frozen(torch.device("cpu"))
    x = emoji.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(sum(y.sum() for y in build().features(x)), x)
    assert gradient.any() and frozen(x.device, x.dtype) is first and efficientnet._frozen.cache_info().currsize == 1


def test_what_is_kept_of_an_image_is_not_overrated():
    """The memory that a run is refused for has to be needed."""
    kept = {}
    note = lambda x: kept.update({x.untyped_storage().data_ptr(): x.untyped_storage().nbytes()}) or x
    P, x = build(64), torch.zeros(2, 3, 64, 64, requires_grad=True)
    weights = {p.untyped_storage().data_ptr() for p in [*frozen(x.device).parameters(), *P.buffers()]}
    with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
        maps = P.features(x)
    bytes_each = sum(size for where, size in kept.items() if where not in weights) / 2
    assert maps and 0.7 < 4 * KEPT * 128**2 / bytes_each < 1


def test_shrinking_averages():
    """Of a fine chequerboard a ninth is left at a third of its size, where cubic interpolation finds every third pixel."""
    board = ((torch.arange(672)[:, None] + torch.arange(672)) % 2 * 2.0 - 1).expand(1, 3, 672, 672)
    assert _resized(board, seen_size((672, 672))).abs().max() < 0.12


def test_grey_and_transparent_images():
    P, colour = build(16), torch.rand(2, 3, 16, 16) * 2 - 1
    alike = lambda a, b: all(torch.allclose(x, y, rtol=1e-4, atol=1e-4) for x, y in zip(P.features(a), P.features(b)))
    grey, opaque, clear = colour[:, :1], torch.ones(2, 1, 16, 16), -torch.ones(2, 1, 16, 16)
    assert alike(grey, grey.repeat(1, 3, 1, 1))
    assert alike(torch.cat([colour, opaque], 1), colour) and alike(torch.cat([grey, opaque], 1), grey)
    assert alike(torch.cat([colour, clear], 1), torch.zeros(2, 3, 16, 16)) and not alike(colour, torch.zeros(2, 3, 16, 16))


def test_logits_go_by_the_label(emoji):
    P = build(c_dim=3)
    maps, c = P.features(emoji), torch.eye(3)[[0, 1, 2, 0, 1, 2, 0, 1]]
    assert P(maps, c).shape == (8, 4) and not torch.allclose(P(maps, c), P(maps, c.roll(1, 1)))
    with pytest.raises(ValueError, match="needs labels"):
        P(maps)


def test_projections_keep_the_variance_of_white_maps():
    torch.manual_seed(0)
    assert Projection(64, 256)(torch.randn(4, 64, 16, 16)).var().item() == pytest.approx(1, rel=0.1)


def test_the_ordinary_discriminator_is_what_it_was():
    """Its logits do not depend on whether there is another."""
    plain, aided = (Discriminator(16, channel_base=64, channel_max=8, projected=has) for has in (False, True))
    aided.load_state_dict(plain.state_dict(), strict=False)
    x = torch.randn(4, 3, 16, 16)
    assert torch.equal(plain(x), aided(x)) and plain.projected is None
    assert len(plain.last_layers()) == 1 and len(aided.last_layers()) == 5


def test_maps_are_mixed_by_hand(emoji):
    """Each scale receives, enlarged, what the next coarser one has received; halves of the variance are its own."""
    P = build()
    x = _resized(emoji[:2], (96, 96))
    maps = feature_maps(frozen(x.device, x.dtype), normalised((x + 1) * 127.5))
    above, wanted = None, []
    for i in (3, 2, 1, 0):
        mixed = P.across_channels[i](maps[i] / DEVIATIONS[i])
        if above is not None:
            above = F.interpolate(P.across_scales[i](above), scale_factor=2, mode="bilinear", align_corners=False)
            mixed = (mixed + above) / 2**0.5
        above = mixed
        wanted.insert(0, mixed)
    for found, x in zip(P.features(emoji[:2]), wanted):
        torch.testing.assert_close(found, x, rtol=1e-4, atol=1e-4)


def test_a_head_by_hand():
    torch.manual_seed(0)
    head = Head(8, (12, 12), 3, mbstd_group_size=4).double()
    for p in head.parameters():
        p.data += 0.3 * torch.randn_like(p)  # biases are zero at first
    maps, c = torch.randn(4, 8, 12, 12, dtype=torch.float64), torch.eye(3).double()[[0, 2, 1, 0]]
    act = lambda x: 2**0.5 * F.leaky_relu(x, 0.2)
    (down,) = head.down
    x = act(head.conv(minibatch_std(act(down(downsample2x(maps))), 4)))
    x = head.out(act(head.hidden(x.flatten(1))))
    embedding = head.embed(c)
    unit = embedding / embedding.square().mean(1, keepdim=True).sqrt()
    torch.testing.assert_close(head(maps, c, 1), (x * unit).sum(1, keepdim=True) / x.shape[1] ** 0.5)
