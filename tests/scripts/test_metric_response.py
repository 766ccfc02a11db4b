"""The script behind docs/metrics.md: what it does to images, and how scores respond on features without weights."""

import numpy as np
import torch

from metrics.detectors.base import Detector
from scripts.experiments import metric_response as script
from tests.conftest import EMOJI
from training.dataset import ImageDataset


def small(images: torch.Tensor) -> torch.Tensor:
    """[N, 3, 32, 32] -> [N, 60]: the image at 4x4 pixels, and how much detail is lost by that in four quarters."""
    coarse = torch.nn.functional.adaptive_avg_pool2d(images.float(), 4)
    detail = images.float() - torch.nn.functional.interpolate(coarse, size=32, mode="nearest")
    return torch.cat([coarse.flatten(1), torch.nn.functional.adaptive_avg_pool2d(detail.abs(), 2).flatten(1)], 1)


def test_damage():
    images = torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for change in (script.noisy, script.blurry):
        assert torch.equal(change(images, 0), images)
        assert change(images, 2).dtype == torch.uint8 and not torch.equal(change(images, 2), images)
    grey = torch.full((1, 3, 64, 64), 128, dtype=torch.uint8)
    assert abs(float(script.noisy(grey, 10).float().std()) - 10) < 0.3
    assert torch.equal(script.blurry(grey, 3), grey)
    deviations = [float(script.blurry(images, deviation).float().std()) for deviation in (0, 0.5, 1, 2)]
    assert deviations == sorted(deviations, reverse=True)

    labels = np.array([0] * 5 + [1] * 3 + [2] * 1 + [3] * 1)
    assert set(labels[script.without_classes(labels, 0.5)]) == {2, 3}
    assert set(labels[script.without_classes(labels, 1)]) == {2}
    assert len(np.unique(script.with_duplicates(100, 0.75))) == 25 and len(script.with_duplicates(100, 0.75)) == 100


def test_distances_rise_with_every_damage(monkeypatch):
    monkeypatch.setattr(script, "MAX_IMAGES", 150)
    dataset = ImageDataset(EMOJI, use_labels=True, subset=1600)
    detector = Detector("small", 60, "", "none", torch.device("cpu"), small)
    one, other = script.halves(dataset)
    assert not set(one) & set(other)
    images, reals = (torch.stack([dataset[int(i)][0] for i in half]) for half in (one, other))
    clean, real = detector(images).numpy(), detector(reals).numpy()
    found = script.responses(detector, images, np.array(dataset.labels)[one], clean, real)
    for damage, records in found.items():
        assert {record["images"] for record in records} == {150}
        distances = [record["fd"] for record in records]
        assert distances[1:] == sorted(distances[1:]), (damage, distances)  # a little noise is nothing to this detector
        assert distances[-1] > 1.2 * distances[0], (damage, distances)
    assert found["duplicates"][-1]["dc coverage"] < 0.5 * found["duplicates"][0]["dc coverage"]
