import hashlib
import inspect
import json
import struct

import numpy as np
import pytest
import torch
from PIL import Image

import generate
from networks.generator import Generator
from tests.conftest import ROOT
from torch_utils.checkpoint import load_generator, read_snapshot, save_snapshot
from torch_utils.files import InputError
from torch_utils.run_dir import newest_snapshot
from torch_utils.tensor_file import digest, open_tensors

SMALL = dict(img_resolution=16, channel_base=256, channel_max=16, z_dim=8, style_depth=2)


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    G = Generator(**SMALL, c_dim=2, modulation_options={"kernel_size": 1}).eval()
    G.mapping.w_avg.normal_()
    path = tmp_path / "network-snapshot-000003.safetensors"
    save_snapshot(path, "generator", G, nimg=3000, label_names=["a", "b"])
    return G, path


def test_round_trip(saved):
    G, path = saved
    loaded = load_generator(path)
    assert loaded.config == G.config and not loaded.training
    for (name, wanted), (other, found) in zip(G.state_dict().items(), loaded.state_dict().items()):
        assert name == other and torch.equal(wanted, found)
    assert not any(p.requires_grad for p in loaded.parameters())
    z, c = torch.randn(2, 8), torch.eye(2)
    assert torch.allclose(G(z, c), loaded(z, c), atol=1e-6)
    assert read_snapshot(path, tensors=False).info == {"nimg": 3000, "label_names": ["a", "b"]}
    assert newest_snapshot(path.parent) == newest_snapshot(path) == path


def test_configuration_is_complete(saved):
    """A snapshot must mean the same when the defaults of a later version are others."""
    G, _ = saved
    assert G.config["modulation_options"] == dict(
        kernel_size=1, per_group=None, lr_multiplier=4.0, identity=0.9, demodulate=False, padding="zeros"
    )


def test_configuration_has_every_argument_however_it_was_given():
    G = Generator(16, 1, 2, z_dim=8, style_depth=2, channel_base=256, growth=1.5)
    arguments = inspect.signature(Generator).parameters
    assert list(G.config) == list(arguments)  # the order in a snapshot's header, too
    given = dict(img_resolution=16, img_channels=1, c_dim=2, z_dim=8, style_depth=2, channel_base=256, growth=1.5)
    left = {name: parameter.default for name, parameter in arguments.items() if name not in given}
    assert G.config == left | given | dict(modulation_options=G.config["modulation_options"])
    assert Generator(**json.loads(json.dumps(G.config))).config == G.config
    assert Generator(**SMALL | dict(img_resolution=(16, 16))).config["img_resolution"] == 16
    with pytest.raises(TypeError, match="surprise"):
        Generator(16, surprise=1)


def test_tensors_are_read_in_either_framework_and_damage_is_one_error(saved):
    G, path = saved
    with open_tensors(path, "no network", framework="np") as (file, header):
        assert header["kind"] == "generator"
        assert np.array_equal(file.get_tensor("synthesis.const"), G.synthesis.const.detach().numpy())
    with pytest.raises(InputError, match=r"network-snapshot-000003.safetensors: no network \(.*nothing"):
        with open_tensors(path, "no network") as (file, _):
            file.get_tensor("nothing")
    with pytest.raises(InputError, match="^my own words"), open_tensors(path, "no network"):
        raise InputError("my own words")


def test_digest_is_that_of_the_bytes():
    x = torch.arange(6, dtype=torch.float16).view(2, 3)
    wanted = hashlib.sha256(b"x" + x.T.contiguous().numpy().tobytes() + np.float64(2).tobytes()).hexdigest()
    assert digest([b"x", x.T, torch.tensor(2.0, dtype=torch.float64)]) == wanted
    assert digest([b"x", np.ascontiguousarray(x.numpy().T).data, torch.tensor([2.0]).double()]) == wanted
    assert len(digest([torch.ones(2, dtype=torch.bfloat16)])) == 64  # a type that NumPy does not have


def test_a_network_in_half_precision(tmp_path):
    G = Generator(**SMALL).eval()
    save_snapshot(tmp_path / "full.safetensors", "generator", G)
    save_snapshot(tmp_path / "half.safetensors", "generator", G, half=True)
    assert (tmp_path / "half.safetensors").stat().st_size < 0.7 * (tmp_path / "full.safetensors").stat().st_size
    half = load_generator(tmp_path / "half.safetensors")
    assert {value.dtype for value in half.state_dict().values()} == {torch.float32}
    z = torch.randn(4, G.z_dim)
    assert (half(z) - load_generator(tmp_path / "full.safetensors")(z)).abs().max() < 0.02


def test_pretrained_network_draws():
    G = load_generator(ROOT / "pretrained" / "emoji32.safetensors")
    images = G(torch.randn(16, G.z_dim, generator=torch.Generator().manual_seed(0)))
    assert images.shape == (16, 3, 32, 32) and images.std(dim=0).mean() > 0.2  # and they differ
    assert images[:, :, 0, 0].mean() > 0.7  # on white, as emoji are


@pytest.mark.parametrize(
    "network, picture",
    [
        ("pretrained/emoji32.safetensors", "docs/images/emoji32.png"),
        ("tests/data/emoji32-replicate.safetensors", "tests/data/emoji32-replicate.png"),  # of before the padding was a choice
    ],
)
def test_a_network_draws_the_picture_that_it_drew(tmp_path, network, picture):
    """Seeds of a network that was trained once stay the same pictures, whatever becomes of forms and defaults."""
    arguments = ["--network", ROOT / network, "--seeds", "0-63", "--device", "cpu"]
    generate.main([str(a) for a in [*arguments, "--outdir", tmp_path, "--grid", tmp_path / "grid.png"]], standalone_mode=False)
    found, shown = (np.asarray(Image.open(path)).astype(int) for path in (tmp_path / "grid.png", ROOT / picture))
    assert np.abs(found - shown[::2, ::2]).max() <= 2  # enlarged there


