#!/usr/bin/env python3
"""Redraw images in the style of others."""

import torch_utils.openmp  # noqa: F401  sets what OpenMP reads when PyTorch is loaded, and so comes first

# isort: split

import math
import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import click
import torch
from PIL import Image

from networks.style_transfer.descriptor_file import load_descriptor, save_descriptor
from networks.style_transfer.kernel_picture import kernel_picture
from networks.style_transfer.network import LEVELS, PAPER_STYLE_SIDE
from networks.style_transfer.painter import TILE, WHOLE, Painter
from networks.style_transfer.stylizer import load_stylizer
from torch_utils.archive import SUFFIXES, Archive, open_images
from torch_utils.cli import Progress, command, run
from torch_utils.files import InputError
from torch_utils.images import from_pil, save_png, to_rgb, with_short_side
from torch_utils.platform import choose_device
from torch_utils.precision import AUTO, UNSCALED, prepare, resolve_precision
from torch_utils.run_dir import newest_snapshot
from torch_utils.table_picture import MOST_CELLS, table_picture, thumbnail

PRETRAINED = Path(__file__).resolve().parent / "pretrained" / "adaconv-style.safetensors"
LONGEST_NAME = 200  # bytes; file systems take 255, and the temporary name is longer
PATH, FILE = click.Path(path_type=Path), click.Path(dir_okay=False, path_type=Path)


class _Weights(click.ParamType):
    """`1,3` -> [0.25, 0.75]"""

    name = "weights"

    def convert(self, value, param, ctx):
        if isinstance(value, list):
            return value
        try:
            weights = [float(part) for part in value.split(",")]
        except ValueError:
            weights = [math.nan]
        total = sum(weights)
        if not 0 < total < math.inf or min(weights) < 0:
            self.fail(f"{value!r} does not read as weights; write 1,1 or 0.25,0.75", param, ctx)
        return [weight / total for weight in weights]


@dataclass
class Style:
    name: str
    descriptor: torch.Tensor  # [1, …]
    cell: Image.Image | str  # at the head of its column in a table


@command()
@click.option(
    "--network",
    type=PATH,
    default=PRETRAINED,
    show_default="pretrained/adaconv-style.safetensors",
    help="snapshot of train_style.py, run directory, or --outdir of runs",
)
@click.option("--content", type=PATH, help="image, or folder or zip of images: the frames of a video, say")
@click.option(
    "--style",
    "styles",
    type=PATH,
    multiple=True,
    required=True,
    help="image, folder or zip of images, or a .safetensors of --save-style; may be given several times",
)
@click.option("--output", type=PATH, help=".png for one content in one style; else a folder for <content>-<style>.png")
@click.option("--table", type=FILE, help="picture of all contents (rows) in all styles (columns)")
@click.option("--encoder-weights", type=PATH, help="of VGG, with torchvision's keys  [default: fetched once]")
@click.option(
    "--strength",
    type=click.FloatRange(0, 10),
    default=1,
    help="from the content's own descriptor (0) to the style's (1); with AdaIN the same as from features to features",
)
@click.option("--mix", type=_Weights(), help="a weight for each style: all of them become one, as with 1,1,2")
@click.option("--statistics", type=PATH, help="style that gives each channel's mean and spread instead (AdaConv only)")
@click.option("--content-size", type=click.IntRange(1), help="short side of contents, in pixels  [default: as it is]")
@click.option("--style-size", type=click.IntRange(1), default=PAPER_STYLE_SIDE, help="short side of styles, in pixels")
@click.option(
    "--tile",
    type=click.IntRange(0),
    help=f"draw in tiles of this side, 0: never; takes less memory  [default: {TILE} above {WHOLE / 1e6:.0f} megapixel]",
)
@click.option("--save-style", type=FILE, help="write the descriptor of the style (with --mix, of the mixture)")
@click.option("--show-kernels", type=FILE, help="draw the kernels that are predicted for the style (AdaConv only)")
@click.option(
    "--precision",
    type=click.Choice([AUTO, *UNSCALED]),
    default=AUTO,
    help="number format of the networks; auto: bf16 where the device is fast in it, else fp32",
)
@click.option("--device", help="cpu, cuda, mps …  [default: the best there is]")
@torch.inference_mode()
def main(
    network,
    content,
    styles,
    output,
    table,
    encoder_weights,
    strength,
    mix,
    statistics,
    content_size,
    style_size,
    tile,
    save_style,
    show_kernels,
    precision,
    device,
):
    """Redraw images in the style of others.

    Every content is drawn in every style.
    """
    written = [path for path in (output, table, save_style, show_kernels) if path]
    if not written:
        raise InputError("nothing to do: wanted --output, --table, --save-style or --show-kernels")
    if bool(content) != bool(output or table):
        raise InputError("--content: wanted --output or --table with it" if content else "--output, --table: want --content")
    if math.isnan(strength):
        raise InputError("--strength nan: wanted a number")
    if network == PRETRAINED and not network.is_file():
        raise InputError(f"{network}: no such network file; give one that train_style.py wrote with --network")
    chosen = choose_device(device)
    precision, _ = resolve_precision(precision, chosen)
    prepare(precision)
    stylizer = load_stylizer(newest_snapshot(network, "style_transfer"), encoder_weights, chosen, precision)
    check_options(stylizer.network, network, statistics, show_kernels, style_size)
    painter = Painter(stylizer, strength, None, style_size, tile)
    if statistics:
        painter.statistics = only_one("--statistics", read_styles(statistics, painter)).descriptor
    found = [style for path in styles for style in read_styles(path, painter)]
    found = [mixture(found, mix)] if mix else found
    for option, given in (("--save-style", save_style), ("--show-kernels", show_kernels)):
        if given:
            only_one(option, found)

    if content:
        archive = open_images(content)
        files = plan(output, archive.names, found) if output else None
        if table and (len(archive.names) + 1) * (len(found) + 1) > MOST_CELLS:
            raise InputError(f"--table: found {len(archive.names)} × {len(found)} pictures, wanted {MOST_CELLS} cells at most")
        for name in archive.names:  # all of them before the first is drawn: damage should be known at once
            read_picture(archive, name, content_size)
    for folder in {path.parent for path in written} | ({files[0][0].parent} if output else set()):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{folder}: {error.strerror}") from None
    if save_style:
        save_descriptor(save_style, found[0].descriptor, stylizer.network)
    if show_kernels:
        titles = [f"{width} channels" for width, _ in LEVELS]
        kernels = painter.kernels(found[0].descriptor)
        save_png(show_kernels, kernel_picture([(t, k.composed()[0]) for t, k in zip(titles, kernels)]))
    if content:
        draw(painter, archive, found, content_size, files, table)
    print("written:", ", ".join(map(str, written)))


