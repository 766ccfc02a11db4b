"""What parts of a style move."""

import torch

from networks.generator import PARTS, Generator
from scripts.experiments.kernel_parts import measures, moved


def test_parts_that_depend_on_no_style_move_nothing():
    torch.manual_seed(0)
    G = Generator(16, channel_base=256, channel_max=16, z_dim=8, style_depth=2).eval()
    found = moved(G, 3)
    assert set(found) == set(PARTS) and found["spatial"]["pixels"] > 0.05 and found["pointwise"]["edges"] > 0.05
    assert set(found["bias"].values()) == {0.0}  # biases of kernels are zero at first, whatever the style
    for layer in G.synthesis.layers:
        torch.nn.init.zeros_(layer.modulation.predictor.spatial_weight)
        torch.nn.init.normal_(layer.modulation.predictor.bias_weight)
    found = moved(G, 3)
    assert max(found["spatial"].values()) == 0 and found["bias"]["mean colour"] > 0.05


def test_measures_of_a_shift_in_colour():
    images = torch.rand(2, 3, 8, 8) - 0.5
    before, after = measures(images), measures(images + 0.25)
    assert torch.allclose(after["mean colour"] - before["mean colour"], torch.tensor(0.25))
    assert torch.allclose(after["edges"], before["edges"], atol=1e-6) and before["edges"].shape == (2, 2 * 7 * 8)
