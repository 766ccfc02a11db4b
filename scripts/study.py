"""Train a table of configurations, one after the other, and write what came of them: `python -m scripts.study`.

Resumable: run the same command again and it goes on where it stopped. Nothing but the named settings differs between the rows
of a table: the same images in the same order, the same discriminator and loss, equal images seen.
"""

import shutil
import statistics
import sys
from pathlib import Path

import click
import torch
from PIL import Image

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from metrics.evaluator import Evaluator
from torch_utils.cli import command, run
from torch_utils.files import InputError, atomic_write, write_json
from torch_utils.platform import choose_device, keep_freed_memory
from torch_utils.stats import drop_after, read_jsonl
from training.config import TrainingConfig, tiny_preset
from training.dataset import ImageDataset, evaluation_batches
from training.loop import train
from training.state import TrainingState, states

# name -> what differs from the `tiny` preset. The first row is the default that the others are compared with.
EMOJI = Path(__file__).resolve().parents[1] / "datasets" / "emoji32.zip"
TABLES: dict[str, dict[str, dict]] = {
    "modulation": {
        "adaconv": dict(),
        "adain, style lr ×1": dict(modulation="adain", modulation_options={"lr_multiplier": 1}),
        "adain, style lr ×4": dict(modulation="adain", modulation_options={"lr_multiplier": 4}),
        "demod, style lr ×1": dict(modulation="demod", modulation_options={"lr_multiplier": 1}),
        "demod, style lr ×4": dict(modulation="demod", modulation_options={"lr_multiplier": 4}),
    },
    "initialisation": {
        "identity 0.9": dict(),
        "identity 0.5": dict(modulation_options={"identity": 0.5}),
        "plain (identity 0)": dict(modulation_options={"identity": 0.0}),
        "identity 0.99": dict(modulation_options={"identity": 0.99}),
    },
    "learning rate": {
        "predictor lr ×4": dict(),
        "predictor lr ×1": dict(modulation_options={"lr_multiplier": 1.0}),
        "predictor lr ×16": dict(modulation_options={"lr_multiplier": 16.0}),
    },
    "kernel size": {
        "k = 3": dict(),
        "k = 1": dict(modulation_options={"kernel_size": 1}),
        "k = 5": dict(modulation_options={"kernel_size": 5}),
    },
    "groups": {
        "paper's schedule": dict(),
        "1 channel per group": dict(modulation_options={"per_group": 1}),
        "4 channels per group": dict(modulation_options={"per_group": 4}),
    },
    "descriptor": {
        "s_d = 16": dict(),
        "s_d = 4": dict(style_depth=4),
        "s_d = 64": dict(style_depth=64),
    },
}


def experiments(tables: list[str], data: Path, kimg: float, seeds: int, settings: dict) -> dict[str, TrainingConfig]:
    """Run name -> configuration; rows that are equal in several tables are run once."""
    preset = tiny_preset(max(ImageDataset(data).resolution)) | dict(metrics=("fd2k_full-efficientnet_lite0",)) | settings
    found = {}
    for table in tables:
        for changes in TABLES[table].values():
            for seed in range(seeds):
                config = TrainingConfig(data=str(data.absolute()), **preset | dict(kimg=kimg, seed=seed) | changes)
                found.setdefault(run_name(config), config)
    return found


def run_name(config: TrainingConfig) -> str:
    """What can differ, in a folder's name."""
    options = "".join(f"-{key}{value}" for key, value in sorted((config.modulation_options or {}).items()))
    return f"{Path(config.data).stem}-{config.modulation}{options}-sd{config.style_depth}-seed{config.seed}"


