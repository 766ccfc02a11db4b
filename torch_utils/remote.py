"""Zip files of images behind a URL, on a web server or in an object store: read by fsspec, a piece for each image.

Nothing is kept on disk but the index of a large zip file; `simplecache::https://…` and the other caches of fsspec keep what
they have fetched. Credentials come from where the library of each store looks for them.
"""

import contextlib
import hashlib
import importlib.util
import io
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import IO, Any

from torch_utils.attempts import Attempts
from torch_utils.file_source import NOTHING, RULES, Source, Zip, kind_of
from torch_utils.files import InputError, first_line, parse_json, path_of_url
from torch_utils.shards import SHARDS, Shards
from torch_utils.zip_directory import HEADER, find_directory
from torch_utils.zip_index import open_index

TAIL = 1 << 17  # bytes at the end, where the directory of a small zip file lies
MAX_DIRECTORY = 1 << 30
MAX_PACKED = 1 << 28  # of one image, as it is fetched as a whole
SPARE = 256  # bytes of a local header beside its name; more are fetched where it has more
WHOLE = "the server sends whole files only, wanted one that sends parts of them (HTTP Range)"
TOGETHER = 16  # shards that are opened at once
SILENCE = 30  # seconds without an answer
BUSY = (408, 425, 429)  # answers of web servers that ask to come again


def open_remote(url: str, skip_bad: bool) -> Source:
    """A zip file or, at any other name, a folder of them that has a `shards.json`."""
    return RemoteZip(RemoteFile(url)) if path_of_url(url).lower().endswith(".zip") else RemoteShards(url, skip_bad)


class Piece(io.BytesIO):
    """Bytes of a file from `start` on, each at the place that it has in the file."""

    def __init__(self, data: bytes, start: int):
        super().__init__(data)
        self.start = start

    def seek(self, place: int, whence: int = 0) -> int:
        if whence == 0 and place < self.start:
            raise InputError("found a damaged zip file: an entry lies outside of it")
        return super().seek(place - self.start if whence == 0 else place, whence) + self.start

    def tell(self) -> int:
        return super().tell() + self.start


class RemoteFile:
    """One file; every read is tried again where it fails. All but the first error are `InputError` that do not name it.

    fsspec has other connections, and other caches, in each thread: to be made in the one thread of a process that hands it on.
    """

    def __init__(self, url: str):
        self.url = url
        protocol = next((p for p in ("http", "https") if f"{p}://" in url), None)
        options: dict[str, Any] = {}
        if protocol:
            if importlib.util.find_spec("aiohttp") is None:
                raise InputError(f'{url}: needs aiohttp: pip install -c constraints.txt -e ".[remote]"')
            import aiohttp

            options = dict(client_kwargs=dict(timeout=aiohttp.ClientTimeout(sock_connect=SILENCE, sock_read=SILENCE)))
            if "::" in url:  # of this link of a chain
                options = {protocol: options}
        from fsspec.core import url_to_fs

        try:
            self._system, self._path = url_to_fs(url, **options)
        except (ImportError, ValueError) as error:  # s3fs is not installed; or what there is no protocol for
            raise InputError(f"{url}: {first_line(error)}") from None
        self._attempts = Attempts(_may_pass)

    def size(self) -> int:
        size = self._read(lambda: self._system.size(self._path))
        if size is None:
            raise InputError("the server does not say how large it is")
        return size

    def whole(self, max_bytes: int) -> bytes:
        if (size := self.size()) > max_bytes:
            raise InputError(f"found {size:,} bytes, wanted at most {max_bytes:,}")
        return self.piece(0, size).getvalue()

    def tail(self, size: int) -> Piece:
        """The last bytes of a file of this size; `InputError` where the server sends whole files only."""

        def read() -> bytes:
            with self._system.open(self._path, "rb", cache_type="none") as file:
                try:
                    file.seek(start)
                except ValueError:  # a file that can only be read from its beginning
                    raise InputError(WHOLE) from None
                return file.read(size - start)

        start = max(size - TAIL, 0)
        return Piece(self._read(read), start)

    def piece(self, start: int, end: int) -> Piece:
        def read() -> bytes:
            data = self._system.cat_file(self._path, start=start, end=end)
            if len(data) > end - start:
                raise InputError(WHOLE)
            if len(data) < end - start:
                raise OSError(f"found {len(data)} of {end - start} bytes")
            return data

        return Piece(self._read(read), start)

    def _read(self, read: Callable[[], Any]) -> Any:
        try:
            return self._attempts(read)
        except FileNotFoundError as error:
            if getattr(error.__cause__, "status", 404) not in (404, 410):
                raise InputError(f"cannot be read ({first_line(error.__cause__)})") from None
            raise InputError("there is no such file") from None
        except PermissionError:
            raise InputError("may not be read") from None
        except InputError:
            raise
        except Exception as error:
            raise InputError(f"cannot be read ({first_line(error.__cause__ or error)})") from None

    @staticmethod
    def pieces(spans: Sequence[tuple["RemoteFile", int, int]]) -> list[Piece | None]:
        """Of several files at once: [start, end) of each. One attempt; None for what does not come."""
        found: list[Piece | None] = [None] * len(spans)
        together: dict[Any, list[int]] = {}
        for i, (file, _, _) in enumerate(spans):
            if file._attempts.hopeful:
                together.setdefault(id(file._system), []).append(i)
        for numbers in together.values():
            files, starts, ends = zip(*(spans[i] for i in numbers))
            with contextlib.suppress(Exception):  # what does not come is asked for again, alone, and then has its error
                parts = files[0]._system.cat_ranges([file._path for file in files], starts, ends, on_error="return")
                for i, data in zip(numbers, parts):
                    if isinstance(data, bytes) and len(data) == spans[i][2] - spans[i][1]:
                        found[i] = Piece(data, spans[i][1])
        return found


