"""Files of tensors: a reader of safetensors, with one error for whatever is wrong with a file, and one of what `torch.save`
wrote; and the digest of tensors."""

import contextlib
import hashlib
import json
import os
import warnings
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import safetensors
import torch

from torch_utils.files import InputError, first_line, open_file

MAX_VALUES = 1_000_000  # in one file of `torch.save`


@contextlib.contextmanager
def open_tensors(
    path: str | Path, problem: str, framework: str = "pt"
) -> Iterator[tuple[safetensors.safe_open, dict[str, str]]]:
    """The open file, and the text entries of its header. Tensors are read when they are asked for, as `framework` has them.

    Whatever a damaged file makes the reader say becomes an `InputError` that starts with `problem`.
    """
    open_file(path).close()  # what is no file must not be waited for
    try:
        with safetensors.safe_open(path, framework=framework) as file:
            yield file, file.metadata() or {}
    except InputError:
        raise
    except Exception as error:  # safetensors passes on whatever torch says to a strange shape or dtype
        raise InputError(f"{path}: {problem} ({first_line(error)[:200]})") from None


def load_saved(path: str | Path, device: torch.device | str = "cpu", links: bool = True) -> Any:
    """What `torch.save` wrote: tensors and plain values, and no code. `InputError` for what is no file, `ValueError` for a file
    that asks for more memory than it has bytes, and whatever PyTorch says of any other."""
    with open_file(path, links=links) as file:
        size = os.fstat(file.fileno()).st_size
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                entries = sum(entry.file_size for entry in archive.infolist())
            if entries > size:  # packed, or the same bytes several times
                raise ValueError(f"found {size:,} bytes that would become {entries:,}")
        file.seek(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch warns of what is strange in a damaged file; an error follows
            values = torch.load(file, map_location=device, weights_only=True)
    _check_whole(values, torch.device(device))
    return values


def _check_whole(values: Any, device: torch.device) -> None:
    """`ValueError` for a tensor that claims more than is there, and for tables in tables without end."""
    seen, todo = 0, [values]
    while todo:
        value, seen = todo.pop(), seen + 1
        if seen + len(todo) > MAX_VALUES:
            raise ValueError(f"found more than {MAX_VALUES:,} values, some of them many times")
        if isinstance(value, torch.Tensor):
            numbers = value.layout == torch.strided and value.device.type == device.type
            if not numbers or value.numel() * value.element_size() > value.untyped_storage().nbytes():
                raise ValueError(f"found a tensor of shape {list(value.shape)[:8]} that is not there in full")
        elif isinstance(value, dict):
            todo += [*value.values(), *value]
        elif isinstance(value, (list, tuple)):
            todo += value
        elif not isinstance(value, (str, bytes, int, float, type(None))):
            raise ValueError(f"found a {type(value).__name__}, wanted tensors and plain values")


def in_order(data: bytes) -> bytes:
    """The bytes of a safetensors file with the text entries of its header sorted, which the library shuffles: equal networks
    are equal files."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


def digest(parts: Iterable[bytes | memoryview | torch.Tensor]) -> str:
    """SHA-256, in hex, of all parts one after the other; of a tensor, the bytes of its values."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, torch.Tensor):
            part = part.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
        total.update(part)
    return total.hexdigest()
