"""A run directory: the name of every file in it, the newest of its snapshots, a new directory, and that only one process trains
there."""

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from torch_utils.checkpoint import read_snapshot
from torch_utils.files import InputError, read_json, remove_unfinished

OPTIONS, PREVIOUS_OPTIONS = "training_options.json", "training_options.previous.json"
LOG = "log.txt"  # what was printed
STATS = "stats.jsonl"  # a record for each tick
CHECKED = "data.json"  # which images were looked at, and which of them are left out
HELD_OUT = "held-out.json"  # of a style transfer: the names of its held-out contents and styles
REALS, FAKES_INIT = "reals.png", "fakes_init.png"
STYLES = "styles.png"  # as they are trained on
STATE, PREVIOUS_STATE = "training-state.pt", "training-state.previous.pt"
PAGE = "report.html"
TRACKING = "tracking.json"  # what the run is called where its curves are sent
LOCK = ".lock"
SNAPSHOTS, METRICS = "network-snapshot-*.safetensors", "metric-*.jsonl"
SHARED = "model.safetensors"  # not of a run: what `save_pretrained` writes into a folder of its own
EMA = "ema"  # folder of averages
RUNS = "[0-9]" * 5 + "-*"  # in OUTDIR


def read_options(run_dir: Path, quiet: bool = False) -> dict:
    """The options of a run; {} where there are none, or none that can be read, which a note says unless `quiet`."""
    path = run_dir / OPTIONS
    try:
        if not os.path.lexists(path):
            return {}
        options = read_json(path, links=False)
        if isinstance(options, dict):
            return options
        raise InputError(f"{path}: found no table of options")
    except InputError as error:
        if not quiet:
            print(f"note: {error}; going on as if there were no options of a run", file=sys.stderr)
        return {}


def snapshot_name(nimg: int) -> str:
    return f"network-snapshot-{nimg // 1000:06d}.safetensors"


def fakes_name(nimg: int) -> str:
    return f"fakes{nimg // 1000:06d}.png"


def average_name(nimg: int, width: float) -> str:
    """In EMA. Unlike other names it has all digits: two averages of one kimg are different ones."""
    return f"{nimg:010d}-{width:.3f}.safetensors"


def averages(run_dir: Path) -> list[tuple[int, float, Path]]:
    """(images seen, width, file) of the averages that a run directory has, in the order of time."""
    paths = sorted((run_dir / EMA).glob("*.safetensors"))
    matches = ((re.fullmatch(r"(\d{10})-(\d\.\d{3})", path.stem), path) for path in paths)
    return [(int(match[1]), float(match[2]), path) for match, path in matches if match]


def metric_file(name: str) -> str:
    return f"metric-{name}.jsonl"


def states(run_dir: Path) -> list[Path]:
    """The saved states that a run directory has, newest first."""
    return [path for name in (STATE, PREVIOUS_STATE) if (path := run_dir / name).exists()]


def newest_snapshot(path: str | Path, kind: str | None = None) -> Path:
    """A file as it is; of a run directory, or of a folder with run directories, the last snapshot of the last run; of a folder
    that `save_pretrained` wrote, its network.

    With `kind` ("generator", "style_transfer"), of the last run that has such networks. Prints which one it is.
    """
    path = Path(path)
    if not os.path.isdir(path):
        return path
    found = sorted(path.glob(SNAPSHOTS)) or sorted(path.glob(f"[0-9]*-*/{SNAPSHOTS}")) or sorted(path.glob(SHARED))
    for snapshot in reversed(found):
        if kind is None or read_snapshot(snapshot, tensors=False).kind == kind:
            print(f"Network:       {snapshot}")
            return snapshot
    wanted = f" of a {kind.replace('_', ' ')}" if kind and found else ""
    raise InputError(f"{path}: the folder has no network-snapshot-….safetensors{wanted}")


def new_run_dir(outdir: Path, *traits: str) -> Path:
    """OUTDIR/00000-<trait>-<trait>-…, with the next free number."""
    try:
        outdir.mkdir(parents=True, exist_ok=True)
        numbers = [int(match[1]) for path in outdir.iterdir() if (match := re.match(r"(\d{5})-", path.name))]
        name = "-".join([f"{max(numbers, default=-1) + 1:05d}", *(re.sub(r"[^\w.-]", "_", trait) for trait in traits)])
        run_dir = outdir / name
        run_dir.mkdir()
    except OSError as error:
        raise InputError(f"--outdir {outdir}: {error.strerror}") from None
    return run_dir


@contextlib.contextmanager
def only_trainer(run_dir: Path) -> Iterator[None]:
    """Hold the run directory's lock, which dies with this process, and clear away what a killed one left half-written."""
    import filelock  # here, as whoever only draws with a network does not need it

    lock = filelock.FileLock(run_dir / LOCK)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise InputError(f"{run_dir}: another training run is writing there") from None
    try:
        remove_unfinished(run_dir)
        remove_unfinished(run_dir / EMA)
        yield
    finally:
        lock.release()
