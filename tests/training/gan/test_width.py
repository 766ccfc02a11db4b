"""A run is the same run at any width: one, two or four processes, and another number after each resume."""

import functools
import itertools
import json

import numpy as np
import pytest
import torch
from PIL import Image

from tests.ranks import run_ranks
from torch_utils import distributed
from torch_utils.images import from_uint8
from training.data_order import permutation
from training.dataset import ImageDataset
from training.gan import loop
from training.gan.config import TrainingConfig
from training.gan.state import TrainingState
from training.run.loop import advance

SMALL = dict(batch=16, channel_base=64, channel_max=8, z_dim=8, style_depth=2, reg_interval=2, workers=0, precision="fp32")
SWITCHES = {
    "relativistic": {},
    "logistic": dict(loss="logistic", pl_weight=2.0, pl_interval=2, style_mixing=0.9),
    "ada": dict(aug="ada", augpipe="bgcfnc", p=0.5, target=0.1, ada_kimg=0.5),
    "labels": dict(cond=True),
    "growing": dict(grow=True, grow_kimg=0.024),  # the third step fades a level in
    "forced_norm": dict(forced_norm=True),
    "projected": dict(projected=1.0),
}
LOSSES, OTHERS = list(SWITCHES)[:2], list(SWITCHES)[2:-1]
FEW = (  # any two switches are on together in one of these
    "relativistic ada labels growing",
    "relativistic ada forced_norm",
    "logistic ada labels forced_norm",
    "logistic growing forced_norm",
)
SPLITS = [(2, None), (1, 4), (2, 4), (4, None)]  # processes, and --batch-gpu
STEPS = 5  # p of ada moves after the fourth
IMAGES = 10


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    pixels = np.random.RandomState(0).randint(0, 256, (IMAGES, 16, 16, 3), dtype=np.uint8)
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"{i}.png")
    (folder / "dataset.json").write_text(json.dumps({"labels": [[f"{i}.png", i % 3] for i in range(IMAGES)]}))
    return folder


@pytest.fixture(scope="module")
def alone(images, tmp_path_factory):
    """alone(recipes) -> what one process finds of each."""

    @functools.cache
    def find(recipes):
        folder = tmp_path_factory.mktemp("alone")
        run_ranks(record_worker, 1, images, folder, None, recipes)
        return torch.load(folder / "1-0.pt", weights_only=True)

    return find


def every_recipe(loss):
    """With and without each of the other switches."""
    choices = itertools.product(*((name, "") for name in OTHERS))
    return tuple(" ".join(filter(None, (loss, *chosen))) for chosen in choices)


def make(folder, **changes):
    """In double precision; and where the indices of the images go that this process reads."""
    torch.set_default_dtype(torch.float64)
    config = TrainingConfig(**SMALL | dict(data=str(folder)) | changes)
    dataset = ImageDataset(folder, use_labels=config.cond)
    read, seen = dataset.training_batch, []
    dataset.training_batch = lambda indices: seen.append(list(indices)) or read(indices)
    state = TrainingState(config, 16, 3, dataset.c_dim)
    for name in state.NETWORKS:
        getattr(state, name).double()
    loop.from_uint8 = lambda x: from_uint8(x).double()
    return config, dataset, state, seen


def restored(worker):
    """A worker may run in the process of the tests, too."""

    def run(*args):
        try:
            worker(*args)
        finally:
            torch.set_default_dtype(torch.float32)
            loop.from_uint8 = from_uint8

    return run


def record_worker(*args):
    restored(_record)(*args)


def _record(rank, world, device, folder, out, parts, recipes):
    """A file for each process: what it saw, the gradients of each step, and what the run keeps of all images."""
    found = {}
    for name in recipes:
        changes = functools.reduce(dict.__or__, map(SWITCHES.get, name.split()))
        config, dataset, state, seen = make(folder, batch_gpu=parts, **changes)
        step, data = loop.make_step(config, dataset, state, device, rank, world)
        gradients = []
        for _ in range(STEPS):
            advance(step, config, state)
            parameters = [*state.G.parameters(), *state.D.parameters()]
            gradients.append(torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters]))
        data.close()
        distributed.check_equal(state.shared_values(), device)
        means = distributed.average(state.means.take(), device)
        kept = torch.tensor([state.strength.p, state.strength.r_t_sum, state.path_mean, *state.G.mapping.w_avg])
        found[name] = dict(seen=seen, gradients=torch.stack(gradients), kept=kept, means=means)
    torch.save(found, out / f"{world}-{rank}.pt")


