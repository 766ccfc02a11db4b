"""training_options.json, which may come from elsewhere."""

import json
from dataclasses import fields

import pytest

from torch_utils.files import InputError, read_json
from training.gan.config import CHOICES, RANGES, TrainingConfig


def test_every_option_is_checked():
    by_type_or_name = {"data", "cond", "mirror", "noise", "grow", "skip_bad", "modulation_options", "metrics", "cfg"}
    assert {field.name for field in fields(TrainingConfig)} == set(RANGES) | set(CHOICES) | by_type_or_name
    for name, (least, most) in RANGES.items():
        default = getattr(TrainingConfig, name)
        assert default is None or least <= default <= most
        for value in (least, most):
            TrainingConfig.from_json({"data": "x", name: value})


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("data", 3, "str"),
        ("data", None, "str"),
        ("batch", 8.0, "int"),
        ("batch", None, "int"),
        ("batch", True, "int"),
        ("batch", 0, "from 1"),
        ("batch", 10**9, "from 1"),
        ("gpus", 0, "from 1"),
        ("seed", -1, "from 0"),
        ("glr", "fast", "float"),
        ("glr", 0, "from"),
        ("gamma", float("nan"), "from 0"),
        ("kimg", float("inf"), "from"),
        ("mirror", 1, "bool"),
        ("mapping_layers", 10**7, "from 1 to 64"),
        ("style_depth", 10**9, "from 1"),
        ("subset", "all", "int | None"),
        ("modulation", "adacone", "one of adaconv, adain, demod"),
        ("modulation", ["adaconv"], "str"),
        ("cfg", "none", "one of auto"),
        ("augpipe", "", "one of"),
        ("modulation_options", [1], "dict | None"),
        ("metrics", "fid", "list of names"),
        ("metrics", [1], "list of names"),
        ("surprise", [[[[[[[[1]]]]]]]], "no option"),
    ],
)
def test_wrong_options_are_named(name, value, wanted):
    with pytest.raises(InputError, match=rf"^here: found {name} = .*{wanted}"):
        TrainingConfig.from_json({"data": "x"} | {name: value}, "here")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "cannot be read as JSON"),
        (b"\xff\xfe\xff", "cannot be read as JSON"),
        (b"[" * 100_000, "cannot be read as JSON"),
        (b'{"a": ' + b"1" * 5000 + b"}", "cannot be read as JSON"),
        (b'{"a": 1, "a": 2}', "'a' is given twice"),
        (b" " * (1 << 20) + b"{}", "more than 1048576 bytes"),
    ],
)
def test_json_that_is_no_json(tmp_path, text, message):
    (tmp_path / "a.json").write_bytes(text)
    with pytest.raises(InputError, match=f"a.json: .*{message}"):
        read_json(tmp_path / "a.json")
    with pytest.raises(InputError, match="no file"):
        read_json(tmp_path)


def test_round_trip_through_a_file(tmp_path):
    config = TrainingConfig(data="x", metrics=("a", "b"), subset=5, modulation_options={"kernel_size": 1})
    (tmp_path / "a.json").write_text(json.dumps(config.to_json()))
    assert TrainingConfig.from_json(read_json(tmp_path / "a.json")) == config


def test_errors_are_one_line_that_a_terminal_can_show():
    error = InputError("a\nb\x1b[2J\udcff" + "x" * 10_000)
    assert str(error).startswith("a b\\x1b[2J\\udcffxxx") and str(error).isprintable() and len(str(error)) < 3000
