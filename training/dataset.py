"""Training images and their labels. The order in which a training run sees them is `data_order`."""

import hashlib
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from torch_utils.archive import Archive, Shape
from torch_utils.files import InputError
from torch_utils.image_labels import COLUMNS, labels_of_folders
from torch_utils.images import from_pil
from training.data_order import batches as batches  # callers find it beside the images
from training.data_order import permutation
from training.data_order import readers_watched as readers_watched
from training.image_memory import KeptImages, fits

DECODING_BYTES, DECODED_PIXEL_BYTES = 1 << 29, 12  # of all images that are decoded at once, and about what a pixel takes
MAX_OTHERS = 100  # that are tried in place of an image that cannot be read
MAX_SEARCH = 60  # seconds for one of them
NO_LABEL = -1  # not 0, so that a class made from it by mistake fails loudly


class ImageDataset(Dataset):
    """Images of one size in a folder or zip file: item i is (uint8 [C, H, W], class), the class -1 without `use_labels`.

    The constructor lists the files and reads `dataset.json` and the first image; `check()` decodes all of them.
    Images are in the order of their names. Workers may be spawned or, unless they are behind a URL, forked.

    With `skip_bad`, images that cannot be read are no error: `check()` leaves them out, as if they were not there, and
    `skipped` says which and why; what fails later is replaced in `training_batch`. Images of another size or kind are never
    left out: they are not damaged.

    `c_dim` is the number of classes: that of `label_names`, else the largest label in the file + 1, whatever the subset.
    It is 0 without `use_labels`.
    """

    def __init__(
        self,
        path: str | Path,  # folder, zip file or folder of zip files; or the URL of zip files
        mirror: bool = False,  # twice as many images: i + n is i, flipped from left to right
        use_labels: bool = False,  # classes from dataset.json, metadata.csv or .jsonl, or folders
        subset: int | None = None,  # this many images, drawn by `seed`; a larger subset contains a smaller one
        seed: int = 0,
        skip_bad: bool = False,  # leave out images that cannot be read
        keep: bool = False,  # decoded images in memory, where all of them fit into KEPT_BYTES; for reading more than once
    ):
        self._archive = Archive(path, skip_bad)
        self.name = self._archive.name
        self.mirror = mirror
        names = self._archive.names

        labels = self._find_labels() if use_labels else None
        self.label_names = self._archive.label_names
        self.c_dim = (len(self.label_names or ()) or max(labels.values()) + 1) if labels else 0

        if subset is not None and not 1 <= subset <= len(names):
            raise InputError(f"{path}: found {len(names)} images, wanted a subset of {subset}")
        self._subset = None if subset in (None, len(names)) else (subset, seed)
        self._choose(np.sort(permutation(len(names), seed)[:subset]) if self._subset else None)
        self._labels = [labels[name] for name in self._names] if labels else None
        self.skip_bad = skip_bad
        self.skipped: dict[str, str] = dict(self._archive.left_out)  # name -> why; of images since `check()`
        self._files = ""  # fingerprint of what `check()` has looked at
        self._content_hash: str | None = None
        self._shape = self._first_shape()
        self.channels, self.height, self.width = self._shape
        self._keep = keep
        self._kept = self._room()

    @property
    def resolution(self) -> tuple[int, int]:
        """(height, width)"""
        return self.height, self.width

    @property
    def labels(self) -> list[int] | None:
        """Class of item 0, 1, …; None without `use_labels`."""
        return self._labels and self._labels * (2 if self.mirror else 1)

    def __len__(self) -> int:
        return len(self._names) * (2 if self.mirror else 1)

    @property
    def nbytes(self) -> int:
        """Size of all pixels; mirrored copies take none."""
        return len(self._names) * math.prod(self._shape)

    @property
    def in_memory(self) -> bool:
        """Whether every image is decoded only once in this process."""
        return self._kept is not None

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        images, labels = self.batch([index])
        return images[0], int(labels[0])

    def batch(self, indices: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """These items together: uint8 [B, C, H, W], int64 [B]."""
        images, rows = self._read(indices, replace=False)
        return images, self._labels_of(rows)

    def training_batch(self, indices: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor, int]:
        """As `batch`; and how many images were replaced by others, as they could not be read: none without `skip_bad`."""
        images, rows = self._read(indices, replace=self.skip_bad)
        return images, self._labels_of(rows), int((rows != np.asarray(indices) % len(self._names)).sum())

    def check(self, report: Callable[[int], None] = lambda done: None, remote: bool = False) -> None:
        """Decode every image: `InputError` at the first that cannot be read, or is of another size or kind than the first one.

        `report` is called with the number of images that are done, e.g. `Progress.update`; mirrored copies do not count.
        Images behind a URL are left for when they are needed, unless `remote` says otherwise.
        """
        if self._archive.remote and not remote:
            self._leave_out({}, self._fingerprint())
            return
        bad, done, files = {}, 0, self._fingerprint()
        together = max(DECODING_BYTES // (DECODED_PIXEL_BYTES * self.height * self.width), 1)
        with ThreadPoolExecutor(min(os.cpu_count() or 1, 16, together)) as pool:  # Pillow and zlib let go of Python's lock
            for start in range(0, len(self._names), 512):
                names = self._names[start : start + 512]
                for name, error in zip(names, pool.map(self._examine, range(start, start + len(names)))):
                    if error and not self.skip_bad:
                        raise error
                    if error:
                        bad[name] = str(error)
                    done += 1
                    report(done)
        if len(bad) == len(self._names):
            first = next(iter(bad.values()))
            raise InputError(f"{self._archive.path}: none of {len(bad)} images can be read; the first: {first}")
        self._leave_out(bad, files)

    def findings(self) -> dict:
        """What `check()` found, for `trust`; goes into JSON."""
        return {"files": self._files, "skipped": self.skipped}

    def trust(self, findings: dict) -> bool:
        """Take over what an earlier `check()` found if no file has changed since; False where a new check is needed."""
        files = self._fingerprint()
        skipped = findings.get("skipped") if isinstance(findings, dict) and findings.get("files") == files else None
        if not isinstance(skipped, dict) or not all(isinstance(why, str) for why in skipped.values()):
            return False
        bad = {name: why for name, why in skipped.items() if name not in self._archive.left_out}
        if len(bad) >= len(self._names) or not all(name in self._names for name in bad):
            return False
        self._leave_out(bad, files)
        return True

    def content_hash(self) -> str:
        """Hex digest that identifies the images; labels in a folder do not count.

        For all images: `Archive.content_hash` (a zip: SHA-256 of the file; a folder: of names and bytes of its images).
        With `subset` (fewer than all), `mirror` or skipped images: SHA-256 of that digest, (subset, seed), mirror and the names
        of what was skipped. `seed` without `subset` changes nothing. Reads all files, once.
        """
        if self._content_hash is None:
            key = self._archive.content_hash(self.skipped)
            if self._subset or self.mirror or self.skipped:
                without = f" without {sorted(self.skipped)}" if self.skipped else ""
                key = f"{key} subset {self._subset} mirror {bool(self.mirror)}{without}"
                key = hashlib.sha256(key.encode()).hexdigest()
            self._content_hash = key
        return self._content_hash

    def __getstate__(self):
        return {key: value for key, value in self.__dict__.items() if key != "_names"}  # the archive has them

    def __setstate__(self, state: dict):
        self.__dict__.update(state)
        self._choose(self._rows)

    def _choose(self, rows: np.ndarray | None) -> None:
        """Which of the archive's images these are; None: all."""
        self._rows = rows
        self._names = self._archive.names if rows is None else self._archive.names.take(rows)

    def _find_labels(self) -> dict[str, int]:
        """Of the archive's tables, or of its folders."""
        labels, path = self._archive.labels(), self._archive.path
        if labels is not None:
            return labels
        if self._archive.has_metadata or not any("/" in name or "\\" in name for name in self._archive.names):
            columns = f"a metadata.csv with file_name and {' or '.join(COLUMNS)}"
            wanted = f"a dataset.json with a label for every image, {columns}, or a folder for each class"
            raise InputError(f"{path}: found no labels, wanted {wanted}")
        labels, self._archive.label_names = labels_of_folders(self._archive.names, path)
        return labels

    def _fingerprint(self) -> str:
        return hashlib.sha256(f"{self._archive.fingerprint(self._names)} {self.skip_bad} {self._shape}".encode()).hexdigest()

    def _leave_out(self, bad: dict[str, str], files: str) -> None:
        if bad:
            kept = np.array([i for i, name in enumerate(self._names) if name not in bad], np.int64)
            self._labels = self._labels and [self._labels[i] for i in kept]
            self._choose(kept if self._rows is None else self._rows[kept])
        self.skipped |= bad
        self._files, self._content_hash = files, None
        if bad:  # the others have other numbers now
            self._kept = self._room()

    def _room(self) -> KeptImages | None:
        return KeptImages(len(self._names), self._shape) if self._keep and fits(self.nbytes) else None

    def _labels_of(self, rows: np.ndarray) -> torch.Tensor:
        return torch.tensor([self._labels[row] if self._labels else NO_LABEL for row in rows])

    def _read(self, indices: Sequence[int], replace: bool) -> tuple[torch.Tensor, np.ndarray]:
        """Pixels uint8 [B, C, H, W], and which image of the archive each is of: with `replace`, another one where it fails."""
        for index in indices:
            if not 0 <= index < len(self):
                raise IndexError(f"image {index} of {len(self)}")
        flip, rows = np.divmod(indices, len(self._names))
        missing = self._kept.missing(rows) if self._kept else list(dict.fromkeys(rows.tolist()))
        self._archive.fetch([self._names[row] for row in missing])
        found, others = {}, {}
        for row in missing:
            other, found[row] = self._decode_or_another(row) if replace else (row, self._decode(row))
            if other != row:
                others[row] = other
            elif self._kept:
                self._kept.put(row, found[row])
        if self._kept and not others:
            images = self._kept.take(rows)
        else:
            images = torch.stack([found[row] if row in found else self._kept.take(np.array([row]))[0] for row in rows.tolist()])
        for k in flip.nonzero()[0]:
            images[k] = images[k].flip(2)
        return images, np.array([others.get(row, row) for row in rows.tolist()]) if others else rows

    def _decode_or_another(self, row: int) -> tuple[int, torch.Tensor]:
        """An image or, where it cannot be read, one that `row` draws.

        `InputError` where MAX_OTHERS cannot be read, either, or it takes more than MAX_SEARCH: then all may have failed.
        """
        draws = np.random.RandomState(row).randint(len(self._names), size=MAX_OTHERS).tolist()
        end = time.monotonic() + MAX_SEARCH
        for other in [row, *draws]:
            try:
                image = self._archive.image(self._names[other])
            except InputError as error:
                last = error
                if time.monotonic() > end:
                    break
            else:
                return other, self._pixels(other, image)
        raise last

    def _decode(self, i: int) -> torch.Tensor:
        """uint8 [C, H, W]"""
        return self._pixels(i, self._archive.image(self._names[i]))

    def _pixels(self, i: int, image: Image.Image) -> torch.Tensor:
        self._compare(self._names[i], Shape(len(image.mode), image.height, image.width))
        return from_pil(image).contiguous()

    def _first_shape(self) -> Shape:
        for name in self._names:
            try:
                return self._archive.shape(name)
            except InputError:
                if not self.skip_bad:
                    raise
        raise InputError(f"{self._archive.path}: none of {len(self._names)} images can be read")

    def _examine(self, i: int) -> InputError | None:
        """The error of an image that cannot be read; raises for one that can, but is of another size or kind."""
        name = self._names[i]
        try:
            shape = self._archive.shape(name)
            if shape == self._shape:  # before memory is taken for its pixels
                pixels = self._decode(i)
                if self._kept:
                    self._kept.put(i, pixels)
        except InputError as error:
            return error
        self._compare(name, shape)
        return None

    def _compare(self, name: str, shape: Shape) -> None:
        if shape != self._shape:
            raise InputError(
                f"{self._archive.path}: {name}: found {shape}, wanted {self._shape} as {self._names[0]} has; "
                "scripts/dataset_tool.py makes images equal"
            )


def evaluation_batches(dataset: ImageDataset, batch_size: int) -> Iterator[torch.Tensor]:
    """All images once and in order, as uint8 [B, C, H, W]; the last batch may be smaller."""
    for start in range(0, len(dataset), batch_size):
        yield dataset.batch(range(start, min(start + batch_size, len(dataset))))[0]
