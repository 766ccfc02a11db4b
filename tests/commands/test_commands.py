"""The commands as a user types them, from another folder, with good and with bad input."""

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

import train
from networks.generator import Generator
from tests.conftest import EMOJI
from torch_utils.checkpoint import load_generator, save_snapshot
from torch_utils.precision import resolve_precision
from torch_utils.stats import read_jsonl

SHORT = ["--cfg", "tiny", "--kimg", "0.016", "--tick", "0.008", "--snap", "1", "--batch", "4", "--device", "cpu"]
NO_METRICS = ["--metrics", "none"]


def one_line(finished) -> str:
    """The message of a command that refuses: one line, status 2."""
    assert finished.returncode == 2, finished.stdout + finished.stderr
    assert finished.stderr.startswith("error: ") and finished.stderr.count("\n") == 1, finished.stderr
    assert "Traceback" not in finished.stdout
    return finished.stderr


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    torch.manual_seed(0)
    G = Generator(16, channel_base=256, channel_max=16, z_dim=8, style_depth=2)
    for layer in G.synthesis.layers:
        layer.noise_strength.data.fill_(0.3)
    G.mapping.w_avg.normal_()
    path = tmp_path_factory.mktemp("network") / "network-snapshot-000001.safetensors"
    save_snapshot(path, "generator", G, nimg=1000)
    return path


