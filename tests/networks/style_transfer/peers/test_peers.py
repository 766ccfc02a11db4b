"""What the peers have in common."""

import pytest
import torch

from networks.style_transfer.network import TRANSFERS
from networks.style_transfer.peers import PEERS, make_peer
from networks.style_transfer.peers.peer import blended
from networks.style_transfer.vgg import cover
from tests.style_fixtures import random_stylizer, smooth
from torch_utils.files import InputError
from torch_utils.images import from_uint8, to_uint8


def test_their_names_are_not_those_of_trained_transfers():
    assert not set(PEERS) & set(TRANSFERS) and all(kind.name == name for name, kind in PEERS.items())


@pytest.mark.parametrize("transfer", ["adaconv", "predicted-adain"])
@pytest.mark.parametrize("name", ["wct", "patch-swap"])
def test_other_decoders_are_refused(name, transfer):
    with pytest.raises(InputError, match=f"--transfer {name}: found a network of {transfer}, wanted one of .*--transfer adain"):
        make_peer(name, random_stylizer(transfer))


@pytest.mark.parametrize("name", PEERS)
def test_pictures_are_the_images(name):
    """uint8 in, uint8 out; a descriptor [1, …] for all contents; any size, and a content of a single pixel."""
    stylizer = random_stylizer("adain", padding="reflect", encoder_padding="reflect", noise=True)
    stylizer.style_size = 32
    peer = make_peer(name, stylizer, 2)
    styles = [to_uint8(smooth(32, 40, seed=seed))[0] for seed in (1, 2)]
    descriptors = [peer.encode_style_picture(style) for style in styles]
    content = to_uint8(smooth(21, 30))[0]
    found = list(peer.stylize_picture(content, descriptors))
    for drawn, style in zip(found, styles, strict=True):
        alone = to_uint8(peer.stylize_like(from_uint8(content)[None], from_uint8(style)[None]))[0]
        assert drawn.shape == content.shape and (drawn.int() - alone.int()).abs().max() <= 1
    assert (found[0].float() - found[1].float()).abs().mean() > 1
    (dot,) = peer.stylize_picture(content[:, :1, :1], descriptors[:1])
    assert dot.shape == (3, 1, 1)


@pytest.mark.parametrize("name", ["wct", "patch-swap"])
def test_strength_blends_features(name):
    """At 0 the content is drawn by the decoder alone; equation 4 of Li et al. 2017 between and beyond."""
    stylizer, content, style = random_stylizer("adain", noise=True), smooth(40, 48), smooth(48, 40, seed=1)
    peer, plain = make_peer(name, stylizer), stylizer.stylize_like(content, content)
    stylizer.strength = 0
    assert torch.allclose(peer.stylize_like(content, style), plain, atol=1e-5)
    one, other = torch.ones(2), torch.full((2,), 5.0)
    assert blended(one, other, 0.25).tolist() == [2, 2] and blended(one, other, 2).tolist() == [9, 9]
    stylizer.strength = 0.5
    features = stylizer.encode(cover(content, peer.least))
    changed = peer.transform(features, peer.encode_style(style))
    wanted = peer.decode((features + changed) / 2, content.shape[2:], None)
    assert torch.allclose(peer.stylize_like(content, style), wanted, atol=1e-5)


@pytest.mark.parametrize("name", ["wct", "patch-swap"])
def test_tiles_draw_the_same(name):
    stylizer = random_stylizer("adain", encoder_padding="reflect", padding="reflect", noise=True)
    stylizer.style_size = 48
    peer, content, style = make_peer(name, stylizer), to_uint8(smooth(64, 56))[0], to_uint8(smooth(48, 64, seed=1))[0]
    drawn = []
    for stylizer.tile in (0, 24):
        drawn += peer.stylize_picture(content, [peer.encode_style_picture(style)])
    assert (drawn[0].float() - drawn[1].float()).abs().mean() < 0.5 and drawn[0].float().std() > 5


@pytest.mark.parametrize("name", ["fitted", "gatys"])
def test_a_search_says_how_much_of_a_picture_is_done(name):
    peer, done = make_peer(name, random_stylizer("adaconv"), 5), []
    peer.on_step = done.append
    peer.stylize_like(smooth(32, 24), smooth(32, 24, seed=1))
    assert done == sorted(done) and done[0] <= 0.2 and len(set(done)) >= 5 and done[-1] == 1
