"""training_options.json, which may come from elsewhere."""

import json
from typing import get_args, get_type_hints

import click
import pytest
import torch

from torch_utils.cli import NAMED_VALUES
from torch_utils.files import InputError, read_json, write_json
from training.gan.config import TrainingConfig, resolve
from training.gan.contradictions import group_notes
from training.gan.presets import PRESETS
from training.run.options import GROUPS, SIDES, options_of
from training.run.start import restore
from training.style_transfer.config import StyleConfig


@pytest.mark.parametrize("kind, needed", [(TrainingConfig, {"data": "x"}), (StyleConfig, {"content": "x", "style": "y"})])
def test_every_option_is_checked(kind, needed):
    """Each number has a least value, and it, the greatest and the default are accepted; what is beyond is not."""
    types, options = get_type_hints(kind), options_of(kind)
    for name, option in options.items():
        kinds = get_args(types[name]) or (types[name],)
        assert option.help and (option.group is None or option.group in GROUPS)
        if {int, float} & set(kinds) and option.choices is None:
            assert option.min is not None or option.above is not None, name
        for bound, step in ((option.min, -1), (option.max, 1)):
            if bound is not None:
                kind.from_json(needed | {name: bound})
                with pytest.raises(InputError, match=rf"^options: found {name} = "):
                    kind.from_json(needed | {name: bound + step})
        for bound in (option.above, option.below):
            if bound is not None:
                with pytest.raises(InputError, match=rf"^options: found {name} = "):
                    kind.from_json(needed | {name: bound})
    kind.from_json(kind(**needed).to_json())


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
        ("glr", 0, "a number above 0"),
        ("beta2", 1, "from 0 below 1"),
        ("gamma", 10**400, "from 0"),
        ("subset", 2**31 + 1, "from 1"),
        ("gamma", float("nan"), "from 0"),
        ("kimg", float("inf"), "from"),
        ("mirror", 1, "bool"),
        ("mapping_layers", 10**7, "from 1 to 64"),
        ("style_depth", 10**9, "from 1"),
        ("subset", "all", "int | None"),
        ("modulation", "adacone", "one of adaconv, adain, demod, bank, none"),
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
        (b" " * (1 << 20) + b"{}", "wanted at most 1,048,576"),
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


@pytest.mark.parametrize(
    "cfg, given, wanted",
    [
        ("tiny", dict(kernel_size=1), dict(kernel_size=1)),
        ("small", dict(kernel_size=1, parts="bias"), dict(demodulate=True, kernel_size=1, parts="bias")),  # over the preset's
        ("small", dict(demodulate=False), dict(demodulate=False)),
        ("tiny", dict(identity=1, per_group=None), dict(identity=1, per_group=None)),
    ],
)
def test_options_of_the_modulation(cfg, given, wanted):
    assert resolve(cfg, 32, dict(modulation_options=given))["modulation_options"] == wanted


def test_options_of_a_preset_are_those_of_its_modulation():
    assert resolve("small", 32, dict(modulation="adaconv"))["modulation_options"] == dict(demodulate=True)
    assert "modulation_options" not in resolve("small", 32, dict(modulation="bank"))
    bank = resolve("small", 32, dict(modulation="bank", modulation_options=dict(kernels=8)))
    assert bank["modulation_options"] == dict(kernels=8)
    with pytest.raises(InputError, match="--modulation-options kernels=8: demod has lr_multiplier"):
        resolve("stylegan2", 32, dict(modulation_options=dict(kernels=8)))


@pytest.mark.parametrize(
    "given, wanted",
    [
        (dict(kernels=2), "kernels=2: adaconv has kernel_size, per_group, .*, parts"),
        (dict(kernel_size=3.0), "kernel_size=3.0: wanted int"),
        (dict(demodulate=1), "demodulate=1: wanted bool"),
        (dict(per_group="all"), "per_group='all': wanted int or none"),
        (dict(parts=3), "parts=3: wanted str or none"),
        (dict(up=True), "up=True: adaconv has .*"),
        (dict(identity="NaN"), "identity='NaN': wanted float"),
    ],
)
def test_options_that_the_modulation_has_not(given, wanted):
    with pytest.raises(InputError, match=f"^--modulation-options {wanted}$"):
        resolve("tiny", 32, dict(modulation_options=given))