@pytest.fixture(scope="module")
def conditional(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("network") / "network-snapshot-000001.safetensors"
    G = Generator(16, c_dim=3, channel_base=256, channel_max=16, z_dim=8, style_depth=2)
    save_snapshot(path, "generator", G, label_names=["cat", "dog", "owl"])
    return path


# ---------------------------------------------------------------- train.py


def test_train_writes_everything_and_resumes(run_command, image_folder, tmp_path):
    out = tmp_path / "runs"
    arguments = [
        "--outdir",
        out,
        "--data",
        image_folder(12, 16, labels=2),
        *SHORT,
        *NO_METRICS,
        "--cond",
        "1",
        "--mirror",
        "true",
    ]
    first = run_command("train.py", *arguments)
    assert first.returncode == 0, first.stderr
    (run,) = out.iterdir()
    assert run.name == "00000-images-tiny-cond-mirror-adaconv-batch4-gamma1-seed0"
    names = {path.name for path in run.iterdir() if not path.name.startswith("events.")}
    assert names == {
        "training_options.json",
        "data.json",
        "log.txt",
        "stats.jsonl",
        "reals.png",
        "fakes_init.png",
        "fakes000000.png",
        "network-snapshot-000000.safetensors",
        "training-state.pt",
        "training-state.previous.pt",
        "report.html",
        ".lock",
    }
    options = json.loads((run / "training_options.json").read_text())
    assert options["cond"] and options["mirror"] and options["batch"] == 4 and options["kimg"] == 0.016
    assert [record["nimg"] for record in read_jsonl(run / "stats.jsonl")] == [8, 16]
    assert load_generator(run / "network-snapshot-000000.safetensors").c_dim == 2
    assert "Generator:" in first.stdout and str(run) in first.stdout

    again = run_command("train.py", *arguments, "--resume", "auto", "--kimg", "0.024")
    assert again.returncode == 0 and "Resumed at" in again.stdout, again.stderr
    assert [record["nimg"] for record in read_jsonl(run / "stats.jsonl")] == [8, 16, 24]
    by_name = run_command("train.py", "--outdir", out, "--resume", run, "--kimg", "0.032", "--device", "cpu")
    assert by_name.returncode == 0, by_name.stderr
    assert [record["nimg"] for record in read_jsonl(run / "stats.jsonl")] == [8, 16, 24, 32]
    other = run_command("train.py", *arguments, "--resume", "auto", "--seed", "1")
    assert other.returncode == 0 and len(list(out.iterdir())) == 2

    warm = run_command("train.py", *arguments, "--resume", run / "network-snapshot-000000.safetensors")
    assert warm.returncode == 0, warm.stderr
    assert "discriminator and both optimisers are new" in warm.stdout and "not used" not in warm.stdout
    other = [*arguments, "--cond", "0", "--resume", run / "network-snapshot-000000.safetensors"]
    partly = run_command("train.py", *other)  # the embedding of the labels is left over
    assert partly.returncode == 0 and "new are mapping.layers.0.weight; 3 of the file" in partly.stdout
    wider = [*arguments, "--modulation", "demod", "--resume", run / "network-snapshot-000000.safetensors"]
    assert "new are" in run_command("train.py", *wider, "-n").stdout
    assert len(list(out.iterdir())) == 4


@pytest.mark.parametrize("mode", ["L", "RGBA"])
def test_train_on_grey_and_alpha(run_command, image_folder, tmp_path, mode):
    finished = run_command("train.py", "--outdir", tmp_path / "o", "--data", image_folder(8, 32, mode), *SHORT, *NO_METRICS)
    assert finished.returncode == 0, finished.stderr
    (run,) = (tmp_path / "o").iterdir()
    assert load_generator(next(run.glob("*.safetensors"))).img_channels == len(mode)
    with Image.open(run / "fakes_init.png") as picture:
        assert picture.mode == mode


def test_two_processes(run_command, image_folder, tmp_path):
    """A run of two processes goes through; what they do to gradients is tested in test_distributed.py."""
    arguments = ["--outdir", tmp_path / "o", "--data", image_folder(12), *SHORT, *NO_METRICS]
    finished = run_command("train.py", *arguments, "--gpus", "2")
    assert finished.returncode == 0, finished.stderr
    (run,) = (tmp_path / "o").iterdir()
    assert len(read_jsonl(run / "stats.jsonl")) == 2
    assert "--gpus" in one_line(run_command("train.py", *arguments, "--gpus", "3"))


def test_dry_run_says_the_sizes_and_writes_nothing(run_command, tmp_path):
    finished = run_command("train.py", "--outdir", tmp_path / "o", "--data", EMOJI, "--cfg", "tiny", "-n", *NO_METRICS)
    assert finished.returncode == 0, finished.stderr
    assert "3,762 images, 32×32, 3 channels, kept in memory (11 MB)" in finished.stdout
    sizes = [int(line.split()[1].replace(",", "")) for line in finished.stdout.splitlines() if line.endswith(" parameters")]
    assert len(sizes) == 2 and min(sizes) > 10_000
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    "option, key, value",
    [
        ("--gamma", "gamma", 3.5),
        ("--glr", "glr", 0.01),
        ("--dlr", "dlr", 0.02),
        ("--subset", "subset", 5),
        ("--workers", "workers", 1),
        ("--threads", "threads", 3),
        ("--loss", "loss", "logistic"),
        ("--pl-weight", "pl_weight", 0.5),
        ("--style-mixing", "style_mixing", 0.25),
        ("--precision", "precision", "bf16"),
        ("--batch-gpu", "batch_gpu", 4),
        ("--aug", "aug", "fixed"),
        ("--p", "p", 0.3),
        ("--target", "target", 0.4),
        ("--augpipe", "augpipe", "bgcf"),
        ("--ada-kimg", "ada_kimg", 3.0),
        ("--grow-from", "grow_from", 16),
        ("--grow-kimg", "grow_kimg", 0.5),
        ("--freezed", "freezed", 1),
        ("--mirror", "mirror", True),
        ("--save-every", "save_every", 2.5),
        ("--skip-bad", "skip_bad", True),
        ("--grow", "grow", True),
        ("--lr-warmup-kimg", "lr_warmup_kimg", 3.0),
        ("--lr-decay-kimg", "lr_decay_kimg", 3.0),
        ("--lr-end", "lr_end", 0.25),
        ("--forced-norm", "forced_norm", True),
        ("--projected", "projected", 0.5),
        ("--projected-gamma", "projected_gamma", 3.0),
        ("--beta2", "beta2", 0.9),
        ("--beta2-end", "beta2_end", 0.9),
        ("--gamma-end", "gamma_end", 0.2),
        ("--p-end", "p_end", 0.5),
        ("--ramp-kimg", "ramp_kimg", 3.0),
        ("--posthoc-ema", "posthoc_ema", True),
        ("--track", "track", "trackio"),
        ("--cbase", "channel_base", 300),
        ("--cmax", "channel_max", 20),
        ("--d-cbase", "d_channel_base", 200),
    ]
    + [("--modulation", "modulation", "adain"), ("--seed", "seed", 4), ("--tick", "tick", 2.0), ("--snap", "snap", 7)],
)
def test_options_arrive(image_folder, option, key, value):
    """What each then does is seen in tests/training/gan, in test_dataset.py or below."""
    options = parse_options(["--outdir", "o", "--data", str(image_folder()), "--cfg", "tiny", option, str(value)])
    config = train.resolve_config(options, torch.device("cpu"))
    assert getattr(config, key) == value
    assert getattr(train.resolve_config(options | {key: None, "seed": 0}, torch.device("cpu")), key) != value or key == "seed"


