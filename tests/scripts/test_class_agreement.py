"""How often a conditional generator draws the class that it was asked for."""

import json

import pytest
import torch
from PIL import Image

from networks.generator import Generator
from scripts import class_agreement
from scripts.class_agreement import count, on_drawn, on_real, report, train_classifier
from tests.training.run.test_start import call
from torch_utils.checkpoint import load_generator, save_snapshot
from torch_utils.files import InputError
from training.dataset import ImageDataset

CPU = torch.device("cpu")


@pytest.fixture
def make_data(tmp_path):
    """make(name, seed, count=24, classes=3) -> folder of grey images, darker or lighter by their class."""

    def make(name, seed, count=24, classes=3):
        folder = tmp_path / name
        folder.mkdir()
        generator = torch.Generator().manual_seed(seed)
        labels = []
        for i in range(count):
            value = 100 * (i % classes) + torch.randint(50, (16, 16), generator=generator)
            Image.fromarray(value.byte().numpy()).save(folder / f"{i:03}.png")
            labels.append([f"{i:03}.png", i % classes])
        (folder / "dataset.json").write_text(json.dumps(dict(labels=labels, label_names=["dark", "middle", "light"][:classes])))
        return folder

    return make


class Brightness:
    """In place of a generator: the class's brightness, but of `wrong` classes that of the one before."""

    c_dim, z_dim = 3, 4

    def __init__(self, wrong=()):
        self.wrong = wrong

    def __call__(self, z, c, truncation_psi):
        asked = [i - (i in self.wrong) for i in c.argmax(1).tolist()]
        return torch.tensor([100 * i + 25 for i in asked]).view(-1, 1, 1, 1).expand(-1, 1, 16, 16) / 127.5 - 1


def test_a_generator_that_obeys_and_one_that_does_not(make_data):
    learned, unseen = (ImageDataset(make_data(name, i), use_labels=True) for i, name in enumerate(("train", "test")))
    classifier = train_classifier(learned, 40, CPU)
    real = on_real(classifier, unseen, CPU)
    assert real.sum() == 24 and torch.equal(real, torch.diag(torch.full((3,), 8)))
    assert torch.equal(on_drawn(classifier, Brightness(), 30, 1, CPU), torch.diag(torch.full((3,), 10)))
    disobedient = on_drawn(classifier, Brightness(wrong=[2]), 30, 1, CPU)
    assert disobedient.tolist() == [[10, 0, 0], [0, 10, 0], [0, 10, 0]]
    text = report(["dark", "middle", "light"], real, disobedient)
    assert "| light | 100.0% | 0.0% | middle (10) |" in text and "| **all** | 100.0% | 66.7% |  |" in text


def test_counting():
    table = torch.zeros(2, 2, dtype=torch.long)
    count(table, torch.tensor([0, 0, 1]), torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]))
    assert table.tolist() == [[1, 1], [0, 1]]


@pytest.fixture
def make_network(tmp_path):
    def make(side=16, **options):
        path = tmp_path / "network.safetensors"
        options = dict(img_channels=1, c_dim=3, channel_base=64, channel_max=8, z_dim=8, style_depth=2) | options
        save_snapshot(path, "generator", Generator(side, **options))
        return path

    return make


def test_the_command(make_network, make_data):
    words = ["--network", make_network(), "--data", make_data("train", 0), "--test", make_data("test", 1)]
    said = call(class_agreement.main, *words, "--images", 12, "--epochs", 1)
    rows = [line.split(" | ")[0] for line in said.splitlines() if line.startswith("| ")]
    assert rows == ["| class", "| ---", "| dark", "| middle", "| light", "| **all**"]


def test_what_does_not_fit(make_network, make_data):
    train, test = make_data("train", 0), make_data("test", 1)
    words = lambda network, test=test: ["--network", network, "--data", train, "--test", test]
    with pytest.raises(InputError, match="trained without labels"):
        call(class_agreement.main, *words(make_network(c_dim=0)))
    with pytest.raises(InputError, match="found 3 classes, 1 channels, 16×16, wanted 4 classes, 1 channels, 16×16"):
        call(class_agreement.main, *words(make_network(c_dim=4)))
    with pytest.raises(InputError, match="wanted 3 classes, 1 channels, 32×32"):
        call(class_agreement.main, *words(make_network(side=32)))
    with pytest.raises(InputError, match="has the images of --data"):
        call(class_agreement.main, *words(make_network(), train))
    names = ["middle", "dark", "light"]
    network = make_network()
    save_snapshot(network, "generator", load_generator(network), label_names=names)
    with pytest.raises(InputError, match="train: its classes have other names, or another order, than those of network"):
        call(class_agreement.main, *words(network))


def test_pictures_and_answers_are_float32_on_gpus_too(monkeypatch, make_data):
    found = []

    def classifier(images):
        found.append(torch.backends.cudnn.allow_tf32)
        return torch.zeros(len(images), 3)

    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    on_drawn(classifier, Brightness(), 3, 1, CPU)
    on_real(classifier, ImageDataset(make_data("real", 0), use_labels=True), CPU)
    assert found == [False, False] and torch.backends.cudnn.allow_tf32
