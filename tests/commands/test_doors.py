"""The few places through which anything comes in or goes out, each with attacks in a list: a new attack is a new line."""

import io
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image, PngImagePlugin

from metrics.detectors import inception, lpips, torchscript
from metrics.evaluation.metric_name import parse_metric
from networks.generator import Generator
from tests.conftest import ROOT
from torch_utils import memory
from torch_utils.archive import Archive
from torch_utils.checkpoint import load_generator, read_snapshot, save_snapshot
from torch_utils.files import InputError, append_jsonl, atomic_write, cache_dir, open_file, read_json, sha256
from torch_utils.run_dir import read_options
from torch_utils.stats import Log, read_jsonl, resident_bytes
from torch_utils.tensor_file import load_saved
from training import data_order
from training.gan.budget import check_networks
from training.gan.config import TrainingConfig
from training.gan.state import TrainingState
from training.run.run_records import RunRecords
from training.run.saved_state import checksum
from training.style_transfer.budget import check_network
from training.style_transfer.config import StyleConfig

UNIX = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes and devices as Unix has them")


@pytest.fixture
def network(tmp_path):
    path = tmp_path / "network.safetensors"
    save_snapshot(path, "generator", Generator(16, channel_base=64, channel_max=8, z_dim=4, style_depth=1))
    return path


# ---------------------------------------------------------------- numbers


@pytest.mark.parametrize(
    "words, problem",
    [
        (["--trunc", "nan"], "nan is not a number up to"),
        (["--trunc", "inf"], "inf is not in the range"),
        (["--trunc", "1e39"], "1e+39 is not in the range"),
        (["--trunc", "-1e400"], "-inf is not in the range"),
        (["--trunc", "one"], "'one' is not a valid float"),
        (["--trunc-cutoff", "-1"], "not in the range"),
        (["--seeds", "9" * 5000], "does not read as seeds"),
        (["--seeds", "0-99999999999"], "does not read as seeds"),
        (["--seeds", "4294967296"], "not a range of seeds"),
        (["--seeds", "٣"], "does not read as seeds"),
        (["--class", "9" * 5000], "was trained without labels"),
    ],
)
def test_numbers_of_generate(run_command, network, tmp_path, words, problem):
    finished = run_command("generate.py", "--network", network, "--outdir", tmp_path / "out", "--seeds", "0", *words)
    assert finished.returncode == 2 and finished.stderr.count("\n") == 1, finished.stderr
    assert problem in finished.stderr and not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", [f"fd{'9' * 21}k_full-vgg16", "fd٣k-vgg16", "fd0k-vgg16", "kid-5k"])
def test_counts_of_metrics(name):
    with pytest.raises(InputError, match="is no metric"):
        parse_metric(name)


# ---------------------------------------------------------------- reading


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def link(path: Path) -> None:
    (path.parent / "elsewhere").write_text("{}\n")
    path.symlink_to(path.parent / "elsewhere")


def endless_link(path: Path) -> None:
    path.symlink_to(path)


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def brackets(path: Path) -> None:
    path.write_text("[" * 100_000)


NO_FILES = [pipe, device, link, endless_link, listening, Path.mkdir]


