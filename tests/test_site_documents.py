"""What the documents of the site say about the code: lines, lengths, messages, and the options of neighbours."""

import ast
import re

import click
import pytest

import calc_metrics
import generate
import train
from scripts import dataset_tool, gen_video, projector, style_mixing
from tests.conftest import ROOT

DOCS = ROOT / "docs"


def read(name):
    return (DOCS / name).read_text(encoding="utf-8")


def test_lines_that_the_architecture_points_to():
    rows = re.findall(r"^\|.*\| `(.+?)` \| \[(.+?), line (\d+)\]\(\.\./(.+?)#L(\d+)\) \|$", read("architecture.md"), re.M)
    assert len(rows) >= 10
    for code, name, line, path, anchor in rows:
        assert name == path and line == anchor
        lines = (ROOT / path).read_text(encoding="utf-8").splitlines()
        there = [i for i, text in enumerate(lines, 1) if code in text]
        assert int(line) in there, f"{path}: {code} is in line {there}, and not {line}"


def test_lengths_of_files_to_read():
    rows = re.findall(r"^\| \[`(.+?)`\]\(\.\./(.+?)\) \| (\d+) \|", read("reading-the-code.md"), re.M)
    assert len(rows) >= 10
    for name, path, lines in rows:
        length = len((ROOT / path).read_text(encoding="utf-8").splitlines())
        assert name == path and abs(length - int(lines)) <= 10, f"{path} has {length} lines, and not about {lines}"


def messages():
    """What troubleshooting.md quotes."""
    blocks = re.findall(r"^```text\n(.*?)^```", read("troubleshooting.md"), re.M | re.S)
    return [line for block in blocks for line in block.splitlines()]


def strings_of(path):
    """Every string in a source file, with a NUL for what is filled in."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
        elif isinstance(node, ast.JoinedStr):
            found.append("".join(part.value if isinstance(part, ast.Constant) else "\0" for part in node.values))
    return found


@pytest.fixture(scope="module")
def strings():
    folders = ("torch_utils", "networks", "training", "metrics", "scripts")
    paths = [*ROOT.glob("*.py"), *(path for folder in folders for path in (ROOT / folder).rglob("*.py"))]
    return ["\n".join(strings_of(path)) for path in paths]


def quoted(message, strings):
    """Whether one file of the code has all of the message's words, with anything in the place of each `…`."""
    parts = [part.lstrip(":;, ") for part in message.removeprefix("error: ").split("…") if re.search(r"\w\w", part)]
    return bool(parts) and any(all(part in one for part in parts) for one in strings)


@pytest.mark.parametrize("message", messages())
def test_messages_that_are_quoted_are_in_the_code(message, strings):
    assert quoted(message, strings)


def test_a_wrong_quotation_is_noticed(strings):
    assert len(messages()) >= 25
    assert quoted("error: …: another training run is writing there", strings)
    assert not quoted("error: …: another training run is reading there", strings)
    assert not quoted("error: …: presets are for new runs; … another training run is writing there", strings)  # of two files


SAME = {  # command -> options of StyleGAN2-ADA or StyleGAN3 that it has under the same name
    train.main: "outdir data cfg gpus batch batch-gpu gamma kimg tick snap metrics seed mirror cond subset aug p target "
    "augpipe resume freezed cbase cmax glr dlr desc workers dry-run",
    generate.main: "network seeds trunc class noise-mode projected-w outdir",
    style_mixing.main: "network rows cols styles trunc noise-mode outdir",
    projector.main: "network target seed outdir",
    gen_video.main: "network seeds grid trunc output",
    calc_metrics.main: "network metrics data mirror gpus",
    dataset_tool.main: "source dest resolution transform max-images resize-filter",
}


@pytest.mark.parametrize("command", SAME, ids=lambda command: command.callback.__module__)
def test_options_that_neighbours_know(command):
    have = {name for option in command.params for name in option.opts}
    assert have >= {f"--{name}" for name in SAME[command].split()}


def test_what_an_option_of_a_neighbour_is_here_exists():
    """The right column of every table names options of train.py or calc_metrics.py, or is a command (test_documents.py)."""
    rows = re.findall(r"^\| (.+?) \| (.+?) \|$", read("coming-from-stylegan.md"), re.M)
    assert len(rows) >= 35
    commands: list[click.Command] = [train.main, calc_metrics.main, generate.main, style_mixing.main]
    have = {name for command in commands for option in command.params for name in option.opts}
    for _, here in rows:
        for option in re.findall(r"`(--[\w-]+)", here):
            assert option in have, option
