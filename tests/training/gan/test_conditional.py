"""A conditional run draws the class that was asked for: a classifier that has only seen real images says so."""

import numpy as np
import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F

from networks.sampling import one_hot
from torch_utils.checkpoint import load_generator
from torch_utils.images import from_uint8, to_uint8
from torch_utils.run_dir import newest_snapshot
from training.dataset import ImageDataset

CLASSES = 10


def train_classifier(images: torch.Tensor, labels: torch.Tensor) -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU()]
    network = nn.Sequential(
        *layers, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64 * 8 * 8, 128), nn.ReLU(), nn.Linear(128, CLASSES)
    )
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(4):
        for batch in torch.randperm(len(images)).split(64):
            optimiser.zero_grad()
            F.cross_entropy(network(from_uint8(images[batch])), labels[batch]).backward()
            optimiser.step()
    return network.eval()


@pytest.mark.slow
def test_a_classifier_recognises_what_was_asked_for(run_command, test_data, tmp_path):
    source = test_data / "data" / "fashion-mnist" / "t10k-images-idx3-ubyte.gz"
    data = tmp_path / "fashion32.zip"
    made = run_command("scripts/dataset_tool.py", "--source", source, "--dest", data, "--resolution", "32x32")
    assert made.returncode == 0, made.stderr
    arguments = ["--data", data, "--cfg", "tiny", "--cond", "1", "--kimg", "24", "--metrics", "none"]
    finished = run_command("train.py", "--outdir", tmp_path / "runs", *arguments, timeout=3600)
    assert finished.returncode == 0, finished.stderr

    dataset = ImageDataset(str(data), use_labels=True)
    images, labels = torch.stack([dataset[i][0] for i in range(len(dataset))]), torch.tensor(dataset.labels)
    classifier = train_classifier(images[:9000], labels[:9000])
    with torch.inference_mode():
        held_out = (classifier(from_uint8(images[9000:])).argmax(1) == labels[9000:]).float().mean().item()
        G = load_generator(newest_snapshot(tmp_path / "runs"))
        asked = [i % CLASSES for i in range(1000)]
        z = torch.from_numpy(np.random.RandomState(0).randn(1000, G.z_dim)).float()
        drawn = torch.cat([to_uint8(G(z[i : i + 100], one_hot(asked[i : i + 100], CLASSES))) for i in range(0, 1000, 100)])
        agree = classifier(from_uint8(drawn)).argmax(1) == torch.tensor(asked)
    by_class = {c: agree[c::CLASSES].float().mean().item() for c in range(CLASSES)}
    print(f"classifier on held-out real images {held_out:.3f}, on samples {agree.float().mean():.3f}, by class {by_class}")
    assert held_out > 0.85
    assert agree.float().mean() >= 0.7