class RemoteZip(Zip):
    """May be pickled, but not used after a fork."""

    remote = True

    def __init__(self, file: RemoteFile):
        self.path = file.url  # type: ignore[assignment]  # a Path would fold its //
        self.fetched: dict[str, Piece] = {}
        self._file: RemoteFile | None = file
        try:
            self._size = file.size()
            self._index = open_index(file.url, self._directory(), kind_of, RULES)
        except Exception as error:
            raise InputError(f"{file.url}: {first_line(error)}; wanted a zip file of images") from None
        self._list()

    @property
    def file(self) -> RemoteFile:
        """Of this process."""
        if self._file is None:
            self._file = RemoteFile(str(self.path))
        return self._file

    def fetch(self, names: Sequence[str]) -> None:
        fetch([(self, name) for name in names])

    def open(self, name: str, max_bytes: int) -> IO[bytes]:
        entry = self.entry(name, max_bytes)
        piece = self.fetched.pop(name, None) or self.file.piece(*self.span(name))
        before = HEADER + sum(int.from_bytes(piece.getbuffer()[at : at + 2], "little") for at in (26, 28))
        end = min(entry.header_offset + before + entry.compress_size, self._size)
        if end > piece.start + len(piece.getbuffer()):  # it has more before its bytes than is usual
            piece = self.file.piece(entry.header_offset, end)
        handle = zipfile.ZipFile(io.BytesIO(NOTHING))
        handle.fp = piece
        return self.unpack(handle, entry)

    def span(self, name: str) -> tuple[int, int]:
        """Where a file lies, from its local header on, with some bytes to spare."""
        entry = self.entry(name)
        if entry.compress_size > MAX_PACKED:
            raise InputError(f"found {entry.compress_size:,} bytes packed, wanted {MAX_PACKED:,} at most")
        end = entry.header_offset + HEADER + len(name.encode("utf-8", "surrogateescape")) + SPARE + entry.compress_size
        return entry.header_offset, min(end, self._size)

    def times(self, name: str | None) -> bytes:
        return b"" if name else self._index.key

    def whole_hash(self) -> str:
        """Of the directory, which has a checksum of each file: the file itself is never read as a whole."""
        return hashlib.sha256(self._index.key).hexdigest()

    def __getstate__(self):
        return super().__getstate__() | {"_size": self._size}

    def __setstate__(self, state: dict):
        self._file, self.fetched = None, {}
        super().__setstate__(state)

    def _directory(self) -> Piece:
        """The end of the file, with all of the directory."""
        tail = self.file.tail(self._size)
        place = find_directory(tail)
        if place.start >= tail.start:
            return tail
        if place.size > MAX_DIRECTORY:
            raise InputError(f"found a directory of {place.size:,} bytes, wanted at most {MAX_DIRECTORY:,}")
        return self.file.piece(place.start, self._size)


def fetch(wanted: Sequence[tuple[RemoteZip, str]]) -> None:
    """Read these files, all at once, so that each is there when it is opened; nothing is said of what does not come."""
    for zipped in {zipped for zipped, _ in wanted}:
        zipped.fetched.clear()  # what was fetched and never opened
    spans = {}
    for zipped, name in wanted:
        with contextlib.suppress(InputError):  # what should not be unpacked: `open` says why
            spans[zipped, name] = (zipped.file, *zipped.span(name))
    for (zipped, name), piece in zip(spans, RemoteFile.pieces(list(spans.values()))):
        if piece:
            zipped.fetched[name] = piece


class RemoteShards(Shards):
    """Those that the `shards.json` in a folder behind a URL names."""

    remote = True

    def __init__(self, url: str, skip_bad: bool):
        self._opening: dict[str, Future[RemoteZip]] = {}
        self._skip_bad = skip_bad
        super().__init__(url.rstrip("/"), skip_bad)  # type: ignore[arg-type]

    def fetch(self, names: Sequence[str]) -> None:
        place = lambda name: self._place(name) if name in self._tables else (self.shard(name), name)
        fetch([place(name) for name in names])  # type: ignore[misc]  # all are RemoteZip

    def _wanted(self) -> dict[str, int | None]:
        where = f"{self.path}/{SHARDS}"
        file = RemoteFile(where)
        try:
            wanted = self.read_table(parse_json(file.whole(1 << 24), where), where)
        except Exception as error:
            said = first_line(error).removeprefix(f"{where}: ")
            reason = f"{where}: {said}; wanted a folder of shards as dataset_tool.py makes it, or a zip file"
            raise InputError(reason) from None
        files = [RemoteFile(f"{self.path}/{name}") for name in wanted]
        with ThreadPoolExecutor(TOGETHER) as pool:
            opening = [pool.submit(RemoteZip, file) for file in files]
            if not self._skip_bad:
                wait(opening, return_when=FIRST_EXCEPTION)
                pool.shutdown(cancel_futures=True)  # those that wait behind one that cannot be opened
        self._opening = dict(zip(wanted, opening))
        return wanted

    def _open_shard(self, name: str, images: int | None) -> Zip:
        return self.counted(self._opening.pop(name).result(), images)


def _may_pass(error: Exception) -> bool:
    """fsspec calls it a missing file, too, when a web server cannot be reached or asked."""
    if isinstance(error, FileNotFoundError) and error.__cause__:
        error = error.__cause__  # type: ignore[assignment]
    status = getattr(error, "status", None)  # of a web server
    if status is not None:
        return status >= 500 or status in BUSY
    return not isinstance(error, (InputError, FileNotFoundError, PermissionError))