@UNIX
@pytest.mark.parametrize("make", NO_FILES)
def test_what_is_no_file_is_not_read(tmp_path, make, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a socket's name may not be long
    path = Path("it")
    make(path)
    with pytest.raises(InputError, match="^it: ") as refused:
        open_file(path, links=False)
    assert "\n" not in str(refused.value)
    if make is not link:
        with pytest.raises(InputError, match="^it: "):
            open_file(path)


@UNIX
@pytest.mark.parametrize("make", [*NO_FILES, brackets])
@pytest.mark.parametrize("name", ["training_options.json", "stats.jsonl", "log.txt", "metric-fd1k.jsonl"])
def test_records_of_a_run_that_are_none(tmp_path, monkeypatch, capfd, make, name):
    monkeypatch.chdir(tmp_path)
    make(Path(name))
    records = RunRecords(Path())
    assert (records.options, records.stats, records.scores, records.said("Data")) == ({}, [], {}, [])
    capfd.readouterr()
    assert read_options(Path()) == {}
    said = capfd.readouterr().err
    assert said.count("\n") == said.startswith("note: training_options.json: ") == (name == "training_options.json"), said
    if name == "stats.jsonl" and make is not brackets:
        with pytest.raises(InputError):
            read_jsonl(Path(name))


def test_no_more_is_read_than_there_should_be(tmp_path):
    path = tmp_path / "large.json"
    path.write_text(json.dumps("x" * 2000))
    with pytest.raises(InputError, match="found 2,002 bytes, wanted at most 1,000"):
        read_json(path, 1000)


def test_a_name_with_a_null_character():
    with pytest.raises(InputError, match="null"):
        open_file("a\0b")


# ---------------------------------------------------------------- writing


@UNIX
@pytest.mark.parametrize("make", NO_FILES)
def test_what_is_no_file_is_not_replaced(tmp_path, make, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = Path("it")
    make(path)
    before = path.lstat()
    for write in (lambda: atomic_write(path).__enter__(), lambda: append_jsonl(path, {}), lambda: Log(path)):
        with pytest.raises(InputError, match="^it: is a .*wanted a file or nothing"):
            write()
    after = path.lstat()
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)
    assert sorted(os.listdir()) == sorted({"it", "elsewhere"} & set(os.listdir())), "nothing is left behind"


@pytest.mark.skipif(not os.path.exists("/dev/null"), reason="devices as Unix has them")
def test_a_grid_onto_a_device(run_command, network, tmp_path):
    before = os.stat("/dev/null")
    words = ["--network", network, "--seeds", "0", "--outdir", tmp_path / "out", "--grid", "/dev/null"]
    try:
        finished = run_command("generate.py", *words)
        assert finished.returncode == 2 and "is a device, wanted a file or nothing" in finished.stderr
    finally:
        assert (os.stat("/dev/null").st_mode, os.stat("/dev/null").st_ino) == (before.st_mode, before.st_ino)


@pytest.mark.parametrize("length, fits", [(250, True), (255, True), (256, False), (5000, False)])
def test_long_names(tmp_path, length, fits):
    path = tmp_path / ("x" * length)
    if fits:
        with atomic_write(path) as file:
            file.write(b"1")
        assert path.read_bytes() == b"1"
    else:
        with pytest.raises(InputError, match="cannot be written"):
            atomic_write(path).__enter__()
    assert len(list(tmp_path.iterdir())) == fits


# ---------------------------------------------------------------- files that are code


@pytest.fixture
def program(tmp_path):
    """A TorchScript file that writes another file as soon as it is called."""

    class Writes(torch.nn.Module):
        def forward(self, x):
            torch.save(x, "written-by-the-file.pt")
            return x.mean(dim=(2, 3))

    class Plain(torch.nn.Module):
        def forward(self, x):
            return x.mean(dim=(2, 3))

    path = tmp_path / "mine.pt"
    torch.jit.script(Plain()).save(path)
    return path


def test_torchscript_is_not_run_unless_it_is_trusted(run_command, program, image_folder):
    images = image_folder(8)
    words = ["--images", images, "--data", images, "--metrics", "fd1k", "--detector", program, "--device", "cpu"]
    finished = run_command("calc_metrics.py", *words)
    assert finished.returncode == 2 and "add --trust-code" in finished.stderr and finished.stderr.count("\n") == 1


def test_a_hash_is_looked_at_before_anything_runs(program, monkeypatch):
    monkeypatch.setattr(torch.jit, "load", lambda *args, **named: pytest.fail("it was run"))
    with pytest.raises(InputError, match="nothing of it was run"):
        torchscript.run_program(program, "0" * 64, torch.device("cpu"))
    with pytest.raises(InputError, match="is not the field's"):
        inception.load(torch.device("cpu"), program)


@pytest.mark.parametrize("official, trusted, times", [(True, False, 1), (False, False, 1), (True, True, 1), (False, True, 0)])
def test_large_weights_are_hashed_once_at_most(program, monkeypatch, official, trusted, times):
    hashed = []
    monkeypatch.setattr(lpips, "sha256", lambda path: hashed.append(path) or lpips.SHA256)
    lpips.find(program, official, trusted)
    assert len(hashed) == times


def test_a_known_hash_is_run(program):
    network, digest = torchscript.run_program(program, sha256(program), torch.device("cpu"))
    assert digest == sha256(program) and torch.equal(network(torch.ones(1, 3, 2, 2)), torch.ones(1, 3))


# ---------------------------------------------------------------- budgets


def png(width: int, height: int, mode: str = "L", **options) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (width, height)).save(buffer, "PNG", **options)
    return buffer.getvalue()


