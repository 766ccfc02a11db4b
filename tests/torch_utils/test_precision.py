"""Which number format is chosen where nobody has chosen, that a run keeps its own, and what stays in float32 all the same."""

import dataclasses
import json

import click
import pytest
import torch

import calc_metrics
import generate
import stylize
import train
import train_style as train_style_command
from networks.generator import Generator
from networks.style_transfer.decoder_init import init_from_encoder
from networks.style_transfer.feature_losses import STYLE_LOSSES, content_loss, structure_loss
from networks.style_transfer.vgg import style_features
from tests.commands.test_calc_metrics import Cells
from tests.commands.test_commands import NO_METRICS, SHORT
from tests.style_fixtures import random_stylizer, smooth
from tests.training.style_transfer.test_style_training import TINY, encoder_file, fake_vgg, make, options, pictures  # noqa: F401  two are fixtures
from torch_utils import precision
from torch_utils.checkpoint import save_snapshot
from torch_utils.files import InputError, write_json
from torch_utils.images import to_uint8
from torch_utils.platform import has_amx, machine_in_words
from torch_utils.precision import AUTO, PRECISIONS, autocast, float32, prepare, resolve_precision
from torch_utils.stats import read_jsonl
from training.dataset import ImageDataset
from training.gan.config import TrainingConfig
from training.gan.loop import train as train_generator
from training.gan.losses import gradient_penalty
from training.gan.state import TrainingState
from training.run.start import find_run, stored_options
from training.style_transfer.config import StyleConfig
from training.style_transfer.loop import style_step, train_style
from training.style_transfer.state import StyleState

CPU = torch.device("cpu")
CAPS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")


@pytest.fixture
def amx(monkeypatch):
    """amx(True): as if this CPU had it, and nothing in the environment kept it from being used; likewise AVX512_BF16."""

    def pretend(has: bool, avx512_bf16: bool = False, **environment):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: has, raising=False)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512_bf16, raising=False)
        for name in CAPS:
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)

    return pretend


def test_a_run_from_before_keeps_the_borders_it_was_begun_with(tmp_path):
    values = TrainingConfig(data="x").to_json()
    assert values.pop("padding") == "zeros"
    write_json(tmp_path / "training_options.json", values)
    assert stored_options(TrainingConfig, tmp_path).padding == "replicate"


# ---------------------------------------------------------------- the rule


@pytest.mark.parametrize("capability, wanted", [((7, 5), "fp32"), ((8, 0), "bf16"), ((8, 9), "bf16"), ((12, 0), "bf16")])
def test_gpus(monkeypatch, capability, wanted):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    found, why = resolve_precision(AUTO, torch.device("cuda"))
    assert found == wanted and f"{capability[0]}.{capability[1]}" in why


@pytest.mark.parametrize(
    "has, vectors, wanted, why",
    [
        (True, True, "bf16", "auto: this CPU has AMX"),
        (False, True, "bf16", "auto: this CPU has instructions for bf16"),
        (False, False, "fp32", "auto: no bf16 in this CPU, or it may not be used"),
    ],
)
def test_cpus(amx, has, vectors, wanted, why):
    amx(has, vectors)
    assert resolve_precision(AUTO, CPU) == (wanted, why)


@pytest.mark.parametrize(
    "environment, free",
    [
        ({"ONEDNN_MAX_CPU_ISA": value}, False)
        for value in ("AVX512_CORE", "AVX512_CORE_BF16", "avx512_core_fp16", "AVX2", "SSE41")
    ]
    + [({"ONEDNN_MAX_CPU_ISA": value}, True) for value in ("AVX512_CORE_AMX", "avx512_core_amx_fp16", "ALL", "default", "")]
    + [
        ({"DNNL_MAX_CPU_ISA": "AVX2"}, False),
        ({"ONEDNN_MAX_CPU_ISA": "", "DNNL_MAX_CPU_ISA": "AVX2"}, False),
        ({"ONEDNN_MAX_CPU_ISA": "ALL", "DNNL_MAX_CPU_ISA": "AVX2"}, True),  # the newer name is looked at first
    ],
)
def test_an_environment_that_caps_onednn(amx, environment, free):
    amx(True, **environment)
    assert has_amx() == free
    assert resolve_precision(AUTO, CPU)[0] == ("bf16" if free else "fp32")
    amx(False, **environment)
    assert resolve_precision(AUTO, CPU)[0] == "fp32" and not has_amx()


