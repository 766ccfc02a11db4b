"""Two processes are one: averaged gradients, equal weights, errors that stay one line."""

import os
import tempfile

import pytest
import torch
import torch.distributed as dist

from tests.ranks import run_ranks
from torch_utils import distributed
from torch_utils.files import InputError
from torch_utils.stats import Means
from training.gan.config import TrainingConfig
from training.gan.loop import discriminator_step, generator_step
from training.gan.state import TrainingState

CPU = torch.device("cpu")


def gradients_worker(rank, world, device, path):
    torch.set_num_threads(1)
    torch.manual_seed(0)
    layer = torch.nn.Conv2d(4, 8, 3).to(memory_format=torch.channels_last)
    x = torch.randn(2, 4, 6, 6)
    layer(x[rank : rank + 1] if world > 1 else x).square().mean().backward()
    distributed.average_gradients(layer.parameters())
    means = distributed.average({"a": float(rank), "b": 3.0}, device)
    torch.save([layer.weight.grad, layer.bias.grad, means], path / f"{world}-{rank}.pt")


def test_gradients_are_averaged(tmp_path):
    for world in (1, 2):
        distributed.launch(gradients_worker, world, CPU, tmp_path)
    single, one, two = (torch.load(tmp_path / name, weights_only=True) for name in ("1-0.pt", "2-0.pt", "2-1.pt"))
    for wanted, a, b in zip(single[:2], one, two):
        assert torch.equal(a, b) and torch.allclose(a, wanted, atol=1e-6)
    assert one[2] == {"a": 0.5, "b": 3.0}


def training_worker(rank, world, device, path):
    torch.set_num_threads(1)
    config = TrainingConfig(data="", batch=4, channel_base=128, channel_max=16, z_dim=8, style_depth=2)
    state = TrainingState(config, 16, 3, 0, device)
    for step in range(2):
        torch.manual_seed(100 * rank + step)  # every process has its own images and noise
        real = torch.randn(4, 3, 16, 16)
        discriminator_step(state, config, real, None, Means())
        generator_step(state, config, real, None, Means())
    weights = torch.cat([p.detach().flatten() for network in (state.G, state.D) for p in network.parameters()])
    gathered = [torch.empty_like(weights) for _ in range(world)]
    dist.all_gather(gathered, weights)
    assert torch.equal(*gathered)
    (path / f"same-{rank}").touch()


def test_weights_stay_equal(tmp_path):
    distributed.launch(training_worker, 2, CPU, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def apart_worker(rank, world, device, out):
    weights = {"G.a": torch.ones(3, 2).t(), "D.b": torch.ones(4, dtype=torch.bfloat16), "D.on": torch.tensor(True)}
    distributed.check_equal(weights.items(), device)
    if rank == 1:
        weights["D.b"][2] = 1 + 2**-7  # the next number
        weights["D.on"].fill_(False)
    with pytest.raises(InputError, match="D.b of process 1 is not that of process 0, and 2 in all differ"):
        distributed.check_equal(weights.items(), device)
    (out / str(rank)).touch()


def test_processes_that_have_come_apart_are_noticed(tmp_path):
    run_ranks(apart_worker, 2, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def stopped_worker(rank, world, device, out):
    (out / f"{distributed.place()}").touch()
    return rank != 1


def test_a_process_that_stopped_early_is_told_of(tmp_path, monkeypatch):
    """Also where the path of temporary files has a space: processes did not find one another."""
    folder = tmp_path / "a b é"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    assert distributed.launch(stopped_worker, 2, CPU, tmp_path) is False
    assert {path.name for path in tmp_path.iterdir()} == {folder.name, "(0, 2)", "(1, 2)"}


def threads_worker(rank, world, device):
    torch.set_num_threads(1)
    for threads, expected in ((3, 3), (None, os.cpu_count())):
        with distributed.all_threads(threads):
            assert torch.get_num_threads() == expected
        assert torch.get_num_threads() == 1


def test_scores_take_the_threads_of_the_run():
    run_ranks(threads_worker, 2)


def failing_worker(rank, world, device):
    if rank == 1:
        raise InputError("image 7 is not one")


def test_a_users_mistake_stays_one_line():
    with pytest.raises(InputError, match="image 7 is not one"):
        distributed.launch(failing_worker, 2, CPU)
