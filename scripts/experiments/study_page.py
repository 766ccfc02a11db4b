"""Records of the study's runs, and the page that is made of them: for each stage and data one figure and one table."""

import statistics
from pathlib import Path

import numpy as np

from scripts.experiments.ablation_page import save_sheet, seconds_of
from scripts.experiments.ablation_tables import settings
from scripts.experiments.record_file import append_run, find_record, trained_on
from scripts.experiments.study_numbers import ENOUGH, aligned, interval, pace, ranks, reached, timed_on
from scripts.experiments.study_plan import BASE, DETECTORS, METRICS, Run
from scripts.output import markdown, save_figure
from torch_utils.run_dir import fakes_name
from torch_utils.stats import read_jsonl

KEPT = ("value", "floor", "way_left", "precision", "recall")  # of a score
END_OF = "demod"  # whose end the others are held against
NO_SECONDS = "No record says on which machine its run was trained, so there are no seconds."
INTERVALS = (
    "In parentheses: 95 % of the mean over seeds, by Student's t. The rank is 1 and the number of rows that are ahead by "
    f"Tukey's test at 5 %, on logarithms of the first distance; rows of fewer than {ENOUGH} seeds have none."
)
NETWORKS = dict(efficientnet_lite0="EfficientNet-Lite0", vgg16="VGG-16")  # detectors, in words


def write_record(run: Run, run_dir: Path, records: Path) -> None:
    """Settings, parameters, number format, machine, images, and at each snapshot seconds and all scores: a few kilobytes."""
    seconds = seconds_of(read_jsonl(run_dir / "stats.jsonl"))
    points: dict[int, dict] = {}
    for metric in METRICS:
        for score in read_jsonl(run_dir / f"metric-{metric}.jsonl"):
            if "command" in score:  # by calc_metrics.py
                continue
            nimg = score["nimg"]
            point = points.setdefault(nimg, dict(kimg=nimg / 1000, seconds=round(seconds[nimg], 1), scores={}))
            point["scores"][metric] = {key: round(score[key], 4) for key in KEPT if score.get(key) is not None}
    facts = dict(parameters=run.parameters, precision=run.config.precision, machine=trained_on(run_dir))
    whole = [points[nimg] for nimg in sorted(points) if points[nimg]["scores"].keys() >= set(METRICS)]
    record = dict(settings=compared(settings(run.config.to_json())), **facts, points=whole)
    append_run(records, run.name, record, run_dir, run.config.kimg)


def read_record(run: Run, records: dict[str, list[dict]]) -> dict | None:
    """That of a run with these settings on these images, up to its `kimg`; None where there is none of that length.

    `records`: by name. Any number format will do: the record says which it was.
    """
    wanted = compared(settings(run.config.to_json()))
    same = lambda found: compared(found) == wanted
    return find_record(records, run.name, same, run.content, run.config.kimg)


def compared(options: dict) -> dict:
    """Of settings, what must be equal in all runs of a row."""
    return {name: value for name, value in options.items() if name != "precision"}


def section(stage: str, data: Path, runs: dict[str, list[tuple[Run, dict]]], docs: Path, outdir: Path) -> list[str]:
    """Markdown of one stage on one set of images; `runs`: row -> runs that have records. Nothing where there are none.

    Samples are in no record: where runs of one seed and all rows are in `outdir` their picture is made anew, else it stays.
    """
    records = {row: aligned([record for _, record in found]) for row, found in runs.items() if found}
    if not records:
        return []
    place = timed_on(record for found in records.values() for record in found)
    paces = {row: pace(found, place) for row, found in records.items()}
    kimg = max(found[0][0].config.kimg for found in runs.values() if found)
    picture = f"study-{data.stem}-{stage.replace(' ', '-')}.png"
    draw(records, paces, docs / "images" / picture)
    sheet = docs / "images" / picture.replace(".png", "-samples.png")
    if samples := drawn_samples(runs, outdir):
        save_sheet(samples, sheet)
    paragraphs = [
        f"#### {data.name}, {kimg:g} kimg",
        f"![{stage}](images/{picture})",
        "Means over seeds; bands from the best seed to the worst.",
        table(records, paces),
        *notes(records, place),
        *([f"Samples of one seed from the same latents: ![samples](images/{sheet.name})"] if sheet.exists() else []),
    ]
    return [line for paragraph in paragraphs for line in (paragraph, "")]


def drawn_samples(runs: dict[str, list[tuple[Run, dict]]], outdir: Path) -> dict[str, Path]:
    """Row -> samples at the end, of the last seed whose runs are all in `outdir`; empty where there is none."""
    ends: dict[int, dict[str, Path]] = {}
    for row, found in runs.items():
        for run, _ in found:
            path = outdir / run.name / fakes_name(round(1000 * run.config.kimg))
            if path.exists():
                ends.setdefault(run.config.seed, {})[row] = path
    whole = [seed for seed, samples in ends.items() if len(samples) == sum(map(bool, runs.values()))]
    return ends[max(whole)] if whole else {}


