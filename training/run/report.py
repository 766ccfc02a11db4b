"""What a training run writes: log lines, statistics, pictures, snapshots, scores. Subclasses make pictures and scores."""

import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch

from networks.normalized_distance import normalized_distance
from torch_utils.cli import Progress, counted, duration
from torch_utils.interrupt import StopRequest
from torch_utils.platform import release_freed_memory
from torch_utils.precision import float32
from torch_utils.run_dir import LOG, STATS, fakes_name, metric_file, snapshot_name
from torch_utils.score_names import caveat
from torch_utils.stats import Log, Records, read_jsonl, resident_bytes
from torch_utils.tracking import start_tracking
from training.run.health import too_long, warnings
from training.run.html_report import write_html_report
from training.run.options import RunConfig
from training.run.saved_state import SavedState

TIMED_STEPS = 4  # after which it is known how long a run takes


class Reporter:
    LOGGED: Sequence[str] = ()  # means that the log shows
    COUNTS_REPLACED = False  # images that could not be read

    def __init__(self, config: RunConfig, state: SavedState, run_dir: Path, device: torch.device, stop: StopRequest):
        self.stop_request = stop
        self.config, self.state, self.run_dir, self.device = config, state, run_dir, device
        self.log = Log(run_dir / LOG)
        self.records = Records(run_dir, state.nimg if state.nimg or state.first_scores else -1)
        self.records.tracker = start_tracking(config.track, run_dir, config.without_paths())
        self.warned: list[str] = []
        self.last_nimg, self.last_seconds, self.last_waited, self.last_replaced = state.nimg, state.seconds, 0.0, 0
        self.warm: tuple[int, int, float] | None = None  # step, images and seconds after the first step of this process

    # What each kind of training run implements

    def first_pictures(self) -> None:
        """Of the data, and of the network at the start: REALS, FAKES_INIT."""
        raise NotImplementedError

    def pictures(self, path: Path) -> None:
        raise NotImplementedError

    def write_network(self, path: Path) -> None:
        raise NotImplementedError

    def scores(self) -> list[dict] | None:
        """[{"metric", "value", "floor", …}]; None where a signal ended it before."""
        raise NotImplementedError

    # When it is written

    @float32()
    def begin(self) -> None:
        """Before the first step; of a new run, what the data look like and where the network stands at the start."""
        if self.state.nimg:
            self.log(f"Resumed at {self.state.nimg / 1000:.1f} kimg.")
            nimg = self.state.nimg
            if nimg == self.state.snapshot_nimg and unscored(self.run_dir, self.config.metrics, nimg):  # it ended meanwhile
                self._score(snapshot_name(nimg))
        else:
            self.first_pictures()
            if not self.state.first_scores:
                self._score(None)
            self.state.save(self.run_dir)  # from now on there always is one to resume from, and the score is not lost
        self.bar = Progress("training", self.config.kimg, "kimg", start=self.state.nimg / 1000)

    def progress(self) -> None:
        """After each step. Snapshots and scores do not count as time, neither here nor in `tick`."""
        self.bar.update(self.state.nimg / 1000)
        now = self.state.step, self.state.nimg, self.state.seconds
        if self.warm is None:
            self.warm = now
        elif now[0] == self.warm[0] + TIMED_STEPS:
            pace = (now[2] - self.warm[2]) / (now[1] - self.warm[1]) * 1000
            for line in too_long(pace, self.config.kimg - now[1] / 1000, self.device, self.config.way_out):
                self.bar.close()
                self.log(line)

    def tick(self, means: dict[str, float], waited: float, replaced: int) -> None:
        """One line for people, one record for programs.

        `waited`: seconds that this process has waited for images so far; `replaced`: images of all processes so far that
        could not be read, and in whose place others were seen.
        """
        state = self.state
        kimg = (state.nimg - self.last_nimg) / 1000
        sec_per_kimg = (state.seconds - self.last_seconds) / max(kimg, 1e-9)
        data_share = min((waited - self.last_waited) / max(state.seconds - self.last_seconds, 1e-9), 1.0)
        now_replaced, self.last_replaced = replaced - self.last_replaced, replaced
        self.last_nimg, self.last_seconds, self.last_waited = state.nimg, state.seconds, waited
        memory = dict(resident_mb=round(resident_bytes() / 2**20, 1))
        if self.device.type == "cuda":
            memory["gpu_mb"] = round(torch.cuda.max_memory_allocated(self.device) / 2**20, 1)
        left = sec_per_kimg * max(self.config.kimg - state.nimg / 1000, 0)
        self.bar.close()
        self.log(
            f"kimg {state.nimg / 1000:<8.1f} sec/kimg {sec_per_kimg:<7.2f} time {duration(state.seconds):<12} "
            f"left {duration(left):<12} data {data_share:<5.0%} memory {memory['resident_mb']:.0f} MB  "
            + "  ".join(f"{name} {means[name]:.3f}" for name in self.LOGGED if name in means)
        )
        if now_replaced:
            self.log(f"warning: {counted(now_replaced, 'image')} could not be read, and others were seen instead")
        lines = warnings(means)
        for line in lines:
            if line.split("(")[0] not in self.warned:  # once, until it is over
                self.log(line)
        self.warned = [line.split("(")[0] for line in lines]
        record = dict(nimg=state.nimg, kimg=state.nimg / 1000, step=state.step, seconds=round(state.seconds, 3))
        pace = dict(sec_per_kimg=sec_per_kimg, data_share=round(data_share, 4), timestamp=time.time())
        left_out = dict(images_replaced=now_replaced) if self.config.skip_bad and self.COUNTS_REPLACED else {}
        self.records.write(STATS, record | pace | left_out | memory | means)

    @float32()
    def snapshot(self) -> None:
        """Images, the network, the state to resume from, and the score."""
        name = snapshot_name(self.state.nimg)
        with self.bar.paused():
            self.pictures(self.run_dir / fakes_name(self.state.nimg))
            self.write_network(self.run_dir / name)
            self.state.snapshot_nimg = self.state.nimg
            self.state.save(self.run_dir)  # before the score, which takes long and needs memory
            self._score(name)
            write_html_report(self.run_dir)
            release_freed_memory()  # the page holds all pictures, more of them every time

    def stop(self) -> None:
        """A signal asked for it."""
        if self.state.snapshot_nimg != self.state.nimg:
            self.state.save(self.run_dir)
        name = self.stop_request.why
        self.log(
            f"Stopped by {name} at {self.state.nimg / 1000:.3f} kimg; the state is saved: --resume {self.run_dir} goes on."
        )

    def close(self) -> None:
        self.records.close()
        self.log.close()

    def _score(self, snapshot: str | None) -> None:
        """Evaluate, and log each score beside that of real images, and as a normalized distance."""
        for result in self.scores() or ():
            name, value, real_vs_real = result["metric"], result["value"], result["floor"]
            if not unscored(self.run_dir, [name], self.state.nimg):
                continue  # made again beside one that a resume has added
            if not self.state.nimg:
                self.state.first_scores[name] = value
            first = self.state.first_scores.get(name)  # None: the metric was added by a resume
            known = first is not None and not self.config.warm_start
            left = normalized_distance(value, real_vs_real, first) if known else None
            self.records.write(metric_file(name), dict(nimg=self.state.nimg, snapshot=snapshot) | result | dict(way_left=left))
            line = f"{name} {value:.4g} at {self.state.nimg / 1000:.1f} kimg"
            if real_vs_real is not None:
                line += f"; real vs. real {real_vs_real:.4g} ({result['floor_counts'][0]} against {result['floor_counts'][1]})"
            if snapshot and left is not None:
                line += f"; untrained {first:.4g}; normalized {left:.2f} (1: untrained, 0: as good as real images)"
            elif snapshot and first is not None and self.config.warm_start:
                line += f"; at the start {first:.4g}"
            self.log(line + (f"; {words}" if (words := caveat(result)) else ""))


def unscored(run_dir: Path, metrics: Iterable[str], nimg: int) -> bool:
    """Whether one of the scores after so many images is missing: the run ended while they were measured."""
    records = [read_jsonl(run_dir / metric_file(name)) for name in metrics]
    return any(all(record["nimg"] != nimg for record in scored) for scored in records)