@pytest.mark.parametrize("device, preset, batch", [("cpu", "small", 16), ("mps", "small", 16), ("cuda", "auto", 32)])
def test_auto_looks_at_the_machine(image_folder, device, preset, batch):
    options = parse_options(["--outdir", "o", "--data", str(image_folder())])
    config = train.resolve_config(options | dict(cfg=None), torch.device(device))
    assert (config.cfg, config.batch) == (preset, batch)
    config = train.resolve_config(options | dict(cfg="stylegan2"), torch.device(device))
    assert (config.cfg, config.batch) == ("stylegan2", 32)


def parse_options(arguments: list[str]) -> dict:
    """What the command would get."""
    context = train.main.make_context("train.py", arguments)
    own = ("outdir", "resume", "device", "inception", "hours", "desc", "dry_run")
    values = {name: value for name, value in context.params.items() if name not in own}
    return values | {"precision": resolve_precision(values["precision"] or "auto", torch.device("cpu"))[0]}


def test_every_option_has_a_test():
    """An option that is new must be added to one of these lists, and to a test that sees its effect."""
    arriving = {mark.args[1][i][0] for mark in test_options_arrive.pytestmark for i in range(len(mark.args[1]))}
    elsewhere = "--outdir --data --cfg --desc --gpus --device --batch --kimg --hours --metrics --inception --cond --resume"
    elsewhere += " --modulation-options"  # tests/training/gan/test_config.py
    known = arriving | {*elsewhere.split(), "--dry-run", "--help"}
    assert {option.opts[-1] for option in train.main.params} <= known


def test_bad_images_are_left_out_if_the_user_says_so(run_command, image_folder, tmp_path):
    folder = image_folder(8)
    (folder / "000.png").write_bytes(b"not a picture")
    arguments = ["--outdir", tmp_path / "o", "--data", folder, *SHORT, *NO_METRICS]
    assert "000.png" in one_line(run_command("train.py", *arguments))
    finished = run_command("train.py", *arguments, "--skip-bad", "1")
    assert finished.returncode == 0, finished.stderr
    assert "000.png" in finished.stderr and "1 image in all cannot be read, left out" in finished.stderr
    assert "7 images, 16×16, 3 channels, kept in memory (1 MB); 1 left out that cannot be read" in finished.stdout


def test_dry_run_predicts_costs(run_command, image_folder, tmp_path):
    finished = run_command(
        "train.py", "--outdir", tmp_path / "o", "--data", image_folder(), "--cfg", "tiny", "--kimg", "100", *NO_METRICS, "-n"
    )
    assert finished.returncode == 0, finished.stderr
    pace, hours = re.search(r"Time: +([\d.]+) s/kimg, ([\d.]+) hours for 100 kimg", finished.stdout).groups()
    assert float(hours) == pytest.approx(float(pace) * 100 / 3600, abs=0.01) and float(pace) > 0.1
    assert 100 < float(re.search(r"Memory: +about ([\d,]+) MB", finished.stdout)[1].replace(",", "")) < 10000


