"""What --help of every command says."""

import re

import click
import pytest
from click.testing import CliRunner

from tests.conftest import ROOT
from tests.test_documents import all_commands, check_command

COMMANDS = all_commands()


def help_of(command) -> str:
    finished = CliRunner().invoke(command, ["--help"], terminal_width=120)
    assert finished.exit_code == 0
    return finished.output


def test_commands_are_found():
    assert {"train", "train_style", "generate", "stylize", "calc_metrics", "scripts.bench"} <= set(COMMANDS)
    assert {"scripts.ema", "scripts.viewer.__main__", "scripts.experiments.study", "scripts.benchmarks.scale"} <= set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_options_say_what_they_take_in_words(name):
    for option in COMMANDS[name].params:
        assert option.metavar or not isinstance(option.type, click.types.FuncParamType), f"{option.opts}: {option.type.name}"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_one_default_at_most_in_one_pair_of_brackets(name):
    """And no folder of this machine in it."""
    context = click.Context(COMMANDS[name], info_name=name, **COMMANDS[name].context_settings)
    records = [record for option in COMMANDS[name].get_params(context) if (record := option.get_help_record(context))]
    for words, text in records:
        assert text.count("[default:") <= 1, f"{words} {text}"
        assert not re.search(r"\[default: [(\"\[]", text) and str(ROOT) not in text, f"{words} {text}"


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_parse(name):
    lines = [line.strip() for line in help_of(COMMANDS[name]).splitlines() if line.startswith("    python ")]
    assert lines or name.startswith("scripts."), "wanted an example"
    for line in lines:
        check_command(line)
        assert not re.search(r"/\d{5}-[^…]", line), f"{line}: no run directory is called so"
