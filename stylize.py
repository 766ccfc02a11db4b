#!/usr/bin/env python3
"""Redraw images in the style of others."""

import torch_utils.before_torch  # noqa: F401  what has to be set before PyTorch is loaded

# isort: split

import math
from pathlib import Path
from types import SimpleNamespace

import click
import torch
from PIL import Image

from networks.style_transfer.descriptor_file import save_descriptor
from networks.style_transfer.kernel_picture import kernel_picture
from networks.style_transfer.mask import BLUR
from networks.style_transfer.network import LEVELS, PAPER_STYLE_SIDE, TRANSFERS
from networks.style_transfer.peers import DEFAULT_STEPS, PEERS, STEPS, Method, Peer, make_peer
from networks.style_transfer.picture_files import plan
from networks.style_transfer.style_files import (
    Style,
    in_regions,
    mixture,
    naming,
    only_one,
    parts_of,
    read_picture,
    read_styles,
)
from networks.style_transfer.style_kernels import MOMENTS, PARTS
from networks.style_transfer.stylizer import TILE, WHOLE, Stylizer, load_stylizer
from networks.style_transfer.vgg import PRETRAINED
from torch_utils.archive import Archive, open_images
from torch_utils.cli import PNG, Progress, command, run
from torch_utils.files import InputError, make_folders
from torch_utils.images import save_png
from torch_utils.local_path import LocalPath
from torch_utils.overwriting import check_files
from torch_utils.platform import choose_device
from torch_utils.precision import AUTO, UNSCALED, prepare, resolve_precision
from torch_utils.pretrained import find_network
from torch_utils.table_picture import MAX_CELLS, table_picture, thumbnail

PATH, FILE = LocalPath(), LocalPath(dir_okay=False)


def weights_of(text: str) -> list[float]:
    """`1,3` -> [0.25, 0.75]"""
    try:
        weights = [float(part) for part in text.split(",")]
    except ValueError:
        weights = [math.nan]
    total = sum(weights)
    if not 0 < total < math.inf or min(weights) < 0:
        raise click.BadParameter(f"{text!r} does not read as weights; write 1,1 or 0.25,0.75")
    return [weight / total for weight in weights]


@command()
@click.option(
    "--network",
    type=PATH,
    default="adaconv-style",
    help="name in pretrained/, snapshot of train_style.py, run directory, or --outdir of runs",
)
@click.option(
    "--transfer",
    type=click.Choice([*TRANSFERS, *PEERS]),
    help=f"{', '.join(PEERS)}: another method on the network's encoder (docs/style.md)  [default: the network's own]",
)
@click.option("--content", type=PATH, help="image, or folder or zip of images, for example the frames of a video")
@click.option(
    "--style",
    "styles",
    type=PATH,
    multiple=True,
    required=True,
    help="image, folder or zip of images, or a .safetensors of --save-style; may be given several times",
)
@click.option("--output", type=PATH, help=".png for one content in one style; else a folder for <content>-<style>.png")
@click.option("--table", type=PNG, help=".png: picture of all contents (rows) in all styles (columns)")
@click.option(
    "--encoder-weights",
    type=PATH,
    help="of VGG, with torchvision's keys  [default: pretrained/ for vgg16; vgg19 is fetched once]",
)
@click.option("--strength", type=click.FloatRange(0, 10), default=1, help="0: the content's own style, 1: the style, or beyond")
@click.option("--mix", type=weights_of, metavar="W,W,…", help="a weight for each style, such as 1,1,2: all of them become one")
@click.option(
    "--mask", type=FILE, help="image of a colour for each --style, from dark to light: where it is drawn in that style"
)
@click.option(
    "--mask-blur",
    type=click.FloatRange(0, 4096),
    help=f"width of the soft border between regions, in pixels  [default: {BLUR}]",
)
@click.option("--statistics", type=PATH, help="style to take each channel's mean and spread from instead (AdaConv only)")
@click.option(
    "--part",
    "parts",
    multiple=True,
    metavar="PART=STYLE",
    help=f"style to take a part of kernels from instead: {', '.join(PARTS)}; may be given several times (AdaConv only)",
)
@click.option("--content-size", type=click.IntRange(1), help="short side of contents, in pixels  [default: as they are]")
@click.option("--style-size", type=click.IntRange(1), default=PAPER_STYLE_SIDE, help="short side of styles, in pixels")
@click.option(
    "--tile",
    type=click.IntRange(0),
    help=f"draw in tiles of this side, 0: never; takes less memory  [default: {TILE} above {WHOLE / 1e6:.0f} megapixel]",
)
@click.option("--peer-steps", type=click.IntRange(1), help=f"of --transfer {STEPS}")
@click.option("--save-style", type=FILE, help="write the descriptor of the style (with --mix, of the mixture)")
@click.option("--show-kernels", type=PNG, help=".png: draw the kernels that are predicted for the style (AdaConv only)")
@click.option(
    "--precision",
    type=click.Choice([AUTO, *UNSCALED]),
    default=AUTO,
    help="number format of the networks; auto: bf16 where the device is fast in it, else fp32",
)
@click.option("--device", help="cpu, cuda, mps …  [default: the best there is]")
@torch.no_grad()  # and not inference_mode: a method that optimises pictures needs gradients
def main(**options):
    """Redraw images in the style of others.

    Every content is drawn in every style.

    \b
    Examples:
      python stylize.py --content photo.jpg --style painting.jpg --output drawn.png
      python stylize.py --content photos/ --style paintings/ --output drawn/ --table table.png
    """
    o = SimpleNamespace(**options | {"parts": parts_of(options["parts"])})
    outputs = [path for path in (o.output, o.table, o.save_style, o.show_kernels) if path]
    check_options(o, outputs)
    o.network_file = find_network(o.network, "style_transfer")
    stylizer = open_stylizer(o)
    method: Method = make_peer(o.transfer, stylizer, o.peer_steps) if o.transfer in PEERS else stylizer
    styles = read_all_styles(o, method)
    archive, files = open_contents(o, method, styles) if o.content else (None, None)
    check_files(written_files(o, files), read_files(o))
    make_folders(*(path.parent for path in (*outputs, *(files[0] if files else ()))))
    if o.save_style:
        save_descriptor(o.save_style, styles[0].descriptor, stylizer.network)
    if o.show_kernels:
        titles = [f"{width} channels" for width, _ in LEVELS]
        kernels = stylizer.kernels(styles[0].descriptor)
        save_png(o.show_kernels, kernel_picture([(t, k.composed()[0]) for t, k in zip(titles, kernels)]))
    if archive:
        draw(o, method, archive, styles, files)
    print("written:", ", ".join(map(str, outputs)))


