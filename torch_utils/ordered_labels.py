"""Labels of a `dataset.json` that lists images in their order, as tools write it, without an object for each of a million."""

import json
import re
from array import array
from collections.abc import Iterator

from torch_utils.files import InputError, parse_json

BEGINNING = re.compile(rb'\s*{\s*"labels"\s*:\s*\[')
BETWEEN = re.compile(rb"\][ \t\r\n]*,")  # two labels
END = re.compile(rb"\]\s*\]")  # of the last label, and of the list
CHUNK = 1 << 20  # bytes that are parsed at once


def read_in_order(data: bytes, names: Iterator[str], classes: array):
    """Add the class of each of the next `names` that has a label to `classes`. -> the JSON value of `data` without its labels.

    None where names come in another order, or anything is not as it should be, for `parse_json` to say what. A cut at a wrong
    place, such as a bracket in a name, is found, too: what lies before it is no JSON.
    """
    beginning = BEGINNING.match(data)
    end = beginning and END.search(data, beginning.end())
    if not beginning or not end:
        return None
    at, last = beginning.end(), end.start() + 1
    try:
        while at < last:
            cut = BETWEEN.search(data, at + CHUNK, last)
            chunk = data[at : cut.start() + 1 if cut else last]
            at = cut.end() if cut else last
            for name, label in json.loads(f"[{chunk.decode()}]"):
                if name != next(names, None) or type(label) is not int or label < 0:  # a bool is an int to isinstance
                    return None
                classes.append(label)
        return parse_json(beginning[0] + data[last:], "")
    except (InputError, ValueError, TypeError, OverflowError, RecursionError):
        return None
