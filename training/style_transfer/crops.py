"""Random squares from images of any size, as style transfer is trained on them."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from torch_utils.archive import Archive
from torch_utils.files import InputError
from torch_utils.images import from_pil, size_with_short_side, to_pil, to_rgb
from training.dataset import NO_LABEL
from training.image_memory import KeptTensors, fits
from training.style_transfer.sources import Balance, hold_out

TOGETHER = 64  # headers that are fetched at once
Another = Callable[[np.random.RandomState], torch.Tensor]
Augment = Callable[[torch.Tensor, Another, int, np.random.RandomState], torch.Tensor]  # as `augment_style` is


class Crops(Dataset):
    """Item (i, position) is a square of image i, uint8 RGB [3, side, side], and no label.

    The shorter side is brought to `short`, then a square is cut out (paper, section 3.3: 512, then 256), or what `augment`
    makes of the image. All that is random depends on the position in the training run alone (and on seed and `stream`), so that
    a resumed run sees what an uninterrupted one would have seen. The last `held_out` images by name and those in
    `held_out_folders` are never trained on: `middle` shows them. What squares were cut from is kept in memory, as far as there
    is room.
    """

    def __init__(
        self,
        archive: Archive,
        side: int,
        short: int,
        held_out: int = 0,
        seed: int = 0,
        skip_bad: bool = False,  # in place of an image that cannot be read, take the next one
        held_out_folders: Sequence[str] = (),
        balance: bool = False,  # between sub-folders; image i is another one then
        augment: Augment | None = None,
        stream: Sequence[int] = (),  # of the random numbers: another one cuts elsewhere at the same seed and position
    ):
        if not side <= short:
            raise InputError(f"{archive.path}: squares of {side} pixels cannot be cut from images of {short}")
        self._archive, self._side, self._short, self._seed, self._skip_bad = archive, side, short, seed, skip_bad
        self._balanced, self._augment, self._stream = balance, augment, tuple(stream)
        self._names, self.held_out = hold_out(archive.names, held_out, held_out_folders, archive.path)
        self.set_aside = tuple(self.held_out)  # with those that `check` leaves out
        self._renumber()
        self.nbytes: int | None = None  # of all that squares are cut from; `check()` finds it
        self.name = archive.name

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, item: tuple[int, int]) -> tuple[torch.Tensor, int]:
        index, position = item
        image = self._image(index, position)
        rng = np.random.RandomState(np.random.MT19937(np.random.SeedSequence([self._seed, position, *self._stream])))
        if self._augment:
            another = lambda rng: self._image(rng.randint(len(self)), position)
            return self._augment(image, another, self._side, rng), NO_LABEL
        _, height, width = image.shape
        left, top = (rng.randint(size - self._side + 1) for size in (width, height))
        return image[:, top : top + self._side, left : left + self._side].clone(), NO_LABEL

    def _image(self, index: int, position: int) -> torch.Tensor:
        """Not a copy: do not write to it."""
        number = self._balance(index, position) if self._balance else index
        return self._kept.take(number, lambda: to_tensor(shrunk(self._readable(number), self._short)))

    def _renumber(self) -> None:
        """After `_names` has changed."""
        self._balance = Balance(self._names) if self._balanced else None
        self._kept = KeptTensors()

    @property
    def in_memory(self) -> bool:
        """Whether every image is decoded only once."""
        return self.nbytes is not None and fits(self.nbytes)

    def check(self, report: Callable[[int], None] = lambda done: None) -> dict[str, str]:
        """Look at every header, and at the size that each image is brought to: `InputError` at the first bad one.

        With `skip_bad` {name: why}, and those are left out. Then images that are held out are decoded, too: unlike one to train
        on, which the next one stands in for, each of them is looked at as what it is.
        """
        bad, sizes, held_out = {}, {}, set(self.held_out)
        listed = list(self._archive.names)
        for done, name in enumerate(listed, 1):
            if done % TOGETHER == 1:
                self._archive.fetch(listed[done - 1 : done - 1 + TOGETHER])
            try:
                sizes[name] = self._nbytes(name)
                if self._skip_bad and name in held_out:
                    self._archive.image(name)
            except InputError as error:
                if not self._skip_bad:
                    raise
                bad[name] = str(error)
            report(done)
        for names, which in ((self._names, "to train on"), (self.held_out, "held out")):
            if names and bad.keys() >= set(names):
                raise InputError(f"{self._archive.path}: none of its images {which} can be read; the first: {bad[names[0]]}")
        self._names = [name for name in self._names if name not in bad]
        self.held_out = [name for name in self.held_out if name not in bad]
        self.nbytes = sum(sizes[name] for name in self._names)
        self._renumber()
        return bad

    def _nbytes(self, name: str) -> int:
        """Of what squares are cut from, by the image's header. `InputError` where that would be too large."""
        shape = self._archive.shape(name)
        try:
            return 3 * math.prod(size_with_short_side((shape.height, shape.width), self._short))
        except InputError as error:
            raise InputError(f"{self._archive.path}: {name}: {error}") from None

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
    return to_pil(to_rgb(from_pil(image)[None])[0])


def shrunk(image: Image.Image, short: int) -> Image.Image:
    """With a shorter side of `short` pixels; `InputError` above `images.MAX_PIXELS`."""
    height, width = size_with_short_side((image.height, image.width), short)
    return image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3)


def to_tensor(image: Image.Image) -> torch.Tensor:
    return from_pil(image).contiguous()
