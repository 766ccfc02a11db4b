"""Patch swap, against every patch compared with every other in a loop."""

import pytest
import torch

from networks.style_transfer.peers import make_peer, patch_swap
from networks.style_transfer.peers.patch_swap import best_matches, patches, swap
from tests.style_fixtures import random_stylizer, smooth


def maps(*sizes, channels: int = 5) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(channels, *size, generator=generator) for size in sizes]


def by_loops(content: torch.Tensor, style: torch.Tensor) -> tuple[list[int], torch.Tensor]:
    """Best matches and the averaged result, patch by patch."""
    places = lambda x: [(i, j) for i in range(x.shape[1] - 2) for j in range(x.shape[2] - 2)]
    total, count, best = torch.zeros_like(content), torch.zeros_like(content), []
    for i, j in places(content):
        own = content[:, i : i + 3, j : j + 3]
        theirs = [style[:, k : k + 3, m : m + 3] for k, m in places(style)]
        correlations = [float((own * one).sum() / (own.norm() * one.norm())) for one in theirs]
        best.append(max(range(len(theirs)), key=correlations.__getitem__))
        total[:, i : i + 3, j : j + 3] += theirs[best[-1]]
        count[:, i : i + 3, j : j + 3] += 1
    return best, total / count


@pytest.mark.parametrize("chunk", [1, 7, 10**6])
def test_every_patch_is_the_best_match(chunk):
    content, style = maps((7, 9), (8, 6))
    style[:, :4] *= 20  # a product that is not normalised would take these alone
    best, averaged = by_loops(content, style)
    assert len(set(best)) > 5 and min(best) < 8 <= max(best)  # of both halves
    assert best_matches(content, style, chunk).tolist() == best
    assert torch.allclose(swap(content, style), averaged, atol=1e-5)


def test_its_own_style_changes_nothing():
    content, _ = maps((9, 7), (3, 3))
    assert best_matches(content, content).tolist() == list(range(35))
    assert torch.allclose(swap(content, content), content, atol=1e-6)


def test_the_first_of_equal_patches():
    content, style = maps((4, 5), (3, 3))
    assert best_matches(content, style.repeat(1, 1, 4), chunk=3).max() < 3


def test_chunks_are_bounded_and_whole():
    (content,) = maps((20, 9))
    parts = list(patches(content, 30))  # four rows of seven
    assert [len(part) for part in parts] == [28] * 4 + [14]
    assert torch.equal(torch.cat(parts)[8].view(5, 3, 3), content[:, 1:4, 1:4])


def test_memory_does_not_hold_all_patches(monkeypatch):
    """`swap` compares in chunks, whatever the number of patches."""
    sizes, original = [], patch_swap.patches

    def record(features, chunk):
        for part in original(features, chunk):
            sizes.append(len(part))
            yield part

    monkeypatch.setattr(patch_swap, "patches", record)
    content, style = maps((60, 70), (50, 40), channels=2)
    swap(content, style)
    assert max(sizes) <= patch_swap.CHUNK and len(sizes) > 10


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_of_real_maps(precision):
    stylizer = random_stylizer("adain")
    stylizer.precision = precision
    peer, content, style = make_peer("patch-swap", stylizer), smooth(40, 56, n=2), smooth(48, 32, seed=1, n=2)
    plain = stylizer.stylize_like(content, content)
    found = peer.stylize_like(content, content)
    assert plain.std() > 0.05 and (found - plain).abs().max() < (1e-3 if precision == "fp32" else 0.2) * plain.std()
    drawn = peer.stylize_like(content, style)
    assert (drawn - plain).abs().mean() > 0.1 * plain.std()
    alone = torch.cat([peer.stylize_like(*(x[i : i + 1] for x in (content, style))) for i in range(2)])
    if precision == "fp32":  # in sixteen bits another batch may round to another best match
        assert torch.allclose(alone, drawn, atol=1e-4)
    assert peer.encode_style(style).shape == (2, 512, 6, 4) and peer.encode_style(style).dtype == torch.float32