@pytest.mark.parametrize(
    "given, wanted",
    [
        (dict(per_group=0), "per_group 0 must be 1 or more"),
        (dict(kernel_size=4), "kernel_size 4 must be odd"),
        (dict(identity=2), "identity 2 must be in"),
        (dict(parts="colour"), "parts 'colour' must be"),
    ],
)
def test_values_that_the_modulation_does_not_take(given, wanted):
    """It is the option that is named, and not the data; random numbers are as before."""
    before = torch.random.get_rng_state()
    with pytest.raises(InputError, match=f"^--modulation-options: {wanted}"):
        resolve("tiny", 32, dict(modulation_options=given))
    resolve("tiny", 32, dict(modulation_options=dict(kernel_size=5)))
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    "text, wanted",
    [
        ("a=1", dict(a=1)),
        ("a=1.5, b=true,c=null,d=spatial+bias", dict(a=1.5, b=True, c=None, d="spatial+bias")),
        ("a=NaN", dict(a="NaN")),
    ],
)
def test_named_values(text, wanted):
    assert NAMED_VALUES.convert(text, None, None) == wanted


@pytest.mark.parametrize("text", ["", "a", "=1", "a=1,,b=2", "a=1,a=2", "a=1,b"])
def test_what_names_no_values(text):
    with pytest.raises(click.BadParameter, match="wanted NAME=VALUE,…"):
        NAMED_VALUES.convert(text, None, None)


def test_a_resumed_run_has_its_other_options_still(tmp_path):
    stored = TrainingConfig(data="x", modulation_options=dict(demodulate=True, kernel_size=1))
    write_json(tmp_path / "training_options.json", stored.to_json())
    again = restore(TrainingConfig, tmp_path, dict(modulation_options=dict(kernel_size=1)))
    assert again == stored
    assert restore(TrainingConfig, tmp_path, dict(modulation_options=dict(identity=0.5))).modulation_options == dict(
        demodulate=True, kernel_size=1, identity=0.5
    )


def defaults(cfg="auto", side=64, **given):
    """Of a new run."""
    return TrainingConfig(data="x", **resolve(cfg, side, given) | dict(cfg=cfg))


@pytest.mark.parametrize("cfg", PRESETS)
@pytest.mark.parametrize("before", [dict(), dict(aug="ada"), dict(aug="fixed", loss="logistic")])
@pytest.mark.parametrize("given", [dict(aug="fixed"), dict(aug="noaug"), dict(loss="logistic"), dict(loss="relativistic")])
def test_defaults_that_go_with_a_choice_are_those_of_a_new_run(tmp_path, cfg, before, given):
    for side in SIDES:
        write_json(tmp_path / "training_options.json", defaults(cfg, side, **before).to_json())
        assert restore(TrainingConfig, tmp_path, given) == defaults(cfg, side, **before | given)


@pytest.mark.parametrize(
    "before, given, wanted",
    [
        (dict(), dict(aug="fixed"), dict(p=0.2)),
        (dict(), dict(aug="fixed", p=0.5), dict(p=0.5)),
        (dict(aug="fixed", p=0.5), dict(aug="fixed", kimg=3.0), dict(p=0.5)),
        (dict(aug="fixed"), dict(aug="ada"), dict(p=0.0, target=0.77)),
        (dict(aug="ada", target=0.5), dict(loss="logistic"), dict(target=0.5, pl_weight=2.0, style_mixing=0.9)),
        (dict(aug="ada"), dict(loss="logistic", pl_weight=0.0), dict(target=0.6, pl_weight=0.0, style_mixing=0.9)),
    ],
)
def test_what_was_chosen_is_kept_whatever_it_goes_with(tmp_path, before, given, wanted):
    write_json(tmp_path / "training_options.json", defaults(**before).to_json())
    config = restore(TrainingConfig, tmp_path, given)
    assert {name: getattr(config, name) for name in wanted} == wanted


def test_errors_are_one_line_that_a_terminal_can_show():
    error = InputError("a\nb\x1b[2J\udcff" + "x" * 10_000)
    assert str(error).startswith("a b\\x1b[2J\\udcffxxx") and str(error).isprintable() and len(str(error)) < 3000


def test_groups_that_depend_on_the_number_of_processes_are_named():
    notes = lambda **options: group_notes(TrainingConfig(data="", **options))
    assert not notes(batch=16) and not notes(batch=6) and not notes(batch=16, gpus=4) and not notes(batch=16, batch_gpu=8)
    assert "of 3 images, not of 4" in notes(batch=6, gpus=2)[0] and "of 2 images" in notes(batch=16, gpus=2, batch_gpu=2)[0]
