"""Records of runs: one line of JSON for each run, in a file to which several commands may append at once.

A line is written at once and never changed; a run that is recorded again gets another line, and the last one counts.
"""

from collections.abc import Callable
from pathlib import Path

import click

from torch_utils.files import InputError, append_jsonl, make_folders
from torch_utils.stats import read_jsonl

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


def read_records(records: Path) -> dict[str, dict]:
    """Name of a run -> its last record; empty where there is no file. `InputError` for a line that is no table."""
    found = read_jsonl(records)
    if not all(isinstance(record.get("name"), str) for record in found):
        raise InputError(f"{records}: found a record without a name")
    return {record["name"]: record for record in found}
