"""Files that are either whole or absent, and the one error type for what a user can put right."""

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

TEMPORARY = ".writing"  # suffix of a file that is not finished yet
MAX_MESSAGE = 2000  # characters
DISK = ("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EACCES", "EPERM", "EIO", "ESTALE", "ENOTCONN")  # not every system has all


class InputError(ValueError):
    """Something from outside (a file, an option) is not as wanted. Commands print one line and exit with code 2."""

    def __init__(self, message: str):
        # What a message quotes comes from outside, too: a name may be as long as a book, or have control characters.
        line = " ".join(message[:MAX_MESSAGE].splitlines())
        super().__init__("".join(c if c.isprintable() else ascii(c)[1:-1] for c in line))


def disk_trouble(error: OSError) -> InputError | None:
    """Words for a disk that is full, gone or read-only; None for any other error."""
    if error.errno not in [getattr(errno, name, None) for name in DISK]:
        return None
    where = f"{error.filename}: " if error.filename else ""
    return InputError(f"{where}{error.strerror}; what was saved before is as it was")


def first_line(error: BaseException) -> str:
    """An exception in one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@contextlib.contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Let an error of the system name the file; that of a full disk does not by itself."""
    try:
        yield
    except OSError as error:
        if error.errno and not error.filename:  # an error without a number prints no file name
            error.filename = str(path)
        raise


@contextlib.contextmanager
def atomic_write(path: str | Path, mode: str = "wb", before_rename: Callable[[], None] | None = None) -> Iterator[IO]:
    """Open a temporary file beside `path`; flush it to disk and rename it when the block ends, delete it when it fails."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
    try:
        with naming(path), open(temporary, mode, **text) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if before_rename:
            before_rename()
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def make_folders(*folders: Path) -> None:
    """With those around them; `InputError` where one cannot be made."""
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{folder}: {error.strerror}") from None


def replace_by_copy(source: Path, target: Path) -> None:
    """Make `target` a copy of `source`, if there is a `source`; both are whole at every moment."""
    if source.exists():
        temporary = target.with_name(f".{target.name}.{os.getpid()}{TEMPORARY}")
        temporary.unlink(missing_ok=True)
        try:
            os.link(source, temporary)
        except OSError:  # a file system without hard links
            shutil.copyfile(source, temporary)
        os.replace(temporary, target)


def remove_unfinished(folder: Path) -> None:
    """Delete what processes left behind that were killed while writing. No other process may be writing there."""
    for path in folder.glob(f".*{TEMPORARY}"):
        path.unlink(missing_ok=True)


def write_json(path: str | Path, value) -> None:
    with atomic_write(path, "w") as file:
        json.dump(value, file, indent=2)
        file.write("\n")


def read_json(path: str | Path, max_bytes: int = 1 << 20):
    """The value in a JSON file from outside, of at most `max_bytes`; `InputError` for anything else."""
    try:
        if not os.path.isfile(path):  # reading a pipe would wait, and a device might never end
            raise InputError(f"{path}: found no file")
        with open(path, "rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    if len(data) > max_bytes:
        raise InputError(f"{path}: found more than {max_bytes} bytes, wanted fewer")
    return parse_json(data, path)


def parse_json(text: bytes | str, where: str | Path):
    """The value in JSON from outside. `InputError`, which starts with `where`, for anything else and for a key given twice."""
    try:
        return json.loads(text, object_pairs_hook=_table)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: cannot be read as JSON: {first_line(error)}") from None


def _table(pairs: list[tuple]) -> dict:
    table = {}
    for key, value in pairs:
        if key in table:
            raise ValueError(f"{key!r} is given twice")
        table[key] = value
    return table


def append_jsonl(path: str | Path, record: dict) -> None:
    """Append one record as one line with a single write, so that a crash leaves no half line."""
    line = json.dumps(record) + "\n"
    with naming(path), open(path, "ab") as file:
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
    """Where things are kept that can be computed again: `$ADACONV_CACHE`, or `adaconv` under the user's cache folder."""
    if path := os.environ.get("ADACONV_CACHE"):
        return Path(path)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "adaconv"
