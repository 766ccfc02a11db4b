"""Hostile values of options: whatever is typed, a command refuses it in one line, soon, or could do what it asks for."""

import dataclasses
import math
import time
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import calc_metrics
import generate
import stylize
import train
import train_style
from scripts import dataset_tool, gen_video, projector, truncation
from tests.commands.test_fuzz import peak_megabytes
from torch_utils import memory
from torch_utils.cli import MAX_NUMBER
from torch_utils.files import InputError
from training.gan.budget import check_networks
from training.gan.config import TrainingConfig, resolve
from training.gan.contradictions import check_given
from training.gan.presets import PRESETS
from training.style_transfer.budget import check_network
from training.style_transfer.config import StyleConfig

SECONDS, MEGABYTES = 2, 1000
COMMANDS = {
    command.main.name if command.main.name != "main" else command.__name__.split(".")[-1]: command.main
    for command in (train, train_style, generate, stylize, calc_metrics, dataset_tool, gen_video, projector, truncation)
}
WORDS = st.one_of(
    st.sampled_from(
        [
            "nan",
            "inf",
            "-inf",
            "1e39",
            "-1",
            "0",
            "1",
            "2",
            "4",
            "8",
            "16",
            "0.5",
            "1e-9",
            "1e308",
            "9" * 5000,
            "65536",
            "1073741824",
        ]
        + [
            "4096",
            "1024",
            "True",
            "none",
            "auto",
            "cpu",
            "meta",
            "cuda:99",
            "",
            " ",
            "-",
            "--",
            "\x1b[2J",
            "a\nb",
            "٣",
            "1_000",
        ]
        + [
            "0x10",
            "1,2,3",
            "0-9999999",
            "3-1",
            ",",
            "/dev/zero",
            "/",
            "../..",
            "x" * 300,
            "~",
            "\udcff",
            "=",
            "a=b",
            "FILE:0=nan",
        ]
        + ["fp16", "bf16", "small", "tiny", "paper", "ada", "fixed", "logistic", "adain", "fid1k", "8x8", "8×8"]
    ),
    st.integers(-(2**70), 2**70).map(str),
    st.floats().map(repr),
    st.text(max_size=6).filter(lambda text: "\0" not in text),
)


@st.composite
def lines(draw, command: click.Command) -> list[str]:
    """One to four options with values, most of which no one would choose."""
    named = [option for option in command.params if isinstance(option, click.Option) and option.name not in ("help", "version")]
    words: list[str] = []
    for option in draw(st.lists(st.sampled_from(named), min_size=1, max_size=4)):
        choices = list(option.type.choices) if isinstance(option.type, click.Choice) else []
        words.append(option.opts[-1])
        if not option.is_flag:
            words.append(draw(st.one_of(WORDS, st.sampled_from(choices)) if choices else WORDS))
    return words


def parse(command: click.Command, words: list[str]) -> dict | None:
    """The values of options; None where the command refused them in a line."""
    required = [option for option in command.params if option.required and not set(option.opts) & set(words)]
    for option in required:
        words = [*words, option.opts[-1], "x"]
    try:
        return command.make_context("x", words).params
    except (click.ClickException, InputError) as error:
        message = error.format_message() if isinstance(error, click.ClickException) else str(error)
        assert len(message) < 20_000
        return None


def of_generator(values: dict) -> None:
    """What `train.main` does before networks are built."""
    given = {name for name, value in values.items() if value not in (None, 0, False)}
    named = {field.name for field in dataclasses.fields(TrainingConfig)}
    options = {name: value for name, value in values.items() if name in named and value is not None} | {"data": "x"}
    options["precision"] = "fp32" if options.get("precision") == "auto" else options.get("precision", "fp32")
    cfg = options.get("cfg") if options.get("cfg") in PRESETS else "tiny"
    config = TrainingConfig.from_json(resolve(cfg, 32, options) | {"cfg": cfg})
    train.check_processes(config, torch.device("cpu"))
    images = SimpleNamespace(resolution=(32, 32), channels=3, c_dim=0)
    check_given(given, config, images, SimpleNamespace(nimg=0, D=SimpleNamespace(blocks=[None] * 3)))
    check_networks(config, images, torch.device("cpu"), None)


def of_style_transfer(values: dict) -> None:
    named = {field.name for field in dataclasses.fields(StyleConfig)}
    options = {name: value for name, value in values.items() if name in named and value is not None}
    options |= {"content": "x", "style": "x", "cfg": None if options.get("cfg") == "auto" else options.get("cfg")}
    options["precision"] = "fp32" if options.get("precision") == "auto" else options.get("precision", "fp32")
    check_network(train_style.resolve(options, torch.device("cpu")), torch.device("cpu"), None)


AFTER = {"train": of_generator, "train_style": of_style_transfer}


def numbers(values) -> list[float]:
    return [value for value in values if isinstance(value, float)]


def fuzz_options(name: str, examples: int, known: bool, monkeypatch, cwd: Path) -> int:
    monkeypatch.chdir(cwd)
    monkeypatch.setattr(memory, "available_bytes", lambda device: 4e9)
    command, count, before = COMMANDS[name], 0, sorted(cwd.iterdir())

    @settings(
        max_examples=examples, derandomize=known, database=None, deadline=None, suppress_health_check=list(HealthCheck),
        phases=[Phase.generate], print_blob=True,
    )  # fmt: skip
    @given(lines(command))
    def once(words: list[str]) -> None:
        nonlocal count
        count += 1
        start, began = peak_megabytes(restart=True), time.process_time()
        values = parse(command, words)
        if values is not None:
            assert all(math.isfinite(value) and abs(value) <= MAX_NUMBER for value in numbers(values.values()))
            try:
                AFTER.get(name, lambda values: None)(values)
            except InputError as error:
                assert str(error).isprintable() and len(str(error)) < 3000
        assert time.process_time() - began < SECONDS and peak_megabytes() - start < MEGABYTES
        assert sorted(cwd.iterdir()) == before

    once()
    return count


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_hostile_options(name, monkeypatch, tmp_path):
    assert fuzz_options(name, 30, True, monkeypatch, tmp_path) >= 20


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_a_thousand_hostile_options(name, monkeypatch, tmp_path):
    assert fuzz_options(name, 1000, False, monkeypatch, tmp_path) >= 800
