"""A network to share: a folder with a card from its run's records, or the hub; nothing is sent unless asked for."""

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from networks.generator import Generator
from scripts import card, share
from tests.training.run.test_start import call
from torch_utils.checkpoint import read_snapshot, save_snapshot
from torch_utils.files import InputError
from torch_utils.pretrained import PRETRAINED
from torch_utils.run_dir import LOG, OPTIONS, SHARED, metric_file
from training.gan.config import TrainingConfig

hub = pytest.importorskip("huggingface_hub")
FD = "fd1k_full-vgg16"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("networks.hub.SEEDS", 8)
    monkeypatch.setattr(card, "COMPARED", 8)
    monkeypatch.setattr(card, "SEEDS", 8)


@pytest.fixture
def run(tmp_path):
    """The records of a run whose first snapshot was the best."""
    folder = tmp_path / "runs" / "00000-pets-tiny"
    folder.mkdir(parents=True)
    G = Generator(16, channel_base=256, channel_max=16, z_dim=8, style_depth=2)
    for kimg, value in ((1, 20.0), (2, 30.0)):
        name = f"network-snapshot-{kimg:06d}.safetensors"
        save_snapshot(folder / name, "generator", G, nimg=1000 * kimg, dataset="pets")
        with open(folder / metric_file(FD), "a") as file:
            file.write(json.dumps(dict(nimg=1000 * kimg, snapshot=name, value=value, floor=None, floor_counts=None)) + "\n")
    (folder / OPTIONS).write_text(json.dumps(TrainingConfig(data="/home/ada/pets.zip", cfg="tiny").to_json()))
    (folder / LOG).write_text("Command line:  python train.py --data /home/ada/pets.zip --cfg tiny\n")
    return folder


def share_it(*words):
    return call(share.main, *words, "--device", "cpu")


def test_a_run_is_shared_with_its_records(run, tmp_path):
    said = share_it("--network", run.parent, "--outdir", tmp_path / "shared", "--license", "cc0-1.0")
    assert "network-snapshot-000001.safetensors (the best of 2 by fd1k_full-vgg16)" in said
    assert read_snapshot(tmp_path / "shared" / SHARED).info["nimg"] == 1000
    page = hub.ModelCard.load(tmp_path / "shared" / "README.md")
    (result,) = page.data.eval_results
    assert (result.metric_name, result.metric_value, page.data.license) == (FD, 20.0, "cc0-1.0")
    assert "python train.py --data pets.zip --cfg tiny" in page.text and "/home/ada" not in page.text
    assert f"| `{FD}` | 20" in page.text and "(card-seeds.png)" in page.text
    assert sorted(path.name for path in (tmp_path / "shared").iterdir()) == [
        "README.md",
        "card-seeds.png",
        "config.json",
        SHARED,
    ]


def test_what_training_has_looked_at_is_no_result(run, tmp_path):
    """The hub's table of results has no room for words beside a number; the card has."""
    records = (run / metric_file(FD)).read_text().splitlines()
    (run / metric_file(FD)).write_text("".join(json.dumps(json.loads(x) | dict(independent=False)) + "\n" for x in records))
    said = share_it("--network", run.parent, "--outdir", tmp_path / "shared")
    page = hub.ModelCard.load(tmp_path / "shared" / "README.md")
    assert not page.data.eval_results and "not independent" in page.text and "not independent" in said


def test_one_snapshot_and_a_picture(run, tmp_path):
    Image.new("RGB", (20, 20)).save(tmp_path / "my cover (1).jpg")
    words = ["--network", run / "network-snapshot-000002.safetensors", "--picture", tmp_path / "my cover (1).jpg"]
    share_it(*words, "--outdir", tmp_path / "shared", "--title", "Pets")
    text = (tmp_path / "shared" / "README.md").read_text()
    assert "# Pets" in text and "(my%20cover%20%281%29.jpg)" in text and (tmp_path / "shared" / "my cover (1).jpg").is_file()
    assert f"| `{FD}` | 30" in text


def test_a_network_without_records(tmp_path):
    share_it("--network", "emoji32", "--outdir", tmp_path / "shared")
    assert "| parameters | 2,462,803 |" in (tmp_path / "shared" / "README.md").read_text()


def test_a_name_goes_before_a_folder_of_this_name(run, monkeypatch):
    """As in every other command."""
    (run.parent / "emoji32").symlink_to(run, target_is_directory=True)
    monkeypatch.chdir(run.parent)
    assert share.choose(Path("emoji32")) == (PRETRAINED / "emoji32.safetensors", None, "as asked for")
    path, records, why = share.choose(run.parent / "emoji32")
    assert path.name == "network-snapshot-000001.safetensors" and records and why.startswith("the best of 2")


def test_a_conditional_network_says_how_classes_are_given(tmp_path):
    """The lines of Python on its card run, as they stand."""
    G = Generator(16, c_dim=3, channel_base=256, channel_max=16, z_dim=8, style_depth=2)
    save_snapshot(tmp_path / "network.safetensors", "generator", G)
    share_it("--network", tmp_path / "network.safetensors", "--outdir", tmp_path / "shared")
    code = re.search(r"```python\n(.*?)```", (tmp_path / "shared" / "README.md").read_text(), re.S)[1]
    names: dict = {}
    exec(code.replace("USER/NAME", str(tmp_path / "shared")), names)
    assert names["images"].shape == (4, 3, 16, 16)


def test_sending_is_asked_for(run, tmp_path, monkeypatch):
    sent = []

    class Api:
        def __init__(self, token=None):
            pass

        def create_repo(self, repo_id, private, exist_ok):
            sent.append((repo_id, private))
            if repo_id == "ada/full":
                raise OSError("no room\nat all")
            return type("Repo", (), dict(repo_id=repo_id))

        def upload_folder(self, folder_path, **_):
            sent.append(sorted(path.name for path in folder_path.iterdir()))
            return "https://hub/ada/pets"

    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", Api)
    share_it("--network", run, "--outdir", tmp_path / "shared")
    assert not sent
    assert "Sent:          https://hub/ada/pets" in share_it("--network", run, "--push", "ada/pets", "--private")
    assert sent == [("ada/pets", True), ["README.md", "card-seeds.png", "config.json", SHARED]]
    with pytest.raises(InputError, match="^--push ada/full: the hub did not take it, or cannot be reached: no room$"):
        share_it("--network", run, "--push", "ada/full")


@pytest.mark.parametrize(
    "words, message",
    [
        ([], "wanted --outdir FOLDER, --push USER/NAME, or both"),
        (["--outdir", "runs"], "--outdir runs: exists already"),
        (["--outdir", "new", "--private"], "--private: has no say without --push"),
        (["--outdir", "new", "--picture", "notes.txt"], "notes.txt"),
        (["--outdir", "new", "--network", "nothing"], "nothing: no such network file"),
    ],
)
def test_wrong_words_leave_nothing_behind(run, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(InputError, match=message):
        share_it("--network", run, *words)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "runs"]


def test_a_network_of_another_kind(tmp_path):
    save_snapshot(
        tmp_path / "weird.safetensors", "weird", Generator(16, channel_base=64, channel_max=8, z_dim=8, style_depth=2)
    )
    with pytest.raises(InputError, match="weird.safetensors: is a weird, wanted one of generator, style_transfer"):
        share_it("--network", tmp_path / "weird.safetensors", "--outdir", tmp_path / "shared")
