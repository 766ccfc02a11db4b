"""Records of the study's runs, and the page that is made of them: for each stage and data one figure and one table."""

import statistics
from pathlib import Path

import numpy as np

from scripts.experiments.ablation_page import seconds_of
from scripts.experiments.ablation_tables import settings
from scripts.experiments.study_plan import BASE, METRICS, Run
from scripts.output import markdown, save_figure
from torch_utils.files import read_json, write_json
from torch_utils.stats import read_jsonl

KEPT = ("value", "floor", "way_left", "precision", "recall")  # of a score
ENOUGH = 3  # seeds, from which on there are intervals
RESAMPLES = 10_000
END_OF = "demod"  # whose end the others are held against


def write_record(run: Run, run_dir: Path, records: Path) -> None:
    """Settings, parameters, and at each snapshot seconds and all scores: a few kilobytes, enough for the page."""
    seconds = seconds_of(read_jsonl(run_dir / "stats.jsonl"))
    points: dict[int, dict] = {}
    for metric in METRICS:
        for score in read_jsonl(run_dir / f"metric-{metric}.jsonl"):
            if "command" in score:  # by calc_metrics.py
                continue
            nimg = score["nimg"]
            point = points.setdefault(nimg, dict(kimg=nimg / 1000, seconds=round(seconds[nimg], 1), scores={}))
            point["scores"][metric] = {key: round(score[key], 4) for key in KEPT if score.get(key) is not None}
    record = dict(settings=settings(run.config.to_json()), parameters=run.parameters)
    write_json(records / f"{run.name}.json", record | dict(points=[points[nimg] for nimg in sorted(points)]))


def read_record(run: Run, records: Path) -> dict | None:
    """That of a run with these settings, up to its `kimg`; None where it is not there, or not long enough."""
    path = records / f"{run.name}.json"
    record = read_json(path) if path.exists() else None
    if not record or record["settings"] != settings(run.config.to_json()):
        return None
    points = [point for point in record["points"] if int(point["kimg"]) <= run.config.kimg]  # a last batch goes beyond
    return record | dict(points=points) if record["points"][-1]["kimg"] >= run.config.kimg else None


# ---------------------------------------------------------------- numbers


def interval(values: list[float]) -> tuple[float, float] | None:
    """95 %, of the mean over seeds, by bootstrap (percentiles); None of fewer than ENOUGH seeds."""
    if len(values) < ENOUGH:
        return None
    low, high = np.percentile(_resampled(values, 0), (2.5, 97.5))
    return float(low), float(high)


def better(one: list[float], other: list[float]) -> bool:
    """Whether the bootstrap separates the means, and the first is the smaller one."""
    if min(len(one), len(other)) < ENOUGH:
        return False
    return bool(np.percentile(_resampled(one, 0) - _resampled(other, 1), 97.5) < 0)


def ranks(values: dict[str, list[float]]) -> dict[str, int]:
    """Of each row 1 and the number of rows that are better: what is not separated is not ranked."""
    return {row: 1 + sum(better(other, own) for other in values.values()) for row, own in values.items()}


def reached(records: list[dict], metric: str, level: float) -> tuple[float, float] | None:
    """Kimg and seconds at which the mean over seeds comes down to a level, along lines between snapshots. None: never."""
    before = None
    for points in zip(*(record["points"] for record in records)):
        mean = lambda of: statistics.mean(of(point) for point in points)  # noqa: B023  called at once
        now = np.array([mean(lambda p: p["scores"][metric]["value"]), mean(lambda p: p["kimg"]), mean(lambda p: p["seconds"])])
        if now[0] <= level:
            share = 0.0 if before is None else (before[0] - level) / (before[0] - now[0])
            _, kimg, seconds = now if before is None else before + share * (now - before)
            return float(kimg), float(seconds)
        before = now
    return None


def _resampled(values: list[float], seed: int) -> np.ndarray:
    """Means of RESAMPLES draws of as many values, with replacement."""
    picks = np.random.RandomState(seed).randint(len(values), size=(RESAMPLES, len(values)))
    return np.asarray(values)[picks].mean(axis=1)


