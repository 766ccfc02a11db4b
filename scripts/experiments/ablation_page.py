"""What the ablation keeps of each run, and the page that is made from these records."""

import math
import statistics
from pathlib import Path

from PIL import Image

from scripts.experiments.ablation_tables import configure, parameters, run_name, settings
from scripts.experiments.record_file import append_run, find_record
from scripts.output import markdown, save_figure
from torch_utils.files import InputError, atomic_write
from torch_utils.images import from_pil, save_png
from torch_utils.labelled_grid import labelled_grid
from torch_utils.run_dir import fakes_name
from torch_utils.stats import read_jsonl
from training.dataset import ImageDataset
from training.gan.config import TrainingConfig


def write_record(config: TrainingConfig, run_dir: Path, records: Path) -> None:
    """Settings, scores and seconds."""
    (metric,) = config.metrics
    seconds = seconds_of(read_jsonl(run_dir / "stats.jsonl"))
    scores = [s for s in read_jsonl(run_dir / f"metric-{metric}.jsonl") if "command" not in s]
    keys = ("value", "floor", "way_left")
    points = [
        dict(kimg=s["nimg"] / 1000, seconds=round(seconds[s["nimg"]], 1)) | {key: round(s[key], 4) for key in keys}
        for s in scores
    ]
    record = dict(settings=settings(config.to_json()), metric=metric, points=points)
    append_run(records, run_name(config), record, run_dir, config.kimg)


def seconds_of(ticks: list[dict]) -> dict[int, float]:
    """Images seen at the end of each tick -> seconds of training until then.

    Each tick counts at the pace of the fastest tick with images of its size, so that other work on the machine does not count.
    """
    size = lambda tick: math.ceil(tick["growth"]) if "growth" in tick else None  # while a level fades in, it is computed
    paces = {}
    for tick in ticks:
        paces[size(tick)] = min(tick["sec_per_kimg"], paces.get(size(tick), math.inf))
    total, seen, seconds = 0.0, 0, {0: 0.0}
    for tick in ticks:
        total, seen = total + (tick["nimg"] - seen) / 1000 * paces[size(tick)], tick["nimg"]
        seconds[seen] = total
    return seconds


def seconds_at(record: dict, point: dict) -> float:
    """Records of before 2026-11-24 have the pace alone, and no growing runs."""
    return point["seconds"] if "seconds" in point else point["kimg"] * record["sec_per_kimg"]


def read_record(config: TrainingConfig, records: dict[str, list[dict]], content: str) -> dict | None:
    """The record of a run with these settings, on the images of this hash, up to `config.kimg`, if there is one; `records`: by
    name."""
    wanted = settings(config.to_json())
    return find_record(records, run_name(config), lambda found: found == wanted, content, config.kimg)


def section(
    table: str,
    rows: dict[str, dict],
    data: Path,
    content: str,  # its hash
    kimg: int,
    seeds: int,
    docs: Path,
    records: dict[str, list[dict]],  # by name
    outdir: Path,
) -> list[str]:
    """Markdown of one table on one set of images: numbers, curves, samples. Rows without a record are left out.

    Samples are in no record: where the runs of all rows are in `outdir` their picture is made anew, else it stays as it is.
    """
    from matplotlib.figure import Figure

    dataset = ImageDataset(data)
    figure = Figure(figsize=(11, 3.8), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    lines, samples, colours = [], {}, colours_of(list(rows))
    for row, changes in rows.items():
        configs = [configure(changes, data, dataset.width, kimg, 1, seed) for seed in range(seeds)]
        runs = [record for config in configs if (record := read_record(config, records, content))]
        if not runs:
            continue
        ends = [record["points"][-1] for record in runs]
        values, left = [end["value"] for end in ends], statistics.mean(end["way_left"] for end in ends)
        pace = min(seconds_at(record, end) / end["kimg"] for record, end in zip(runs, ends))
        cells = [row, f"{parameters(configs[0], dataset.width, dataset.channels):,}", ", ".join(f"{v:.1f}" for v in values)]
        lines.append([*cells, f"{statistics.mean(values):.1f}", f"{left:.2f}", f"{pace:.1f}"])
        for axis, progress in zip(axes, (lambda record, point: point["kimg"], seconds_at)):
            for j, record in enumerate(runs):
                x, y = zip(*((progress(record, point), point["value"]) for point in record["points"]))
                axis.plot(x, y, "o-", ms=3, lw=1.2, color=colours[row], label=None if j else row)
        samples[row] = outdir / run_name(configs[0]) / fakes_name(1000 * kimg)
    if not lines:
        return []
    axes[0].set(xlabel="thousand images seen", ylabel=configs[0].metrics[0])
    axes[1].set(xlabel="seconds of training")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    stem = f"ablation-{data.stem}-{table.replace(' ', '-')}"
    save_figure(figure, docs / "images" / f"{stem}.png")
    sheet = docs / "images" / f"{stem}-samples.png"
    if all(path.exists() for path in samples.values()):
        save_sheet(samples, sheet)
    paragraphs = [
        f"#### {data.name}, {kimg} kimg",
        markdown(["setting", "G, parameters", "distance by seed", "mean", "normalized distance", "sec/kimg"], lines),
        f"Real vs. real: {ends[0]['floor']:.1f}.",
        f"![curves](images/{stem}.png)",
    ]
    if sheet.exists():
        paragraphs.append(f"Samples of seed 0 from the same latents: ![samples](images/{sheet.name})")
    return [line for paragraph in paragraphs for line in (paragraph, "")]


def colours_of(rows: list[str]) -> dict[str, tuple[float, ...]]:
    """One hue for rows whose names begin alike, before a comma; the later, the lighter."""
    from matplotlib import colormaps

    groups: dict[str, list[str]] = {}
    for row in rows:
        groups.setdefault(row.split(",")[0], []).append(row)
    found = {}
    for number, group in enumerate(groups.values()):
        hue = colormaps["tab10"](number % 10)[:3]
        for i, row in enumerate(group):
            white = 0.75 * i / len(group)
            found[row] = tuple(white + (1 - white) * channel for channel in hue)
    return found


def save_sheet(samples: dict[str, Path], picture: Path) -> None:
    """Of each row its name, and the first 16 pictures of its samples, twice as large."""
    strips = []
    for path in samples.values():
        with Image.open(path) as drawn:
            strip = drawn.convert("RGB").crop((0, 0, drawn.width, drawn.width // 16))
            strips.append([from_pil(strip.resize((strip.width * 2, strip.height * 2), Image.Resampling.NEAREST))])
    names = [row.replace("×", "x") for row in samples]  # the font has no ×
    save_png(picture, labelled_grid(strips, [""], names))


def insert(page: Path, name: str, lines: list[str], title: str = "Ablation") -> None:
    """Put `lines` between the page's two comments of that name, or at its end: the words around them are written by hand."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    text = page.read_text(encoding="utf-8") if page.exists() else f"# {title}\n"
    if begin not in text:
        text += f"\n### {name.capitalize()}\n\n{begin}\n{end}\n"
    before, rest = text.split(begin, 1)
    if end not in rest:
        raise InputError(f"{page}: found {begin} without {end} below it")
    after = rest.split(end, 1)[1]
    with atomic_write(page, "w") as file:
        file.write("\n".join([before + begin, *lines, end + after]))
