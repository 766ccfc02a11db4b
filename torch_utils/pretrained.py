"""What `--network` means: a name in `pretrained/`, a snapshot, or a folder, of which it is the newest snapshot."""

import contextlib
import os
from pathlib import Path

from torch_utils.checkpoint import read_snapshot
from torch_utils.files import InputError
from torch_utils.run_dir import newest_snapshot

PRETRAINED = Path(__file__).resolve().parents[1] / "pretrained"
TRAINERS = {"generator": "train.py", "style_transfer": "train_style.py"}


def find_network(name_or_path: str | Path, kind: str | None = None) -> Path:
    """The file of a network. `kind`: "generator" or "style_transfer"; None: either.

    A name in `pretrained/` goes before a file or folder of the same name, which an absolute path means. Where the user has not
    given the file itself, prints which it is. `InputError`, which lists the names, for what does not exist.
    """
    path = Path(name_or_path)
    named = PRETRAINED / f"{path.name}.safetensors"
    if str(path) == path.name and os.path.isfile(named):
        print(f"Network:       {named}")
        return named
    if not os.path.exists(path):
        names = ", ".join(names_of(kind))
        trainers = TRAINERS[kind] if kind else " or ".join(TRAINERS.values())
        instead = f"by name there are: {names}" if names else f"give one that {trainers} wrote with --network"
        raise InputError(f"{name_or_path}: no such network file; {instead}")
    return newest_snapshot(path, kind)


def names_of(kind: str | None) -> list[str]:
    """The networks of this kind in `pretrained/`; None: of either."""
    names = []
    for path in sorted(PRETRAINED.glob("*.safetensors")):
        with contextlib.suppress(InputError):  # weights of an encoder
            if kind in (None, read_snapshot(path, tensors=False).kind):
                names.append(path.stem)
    return names
