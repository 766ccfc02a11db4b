"""What an image file says before its pixels are decoded, by Pillow, within limits."""

import contextlib
import warnings
from collections.abc import Iterator
from typing import IO, NamedTuple

from PIL import Image, features

from torch_utils.files import InputError

AVIF = features.check("avif")  # Pillow has it since 11.3, where its builder had the library
SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp") + (".avif",) * AVIF
MORE = ".gif .tif .tiff .heic .heif .jxl .jp2 .ico .tga .psd .exr .ppm .pgm .svg"
OTHERS = (*MORE.split(), *(".avif",) * (not AVIF))  # of images that are not read, and counted where that matters
# Never let Pillow guess further: some of its readers start other programs.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP") + ("AVIF",) * AVIF
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")  # what 8 bits a channel hold without loss
TURNS = {  # EXIF orientation -> what sets the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Shape(NamedTuple):
    channels: int  # 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA
    height: int
    width: int

    def __str__(self):
        return f"{self.width}x{self.height} pixels with {self.channels} channel{'s' * (self.channels > 1)}"


@contextlib.contextmanager
def read_header(file: IO[bytes]) -> Iterator[tuple[Image.Image, str, int]]:
    """Open lazily: (image, the mode of 1 to 4 letters that holds it without loss, EXIF orientation)."""
    kinds = "wanted 8 bits a channel: grey, grey with alpha, RGB, RGBA or palette"
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        _ignore_exif_warnings()
        image = Image.open(file, formats=FORMATS)
    with image:
        # Of 16-bit colour Pillow drops the low bytes without a word; only its name for the packed pixels tells.
        if image.format == "PNG" and any("16" in str(tile[3]) for tile in image.tile or ()):
            raise InputError(f"found 16 bits a channel, {kinds}")
        if image.mode not in MODES:
            raise InputError(f"found mode {image.mode}, {kinds}")
        mode = ("L" if image.mode in ("1", "L", "LA") else "RGB") + ("A" if image.has_transparency_data else "")
        yield image, mode, _orientation(image)


def _ignore_exif_warnings() -> None:
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.TiffImagePlugin")  # EXIF data are a TIFF file


def _orientation(image: Image.Image) -> int:
    """1, upright, where the EXIF data do not say or cannot be read: the pixels are whole."""
    if image.format == "PNG" and "exif" not in image.info:  # getexif would decode it to its end to look for some there
        return 1
    with warnings.catch_warnings():
        _ignore_exif_warnings()
        try:
            orientation = image.getexif().get(0x0112, 1)
        except Exception:  # whatever damaged data make Pillow raise
            return 1
    return orientation if orientation in TURNS else 1
