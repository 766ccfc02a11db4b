"""Sharing by Hugging Face's hub: the same network comes back, nothing but tensors is read, and every failure is one line."""

import ast
import json
import shutil
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

import generate
from networks import generator as plain
from networks.style_transfer.vgg import load_vgg
from scripts import share
from tests.conftest import ROOT
from tests.style_fixtures import random_network, smooth
from tests.test_project import imported_names, imported_packages, sources
from tests.training.run.test_start import call
from torch_utils.checkpoint import load_generator, read_snapshot, save_snapshot
from torch_utils.files import InputError
from torch_utils.pretrained import PRETRAINED, names_of
from torch_utils.run_dir import SHARED

hub = pytest.importorskip("huggingface_hub")
from networks.hub import Generator, Stylizer, find  # noqa: E402

SMALL = dict(img_resolution=16, channel_base=256, channel_max=16, z_dim=8, style_depth=2)
NAMES = ["cats", "dogs"]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("networks.hub.SEEDS", 8)


@pytest.fixture
def snapshot(tmp_path):
    """Of a class-conditional generator with weights that half precision cannot hold."""
    torch.manual_seed(0)
    path = tmp_path / "network-snapshot-000001.safetensors"
    save_snapshot(path, "generator", plain.Generator(**SMALL, c_dim=2), nimg=1000, label_names=NAMES, dataset="pets")
    return path


def equal(a, b):
    a, b = a.state_dict(), b.state_dict()
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) and a[name].dtype == b[name].dtype for name in a)


def test_a_generator_comes_back_bit_for_bit(snapshot, tmp_path):
    G = Generator.from_pretrained(snapshot)
    assert isinstance(G, plain.Generator) and not G.training and equal(G, load_generator(snapshot))
    G.save_pretrained(tmp_path / "shared")
    back = Generator.from_pretrained(tmp_path / "shared")
    assert equal(G, back) and back.config == G.config and back.info["label_names"] == NAMES
    z, c = torch.randn(2, 8), torch.eye(2)
    assert torch.equal(G(z, c), back(z, c))
    assert {path.suffix for path in (tmp_path / "shared").iterdir()} == {".safetensors", ".json", ".md", ".png"}
    config = json.loads((tmp_path / "shared" / "config.json").read_text())
    assert config["kind"] == "generator" and config["img_resolution"] == 16
    assert Image.open(tmp_path / "shared" / "seeds.png").size == (512, 64)


@pytest.mark.parametrize("name", names_of("generator") + names_of("style_transfer"))
def test_pretrained_networks_are_shared_as_small_as_they_are(name, tmp_path):
    kind = Generator if name in names_of("generator") else Stylizer
    kind.from_pretrained(name).save_pretrained(tmp_path)
    before, after = PRETRAINED / f"{name}.safetensors", tmp_path / SHARED
    assert abs(after.stat().st_size - before.stat().st_size) < 200  # a digest in the header
    before, after = read_snapshot(before), read_snapshot(after)
    assert (before.config, before.info) == (after.config, after.info)
    assert all(torch.equal(value, after.tensors[tensor]) for tensor, value in before.tensors.items())


def test_a_style_transfer_comes_back_bit_for_bit(tmp_path):
    vgg = load_vgg("vgg16", None, "zeros")
    save_snapshot(tmp_path / "style.safetensors", "style_transfer", random_network(vgg=vgg), nimg=8)
    s = Stylizer.from_pretrained(tmp_path / "style.safetensors")
    s.save_pretrained(tmp_path / "shared")
    back = Stylizer.from_pretrained(tmp_path / "shared")
    assert equal(s.network, back.network)
    contents, styles = smooth(32, 32), smooth(32, 32, seed=1)
    assert torch.equal(s.stylize_like(contents, styles), back.stylize_like(contents, styles))


