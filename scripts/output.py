"""What scripts print and write: Markdown tables, pictures of curves, and reports as JSON and Markdown."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from torch_utils.files import atomic_write, write_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def row(cells: Iterable) -> str:
    """One line of a Markdown table."""
    return f"| {' | '.join(map(str, cells))} |"


def markdown(heads: Iterable[str], rows: Iterable[Iterable] = ()) -> str:
    """A Markdown table."""
    heads = list(heads)
    return "\n".join(map(row, [heads, ["---"] * len(heads), *rows]))


def write_report(out: Path, facts: dict, results: list[dict], text: str) -> None:
    """OUT.json with facts and results, OUT.md with facts and text; `facts` are what the numbers are worth nothing without."""
    write_json(out.with_suffix(".json"), dict(**facts, results=results))
    with atomic_write(out.with_suffix(".md"), "w") as file:
        file.write(f"{json.dumps(facts)}\n\n{text}\n")


def save_figure(figure: "Figure", path: Path, dpi: int = 80) -> None:
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=dpi)
