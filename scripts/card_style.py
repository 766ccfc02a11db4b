"""What a card says and shows of a style transfer."""

import sys
from pathlib import Path

from PIL import Image

from networks.style_transfer.style_files import read_picture
from networks.style_transfer.stylizer import Stylizer
from scripts.card_text import in_words, options_in_words, run_rows, score_rows, what_was_read
from torch_utils.archive import Archive
from torch_utils.checkpoint import read_snapshot
from torch_utils.files import InputError
from torch_utils.images import save_png
from torch_utils.table_picture import table_picture, thumbnail
from training.run.run_records import RunRecords
from training.style_transfer.config import PRESETS, StyleConfig
from training.style_transfer.held_out import read_held_out
from training.style_transfer.sources import hold_out, spread

SHOWN = dict(content=4, style=6)  # held-out images in the picture
SIDE = 256  # the short side of its contents


def facts(records: RunRecords, network: Path, why: str, stylizer: Stylizer) -> list[tuple[str, str]]:
    """Rows of the card's table."""
    preset = PRESETS.get(str(records.options.get("cfg")), dict)()
    of_preset, beyond = options_in_words(StyleConfig, preset, records.options)
    config = {name: value for name, value in stylizer.network.config.items() if name not in ("transfer", "encoder")}
    count = sum(p.numel() for p in stylizer.network.parameters())
    table = [
        ("contents", what_was_read(records, "Contents")),
        ("styles", what_was_read(records, "Styles")),
        ("network", f"`{network.name}`, {why}"),
        ("parameters", f"{count:,}; {stylizer.network.transfer} on {stylizer.network.encoder}, {in_words(config)}"),
        *run_rows(records, read_snapshot(network, tensors=False).info.get("nimg", 0)),
        ("preset", of_preset),
        ("other options", beyond),
    ]
    return table + score_rows(records, network)


def pictures(records: RunRecords, stylizer: Stylizer, stem: Path) -> dict[Path, str]:
    """Draw held-out contents in held-out styles: the file, and what it shows. Without the images a note, and no picture."""
    try:
        stored, found = read_held_out(records.run_dir), {}
        for what, count in SHOWN.items():
            archive = Archive(records.options.get(what, ""))
            last, folders = (records.options.get(f"hold_out_{what}{suffix}") for suffix in ("", "_folders"))
            names = stored[what] if stored else hold_out(archive.names, last or 0, folders or (), archive.path)[1]
            found[what] = [read_picture(archive, name, SIDE) for name in spread(names, count)]
    except InputError as error:
        print(f"note: no picture of held-out images: {error}", file=sys.stderr)
        return {}
    descriptors = [stylizer.encode_style_picture(style) for style in found["style"]]
    rows: list[list[Image.Image | str]] = [["", *map(thumbnail, found["style"])]]
    for content in found["content"]:
        rows.append([thumbnail(content), *map(thumbnail, stylizer.stylize_picture(content, descriptors))])
    path = stem.with_name(f"{stem.name}-held-out.png")
    save_png(path, table_picture(rows))
    return {path: "Held-out contents in held-out styles, spread over their sources and not chosen."}