def execute(config: TrainingConfig, run_dir: Path, device: torch.device) -> None:
    """Train to the end; from where it stopped, if it had begun."""
    dataset = ImageDataset(config.data, config.mirror, config.cond, config.subset, config.seed)
    state = TrainingState(config, dataset.height, dataset.channels, dataset.c_dim, device)
    if states(run_dir):
        state.load(run_dir, device)
        for path in run_dir.glob("*.jsonl"):
            drop_after(path, state.nimg)
    elif run_dir.exists():  # stopped before anything was saved
        shutil.rmtree(run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    if state.nimg >= config.kimg * 1000:
        return
    write_json(run_dir / "training_options.json", config.to_json())
    batches = lambda: evaluation_batches(dataset, 32)
    evaluator = Evaluator(list(config.metrics), batches, len(dataset), dataset.content_hash(), device)
    train(config, dataset, state, run_dir, evaluator, device)


def curve(run_dir: Path, metric: str) -> list[dict]:
    """[{kimg, seconds, value, floor, way_left}] of one run."""
    seconds = {record["nimg"]: record["seconds"] for record in read_jsonl(run_dir / "stats.jsonl")} | {0: 0.0}
    scores = [s for s in read_jsonl(run_dir / f"metric-{metric}.jsonl") if "command" not in s]
    keys = ("value", "floor", "way_left")
    return [dict(kimg=s["nimg"] / 1000, seconds=seconds[s["nimg"]]) | {key: s[key] for key in keys} for s in scores]


def write_report(tables: list[str], runs: dict[str, TrainingConfig], outdir: Path, docs: Path, command_line: str) -> None:
    """docs/ablation.md with a table, curves and sample grids for each table of configurations."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    metric = next(iter(runs.values())).metrics[0]
    pictures = docs / "images"
    pictures.mkdir(parents=True, exist_ok=True)
    parts = []
    for table in tables:
        figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), constrained_layout=True, sharey=True)
        lines = [
            "| setting | distance at the end, by seed | mean | share of the way left | seconds of training |",
            "|" + " --- |" * 5,
        ]
        grids = []
        for color, (row, changes) in enumerate(TABLES[table].items()):
            mine = [name for name, config in runs.items() if matches(config, changes)]
            curves = [c for name in mine if (c := curve(outdir / name, metric)) and c[-1]["kimg"] >= runs[name].kimg]
            if not curves:
                continue
            ends = [c[-1] for c in curves]
            values = [end["value"] for end in ends]
            left, took = statistics.mean(e["way_left"] for e in ends), statistics.mean(e["seconds"] for e in ends)
            shown = ", ".join(f"{v:.1f}" for v in values)
            lines.append(f"| {row} | {shown} | {statistics.mean(values):.1f} | {left:.2f} | {took:.0f} |")
            for axis, x in zip(axes, ("kimg", "seconds")):
                for i, c in enumerate(curves):
                    label = row if i == 0 else None
                    axis.plot([p[x] for p in c], [p["value"] for p in c], "o-", ms=3, color=f"C{color}", label=label)
                axis.set(xlabel="thousand images seen" if x == "kimg" else "seconds of training", ylim=(0, None))
            grids.append((row, outdir / mine[0]))
        floor = ends[0]["floor"]
        for axis in axes:
            axis.axhline(floor, color="grey", lw=0.8, ls="--")
        axes[0].set_ylabel(metric)
        axes[0].legend(fontsize=8)
        stem = table.replace(" ", "-")
        with atomic_write(pictures / f"ablation-{stem}.png") as file:
            figure.savefig(file, format="png", dpi=100)
        plt.close(figure)
        save_strips(grids, pictures / f"ablation-{stem}-samples.png")
        parts += [f"### {table.capitalize()}", "", *lines, "", f"Floor (dashed): {floor:.1f}.", ""]
        parts += [f"![curves](images/ablation-{stem}.png)", ""]
        parts += [
            f"Samples of seed 0, a row for each setting in the table's order: ![samples](images/ablation-{stem}-samples.png)",
            "",
        ]
    text = "\n".join([f"`{command_line}`", "", *parts])
    with atomic_write(docs / "ablation-results.md", "w") as file:
        file.write(text)


def matches(config: TrainingConfig, changes: dict) -> bool:
    """Whether a run is a row: it has the row's changes, and nothing else that differs from the default."""
    varied = ("modulation", "modulation_options", "style_depth")
    default = TrainingConfig(data="", **tiny_preset(32))
    return all(getattr(config, name) == changes.get(name, getattr(default, name)) for name in varied)


def save_strips(grids: list[tuple[str, Path]], path: Path) -> None:
    """The first row of each run's last grid, one under the other, twice as large."""
    strips = []
    for _, run_dir in grids:
        with Image.open(sorted(run_dir.glob("fakes0*.png"))[-1]) as picture:
            side = picture.width // 16
            strips.append(picture.convert("RGB").crop((0, 0, picture.width, 2 * side)))
    sheet = Image.new("RGB", (strips[0].width * 2, sum(s.height for s in strips) * 2 + 8 * (len(strips) - 1)), "black")
    y = 0
    for strip in strips:
        sheet.paste(strip.resize((strip.width * 2, strip.height * 2), Image.Resampling.NEAREST), (0, y))
        y += strip.height * 2 + 8
    with atomic_write(path) as file:
        sheet.save(file, format="PNG")


@command()
@click.option("--data", type=click.Path(path_type=Path), default=EMOJI, help="folder or zip of images")
@click.option("--outdir", type=click.Path(path_type=Path), default=Path("out/study"), help="where the runs go")
@click.option("--docs", type=click.Path(path_type=Path), help="also write ablation-results.md and its pictures here")
@click.option("--table", "tables", multiple=True, type=click.Choice(list(TABLES)), help="may be repeated  [default: all]")
@click.option("--kimg", type=float, default=16, help="length of each run")
@click.option("--seeds", type=click.IntRange(1), default=1, help="runs of each configuration")
@click.option("--snap", type=click.IntRange(1), default=4, help="kimg between two scores")
@click.option("--device", help="cpu, cuda, mps …  [default: the best there is]")
def main(
    data: Path, outdir: Path, docs: Path | None, tables: tuple[str, ...], kimg: float, seeds: int, snap: int, device: str | None
):
    """Train a table of configurations unattended, and write tables, curves and sample grids."""
    device = choose_device(device)
    keep_freed_memory()
    if not data.exists():
        raise InputError(f"--data {data}: there is no such file")
    tables = list(tables or TABLES)
    runs = experiments(tables, data, kimg, seeds, dict(snap=snap))
    for i, (name, config) in enumerate(runs.items(), 1):
        print(f"[{i}/{len(runs)}] {name}", flush=True)
        execute(config, outdir / name, device)
    if docs:
        chosen = "".join(f' --table "{table}"' for table in tables)
        line = f"python -m scripts.study{chosen} --kimg {kimg:g} --seeds {seeds} --snap {snap} --docs docs"
        write_report(tables, runs, outdir, docs, line)


if __name__ == "__main__":
    run(main)
