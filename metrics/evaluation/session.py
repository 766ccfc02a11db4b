"""One request to score something: everything that it needs is opened, then evaluated."""

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from metrics.detectors import lpips
from metrics.evaluation import reference_file
from metrics.evaluation.baselines import blurred, recorded_untrained, untrained
from metrics.evaluation.evaluator import Evaluator
from metrics.evaluation.request import Request
from metrics.evaluation.shards import Shards
from metrics.perceptual_path_length import path_record
from networks.generator import Generator
from networks.sampling import sample
from torch_utils.archive import Archive
from torch_utils.checkpoint import features_seen, load_generator, read_snapshot
from torch_utils.cli import Progress
from torch_utils.files import InputError, is_url, sha256
from torch_utils.prefetch import prefetch
from torch_utils.pretrained import find_network
from torch_utils.run_dir import read_options

BLURRED, UNTRAINED = "real images blurred to 8×8", "untrained generator"
Fakes = Callable[[int], Iterable[torch.Tensor]]  # fakes(count) gives uint8 batches [N, C, H, W], this process's share


class Session:
    """Of several processes each has one."""

    def __init__(self, request: Request, open_images: Callable, device: torch.device, shards: Shards):
        """`open_images` is `training.dataset.ImageDataset`. Raises `InputError` for whatever cannot be opened or scored."""
        self.request, self.open_images, self.device, self.shards = request, open_images, device, shards
        self.network, self.G, self.training = None, None, {}
        if request.network:
            self.network = find_network(request.network, "generator")
            self.G = load_generator(self.network, device)
            header = read_snapshot(self.network, tensors=False).info  # all that a copy outside its run has
            self.training = {key: header[key] for key in ("mirror", "seed") if key in header}
            self.training |= read_options(self.network.parent)
        self.reference = reference_file.load(request.reference) if request.reference else None
        self.real = self.labels = None
        if self.reference:
            self.labels = self._check_reference().labels
        elif request.looks_at_real_images or (self.G and self.G.c_dim):
            self.real = self._open_real_images()
            self.labels = self.real.labels
        self.samples = self._open_samples() if request.images else None
        self.evaluator = self._build_evaluator() if request.names else None
        self.perceptual = lpips.load(request.vgg, device) if request.path_lengths else None

    # ---------------------------------------------------------------- open

    def _check_reference(self) -> reference_file.ReferenceFile:
        path, reference, G = self.request.reference, self.reference, self.G
        check_fit(path, reference.shape, reference.labels, G)
        if G and G.c_dim and reference.labels is None:
            raise InputError(f"--reference {path} has no labels, which {self.network.name} draws by: save it with --network")
        return reference

    def _open_real_images(self):
        """As the options say, or else those that the network was trained on."""
        data, training = self.request.data, self.training
        path = data or training.get("data")
        if path is None:
            raise InputError("--data is missing: which real images are the generated ones to be compared with?")
        if not data and is_url(path):  # a stranger's network must not make us ask a stranger's server
            raise InputError(f"--data is missing: this network was trained on {path}; name it, and it is read from there")
        repeated = is_url(path) and str(data) == training.get("data")
        chosen = {}
        if repeated or not data:  # what else the run says of its images
            chosen = dict(subset=training.get("subset"), seed=training.get("seed", 0), skip_bad=bool(training.get("skip_bad")))
        mirror = bool(training.get("mirror")) if self.request.mirror is None else self.request.mirror
        real = self.open_images(path, mirror, use_labels=bool(self.G and self.G.c_dim), **chosen)
        progress = Progress(f"checking {real.name}", len(real), "img")
        real.check(progress.update, remote=real.skip_bad)  # scores are of all images: they replace none
        progress.close()
        if real.skipped and self.shards.first:
            left_out = f"{len(real.skipped)} that cannot be read, such as {min(real.skipped)}"
            print(f"note: {path}: left out as in training: {left_out}", file=sys.stderr)
        check_fit(path, (real.height, real.width, real.channels), real.labels, self.G)
        return real

    def _open_samples(self):
        path, count = self.request.images, self.request.max_count
        try:
            samples = self.open_images(path)
            samples.check()
        except InputError as error:
            raise (grid_among_samples(path) or error) from None
        if len(samples) < count:
            raise InputError(f"{path}: found {len(samples)} of the {count} images to score")
        return samples

    def _build_evaluator(self) -> Evaluator:
        request, reference, real = self.request, self.reference, self.real
        count, content = 0, ""  # without real images, an inception score needs none
        if reference:
            count, content = reference.real_count, reference.content
        elif real:
            count, content = len(real), real.content_hash()
        return Evaluator(
            request.names,
            (lambda: self._read(real, range(count))) if real else None,
            count,
            content,
            self.device,
            request.inception,
            request.seed,
            inception_resizing=request.resizing,
            detector_file=request.file,
            interval=True,
            extrapolate=request.extrapolate,
            workers=request.workers,
            shards=self.shards,
            reference_file=reference,
            mirrored=bool(real and real.mirror),
            seen=features_seen(self.network) if self.network else (),
        )

    # ---------------------------------------------------------------- evaluate

    def save_reference(self) -> None:
        path, real = self.request.save_reference, self.real
        self.evaluator.save_reference(path, real.mirror, (real.height, real.width, real.channels), real.labels)
        if self.shards.first:
            print(f"{path}: replaces {len(real)} real images for {', '.join(map(str, self.evaluator.references))}")

    def fakes(self) -> dict[str, Fakes]:
        """Images to score, by what they are: the generator's or the samples first."""
        seed, fakes = self.request.seed, {}
        if self.G:
            fakes["generator"] = self._drawn_by(self.G)
        elif self.samples:
            fakes["images"] = lambda count: self._read(self.samples, shuffled(len(self.samples), count, seed))
        if self.request.baselines and self.evaluator:
            fakes[BLURRED] = lambda count: blurred(self._read(self.real, shuffled(len(self.real), count, seed)))
        return fakes

    def evaluate(self) -> tuple[dict[str, list[dict]], list[dict]]:
        """Records by what was scored, and records of path lengths. Of several processes only the first gets any."""
        records = {what: self.evaluator(fakes) for what, fakes in self.fakes().items()} if self.evaluator else {}
        if self.G and self.request.baselines and self.evaluator:
            records[UNTRAINED] = self._evaluate_untrained(records["generator"])
        draw: dict[str, Any] = dict(seed=self.request.seed, classes=self.labels, shards=self.shards)
        return records, [path_record(metric, self.G, self.perceptual, **draw) for metric in self.request.path_lengths]

    def _evaluate_untrained(self, records: list[dict]) -> list[dict]:
        """From the run's own records, or else measured. A run that began from a network has no such record."""
        find = lambda record: None if self.training.get("warm_start") else recorded_untrained(self.network.parent, record)
        recorded = self.shards.from_first([find(record) for record in records])
        return recorded if all(recorded) else self.evaluator(self._drawn_by(untrained(self.G, self.training.get("seed", 0))))

    def _drawn_by(self, G: Generator) -> Fakes:
        share = (self.shards.rank, self.shards.world)
        return lambda count: sample(G, count, self.request.seed, self.labels, share=share)

    def _read(self, images, indices: Sequence[int]) -> Iterator[torch.Tensor]:
        """uint8 [≤ 32, C, H, W], this process's share, prefetched by threads."""
        rank, world, workers = self.shards.rank, self.shards.world, self.request.workers
        batches = (indices[i : i + 32] for i in range(32 * rank, len(indices), 32 * world))
        return prefetch(lambda batch: torch.stack([images[i][0] for i in batch]), batches, workers, depth=workers + 1)

    def with_origin(self, records: list[dict]) -> list[dict]:
        """Records that also say which images were scored against which, and where."""
        request, trained, origin = self.request, {}, {}
        if self.network:
            trained = dict(nimg=read_snapshot(self.network, tensors=False).info.get("nimg", 0))
            origin |= dict(snapshot=self.network.name, snapshot_hash=sha256(self.network))
        elif self.samples:
            origin |= dict(images=str(request.images), images_content=self.samples.content_hash())
        origin |= dict(device=str(self.device), processes=self.shards.world, command="calc_metrics")
        if known := self.reference:
            origin |= dict(reference=str(known.path), reference_hash=known.hash, reference_seed=known.seed, mirror=known.mirror)
        elif self.real:
            origin |= dict(data=str(request.data or self.training["data"]), mirror=self.real.mirror)
        return [trained | record | origin for record in records]