def check_options(o: SimpleNamespace, outputs: list[Path]) -> None:
    """What can be said before anything is read."""
    if not outputs:
        raise InputError("nothing to do: wanted --output, --table, --save-style or --show-kernels")
    if bool(o.content) != bool(o.output or o.table):
        raise InputError("--content: wanted --output or --table with it" if o.content else "--output, --table: want --content")
    for option, number in (("--strength", o.strength), ("--mask-blur", o.mask_blur)):
        if number is not None and math.isnan(number):
            raise InputError(f"{option} nan: wanted a number")
    if o.strength != 1 and not o.content:
        raise InputError(f"--strength {o.strength:g}: wants --content, as it is the way from that one's own style")
    for option, value in (("--mix", o.mix), ("--save-style", o.save_style), ("--show-kernels", o.show_kernels)):
        if o.mask and value:
            raise InputError(f"{option}: is for one style, and --mask is for one in each region")
    for part in ("bias", MOMENTS):
        if o.statistics and part in o.parts:
            raise InputError(f"--part {part}: comes from --statistics already")
    if o.mask_blur is not None and not o.mask:
        raise InputError("--mask-blur: wants --mask")
    if o.peer_steps and o.transfer not in DEFAULT_STEPS:
        raise InputError(f"--peer-steps: wanted --transfer {' or '.join(DEFAULT_STEPS)} with it, as nothing else takes steps")
    if o.transfer in PEERS:
        check_peer_options(o)


def check_peer_options(o: SimpleNamespace) -> None:
    """What a peer has no use for."""
    descriptors = {"--mix": o.mix, "--save-style": o.save_style, "--statistics": o.statistics, "--part": o.parts}
    descriptors |= {"--show-kernels": o.show_kernels}
    for option, value in descriptors.items():
        if value:
            raise InputError(
                f"{option}: is for predicted kernels and saved descriptors, which --transfer {o.transfer} does not have"
            )
    if o.mask:
        raise InputError(f"--mask: --transfer {o.transfer} draws a picture in one style")
    for path in o.styles:
        if path.suffix.lower() == ".safetensors":
            raise InputError(f"--style {path}: --transfer {o.transfer} takes images of styles, and no saved descriptor")
    if o.transfer == "gatys":
        if o.tile is not None:
            raise InputError("--tile: --transfer gatys optimises a picture as a whole")
        if o.precision == "bf16":
            raise InputError("--precision bf16: --transfer gatys computes in float32")


