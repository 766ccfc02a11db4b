"""A graph traced by torch.export, with the portable forms of the networks' operations, and written as PyTorch's own file."""

import io
import json
import warnings

import torch

from networks.portable import portable_operations
from scripts.exporting.graphs import Graph

NOTES = "adaconv.json"  # in a .pt2, beside the program


def trace(graph: Graph) -> torch.export.ExportedProgram:
    """With sizes open where `graph.dynamic` says so. The program takes its inputs by name."""
    open_sizes = {name: {dim: torch.export.Dim.DYNAMIC for dim in graph.dynamic.get(name, {})} for name in graph.inputs}
    with torch.no_grad(), portable_operations(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of how torch.export is written itself
        return torch.export.export(graph.module, (), graph.inputs, dynamic_shapes=open_sizes, strict=False)


def as_pt2(program: torch.export.ExportedProgram, graph: Graph) -> bytes:
    """The bytes of a file that `torch.export.load` reads."""
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={NOTES: json.dumps(graph.notes)})
    return buffer.getvalue()