def test_the_card_has_what_the_hub_reads(snapshot, tmp_path):
    G = Generator.from_pretrained(snapshot)
    said = dict(license="cc-by-4.0", title="Cats and dogs", scores=[("fid50k_full", 12.5)])
    G.save_pretrained(tmp_path / "shared", model_card_kwargs=said)
    card = hub.ModelCard.load(tmp_path / "shared" / "README.md")
    assert (card.data.library_name, card.data.license, card.data.pipeline_tag) == (
        "adaconv",
        "cc-by-4.0",
        "unconditional-image-generation",
    )
    (result,) = card.data.eval_results
    assert (result.metric_type, result.metric_name, result.metric_value) == ("fid50k", "fid50k_full", 12.5)
    assert result.dataset_name == "pets"
    assert "# Cats and dogs" in card.text and "(seeds.png)" in card.text and "cats, dogs" in card.text and "1,000" in card.text


def test_generate_draws_from_a_shared_folder(snapshot, tmp_path):
    Generator.from_pretrained(snapshot).save_pretrained(tmp_path / "shared")
    words = ["--seeds", 3, "--class", "dogs", "--device", "cpu", "--outdir"]
    call(generate.main, *words, tmp_path / "a", "--network", tmp_path / "shared")
    call(generate.main, *words, tmp_path / "b", "--network", snapshot)
    assert (tmp_path / "a" / "seed0003.png").read_bytes() == (tmp_path / "b" / "seed0003.png").read_bytes()


def test_torch_hub_loads_every_pretrained_network():
    for name in names_of("generator"):
        G = torch.hub.load(str(ROOT), "generator", name, source="local")
        assert torch.isfinite(G(torch.randn(1, G.z_dim), torch.eye(G.c_dim)[:1] if G.c_dim else None)).all()
    for name in names_of("style_transfer"):
        s = torch.hub.load(str(ROOT), "stylizer", name, source="local")
        assert s.stylize_like(smooth(64, 64), smooth(64, 64, seed=1)).shape == (1, 3, 64, 64)


# ---------------------------------------------------------------- sending


class FakeApi:
    """In place of `HfApi`: keeps what would be sent."""

    def __init__(self, token=None):
        pass

    def create_repo(self, repo_id, private, exist_ok):
        FakeApi.asked = dict(repo_id=repo_id, private=private)
        return SimpleNamespace(repo_id=repo_id)

    def upload_folder(self, repo_id, folder_path, **_):
        FakeApi.sent = {path.name: path.read_bytes() for path in folder_path.iterdir()}
        return f"https://hub/{repo_id}"


@pytest.fixture
def fake_api(monkeypatch):
    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", FakeApi)
    FakeApi.sent = FakeApi.asked = None
    return FakeApi


def test_what_is_sent_is_what_is_saved(snapshot, tmp_path, fake_api):
    G = Generator.from_pretrained(snapshot)
    assert G.push_to_hub("ada/pets", private=True) == "https://hub/ada/pets"
    assert G.push_to_hub("ada/pets") == "https://hub/ada/pets"  # the pictures of the first time are gone
    assert sorted(fake_api.sent) == ["README.md", "config.json", SHARED, "seeds.png"]
    (tmp_path / SHARED).write_bytes(fake_api.sent[SHARED])
    assert equal(Generator.from_pretrained(tmp_path / SHARED), G)
    assert 'from_pretrained("ada/pets")' in fake_api.sent["README.md"].decode()


# ---------------------------------------------------------------- fetching


@pytest.fixture
def fake_hub(monkeypatch, tmp_path):
    """A hub on this machine: `files` has what it serves, `requests` the paths that were asked for."""
    state = SimpleNamespace(files={}, requests=[], claimed=None)

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self, body=False):
            state.requests.append(self.path)
            data = state.files.get(self.path)
            self.send_response(200 if data is not None else 404)
            if data is None:
                self.send_header("X-Error-Code", "EntryNotFound" if "/there/" in self.path else "RepoNotFound")
                self.send_header("Content-Length", "0")
            else:
                self.send_header("X-Repo-Commit", "0" * 40)
                self.send_header("ETag", '"abc"')
                self.send_header("Content-Length", str(state.claimed or len(data)))
            self.end_headers()
            if body and data is not None:
                self.wfile.write(data)

        def do_GET(self):
            self.do_HEAD(body=True)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    yield state
    server.shutdown()
    server.server_close()