def check_fit(path: Path, shape: tuple[int, int, int], labels: list[int] | None, G: Generator | None) -> None:
    """Raises `InputError` where real images differ in size or classes from those that the network draws."""
    if G is None:
        return
    size = G.img_resolution
    drawn = (*((size, size) if isinstance(size, int) else size), G.img_channels)
    if G.c_dim and labels and max(labels) >= G.c_dim:
        raise InputError(f"{path}: has {max(labels) + 1} classes, and the network draws {G.c_dim}")
    if shape != drawn:
        raise InputError(f"{path}: images are (height, width, channels) = {shape}, and the network draws {drawn}")


def grid_among_samples(path: Path) -> InputError | None:
    """An error that names a picture which seems to be a grid of the other ones, as `generate.py --grid` writes it."""
    archive = Archive(path)
    sizes = {name: archive.shape(name)[1:] for name in archive.names}
    (height, width), _ = Counter(sizes.values()).most_common(1)[0]
    for name, (h, w) in sizes.items():
        if (h, w) != (height, width) and h % height == w % width == 0:
            return InputError(
                f"{path}: {name} has {w}x{h} pixels and the other images {width}x{height}: "
                "it seems to be a grid of them (generate.py --grid); move it to another folder"
            )
    return None


def shuffled(images: int, count: int, seed: int) -> list[int]:
    """`count` of the numbers below `images` in random order, all of them before one comes again.

    A folder is often sorted by class, so its first `count` images would be of a few classes only.
    """
    order = torch.randperm(images, generator=torch.Generator().manual_seed(seed)).tolist()
    return (order * -(-count // images))[:count]
