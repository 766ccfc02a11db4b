"""Style transfer on Macs, whose GPUs (MPS) have no float64 and pool into equal parts only: on fake tensors.

PyTorch fakes only the device `meta` completely, so that stands for MPS.
"""

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from metrics.style_transfer.artefacts import border_contrast, grid_pattern
from metrics.style_transfer.baselines import recoloured
from metrics.style_transfer.content_distance import content_distance
from metrics.style_transfer.ssim import edge_ssim
from metrics.style_transfer.structure import stroke_descriptors
from networks.style_transfer.peers import wct
from networks.style_transfer.tiles import style_features_in_tiles
from networks.style_transfer.vgg import VGG
from torch_utils import ops
from torch_utils.ops import average_by_matrices, average_to

WIDE = torch.float64, torch.complex128


class LikeMPS(TorchDispatchMode):
    """Refuses what MPS refuses."""

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        result = function(*arguments, **(named or {}))
        for x in tree_leaves(result):
            if isinstance(x, torch.Tensor) and x.device.type == "meta" and x.dtype in WIDE:
                raise TypeError(f"{function}: found {x.dtype} on MPS, which does not have it")
        return result


@pytest.fixture(autouse=True)
def meta_is_mps(monkeypatch):
    monkeypatch.setattr(ops, "MPS", "meta")


def on_mps(function, *shapes):
    """The result of a function of images of these shapes, fake as they are."""
    stroke_descriptors(torch.zeros(1, 3, 128, 128))  # fills the caches with what is no fake
    with FakeTensorMode(allow_non_fake_inputs=True):
        images = [torch.empty(shape, device="meta") for shape in shapes]
        with LikeMPS():
            return function(*images)


def test_the_fake_refuses():
    with pytest.raises(TypeError, match="float64 on MPS"):
        on_mps(lambda x: x.double(), (1, 3, 8, 8))


PAIR = (1, 3, 128, 128), (1, 3, 128, 128)


@pytest.mark.parametrize(
    "measure, shapes, place",
    [
        (content_distance, PAIR, "meta"),
        (edge_ssim, PAIR, "meta"),
        (recoloured, PAIR, "meta"),
        (stroke_descriptors, PAIR[:1], "meta"),
        (grid_pattern, PAIR[:1], "cpu"),  # in float64
        (border_contrast, PAIR[:1], "cpu"),
        (lambda x, y: wct.whiten_and_colour(x, wct.describe(y)), ((8, 9, 9), (8, 7, 5)), "meta"),
    ],
)
def test_measures_are_computed_where_there_is_float64(measure, shapes, place, monkeypatch):
    monkeypatch.setattr(wct, "power", lambda symmetric, exponent: symmetric)  # whose shapes depend on values
    assert on_mps(measure, *shapes).device.type == place


def test_statistics_of_the_encoder_are_summed_where_there_is_float64():
    def both(images):
        with torch.device("meta"):
            vgg = VGG("vgg16")
        return vgg.mean_activations([images]), *style_features_in_tiles(vgg, images, 32)

    assert {x.device.type for x in on_mps(both, (1, 3, 64, 64))} == {"meta"}


def test_maps_are_averaged_to_parts_of_any_size(monkeypatch):
    pool = F.adaptive_avg_pool2d
    monkeypatch.setattr(F, "adaptive_avg_pool2d", lambda x, side: pytest.fail("pooled on MPS"))
    assert on_mps(lambda x: average_to(x, 4), (2, 8, 4, 6)).shape == (2, 8, 4, 4)
    monkeypatch.setattr(F, "adaptive_avg_pool2d", pool)
    for height, width in ((4, 4), (4, 6), (7, 13), (2, 3), (1, 1)):
        x = torch.randn(2, 5, height, width)
        assert torch.allclose(average_by_matrices(x, 4), F.adaptive_avg_pool2d(x, 4), atol=1e-6)
