"""A stylizer that is open in the viewer: from uploaded pictures and settings to a drawing, and to the command for it."""

import hashlib
import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from networks.style_transfer.mask import Mask
from networks.style_transfer.regions import Regions
from networks.style_transfer.style_files import read_picture
from networks.style_transfer.stylizer import Stylizer, load_stylizer
from scripts.viewer.open_network import DRAWING
from torch_utils.archive import SUFFIXES, SingleImage
from torch_utils.files import InputError
from torch_utils.images import from_pil, to_rgb, with_short_side
from torch_utils.precision import AUTO, prepare, resolve_precision
from torch_utils.pretrained import PRETRAINED, find_network

STYLES = Path(__file__).parent / "styles"
MIN_SIDE, MAX_SIDE, MAX_STRENGTH = 32, 1024, 3.0
MAX_RATIO = 4  # of a picture's sides: the long one is drawn, too
MASK, DRAWN = "mask.png", "drawn.png"
MAX_KEPT = 16  # descriptors


class Picture(NamedTuple):
    name: str  # as the command has it: the file's own name, or a path in the checkout
    pixels: torch.Tensor  # uint8 RGB [3, H, W]


@dataclass(frozen=True)
class Order:
    """What the style page asks for. `InputError` for what cannot be drawn."""

    content: Picture
    style: Picture
    size: int = 384  # short side, in pixels
    strength: float = 1
    second: Picture | None = None  # style of the lighter region of the mask
    mask: Picture | None = None  # of two colours

    def __post_init__(self):
        if not isinstance(self.size, int) or not MIN_SIDE <= self.size <= MAX_SIDE:
            raise InputError(f"found a size of {str(self.size)[:40]}, wanted {MIN_SIDE} to {MAX_SIDE} pixels")
        if not isinstance(self.strength, (int, float)) or not 0 <= self.strength <= MAX_STRENGTH:  # nan is neither
            raise InputError(f"found strength {str(self.strength)[:40]}, wanted 0 to {MAX_STRENGTH:g}")
        height, width = self.content.pixels.shape[1:]
        if max(height, width) > MAX_RATIO * min(height, width):
            raise InputError(f"{self.content.name}: found {width}×{height} pixels, wanted sides of at most 1 to {MAX_RATIO}")
        if self.second and self.mask is None:
            raise InputError("a second style wants a region: paint one, or give a mask")


def preset_names() -> list[str]:
    return sorted(path.stem for path in STYLES.glob("*.jpg"))


def preset(name: str) -> Picture:
    if name not in preset_names():
        raise InputError(f"found no style {str(name)[:40]!r}, wanted one of {', '.join(preset_names())}")
    path = STYLES / f"{name}.jpg"
    return Picture(f"scripts/viewer/styles/{path.name}", read_upload(path).pixels)


def read_upload(path: str | Path) -> Picture:
    """A picture file; `InputError`, with the file's name and no folder, for anything else."""
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path.name}: is no picture; wanted {', '.join(SUFFIXES)}")
    try:
        archive = SingleImage(path)
        pixels = read_picture(archive, archive.names[0])
    except InputError as error:
        raise InputError(str(error).replace(f"{path.parent}: ", "")) from None
    return Picture(path.name, pixels)


def painted_mask(layers: Sequence[np.ndarray], content: torch.Tensor, size: int) -> Picture | None:
    """White where any layer [H, W, 4] is opaque, black elsewhere, in the size of the drawing. None: nowhere."""
    painted = [np.asarray(layer)[..., 3] > 127 for layer in layers if np.asarray(layer).ndim == 3]
    painted = [layer for layer in painted if layer.any()]
    if not painted:
        return None
    height, width = with_short_side(content, size).shape[1:]
    white = Image.fromarray((np.logical_or.reduce(painted) * 255).astype(np.uint8))
    pixels = to_rgb(from_pil(white.resize((width, height), Image.Resampling.NEAREST))[None])[0]
    return Picture(MASK, pixels.contiguous())


class Studio:
    def __init__(self, name: Path, encoder_weights: Path | None = None, device: torch.device | str = "cpu"):
        precision, _ = resolve_precision(AUTO, torch.device(device))
        prepare(precision)
        path = find_network(name, "style_transfer")
        self.name = path.stem if path.parent == PRETRAINED else str(path)
        self.encoder_weights = encoder_weights
        self.stylizer: Stylizer = load_stylizer(path, encoder_weights, device, precision)
        self._descriptors: dict[bytes, torch.Tensor] = {}

    @torch.inference_mode()
    def draw(self, order: Order) -> torch.Tensor:
        """uint8 [3, H, W]"""
        with DRAWING:
            content = with_short_side(order.content.pixels, order.size)
            self.stylizer.strength = order.strength
            style: torch.Tensor | Regions = self._describe(order.style)
            if order.second:
                own = torch.cat([self._describe(order.style), self._describe(order.second)])
                style = Regions(Mask(order.mask.pixels, 2), own)
            return next(self.stylizer.stylize_picture(content, [style]))

    def _describe(self, style: Picture) -> torch.Tensor:
        """Its descriptor, kept for the next drawing."""
        height, width = style.pixels.shape[1:]
        if max(height, width) > MAX_RATIO * min(height, width):
            raise InputError(f"{style.name}: found {width}×{height} pixels, wanted sides of at most 1 to {MAX_RATIO}")
        key = hashlib.sha256(f"{width}×{height}".encode() + style.pixels.numpy().tobytes()).digest()
        if key not in self._descriptors:
            while len(self._descriptors) >= MAX_KEPT:
                del self._descriptors[next(iter(self._descriptors))]
            self._descriptors[key] = self.stylizer.encode_style_picture(style.pixels)
        return self._descriptors[key]

    def command(self, order: Order, device: str | None = None) -> str:
        """That writes the drawing as DRAWN, from files with the pictures' names."""
        words = ["stylize.py", "--network", self.name, "--content", order.content.name, "--content-size", str(order.size)]
        words += ["--style", order.style.name]
        if order.second:
            words += ["--style", order.second.name, "--mask", order.mask.name]
        words += ["--strength", f"{order.strength!r}"] * (not math.isclose(order.strength, 1, abs_tol=0))
        words += ["--encoder-weights", str(self.encoder_weights)] * (self.encoder_weights is not None)
        words += ["--device", device] * (device is not None)
        return shlex.join(["python", *words, "--output", DRAWN])