def test_bytes_beyond_a_picture_are_not_read(tmp_path):
    """A zip of a few kB whose entries are small pictures and 200 MB of zeros."""
    path = tmp_path / "zeros.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("0.png", png(16, 16) + bytes(200 << 20))
    began = time.process_time()
    with pytest.raises(InputError, match="0.png: found more than .* bytes, far more than its pixels can need"):
        Archive(path).image("0.png")
    assert time.process_time() - began < 2


def test_a_picture_with_a_large_profile_is_read(tmp_path):
    text = PngImagePlugin.PngInfo()
    text.add_text("comment", "x" * 1000)
    (tmp_path / "0.png").write_bytes(png(16, 16, pnginfo=text) + bytes(1 << 20))
    assert Archive(tmp_path).image("0.png").size == (16, 16)


def test_images_that_no_generator_is_made_for_are_not_decoded(run_command, tmp_path):
    folder = tmp_path / "large"
    folder.mkdir()
    (folder / "0.png").write_bytes(png(9400, 9400, "P", transparency=b"\0\1"))
    limited = f"""
import resource, runpy
resource.setrlimit(resource.RLIMIT_AS, (5 << 30, 5 << 30))
sys.argv = ["train.py", "--outdir", {str(tmp_path / "o")!r}, "--data", {str(folder)!r}, "--cfg", "tiny", "--metrics", "none"]
runpy.run_path({str(ROOT / "train.py")!r}, run_name="__main__")
"""
    began = time.monotonic()
    finished = python(limited)
    assert finished.returncode == 2 and "images of 9400×9400 cannot be made" in finished.stderr, finished.stderr
    assert time.monotonic() - began < 60 and "checking" not in finished.stderr


# ---------------------------------------------------------------- options and states


@pytest.mark.parametrize(
    "words, problem",
    [
        ("--p 0.3", "--p has no say without --aug"),
        ("--aug ada --p-end 0.3", "--p-end has no say without --aug fixed"),
        ("--target 0.5", "--target has no say without --aug ada"),
        ("--grow-from 16", "--grow-from has no say without --grow 1"),
        ("--grow 1 --grow-from 64", "--grow-from 64: the images have 16 pixels a side"),
        ("--modulation none --style-mixing 0.9", "--style-mixing has no say without a style for each layer"),
        ("--ramp-kimg 3", "--ramp-kimg has no say without an option that ends in -end"),
        ("--lr-end 1 --ramp-kimg 3", "--ramp-kimg has no say without an option that ends in -end"),
        ("--freezed 1", "--freezed 1: the discriminator is new, and has learned nothing that could be kept"),
        ("--freezed 1000", "--freezed 1000: for these images the discriminator has 2 blocks"),
        ("--hours nan", "nan is not a number up to"),
        ("--tick nan", "nan is not a number up to"),
        ("--gamma nan", "nan is not a number up to"),
        ("--glr inf", "inf is not a number up to"),
        ("--kimg 1e-9", "not in the range"),
        ("--batch 70000", "not in the range"),
        ("--save-every nan", "nan is not a number up to"),
    ],
)
def test_options_without_a_say_and_out_of_range(run_command, image_folder, tmp_path, words, problem):
    fixed = ["--data", image_folder(4), "--cfg", "tiny", "--kimg", "0.01", "--metrics", "none", "--device", "cpu"]
    finished = run_command("train.py", "--outdir", tmp_path / "o", *fixed, *words.split())
    assert finished.returncode == 2 and problem in finished.stderr and finished.stderr.count("\n") == 1, finished.stderr
    assert not list((tmp_path / "o").glob("*/*"))