@pytest.mark.parametrize("cap, free", [("AVX512_CORE", False), ("AVX512_CORE_VNNI", False), ("AVX512_CORE_BF16", True)])
def test_an_environment_that_caps_vectors(amx, cap, free):
    amx(True, True, ONEDNN_MAX_CPU_ISA=cap)
    assert not has_amx()
    assert resolve_precision(AUTO, CPU)[0] == ("bf16" if free else "fp32")


def test_machines_of_one_name_and_different_pace_are_told_apart(amx):
    found = set()
    for has in ((True, True), (False, True), (False, False)):
        amx(*has)
        found.add(machine_in_words(CPU))
    assert len(found) == 3 and sum("(AMX)" in words for words in found) == 1


def test_a_pytorch_that_does_not_tell(amx, monkeypatch):
    amx(True)
    monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported")
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported")
    assert resolve_precision(AUTO, CPU)[0] == "fp32"


def test_other_devices_and_what_was_asked_for(amx):
    amx(True)
    assert resolve_precision(AUTO, torch.device("mps"))[0] == "fp32"
    for device in (CPU, torch.device("cuda"), torch.device("mps")):
        assert [resolve_precision(name, device) for name in PRECISIONS] == [(name, "") for name in PRECISIONS]


def test_float32_is_for_a_while():
    flags = lambda: (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32)
    before = flags()
    try:
        prepare("bf16")
        with pytest.raises(KeyError), float32():
            assert flags() == (False, False)
            raise KeyError
        assert flags() == (True, True)
    finally:
        precision._allow_tf32(*before)


# ---------------------------------------------------------------- commands: auto is the default, and a run keeps what it has


@pytest.fixture(params=["train", "train_style"])
def training(request, image_folder, tmp_path, monkeypatch, capsys):
    """training("--kimg", 1) -> what the command prints, in this process, with the options of a short run."""
    outdir = tmp_path / "runs"
    if request.param == "train":
        command, kind = train.main, TrainingConfig
        monkeypatch.setattr(train, "print_costs", lambda config, *rest: print("costs in", config.precision))
        own = ["--data", image_folder(8), *SHORT, *NO_METRICS]
    else:
        command, kind = train_style_command.main, StyleConfig
        folders = [request.getfixturevalue("pictures")(name) for name in ("photos", "paintings")]
        encoder = request.getfixturevalue("encoder_file")
        own = list(options(*folders, encoder, outdir, dict(kimg=0.002, device="cpu")))

    def run(*arguments, common=own):
        words = [*common, *arguments, "--outdir", outdir]
        command.main([str(word) for word in words], standalone_mode=False)
        return capsys.readouterr().out

    run.outdir, run.kind = outdir, kind
    return run


def line(printed: str) -> str:
    (found,) = (text for text in printed.splitlines() if text.startswith("Precision:"))
    return found.split(None, 1)[1]


