"""Directions without labels: their definitions, and what a step does."""

import pytest
import torch

from networks.directions import find_directions, ganspace, moved, random_styles, sefa, style_map, what_style_says
from networks.generator import PARTS, Generator
from networks.sampling import one_hot
from torch_utils.directions_file import Directions
from torch_utils.files import InputError


def generator(**options) -> Generator:
    torch.manual_seed(0)
    G = Generator(16, channel_base=256, channel_max=16, z_dim=8, style_depth=2, **options).eval()
    for p in G.synthesis.parameters():
        torch.nn.init.normal_(p, std=0.7)
    return G


@pytest.mark.parametrize(
    "modulation, parts",
    [("adaconv", ()), *(("adaconv", (part,)) for part in PARTS), ("adain", ()), ("demod", ()), ("bank", ())],
)
def test_the_matrix_of_a_layer_is_what_style_adds(modulation, parts):
    layer = generator(modulation=modulation).synthesis.layers[1].modulation
    matrix = style_map(layer, 18, parts)
    a, b = torch.randn(2, 5, 18)
    with torch.no_grad():
        change = what_style_says(layer, a, parts) - what_style_says(layer, b, parts)
    assert matrix.shape == (change.shape[1], 18) and change.abs().max() > 0.1
    assert torch.allclose((a - b) @ matrix.t(), change, atol=1e-4)


def test_parts_are_rows_of_the_whole():
    layer = generator().synthesis.layers[2].modulation
    assert torch.equal(torch.cat([style_map(layer, 18, [part]) for part in PARTS]), style_map(layer, 18))
    pooled = style_map(layer, 18, ["pointwise", "bias"])  # these see each of s_d numbers averaged over 3×3 positions
    assert torch.linalg.matrix_rank(pooled) == 2 and torch.linalg.matrix_rank(style_map(layer, 18, ["spatial"])) == 18


def test_sefa_takes_the_right_singular_vectors():
    maps = [torch.randn(30, 12), torch.randn(7, 12) * 3]
    found = sefa(maps, 4)
    wanted = torch.linalg.svd(torch.cat(maps)).Vh[:4]
    assert torch.allclose((found * wanted).sum(1).abs(), torch.ones(4), atol=1e-4)
    assert torch.allclose(found @ found.t(), torch.eye(4), atol=1e-5)
    assert torch.equal(found, sefa([-matrix for matrix in maps], 4))  # signs do not depend on chance
    assert (found.gather(1, found.abs().argmax(1, keepdim=True)) > 0).all()


def test_ganspace_finds_the_axes_of_styles():
    torch.manual_seed(0)
    axes = torch.linalg.qr(torch.randn(6, 6)).Q
    w = torch.randn(4000, 6) * torch.tensor([9.0, 5, 3, 1, 1, 1]) @ axes.t() + 100
    assert torch.allclose((ganspace(w, 3) * axes.t()[:3]).sum(1).abs(), torch.ones(3), atol=1e-2)


@pytest.mark.parametrize("method", ["sefa", "ganspace"])
def test_found_directions(method):
    G = generator()
    found = find_directions(G, method, 3, [0, 2], ["spatial"], samples=500)
    assert found.names == [f"{method}-{i}" for i in range(3)] and (found.layers, found.parts) == ([0, 2], ["spatial"])
    along = random_styles(G, 500) @ found.directions.t()
    assert torch.allclose(along.std(dim=0), found.scale, rtol=1e-4) and (found.scale > 0).all()


def test_the_layers_and_the_class_are_looked_at():
    G = generator(c_dim=3)
    labels = [one_hot([i], 3) for i in (0, 2)]
    coarse, fine = (find_directions(G, "sefa", 2, layers, samples=200, c=labels[0]) for layers in ([0], [4]))
    assert (coarse.directions * fine.directions).sum(1).abs().max() < 0.99
    first, last = (find_directions(G, "ganspace", 2, [0], samples=200, c=c) for c in labels)
    assert not torch.allclose(first.directions, last.directions, atol=1e-3)


def test_a_step_moves_its_layers_by_a_standard_deviation():
    found = Directions(["a", "b"], torch.eye(18)[:2], [1, 3], torch.tensor([2.0, 5.0]))
    ws = torch.randn(2, 5, 18)
    whole, parts = moved(ws, [(found, 1, 3.0), (found, 0, -1.0)])
    change = torch.zeros(5, 18)
    change[[1, 3], 1], change[[1, 3], 0] = 15, -2
    assert torch.allclose(whole - ws, change.expand(2, -1, -1), atol=1e-5) and not parts
    assert torch.equal(moved(ws, [])[0], ws)


def test_a_step_of_a_part_leaves_the_others():
    G = generator()
    found = find_directions(G, "sefa", 2, list(range(G.num_ws)), ["spatial"], samples=200)
    ws, (whole, parts) = random_styles(G, 1)[:, None].repeat(1, G.num_ws, 1), (None, None)
    whole, parts = moved(ws, [(found, 0, 2.0)])
    assert torch.equal(whole, ws) and list(parts) == ["spatial"]
    both, with_part = moved(ws, [(found, 0, 2.0), (found._replace(parts=[]), 1, 1.0)])
    assert torch.allclose(both - ws, with_part["spatial"] - parts["spatial"], atol=1e-5) and (both - ws).abs().max() > 0.01
    layer = G.synthesis.layers[0].modulation
    with torch.no_grad():
        before, after = layer.kernels(ws[:, 0]), layer.kernels(whole[:, 0], spatial=parts["spatial"][:, 0])
        drawn = [G.synthesis(ws), G.synthesis(whole, parts=parts)]
    assert torch.equal(before.pointwise, after.pointwise) and torch.equal(before.bias, after.bias)
    assert not torch.allclose(before.spatial, after.spatial) and not torch.allclose(*drawn, atol=1e-2)


def test_directions_that_do_nothing_are_refused():
    G = generator()  # of whose style of 18 numbers the bias sees 2 means
    assert len(find_directions(G, "sefa", 2, [0, 2], ["bias"], samples=100).names) == 2
    with pytest.raises(InputError, match="--count 3: no more than 2 of them would change anything"):
        find_directions(G, "sefa", 3, [0, 2], ["bias"], samples=100)
    assert len(find_directions(G, "sefa", 18, [0, 2], samples=100).names) == 18