def open_stylizer(o: SimpleNamespace) -> Stylizer:
    device = choose_device(o.device)
    precision, _ = resolve_precision(o.precision, device)
    precision = "fp32" if o.transfer == "gatys" and o.precision == AUTO else precision
    prepare(precision)
    settings = dict(strength=o.strength, style_size=o.style_size, tile=o.tile)
    stylizer = load_stylizer(o.network_file, o.encoder_weights, device, precision, **settings)
    if o.style_size != PAPER_STYLE_SIDE and not stylizer.network.adaptive and o.transfer != "gatys":
        side = f"{PAPER_STYLE_SIDE}×{PAPER_STYLE_SIDE}"
        raise InputError(f"--style-size {o.style_size}: the style encoder of {o.network} takes {side} pixels only")
    if o.transfer in PEERS:
        return stylizer
    if o.transfer not in (None, stylizer.network.transfer):
        own = f"{o.network} was trained for {stylizer.network.transfer}"
        raise InputError(f"--transfer {o.transfer}: {own}, and without training there are {', '.join(PEERS)} only")
    for option, given in (("--statistics", o.statistics), ("--part", o.parts), ("--show-kernels", o.show_kernels)):
        if given and stylizer.network.transfer != "adaconv":
            raise InputError(f"{option}: {o.network} predicts no kernels: its styles scale and shift channels (AdaIN)")
    if MOMENTS in o.parts and not stylizer.network.exact:
        raise InputError(f"--part {MOMENTS}: {o.network} predicts statistics with its kernels, and has no exact ones")
    for part, path in o.parts.items():
        stylizer.parts[part] = only_one(f"--part {part}", read_styles(path, stylizer)).descriptor
    if o.statistics:
        stylizer.statistics = only_one("--statistics", read_styles(o.statistics, stylizer)).descriptor
    return stylizer


def read_all_styles(o: SimpleNamespace, stylizer: Method) -> list[Style]:
    """Of every --style; with --mix or --mask, the one that they become."""
    styles = [style for path in o.styles for style in read_styles(path, stylizer)]
    if o.mask:
        return [in_regions(styles, o.mask, o.mask_blur)]
    styles = [mixture(styles, o.mix)] if o.mix else styles
    for option, path in (("--save-style", o.save_style), ("--show-kernels", o.show_kernels)):
        if path:
            only_one(option, styles)
    return styles


def open_contents(o: SimpleNamespace, method: Method, styles: list[Style]) -> tuple[Archive, list[list[Path]] | None]:
    """The contents, and the files for --output. All contents are read once, so that damage is known before any is drawn."""
    archive = open_images(o.content)
    files = plan(o.output, list(archive.names), styles) if o.output else None
    if o.table and (len(archive.names) + 1) * (len(styles) + 1) > MAX_CELLS:
        raise InputError(f"--table: found {len(archive.names)} × {len(styles)} pictures, wanted {MAX_CELLS} cells at most")
    for name in archive.names:
        content = read_picture(archive, name, o.content_size)
        if isinstance(method, Stylizer):
            with naming(f"--strength {o.strength:g}: {archive.path}: {name}"):
                method.check_content(content)
        if mask := styles[0].mask:
            with naming(f"--mask {o.mask}: for {name}"):
                mask.at(*content.shape[1:])
    return archive, files


def written_files(o: SimpleNamespace, files: list[list[Path]] | None) -> list[tuple[str, Path]]:
    """With the option that each is written for."""
    others = (("--table", o.table), ("--save-style", o.save_style), ("--show-kernels", o.show_kernels))
    return [*(("--output", path) for path in sum(files or [], [])), *(pair for pair in others if pair[1])]


def read_files(o: SimpleNamespace) -> list[tuple[str, Path]]:
    """Files and folders, likewise."""
    read = [("--content", o.content), ("--statistics", o.statistics), ("--mask", o.mask)]
    read += [("--network", o.network_file), ("--encoder-weights", o.encoder_weights)]
    read += [*(("--style", path) for path in o.styles), *(("--part", path) for path in o.parts.values())]
    read += [("the encoder", path) for path in PRETRAINED.values()]
    return [(option, path) for option, path in read if path]


def draw(o: SimpleNamespace, stylizer: Method, archive: Archive, styles: list[Style], files: list[list[Path]] | None) -> None:
    """In the archive's order; the files row by row, the table at the end."""
    rows = [["", *(style.cell for style in styles)]]
    wanted: list = [style.to_draw() for style in styles]
    progress, done = Progress("stylizing", len(archive.names) * len(styles), "img"), 0
    if isinstance(stylizer, Peer):
        stylizer.on_step = lambda of_picture: progress.update(done + of_picture)
    for row, name in enumerate(archive.names):
        content = read_picture(archive, name, o.content_size)
        cells: list[Image.Image | str] = [thumbnail(content)] if o.table else []
        for column, image in enumerate(stylizer.stylize_picture(content, wanted)):
            if files:
                save_png(files[row][column], image)
            if o.table:
                cells.append(thumbnail(image))
            done += 1
            progress.update(done)
        rows.append(cells)
    progress.close()
    if o.table:
        save_png(o.table, table_picture(rows))


if __name__ == "__main__":
    run(main)