@pytest.fixture
def begun(run_command, image_folder, tmp_path):
    """begun(*words) -> finished train.py of a short run; and the run directory of the first."""
    fixed = ["--outdir", tmp_path / "o", "--data", image_folder(4), "--cfg", "tiny", "--batch", 4, "--cbase", 64, "--cmax", 8]
    train = lambda *words: run_command("train.py", *fixed, "--kimg", "0.004", "--metrics", "none", "--device", "cpu", *words)
    finished = train()
    assert finished.returncode == 0, finished.stderr
    return train, next((tmp_path / "o").iterdir())


def test_options_of_a_resume_are_checked_before_they_are_written(begun, run_command, tmp_path):
    _, run_dir = begun
    before = (run_dir / "training_options.json").read_bytes()
    for words in ("--glr 0", "--tick nan", "--freezed 1000", "--p 0.3"):
        finished = run_command("train.py", "--outdir", tmp_path / "o", "--resume", run_dir, "--device", "cpu", *words.split())
        assert finished.returncode == 2, finished.stderr
        assert (run_dir / "training_options.json").read_bytes() == before
    finished = run_command("train.py", "--outdir", tmp_path / "o", "--resume", run_dir, "--device", "cpu", "--glr", "0.00123")
    assert finished.returncode == 0, finished.stderr
    assert (run_dir / "training_options.previous.json").read_bytes() == before


@pytest.mark.parametrize("damage", [b"", b"[" * 100_000, b'{"data": 5}', b"\0" * 100])
def test_auto_stops_at_a_newest_run_with_damaged_options(begun, damage):
    train, run_dir = begun
    (run_dir / "training_options.json").write_bytes(damage)
    finished = train("--resume", "auto")
    assert finished.returncode == 2 and run_dir.name in finished.stderr and "move" in finished.stderr, finished.stderr
    assert [path.name for path in run_dir.parent.iterdir()] == [run_dir.name]


def test_auto_passes_by_runs_of_the_other_trainer(begun):
    train, run_dir = begun
    other = run_dir.with_name("00001-style")
    other.mkdir()
    (other / "training_options.json").write_text(json.dumps({"content": "c", "style": "s"}))
    (run_dir.with_name("00002-empty")).mkdir()  # killed before it had written anything
    finished = train("--resume", "auto")
    assert finished.returncode == 0 and f"{run_dir} at" in finished.stdout, finished.stdout + finished.stderr


def test_the_state_of_another_run_is_refused(begun, run_command, tmp_path):
    train, run_dir = begun
    assert train("--seed", "7").returncode == 0
    (other,) = (path for path in run_dir.parent.iterdir() if path != run_dir)
    for name in ("training-state.pt", "training-state.previous.pt"):
        (run_dir / name).write_bytes((other / name).read_bytes())
    finished = run_command("train.py", "--outdir", tmp_path / "o", "--resume", run_dir, "--device", "cpu")
    assert finished.returncode == 2 and "it is the state of another run" in finished.stderr


def test_options_that_ask_for_large_networks_are_held_against_the_state(begun, run_command, tmp_path):
    _, run_dir = begun
    options = json.loads((run_dir / "training_options.json").read_text())
    options |= dict(channel_base=2**20, channel_max=4096, d_channel_base=2**20, style_depth=1024, z_dim=2**14)
    (run_dir / "training_options.json").write_text(json.dumps(options))
    words = ["--outdir", tmp_path / "o", "--resume", run_dir, "--device", "cpu"]
    limited = f"""
import resource
resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
import runpy
sys.argv = ["train.py", *{[str(word) for word in words]!r}]
runpy.run_path({str(ROOT / "train.py")!r}, run_name="__main__")
"""
    finished = python(limited)
    assert finished.returncode == 2 and "ask for another network" in finished.stderr, finished.stderr