def broken_image(folder):
    (folder / "003.png").write_bytes(b"not a picture")


def mixed_sizes(folder):
    Image.new("RGB", (8, 8)).save(folder / "zzz.png")


def odd_size(folder):
    for path in folder.glob("*.png"):
        Image.new("RGB", (50, 50)).save(path)


@pytest.mark.parametrize(
    "damage, options, message",
    [
        (broken_image, [], "003.png"),
        (mixed_sizes, [], "zzz.png"),
        (odd_size, [], "25×25"),
        (lambda folder: None, ["--cond", "1"], "labels"),
        (lambda folder: [path.unlink() for path in folder.glob("*.png")], [], "no images"),
        (lambda folder: None, ["--metrics", "fid"], "fid"),
        (lambda folder: None, ["--metrics", "fid9k_full-efficientnet_lite0"], "Inception"),
        (lambda folder: None, ["--batch", "x"], "--batch"),
        (lambda folder: None, ["--resume", "nowhere"], "nowhere"),
        (lambda folder: None, ["--device", "toaster"], "toaster"),
        (lambda folder: None, ["--subset", "99"], "99"),
        (lambda folder: None, ["--surprise"], "--surprise"),
    ],
)
def test_bad_input_to_train(run_command, image_folder, tmp_path, damage, options, message):
    folder = image_folder()
    damage(folder)
    finished = run_command("train.py", "--outdir", tmp_path / "o", "--data", folder, *SHORT, *NO_METRICS, *options)
    assert message in one_line(finished)
    assert not (tmp_path / "o").exists()


def test_missing_data(run_command, tmp_path):
    assert "absent.zip" in one_line(run_command("train.py", "--outdir", tmp_path / "o", "--data", tmp_path / "absent.zip"))
    assert "--data" in one_line(run_command("train.py", "--outdir", tmp_path / "o"))
    assert not (tmp_path / "o").exists()


def test_missing_inception_is_said_before_training(run_command, image_folder, tmp_path):
    arguments = ["--outdir", tmp_path / "o", "--data", image_folder(), *SHORT, "--metrics", "fid50k_full"]
    message = one_line(run_command("train.py", *arguments, "--inception", tmp_path / "absent.pt"))
    assert "absent.pt" in message
    assert not (tmp_path / "o").exists()


# ---------------------------------------------------------------- generate.py


def test_same_seed_same_bytes(run_command, network, tmp_path):
    for name, seeds in (("a", "0-3,7"), ("b", "7"), ("c", "1,3,9")):
        for mode in ("const", "random"):
            arguments = ["--network", network, "--outdir", tmp_path / name / mode, "--noise-mode", mode]
            finished = run_command("generate.py", *arguments, "--seeds", seeds)
            assert finished.returncode == 0, finished.stderr
    for mode in ("const", "random"):
        files = {path.name: path.read_bytes() for path in (tmp_path / "a" / mode).iterdir()}
        assert sorted(files) == [f"seed{seed:04d}.png" for seed in (0, 1, 2, 3, 7)]
        assert len(set(files.values())) == 5
        assert (tmp_path / "b" / mode / "seed0007.png").read_bytes() == files["seed0007.png"]
        assert (tmp_path / "c" / mode / "seed0003.png").read_bytes() == files["seed0003.png"]
    assert (tmp_path / "b/const/seed0007.png").read_bytes() != (tmp_path / "b/random/seed0007.png").read_bytes()


