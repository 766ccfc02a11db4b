import subprocess
import sys
from pathlib import Path

import pytest
import torch

from networks.discriminator import Discriminator
from networks.generator import Generator
from networks.modulation import MODULATIONS
from networks.style_transfer.network import TRANSFERS, StyleTransfer
from tests.conftest import ROOT
from torch_utils import memory
from torch_utils.files import InputError

SMALL = dict(channel_base=64, channel_max=8)
GENERATOR = dict(c_dim=2, z_dim=4, style_depth=1, **SMALL)
MAKE = {
    **{name: lambda name=name: Generator(16, modulation=name, **GENERATOR) for name in MODULATIONS},
    "discriminator": lambda: Discriminator((16, 32), c_dim=2, growing=True, **SMALL),
    **{name: lambda name=name: StyleTransfer(name, style_depth=2, style_width=4, noise=True) for name in TRANSFERS},
}


@pytest.mark.parametrize("name", MAKE)
def test_a_sketch_has_the_sizes_of_the_network(name):
    with memory.without_memory():
        sketch = MAKE[name]()
    sizes = lambda network: {name: (tensor.shape, tensor.dtype) for name, tensor in network.state_dict().items()}
    assert sizes(sketch) == sizes(MAKE[name]())
    assert all(tensor.is_meta for tensor in sketch.state_dict().values())


def test_loading_a_network_does_not_load_the_compiler():
    text = "import sys; import networks.generator; from torch_utils.checkpoint import load_generator; before = set(sys.modules)"
    text += (
        "; load_generator(sys.argv[1]); print(len([name for name in set(sys.modules) - before if name.startswith('torch.')]))"
    )
    words = [sys.executable, "-c", text, str(ROOT / "pretrained" / "emoji32.safetensors")]
    finished = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert int(finished.stdout) < 10, finished.stdout + finished.stderr  # it was some 700


def test_what_training_takes():
    network = torch.nn.Linear(9, 1).requires_grad_(False)  # 10 numbers
    assert memory.training_bytes(network) == 40
    network.bias.requires_grad_(True)
    assert memory.training_bytes(network) == 36 + 16


@pytest.fixture
def limits(monkeypatch, tmp_path):
    """limits(**files) sets what the cgroup says, by the names of its files."""
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    monkeypatch.setattr(memory, "_machine", lambda: 100)
    monkeypatch.setattr(memory, "_process", lambda: None)

    def write(**files: str) -> None:
        for name, text in files.items():
            path = tmp_path / name.replace("__", "/").replace("memory_", "memory.", 1)
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)

    return write


def test_a_container_has_less_than_the_machine(limits):
    assert memory.available_bytes() == 100
    limits(memory_max="50\n", memory_current="40\n", memory_stat="file 9\ninactive_file 5\n")
    assert memory.available_bytes() == 15
    limits(memory_max="max\n")
    assert memory.available_bytes() == 100
    limits(memory_max="30\n")  # more than it may
    assert memory.available_bytes() == 0


def test_a_container_of_the_older_kind(limits, tmp_path):
    (tmp_path / "memory").mkdir()
    for name, text in (("limit_in_bytes", "50"), ("usage_in_bytes", "40"), ("stat", "cache 1\ntotal_inactive_file 7")):
        (tmp_path / "memory" / f"memory.{name}").write_text(text)
    assert memory.available_bytes() == 17


def test_a_system_that_does_not_say_refuses_nothing(limits, monkeypatch):
    monkeypatch.setattr(memory, "_machine", lambda: None)
    memory.check_memory("all", 1e30, "cpu", "")


def test_what_does_not_fit_is_refused_in_words(limits):
    memory.check_memory("they", 100, "cpu", "less")
    with pytest.raises(InputError, match="^they take 2.5 GB of memory at least, and 0 MB are there; less$"):
        memory.check_memory("they", 2.55e9, "cpu", "less")


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="as Linux says it")
def test_this_machine():
    there = memory.available_bytes()
    assert there is not None and 1e8 < there < 1e14
