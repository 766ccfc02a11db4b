"""Make a dataset of equal PNGs, numbered and with labels, from a folder, a zip file or an IDX file of images."""

import itertools
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import click
from PIL import ImageColor

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.dataset_writer import new_dataset, png
from scripts.image_fit import FILTERS, TRANSFORMS, ImageFit
from torch_utils.archive import METADATA, Archive, Shape
from torch_utils.cli import BOOL, IMAGES, Progress, command, counted, run
from torch_utils.files import InputError, printable, read_file
from torch_utils.idx import MAX_SIDE, IdxImages, looks_like_idx
from torch_utils.image_labels import MAX_CLASSES, labels_of_folders
from torch_utils.local_path import LocalPath

HINTS = {  # what options are called elsewhere -> what to do instead
    "--width|--height|--size|--resize|--img-size": "it is called --resolution: --resolution 64x64",
    "--label|--cond": "labels are kept; --labels none leaves them out, --labels-from-folders 1 makes them of folders",
    "--out(put)?|--outdir": "it is called --dest",
    "--data|--input|--indir": "it is called --source",
    "--shards?|--shard-size|--maxcount": "it is called --max-images-per-shard",
    "--crop|--fit": "it is called --transform: --transform center-crop",
}
SHOWN = 20  # skipped images that are named, before they are only counted


def size_of(text: str) -> tuple[int, int]:
    """`64x48` -> (64, 48), width first."""
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    size = (int(match[1]), int(match[2])) if match else (0, 0)
    if not all(1 <= side <= MAX_SIDE for side in size):
        raise click.BadParameter(f"{text!r} is not WIDTHxHEIGHT with sides from 1 to {MAX_SIDE}, such as 64x64")
    return size


def background_of(text: str) -> tuple[int, int, int] | str:
    """`white` -> (255, 255, 255); `keep` -> "keep"."""
    try:
        return text if text == "keep" else ImageColor.getrgb(text)[:3]
    except ValueError:
        raise click.BadParameter(f"{text!r} is neither keep nor a colour, such as white or #ffcc00") from None


class Skipped:
    """Images that could not be read: the first ones are named on stderr, all of them are counted."""

    def __init__(self):
        self.count, self.first = 0, None

    def add(self, error: InputError) -> None:
        self.count, self.first = self.count + 1, self.first or error
        if self.count <= SHOWN:
            print("skipped", error, file=sys.stderr)
        elif self.count == SHOWN + 1:
            print("skipped more, which are counted at the end", file=sys.stderr)


def open_source(path: Path | str) -> Archive | IdxImages:
    local = Path(path)  # of a URL, no file
    return IdxImages(local) if os.path.isfile(local) and looks_like_idx(local) else Archive(path)


