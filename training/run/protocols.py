"""What a training run of any kind needs of its configuration and its state."""

import dataclasses
from pathlib import Path
from typing import Any, ClassVar, Protocol

from torch_utils.stats import Means


class RunConfig(Protocol):
    """A frozen dataclass of options."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]
    BEFORE: dict[str, str]  # what runs had that were begun before there was a choice

    @property
    def cfg(self) -> str: ...
    @property
    def batch(self) -> int: ...
    @property
    def precision(self) -> str: ...
    @property
    def threads(self) -> int | None: ...
    @property
    def kimg(self) -> float: ...
    @property
    def tick(self) -> float: ...
    @property
    def snap(self) -> int: ...
    @property
    def save_every(self) -> float: ...
    @property
    def metrics(self) -> tuple[str, ...]: ...

    def to_json(self) -> dict[str, Any]: ...

    @staticmethod
    def from_json(values: Any, where: str | Path = ...) -> "RunConfig":
        """`InputError`, which names the place, for an option, a type or a number that no training run has."""


class RunState(Protocol):
    """A `SavedState` with the counters of a run."""

    nimg: int  # images seen
    step: int  # updates done
    seconds: float  # of training
    snapshot_nimg: int  # images seen at the last snapshot
    first_scores: dict[str, float]  # of the untrained network
    means: Means  # of the tick that is under way

    def save(self, run_dir: Path) -> None: ...