def check_options(network, path: Path, statistics: Path | None, show_kernels: Path | None, style_size: int) -> None:
    for option, given in (("--statistics", statistics), ("--show-kernels", show_kernels)):
        if given and network.transfer != "adaconv":
            raise InputError(f"{option}: {path} predicts no kernels: its styles scale and shift channels (AdaIN)")
    if style_size != PAPER_STYLE_SIDE and not network.adaptive:
        side = f"{PAPER_STYLE_SIDE}×{PAPER_STYLE_SIDE}"
        raise InputError(f"--style-size {style_size}: the style encoder of {path} takes {side} pixels only")


def read_styles(path: Path, painter: Painter) -> list[Style]:
    """All that are there: one in a saved descriptor or an image file."""
    if path.suffix.lower() == ".safetensors":
        return [Style(path.stem, load_descriptor(path, painter.network), path.stem)]
    archive, styles = open_images(path), []
    for name in archive.names:
        picture = read_picture(archive, name)
        try:
            descriptor = painter.describe(picture)
        except InputError as error:
            raise InputError(f"{archive.path}: {name}: {error}") from None
        styles.append(Style(flat(name), descriptor, thumbnail(picture)))
    return styles


def read_picture(archive: Archive, name: str, size: int | None = None) -> torch.Tensor:
    """uint8 RGB [3, H, W], of this short side."""
    picture = to_rgb(from_pil(archive.image(name))[None])[0]
    try:
        return with_short_side(picture, size) if size else picture
    except InputError as error:
        raise InputError(f"{archive.path}: {name}: {error}") from None


def flat(name: str) -> str:
    """A name in an archive, as part of a file's name."""
    return str(PurePosixPath(name).with_suffix("")).replace("/", "-").replace("\\", "-")


def mixture(styles: list[Style], weights: list[float]) -> Style:
    if len(weights) != len(styles):
        raise InputError(f"--mix: found {len(weights)} weights for {len(styles)} styles, wanted one for each")
    name = "+".join(style.name for style in styles)
    return Style(name, sum(weight * style.descriptor for weight, style in zip(weights, styles)), name)


def only_one(option: str, styles: list[Style]) -> Style:
    if len(styles) > 1:
        raise InputError(f"{option}: found {len(styles)} styles, wanted one (--mix makes one of several)")
    return styles[0]


def plan(output: Path, contents: list[str], styles: list[Style]) -> list[list[Path]]:
    """Where each content (row) in each style (column) goes."""
    suffix = output.suffix.lower()
    if suffix in SUFFIXES and not output.is_dir():
        if suffix != ".png" or len(contents) * len(styles) > 1:
            found = f"{len(contents)} contents in {len(styles)} styles"
            raise InputError(f"--output {output}: found {found}, wanted a folder for them, or a .png for one in one")
        return [[output]]
    files, seen = [[output / f"{flat(name)}-{style.name}.png" for style in styles] for name in contents], set()
    for path in sum(files, []):
        if path.name.casefold() in seen:  # some file systems do not tell capitals from small letters
            raise InputError(f"--output {output}: two pictures would be {path.name}, wanted names that differ")
        if len(os.fsencode(path.name)) > LONGEST_NAME:
            raise InputError(f"--output {output}: {path.name[:80]}… is too long for the name of a file")
        seen.add(path.name.casefold())
    return files


def draw(
    painter: Painter,
    archive: Archive,
    styles: list[Style],
    content_size: int | None,
    files: list[list[Path]] | None,
    table: Path | None,
) -> None:
    """In the archive's order; the files row by row, the table at the end."""
    rows = [["", *(style.cell for style in styles)]]
    progress = Progress("stylizing", len(archive.names) * len(styles), "img")
    for row, name in enumerate(archive.names):
        content = read_picture(archive, name, content_size)
        cells = [thumbnail(content)] if table else []
        for column, image in enumerate(painter.paint(content, [style.descriptor for style in styles])):
            if files:
                save_png(files[row][column], image)
            if table:
                cells.append(thumbnail(image))
            progress.update(row * len(styles) + column + 1)
        rows.append(cells)
    progress.close()
    if table:
        save_png(table, table_picture(rows))


if __name__ == "__main__":
    run(main)
