"""Cut margins of one colour off images: `python -m scripts.trim_margins --source scans/ --dest paintings/`.

Scans of paintings come with frames. Style transfer takes the frame for part of the style, and pictures turn black.
"""

import sys
from pathlib import Path, PurePosixPath

import click
import numpy as np
from PIL import Image

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.dataset_writer import new_dataset, png
from torch_utils.archive import Archive
from torch_utils.cli import command, run
from torch_utils.files import InputError
from torch_utils.images import from_pil, to_pil, to_rgb
from torch_utils.local_path import LocalPath

TOLERANCE = 48  # levels of 255 by which a margin's pixels may differ from the corner's: JPEG rings beside edges
SHARE = 0.05  # a row with more pixels than this of another colour is no margin
INSIDE = 3  # pixels that are cut off beyond a margin, for the shadow of the frame


def trimmed(image: Image.Image) -> Image.Image:
    """`image` without margins of its corner's colour. A side is left as it is where an eighth of it or less would remain, or no
    more than the shadows of a frame."""
    pixels = np.asarray(image).astype(int)
    other = np.abs(pixels - pixels[0, 0]).max(axis=2) > TOLERANCE
    spans = []
    for axis in (0, 1):  # columns, rows
        (inside,) = np.nonzero(other.mean(axis=axis) > SHARE)
        size = other.shape[1 - axis]
        least = max(size / 8, 2 * INSIDE)
        whole = len(inside) == 0 or inside[-1] + 1 - inside[0] <= least
        first, last = (0, size) if whole else (inside[0], inside[-1] + 1)
        spans.append((first + INSIDE * (first > 0), last - INSIDE * (last < size)))
    (left, right), (top, bottom) = spans
    return image.crop((left, top, right, bottom))


@command()
@click.option("--source", required=True, type=click.Path(path_type=Path), help="Folder or zip of images.")
@click.option("--dest", required=True, type=LocalPath(), help="New folder, or new file that ends in .zip.")
def main(source: Path, dest: Path):
    """Cut margins of one colour off images, and write them as PNG files of the same names."""
    if dest.exists():
        raise InputError(f"--dest {dest}: exists already")
    archive, written, count = Archive(source), set(), 0
    with new_dataset(dest) as write:
        for name in archive.names:
            image = to_pil(to_rgb(from_pil(archive.image(name))[None])[0])  # alpha is laid over white
            inner = trimmed(image)
            target = str(PurePosixPath(name).with_suffix(".png"))
            if target in written:
                raise InputError(f"{source}: two images would be called {target}; rename one of them")
            write(target, png(inner))
            written.add(target)
            count += inner.size != image.size
    print(f"{dest}: {len(archive.names)} images, {count} of them trimmed")


if __name__ == "__main__":
    run(main)
