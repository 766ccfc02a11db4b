"""What a run directory tells about its run: options, statistics, scores, pictures, warnings.

Whatever is missing or damaged is left out, so that a page made from it never ends a training run.
"""

import functools
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from networks.normalized_distance import normalized_distance
from torch_utils.files import InputError, is_url, name_of_url, parse_json, read_file
from torch_utils.run_dir import read_options, snapshot_name
from torch_utils.score_names import caveat
from torch_utils.stats import MAX_RECORDS

Notice = tuple[str, str]  # "warning" or "note", and its text
Grid = tuple[int, str, Path]  # kimg, label, picture of generated images


@dataclass
class RunRecords:
    """training_options.json, stats.jsonl, metric-*.jsonl, log.txt and the names of pictures, read once."""

    run_dir: Path

    def __post_init__(self):
        self.options = read_options(self.run_dir)
        self.stats = read_records(self.run_dir / "stats.jsonl")
        self.start = "at the start" if self.options.get("warm_start") is True else "untrained"  # network, of no images
        self.scores = read_scores(self.run_dir, self.start == "untrained")
        lengths = [records[-1]["nimg"] for records in [self.stats, *self.scores.values()] if records]
        self.nimg: float | None = max(lengths, default=None)
        self.grids = list_grids(self.run_dir, self.nimg, self.start)
        self.reals = self.run_dir / "reals.png"
        self._log = _lines(self.run_dir / "log.txt")
        self.notices = logged_notices(self._log) + not_finite(self.stats)
        timed = [(record["nimg"], record["seconds"]) for record in self.stats if is_finite(record.get("seconds"))]
        self._clock = np.array([(0, 0), *timed], dtype=float).T.copy()

    @functools.cached_property
    def scores_of_files(self) -> dict[str, list[dict]]:
        """`scores` of every network file, of averages by `scripts.ema`, too."""
        return read_scores(self.run_dir, self.start == "untrained", files=True)

    def seconds(self, nimg: float) -> float:
        """Training time after `nimg` images, from the ticks: scores and pictures have no time of their own."""
        return round(float(np.interp(nimg, *self._clock)), 1)

    def said(self, name: str) -> list[str]:
        """What the log has behind "NAME:" at the beginning of a line, once each: a run that was resumed has said it again."""
        return list(dict.fromkeys(line.partition(":")[2].strip() for line in self._log if line.startswith(f"{name}:")))

    @property
    def data_name(self) -> str:
        data = str(self.options.get("data") or self.options.get("content") or "")
        if is_url(data):
            return name_of_url(data)
        return re.split(r"[\\/]", data)[-1].removesuffix(".zip") or self.run_dir.absolute().name

    @property
    def planned_kimg(self) -> float | None:
        planned = self.options.get("kimg")
        return planned if is_finite(planned) and planned > 0 else None


def read_records(path: Path, files: bool = False) -> list[dict]:
    """The records of a .jsonl in the order of `nimg`, one for each; lines that are cut off or have none are dropped.

    `files`: one for each network file that was scored at each `nimg`, such as averages by `scripts.ema`, too.
    """
    records: dict[tuple, dict] = {}
    for line in _lines(path):
        try:
            record = parse_json(line, path)
        except InputError:
            continue
        if isinstance(record, dict) and is_finite(record.get("nimg")):
            key = record["nimg"], str(record.get("snapshot")) if files else ""
            before = records.get(key)
            if before is None or _rank(record) <= _rank(before):
                records[key] = record
    return [records[key] for key in sorted(records)]


def _rank(record: dict) -> int:
    """Of several records the first counts: the run's own score, one of its snapshot by a command, one of another network."""
    if "command" not in record:
        return 0
    return 1 if record.get("snapshot") == snapshot_name(int(record["nimg"])) else 2


def read_scores(run_dir: Path, untrained: bool = True, files: bool = False) -> dict[str, list[dict]]:
    """`read_records` by metric, each with a `way_left`: None where the metric has no score of an `untrained` network.

    Those on features that training has looked at come last: whoever takes the first is not misled.
    """
    scores = {}
    for path in sorted(run_dir.glob("metric-*.jsonl")):
        records = [record for record in read_records(path, files) if is_finite(record.get("value"))]
        known = untrained and bool(records) and records[0]["nimg"] == 0
        for record in records:
            record["floor"] = record["floor"] if is_finite(record.get("floor")) else None
            if not known:
                record["way_left"] = None
            elif not is_finite(record.get("way_left")):
                record["way_left"] = normalized_distance(record["value"], record["floor"], records[0]["value"])
        if records:
            scores[path.stem.removeprefix("metric-")] = records
    return dict(sorted(scores.items(), key=lambda item: bool(caveat(item[1][-1]))))


def list_grids(run_dir: Path, nimg: float | None, start: str = "untrained") -> list[Grid]:
    """In the order of time, up to `nimg` images: later ones are of a future that a resume has undone. `start`: label of the
    picture before training."""
    grids = []
    for path in run_dir.glob("fakes*.png"):
        if path.name == "fakes_init.png":
            grids.append((0, start, path))
        elif match := re.fullmatch(r"fakes(\d{1,9})\.png", path.name):
            kimg = int(match[1])
            if nimg is None or 1000 * kimg <= nimg:
                grids.append((kimg, f"{kimg} kimg", path))
    return sorted(grids, key=lambda grid: (grid[0], grid[1] != start))


def logged_notices(log: list[str]) -> list[Notice]:
    """The lines of the log that begin with "warning:" or "note:"."""
    return [(match[1], match[2]) for line in log if (match := re.match(r"(warning|note):\s*(.+)", line))]


def not_finite(stats: list[dict]) -> list[Notice]:
    """Warnings of curves that break off, as they are easily overlooked."""
    notices = []
    for name in mean_names(stats):
        bad = [record["nimg"] for record in stats if name in record and not is_finite(record[name])]
        if bad:
            kind = "note" if name.startswith("gradient_") else "warning"  # a GradScaler tries steps that are too large
            notices.append((kind, f"{name} is not a finite number at {len(bad)} ticks, first at {bad[0] / 1000:g} kimg"))
    return notices


def mean_names(stats: list[dict]) -> list[str]:
    """Names of the means that are reported, without those of time."""
    time = {"nimg", "kimg", "step", "seconds", "timestamp"}
    names = dict.fromkeys(name for record in stats for name, value in record.items() if is_number(value))
    return sorted(name for name in names if name not in time)


def is_finite(value) -> bool:
    return is_number(value) and abs(value) < 1e300


def is_number(value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _lines(path: Path) -> list[str]:
    try:
        return read_file(path, MAX_RECORDS, links=False).decode("utf-8", errors="replace").splitlines()
    except InputError:
        return []
