"""Gatys' optimisation: its loss, its gradient and what it reaches."""

import pytest
import torch
import torch.nn.functional as F

from networks.style_transfer.peers import make_peer
from networks.style_transfer.peers.gatys import STYLE_WEIGHT, Gatys
from networks.style_transfer.stylizer import Stylizer
from networks.style_transfer.vgg import VGG
from tests.style_fixtures import random_network, random_stylizer, random_vgg, smooth

SHIFT, SCALE = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)


def plain_maps(vgg: VGG, image: torch.Tensor) -> list[torch.Tensor]:
    """relu1_1, relu2_1, relu3_1, relu4_1 of VGG-16 [C, positions], spelled out."""
    x, found = ((image + 1) / 2 - SHIFT.to(image)) / SCALE.to(image), []
    for i, conv in enumerate(vgg.convolutions):
        x = F.max_pool2d(x, 2) if i in (2, 4, 7) else x
        x = F.conv2d(x, conv.weight.to(image), conv.bias.to(image), padding=1).clamp(min=0)
        if i in (0, 2, 4, 7):
            found.append(x[0].flatten(1))
    return found


def plain_loss(vgg: VGG, image: torch.Tensor, content: torch.Tensor, style: torch.Tensor, weight: float) -> torch.Tensor:
    """Equations 1, 3, 4, 5 and 7 with sums as in the paper, each divided by the number of its terms."""
    maps, of_content, of_style = (plain_maps(vgg, x) for x in (image, content, style))
    n, m = maps[-1].shape
    loss = (maps[-1] - of_content[-1]).square().sum() / (n * m)
    for x, s in zip(maps, of_style):
        n = len(x)
        gram = torch.einsum("ik,jk->ij", x, x) / x.shape[1]
        wanted = torch.einsum("ik,jk->ij", s, s) / s.shape[1]
        loss = loss + weight / 4 * (gram - wanted).square().sum() / n**2
    return loss


@pytest.mark.parametrize("strength", [1, 0.25])
def test_loss_and_gradient_are_those_of_a_plain_reference(strength):
    stylizer = random_stylizer("adaconv")
    stylizer.strength = strength
    peer = make_peer("gatys", stylizer)
    content, style, start = smooth(24, 32), smooth(32, 40, seed=1), smooth(24, 32, seed=2)
    values, gradients = [], []
    for loss in (
        peer.loss(content, peer.encode_style(style)),
        lambda image: plain_loss(stylizer.encoder, image, content.double(), style.double(), STYLE_WEIGHT * strength),
    ):
        image = (start.double() if values else start).clone().requires_grad_()
        values.append(loss(image))
        gradients.append(torch.autograd.grad(values[-1], image)[0].double())
    assert values[0].item() == pytest.approx(values[1].item(), rel=1e-4)
    assert (gradients[0] - gradients[1]).norm() < 1e-3 * gradients[1].norm() and gradients[1].norm() > 0


def test_it_lowers_its_loss_and_repeats():
    stylizer = random_stylizer("adain")
    content, style = smooth(24, 30), smooth(32, 40, seed=1)
    losses, drawn = [], []
    for steps in (1, 3, 12, 12):
        peer = make_peer("gatys", stylizer, steps)
        loss = peer.loss(content, peer.encode_style(style))
        drawn.append(peer.stylize_like(content, style))
        losses.append(loss(drawn[-1]).item())
    start = loss(content).item()
    assert losses[2] < losses[1] < losses[0] < start and losses[2] < 0.5 * start
    assert torch.equal(drawn[2], drawn[3]) and drawn[0].shape == content.shape and not drawn[0].requires_grad


def test_its_own_style_and_no_strength_change_nothing():
    stylizer, content, style = random_stylizer("adain"), smooth(24, 32), smooth(32, 40, seed=1)
    assert torch.allclose(make_peer("gatys", stylizer, 3).stylize_like(content, content), content, atol=1e-4)
    stylizer.strength = 0
    assert torch.allclose(make_peer("gatys", stylizer, 3).stylize_like(content, style), content, atol=1e-4)


def test_a_batch_is_its_images():
    peer, content, style = make_peer("gatys", random_stylizer("adain"), 3), smooth(16, 24, n=2), smooth(32, 24, seed=1, n=2)
    together = peer.stylize_like(content, style)
    alone = torch.cat([peer.stylize_like(*(x[i : i + 1] for x in (content, style))) for i in range(2)])
    assert torch.equal(together, alone) and not torch.allclose(alone, content, atol=0.02)


def test_only_the_encoder_counts():
    """Of any network; its means and its padding do."""
    content, style, drawn = smooth(24, 24), smooth(32, 32, seed=1), []
    means = random_network("adain").encoder_means
    for transfer, padding in (("adain", "zeros"), ("adaconv", "zeros"), ("adaconv", "reflect")):
        network, vgg = random_network(transfer), random_vgg()
        network.encoder_means.copy_(means)
        vgg.padding = padding
        drawn.append(Gatys(Stylizer(network, vgg), 2).stylize_like(content, style))
    drawn.append(Gatys(random_stylizer("adaconv"), 2).stylize_like(content, style))  # of means of its own
    assert torch.equal(drawn[0], drawn[1])
    for other in drawn[2:]:
        assert not torch.allclose(drawn[0], other, atol=1e-3)


def test_without_gradients_around_it():
    """As commands call it."""
    peer = make_peer("gatys", random_stylizer("adain"), 2)
    with torch.no_grad():
        drawn = peer.stylize_like(smooth(16, 16), smooth(32, 32, seed=1))
    assert torch.equal(drawn, peer.stylize_like(smooth(16, 16), smooth(32, 32, seed=1)))
