"""Small tools: resampling, colours, files, option types, random numbers, statistics."""

import json
import math
import os
import platform
import subprocess
import sys

import click
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from scripts.dataset_writer import new_dataset
from tests.conftest import ROOT
from torch_utils import images, rng
from torch_utils.cli import BOOL, NAMES, SEEDS, counted, duration
from torch_utils.files import InputError, append_jsonl, atomic_write, replace_by_copy, sha256, write_json
from torch_utils.ops import ACTIVATION_GAIN, bias_act, downsample2x, leaky_relu_, upsample2x
from torch_utils.platform import choose_device
from torch_utils.stats import Means, drop_after, read_jsonl


@pytest.mark.skipif((sys.platform, platform.machine()) != ("linux", "x86_64"), reason="PyTorch has libgomp there")
@pytest.mark.parametrize("command", ["train", "train_style", "generate", "calc_metrics", "stylize"])
@pytest.mark.parametrize("given, spins", [({}, "2000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "PASSIVE"}, "0")])
def test_idle_threads_soon_sleep_in_every_command(command, given, spins):
    """As libgomp itself tells when it is loaded: a setting that comes after that has no effect."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    finished = subprocess.run(
        [sys.executable, str(ROOT / f"{command}.py"), "--help"],
        env=environment | given | {"OMP_DISPLAY_ENV": "VERBOSE"},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    if "GOMP_" not in finished.stderr:
        pytest.skip("this PyTorch has no libgomp")
    assert f"GOMP_SPINCOUNT = '{spins}'" in finished.stderr


def test_resampling_is_the_binomial_filter():
    """Inside, both equal the convolution with [1, 3, 3, 1] that StyleGAN2 resamples with."""
    x = torch.randn(2, 3, 8, 10, dtype=torch.float64)
    taps = torch.tensor([1.0, 3, 3, 1], dtype=torch.float64) / 8
    kernel = taps.outer(taps).expand(3, 1, 4, 4)
    down = F.conv2d(x, kernel, stride=2, padding=1, groups=3)
    assert torch.allclose(downsample2x(x)[..., 1:-1, 1:-1], down[..., 1:-1, 1:-1])
    up = F.conv_transpose2d(x, kernel * 4, stride=2, padding=1, groups=3)
    assert torch.allclose(upsample2x(x)[..., 1:-1, 1:-1], up[..., 1:-1, 1:-1])
    flat = torch.full((1, 1, 4, 4), 0.7, dtype=torch.float64)
    assert torch.allclose(upsample2x(flat), flat[..., :1, :1]) and torch.allclose(downsample2x(flat), flat[..., :1, :1])


def test_resampling_derivatives():
    x = torch.randn(1, 2, 4, 6, dtype=torch.float64, requires_grad=True)
    for operation in (upsample2x, downsample2x):
        assert torch.autograd.gradcheck(operation, x) and torch.autograd.gradgradcheck(operation, x)


def test_activation_keeps_the_second_moment():
    x = torch.randn(2, 4, 250, 100)
    shifted = F.leaky_relu(x + 1, 0.2) * 2**0.5
    assert torch.allclose(bias_act(x, torch.ones(4)), shifted, atol=1e-6)
    assert abs(leaky_relu_(ACTIVATION_GAIN * x).square().mean() - 1) < 0.06


def test_activation_has_two_derivatives():
    x, bias = torch.randn(2, 3, 2, 2, dtype=torch.float64), torch.randn(3, dtype=torch.float64)
    inputs = (x.requires_grad_(), bias.requires_grad_())
    twice = lambda x, bias: bias_act(bias_act(x * 1, bias).square(), bias)
    assert torch.autograd.gradcheck(twice, inputs) and torch.autograd.gradgradcheck(twice, inputs)


def test_downsampling_replicates_borders():
    x = torch.randn(2, 3, 4, 6, dtype=torch.float64)
    taps = torch.tensor([1.0, 3, 3, 1], dtype=torch.float64) / 8
    padded = F.pad(x, [1] * 4, mode="replicate")
    assert torch.allclose(downsample2x(x), F.conv2d(padded, taps.outer(taps).expand(3, 1, 4, 4), stride=2, groups=3))


def test_colours_survive():
    values = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert torch.equal(images.to_uint8(images.from_uint8(values)), values)
    assert images.to_uint8(torch.tensor([[[[-9.0, 9.0]]]])).flatten().tolist() == [0, 255]


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_round_trip(tmp_path, channels):
    import numpy as np
    from PIL import Image

    pixels = torch.randint(0, 256, (channels, 5, 7), dtype=torch.uint8)
    images.save_png(tmp_path / "x.png", pixels)
    with Image.open(tmp_path / "x.png") as image:
        assert image.mode == images.MODES[channels]
        found = torch.from_numpy(np.array(image)).view(5, 7, channels).permute(2, 0, 1)
    assert torch.equal(found, pixels)


def test_grid_puts_images_row_by_row():
    cells = torch.arange(5, dtype=torch.uint8).view(5, 1, 1, 1).expand(5, 1, 2, 3)
    picture = images.grid(cells, columns=3)
    assert picture.shape == (1, 4, 9)
    assert picture[0, 0].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert picture[0, 2].tolist() == [3, 3, 3, 4, 4, 4, 255, 255, 255]


def test_to_rgb_lays_alpha_over_white():
    pixel = torch.tensor([10, 20, 30, 0], dtype=torch.uint8).view(1, 4, 1, 1)
    assert images.to_rgb(pixel).flatten().tolist() == [255, 255, 255]
    pixel[0, 3] = 255
    assert images.to_rgb(pixel).flatten().tolist() == [10, 20, 30]
    assert images.to_rgb(pixel[:, :1]).flatten().tolist() == [10, 10, 10]


def test_files_are_whole_or_absent(tmp_path):
    path = tmp_path / "a.bin"
    with atomic_write(path) as file:
        file.write(b"one")
    with pytest.raises(RuntimeError):
        with atomic_write(path) as file:
            file.write(b"two")
            raise RuntimeError
    assert path.read_bytes() == b"one" and list(tmp_path.iterdir()) == [path]
    assert sha256(path) == "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"
    write_json(tmp_path / "b.json", {"a": [1]})
    assert json.loads((tmp_path / "b.json").read_text()) == {"a": [1]}


def test_records(tmp_path):
    path = tmp_path / "stats.jsonl"
    for nimg in (10, 20, 30):
        append_jsonl(path, {"nimg": nimg})
    with open(path, "a") as file:
        file.write('{"nimg": 4')  # a crash
    assert [r["nimg"] for r in read_jsonl(path)] == [10, 20, 30]
    drop_after(path, 20)
    assert [r["nimg"] for r in read_jsonl(path)] == [10, 20]
    path.write_text("what\n{}\n")
    with pytest.raises(InputError, match="line 1"):
        read_jsonl(path)


def test_means():
    means = Means()
    means.add(a=torch.tensor([1.0, 3.0]), b=1)
    means.add(a=4.0)
    assert means.take() == {"a": 3.0, "b": 1.0} and means.take() == {}


@pytest.mark.parametrize("text, seeds", [("0-3,7", [0, 1, 2, 3, 7]), ("5", [5]), ("0,1,2", [0, 1, 2]), ("2-2, 1,2", [2, 1])])
def test_seeds(text, seeds):
    assert SEEDS.convert(text, None, None) == seeds


@pytest.mark.parametrize("text", ["", "a", "3-1", "1-", "-1", "0--3", "1.5", "0-99999999", str(2**32)])
def test_bad_seeds(text):
    with pytest.raises(click.BadParameter):
        SEEDS.convert(text, None, None)


@given(st.text(max_size=12))
def test_seeds_never_crash(text):
    try:
        assert all(0 <= seed < 2**32 for seed in SEEDS.convert(text, None, None))
    except click.BadParameter:
        pass


def test_bool_and_names():
    assert [BOOL.convert(v, None, None) for v in ("1", "0", "true", "False", True)] == [True, False, True, False, True]
    with pytest.raises(click.BadParameter):
        BOOL.convert("yes", None, None)
    assert NAMES.convert("a, b", None, None) == ["a", "b"] and NAMES.convert("none", None, None) == []


def test_duration():
    assert [duration(s) for s in (5.9, 65, 3725)] == ["5s", "1m 05s", "1h 02m 05s"]


def test_random_numbers_depend_on_where_and_not_on_when():
    rng.reseed(1, 0, 500)
    first = torch.randn(3)
    torch.randn(7)
    rng.reseed(1, 0, 500)
    assert torch.equal(torch.randn(3), first)
    for other in ((2, 0, 500), (1, 1, 500), (1, 0, 501)):
        rng.reseed(*other)
        assert not torch.equal(torch.randn(3), first)
    state = torch.get_rng_state()
    assert torch.equal(rng.normal((4,), "a", 1), rng.normal((4,), "a", 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert math.isclose(rng.normal((10000,), "b").std().item(), 1, abs_tol=0.05)


def test_kept_memory_can_be_released():
    """What was freed stays with the process until it is released."""
    code = (
        "import torch; from torch_utils.platform import *; from torch_utils.stats import resident_bytes as rss;"
        "keep_freed_memory(); before = rss(); x = [torch.ones(1 << 20) for _ in range(64)]; del x; kept = rss() - before;"
        "release_freed_memory(); left = rss() - before; assert kept > 200 << 20 and left < 100 << 20, (kept, left)"
    )
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("only glibc has these calls")
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_unknown_device():
    assert choose_device("cpu").type == "cpu"
    with pytest.raises(InputError, match="--device"):
        choose_device("toaster")


def test_counted_words():
    words = [counted(1, "channel"), counted(3, "channel"), counted(1, "class"), counted(0, "class"), counted(3762, "image")]
    assert words == ["1 channel", "3 channels", "1 class", "0 classes", "3,762 images"]


def test_two_writers_with_one_process_number_do_not_meet(tmp_path, monkeypatch):
    """As in two containers that share a folder, in each of which the process is number 1."""
    monkeypatch.setattr(os, "getpid", lambda: 1)
    with atomic_write(tmp_path / "x") as first:
        with atomic_write(tmp_path / "x") as second:
            first.write(b"first")
            second.write(b"second")
        assert (tmp_path / "x").read_bytes() == b"second"
    assert (tmp_path / "x").read_bytes() == b"first"
    replace_by_copy(tmp_path / "x", tmp_path / "y")
    replace_by_copy(tmp_path / "x", tmp_path / "y")  # two links to one file are renamed to nothing
    with new_dataset(tmp_path / "z") as write, new_dataset(tmp_path / "w") as other:
        write("a.png", b"a")
        other("a.png", b"b")
    with pytest.raises(InputError, match="cannot be written"), new_dataset(tmp_path / "v") as write:
        with new_dataset(tmp_path / "v") as other:
            other("a.png", b"b")
        write("a.png", b"a")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["v", "w", "x", "y", "z"]
    assert (tmp_path / "v" / "a.png").read_bytes() == b"b"
