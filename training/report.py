"""What rank 0 writes during a training: log lines, statistics, grids of images, snapshots, scores."""

import signal
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch

from networks.sampling import one_hot, sample
from torch_utils import distributed
from torch_utils.checkpoint import save_snapshot
from torch_utils.cli import Progress, duration
from torch_utils.images import save_grid, to_uint8
from torch_utils.interrupt import StopRequest
from torch_utils.platform import release_freed_memory
from torch_utils.rng import normal
from torch_utils.stats import Log, Records, read_jsonl, resident_bytes, share_of_way_left
from training.config import TrainingConfig
from training.dataset import ImageDataset
from training.health import diversity, warnings
from training.page import write_page
from training.state import TrainingState

# Scores generated images: evaluate(fakes) -> [{"metric", "value", "floor", …}], where fakes(count) gives uint8 batches.
Evaluate = Callable[[Callable[[int], Iterable[torch.Tensor]]], list[dict]]


class _AskedToStop(Exception):
    """Leaves a score unfinished; the resumed training makes it."""


LOGGED = ("loss_D", "loss_G", "r1", "r2", "path_length", "p", "growth")


class Reporter:
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
        self.stop_request = stop
        self.config, self.dataset, self.state, self.run_dir = config, dataset, state, run_dir
        self.evaluate, self.device = evaluate, device
        self.log, self.records = Log(run_dir / "log.txt"), Records(run_dir)
        self.warned: list[str] = []
        self.last_nimg, self.last_seconds = state.nimg, state.seconds

    def begin(self) -> None:
        """Before the first step; of a new run, what the data look like and where the untrained generator stands."""
        if self.state.nimg:
            self.log(f"Resumed at {self.state.nimg / 1000:.1f} kimg.")
            if self.state.nimg == self.state.snapshot_nimg and self._unscored():  # it ended while the last one was scored
                self._score(f"network-snapshot-{self.state.nimg // 1000:06d}.safetensors")
        columns, images = self._choose_reals()
        self.real_spread = diversity(images)
        if not self.state.nimg:
            save_grid(self.run_dir / "reals.png", images, columns)
            self._fakes("fakes_init.png")
            self._score(snapshot=None)
        self.bar = Progress("training", self.config.kimg, "kimg", start=self.state.nimg / 1000)

    def progress(self) -> None:
        self.bar.update(self.state.nimg / 1000)

    def tick(self, means: dict[str, float]) -> None:
        """One line for people, one record for programs."""
        state = self.state
        kimg = (state.nimg - self.last_nimg) / 1000
        sec_per_kimg = (state.seconds - self.last_seconds) / max(kimg, 1e-9)
        self.last_nimg, self.last_seconds = state.nimg, state.seconds
        memory = dict(resident_mb=round(resident_bytes() / 2**20, 1))
        if self.device.type == "cuda":
            memory["gpu_mb"] = round(torch.cuda.max_memory_allocated(self.device) / 2**20, 1)
        left = sec_per_kimg * max(self.config.kimg - state.nimg / 1000, 0)
        self.bar.close()
        self.log(
            f"kimg {state.nimg / 1000:<8.1f} sec/kimg {sec_per_kimg:<7.2f} time {duration(state.seconds):<12} "
            f"left {duration(left):<12} memory {memory['resident_mb']:.0f} MB  "
            + "  ".join(f"{name} {means[name]:.3f}" for name in LOGGED if name in means)
        )
        found = warnings(means)
        for line in found:
            if line.split("(")[0] not in self.warned:  # once, until it is over
                self.log(line)
        self.warned = [line.split("(")[0] for line in found]
        record = dict(nimg=state.nimg, kimg=state.nimg / 1000, step=state.step, seconds=round(state.seconds, 3))
        self.records.write("stats", record | dict(sec_per_kimg=sec_per_kimg, timestamp=time.time()) | memory | means)

    def snapshot(self) -> None:
        """Images, the network, the state to resume from, and the score."""
        kimg = self.state.nimg // 1000
        spread = self._fakes(f"fakes{kimg:06d}.png")
        if spread < 0.3 * self.real_spread:
            self.log(
                f"warning: samples differ from each other by {spread:.1f} grey levels, real images by {self.real_spread:.1f}: "
                "the generator may be collapsing; more --gamma or --aug ada may help, or going on from an earlier snapshot"
            )
        path = self.run_dir / f"network-snapshot-{kimg:06d}.safetensors"
        info = dict(nimg=self.state.nimg, dataset=self.dataset.name, mirror=self.config.mirror, seed=self.config.seed)
        save_snapshot(path, "generator", self.state.ema, **info, label_names=self.dataset.label_names)
        self.state.snapshot_nimg = self.state.nimg
        self.state.save(self.run_dir)  # before the score, which takes long and needs memory
        self._score(path.name)
        write_page(self.run_dir)

    def stop(self) -> None:
        """A signal asked for it."""
        if self.state.snapshot_nimg != self.state.nimg:
            self.state.save(self.run_dir)
        name = signal.Signals(self.stop_request.signal).name if self.stop_request.requested else "another process"
        self.log(
            f"Stopped by {name} at {self.state.nimg / 1000:.3f} kimg; the state is saved: --resume {self.run_dir} goes on."
        )

    def close(self) -> None:
        self.records.close()
        self.log.close()

    def _score(self, snapshot: str | None) -> None:
        """Evaluate, and say which share of the way from the untrained generator to the floor is left."""
        if self.evaluate is None:
            return
        try:
            with distributed.all_threads():
                results = self.evaluate(self._samples)
        except _AskedToStop:
            return
        release_freed_memory()
        for result in results:
            name, value, floor = result["metric"], result["value"], result["floor"]
            first = self.state.first_scores.setdefault(name, value)
            left = share_of_way_left(value, floor, first)
            self.records.write(f"metric-{name}", dict(nimg=self.state.nimg, snapshot=snapshot) | result | dict(way_left=left))
            line = f"{name} {value:.4g} at {self.state.nimg / 1000:.1f} kimg"
            if floor is not None:
                line += (
                    f"; floor {floor:.4g} (real against real, {result['floor_counts'][0]} against {result['floor_counts'][1]})"
                )
            if snapshot and left is not None:
                line += f"; at the start {first:.4g}; {100 * left:.0f} % of the way left"
            self.log(line)

    def _samples(self, count: int) -> Iterator[torch.Tensor]:
        for images in sample(self.state.ema, count, self.config.seed, self.dataset.labels):
            if self.stop_request.requested and self.state.nimg:  # the untrained generator's score cannot be made later
                raise _AskedToStop
            yield images

    def _unscored(self) -> bool:
        records = [read_jsonl(self.run_dir / f"metric-{name}.jsonl") for name in self.config.metrics]
        return any(all(record["nimg"] != self.state.nimg for record in found) for found in records)

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
        return columns, torch.stack([self.dataset[i][0] for i in indices[: columns * rows]])

    @torch.inference_mode()
    def _fakes(self, name: str) -> float:
        """The same latents every time; with labels each row shows one class, in turn. -> how much the images differ."""
        columns, rows = self._grid_size()
        ema, images = self.state.ema, []
        for row in range(rows):
            z = normal((columns, ema.z_dim), "grid", self.config.seed, row).to(self.device)
            c = one_hot([row % ema.c_dim] * columns, ema.c_dim).to(self.device) if ema.c_dim else None
            images.append(to_uint8(ema(z, c)))
        images = torch.cat(images)
        save_grid(self.run_dir / name, images, columns)
        return diversity(images)
