"""Random squares from images of any size, as style transfer is trained on them."""

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from torch_utils.files import InputError
from torch_utils.images import to_rgb
from training.archive import Archive
from training.dataset import NO_LABEL


class Crops(Dataset):
    """Item (i, position) is a square of image i, uint8 RGB [3, side, side], and no label.

    The shorter side is brought to `short`, then a square is cut out (paper, section 5.1: 512, then 256). Where, is drawn from
    the position in the training alone, so that a resumed training sees what it would have seen. The last `held_out` images by
    name are never trained on: `middle` shows them.
    """

    def __init__(
        self,
        archive: Archive,
        side: int,
        short: int,
        held_out: int = 0,
        seed: int = 0,
        skip_bad: bool = False,  # in place of an image that cannot be read, take the next one
    ):
        if not side <= short:
            raise InputError(f"{archive.path}: squares of {side} pixels cannot be cut from images of {short}")
        if held_out >= len(archive.names):
            raise InputError(f"{archive.path}: found {len(archive.names)} images, of which {held_out} cannot be held out")
        self._archive, self._side, self._short, self._seed, self._skip_bad = archive, side, short, seed, skip_bad
        count = len(archive.names) - held_out
        self._names, self.held_out = archive.names[:count], archive.names[count:]
        self.name = archive.path.stem if archive.zipped else archive.path.resolve().name

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, item: tuple[int, int]) -> tuple[torch.Tensor, int]:
        index, position = item
        image = self._readable(index)
        image = shrunk(image, self._short)
        rng = np.random.RandomState(np.random.MT19937(np.random.SeedSequence([self._seed, position])))
        left, top = (rng.randint(size - self._side + 1) for size in image.size)
        square = image.crop((left, top, left + self._side, top + self._side))
        return to_tensor(square), NO_LABEL

    def check(self, report: Callable[[int], None] = lambda done: None) -> dict[str, str]:
        """Look at every header: `InputError` at the first bad one, or with `skip_bad` {name: why}, and those are left out."""
        bad = {}
        for done, name in enumerate(self._archive.names, 1):
            try:
                self._archive.shape(name)
            except InputError as error:
                if not self._skip_bad:
                    raise
                bad[name] = str(error)
            report(done)
        self._names = [name for name in self._names if name not in bad]
        self.held_out = [name for name in self.held_out if name not in bad]
        if not self._names:
            raise InputError(f"{self._archive.path}: none of its images can be read")
        return bad

    def middle(self, name: str) -> torch.Tensor:
        """uint8 RGB [3, side, side]: the middle of an image, at the scale of the squares that are trained on."""
        image = shrunk(rgb(self._archive.image(name)), self._short)
        left, top = ((size - self._side) // 2 for size in image.size)
        return to_tensor(image.crop((left, top, left + self._side, top + self._side)))

    def _readable(self, index: int) -> Image.Image:
        for step in range(len(self._names)):
            try:
                return rgb(self._archive.image(self._names[(index + step) % len(self._names)]))
            except InputError:
                if not self._skip_bad:
                    raise
        raise InputError(f"{self._archive.path}: none of its images can be read")


def rgb(image: Image.Image) -> Image.Image:
    """Grey is repeated, alpha is laid over white."""
    if image.mode == "RGB":
        return image
    pixels = torch.from_numpy(np.array(image)).view(image.height, image.width, len(image.mode)).permute(2, 0, 1)
    return Image.fromarray(to_rgb(pixels[None])[0].permute(1, 2, 0).contiguous().numpy())


def shrunk(image: Image.Image, short: int) -> Image.Image:
    """With a shorter side of `short` pixels."""
    factor = short / min(image.size)
    return image.resize([max(round(side * factor), short) for side in image.size], Image.Resampling.BICUBIC, reducing_gap=3)


def to_tensor(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
