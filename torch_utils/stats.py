"""What a training run reports: means over a tick, as lines of `stats.jsonl` and, where it is installed, in TensorBoard."""

import json
import os
from pathlib import Path
from typing import Any

import torch

from torch_utils import distributed
from torch_utils.files import InputError, append_jsonl, atomic_write, check_target, parse_json, read_file
from torch_utils.run_dir import METRICS, STATS

MAX_RECORDS = 1 << 27  # bytes of a file of records, or of a log


class Means:
    """Running means by name. Tensors stay on their device until they are read, so that adding never waits for a GPU."""

    def __init__(self):
        self.sums: dict[str, torch.Tensor | float] = {}
        self.counts: dict[str, int] = {}

    def add(self, **values: torch.Tensor | float) -> None:
        for name, value in values.items():
            value = value.detach().float().mean() if isinstance(value, torch.Tensor) else value
            self.sums[name] = self.sums.get(name, 0) + value
            self.counts[name] = self.counts.get(name, 0) + 1

    def take(self) -> dict[str, float]:
        """The means since the last call."""
        means = {name: float(total) / self.counts[name] for name, total in self.sums.items()}
        self.sums, self.counts = {}, {}
        return means

    def share(self, device: torch.device) -> None:
        """Take the mean of all processes' sums, so that what one of them saves is of all; later means are the same."""
        if distributed.place()[1] > 1:
            self.sums = dict(distributed.average({name: float(total) for name, total in self.sums.items()}, device))

    def state_dict(self) -> dict:
        return {"sums": {name: float(total) for name, total in self.sums.items()}, "counts": dict(self.counts)}

    def load_state_dict(self, values: dict) -> None:
        sums, counts = dict(values["sums"]), dict(values["counts"])
        whole = all(type(total) in (int, float) for total in sums.values()) and all(type(name) is str for name in sums)
        if not whole or sums.keys() != counts.keys() or not all(type(n) is int and n > 0 for n in counts.values()):
            raise ValueError("found means that are none")
        self.sums, self.counts = sums, counts


class Records:
    """Appends records to files of the run directory, to TensorBoard and to a tracker, by images seen.

    What stands there of more than `nimg` images is forgotten: a resumed run will write it again.
    """

    def __init__(self, run_dir: Path, nimg: int = -1):
        self.run_dir = run_dir
        self.tracker: Any = None  # of `tracking.start_tracking`
        for path in [run_dir / STATS, *run_dir.glob(METRICS)]:
            drop_after(path, nimg)
        try:
            from torch.utils.tensorboard import SummaryWriter

            self.tensorboard = SummaryWriter(str(run_dir), purge_step=nimg + 1)
        except ImportError:
            self.tensorboard = None

    def write(self, name: str, record: dict) -> None:
        """Append to the file of this name. `record` has `nimg`; its other numbers become curves."""
        append_jsonl(self.run_dir / name, record)
        numbers = {
            f"{Path(name).stem}/{key}": value
            for key, value in record.items()
            if isinstance(value, (int, float)) and not isinstance(value, bool) and key != "nimg"
        }
        if self.tensorboard is not None:
            for key, value in numbers.items():
                self.tensorboard.add_scalar(key, value, record["nimg"])
            self.tensorboard.flush()
        if self.tracker is not None:
            self.tracker.log(numbers, step=record["nimg"])

    def close(self) -> None:
        if self.tracker is not None:
            self.tracker.finish()
        if self.tensorboard is not None:
            self.tensorboard.close()


def read_jsonl(path: Path) -> list[dict]:
    """All records; a last line that a crash cut off is dropped. `InputError` for any other line that is none."""
    records = []
    lines = read_file(path, MAX_RECORDS, links=False).split(b"\n") if os.path.lexists(path) else []
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            record = parse_json(line, f"{path}: line {number}")
            if not isinstance(record, dict) or type(record.get("nimg", 0)) not in (int, float):
                raise InputError(f"{path}: line {number} is no record, wanted a table with its nimg")
            records.append(record)
        except InputError:
            if number != len(lines):
                raise
    return records


def drop_after(path: Path, nimg: int) -> None:
    """Forget records of more images."""
    if not os.path.lexists(path):
        return
    kept = [record for record in read_jsonl(path) if record.get("nimg", 0) <= nimg]
    with atomic_write(path, "w") as file:
        file.writelines(json.dumps(record) + "\n" for record in kept)


def resident_bytes() -> int:
    """Memory that this process has in RAM now; 0 where the system does not say."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")
    except OSError:
        pass
    try:
        import psutil

        return psutil.Process().memory_info().rss
    except ImportError:
        return 0


class Log:
    """Lines for people: to the terminal and to `log.txt`."""

    def __init__(self, path: Path | None = None):
        if path:
            check_target(path)
        self.file = open(path, "a", encoding="utf-8") if path else None  # noqa: SIM115  lives as long as the run

    def __call__(self, text: str = "") -> None:
        print(text, flush=True)
        self.write(text)

    def write(self, text: str) -> None:
        """Only to the file."""
        if self.file:
            self.file.write(text + "\n")
            self.file.flush()

    def close(self) -> None:
        if self.file:
            self.file.close()
