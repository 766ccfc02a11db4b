"""Options as they are declared, shown by --help and read from the command line."""

import re

import click
import pytest
from click.testing import CliRunner

import calc_metrics
import generate
import train
import train_style
from scripts import dataset_tool
from tests.conftest import ROOT
from training.gan.config import TrainingConfig, resolve
from training.gan.names_elsewhere import CONFIGS, HINTS
from training.gan.presets import PRESETS
from training.gan.state import TrainingState
from training.run.options import DATA, GROUPS, LENGTH, options_of
from training.style_transfer.config import StyleConfig

NEEDED = {train.main: ["--outdir", "o", "--data", "x"], train_style.main: ["--outdir", "o", "--content", "x", "--style", "y"]}
KIND = {train.main: TrainingConfig, train_style.main: StyleConfig}


def help_of(command, *arguments) -> str:
    """In one line, as where a line ends depends on the width."""
    finished = CliRunner().invoke(command, [*arguments, "--help"])
    assert finished.exit_code == 0
    return " ".join(finished.output.split())


def parsed(command, *arguments) -> dict:
    return command.make_context("command", [*NEEDED[command], *arguments]).params


@pytest.mark.parametrize("command", NEEDED)
def test_help_has_headings_in_order(command):
    text = help_of(command)
    used = {option.group for option in options_of(KIND[command]).values()} - {None}
    places = [text.index(f"{group}: --") for group in GROUPS if group in used]
    assert len(places) == len(used) >= 4 and places == sorted(places) and places[-1] < text.index("Options: --")
    first = text[text.index(f"{LENGTH}: --cfg ") : text.index(f" {DATA}: --outdir ")]
    found = re.findall(r"(--\w+) FLOAT|(--resume) RUN_DIR|(-n), --dry-run", first)
    hours = ["--hours"] if command is train.main else []
    assert ["".join(names) for names in found] == ["--kimg", *hours, "--resume", "-n"]
    for name, option in options_of(KIND[command]).items():
        assert (f"--{option.name or name.replace('_', '-')} " in text) == (option.group is not None), name


def test_help_shows_the_numbers_of_a_preset():
    at = lambda text, option: text.split(f" --{option} ", 1)[1].split("[default: ", 1)[1].split("]")[0]
    assert at(help_of(train.main), "batch") == "by preset" and at(help_of(train.main), "seed") == "0"
    for words in (["--cfg", "tiny"], ["--cfg=tiny"]):
        tiny = help_of(train.main, *words)
        names = "batch", "kimg", "glr", "cmax", "target", "metrics", "grow-from", "mirror"
        numbers = {name: at(tiny, name) for name in names}
        assert numbers == dict(
            batch="8",
            kimg="24",
            glr="0.001",
            cmax="128",
            target="0.77",
            metrics="fd1k_full-efficientnet_lite0",
            mirror="0",
        ) | {"grow-from": "8"}
        assert at(tiny, "cbase") == "by image size" and "by preset" not in tiny
    assert at(help_of(train.main, "--cfg", "ffhq64"), "mirror") == "1"
    assert at(help_of(train.main, "--cfg", "stylegan2"), "pl-weight") == "2"
    assert at(help_of(train_style.main, "--cfg", "small"), "crop") == "128"
    assert at(help_of(train_style.main), "crop") == "by preset" and at(help_of(train_style.main), "style-weight") == "by preset"
    assert help_of(train.main, "--cfg", "nonsense") == help_of(train.main)


@pytest.mark.parametrize("command", NEEDED)
def test_the_command_line_takes_what_a_file_may_hold(command):
    """Both ends of each range; and not what is beyond."""
    for name, option in options_of(KIND[command]).items():
        word = f"--{option.name or name.replace('_', '-')}"
        for bound, beyond in ((option.min, -1), (option.max, 1)):
            if option.group and bound is not None:
                assert parsed(command, word, str(bound))[name] == bound
                with pytest.raises(click.BadParameter, match="not in the range"):
                    parsed(command, word, str(bound + beyond))
    assert parsed(command)["seed"] is None and parsed(command, "--seed", str(2**32 - 1))["seed"] == 2**32 - 1


