"""Styles and pictures as users give them: image files, folders, saved descriptors; and several styles as one."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import torch
from PIL import Image

from networks.style_transfer.descriptor_file import load_descriptor
from networks.style_transfer.mask import BLUR, Mask
from networks.style_transfer.peers import Method
from networks.style_transfer.regions import Regions
from networks.style_transfer.style_kernels import PARTS
from torch_utils.archive import Archive, open_images
from torch_utils.files import InputError, is_url
from torch_utils.images import from_pil, to_rgb, with_short_side
from torch_utils.table_picture import thumbnail


@dataclass
class Style:
    name: str
    descriptor: torch.Tensor  # [1, …]; with a mask [R, …]
    cell: Image.Image | str  # at the head of its column in a table
    mask: Mask | None = None

    def to_draw(self) -> torch.Tensor | Regions:
        return Regions(self.mask, self.descriptor) if self.mask else self.descriptor


def read_styles(path: Path, stylizer: Method) -> list[Style]:
    """All styles at a path: one in a saved descriptor or an image file, one for each image in a folder or zip file."""
    if path.suffix.lower() == ".safetensors":
        return [Style(path.stem, load_descriptor(path, stylizer.network), path.stem)]
    archive, styles = open_images(path), []
    for name in archive.names:
        picture = read_picture(archive, name)
        with naming(f"{archive.path}: {name}"):
            descriptor = stylizer.encode_style_picture(picture)
        styles.append(Style(flat(name), descriptor, thumbnail(picture)))
    return styles


def read_picture(archive: Archive, name: str, size: int | None = None) -> torch.Tensor:
    """uint8 RGB [3, H, W]; with a short side of `size` pixels, if that is given."""
    picture = to_rgb(from_pil(archive.image(name))[None])[0]
    with naming(f"{archive.path}: {name}"):
        return with_short_side(picture, size) if size else picture


@contextlib.contextmanager
def naming(what: str) -> Iterator[None]:
    """Errors of users say what they are about."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{what}: {error}") from None


def flat(name: str) -> str:
    """A name in an archive, as part of a file's name."""
    return str(PurePosixPath(name).with_suffix("")).replace("/", "-").replace("\\", "-")


def in_regions(styles: list[Style], path: Path, blur: float | None) -> Style:
    """All styles as one, each in its region of the mask."""
    archive = open_images(path)
    if len(archive.names) != 1:
        raise InputError(f"--mask {path}: found {len(archive.names)} images, wanted one")
    picture = read_picture(archive, archive.names[0])
    with naming(f"--mask {path}"):
        mask = Mask(picture, len(styles), BLUR if blur is None else blur)
    name = "+".join(style.name for style in styles)
    return Style(name, torch.cat([style.descriptor for style in styles]), name, mask)


def mixture(styles: list[Style], weights: list[float]) -> Style:
    if len(weights) != len(styles):
        raise InputError(f"--mix: found {len(weights)} weights for {len(styles)} styles, wanted one for each")
    name = "+".join(style.name for style in styles)
    descriptor = sum(weight * style.descriptor for weight, style in zip(weights, styles))
    return Style(name, descriptor, name)  # type: ignore[arg-type]  # 0 of no styles, but there is one


def parts_of(texts: Sequence[str]) -> dict[str, Path]:
    """`spatial=wood.jpg`, `bias=sky.jpg` -> {"spatial": …, "bias": …}. `InputError` for other words, or a part given twice."""
    parts: dict[str, Path] = {}
    for text in texts:
        part, _, path = text.partition("=")
        if part not in PARTS or not path:
            raise InputError(f"--part {text}: wanted PART=STYLE, such as spatial=wood.jpg, with one of {', '.join(PARTS)}")
        if is_url(path):
            raise InputError(f"--part {text}: is a URL; wanted a file of this machine")
        if part in parts:
            raise InputError(f"--part {text}: {part} comes from {parts[part]} already")
        parts[part] = Path(path)
    return parts


def only_one(option: str, styles: list[Style]) -> Style:
    if len(styles) > 1:
        raise InputError(f"{option}: found {len(styles)} styles, wanted one (--mix makes one of several)")
    return styles[0]