def check(images, alone, out, world, parts, recipes):
    """The same pictures in the same order, and gradients, r_t, path lengths and means as those of one process."""
    one = alone(recipes)
    run_ranks(record_worker, world, images, out, parts, recipes)
    ranks = [torch.load(out / f"{world}-{rank}.pt", weights_only=True) for rank in range(world)]
    for name in recipes:
        together = [sum(batches, []) for batches in zip(*(rank[name]["seen"] for rank in ranks))]
        assert together[:STEPS] == one[name]["seen"][:STEPS] != []
        assert ("ada" in name) == (one[name]["kept"][0] not in (0, 0.5)), name  # p has moved
        wanted = one[name]["gradients"]
        assert (wanted.abs().amax(1) > 0.01).all(), name
        for rank in ranks:
            assert (rank[name]["gradients"] - wanted).abs().max() < 1e-10, name
            assert torch.allclose(rank[name]["kept"], one[name]["kept"], rtol=1e-9, atol=1e-12), name
            assert rank[name]["means"] == pytest.approx(one[name]["means"], rel=1e-5), name  # float32


@pytest.mark.parametrize("world, parts", SPLITS[:2])
def test_gradients_do_not_depend_on_the_number_of_processes(images, alone, tmp_path, world, parts):
    check(images, alone, tmp_path, world, parts, FEW)


@pytest.mark.parametrize("world, parts", SPLITS[:2])
def test_nor_do_those_by_features_of_a_frozen_network(images, alone, tmp_path, world, parts):
    pytest.importorskip("efficientnet_lite_pytorch", reason="needs the offline extra")
    check(images, alone, tmp_path, world, parts, ("relativistic ada labels projected",))


@pytest.mark.slow
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("world, parts", SPLITS)
def test_gradients_with_every_combination_of_options(images, alone, tmp_path, world, parts, loss):
    check(images, alone, tmp_path, world, parts, every_recipe(loss))


def stage_worker(*args):
    restored(_stage)(*args)


def _stage(rank, world, device, folder, run_dir, until):
    """Go on to so many images, from the state that the run directory has."""
    config, dataset, state, seen = make(folder, **SWITCHES["ada"] | dict(loss="logistic", pl_weight=1.0, cond=True))
    if (run_dir / "training-state.pt").exists():
        state.load(run_dir)
    start = state.nimg
    step, data = loop.make_step(config, dataset, state, device, rank, world)
    while state.nimg < until:
        advance(step, config, state)
    data.close()
    state.means.share(device)
    if rank == 0:
        state.save(run_dir)
    torch.save(dict(start=start, seen=seen), run_dir / f"seen-{start:03d}-{rank}.pt")


@pytest.mark.parametrize("widths", [(2, 1), pytest.param((2, 1, 4), marks=pytest.mark.slow)])
def test_a_run_goes_on_with_another_number_of_processes(images, tmp_path, widths):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir(), parts.mkdir()
    end = 32 * len(widths)
    run_ranks(stage_worker, 1, images, whole, end)
    for number, world in enumerate(widths, 1):
        run_ranks(stage_worker, world, images, parts, 32 * number)
    order = np.concatenate([permutation(IMAGES, 0, epoch) for epoch in range(end // IMAGES + 1)]).tolist()
    seen = {}
    for path in (whole, parts):
        stages = itertools.groupby(sorted(path.glob("seen-*.pt")), lambda file: file.name.split("-")[1])
        ranks = [[torch.load(file, weights_only=True)["seen"] for file in files] for _, files in stages]
        seen[path] = [index for stage in ranks for step in zip(*stage) for batch in step for index in batch]
    assert seen[parts] == seen[whole] == order[:end]  # so each image once in every epoch
    one, other = (torch.load(path / "training-state.pt", weights_only=True) for path in (whole, parts))
    assert one["nimg"] == other["nimg"] == end and one["strength"] == other["strength"]
    assert one["path_mean"] == pytest.approx(other["path_mean"], rel=1e-9)
    for network in ("G", "D", "ema"):
        for name, value in one[network].items():
            assert torch.allclose(value, other[network][name], rtol=1e-7, atol=1e-9), (network, name)
    assert one["means"]["sums"] == pytest.approx(other["means"]["sums"], rel=1e-5)  # of what is between two ticks