def test_auto_is_the_default_and_a_run_keeps_what_it_was_begun_with(training, amx):
    """Begun on a machine with AMX, continued on one without."""
    amx(False)
    assert line(training("-n")) == "fp32 (auto: no bf16 in this CPU, or it may not be used)"
    amx(True)
    dry = training("-n")
    assert line(dry) == line(training("-n", "--precision", "auto")) == "bf16 (auto: this CPU has AMX)"
    assert '"precision": "bf16"' in dry and not training.outdir.exists()
    assert training.kind is StyleConfig or "costs in bf16" in dry
    assert line(training("-n", "--precision", "tf32")) == "tf32"
    training()
    (run_dir,) = training.outdir.iterdir()
    assert stored_options(training.kind, run_dir).precision == "bf16"

    amx(False)
    resuming, by_name = f"Resuming:      {run_dir} at", ["--device", "cpu", "-n", "--resume", run_dir]
    for asked in ([], ["--precision", "auto"]):
        found = training("-n", "--resume", "auto", *asked), training(*by_name, *asked, common=[])
        assert all(line(printed) == "bf16 (as the run was begun)" and resuming in printed for printed in found)
    training("--resume", "auto", "--kimg", "0.02")
    assert list(training.outdir.iterdir()) == [run_dir]
    assert stored_options(training.kind, run_dir).precision == "bf16"

    # Asked for, it is an option like others: another run, or a change of this one
    other = training("-n", "--resume", "auto", "--precision", "fp32")
    assert line(other) == "fp32" and str(run_dir) not in other
    found = training("-n", "--resume", "auto", "--precision", "bf16")
    assert line(found) == "bf16" and resuming in found
    changed = training(*by_name, "--precision", "fp32", common=[])
    assert line(changed) == "fp32" and resuming in changed


def test_a_run_without_a_state_is_begun_in_what_this_machine_is_fast_in(training, amx):
    amx(True)
    training()
    (run_dir,) = training.outdir.iterdir()
    for path in [*run_dir.glob("*.pt"), *run_dir.glob("network-*")]:
        path.unlink()
    amx(False)
    assert line(training("--resume", "auto")).startswith("fp32 (auto: ")
    assert list(training.outdir.iterdir()) == [run_dir]
    assert stored_options(training.kind, run_dir).precision == "fp32"


def test_an_unasked_option_does_not_count(tmp_path):
    config = TrainingConfig(data="x", precision="bf16")
    for number, changes in enumerate((dict(precision="fp32"), dict(precision="fp32", seed=1), dict(precision="fp16", seed=2))):
        run_dir = tmp_path / f"{number:05d}-x"
        run_dir.mkdir()
        write_json(run_dir / "training_options.json", dataclasses.replace(config, **changes).to_json())
        (run_dir / "training-state.pt").write_bytes(b"")
    assert find_run(tmp_path, config) is None
    assert find_run(tmp_path, config, {"precision"}) == tmp_path / "00000-x"
    assert find_run(tmp_path, dataclasses.replace(config, seed=2, precision="fp16")) == tmp_path / "00002-x"


def test_style_runs_from_before_there_was_a_choice_are_in_float32(tmp_path):
    values = StyleConfig(content="a", style="b").to_json()
    del values["precision"]
    (tmp_path / "training_options.json").write_text(json.dumps(values))
    assert stored_options(StyleConfig, tmp_path).precision == "fp32"


def test_auto_is_never_stored_and_fp16_is_not_for_styles(tmp_path):
    for kind, needed in ((TrainingConfig, dict(data="x")), (StyleConfig, dict(content="a", style="b"))):
        with pytest.raises(InputError, match="precision = 'auto'"):
            kind.from_json(needed | {"precision": AUTO})
    for command in (train_style_command.main, stylize.main):
        choices = next(option for option in command.params if option.name == "precision")
        assert list(choices.type.choices) == ["auto", "fp32", "tf32", "bf16"]
        assert "default: auto" in choices.get_help_record(click.Context(command, show_default=True))[1]
    with pytest.raises(InputError, match="precision = 'fp16'"):
        StyleConfig.from_json(dict(content="a", style="b", precision="fp16"))


# ---------------------------------------------------------------- style transfer in sixteen bits