def table(records: dict[str, list[dict]], paces: dict[str, float | None]) -> str:
    """Markdown; the best row first. A cell of distances has a line for each detector."""
    first = METRICS[0]
    last = lambda row, metric, key="value": [record["points"][-1]["scores"][metric][key] for record in records[row]]
    order = ranks({row: last(row, first) for row in records})
    end = statistics.mean(last(END_OF, first)) if END_OF in records else None
    lines = []
    for row in sorted(records, key=lambda row: (order[row], statistics.mean(last(row, first)))):
        cells = [row, f"{records[row][0]['parameters'] / 1e6:.2f} M", len(records[row])]
        cells += [order[row] if len(records[row]) >= ENOUGH else "–"] if enough(records) else []
        for kind in ("fd", "mind"):
            cells.append("<br>".join(in_words(last(row, metric)) for metric in METRICS if metric.startswith(kind)))
        cells.append(", ".join(f"{statistics.mean(last(row, METRICS[-1], key)):.2f}" for key in ("precision", "recall")))
        cells.append("–" if paces[row] is None else f"{paces[row]:.1f}")
        if end is not None:
            found = reached(records[row], first, end)
            seconds = "" if found is None or paces[row] is None else f"<br>{found * paces[row]:,.0f} s"
            cells.append("–" if found is None else f"{found:.1f} kimg{seconds}")
        lines.append(cells)
    heads = ["setting", "G", "seeds", *["rank"] * enough(records), "fd", "mind", "precision, recall", "s/kimg"]
    return markdown([*heads, *[f"reaches {END_OF}'s end at"] * (end is not None)], lines)


def enough(records: dict[str, list[dict]]) -> bool:
    """Whether rows can be ranked: two of them have the seeds for it."""
    return sum(len(found) >= ENOUGH for found in records.values()) > 1


def notes(records: dict[str, list[dict]], place: tuple[str, str] | None) -> list[str]:
    """What the table's numbers are."""
    scores = records[next(iter(records))][0]["points"][-1]["scores"]
    floors = [in_words([scores[metric]["floor"]]) for metric in METRICS[:-1]]
    return [
        "*G*: parameters of the generator. *fd*: Fréchet distance, *mind*: Monge distance ([metrics.md](metrics.md)), of 1,000 "
        f"samples, first on {', then on '.join(NETWORKS[detector] for detector in DETECTORS)}; of real images to other real "
        f"images they are {floors[0]} and {floors[1]} (fd), {floors[2]} and {floors[3]} (mind).",
        *([INTERVALS] if any(len(found) >= ENOUGH for found in records.values()) else []),
        f"Seconds are at the pace of the fastest run of a row on {place[0]}, in {place[1]}." if place else NO_SECONDS,
    ]


def in_words(values: list[float]) -> str:
    """The mean, and its interval where there is one; a decimal below 100."""
    found = interval(values)
    number = lambda value: f"{value:,.1f}" if value < 100 else f"{value:,.0f}"
    return number(statistics.mean(values)) + (f" ({number(found[0])} to {number(found[1])})" if found else "")


def draw(records: dict[str, list[dict]], paces: dict[str, float | None], path: Path) -> None:
    """The first distance over images, and over seconds: means over seeds, bands from the best seed to the worst.

    The frame holds what was scored after the start; untrained networks are above it, real images below.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    first, timed = METRICS[0], any(paces.values())
    figure = Figure(figsize=(10 if timed else 6, 4.2), layout="constrained")
    axes, colours = figure.subplots(1, 1 + timed, sharey=True, squeeze=False)[0], colormaps["tab10"]
    trained = []
    for i, (row, found) in enumerate(records.items()):
        steps = list(zip(*(record["points"] for record in found)))
        values = np.array([[point["scores"][first]["value"] for point in points] for points in steps])  # [snapshots, seeds]
        kimg = np.array([statistics.mean(point["kimg"] for point in points) for points in steps])
        trained += values[1:].flatten().tolist()
        colour = "black" if row == BASE else colours((i - 1) % 10)
        for axis, scale in zip(axes, (1, paces[row])):
            if scale is not None:
                axis.plot(scale * kimg, values.mean(axis=1), lw=1.8, color=colour, label=row)
                axis.fill_between(scale * kimg, values.min(axis=1), values.max(axis=1), color=colour, alpha=0.15, lw=0)
    for axis in axes:
        axis.grid(alpha=0.25)
        axis.set_xlim(left=0)
    axes[0].set(xlabel="thousand images seen", ylim=(0.95 * min(trained), 1.02 * max(trained)))
    axes[0].set_ylabel(f"Fréchet distance, {NETWORKS[DETECTORS[0]]}, 1,000 samples")
    if timed:
        axes[1].set_xlabel("seconds of training")
    axes[0].legend(fontsize=9)
    save_figure(figure, path, dpi=120)
