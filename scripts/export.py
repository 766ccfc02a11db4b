"""Networks as files that run without this project: `python -m scripts.export --network emoji32 --output emoji32.onnx`."""

import json
import sys
from pathlib import Path

import click

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from networks.generator import Generator
from networks.style_transfer.network import StyleTransfer
from networks.style_transfer.stylizer import load_stylizer
from networks.style_transfer.vgg import VGG, load_vgg
from scripts.exporting.check import check
from scripts.exporting.graphs import NOISE_MODES, PARTS, Graph, generator_graph, keep_halves, stylizer_graph
from scripts.exporting.onnx_file import as_onnx
from scripts.exporting.page import page
from scripts.exporting.trace import as_pt2, trace
from torch_utils.checkpoint import Snapshot, load_generator, read_snapshot
from torch_utils.cli import command, run
from torch_utils.files import InputError, atomic_write, make_folders, sha256
from torch_utils.local_path import LocalPath
from torch_utils.pretrained import find_network

SUFFIXES = {"onnx": ".onnx", "torch": ".pt2"}
FILE = LocalPath(dir_okay=False)


@command()
@click.option(
    "--network",
    type=click.Path(path_type=Path),
    default="emoji32",
    help="generator or style transfer: a name in pretrained/, snapshot, run directory, or --outdir of runs",
)
@click.option("--output", type=FILE, help="the file, .onnx or .pt2")
@click.option(
    "--page",
    "folder",
    type=LocalPath(file_okay=False),
    help="folder for index.html, a page that draws with a generator in the browser",
)
@click.option(
    "--format",
    "format",
    type=click.Choice(list(SUFFIXES)),
    help="onnx, or torch: as torch.export.load reads it  [default: by the suffix of --output]",
)
@click.option(
    "--part",
    type=click.Choice(PARTS),
    help="of a generator: mapping (z to ws), synthesis (ws to images) or all  [default: all]",
)
@click.option(
    "--noise-mode",
    type=click.Choice(NOISE_MODES),
    default="const",
    help="const: the same in every run; random: new in every run",
)
@click.option(
    "--uint8", is_flag=True, help="images as integers from 0 to 255, as judges of images want them, and not about -1 to 1"
)
@click.option("--encoder-weights", type=FILE, help="of a stylizer's VGG, as of stylize.py")
def main(network, output, folder, format, part, noise_mode, uint8, encoder_weights):
    """Write a network as a file that runs without this project.

    The file is run, and compared with the network, before it is kept. docs/export.md has its inputs.

    \b
    Example:
      python -m scripts.export --network emoji32 --output emoji32.onnx
    """
    if not output and not folder:
        raise InputError("nothing to do: wanted --output or --page")
    if output:
        format = format_of(output, format)
    for option, given in (("--format", format), ("--part", part), ("--uint8", uint8)):
        if given and not output:
            raise InputError(f"{option}: is for the file of --output")
    if part == "mapping" and uint8:
        raise InputError("--uint8: is of pictures, and --part mapping gives styles")
    if part == "mapping" and noise_mode != "const" and not folder:
        raise InputError(f"--noise-mode {noise_mode}: is of pictures, and --part mapping gives styles")
    path = find_network(network)
    snapshot = read_snapshot(path, tensors=False)
    if snapshot.kind == "generator":
        if encoder_weights:
            raise InputError(f"--encoder-weights: {path} is a generator, and has no encoder")
        G = load_generator(path)
        graph = generator_graph(G, part or "all", noise_mode, uint8) if output else None
    else:
        for option, given in (("--part", part), ("--page", folder)):
            if given:
                raise InputError(f"{option}: is for generators, and {path} is a {snapshot.kind or 'network of unknown kind'}")
        network, encoder = load_both(path, encoder_weights)
        graph = stylizer_graph(network, encoder, noise_mode, uint8)
    make_folders(*([output.parent] if output else []), *([folder] if folder else []))
    if graph:
        graph.notes |= source(path, snapshot)
        write(output, format, graph)
    if folder:
        write_page(folder / "index.html", G, source(path, snapshot), snapshot.info.get("label_names"), noise_mode)


def format_of(output: Path, format: str | None) -> str:
    """That of the suffix. `InputError` where it is another than `format`, or none."""
    by_suffix = {suffix: name for name, suffix in SUFFIXES.items()}.get(output.suffix.lower())
    if not by_suffix or format not in (None, by_suffix):
        wanted = SUFFIXES[format] if format else " or ".join(SUFFIXES.values())
        raise InputError(f"--output {output}: wanted a name that ends with {wanted}")
    return by_suffix


def load_both(path: Path, encoder_weights: Path | None) -> tuple[StyleTransfer, VGG]:
    """Style transfer and encoder, with its weights as they are. `InputError` where they do not belong together."""
    network = load_stylizer(path, encoder_weights).network
    return network, load_vgg(network.encoder, encoder_weights, network.encoder_padding)


def source(path: Path, snapshot: Snapshot) -> dict[str, str]:
    """What a file says of where it comes from."""
    names = snapshot.info.get("label_names")
    return {
        "source": path.name,
        "source_sha256": sha256(path),
        "project": "AdaConv (Chandran et al. 2021) in plain PyTorch",
        **({"classes": json.dumps(names)} if names else {}),
    }


def write(output: Path, format: str, graph: Graph) -> None:
    """Trace, write, run, compare, and only then keep the file."""
    keep_halves(graph.module)
    program = trace(graph)
    contents = as_onnx(program, graph) if format == "onnx" else as_pt2(program, graph)
    found = check(contents, graph, format)
    with atomic_write(output) as file:
        file.write(contents)
    said = f"largest difference {found.difference:.1e} in {found.by}" if found else "not run: onnxruntime is not installed"
    print(f"written: {output}, {len(contents) / 10**6:.1f} MB; {said}")


def write_page(path: Path, G: Generator, notes: dict[str, str], names: list[str] | None, noise_mode: str) -> None:
    """One file with everything in it."""
    parts = {}
    for part in ("mapping", "synthesis"):
        graph = generator_graph(G, part, noise_mode)
        graph.notes |= notes
        keep_halves(graph.module)
        parts[part] = as_onnx(trace(graph), graph)
        check(parts[part], graph, "onnx")
    text = page(G, parts, names, Path(notes["source"]).stem)
    with atomic_write(path, "w") as file:
        file.write(text)
    print(f"written: {path}, {len(text) / 10**6:.1f} MB")


if __name__ == "__main__":
    run(main)
