"""How a run starts: what --resume may be, in which directory, what is said of it and what it will take."""

import contextlib
import shutil

import pytest
import torch
from click.testing import CliRunner

import generate
import train
import train_style
from networks.generator import Generator
from tests.commands.test_commands import NO_METRICS, SHORT
from tests.conftest import ROOT
from tests.training.style_transfer.test_style_training import encoder_file, options, pictures  # noqa: F401  two are fixtures
from torch_utils.checkpoint import save_snapshot
from torch_utils.cli import Progress, counted
from torch_utils.files import InputError
from torch_utils.interrupt import StopRequest
from torch_utils.run_dir import LOG, STATE, newest_snapshot
from training.gan import estimate as estimates
from training.gan.config import TrainingConfig
from training.gan.estimate import costs_in_words, estimate
from training.gan.state import TrainingState
from training.run.health import Diverged, too_long
from training.run.report import TIMED_STEPS, Reporter
from training.run.start import Start, run_directory

CPU = torch.device("cpu")


def call(command, *arguments) -> str:
    """What a command prints, to both streams; an error is raised."""
    finished = CliRunner().invoke(command, [str(word) for word in arguments], standalone_mode=False)
    if finished.exception and not isinstance(finished.exception, SystemExit):
        raise finished.exception
    return finished.output


@pytest.fixture
def arguments(image_folder, tmp_path):
    return ["--outdir", tmp_path / "runs", "--data", image_folder(8), *SHORT, *NO_METRICS]


@pytest.mark.parametrize(
    "resume, message",
    [
        ("https://example.org/ffhq.pkl", "--resume https://example.org/ffhq.pkl: nothing is fetched"),
        ("ffhq256", "pickles, which may run any code.*wanted a run directory or a .safetensors"),
        ("elsewhere/network-snapshot-025000.pkl", "pickles"),
        ("noresume", "leave --resume out"),
        ("nowhere", "no such run directory or network file"),
    ],
)
def test_what_cannot_be_resumed_is_said_in_one_line(arguments, tmp_path, resume, message):
    with pytest.raises(InputError, match=message):
        call(train.main, *arguments, "--resume", resume)
    with pytest.raises(InputError, match=message.split(" or ")[0]):
        call(train_style.main, "--outdir", tmp_path / "runs", "--resume", resume)
    assert not (tmp_path / "runs").exists()


def test_options_given_again_are_accepted(arguments, tmp_path):
    call(train.main, *arguments, "--desc", "first try")
    (run_dir,) = (tmp_path / "runs").iterdir()
    assert run_dir.name.endswith("-seed0-first_try")
    assert f"Resuming:      {run_dir} at 0.016 kimg" in call(train.main, *arguments, "--resume", run_dir, "-n")
    assert "Preset:" not in call(train.main, *arguments, "--resume", run_dir, "--cfg", "auto", "-n")  # it has one
    with pytest.raises(InputError, match="--cfg cifar: presets are for new runs; .* was begun with tiny"):
        call(train.main, *arguments, "--resume", run_dir, "--cfg", "cifar", "-n")
    with pytest.raises(InputError, match="options: found beta2|batch"):
        call(train.main, *arguments, "--resume", run_dir, "--batch", 5, "--gpus", 2, "-n")


def test_a_ramp_may_end_at_1(arguments):
    for words in (["--gamma-end", 1], ["--aug", "fixed", "--p-end", 1]):
        assert '"ramp_kimg": 3.0' in call(train.main, *arguments, "--ramp-kimg", 3, *words, "-n")


