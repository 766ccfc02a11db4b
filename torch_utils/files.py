"""Files that are either whole or absent, and the one error type for what a user can put right."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

TEMPORARY = ".writing"  # suffix of a file that is not finished yet


class InputError(ValueError):
    """Something from outside (a file, an option) is not as wanted. Commands print it as one line and exit with 2."""


def first_line(error: BaseException) -> str:
    """An exception in one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@contextlib.contextmanager
def atomic_write(path: str | Path, mode: str = "wb") -> Iterator[IO]:
    """Open a temporary file beside `path`; flush it to disk and rename it when the block ends, delete it when it fails."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
    try:
        with open(temporary, mode, **text) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: str | Path, value) -> None:
    with atomic_write(path, "w") as file:
        json.dump(value, file, indent=2)
        file.write("\n")


def append_jsonl(path: str | Path, record: dict) -> None:
    """Append one record as one line with a single write, so that a line is never half there after a crash."""
    line = json.dumps(record) + "\n"
    with open(path, "ab") as file:
        file.write(line.encode())
        file.flush()
        os.fsync(file.fileno())


def sha256(path: str | Path) -> str:
    """Hash of the file's bytes, in hex."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def cache_dir() -> Path:
    """Where recomputable things are kept: `$ADACONV_CACHE`, or `adaconv` under the user's cache folder."""
    if path := os.environ.get("ADACONV_CACHE"):
        return Path(path)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "adaconv"
