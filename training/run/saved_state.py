"""The state of a training run on disk: whole or absent, the last two of them, each with a checksum."""

import hashlib
import sys
from pathlib import Path

import torch

from torch_utils.files import InputError, atomic_write, replace_by_copy
from torch_utils.run_dir import PREVIOUS_STATE, STATE, states


def checksum(values) -> str:
    """Of everything in nested tables of tensors and plain values. PyTorch's reader does not check the file's own sums."""
    digest = hashlib.sha256()

    def add(value) -> None:
        if isinstance(value, torch.Tensor):
            digest.update(f"{value.dtype} {list(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        elif isinstance(value, dict):
            for key in value:
                digest.update(repr(key).encode())
                add(value[key])
        elif isinstance(value, (list, tuple)):
            for item in value:
                add(item)
        else:
            digest.update(repr(value).encode())

    add(values)
    return digest.hexdigest()


class SavedState:
    """Subclasses say what the state is."""

    def state_dict(self) -> dict:
        """Of tensors and plain values."""
        raise NotImplementedError

    def load_state_dict(self, values: dict) -> None:
        raise NotImplementedError

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
                values = torch.load(path, map_location=device, weights_only=True)
                if values.pop("checksum", None) != checksum(values):
                    raise ValueError("its checksum is not that of its contents")
                self.load_state_dict(values)
                return
            except Exception as error:  # whatever a damaged file makes PyTorch say
                problem = f"{path}: cannot be resumed from ({' '.join(str(error).split())[:200]})"
                print(f"note: {problem}", file=sys.stderr)
        raise InputError(problem if states(run_dir) else f"{run_dir}: there is no {STATE} to resume from")


def load_optimiser(optimiser: torch.optim.Optimizer, values: dict) -> None:
    """What it has accumulated, but not its settings: the learning rate is an option, not a state."""
    own = [{key: value for key, value in group.items() if key != "params"} for group in optimiser.param_groups]
    optimiser.load_state_dict(values)
    for group, settings in zip(optimiser.param_groups, own):
        group.update(settings)
        for parameter in group["params"]:  # PyTorch does not check
            for name, value in optimiser.state.get(parameter, {}).items():
                if name != "step" and value.shape != parameter.shape:
                    raise ValueError(f"found {name} of shape {list(value.shape)}, wanted {list(parameter.shape)}")