def pair(side: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    return smooth(side, side, seed=1, n=2), smooth(side, side, seed=2, n=2)


def losses_of_a_step(**changes) -> tuple[dict, StyleState]:
    config = StyleConfig(content="", style="", **TINY | changes)
    state, encoder = StyleState(config), fake_vgg()
    content, style = pair(64)
    state.measure_encoder(encoder, [content, style])
    encoder.rescale(state.network.encoder_means)
    # It draws, where random weights make noise of noise.
    init_from_encoder(state.network, encoder, style_features(encoder(content)))
    style_step(state, config, encoder, content, style)
    return state.means.take(), state


@pytest.mark.parametrize("transfer", ["adaconv", "adain"])
@pytest.mark.parametrize("loss", STYLE_LOSSES)
def test_a_step_in_bf16_is_close_to_one_in_float32(transfer, loss):
    changes = dict(transfer=transfer, style_loss=loss, identity_weight=1.0)
    wanted, _ = losses_of_a_step(**changes)
    found, state = losses_of_a_step(**changes, precision="bf16")
    assert found.keys() == wanted.keys() == {"content", "style", "identity"}
    for name in wanted:
        assert found[name] == pytest.approx(wanted[name], rel=0.15), name
        assert found[name] != wanted[name]
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in state.network.parameters())
    grads = [p.grad for p in state.network.parameters()]
    assert all(g is not None and g.dtype == torch.float32 and g.isfinite().all() for g in grads)


@pytest.mark.parametrize("loss", [content_loss, *STYLE_LOSSES.values()])
def test_losses_are_computed_in_float32(loss):
    """Of features in sixteen bits, in and out of autocast, to the last bit; covariances are in the features' own format."""
    generator = torch.Generator().manual_seed(0)
    x, y = ([torch.randn(2, 8, 6, 6, generator=generator).bfloat16() for _ in range(2)] for _ in range(2))
    wanted = loss(*([f.float() for f in features] for features in (x, y)))
    found = [loss(x, y)]
    with autocast("bf16", CPU):
        found += [loss(x, y), loss(*([f.float() for f in features] for features in (x, y)))]
    for value in found:
        assert value.dtype == torch.float32
        assert torch.equal(value, wanted) or (loss is structure_loss and value.item() == pytest.approx(wanted.item(), rel=0.01))


@pytest.mark.parametrize("transfer", ["adaconv", "adain"])
@pytest.mark.parametrize("tile", [None, 16])
def test_pictures_in_bf16_are_those_in_float32(transfer, tile):
    content, style = (images[:1] for images in pair(48))
    found = {}
    for name in ("fp32", "bf16"):
        stylizer = random_stylizer(transfer)
        stylizer.precision = name
        descriptor = stylizer.encode_style(style, tile)
        image = stylizer.stylize(content, stylizer.network.kernels(descriptor), tile)
        assert descriptor.dtype == image.dtype == torch.float32
        found[name] = to_uint8(image).float()
    difference = (found["bf16"] - found["fp32"]).abs()
    assert found["fp32"].std() > 10
    assert 0 < difference.mean() < 3, difference.mean()  # random weights on maps of 6×6: trained ones are ten times closer


def test_tiles_in_bf16_are_the_whole():
    stylizer = random_stylizer()
    stylizer.precision = "bf16"
    content, style = (images[:1] for images in pair(64))
    kernels = stylizer.network.kernels(stylizer.encode_style(style))
    whole, tiled = (to_uint8(stylizer.stylize(content, kernels, tile)).float() for tile in (None, 16))
    assert (whole - tiled).abs().mean() < 1.5


# ---------------------------------------------------------------- what is in float32 whatever the training is in


@pytest.fixture
def no_sixteen_bits(monkeypatch):
    """Entering autocast is an error."""

    def refuse(self):
        raise AssertionError("autocast")

    monkeypatch.setattr(torch.autocast, "__enter__", refuse)


