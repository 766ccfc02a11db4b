"""Make a dataset of equal PNGs, numbered and with labels, from a folder, a zip file or an IDX file of images."""

import contextlib
import functools
import io
import json
import os
import re
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import click
from PIL import Image

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from torch_utils.archive import MAX_CLASSES, METADATA, Archive, Shape
from torch_utils.cli import BOOL, Progress, command, run
from torch_utils.files import TEMPORARY, InputError, atomic_write
from torch_utils.idx import MAX_SIDE, IdxImages, looks_like_idx

FILTERS = {"box": Image.Resampling.BOX, "lanczos": Image.Resampling.LANCZOS}
SHOWN = 20  # skipped images that are named, before they are only counted


class _Size(click.ParamType):
    """`64x48` -> (64, 48), width first."""

    name = "WxH"

    def convert(self, value, param, ctx):
        match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", value) if isinstance(value, str) else None
        size = (int(match[1]), int(match[2])) if match else (0, 0)
        if not all(1 <= side <= MAX_SIDE for side in size):
            self.fail(f"{value!r} is not WIDTHxHEIGHT with sides from 1 to {MAX_SIDE}, such as 64x64", param, ctx)
        return size


class Skipped:
    """Images that could not be read: the first ones named on stderr, all of them counted."""

    def __init__(self):
        self.count, self.first = 0, None

    def add(self, error: InputError) -> None:
        self.count, self.first = self.count + 1, self.first or error
        if self.count <= SHOWN:
            print("skipped", error, file=sys.stderr)
        elif self.count == SHOWN + 1:
            print("skipped more, which are counted at the end", file=sys.stderr)


def stretch(image: Image.Image, size: tuple[int, int], resample: int) -> Image.Image:
    return image.resize(size, resample)


def center_crop(image: Image.Image, size: tuple[int, int], resample: int) -> Image.Image:
    """The largest middle part that has the proportions of `size`, scaled to it."""
    scale = min(image.width / size[0], image.height / size[1])
    width, height = min(size[0] * scale, image.width), min(size[1] * scale, image.height)  # rounding may lead past the edge
    x, y = (image.width - width) / 2, (image.height - height) / 2
    return image.resize(size, resample, box=(x, y, x + width, y + height))


def center_crop_wide(image: Image.Image, size: tuple[int, int], resample: int) -> Image.Image:
    """Centre crop to `size`, then black bars above and below that make it a square."""
    return pad(center_crop(image, size, resample), (size[0], size[0]), resample)