@pytest.mark.parametrize(
    "side, options",
    [
        (32, dict(channel_base=2**30, channel_max=4096)),
        (32, dict(d_channel_base=2**30, channel_max=4096)),
        (1024, dict(channel_base=2**20, channel_max=4096, style_depth=1024)),
        (32, dict(z_dim=2**14, style_depth=2**10, mapping_layers=64)),
        (32, dict(batch=2**16)),
        (32, dict(batch=2**16, batch_gpu=2**15)),
        (32, dict(batch=2**12, projected=1.0, grow=True)),  # which sees images of the full size from the beginning
        (256, dict(batch=1024, gpus=8)),
        ((1024, 512), dict(batch=512, precision="bf16", posthoc_ema=True)),
    ],
)
def test_what_no_memory_holds_is_refused_before_it_is_taken(side, options, monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda device: 16e9)
    images = SimpleNamespace(resolution=side, channels=3, c_dim=0)
    began, before = time.process_time(), resident_bytes()
    with pytest.raises(InputError, match=r" GB of memory at least, and 16.0 GB are there; wanted a smaller --cbase"):
        check_networks(TrainingConfig(data="x", **options), images, torch.device("cpu"), None)
    assert resident_bytes() - before < 300e6 and time.process_time() - began < 20


@pytest.mark.parametrize("options", [dict(), dict(batch=2**16, batch_gpu=4), dict(batch=2**16, grow=True)])
def test_what_may_fit_is_not_refused(options, monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda device: 16e9)
    images = SimpleNamespace(resolution=32, channels=3, c_dim=0)
    check_networks(TrainingConfig(data="x", **options), images, torch.device("cpu"), None)


@pytest.mark.parametrize(
    "options", [dict(style_depth=4096, style_width=4096), dict(batch=2**16), dict(crop=4096, batch=64, encoder="vgg16")]
)
def test_style_transfers_that_no_memory_holds(options, monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda device: 16e9)
    config = StyleConfig(content="x", style="y", **options)
    with pytest.raises(InputError, match=r" GB of memory at least, and 16.0 GB are there; wanted a smaller --style-depth"):
        check_network(config, torch.device("cpu"), None)


@pytest.mark.parametrize(
    "script, data, words",
    [
        ("train.py", ["--data"], "--cfg tiny --metrics none --d-cbase 1073741824 --cmax 4096 --batch 65536"),
        ("train_style.py", ["--content", "--style"], "--style-depth 4096 --style-width 4096 --batch 65536"),
    ],
)
def test_commands_refuse_what_no_memory_holds(run_command, image_folder, tmp_path, script, data, words):
    images = image_folder(12, size=64)
    named = [word for option in data for word in (option, images)]
    finished = run_command(script, "--outdir", tmp_path / "o", "--device", "cpu", *named, *words.split())
    assert finished.returncode == 2 and finished.stderr.count("\n") == 1, finished.stderr
    assert " GB of memory at least, and " in finished.stderr and not (tmp_path / "o").exists()


SMALL_STATE = TrainingConfig(data="x", z_dim=4, style_depth=1, channel_base=64, channel_max=8, aug="ada")


def altered(values: dict, *path, value) -> None:
    for key in path[:-1]:
        values = values[key]
    values[path[-1]] = value


@pytest.mark.parametrize(
    "path, value, problem",
    [
        (("strength", "p"), float("nan"), "of ada"),
        (("strength", "updates"), -1, "of ada"),
        (("opt_G", "state", 0, "exp_avg"), torch.full((1,), float("nan")), "exp_avg"),
        (("opt_G", "state", 0, "step"), torch.tensor(float("nan")), "step that is not finite"),
        (("opt_G", "state", 0), {"step": torch.tensor(1.0)}, "wanted those of Adam"),
        (("opt_G", "state", 999), {"step": torch.tensor(1.0)}, "of '999', which is no parameter"),
        (("opt_D", "state", 0, "exp_avg_sq"), torch.zeros(1).expand(2**33), "that is not there in full"),
        (("means", "sums"), {"loss_D": "much"}, "means that are none"),
        (("first_scores",), {"fid1k": float("inf")}, "first_scores"),
    ],
)
def test_a_state_whose_checksum_is_right_and_whose_values_are_not(tmp_path, path, value, problem):
    state = TrainingState(SMALL_STATE, 16, 3, 0)
    for network, optimiser in ((state.G, state.opt_G), (state.D, state.opt_D)):
        for parameter in network.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimiser.step()
    values = state.state_dict()
    altered(values, *path, value=value)
    small = not isinstance(value, torch.Tensor) or value.numel() < 100
    torch.save(values | {"checksum": checksum(values) if small else ""}, tmp_path / "training-state.pt")
    with pytest.raises(InputError, match=problem):
        TrainingState(SMALL_STATE, 16, 3, 0).load(tmp_path)