def test_types_and_absolute_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert parsed(train_style.main, "--kernel-size", "5")["kernel_size"] == 5
    assert parsed(train_style.main)["content"] == str(tmp_path / "x")
    assert parsed(train.main, "--metrics", "a,b", "--grow", "1")["metrics"] == ["a", "b"]
    with pytest.raises(click.BadParameter, match=r"'1'.*'3'.*'5'"):
        parsed(train_style.main, "--kernel-size", "4")


def test_widths_arrive_in_the_networks():
    given = {"channel_base": 320, "channel_max": 17, "d_channel_base": 160}
    config = TrainingConfig(data="x", **resolve("tiny", 32, given))
    state = TrainingState(config, 32, 3, 0)
    widths = lambda network: {
        p.shape[0] for name, p in network.named_parameters() if name.endswith(("conv.weight", "conv1.weight"))
    }
    assert max(widths(state.G.synthesis.layers)) == 17 and 10 in widths(state.G.synthesis.layers)
    assert max(widths(state.D)) == 17 and 10 in widths(state.D)


@pytest.mark.parametrize(
    "option, answer",
    [
        ("--width", "--cbase and --cmax"),
        ("--map-depth", "the preset sets it"),
        ("--kd-l1-lambda", "not distilled"),
        ("--transfer", "--modulation"),
        ("--fp32", "--precision"),
        ("--gama", "did you mean --gamma?"),
        ("--surprise", "--help lists them all"),
    ],
)
def test_unknown_options_are_answered(option, answer):
    with pytest.raises(click.NoSuchOption) as caught:
        parsed(train.main, option, "1")
    assert answer in caught.value.format_message() and "--dest" not in caught.value.format_message()


GUIDE = (ROOT / "docs" / "coming-from-stylegan.md").read_text(encoding="utf-8")


def test_presets_of_stylegan_are_answered_as_the_guide_says():
    theirs = {name for name in CONFIGS if name.startswith("paper")}
    told = {}
    for line in re.findall(r"^\| `--cfg paper.*$", GUIDE, re.M):
        _, there, here, _ = line.split("|")
        told |= dict.fromkeys(re.findall(r"paper\d+", there), re.search(r"--cfg (\w+)", here)[1])
    assert set(told) == theirs and all(f"--cfg {ours}" in CONFIGS[name] for name, ours in told.items())
    for hint in CONFIGS.values():
        assert set(re.findall(r"--cfg (\w+)", hint)) <= set(PRESETS), hint


def test_lengths_of_w_are_as_the_guide_says():
    length = {cfg: 9 * resolve(cfg, 64, {}).get("style_depth", TrainingConfig.style_depth) for cfg in PRESETS}
    words = f"{length['auto']} with `auto` on a GPU, {length['small']} with `small` and `demo`, {length['tiny']} with `tiny`"
    assert words in " ".join(GUIDE.split()) and length["demo"] == length["small"]


def test_hints_name_what_there_is():
    """And hide no option of ours."""
    ours = {name for option in train.main.params for name in option.opts}
    assert not [name for name in ours for pattern in HINTS if re.fullmatch(pattern, name)]
    for hint in HINTS.values():
        for name in re.findall(r"--[a-z-]+", hint):
            assert name in ours | {"--transfer", "--resolution", "--trunc"}, hint


@pytest.mark.parametrize(
    "command, words, answer",
    [
        (generate.main, ["--psi", "0.7"], "it is called --trunc"),
        (generate.main, ["--num", "4"], "--seeds 0-63"),
        (calc_metrics.main, ["--num-samples", "4"], "how many is in the metric's name"),
        (dataset_tool.main, ["--width", "32"], "--resolution 64x64"),
        (train.main, ["--cfg", "stylegan3-t"], "StyleGAN3's layers are not implemented"),
        (train.main, ["--cfg", "paper256"], "it is --cfg ffhq256"),
        (train.main, ["--cmax", "many"], "'many' is not a valid integer."),
        (train.main, ["--gamma", "x"], "'x' is not a valid float."),
    ],
)
def test_habits_of_other_projects_are_answered(command, words, answer):
    """And no hint hides an option."""
    with pytest.raises(click.UsageError) as caught:
        command.make_context("command", words)
    assert answer in caught.value.format_message()
    ours = {name for option in command.params for name in option.opts}
    assert not [name for name in ours for pattern in command.hints if re.fullmatch(pattern, name)]
