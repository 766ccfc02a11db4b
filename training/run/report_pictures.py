"""Pictures of a run as data URIs, few enough and small enough for one page."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from training.run.run_records import Grid

MAX_GRIDS = 40  # pictures through time
MAX_BYTES = 8_000_000  # of all pictures together; in base64 they take 4/3 of it
EXACT_BYTES = 150_000  # a PNG up to this size is embedded as it is


def evenly(grids: list[Grid]) -> list[Grid]:
    """MAX_GRIDS of them at most, evenly through time; the first and the last always."""
    if len(grids) <= MAX_GRIDS:
        return grids
    kimgs = np.array([kimg for kimg, _, _ in grids])
    times = np.linspace(kimgs[0], kimgs[-1], MAX_GRIDS)[1:-1]
    return [grids[i] for i in sorted({0, len(grids) - 1, *(int(np.abs(kimgs - kimg).argmin()) for kimg in times)})]


def embed(paths: Sequence[Path]) -> dict[Path, str]:
    """Data URIs of the pictures that can be read, of MAX_BYTES together at most.

    All that are re-encoded get the form that the largest file needs, so that moving through time does not change sharpness.
    """
    sizes = {path: path.stat().st_size for path in paths if path.is_file()}
    share, form, embedded = MAX_BYTES // max(len(sizes), 1), 0, {}
    for path in sorted(sizes, key=sizes.get, reverse=True):
        try:
            with Image.open(path) as image:
                image.load()
        except Exception:  # Pillow raises half a dozen kinds for a damaged file
            continue
        if sizes[path] <= min(EXACT_BYTES, share):
            embedded[path] = _data_uri("png", path.read_bytes())
            continue
        opaque = _opaque(image)
        while len(encoded := _jpeg(opaque, form)) > share and form < 16:  # then a side is at 4 %
            form += 1
        embedded[path] = _data_uri("jpeg", encoded)
    return embedded


def _jpeg(image: Image.Image, form: int) -> bytes:
    """The larger `form`, the smaller the result: 0 is hard to tell from the original, from 2 on there are fewer pixels."""
    factor = 0.8 ** max(form - 1, 0)
    if factor < 1:
        image = image.resize([max(round(side * factor), 1) for side in image.size], Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    quality = dict(quality=82) if form else dict(quality=92, subsampling=0)
    image.save(buffer, format="JPEG", **quality)
    return buffer.getvalue()


def _opaque(image: Image.Image) -> Image.Image:
    """Grey or RGB; alpha is laid over white, as `to_rgb` does."""
    if image.mode in ("L", "RGB"):
        return image
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
