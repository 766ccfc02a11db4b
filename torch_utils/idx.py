"""IDX files, in which the MNIST family ships its images and labels (http://yann.lecun.com/exdb/mnist)."""

import gzip
import math
import os
import re
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from torch_utils.archive import Shape
from torch_utils.files import InputError, open_file

IMAGES = b"\0\0\x08\x03"  # unsigned bytes in three dimensions
LABELS = b"\0\0\x08\x01"  # unsigned bytes in one
MAX_BYTES = 1 << 31  # unpacked
MAX_RATIO = 200  # unpacked bytes to packed ones, beyond the first 16 MB; drawings and digits have about 5
MAX_IMAGES = 1 << 22
MAX_SIDE = 1 << 14

FAMILIES = {  # pattern of a name -> names of the classes, in the order of their numbers
    r"fashion": "T-shirt/top, Trouser, Pullover, Dress, Coat, Sandal, Shirt, Sneaker, Bag, Ankle boot",
    r"kmnist|kuzushiji-?mnist": "o, ki, su, tsu, na, ha, ma, ya, re, wo",
    r"(?<![a-z])q?mnist": "0, 1, 2, 3, 4, 5, 6, 7, 8, 9",
}


class IdxImages:
    """The images of one `…-images-idx3-ubyte[.gz]` file, read like an `Archive`; labels from the labels file beside it."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.label_names = family_names(self.path)
        self.pixels = _read(self.path, IMAGES)  # uint8 [N, H, W]
        if not self.pixels.size:
            raise InputError(f"{path}: found no images, wanted some")
        count, height, width = self.pixels.shape
        if count > MAX_IMAGES or max(height, width) > MAX_SIDE:
            about = f"{count} images of {width}x{height} pixels"
            raise InputError(f"{path}: found {about}, wanted {MAX_IMAGES} at most, and sides of {MAX_SIDE} at most")
        self.names = [str(i) for i in range(len(self.pixels))]

    def shape(self, name: str) -> Shape:
        return Shape(1, *self.pixels.shape[1:])

    def image(self, name: str) -> Image.Image:
        return Image.fromarray(self.pixels[int(name)])

    def labels(self) -> dict[str, int] | None:
        """Class of every image, or None where there is no labels file."""
        name = self.path.name.replace("images", "labels").replace("idx3", "idx1")
        names = [name, name[:-3] if name.lower().endswith(".gz") else f"{name}.gz"]  # one of the two may be unpacked
        path = next((path for path in map(self.path.with_name, names) if os.path.isfile(path)), None)
        if name == self.path.name or path is None:
            return None
        labels = _read(path, LABELS)
        if len(labels) != len(self.names):
            raise InputError(f"{path}: found {len(labels)} labels, wanted {len(self.names)}, one for every image")
        return dict(zip(self.names, labels.tolist()))


def family_names(path: Path) -> list[str] | None:
    """Names of the ten classes where the file or one of the two folders around it is called after a known family."""
    folders = Path(os.path.abspath(path)).parents[:2]
    for name in (path.name, *(folder.name for folder in folders)):
        for pattern, names in FAMILIES.items():
            if re.search(pattern, name.lower()):
                return names.split(", ")
    return None


def looks_like_idx(path: str | Path) -> bool:
    """By the first bytes, not by the name."""
    try:
        with _open(Path(path)) as file:
            return file.read(2) == IMAGES[:2]
    except (OSError, EOFError, zlib.error, InputError):
        return False


def _open(path: Path):
    file = open_file(path)
    packed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    if not packed:
        return file
    unpacked = gzip.GzipFile(fileobj=file)
    unpacked.myfileobj = file  # type: ignore[assignment]  # which it then closes, as that of gzip.open
    return unpacked


def _read(path: Path, magic: bytes) -> np.ndarray:
    """uint8, of the dimensions that the file gives. Memory is taken as data arrive, not as the header asks."""
    dimensions = magic[3]
    try:
        with _open(path) as file:
            kind = file.read(4)
            if kind != magic:
                raise InputError(f"{path}: found an IDX file of kind {kind.hex()}, wanted {magic.hex()}")
            shape = struct.unpack(f">{dimensions}I", file.read(4 * dimensions))
            size, max_size = math.prod(shape), min(MAX_BYTES, (1 << 24) + MAX_RATIO * os.path.getsize(path))
            if size > max_size:
                raise InputError(f"{path}: found {size} bytes unpacked, wanted {max_size} at most")
            data = bytearray()
            while len(data) < size and (block := file.read(min(size - len(data), 1 << 20))):
                data += block
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise InputError(f"{path}: cannot be read as an IDX file: {error}") from None
    if len(data) != size:
        raise InputError(f"{path}: found {len(data)} bytes of data, wanted {size}")
    return np.frombuffer(data, np.uint8).reshape(shape)