def rewrite(path, change):
    """Let `change(header)` edit the JSON header of a safetensors file."""
    raw = path.read_bytes()
    (size,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + size])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + size :])


def set_config(**values):
    def change(header):
        config = json.loads(header["__metadata__"]["config"]) | values
        header["__metadata__"]["config"] = json.dumps(config)

    return change


@pytest.mark.parametrize(
    "change",
    [
        lambda h: h.pop("__metadata__"),
        lambda h: h["__metadata__"].update(format="something"),
        lambda h: h["__metadata__"].update(kind="discriminator"),
        lambda h: h["__metadata__"].update(config="{"),
        lambda h: h["__metadata__"].update(config="[1]"),
        lambda h: h["__metadata__"].pop("info"),
        set_config(img_resolution=32),
        set_config(img_resolution=2**20),  # would be terabytes
        set_config(img_resolution="16"),
        set_config(modulation="nothing"),
        set_config(surprise=1),
        set_config(modulation_options={"surprise": 1}),
        set_config(channel_max=10**9, channel_base=10**12),
        set_config(style_depth=-1),
        set_config(mapping_layers=10**8),  # each would be built, if only without memory
        set_config(mapping_layers=True),
        set_config(z_dim=8.0),
        set_config(c_dim=10**30),
        set_config(growth="all"),
        set_config(modulation_options={"kernel_size": 10**9 + 1}),
        set_config(modulation_options={"kernel_size": 1, "per_group": 10**10}, channel_max=10**10, channel_base=10**12),
        set_config(modulation_options={"kernel_size": 1, "identity": -1}),  # its root is complex, and the shapes are right
        set_config(modulation_options={"kernel_size": 1, "lr_multiplier": float("nan")}),
        lambda h: h["__metadata__"].update(config="1" * 5000),
        lambda h: h["__metadata__"].update(config="[" * 100_000),
        lambda h: h["__metadata__"].update(info='{"a": 1, "a": 2}'),
        lambda h: h["__metadata__"].update(info='{"nimg": "many"}'),
        lambda h: h["__metadata__"].update(info='{"label_names": [1, 2]}'),
        lambda h: [tensor.update(dtype="I32") for name, tensor in h.items() if name != "__metadata__"],
        lambda h: h.update(more=dict(dtype="F4", shape=[0, 2**40], data_offsets=[0, 0])),
    ],
)
def test_altered_headers_are_refused(saved, change):
    _, path = saved
    rewrite(path, change)
    with pytest.raises(InputError, match="network-snapshot-000003"):
        load_generator(path)


def test_small_file_cannot_ask_for_large_maps():
    """Without noise no tensor grows with the image, so shapes alone would not stop it."""
    large = dict(img_resolution=2**15, channel_base=2**22, noise=False)
    with pytest.raises(ValueError, match="feature maps"), torch.device("meta"):
        Generator(**SMALL | large)


@pytest.mark.parametrize("content", [b"", b"\x00" * 7, b"PK\x03\x04", struct.pack("<Q", 2**62) + b"{}", b"\x80\x04K\x01."])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "network.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match="not a network snapshot"):
        load_generator(path)


def test_truncated_file_is_refused(saved):
    _, path = saved
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError):
        load_generator(path)


def test_pickles_are_refused_unopened(tmp_path):
    for name in ("network.pkl", "network.pt"):
        path = tmp_path / name
        path.write_bytes(b"\x80\x04")
        with pytest.raises(InputError, match="pickle.*runs whatever code.*wanted a .safetensors"):
            load_generator(path)
    with pytest.raises(InputError, match="no such network file"):
        load_generator(tmp_path / ("x" * 300))
    with pytest.raises(InputError, match="no such network file"):
        load_generator(tmp_path / "absent.safetensors")
    with pytest.raises(InputError, match="no network-snapshot"):
        newest_snapshot(tmp_path)


def test_names_of_other_classes_are_no_names(saved):
    """A class that the network does not have would be drawn by a vector that is too short."""
    G, path = saved
    for names in (["a", "b", "c"], ["a"]):
        save_snapshot(path, "generator", G, nimg=3000, label_names=names)
        assert read_snapshot(path, tensors=False).info == {"nimg": 3000}


def test_what_a_network_says_of_itself_may_have_any_name(saved):
    G, path = saved
    said = dict(path="a", kind="b", network="c", label_names=["a", "b"])
    save_snapshot(path, "generator", G, **said)
    assert read_snapshot(path, tensors=False).info == said and read_snapshot(path).kind == "generator"


@pytest.mark.parametrize("change", [lambda G: G.bfloat16(), lambda G: G.double(), lambda G: G.synthesis.const.data.fill_(1e5)])
def test_what_could_not_be_loaded_is_not_saved(tmp_path, change):
    G = Generator(8, channel_base=64, channel_max=8, z_dim=8, style_depth=2)
    change(G)
    with pytest.raises(ValueError, match="float16"):
        save_snapshot(tmp_path / "network.safetensors", "generator", G, half=True)
    assert not any(tmp_path.iterdir())