def test_a_trained_discriminator_is_frozen_and_no_other(arguments, image_folder, tmp_path):
    call(train.main, *arguments)
    (run_dir,) = (tmp_path / "runs").iterdir()
    for new in ([], ["--resume", run_dir / "network-snapshot-000000.safetensors"]):
        with pytest.raises(InputError, match="--freezed 1: the discriminator is new, .* copy its run directory"):
            call(train.main, *arguments, "--freezed", 1, *new)
    copy, others = shutil.copytree(run_dir, tmp_path / "fine-tuned"), image_folder(6, name="others")
    call(train.main, "--outdir", tmp_path / "runs", "--resume", copy, "--data", others, "--freezed", 1, "--kimg", 0.04)
    before, after = (torch.load(path / STATE)["D"] for path in (run_dir, copy))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    frozen = {name for name in before if name.startswith(("from_rgb", "blocks.0"))}
    assert moved and frozen and not moved & frozen


def test_auto_says_which_preset_it_is_on_this_machine(arguments):
    at = arguments.index("--cfg")
    told = call(train.main, *arguments[:at], *arguments[at + 2 :], "--device", "cpu", "-n")
    assert "Preset:        small (auto:" in told and '"cfg": "small"' in told


def test_auto_of_styles_says_which_preset_it_is_on_this_machine(pictures, tmp_path):  # noqa: F811  a fixture
    words = ["--outdir", tmp_path / "runs", "--content", pictures("photos"), "--style", pictures("paintings")]
    words += ["--hold-out-content", 1, "--hold-out-style", 1, "--device", "cpu", "-n"]
    for cfg in ([], ["--cfg", "auto"]):
        told = call(train_style.main, *words, *cfg)
        assert "Preset:        small (auto:" in told and '"cfg": "small"' in told and '"encoder": "vgg16"' in told
    assert "Preset:" not in call(train_style.main, *words, "--cfg", "small")
    given = dict(content="a", style="b", cfg=None)
    assert train_style.resolve(given, torch.device("cuda")).cfg == "paper"
    assert train_style.resolve(given, torch.device("mps")).cfg == "small"


def test_a_dry_run_fetches_no_weights(pictures, tmp_path, monkeypatch):  # noqa: F811  a fixture
    def fetch(*_, **__):
        raise AssertionError("a dry run fetches")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", fetch)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    words = ["--outdir", tmp_path / "runs", "--content", pictures("photos"), "--style", pictures("paintings"), "--cfg", "paper"]
    words += ["--style-depth", 8, "--style-width", 16, "--hold-out-content", 1, "--hold-out-style", 1, "--device", "cpu", "-n"]
    assert "Encoder:       vgg19, 575 MB to be fetched once" in call(train_style.main, *words)
    with pytest.raises(InputError, match="no such file with an encoder's weights"):  # what is given is looked at all the same
        call(train_style.main, *words, "--encoder-weights", tmp_path / "nothing.pth")


def test_style_options_given_again_are_accepted(pictures, encoder_file, tmp_path):  # noqa: F811  fixtures
    again = list(options(pictures("photos"), pictures("paintings"), encoder_file, tmp_path / "runs", dict(kimg=0.002)))
    call(train_style.main, *again, "--desc", "a/b")
    (run_dir,) = (tmp_path / "runs").iterdir()
    assert run_dir.name.endswith("-a_b") and "Resuming:" in call(train_style.main, *again, "--resume", run_dir, "-n")
    with pytest.raises(InputError, match="--cfg paper: presets are for new runs"):
        call(train_style.main, *again, "--resume", run_dir, "--cfg", "paper", "-n")
    log = (run_dir / LOG).read_text(encoding="utf-8")
    assert log.startswith("Command line:  python ") and "--desc a/b" in log and '"transfer": "adaconv"' in log


def test_left_out_images_are_counted_by_both(pictures, encoder_file, tmp_path):  # noqa: F811  fixtures
    content = pictures("photos")
    (content / "000.jpg").write_bytes(b"nonsense")
    words = list(options(content, pictures("paintings"), encoder_file, tmp_path / "runs", dict(skip_bad=True)))
    printed = call(train_style.main, *words, "-n")
    assert "000.jpg" in printed and "warning: 1 image in all cannot be read, left out" in printed
    assert "2 images of photos, kept in memory (1 MB); 1 held out; 1 left out that cannot be read" in printed