URL = f"/ada/there/resolve/main/{SHARED}"


def test_a_network_is_fetched_and_only_its_tensors(snapshot, fake_hub, monkeypatch):
    fake_hub.files[URL] = snapshot.read_bytes()
    fake_hub.files[URL.replace(SHARED, "config.json")] = b"["
    G = Generator.from_pretrained("ada/there")
    assert equal(G, load_generator(snapshot))
    assert {path for path in fake_hub.requests if "/ada/" in path} == {URL}
    fake_hub.requests.clear()
    assert equal(Generator.from_pretrained("ada/there", local_files_only=True), G) and not fake_hub.requests
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", "http://127.0.0.1:9/{repo_id}{revision}{filename}"
    )
    assert equal(Generator.from_pretrained("ada/there"), G)  # out of reach, but here


def test_what_cannot_be_fetched_is_one_line(fake_hub, snapshot, monkeypatch):
    with pytest.raises(InputError, match="^ada/nowhere: no such folder or file, and the hub has no such network"):
        find("ada/nowhere", "generator")
    fake_hub.files[URL.replace(SHARED, "pytorch_model.bin")] = b"a pickle"
    with pytest.raises(InputError, match="^ada/there: on the hub it has no model.safetensors.*pickles are not opened"):
        Generator.from_pretrained("ada/there")
    assert not [path for path in fake_hub.requests if path.endswith(".bin")]
    fake_hub.files[URL], fake_hub.claimed = b"", 10**12
    with pytest.raises(InputError, match="^ada/there: its model.safetensors has 1000000000000 bytes"):
        find("ada/there", "generator")
    for name in ("a/b/c", "a/ b", "../elsewhere/nothing", "a/" + "b" * 200):
        with pytest.raises(InputError, match="no name of the hub, which is like user/name"):
            find(name, "generator")
    with pytest.raises(InputError, match="^nothing: no such network file; by name there are: "):
        find("nothing", "generator")
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", "http://127.0.0.1:9/{repo_id}{revision}{filename}"
    )
    with pytest.raises(InputError, match="^ada/there: no such folder or file, and the hub cannot be reached"):
        find("ada/there", "generator")


def test_hostile_files_of_a_hub_are_refused_as_snapshots_are(fake_hub, snapshot, tmp_path):
    fake_hub.files[URL] = snapshot.read_bytes()[:200]
    with pytest.raises(InputError, match="not a network snapshot"):
        Generator.from_pretrained("ada/there", force_download=True)
    G = load_generator(snapshot)
    G.config["channel_max"] = 2**20
    save_snapshot(tmp_path / "large.safetensors", "generator", G)
    fake_hub.files[URL] = (tmp_path / "large.safetensors").read_bytes()
    with pytest.raises(InputError, match="channel_max 1048576 must be a whole number"):
        Generator.from_pretrained("ada/there", force_download=True)
    with pytest.raises(InputError, match="found a generator, wanted one of train_style.py"):
        Stylizer.from_pretrained("ada/there", force_download=True)
    (tmp_path / "empty").mkdir()
    shutil.copy(snapshot, tmp_path / "empty" / "pytorch_model.bin")
    with pytest.raises(InputError, match="the folder has no"):
        Generator.from_pretrained(tmp_path / "empty")


def test_nothing_else_needs_the_extra(monkeypatch, tmp_path):
    """Without huggingface_hub, sharing is one clear line; one file imports it, which nothing imports when it starts."""
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.delitem(sys.modules, "networks.hub")
    with pytest.raises(InputError, match=r"^sharing needs huggingface_hub, which `pip install -e .\[hub\]` brings$"):
        call(share.main, "--network", "emoji32", "--outdir", tmp_path / "shared")
    assert not (tmp_path / "shared").exists()
    ours = [path for path in sources() if ROOT / "tests" not in path.parents]
    importing = {path.relative_to(ROOT).as_posix() for path in ours if "huggingface_hub" in imported_packages(path)}
    assert importing == {"networks/hub.py"}
    for path in ours:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert not [node for node in tree.body if "networks.hub" in imported_names(node)], path