def test_seed_is_the_ecosystems(run_command, network, tmp_path):
    """z = numpy.random.RandomState(seed).randn(1, z_dim), truncated as asked."""
    arguments = ["--network", network, "--outdir", tmp_path, "--seeds", "5", "--trunc", "0.5", "--trunc-cutoff", "2"]
    finished = run_command("generate.py", *arguments, "--noise-mode", "none", "--grid", tmp_path / "deep" / "grid.png")
    assert finished.returncode == 0, finished.stderr
    G = load_generator(network)
    z = torch.from_numpy(np.random.RandomState(5).randn(1, G.z_dim)).float()
    expected = G.synthesis(G.mapping(z, truncation_psi=0.5, truncation_cutoff=2), "none")[0]
    with Image.open(tmp_path / "seed0005.png") as image:
        found = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 127.5 - 1
    assert (found - expected.clamp(-1, 1)).abs().max() < 0.01
    assert (tmp_path / "deep" / "grid.png").read_bytes() == (tmp_path / "seed0005.png").read_bytes()


def test_classes_by_number_and_name(run_command, conditional, tmp_path):
    for name in ("1", "dog", "owl"):
        arguments = ["--network", conditional, "--outdir", tmp_path / name, "--seeds", "0", "--class", name]
        assert run_command("generate.py", *arguments).returncode == 0
    pictures = [(tmp_path / name / "seed0000.png").read_bytes() for name in ("1", "dog", "owl")]
    assert pictures[0] == pictures[1] != pictures[2]


def test_bad_input_to_generate(run_command, network, conditional, tmp_path):
    out = ["--outdir", tmp_path / "o"]
    cases = [
        (["--network", network, "--seeds", "a-b"], "seeds"),
        (["--network", EMOJI, "--seeds", "0"], "not a network"),
        (["--network", tmp_path / "absent", "--seeds", "0"], "absent"),
        (["--network", tmp_path, "--seeds", "0"], "no network-snapshot"),
        (["--network", network, "--seeds", "0", "--class", "1"], "without labels"),
        (["--network", conditional, "--seeds", "0"], "--class"),
        (["--network", conditional, "--seeds", "0", "--class", "cow"], "cat, dog, owl"),
        (["--network", conditional, "--seeds", "0", "--class", "3"], "0 to 2"),
    ]
    for arguments, message in cases:
        assert message in one_line(run_command("generate.py", *out, *arguments))
        assert not (tmp_path / "o").exists()


# ---------------------------------------------------------------- calc_metrics.py


def test_bad_input_to_calc_metrics(run_command, network, image_folder, tmp_path):
    folder = image_folder()
    fd = ["--metrics", "fd1k_full"]
    cases = [
        ([*fd], "either --network or --images"),
        ([*fd, "--network", network], "--data"),
        ([*fd, "--network", network, "--data", EMOJI], "the network draws"),
        ([*fd, "--images", folder, "--data", tmp_path / "absent"], "absent"),
        (["--metrics", "none", "--network", network, "--data", folder], "nothing"),
        (["--metrics", "mmd50k", "--network", network, "--data", folder], "mmd"),
        (["--metrics", "fid50k_full", "--network", network, "--data", folder, "--inception", EMOJI], "emoji32.zip"),
    ]
    for arguments, message in cases:
        assert message in one_line(run_command("calc_metrics.py", *arguments))


def test_scores_a_network_and_a_folder(run_command, network, image_folder, tmp_path):
    pytest.importorskip("efficientnet_lite_pytorch", reason="needs the offline extra")
    folder, cache = image_folder(40), {"ADACONV_CACHE": str(tmp_path / "cache")}
    small = ["--data", folder, "--device", "cpu", "--metrics", "fd1k_full-efficientnet_lite0"]
    finished = run_command("calc_metrics.py", *small, "--images", folder, env=cache)
    assert "found 40 of the 1000 images to score" in one_line(finished)
    finished = run_command("calc_metrics.py", *small, "--network", network, env=cache)
    assert finished.returncode == 0, finished.stderr
    assert "generator" in finished.stdout and "real vs. real, 20 against 20" in finished.stdout
