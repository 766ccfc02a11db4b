"""Curves of a run in Weights & Biases or trackio, which have one Python interface. Nothing is sent unless that was asked."""

import importlib
import uuid
from pathlib import Path
from typing import Any

from torch_utils.files import InputError, first_line, read_json, write_json
from torch_utils.run_dir import TRACKING

NOWHERE = "none"
TRACKERS = (NOWHERE, "wandb", "trackio")
PROJECT = "adaconv"


def require_tracker(name: str) -> Any:
    """The module; None for NOWHERE. `InputError` where it is not installed."""
    if name == NOWHERE:
        return None
    try:
        return importlib.import_module(name)
    except ImportError:
        raise InputError(f"--track {name}: it is not installed; `pip install {name}` brings it") from None


def start_tracking(name: str, run_dir: Path, config: dict[str, Any]) -> Any:
    """A run of the tracker, to which `log(numbers, step=images seen)` adds and which `finish()` ends; None for NOWHERE.

    A resumed run goes on in the same curves, by an identifier that the run directory keeps. `config` is shown with them.
    """
    module = require_tracker(name)
    if module is None:
        return None
    path = run_dir / TRACKING
    known = read_json(path, links=False) if path.exists() else {}
    identifier = known.get(name) if isinstance(known, dict) else None
    if not isinstance(identifier, str):
        identifier = f"{run_dir.absolute().name[:100]}-{uuid.uuid4().hex[:8]}"
        write_json(path, (known if isinstance(known, dict) else {}) | {name: identifier})
    names = dict(name=identifier) | (dict(id=identifier) if name == "wandb" else {})
    try:
        return module.init(project=PROJECT, config=config, resume="allow", **names)
    except Exception as error:  # no account, no connection
        raise InputError(f"--track {name}: {first_line(error)[:200]}") from None
