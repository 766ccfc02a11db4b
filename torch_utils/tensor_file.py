"""Safetensors files: one reader, with one error for whatever is wrong with a file; and the digest of tensors."""

import contextlib
import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import safetensors
import torch

from torch_utils.files import InputError, first_line, open_file


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
