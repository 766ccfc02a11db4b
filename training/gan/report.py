"""What the training of a generator writes down: grids of images from fixed latents, and scores."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch

from networks.sampling import one_hot, sample
from torch_utils import distributed
from torch_utils.checkpoint import save_snapshot
from torch_utils.files import make_folders
from torch_utils.images import save_grid, to_uint8
from torch_utils.interrupt import StopRequest
from torch_utils.platform import release_freed_memory
from torch_utils.rng import normal
from torch_utils.run_dir import EMA, FAKES_INIT, REALS, average_name, averages
from training.dataset import ImageDataset
from training.gan.config import TrainingConfig
from training.gan.ema_profile import WIDTHS
from training.gan.state import TrainingState
from training.run.health import diversity
from training.run.report import Reporter

# Scores generated images: evaluate(fakes) -> [{"metric", "value", "floor", …}], where fakes(count) gives uint8 batches.
Evaluate = Callable[[Callable[[int], Iterable[torch.Tensor]]], list[dict]]


class _AskedToStop(Exception):
    """Leaves a score unfinished; the resumed run makes it."""


class GeneratorReporter(Reporter):
    config: TrainingConfig
    state: TrainingState
    COUNTS_REPLACED = True
    LOGGED = ("loss_D", "loss_G", "r1", "r2", "loss_D_projected", "path_length", "p", "growth")

    def __init__(
        self,
        config: TrainingConfig,
        dataset: ImageDataset,
        state: TrainingState,
        run_dir: Path,
        evaluate: Evaluate | None,  # None: no scores
        device: torch.device,
        stop: StopRequest,
    ):
        super().__init__(config, state, run_dir, device, stop)
        self.dataset, self.evaluate = dataset, evaluate
        self.columns, self.reals = self._choose_reals()
        self.real_spread = diversity(self.reals)
        for nimg, _, path in averages(run_dir):
            if nimg > state.nimg:  # of a future that a resume has undone
                path.unlink()

    def first_pictures(self) -> None:
        save_grid(self.run_dir / REALS, self.reals, self.columns)
        save_grid(self.run_dir / FAKES_INIT, self._fakes(), self.columns)

    def pictures(self, path: Path) -> None:
        images = self._fakes()
        save_grid(path, images, self.columns)
        spread = diversity(images)
        if spread < 0.3 * self.real_spread:
            self.log(
                f"warning: samples differ from each other by {spread:.1f} grey levels, real images by {self.real_spread:.1f}: "
                "the generator may be collapsing; more --gamma or --aug ada may help, or going on from an earlier snapshot"
            )

    def write_network(self, path: Path) -> None:
        info = dict(nimg=self.state.nimg, dataset=self.dataset.name, mirror=self.config.mirror, seed=self.config.seed)
        info |= dict(label_names=self.dataset.label_names, features_seen=self.config.seen)
        save_snapshot(path, "generator", self.state.ema, half=False, **info)
        for width, average in zip(WIDTHS, self.state.averages):
            make_folders(self.run_dir / EMA)
            file = self.run_dir / EMA / average_name(self.state.nimg, width)
            save_snapshot(file, "generator", average, half=True, **info, width=width)

    def scores(self) -> list[dict] | None:
        if self.evaluate is None:
            return None
        try:
            with distributed.all_threads(self.config.threads):
                results = self.evaluate(self._samples)
        except _AskedToStop:
            return None
        release_freed_memory()
        return results

    def _samples(self, count: int) -> Iterator[torch.Tensor]:
        for images in sample(self.state.ema, count, self.config.seed, self.dataset.labels):
            if self.stop_request.requested and self.state.nimg:  # the untrained generator's score cannot be made later
                raise _AskedToStop
            yield images

    def _grid_size(self) -> tuple[int, int]:
        """Columns and rows that fill a large screen without making cells too many to look at."""
        return min(max(1920 // self.dataset.width, 4), 16), min(max(1080 // self.dataset.height, 2), 10)

    def _choose_reals(self) -> tuple[int, torch.Tensor]:
        """Columns, and images [N, C, H, W]; with labels each row shows one class, in turn."""
        columns, rows = self._grid_size()
        indices = torch.randperm(len(self.dataset), generator=torch.Generator().manual_seed(self.config.seed)).tolist()
        if labels := self.dataset.labels:
            members = {c: [] for c in sorted(set(labels))}
            for i in indices:
                members[labels[i]].append(i)
            chunks = {c: [m[k : k + columns] for k in range(0, len(m) - columns + 1, columns)] for c, m in members.items()}
            full = [c for c in chunks if chunks[c]]
            picked = [chunks[full[row % len(full)]].pop() for row in range(rows) if full and chunks[full[row % len(full)]]]
            indices = [i for row in picked for i in row] or indices
        return columns, self.dataset.training_batch(indices[: columns * rows])[0]

    @torch.inference_mode()
    def _fakes(self) -> torch.Tensor:
        """uint8 [N, C, H, W]. The same latents every time; with labels each row shows one class, in turn."""
        columns, rows = self._grid_size()
        ema, images = self.state.ema, []
        for row in range(rows):
            z = normal((columns, ema.z_dim), "grid", self.config.seed, row).to(self.device)
            c = one_hot([row % ema.c_dim] * columns, ema.c_dim).to(self.device) if ema.c_dim else None
            images.append(to_uint8(ema(z, c)))
        return torch.cat(images)