def test_pictures_and_scores_of_a_generator_in_training(image_folder, tmp_path):
    """Of the untrained network, which is the same: to the last bit those of a training in float32."""
    dataset, seen = ImageDataset(str(image_folder(8))), {}
    small = dict(data="", kimg=0.004, batch=4, channel_base=128, channel_max=16, z_dim=8, style_depth=2, workers=0)
    for name in ("fp32", "bf16"):
        config = TrainingConfig(**small, precision=name)
        state = TrainingState(config, 16, 3, 0)
        drawn = []

        def evaluate(fakes, drawn=drawn):
            assert not torch.is_autocast_enabled("cpu")
            assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32
            drawn.append(torch.cat(list(fakes(4))))
            return []

        (tmp_path / name).mkdir()
        assert train_generator(config, dataset, state, tmp_path / name, evaluate, CPU)
        assert len(drawn) == 2 and state.step == 1
        seen[name] = drawn[0], (tmp_path / name / "fakes_init.png").read_bytes()
    assert torch.equal(seen["fp32"][0], seen["bf16"][0]) and seen["fp32"][1] == seen["bf16"][1]


def test_pictures_and_scores_of_a_style_transfer_in_training(pictures, tmp_path):  # noqa: F811
    """Likewise; the encoder is measured in float32 as well, and a mirrored decoder made of it."""
    content, style, seen = pictures("photos"), pictures("paintings"), {}
    for name in ("fp32", "bf16"):
        config, crops, state = make(content, style, kimg=0.002, decoder_start="mirrored", precision=name)
        (tmp_path / name).mkdir()
        assert train_style(config, *crops, state, fake_vgg(), tmp_path / name, CPU)
        files = [tmp_path / name / f"metric-{metric}_loss.jsonl" for metric in ("style", "content")]
        before, after = zip(*([record["value"] for record in read_jsonl(file)] for file in files))
        seen[name] = before, (tmp_path / name / "fakes_init.png").read_bytes(), state.network.encoder_means
        assert before != after
    assert seen["fp32"][:2] == seen["bf16"][:2] and torch.equal(seen["fp32"][2], seen["bf16"][2])


def test_generate_and_calc_metrics(image_folder, tmp_path, amx, monkeypatch, no_sixteen_bits):
    """On a machine where trainings would be in bf16."""
    amx(True)
    monkeypatch.setenv("ADACONV_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(0)
    network = tmp_path / "network-snapshot-000001.safetensors"
    save_snapshot(network, "generator", Generator(16, channel_base=128, channel_max=16, z_dim=8, style_depth=2))
    torch.jit.script(Cells()).save(str(tmp_path / "cells.pt"))
    drawn = ["--network", network, "--device", "cpu"]
    scored = ["--metrics", "fd1k_full", "--trust-code", "--detector", tmp_path / "cells.pt", "--data", image_folder(40)]
    scored += ["--outdir", tmp_path]
    generate.main.main([*map(str, drawn), "--seeds", "0", "--outdir", str(tmp_path)], standalone_mode=False)
    calc_metrics.main.main([*map(str, drawn + scored)], standalone_mode=False)
    assert (tmp_path / "seed0000.png").exists() and (tmp_path / "metric-fd1k_full-cells.jsonl").exists()


@pytest.mark.parametrize("precision, penalised", [("bf16", torch.bfloat16), ("fp16", torch.float32), ("fp32", torch.float32)])
def test_penalties_are_in_sixteen_bits_where_their_range_suffices(precision, penalised):
    """And come out as in float32, to what bf16 rounds."""
    torch.manual_seed(0)
    conv, x = torch.nn.Conv2d(3, 8, 3), torch.randn(4, 3, 16, 16)

    def penalty(precision):
        images = x.clone().requires_grad_()
        with autocast(precision, CPU, twice=True):
            features = conv(images)
        return features.dtype, gradient_penalty(features.float().square().mean(dim=(1, 2, 3))[:, None], images)

    dtype, found = penalty(precision)
    assert dtype == penalised and found.dtype == torch.float32
    wanted = penalty("fp32")[1]
    assert ((found - wanted).abs() <= 0.02 * wanted).all()
    (by_weight,) = torch.autograd.grad(found.sum(), conv.weight)
    (right,) = torch.autograd.grad(wanted.sum(), conv.weight)
    assert (by_weight - right).norm() <= 0.02 * right.norm()