def read_names(text: str) -> list[str]:
    """Of classes, from a file with one a line or from `NAME,NAME,…`."""
    if os.path.isfile(text):
        try:
            names = read_file(text, 1 << 20).decode("utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise InputError(f"--labels-names {text}: {error}") from None
    else:
        names = text.split(",")
    names = [name.strip() for name in names if name.strip()]
    if not names or len(names) > MAX_CLASSES or len(set(names)) != len(names):
        raise InputError(f"--labels-names {text[:80]}: wanted 1 to {MAX_CLASSES} different names, as NAME,NAME,… or in a file")
    return names


def choose_labels(
    source: Archive | IdxImages, from_folders: bool, names: str | None
) -> tuple[dict[str, int] | None, list[str] | None]:
    """Class of every image and names of the classes, or None for either; `names` is --labels-names."""
    if not from_folders:
        labels, known = source.labels(), source.label_names
    elif isinstance(source, IdxImages):
        raise InputError(f"--labels-from-folders: {source.path} is a file without folders")
    else:
        labels, known = labels_of_folders(source.names, source.path)
    if names and not labels:
        raise InputError(f"--labels-names: {source.path} has no labels to name")
    count = max(labels.values()) + 1 if labels else 0
    given = read_names(names) if names else None
    if given and len(given) < count:
        raise InputError(f"--labels-names: found {counted(len(given), 'name')}, wanted {count}, one for every class")
    if known and len(known) < count:  # an IDX file in a folder that is called after another family
        known = None
    return labels, (given or known) if labels else None


Read = TypeVar("Read")
TOGETHER = 64  # images behind a URL that are fetched at once


def readable(
    what: str, source: Archive | IdxImages, names: Sequence[str], read: Callable[[str], Read], skipped: Skipped
) -> Iterator[tuple[str, Read]]:
    """Name and read(name) of the images that can be read; `InputError` at the end where none can."""
    progress, count = Progress(what, len(names), "img"), 0
    try:
        for done, name in enumerate(names):
            progress.update(done)
            if done % TOGETHER == 0 and isinstance(source, Archive):
                source.fetch([names[i] for i in range(done, min(done + TOGETHER, len(names)))])
            try:
                result = read(name)
            except InputError as error:
                skipped.add(error)
                continue
            count += 1
            yield name, result
    finally:
        progress.close()
    if not count:
        raise InputError(f"{source.path}: none of {skipped.count} images can be read; the first: {skipped.first}")


def survey(source: Archive | IdxImages, limit: int | None, skipped: Skipped) -> dict[str, Shape]:
    """Shapes of the first `limit` images whose headers can be read, so that errors of sizes come before the work."""
    return dict(itertools.islice(readable("looking", source, source.names, source.shape, skipped), limit))


def common_mode(shapes: dict[str, Shape]) -> str:
    """The smallest of L, LA, RGB, RGBA that all images fit in without loss."""
    channels = {shape.channels for shape in shapes.values()}
    return ("RGB" if channels & {3, 4} else "L") + ("A" if channels & {2, 4} else "")


def require_one_size(source: Archive | IdxImages, shapes: dict[str, Shape]) -> None:
    first = next(iter(shapes))
    for name, shape in shapes.items():
        if shape[1:] != shapes[first][1:]:
            raise InputError(
                f"{source.path}: {name}: found {shape}, wanted {shapes[first]} as {first} has; "
                "pass --resolution WxH, and --transform to choose how images are fitted"
            )


def choose_fit(
    source: Archive | IdxImages, shapes: dict[str, Shape], transform: str | None, resolution: tuple[int, int] | None
) -> tuple[str, tuple[int, int] | None]:
    """Name of the transform and size of the results, None for images that stay as they are."""
    if isinstance(source, IdxImages):
        side = 1 << (max(source.shape("0")) - 1).bit_length()
        transform, resolution = transform or "pad", resolution or (side, side)
    if transform and not resolution:
        raise InputError(f"--transform {transform} wants --resolution WxH, too")
    if transform == "center-crop-wide" and resolution[0] < resolution[1]:
        raise InputError(f"--transform center-crop-wide wants a --resolution at least as wide as high, not {resolution}")
    if not resolution:
        require_one_size(source, shapes)
    return transform or "stretch", resolution


def alpha_in_words(fit: ImageFit, background: tuple[int, int, int] | str | None) -> str | None:
    """What becomes of transparency; None where there is nothing to say."""
    if not fit.mode.endswith("A"):
        return "no image is transparent: --background changes nothing" if background not in (None, "keep") else None
    if fit.background:
        return f"transparent images are laid over rgb{fit.background}"
    hint = "" if background else "; generators learn opaque images better: --background white removes it"
    return f"transparency is kept ({fit.mode}){hint}"


def convert_all(
    images: Archive | IdxImages, names: Iterable[str], fit: ImageFit, write: Callable[[str, bytes], None], skipped: Skipped
) -> list[tuple[str, str]]:
    """(name in the dataset, name in the source) of the images that could be read and were written."""
    written: list[tuple[str, str]] = []
    for name, image in readable("writing", images, list(names), images.image, skipped):
        target = f"{len(written) // 1000:05d}/img{len(written):08d}.png"
        write(target, png(fit(image)))
        written.append((target, name))
    return written


@command(hints=HINTS)
@click.option("--source", type=IMAGES, required=True, help="Folder, zip, URL or IDX (.gz) file of images.")
@click.option("--dest", type=LocalPath(), required=True, help="New folder, or new file that ends in .zip.")
@click.option("--resolution", type=size_of, metavar="WxH", help="Size of images written, such as 64x64. [default: as they are]")
@click.option("--transform", type=click.Choice(list(TRANSFORMS)), help="How images are fitted. [default: stretch; IDX: pad]")
@click.option("--resize-filter", type=click.Choice(list(FILTERS)), default="lanczos", help="For images that are scaled.")
@click.option("--background", type=background_of, metavar="keep|COLOUR", help="Colour for transparent parts. [default: keep]")
@click.option("--max-images-per-shard", type=click.IntRange(min=1), help="Write several zip files, into a new folder --dest.")
@click.option("--max-images", type=click.IntRange(min=1), help="Take only the first ones, by name.")
@click.option("--labels", type=click.Choice(["keep", "none"]), default="keep", help="none: leave them out.")
@click.option(
    "--labels-from-folders",
    type=BOOL,
    default=False,
    help="Every outermost folder is a class; train/ around all is none.",
)
@click.option("--labels-names", metavar="FILE|NAME,…", help="Names of classes 0, 1, …; a file has one a line.")
def main(
    source,
    dest,
    resolution,
    transform,
    resize_filter,
    background,
    max_images_per_shard,
    max_images,
    labels,
    labels_from_folders,
    labels_names,
):
    """Make a dataset of equal PNGs from a folder, a zip file or an IDX file of images.

    The PNGs are 00000/img00000000.png and so on, a thousand in a folder; dataset.json keeps the labels: those of the
    source's dataset.json, metadata.csv or metadata.jsonl, of the labels file beside an IDX file, or of its folders; and
    the names of classes: those of --labels-names, of the source, or of MNIST, Fashion-MNIST and KMNIST where a file or
    folder is called so. Grey images stay grey; where kinds are mixed, all take the smallest one that loses nothing.
    Images that cannot be read are skipped.

    Images are turned upright as their EXIF data say, whatever their format; of an animation the first frame is taken.
    Training on the source itself follows the same rule.

    Transparency is kept as PNG stores it, with colours that are not multiplied by it, unless --background names a colour:
    white, black, #ffcc00 …

    center-crop cuts to the proportions of --resolution; center-crop-wide adds black bars to it, to a square; stretch
    ignores proportions; pad puts the image in the middle of black, and makes it smaller if it must but never larger.
    Bars of transparent images are transparent, and take the --background.
    Without --resolution, IDX images are padded to a square of the next power of two: 28x28 becomes 32x32.

    \b
    Examples:
      dataset_tool.py --source photos/ --dest photos64.zip --resolution 64x64 --transform center-crop
      dataset_tool.py --source stickers/ --dest stickers64.zip --resolution 64x64 --background white
      dataset_tool.py --source photos/ --dest photos64 --resolution 64x64 --max-images-per-shard 10000
      dataset_tool.py --source fashion-mnist/t10k-images-idx3-ubyte.gz --dest fashion32.zip
    """
    if os.path.exists(dest) and not (os.path.isdir(dest) and not os.listdir(dest)):
        raise InputError(f"--dest {dest}: exists already; name another, or delete it first")
    if max_images_per_shard and dest.suffix.lower() == ".zip":
        raise InputError(f"--max-images-per-shard writes a folder of zip files, and --dest {dest} is one file")
    if labels == "none" and (labels_from_folders or labels_names):
        option = "--labels-names" if labels_names else "--labels-from-folders"
        raise InputError(f"--labels none leaves them out, and {option} has no say")
    images, skipped = open_source(source), Skipped()
    chosen = (None, None) if labels == "none" else choose_labels(images, labels_from_folders, labels_names)
    labels, label_names = chosen
    shapes = survey(images, max_images, skipped)
    transform, resolution = choose_fit(images, shapes, transform, resolution)
    colour = None if background in (None, "keep") else background
    fit = ImageFit(common_mode(shapes), resolution, transform, FILTERS[resize_filter], colour)
    if alpha := alpha_in_words(fit, background):
        print(alpha)

    with new_dataset(dest, max_images_per_shard) as write:
        written = convert_all(images, shapes, fit, write, skipped)
        metadata = {"labels": [[target, labels[name]] for target, name in written] if labels else None}
        write(METADATA, json.dumps(metadata | ({"label_names": label_names} if label_names else {})).encode())

    if not_read := isinstance(images, Archive) and images.not_read():
        print(not_read)
    if fit.stretched:
        print(f"{fit.stretched} images were stretched to other proportions; --transform center-crop or pad keeps them")
    classes = counted(len({labels[name] for _, name in written}), "class") if labels else "no labels"
    if label_names:
        print(printable(f"class names: {', '.join(label_names[:20])}{' …' if len(label_names) > 20 else ''}"))
    result = f"{counted(len(written), 'image')} written, {'x'.join(map(str, fit.written_size))} {fit.result_mode}"
    print(f"{dest}: {result}, {classes}; {skipped.count} skipped")


if __name__ == "__main__":
    run(main)