def laughs(depth: int) -> list:
    """A file of some kB that would be 2^depth values."""
    value: list = [0]
    for _ in range(depth):
        value = [value, value]
    return value


def packed(values) -> bytes:
    """As `torch.save`, but with its entries packed."""
    whole, small = io.BytesIO(), io.BytesIO()
    torch.save(values, whole)
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(small, "w", zipfile.ZIP_DEFLATED) as target:
        for entry in source.infolist():
            target.writestr(entry.filename, source.read(entry))
    return small.getvalue()


@pytest.mark.parametrize(
    "values, problem",
    [
        (laughs(40), "more than 1,000,000 values"),
        ({"a": torch.zeros(1).expand(2**40)}, "not there in full"),
        ({"a": torch.zeros(2**33, device="meta")}, "not there in full"),
        (torch.zeros(1).to_sparse(), "not there in full"),
        ({"a": {1, 2}}, "found a set"),
        (packed({"a": torch.zeros(2**22)}), "bytes that would become"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_small_files_of_large_tensors(tmp_path, values, problem):
    path = tmp_path / "a.pt"
    path.write_bytes(values) if isinstance(values, bytes) else torch.save(values, path)
    assert path.stat().st_size < 1e5
    began = time.process_time()
    with pytest.raises(ValueError, match=problem):
        load_saved(path)
    assert time.process_time() - began < 2


# ---------------------------------------------------------------- snapshots


def test_equal_networks_are_equal_files(tmp_path):
    G = Generator(16, c_dim=2, channel_base=64, channel_max=8, z_dim=4, style_depth=1)
    files = [tmp_path / f"{i}.safetensors" for i in range(12)]
    for path in files:
        save_snapshot(path, "generator", G, nimg=5, label_names=["é", "b"])
    assert len({path.read_bytes() for path in files}) == 1
    assert read_snapshot(files[0]).info == dict(nimg=5, label_names=["é", "b"])


def test_one_flipped_bit_in_a_network_is_seen(network):
    content = bytearray(network.read_bytes())
    content[-100] ^= 1
    network.write_bytes(content)
    with pytest.raises(InputError, match="the file is damaged"):
        load_generator(network)


def test_weights_that_are_not_finite(tmp_path):
    G = Generator(16, channel_base=64, channel_max=8, z_dim=4, style_depth=1)
    G.synthesis.const.data[0, 0, 0] = float("nan")
    save_snapshot(tmp_path / "nan.safetensors", "generator", G)
    with pytest.raises(InputError, match="synthesis.const is not finite"):
        load_generator(tmp_path / "nan.safetensors")


# ---------------------------------------------------------------- places and signals


def python(text: str, **settings) -> subprocess.CompletedProcess:
    words = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{text}"]
    return subprocess.run(words, capture_output=True, text=True, timeout=120, **settings)


@pytest.mark.skipif(sys.platform == "win32", reason="home as Unix has it")
def test_without_a_home_nothing_is_kept(monkeypatch):
    monkeypatch.delenv("ADACONV_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def nobody(*args):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nobody)
    folder = cache_dir()
    assert not (folder / "anything").is_file()
    with pytest.raises(OSError):
        folder.mkdir(parents=True)


COMMAND = """
import click
from torch_utils.cli import command, run
@command()
@click.option("--x", type=float, default=0)
def main(x):
    {body}
run(main)
"""


def test_the_unforeseen_is_one_line_and_a_file():
    finished = python(COMMAND.format(body="raise KeyError('what')"))
    assert finished.returncode == 1 and finished.stderr.count("\n") == 1 and "Traceback" not in finished.stderr
    path = Path(finished.stderr.split("which is in ")[1].strip())
    try:
        assert "KeyError: 'what'" in path.read_text() and "Traceback" in path.read_text()
    finally:
        path.unlink()


@pytest.mark.parametrize(
    "body, line",
    [
        ("raise MemoryError", "error: there is not enough memory for this"),
        ("import torch; torch.empty(2**60)", "error: there is not enough memory for this"),
        ("raise KeyboardInterrupt", "\ninterrupted"),  # below the terminal's ^C
        ("open('/')", "error: /: Is a directory"),
        ("open('x' * 300)", "File name too long"),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="the words of Unix")
def test_errors_of_the_system_are_one_line(body, line):
    finished = python(COMMAND.format(body=body))
    assert (
        finished.returncode in (2, 130) and line in finished.stderr and finished.stderr.count("\n") == 1 + line.startswith("\n")
    )


@UNIX
@pytest.mark.parametrize("script", ["train.py", "generate.py", "stylize.py"])
@pytest.mark.parametrize("seconds", [0.3, 1.0])
def test_an_interrupt_during_imports_is_quiet(script, seconds):
    """Sooner it is Python itself that starts, and says so in its own way."""
    command = [sys.executable, str(ROOT / script), "--help"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode in (0, -signal.SIGINT, 130) and "Traceback" not in said, said


@pytest.mark.skipif(sys.platform == "win32", reason="links as Unix has them")
def test_a_script_of_the_user_keeps_its_process(tmp_path):
    """Whatever it imports of us, and even where it lies beside our commands: signals, environment, streams."""
    folder = tmp_path
    for name in ("torch_utils", "networks", "training", "metrics", "scripts", "generate.py", "train.py", "calc_metrics.py"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "mine.py").write_text(
        """
import os, signal, sys
look = lambda: ([signal.getsignal(n) for n in signal.valid_signals()], dict(os.environ), sys.stdout, sys.stderr, sys.excepthook)
import torch
before, threads = look(), torch.get_num_threads()
import generate, train, calc_metrics
from torch_utils.checkpoint import load_generator
assert look() == before, look()
assert torch.get_num_threads() == threads and torch.is_grad_enabled()
"""
    )
    finished = subprocess.run([sys.executable, "mine.py"], cwd=folder, capture_output=True, text=True, timeout=120)
    assert finished.returncode == 0 and not finished.stderr, finished.stderr


class Endless(torch.utils.data.Dataset):
    """Its reader stops itself, as by Ctrl-Z, and is woken by nobody."""

    def __len__(self):
        return 4

    def __getitem__(self, i):
        if torch.utils.data.get_worker_info():
            os.kill(os.getpid(), signal.SIGSTOP)
        return torch.zeros(3, 4, 4, dtype=torch.uint8), 0


@UNIX
def test_a_reader_that_is_stopped_is_not_waited_for_in_silence(monkeypatch, capfd):
    monkeypatch.setattr(data_order, "PATIENCE", 0.2)
    images = data_order.batches(Endless(), 2, seed=0, workers=1)
    before = {child.pid for child in multiprocessing.active_children()}

    def wake():
        while "no images have come" not in capfd.readouterr().err:
            time.sleep(0.1)
        for child in multiprocessing.active_children():
            if child.pid not in before:
                child.kill()

    thread = threading.Thread(target=wake)
    thread.start()
    with pytest.raises((RuntimeError, InputError)), data_order.readers_watched():
        next(images)
    thread.join(60)
    assert not thread.is_alive()


@UNIX
@pytest.mark.parametrize("limit", ["RLIMIT_NOFILE, (12, 12)", "RLIMIT_AS, (1 << 30, 1 << 30)"])
def test_few_file_handles_and_little_memory(limit, network, tmp_path):
    body = f"""
import resource, runpy
sys.argv = ["generate.py", "--network", {str(network)!r}, "--seeds", "0-3", "--outdir", {str(tmp_path / "out")!r}]
sys.path.insert(0, {str(ROOT)!r})
import generate
resource.setrlimit(resource.{limit})
generate.run(generate.main)
"""
    finished = python(body)
    assert "Traceback" not in finished.stderr and finished.returncode in (0, 1, 2), finished.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="streams as Unix has them")
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "| true"])
def test_nobody_listens(closed):
    body = "[print('x' * 100) for _ in range(10000)]; import sys; print('y', file=sys.stderr)"
    script = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{COMMAND.format(body=body)}"
    finished = subprocess.run(
        ["bash", "-c", f'set -o pipefail; "$0" -c "$1" {closed}', sys.executable, script],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "Traceback" not in finished.stderr and "Exception" not in finished.stderr
    assert finished.returncode in (0, 141), finished
