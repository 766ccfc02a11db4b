"""Kernels that are optimised for a pair."""

import pytest
import torch

from networks.style_transfer.feature_losses import normalized_content_loss, structure_loss
from networks.style_transfer.peers import fitted, make_peer
from networks.style_transfer.peers.fitted import CONTENT_WEIGHT, STYLE_WEIGHT, random_square, split_row
from tests.style_fixtures import random_stylizer, smooth
from training.style_transfer.config import small_preset


def loss_of(stylizer, image, content, style) -> float:
    result, of_content, of_style = (stylizer.encoder(x) for x in (image, content, style))
    total = CONTENT_WEIGHT * normalized_content_loss(result, of_content) + STYLE_WEIGHT * structure_loss(result, of_style)
    return total.item()


@pytest.mark.parametrize("transfer", ["adaconv", "adain", "predicted-adain"])
@pytest.mark.parametrize("statistics", ["learned", "exact"])
def test_it_lowers_the_loss_of_the_networks_own_picture_and_repeats(transfer, statistics):
    stylizer = random_stylizer(transfer, statistics=statistics, encoder_padding="reflect", padding="reflect", noise=True)
    content, style = smooth(32, 40), smooth(48, 32, seed=1)
    before = [values.clone() for values in stylizer.network.state_dict().values()]
    few, many, again = (make_peer("fitted", stylizer, n).stylize_like(content, style) for n in (1, 12, 12))
    losses = [loss_of(stylizer, image, content, style) for image in (stylizer.stylize_like(content, style), few, many)]
    assert losses[2] < losses[1] < losses[0], losses
    assert torch.equal(many, again) and many.shape == content.shape and not many.requires_grad
    assert all(map(torch.equal, before, stylizer.network.state_dict().values()))


def test_its_weights_are_those_of_the_preset():
    assert (CONTENT_WEIGHT, STYLE_WEIGHT) == tuple(small_preset()[f"{name}_weight"] for name in ("content", "style"))


def test_a_row_is_the_statistics_and_the_descriptor():
    stylizer, style = random_stylizer("adaconv", statistics="exact"), smooth(48, 32, seed=1)
    peer = make_peer("fitted", stylizer, 1)
    statistics, own = split_row(peer.encode_style(style))
    assert torch.equal(own, stylizer.encode_style(style).flatten(1))
    for layer, maps in zip(statistics, stylizer.encoder(style), strict=True):
        flat = maps[0].flatten(1)
        assert torch.allclose(layer.mean[0], flat.mean(dim=1), atol=1e-5)
        assert torch.allclose(layer.std[0] ** 2, flat.var(dim=1, correction=0) + 1e-5, rtol=1e-3, atol=1e-5)
        assert torch.allclose(layer.covariance[0], torch.cov(flat, correction=0), rtol=1e-3, atol=1e-4)


def test_a_batch_is_its_images():
    peer, content, style = make_peer("fitted", random_stylizer("adaconv"), 3), smooth(32, 24, n=2), smooth(32, 24, seed=1, n=2)
    together = peer.stylize_like(content, style)
    alone = torch.cat([peer.stylize_like(*(x[i : i + 1] for x in (content, style))) for i in range(2)])
    assert torch.equal(together, alone)


def test_strength_is_the_weight_of_the_style():
    stylizer, content, style = random_stylizer("adaconv"), smooth(32, 40), smooth(48, 32, seed=1)
    of_style = stylizer.encoder(style)
    distances = []
    for stylizer.strength in (0, 1):
        drawn = make_peer("fitted", stylizer, 10).stylize_like(content, style)
        distances.append(structure_loss(stylizer.encoder(drawn), of_style).item())
    assert distances[1] < distances[0]


def test_large_pictures_are_looked_at_in_squares(monkeypatch):
    monkeypatch.setattr(fitted, "SIDE", 24)
    image, generator = smooth(40, 30), torch.Generator().manual_seed(0)
    squares = [random_square(image, generator) for _ in range(8)]
    assert {square.shape for square in squares} == {(1, 3, 24, 24)} and not torch.equal(squares[0], squares[1])
    assert random_square(image[:, :, :10], generator).shape == (1, 3, 10, 24)
    drawn = make_peer("fitted", random_stylizer("adaconv"), 2).stylize_like(image, smooth(32, 32, seed=1))
    assert drawn.shape == image.shape