def test_the_log_holds_what_was_printed(arguments, tmp_path):
    call(train.main, *arguments)
    (first,) = (tmp_path / "runs").iterdir()
    snapshot = newest_snapshot(first)
    printed = call(train.main, *arguments, "--seed", 1, "--resume", snapshot)
    (log,) = (path.read_text(encoding="utf-8") for path in (tmp_path / "runs").glob(f"*-seed1/{LOG}"))
    command, *rest = log.splitlines()
    assert command.startswith("Command line:  python ") and f"--seed 1 --resume {snapshot}" in command
    assert f"Starting from: {snapshot}: took " in log and '"seed": 1' in log and "Generator:     " in log
    missing = [line for line in printed.splitlines() if line not in rest]
    assert all(line.startswith(("Network: ", "Run directory: ", "Done. ")) for line in missing), missing


def test_a_new_directory_goes_where_nothing_was_learned(tmp_path):
    new = Start(None, "", None, False, None, None)
    for error, stays in ((InputError("x"), False), (OSError("x"), False), (Diverged("x", 0, None), True), (KeyError(), True)):
        with pytest.raises(type(error)), run_directory(new, tmp_path, "trait") as run_dir:
            raise error
        assert run_dir.exists() == stays
    with pytest.raises(InputError), run_directory(new, tmp_path, "trait") as run_dir:
        (run_dir / STATE).write_bytes(b"")
        raise InputError("x")
    assert run_dir.exists()
    old = Start(None, "", run_dir, True, None, None)
    (run_dir / STATE).unlink()
    with pytest.raises(InputError), run_directory(old, tmp_path, "trait"):
        raise InputError("x")
    assert run_dir.exists()


def test_newest_run_of_the_right_kind(tmp_path, capsys):
    """One --outdir for both trainers."""
    G = Generator(16, channel_base=256, channel_max=16, z_dim=8, style_depth=2)
    for number, kind in enumerate(("generator", "style_transfer", "generator", "style_transfer")):
        (tmp_path / f"{number:05d}-x").mkdir()
        for kimg in (0, 3):
            save_snapshot(tmp_path / f"{number:05d}-x" / f"network-snapshot-{kimg:06d}.safetensors", kind, G)
    for kind, number in (("generator", 2), ("style_transfer", 3)):
        newest = newest_snapshot(tmp_path, kind)
        assert newest == tmp_path / f"{number:05d}-x" / "network-snapshot-000003.safetensors"
        assert str(newest) in capsys.readouterr().out
    printed = call(generate.main, "--network", tmp_path, "--seeds", 0, "--outdir", tmp_path / "o")
    assert "00002-x" in printed and "1 image in" in printed
    with pytest.raises(InputError, match="no network-snapshot-….safetensors of a style transfer"):
        newest_snapshot(tmp_path / "00000-x", "style_transfer")


# ---------------------------------------------------------------- costs


def test_a_dry_run_needs_no_weights_and_says_what_scores_cost(arguments, tmp_path):
    fid = [*arguments, "--metrics", "fid50k_full", "--inception", tmp_path / "absent.pt"]
    printed = call(train.main, *fid, "-n")
    assert "scores not counted" in printed and "hours to draw 50,000 images, about 3 times" in printed
    with pytest.raises(InputError, match="absent.pt"):
        call(train.main, *fid)
    with pytest.raises(InputError, match="no metric"):
        call(train.main, *arguments, "--metrics", "fid", "-n")


def test_a_dry_run_of_a_finished_run_counts_what_is_left(arguments):
    call(train.main, *arguments)
    printed = call(train.main, *arguments, "--resume", "auto", "-n")
    assert "the run is at its end of 0.016 kimg" in printed and "hours" not in printed
    assert "hours for the 0.024 kimg that are left" in call(train.main, *arguments, "--resume", "auto", "-n", "--kimg", 0.04)


