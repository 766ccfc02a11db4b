"""Options of a training as they stand in `training_options.json`, a file that may come from anywhere."""

import dataclasses
import math
import reprlib
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any, get_args, get_type_hints

from torch_utils.files import InputError


def checked(
    kind: type,  # dataclass of options
    values: Any,
    choices: Mapping[str, Container[str]],  # what an option may be
    ranges: Mapping[str, tuple[float, float]],  # least and most of an option
    where: str | Path,
) -> None:
    """`InputError`, which names the place, for an option, a type or a number that no training has."""
    types = get_type_hints(kind)
    needed = [field.name for field in dataclasses.fields(kind) if field.default is dataclasses.MISSING]
    if not isinstance(values, dict) or not set(needed) <= set(values):
        raise InputError(f"{where}: found no table of training options, wanted one as the training writes it")
    for name, value in values.items():
        found = f"{where}: found {name} = {reprlib.repr(value)}"
        least, most = ranges.get(name, (-math.inf, math.inf))
        if name not in types:
            raise InputError(f"{found}, which is no option of this training")
        if name == "metrics":
            if not isinstance(value, (list, tuple)) or not all(isinstance(metric, str) for metric in value):
                raise InputError(f"{found}, wanted a list of names")
        elif not _is_a(value, types[name]):
            raise InputError(f"{found}, wanted {getattr(types[name], '__name__', types[name])}")
        elif name in choices and value not in choices[name]:
            raise InputError(f"{found}, wanted one of {', '.join(choices[name])}")
        elif name in ranges and value is not None and not least <= value <= most:
            raise InputError(f"{found}, wanted a number from {least:g} to {most:g}")


def _is_a(value: Any, wanted: Any) -> bool:
    """Whether a value from JSON has this type, which may be a union. A bool is no number; a whole number is a float, too."""
    kinds = get_args(wanted) or (wanted,)
    return type(value) in kinds or type(value) is int and float in kinds
