"""The one way into a safetensors file: its header, its tensors, and one error for whatever is wrong with it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import safetensors

from torch_utils.files import InputError, first_line


@contextlib.contextmanager
def open_tensors(
    path: str | Path, problem: str, framework: str = "pt"
) -> Iterator[tuple[safetensors.safe_open, dict[str, str]]]:
    """The open file, and the text entries of its header. Tensors are read when they are asked for, as `framework` has them.

    Whatever a damaged file makes the reader say becomes an `InputError` that starts with `problem`.
    """
    try:
        with safetensors.safe_open(path, framework=framework) as file:
            yield file, file.metadata() or {}
    except InputError:
        raise
    except Exception as error:  # safetensors passes on whatever torch says to a strange shape or dtype
        raise InputError(f"{path}: {problem} ({first_line(error)[:200]})") from None
