"""The state of a training run on disk: whole or absent, the last two of them, each with a checksum."""

import math
import reprlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from torch_utils.files import InputError, atomic_write, replace_by_copy
from torch_utils.run_dir import PREVIOUS_STATE, STATE, states
from torch_utils.stats import Means
from torch_utils.tensor_file import digest, load_saved


def checksum(values) -> str:
    """Of everything in nested tables of tensors and plain values. PyTorch's reader does not check the file's own sums."""
    return digest(_parts(values))


def _parts(value) -> Iterator[bytes | torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield f"{value.dtype} {list(value.shape)}".encode()
        yield value
    elif isinstance(value, dict):
        for key in value:
            yield repr(key).encode()
            yield from _parts(value[key])
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _parts(item)
    else:
        yield repr(value).encode()


class SavedState:
    """The counters of a run. Subclasses have networks and optimisers, too, and name all that is saved, in this order."""

    NETWORKS: tuple[str, ...]
    OPTIMISERS: tuple[str, ...]
    SCALARS: tuple[str, ...] = ("means",)  # small objects with a state_dict of numbers
    COUNTERS: tuple[str, ...] = ("nimg", "step", "seconds", "snapshot_nimg", "first_scores")

    def __init__(self, run: str = ""):
        self.run = run  # fingerprint of the run that it belongs to; "": begun before there were any
        self.nimg = 0  # images seen; of a style transfer, content images
        self.step = 0  # updates done
        self.snapshot_nimg = -1  # images seen at the last snapshot
        self.means = Means()  # of the tick that is under way
        self.seconds = 0.0  # of training, evaluation not counted
        self.first_scores: dict[str, float] = {}  # metric -> score at the start, of the metrics that were scored there

    def state_dict(self) -> dict:
        """Of tensors and plain values."""
        parts = {name: getattr(self, name).state_dict() for name in self.NETWORKS + self.OPTIMISERS + self.SCALARS}
        return parts | {name: getattr(self, name) for name in self.COUNTERS} | {"run": self.run}

    def load_state_dict(self, values: dict) -> None:
        """`ValueError`, or whatever PyTorch says, for values that no run like this one has had."""
        if self.run and values.get("run") and values["run"] != self.run:
            raise ValueError("it is the state of another run")
        for name in self.NETWORKS + self.SCALARS:
            getattr(self, name).load_state_dict(values[name])
        for name in self.OPTIMISERS:
            load_optimiser(getattr(self, name), values[name])
        for name in self.COUNTERS:
            check_counter(name, values[name], getattr(self, name))
            setattr(self, name, values[name])
        for name in self.NETWORKS:
            for key, tensor in getattr(self, name).state_dict().items():
                if not tensor.isfinite().all():
                    raise ValueError(f"{name}.{key} is not finite")

    def shared_values(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Whatever is the same in all processes of a run, by name."""
        for name in self.NETWORKS:
            for key, tensor in getattr(self, name).state_dict().items():
                yield f"{name}.{key}", tensor
        yield "nimg", torch.tensor(self.nimg)

    def save(self, run_dir: Path) -> None:
        """Write `training-state.pt`; the one before stays as `training-state.previous.pt`."""
        path, previous = run_dir / STATE, run_dir / PREVIOUS_STATE
        values = self.state_dict()
        with atomic_write(path, before_rename=lambda: replace_by_copy(path, previous)) as file:
            try:
                torch.save(values | {"checksum": checksum(values)}, file)
            except RuntimeError as error:  # PyTorch's way to say that the file could not be written
                raise (error.__context__ if isinstance(error.__context__, OSError) else error) from None

    def load(self, run_dir: Path, device: torch.device | str = "cpu") -> None:
        """Continue from what `save` wrote; `InputError` where there is nothing that fits."""
        for path in states(run_dir):
            try:
                values = load_saved(path, device, links=False)
                if values.pop("checksum", None) != checksum(values):
                    raise ValueError("its checksum is not that of its contents")
                self.load_state_dict(values)
                return
            except Exception as error:  # whatever a damaged file makes PyTorch say
                problem = f"{path}: cannot be resumed from ({' '.join(str(error).split())[:200]})"
                print(f"note: {problem}", file=sys.stderr)
        raise InputError(problem if states(run_dir) else f"{run_dir}: there is no {STATE} to resume from")


def check_sizes(run_dir: Path, networks: Mapping[str, torch.nn.Module]) -> None:
    """`InputError` where the newest state that can be read has tensors of other shapes than `networks`, which are on the meta
    device: options ask for memory, and a file of options may come from anywhere."""
    for path in states(run_dir):
        try:
            values = load_saved(path, "meta", links=False)
            found = {name: {key: tuple(value.shape) for key, value in values[name].items()} for name in networks}
        except Exception:  # noqa: S112  damaged: `load` says so
            continue
        for name, network in networks.items():
            wanted = {key: tuple(value.shape) for key, value in network.state_dict().items()}
            if wanted != found[name]:
                raise InputError(f"{run_dir}: its options ask for another network ({name}) than is in {path.name}")
        return


def check_counter(name: str, value: Any, own: Any) -> None:
    """`ValueError` for a counter of another kind than a run's `own`, for NaN, and for a negative one (-1: not yet)."""
    numbers = value.values() if isinstance(value, dict) else [value]
    numeric = all(type(number) in (int, float) and math.isfinite(number) and number >= -1 for number in numbers)
    if type(value) is not type(own) or not numeric or (name != "snapshot_nimg" and not isinstance(value, dict) and value < 0):
        raise ValueError(f"found {name} = {reprlib.repr(value)}")


def load_optimiser(optimiser: torch.optim.Optimizer, values: dict) -> None:
    """What it has accumulated, but not its settings: the learning rate is an option, not a state."""
    own = [{key: value for key, value in group.items() if key != "params"} for group in optimiser.param_groups]
    optimiser.load_state_dict(values)
    known = {parameter for group in optimiser.param_groups for parameter in group["params"]}
    if strangers := [key for key in optimiser.state if key not in known]:
        raise ValueError(f"found what an optimiser has of {str(strangers[0])[:40]!r}, which is no parameter")
    for group, settings in zip(optimiser.param_groups, own):
        group.update(settings)
        for parameter in group["params"]:
            check_moments(optimiser.state.get(parameter, {}), parameter)


def check_moments(values: Mapping[str, torch.Tensor], parameter: torch.Tensor) -> None:
    """`ValueError` for what Adam has of no parameter like this one; PyTorch does not check."""
    if values and set(values) != {"step", "exp_avg", "exp_avg_sq"}:
        raise ValueError(f"found {', '.join(map(str, values))[:80]} of an optimiser, wanted those of Adam")
    for name, value in values.items():
        wanted = torch.Size() if name == "step" else parameter.shape
        if value.shape != wanted:
            raise ValueError(f"found {name} of shape {list(value.shape)}, wanted {list(wanted)}")
        if not value.isfinite().all() or name != "exp_avg" and (value < 0).any():
            raise ValueError(f"found {name} that is not finite, or negative")