# ---------------------------------------------------------------- page


def section(stage: str, data: Path, runs: dict[str, list[tuple[Run, dict]]], docs: Path) -> list[str]:
    """Markdown of one stage on one set of images; `runs`: row -> runs that have records. Nothing where there are none."""
    records = {row: [record for _, record in found] for row, found in runs.items() if found}
    if not records:
        return []
    first = METRICS[0]
    last = lambda row, metric, key="value": [record["points"][-1]["scores"][metric][key] for record in records[row]]
    order = ranks({row: last(row, first) for row in records})
    end = statistics.mean(last(END_OF, first)) if END_OF in records else None
    lines = []
    for row in sorted(records, key=lambda row: (order[row], statistics.mean(last(row, first)))):
        cells = [row, f"{records[row][0]['parameters']:,}", str(len(records[row])), str(order[row])]
        cells += [in_words(last(row, metric)) for metric in METRICS[:-1]]
        cells += [f"{statistics.mean(last(row, METRICS[-1], key)):.2f}" for key in ("precision", "recall")]
        cells.append(f"{min(r['points'][-1]['seconds'] / r['points'][-1]['kimg'] for r in records[row]):.1f}")
        if end is not None:
            found = reached(records[row], first, end)
            cells.append("–" if found is None else f"{found[0]:.1f} kimg, {found[1]:.0f} s")
        lines.append(cells)
    heads = ["setting", "G, parameters", "seeds", "rank", *METRICS[:-1], "precision", "recall", "s/kimg"]
    heads += [f"reaches the end of {END_OF} at"] * (end is not None)
    picture = f"study-{data.stem}-{stage.replace(' ', '-')}.png"
    draw(records, docs / "images" / picture)
    floors = [records[next(iter(records))][0]["points"][-1]["scores"][metric]["floor"] for metric in METRICS[:-1]]
    notes = [
        f"Real against real: {', '.join(f'{floor:.4g}' for floor in floors)}, in the order of the columns.",
        "In parentheses: 95 % of the mean over seeds, by bootstrap. Rows that it does not separate in the first distance "
        f"share a rank; with fewer than {ENOUGH} seeds it separates none.",
    ]
    kimg = max(found[0][0].config.kimg for found in runs.values() if found)
    paragraphs = [f"#### {data.name}, {kimg:g} kimg", markdown(heads, lines), *notes, f"![{stage}](images/{picture})"]
    return [line for paragraph in paragraphs for line in (paragraph, "")]


def in_words(values: list[float]) -> str:
    found = interval(values)
    return f"{statistics.mean(values):.4g}" + (f" ({found[0]:.4g} to {found[1]:.4g})" if found else "")


def draw(records: dict[str, list[dict]], path: Path) -> None:
    """The first distance over images, and over seconds: means over seeds, bands from the best seed to the worst."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    axes, colours = figure.subplots(1, 2, sharey=True), colormaps["tab10" if len(records) <= 10 else "tab20"]
    for i, (row, found) in enumerate(records.items()):
        steps = list(zip(*(record["points"] for record in found)))
        values = np.array(
            [[point["scores"][METRICS[0]]["value"] for point in points] for points in steps]
        )  # [snapshots, seeds]
        colour = "black" if row == BASE else colours(i % 20)
        for axis, key in zip(axes, ("kimg", "seconds")):
            x = [statistics.mean(point[key] for point in points) for points in steps]
            axis.plot(x, values.mean(axis=1), lw=1.5, color=colour, label=row)
            axis.fill_between(x, values.min(axis=1), values.max(axis=1), color=colour, alpha=0.12, lw=0)
            axis.axhline(found[0]["points"][-1]["scores"][METRICS[0]]["floor"], color="grey", lw=0.8, ls="--")
    axes[0].set(xlabel="thousand images seen", ylabel=METRICS[0], ylim=(0, 1.05 * axes[0].dataLim.ymax))
    axes[1].set(xlabel="seconds of training")
    axes[1].legend(fontsize=8)
    save_figure(figure, path)
