"""Files that are either whole or absent, and the one error type for what a user can put right."""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

TEMPORARY = ".writing"  # suffix of a file that is not finished yet
MAX_STEM = 200  # characters of a name that a temporary name keeps: file systems end at 255 bytes
MAX_MESSAGE = 2000  # characters; of a longer one, its beginning and its end
DISK = ("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EACCES", "EPERM", "EIO", "ESTALE", "ENOTCONN")  # not every system has all
PLACE = ("ENAMETOOLONG", "ENOTDIR", "EISDIR", "ELOOP", "ENOENT", "EEXIST", "EINVAL", "EMFILE", "ENFILE")  # nothing begun


class InputError(ValueError):
    """Something from outside (a file, an option) is not as wanted. Commands print one line and exit with code 2."""

    def __init__(self, message: str):
        # What a message quotes comes from outside, too: a name may be as long as a book, or have control characters.
        if len(message) > MAX_MESSAGE:
            message = f"{message[: MAX_MESSAGE // 2]} … {message[-MAX_MESSAGE // 2 :]}"
        line = " ".join(message.splitlines())
        super().__init__(printable(line))


def printable(text: str) -> str:
    """Control characters as escapes: what comes from outside is not to steer a terminal."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def is_url(path: str | Path) -> bool:
    return "://" in str(path)


def path_of_url(url: str) -> str:
    """Without the query; an object's name may have any other character."""
    return url.partition("://")[2].partition("?")[0].partition("/")[2]


def name_of_url(url: str) -> str:
    """Of what lies there, without `.zip`."""
    return path_of_url(url).rstrip("/").rpartition("/")[2].removesuffix(".zip") or "images"


def disk_trouble(error: OSError) -> InputError | None:
    """Words for a disk that is full, gone or read-only, and for a place where no file can be; None for any other error."""
    if "temporary directory" in str(error.strerror):  # as `tempfile` says it
        return InputError(f"{error.strerror}; wanted one in TMPDIR")
    numbers = lambda names: [getattr(errno, name, None) for name in names]
    if error.errno not in numbers(DISK + PLACE if error.filename else DISK):  # without a name it may be a mistake of ours
        return None
    where = f"{error.filename}: " if error.filename else ""
    return InputError(f"{where}{error.strerror}" + "; what was saved before is as it was" * (error.errno in numbers(DISK)))


def out_of_files(error: Exception) -> bool:
    """Whether this process, or the system, has too many files open: then it is not the file that is bad."""
    return isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)


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
    check_target(path)
    temporary = temporary_beside(path)
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
    try:
        with naming(path), open(temporary, mode.replace("w", "x"), **text) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if before_rename:
            before_rename()
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def temporary_beside(path: Path) -> Path:
    """A name of this writer's own: in containers that share a folder, all processes may have the same number."""
    return path.with_name(f".{path.name[:MAX_STEM]}.{os.urandom(8).hex()}{TEMPORARY}")


def check_target(path: Path) -> None:
    """`InputError` where writing a file would replace what is none: a link, a device, a pipe, a folder."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be written ({getattr(error, 'strerror', None) or error})") from None
    if not stat.S_ISREG(mode):
        raise InputError(f"{path}: is {_kind(mode)}, wanted a file or nothing")


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFLNK: "a link", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def open_file(path: str | Path, max_bytes: int | None = None, links: bool = True) -> IO[bytes]:
    """A file from outside, open for reading, of which no more than `max_bytes` are there; `InputError` for anything else, but
    `OSError` where too many files are open.

    The door that every reader uses: a pipe would be waited for, a device might never end, a link in a run directory may lead
    anywhere. Looked at is what has been opened, not what has the name.
    """
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    try:
        descriptor = os.open(path, flags | (0 if links else getattr(os, "O_NOFOLLOW", 0)))
    except FileNotFoundError:
        raise InputError(f"{path}: found no file") from None
    except (OSError, ValueError) as error:  # a name with a null character is a ValueError
        if out_of_files(error):
            raise
        link = isinstance(error, OSError) and error.errno == errno.ELOOP and not links
        raise InputError(f"{path}: {'is a link, wanted a file' if link else getattr(error, 'strerror', error)}") from None
    status = os.fstat(descriptor)
    problem = None
    if not stat.S_ISREG(status.st_mode):
        problem = f"found no file, but {_kind(status.st_mode)}"
    elif max_bytes is not None and status.st_size > max_bytes:
        problem = f"found {status.st_size:,} bytes, wanted at most {max_bytes:,}"
    if problem:
        os.close(descriptor)
        raise InputError(f"{path}: {problem}")
    return os.fdopen(descriptor, "rb")


def read_file(path: str | Path, max_bytes: int, links: bool = True) -> bytes:
    """All of it, through `open_file`."""
    with open_file(path, max_bytes, links) as file:
        data = file.read(max_bytes + 1)  # it may grow meanwhile
    if len(data) > max_bytes:
        raise InputError(f"{path}: found more than {max_bytes:,} bytes, wanted at most that")
    return data


def read_all(file: IO[bytes], most: int, why: str = "wanted at most that") -> bytes:
    """In blocks: what a zip entry reads at once it copies once more for each megabyte. `InputError` beyond `most`."""
    blocks, size = [], 0
    while block := file.read(1 << 20):
        size += len(block)
        if size > most:
            raise InputError(f"found more than {most:,} bytes, {why}")
        blocks.append(block)
    return b"".join(blocks)


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
        temporary = temporary_beside(target)
        try:
            try:
                os.link(source, temporary)
            except OSError:  # a file system without hard links
                shutil.copyfile(source, temporary)
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)


def remove_unfinished(folder: Path) -> None:
    """Delete what processes left behind that were killed while writing. No other process may be writing there."""
    for path in folder.glob(f".*{TEMPORARY}"):
        path.unlink(missing_ok=True)


def write_json(path: str | Path, value) -> None:
    with atomic_write(path, "w") as file:
        json.dump(value, file, indent=2)
        file.write("\n")


def read_json(path: str | Path, max_bytes: int = 1 << 20, links: bool = True):
    """The value in a JSON file from outside, of at most `max_bytes`; `InputError` for anything else."""
    return parse_json(read_file(path, max_bytes, links), path)


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
    check_target(Path(path))
    with naming(path), open(path, "ab") as file:
        file.write(line.encode())
        file.flush()
        os.fsync(file.fileno())


def sha256(path: str | Path) -> str:
    """Hash of the file's bytes, in hex."""
    digest = hashlib.sha256()
    with open_file(path) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def cache_dir() -> Path:
    """Where things are kept that can be computed again: `$ADACONV_CACHE`, or `adaconv` under the user's cache folder."""
    if path := os.environ.get("ADACONV_CACHE"):
        return Path(path)
    if path := os.environ.get("XDG_CACHE_HOME"):
        return Path(path) / "adaconv"
    try:
        return Path.home() / ".cache" / "adaconv"
    except RuntimeError:  # nobody says where home is: nothing is found there, and nothing can be kept
        return Path(os.devnull) / "adaconv"