def pad(image: Image.Image, size: tuple[int, int], resample: int) -> Image.Image:
    """Unscaled in the middle of a black (or transparent) image; one that is too large is made smaller first."""
    scale = max(image.width / size[0], image.height / size[1], 1)
    if scale > 1:
        image = image.resize([max(1, round(side / scale)) for side in image.size], resample)
    canvas = Image.new(image.mode, size)
    canvas.paste(image, ((size[0] - image.width) // 2, (size[1] - image.height) // 2))
    return canvas


TRANSFORMS = {"stretch": stretch, "center-crop": center_crop, "center-crop-wide": center_crop_wide, "pad": pad}


def open_source(path: Path) -> Archive | IdxImages:
    return IdxImages(path) if os.path.isfile(path) and looks_like_idx(path) else Archive(path)


def labels_of_folders(source: Archive) -> tuple[dict[str, int], list[str]]:
    """Class of every image and names of the classes, which are the sorted names of the outermost folders."""
    for name in source.names:
        if "/" not in name:
            raise InputError(f"{source.path}: {name}: found outside of a folder, wanted one folder for each class")
    names = sorted({name.split("/")[0] for name in source.names})
    if len(names) > MAX_CLASSES:
        raise InputError(f"{source.path}: found {len(names)} folders, wanted {MAX_CLASSES} at most where they are classes")
    classes = {name: label for label, name in enumerate(names)}
    return {name: classes[name.split("/")[0]] for name in source.names}, names


def survey(source: Archive | IdxImages, most: int | None, skipped: Skipped) -> dict[str, Shape]:
    """Shapes of the first `most` images whose headers can be read, so that all trouble of sizes comes before the work."""
    shapes, progress = {}, Progress("looking", len(source.names), "img")
    for done, name in enumerate(source.names):
        if len(shapes) == most:
            break
        progress.update(done)
        try:
            shapes[name] = source.shape(name)
        except InputError as error:
            skipped.add(error)
    progress.close()
    return shapes


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


@contextlib.contextmanager
def new_dataset(dest: Path) -> Iterator[Callable[[str, bytes], None]]:
    """Gives `write(name, data)`. The zip file or folder appears when the block ends; when it fails, nothing is left behind."""
    dest = Path(os.path.abspath(dest))
    missing = [folder for folder in dest.parents if not os.path.exists(folder)]
    temporary = dest.with_name(f".{dest.name}.{os.getpid()}{TEMPORARY}")

    def write_entry(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
        # With a fixed date and system, the same images give the same bytes, and so the same hash.
        entry = zipfile.ZipInfo(name)
        entry.create_system, entry.external_attr = 3, 0o644 << 16
        archive.writestr(entry, data)

    def write_file(name: str, data: bytes) -> None:
        (temporary / name).parent.mkdir(parents=True, exist_ok=True)
        (temporary / name).write_bytes(data)

    try:
        dest.parent.mkdir(parents=True, exist_ok=True)
        if dest.suffix.lower() == ".zip":
            with atomic_write(dest) as file, zipfile.ZipFile(file, "w") as archive:
                yield functools.partial(write_entry, archive)
        else:
            temporary.mkdir()
            yield write_file
            if dest.exists():
                dest.rmdir()  # an empty one, which Windows would not replace
            temporary.rename(dest)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        for folder in missing:  # innermost first
            with contextlib.suppress(OSError):
                folder.rmdir()
        if isinstance(error, OSError):
            raise InputError(f"{dest}: cannot be written: {error.strerror or error}") from None
        raise


def png(image: Image.Image) -> bytes:
    image.info.clear()  # a colour profile, a comment or a date would be written, too
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


@command()
@click.option("--source", type=click.Path(path_type=Path), required=True, help="Folder, zip or IDX (.gz) file of images.")
@click.option("--dest", type=click.Path(path_type=Path), required=True, help="New folder, or new file that ends in .zip.")
@click.option("--resolution", type=_Size(), help="Size of the images written, such as 64x64. [default: as they are]")
@click.option("--transform", type=click.Choice(list(TRANSFORMS)), help="How images are fitted. [default: stretch; IDX: pad]")
@click.option("--resize-filter", type=click.Choice(list(FILTERS)), default="lanczos", help="For images that are scaled.")
@click.option("--max-images", type=click.IntRange(min=1), help="Take only the first ones, by name.")
@click.option("--labels-from-folders", type=BOOL, default=False, help="Every outermost folder is a class.")
def main(source, dest, resolution, transform, resize_filter, max_images, labels_from_folders):
    """Make a dataset of equal PNGs from a folder, a zip file or an IDX file of images.

    The PNGs are 00000/img00000000.png and so on, a thousand in a folder; dataset.json keeps the labels: those of the
    source's dataset.json, of the labels file beside an IDX file, or of its folders. Grey images stay grey and alpha
    stays; where kinds are mixed, all take the smallest one that loses nothing. Images that cannot be read are skipped.

    center-crop cuts to the proportions of --resolution; center-crop-wide adds black bars to it, to a square; stretch
    ignores proportions; pad puts the image in the middle of black, and makes it smaller if it must but never larger.
    Without --resolution, IDX images are padded to a square of the next power of two: 28x28 becomes 32x32.
    """
    if os.path.exists(dest) and not (os.path.isdir(dest) and not os.listdir(dest)):
        raise InputError(f"--dest {dest}: exists already; name another, or delete it first")
    images, skipped = open_source(source), Skipped()
    if labels_from_folders and isinstance(images, IdxImages):
        raise InputError(f"--labels-from-folders: {source} is a file without folders")
    labels, label_names = labels_of_folders(images) if labels_from_folders else (images.labels(), images.label_names)

    shapes = survey(images, max_images, skipped)
    if not shapes:
        raise InputError(f"{source}: none of {skipped.count} images can be read; the first: {skipped.first}")
    if isinstance(images, IdxImages):
        side = 1 << (max(images.shape("0")) - 1).bit_length()
        transform, resolution = transform or "pad", resolution or (side, side)
    if transform and not resolution:
        raise InputError(f"--transform {transform} wants --resolution WxH, too")
    if transform == "center-crop-wide" and resolution[0] < resolution[1]:
        raise InputError(f"--transform center-crop-wide wants a --resolution at least as wide as high, not {resolution}")
    if not resolution:
        require_one_size(images, shapes)

    fit, mode, kept, distorted = TRANSFORMS[transform or "stretch"], common_mode(shapes), [], 0
    progress = Progress("writing", len(shapes), "img")
    with new_dataset(dest) as write:
        for done, name in enumerate(shapes):
            progress.update(done)
            try:
                image = images.image(name).convert(mode)
            except InputError as error:
                skipped.add(error)
                continue
            if resolution:
                distorted += fit is stretch and abs(image.width * resolution[1] / (image.height * resolution[0]) - 1) > 0.02
                image = fit(image, resolution, FILTERS[resize_filter])
            target = f"{len(kept) // 1000:05d}/img{len(kept):08d}.png"
            write(target, png(image))
            kept.append([target, labels[name] if labels else None])
        if not kept:
            raise InputError(f"{source}: none of {skipped.count} images can be read; the first: {skipped.first}")
        metadata = {"labels": kept if labels else None} | ({"label_names": label_names} if labels and label_names else {})
        write(METADATA, json.dumps(metadata).encode())
    progress.close()

    if distorted:
        print(f"{distorted} images were stretched to other proportions; --transform center-crop or pad keeps them")
    classes = f"{len({label for _, label in kept})} classes" if labels else "no labels"
    print(f"{dest}: {len(kept)} images written, {image.width}x{image.height} {mode}, {classes}; {skipped.count} skipped")


if __name__ == "__main__":
    run(main)
