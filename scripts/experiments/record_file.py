"""Records of runs: one line of JSON for each run, in a file to which several commands may append at once.

A line is written at once and never changed; a run that is recorded again gets another line. Of the lines that answer what is
asked, the last one counts.
"""

from collections.abc import Callable
from pathlib import Path

import click

from torch_utils.files import InputError, append_jsonl, make_folders
from torch_utils.stats import read_jsonl

STARTS = "starts.jsonl"  # in a run's folder, a line for each start: images seen until then, machine, content hash of the data
FOLDER = Path(__file__).resolve().parent / "records"


def records_option(name: str) -> Callable:
    """--records, by default the file `name` of FOLDER."""
    return click.option(
        "--records",
        type=click.Path(path_type=Path),
        default=FOLDER / name,
        show_default=False,
        help="the numbers of each run, a line of JSON; the page is made from them  "
        f"[default: scripts/experiments/records/{name}]",
    )


def append_record(records: Path, name: str, record: dict) -> None:
    make_folders(records.parent)
    append_jsonl(records, dict(name=name) | record)


def append_run(records: Path, name: str, record: dict, run_dir: Path, kimg: float) -> None:
    """With what the run's folder says of its images. `InputError` where it has no scores at `kimg`: nothing is appended."""
    if until(record, kimg) is None:
        found = ", ".join(f"{point['kimg']:g}" for point in record["points"]) or "no"
        raise InputError(f"{run_dir}: has scores at {found} kimg, wanted one at {kimg:g}; give another --kimg or --outdir")
    contents = {start["content"] for start in read_jsonl(run_dir / STARTS)}
    append_record(records, name, record | (dict(content=contents.pop()) if contents else {}))


def trained_on(run_dir: Path) -> str | None:
    """The machine of a run, in words; None where it was trained on several, or nobody knows."""
    starts = read_jsonl(run_dir / STARTS)
    machines = {start["machine"] for start in starts}
    return machines.pop() if len(machines) == 1 and starts[0]["nimg"] == 0 else None


def read_records(records: Path) -> dict[str, list[dict]]:
    """Name of a run -> its records, the last one first; empty where there is no file. `InputError` for a line that is no
    table."""
    found: dict[str, list[dict]] = {}
    for record in reversed(read_jsonl(records)):
        if not isinstance(record.get("name"), str):
            raise InputError(f"{records}: found a record without a name")
        found.setdefault(record["name"], []).append(record)
    return found


def find_record(
    records: dict[str, list[dict]], name: str, same: Callable[[dict], bool], content: str, kimg: float
) -> dict | None:
    """The last record of that name whose settings are the `same`, on the images whose hash is `content`, up to `kimg`."""
    for record in records.get(name, ()):
        if same(record["settings"]) and record.get("content", content) == content:  # of before 2026-11-28: not known
            if found := until(record, kimg):
                return found
    return None


def until(record: dict, kimg: float) -> dict | None:
    """The record with its points up to `kimg`, the last of which is there: None where it is not."""
    points = [point for point in record["points"] if int(point["kimg"]) <= kimg]  # a last batch goes beyond
    return record | dict(points=points) if points and points[-1]["kimg"] >= kimg else None
