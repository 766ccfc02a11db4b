"""What the environment says of several processes."""

import pytest

from torch_utils import torchrun
from torch_utils.files import InputError
from torch_utils.torchrun import Place

HERE = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "1234"}


@pytest.mark.parametrize(
    "changes, wanted",
    [
        (dict(LOCAL_RANK="1", LOCAL_WORLD_SIZE="2"), Place(1, 2, 1, 2)),
        (dict(LOCAL_RANK="0", LOCAL_WORLD_SIZE="1"), Place(1, 2, 0, 1)),  # on the second of two machines
        (dict(LOCAL_RANK="1"), Place(1, 2, 1, 2)),
        ({}, Place(1, 2, 0, 1)),  # from a scheduler that starts one on each machine
        (dict(RANK=""), None),
        (dict(MASTER_ADDR=""), None),
    ],
)
def test_a_place(changes, wanted):
    assert torchrun.place(HERE | changes) == wanted


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(RANK="2"), "RANK=2 of 2"),
        (dict(RANK="-1"), "RANK='-1', wanted a whole number"),
        (dict(WORLD_SIZE="9" * 99), "wanted a whole number to 65536"),
        (dict(LOCAL_RANK="1", LOCAL_WORLD_SIZE="1"), "LOCAL_RANK=1 of 1"),
        (dict(LOCAL_RANK="0", LOCAL_WORLD_SIZE="3"), "LOCAL_RANK=0 of 3"),
    ],
)
def test_no_place(changes, message):
    with pytest.raises(InputError, match=message):
        torchrun.place(HERE | changes)


def test_gpus_beside_torchrun(monkeypatch):
    assert [torchrun.processes(gpus) for gpus in (None, 3)] == [None, 3]
    torchrun.check_alone("this")
    for name, value in HERE.items():
        monkeypatch.setenv(name, value)
    assert [torchrun.processes(gpus) for gpus in (None, 2)] == [2, 2]
    assert [torchrun.on_this_machine(world) for world in (2, 5)] == [1, 5]
    with pytest.raises(InputError, match="--gpus 3: torchrun has started 2"):
        torchrun.processes(3)
    with pytest.raises(InputError, match="this is one process, and torchrun has started 2"):
        torchrun.check_alone("this")
