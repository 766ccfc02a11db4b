"""Labels of images where there is no `dataset.json`: folders that are classes, and the tables of Hugging Face's imagefolder."""

import csv
import io
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from torch_utils.files import InputError, first_line, parse_json

MAX_CLASSES = 1 << 16
TABLES = ("metadata.csv", "metadata.jsonl")
COLUMNS = ("label", "labels", "class", "category")  # the first that a table has
SPLITS = {"train", "training", "test", "testing", "validation", "val", "valid", "eval", "evaluation", "dev"}
Labels = tuple[dict[str, int], list[str] | None]  # class of every image, and names of the classes


def labels_of_folders(names: Sequence[str], where: Path | str) -> Labels:
    """Classes are the sorted names of the outermost folders, below folders that hold all of the images."""
    slash = "/" if any("/" in name for name in names) else "\\"  # as some programs for Windows pack them
    for name in names:
        if slash not in name:
            raise InputError(f"{where}: {name}: found outside of a folder, wanted one folder for each class")
    depth, innermost = 0, min(name.count(slash) for name in names) - 1
    folders = lambda: {name.split(slash)[depth] for name in names}  # a list of all parts of a million names would be large
    while len(found := folders()) == 1 and depth < innermost:
        depth += 1
    classes = sorted(found)
    if {name.casefold() for name in classes} <= SPLITS and len(classes) > 1:
        raise InputError(f"{where}: found the splits {', '.join(classes)}, wanted one of them, such as {where}/{classes[0]}")
    if len(classes) > MAX_CLASSES:
        raise InputError(f"{where}: found {len(classes)} folders, wanted {MAX_CLASSES} at most where they are classes")
    numbers = {name: number for number, name in enumerate(classes)}
    return {name: numbers[name.split(slash)[depth]] for name in names}, classes


def labels_of_tables(
    names: Sequence[str],
    tables: dict[str, bytes],
    where: Path | str,
    folder_of: Callable[[str], str] = lambda table: str(PurePosixPath(table).parent),
) -> Labels | None:
    """From the tables, by their names; None where no table has a column of labels. Names of files are relative to
    `folder_of(table)`.

    Labels are whole numbers, which are classes, or words, whose sorted list is the names of classes.
    """
    found: dict[str, Any] = {}
    for table, data in sorted(tables.items()):
        place, folder = f"{where}: {table}", PurePosixPath(folder_of(table))
        for row in _rows(data, table, place):
            column = next((column for column in COLUMNS if column in row), None)
            if column is None:
                continue
            if not isinstance(row.get("file_name"), str):
                raise InputError(f"{place}: found no file_name beside a {column}, wanted one in every row")
            name = (folder / row["file_name"].replace("\\", "/")).as_posix()
            if name in found:
                raise InputError(f"{place}: found two labels for {name}, wanted one")
            if type(row[column]) not in (int, str) or row[column] == "":
                raise InputError(f"{place}: {name}: found label {str(row[column])[:80]!r}, wanted a whole number or a word")
            found[name] = row[column]
    if not found:
        return None
    return _numbered(labels_of_all(names, found, f"{where}: {', '.join(sorted(tables))}"), where)


def labels_of_all(names: Sequence[str], found: dict[str, Any], place: str) -> dict[str, Any]:
    """Of every image, in order. A name that has none takes that of the same characters, composed as macOS does it."""
    labels, composed = {}, None
    for name in names:
        if name in found:
            labels[name] = found[name]
            continue
        if composed is None:
            composed = {unicodedata.normalize("NFC", other): label for other, label in found.items()}
        if (key := unicodedata.normalize("NFC", name)) not in composed:
            raise InputError(f"{place}: found no label for {name}, wanted one for every image")
        labels[name] = composed[key]
    return labels


def _numbered(words: dict[str, int | str], where: Path | str) -> Labels:
    if all(isinstance(word, int) or (word.isascii() and word.isdecimal() and len(word) < 10) for word in words.values()):
        labels = {name: int(word) for name, word in words.items()}
        if not 0 <= min(labels.values()) <= max(labels.values()) < MAX_CLASSES:
            wrong = min(labels.values()) if min(labels.values()) < 0 else max(labels.values())
            raise InputError(f"{where}: found label {wrong}, wanted a whole number below {MAX_CLASSES}")
        return labels, None
    classes = sorted({str(word) for word in words.values()})
    if len(classes) > MAX_CLASSES:
        raise InputError(f"{where}: found {len(classes)} different labels, wanted {MAX_CLASSES} at most")
    numbers = {name: number for number, name in enumerate(classes)}
    return {name: numbers[str(word)] for name, word in words.items()}, classes


def _rows(data: bytes, table: str, place: str) -> list[dict]:
    try:
        text = data.decode("utf-8-sig")
        if table.endswith(".csv"):
            return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{place}: cannot be read: {first_line(error)}") from None
    rows = [parse_json(line, f"{place}: line {number}") for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    for row in rows:
        if not isinstance(row, dict):
            raise InputError(f"{place}: found a row that is a {type(row).__name__}, wanted tables with a file_name")
    return rows