def test_an_estimate_has_a_limit(monkeypatch):
    """On a clock of its own each image takes a second to draw, which is counted once, and one in each update: then two are
    timed, and a batch is 16 times as long."""
    clock, seen = [0.0], []

    def step(state, config, images, c, means=None, generated=None):
        clock[0] += len(images)
        seen.append(len(images))

    for name in ("generate", "discriminator_step", "generator_step"):
        monkeypatch.setattr(estimates, name, step)
    monkeypatch.setattr(estimates.time, "monotonic", lambda: clock[0])
    config = TrainingConfig(data="", batch=32, channel_base=128, channel_max=16, z_dim=8, style_depth=2)
    state, images = TrainingState(config, 16, 3, 0), torch.zeros(32, 3, 16, 16)
    slow = estimate(state, config, images, None, CPU, limit=30)
    assert set(seen) == {2} and slow.least and clock[0] < 30 and slow.sec_per_kimg == pytest.approx(3000)
    seen.clear()
    fast = estimate(state, config, images, None, CPU, limit=10000)
    assert seen[:9] == [2] * 9 and set(seen[9:]) == {32} and not fast.least and fast.sec_per_kimg == pytest.approx(3000)
    words = " ".join(costs_in_words(slow, config, CPU, 0, 0))
    assert "at least" in words and "20,833 hours on this CPU: --cfg small is made for CPUs" in words


def test_too_long_is_for_cpus_and_days():
    assert "take 100 hours on this CPU: do less" in too_long(360, 1000, CPU, "do less")[0]
    assert not too_long(360, 100, CPU, "") and not too_long(360, 1000, torch.device("cuda"), "")


def test_a_run_that_would_take_days_says_so_after_its_first_steps(tmp_path):
    class State:
        nimg, step, seconds, first_scores, snapshot_nimg = 0, 0, 0.0, {"x": 1.0}, -1
        save = staticmethod(lambda run_dir: None)

    class Quiet(Reporter):
        first_pictures = lambda self: None

    class Config(TrainingConfig):
        way_out = "do less"

    config, state = Config(data="", kimg=25000), State()
    with contextlib.closing(Quiet(config, state, tmp_path, CPU, StopRequest())) as reporter:
        reporter.begin()
        for seconds in (500.0, *[32.0] * 10):  # the first step warms up
            state.nimg, state.step, state.seconds = state.nimg + 32, state.step + 1, state.seconds + seconds
            reporter.progress()
            warned = (tmp_path / LOG).read_text(encoding="utf-8").count("take 6,944 hours on this CPU: do less")
            assert warned == (state.step > TIMED_STEPS)


def test_more_processes_than_cores_are_warned_of(capsys):
    config = TrainingConfig(data="", batch=512, gpus=512)
    train.check_processes(config, CPU)
    assert "warning: --gpus 512: this machine has no GPU to use and " in capsys.readouterr().err


def test_pauses_are_no_time_of_the_work(monkeypatch, capsys):
    clock = [0.0]
    monkeypatch.setattr("torch_utils.cli.time.monotonic", lambda: clock[0])
    progress = Progress("work", 10, "kimg")
    clock[0] = 20.0
    with progress.paused():
        clock[0] = 1000.0
    progress.update(2)
    assert capsys.readouterr().err == "work: 2/10 kimg, 10 s/kimg, 1m 20s left\n"


def test_a_bar_that_is_not_shown_says_nothing(monkeypatch, capsys):
    clock = [0.0]
    monkeypatch.setattr("torch_utils.cli.time.monotonic", lambda: clock[0])
    for shown in (True, False):
        progress = Progress("work", 10, "kimg", shown=shown)
        clock[0] += 1000.0
        progress.update(2)
        progress.close()
        assert bool(capsys.readouterr().err) == shown


def test_counts_in_words():
    assert [counted(1, "class"), counted(2, "class"), counted(0, "image")] == [
        "1 class",
        "2 classes",
        "0 images",
    ]
    assert (ROOT / "train.py").read_text(encoding="utf-8").count("\n") < 200
