"""Train a table of configurations, one after the other, and write what came of them: `python -m scripts.experiments.ablation`.

Resumable: run the same command again and it goes on where it stopped. Nothing but the named settings differs between the rows
of a table: the same images in the same order, the same discriminator and loss, equal images seen. What a run showed is kept as
a record of a few kilobytes beside the report, so that tables can grow later, on another machine, without the runs themselves.
Several of these may run at once on different `--data`; a last one, with all of the data, then only writes.
"""

import dataclasses
import json
import math
import shlex
import shutil
import statistics
import sys
from pathlib import Path

import click
import torch
from PIL import Image

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from metrics.evaluation.evaluator import Evaluator
from torch_utils.cli import command, run
from torch_utils.files import InputError, atomic_write, write_json
from torch_utils.interrupt import STATUS
from torch_utils.platform import choose_device, keep_freed_memory
from torch_utils.stats import read_jsonl
from training.dataset import ImageDataset, evaluation_batches
from training.gan.config import TrainingConfig, resolve
from training.gan.loop import train
from training.gan.state import TrainingState
from training.run.saved_state import states

EMOJI = Path(__file__).resolve().parents[2] / "datasets" / "emoji32.zip"


def adaconv(**options) -> dict:
    return dict(modulation="adaconv", modulation_options=options or None)


def adain(lr: float, **more) -> dict:
    return dict(modulation="adain", modulation_options={"lr_multiplier": lr}, **more)


def demod(lr: float, **more) -> dict:
    return dict(modulation="demod", modulation_options={"lr_multiplier": lr}, **more)


STYLEGAN2_LOSS = dict(loss="logistic", pl_weight=2.0, style_mixing=0.9)

# table -> row -> what differs from the `tiny` preset. An empty row is the preset itself.
TABLES: dict[str, dict[str, dict]] = {
    "style learning rate": {
        "adaconv, style lr ×1": adaconv(lr_multiplier=1.0),
        "adaconv, style lr ×4": dict(),
        "adaconv, style lr ×16": adaconv(lr_multiplier=16.0),
        "adaconv, style lr ×64": adaconv(lr_multiplier=64.0),
        "adain, style lr ×1": adain(1.0),
        "adain, style lr ×4": adain(4.0),
        "adain, style lr ×16": adain(16.0),
        "adain, style lr ×64": adain(64.0),
        "adain, style lr ×256": adain(256.0),
        "demod, style lr ×1": demod(1.0),
        "demod, style lr ×4": demod(4.0),
        "demod, style lr ×16": demod(16.0),
        "demod, style lr ×64": demod(64.0),
        "demod, style lr ×256": demod(256.0),
    },
    "modulation": {  # each at its best style learning rate
        "adaconv": dict(),
        "adain": adain(64.0),
        "demod": demod(64.0),
    },
    "same parameters": {
        "adaconv": dict(),
        "adain, wider": adain(64.0, channel_base=488, channel_max=244),
        "demod, wider": demod(64.0, channel_base=536, channel_max=268),
    },
    "initialisation": {
        "identity 0.9": dict(),
        "plain (identity 0)": adaconv(identity=0.0),
        "identity 0.5": adaconv(identity=0.5),
        "demodulated kernels": adaconv(demodulate=True),
        "demodulated kernels, plain": adaconv(demodulate=True, identity=0.0),
    },
    "kernel size": {
        "k = 3": dict(),
        "k = 1": adaconv(kernel_size=1),
        "k = 5": adaconv(kernel_size=5),
    },
    "groups": {
        "paper's schedule (here 8 channels a group)": dict(),
        "1 channel a group": adaconv(per_group=1),
        "2 channels a group": adaconv(per_group=2),
        "4 channels a group": adaconv(per_group=4),
    },
    "descriptor": {
        "s_d = 16": dict(),
        "s_d = 4": dict(style_depth=4),
        "s_d = 64": dict(style_depth=64),
    },
    "noise": {
        "noise": dict(),
        "no noise": dict(noise=False),
    },
    "loss": {
        "relativistic": dict(),
        "logistic": dict(loss="logistic"),
        "logistic, path lengths, mixing": STYLEGAN2_LOSS,
        "logistic, path lengths, mixing, demod (StyleGAN2)": demod(1.0, **STYLEGAN2_LOSS),
        "relativistic, demod": demod(1.0),
    },
    "few images": {
        "1000 images": dict(subset=1000),
        "1000 images, ada": dict(subset=1000, aug="ada"),
        "1000 images, ada to signs of 0.3": dict(subset=1000, aug="ada", target=0.3, ada_kimg=10.0),
        "all images": dict(),
    },
    "growing": {
        "all levels from the start": dict(),
        "grown from 8×8, 1 kimg a phase": dict(grow=True, grow_kimg=1.0),
        "grown from 8×8, 2 kimg a phase": dict(grow=True, grow_kimg=2.0),
    },
}


def configure(changes: dict, data: Path, resolution: int, kimg: float, snap: int, seed: int) -> TrainingConfig:
    """The `tiny` preset with a row's changes."""
    values = resolve("tiny", resolution, dict(kimg=kimg, snap=snap, seed=seed, cfg="tiny") | changes)
    return TrainingConfig(data=str(data.absolute()), **values)


def run_name(config: TrainingConfig) -> str:
    """A folder's name with all that differs between runs, so that rows that are equal in several tables are run once."""
    preset = TrainingConfig(data=config.data, **resolve("tiny", 32, {}))
    skip = ("data", "cfg", "kimg", "snap", "seed", "modulation_options", "channel_base", "d_channel_base")
    changed = {f.name: getattr(config, f.name) for f in dataclasses.fields(config) if f.name not in skip}
    changed = {name: value for name, value in changed.items() if value != getattr(preset, name)}
    changed |= config.modulation_options or {}
    traits = [f"{name}={value}" for name, value in sorted(changed.items()) if name != "modulation"]
    return "-".join([Path(config.data).stem, config.modulation, *traits, f"seed{config.seed}"])


def execute(config: TrainingConfig, run_dir: Path, device: torch.device) -> None:
    """Train to the end; from where it stopped, if it had begun."""
    options = run_dir / "training_options.json"
    if options.exists() and settings(json.loads(options.read_text(encoding="utf-8"))) != settings(config.to_json()):
        raise InputError(f"{run_dir}: was trained with other settings; move it away, or give another --outdir")
    dataset = ImageDataset(config.data, config.mirror, config.cond, config.subset, config.seed)
    state = TrainingState(config, (dataset.height, dataset.width), dataset.channels, dataset.c_dim, device)
    if states(run_dir):
        state.load(run_dir, device)
        if state.nimg >= config.kimg * 1000:
            return
    elif run_dir.exists():  # stopped before anything was saved
        shutil.rmtree(run_dir)
    dataset.check()
    evaluator = Evaluator(
        list(config.metrics), lambda: evaluation_batches(dataset, 32), len(dataset), dataset.content_hash(), device
    )
    run_dir.mkdir(parents=True, exist_ok=True)
    write_json(options, config.to_json())
    if not train(config, dataset, state, run_dir, evaluator, device):  # a signal; the same command goes on from here
        sys.exit(STATUS)


def settings(options: dict) -> dict:
    """Of `training_options.json`, what the result depends on; what this version knows and an older one did not is left out."""
    free = {"kimg", "snap", "data"}
    if options.get("aug", "noaug") == "noaug":
        free |= {"p", "target", "augpipe", "ada_kimg"}
    if not options.get("grow"):
        free |= {"grow_from", "grow_kimg"}
    defaults = TrainingConfig(data="").to_json()
    return {name: value for name, value in options.items() if name not in free and value != defaults.get(name)}


def write_record(config: TrainingConfig, run_dir: Path, records: Path) -> None:
    """Settings, scores, seconds and one row of samples."""
    (metric,) = config.metrics
    seconds = seconds_of(read_jsonl(run_dir / "stats.jsonl"))
    scores = [s for s in read_jsonl(run_dir / f"metric-{metric}.jsonl") if "command" not in s]
    keys = ("value", "floor", "way_left")
    points = [
        dict(kimg=s["nimg"] / 1000, seconds=round(seconds[s["nimg"]], 1)) | {key: round(s[key], 4) for key in keys}
        for s in scores
    ]
    record = dict(settings=settings(config.to_json()), metric=metric, points=points)
    write_json(records / f"{run_name(config)}.json", record)
    kimg = int(points[-1]["kimg"])
    with Image.open(run_dir / f"fakes{kimg:06d}.png") as picture, atomic_write(strip_of(config, kimg, records)) as file:
        side = picture.width // 16
        picture.convert("RGB").crop((0, 0, picture.width, side)).save(file, format="PNG", optimize=True)


def seconds_of(ticks: list[dict]) -> dict[int, float]:
    """Images seen at the end of each tick -> seconds of training until then, each tick at the pace of the fastest one of the
    same size of images: what else the machine did meanwhile does not count."""
    size = lambda tick: math.ceil(tick["growth"]) if "growth" in tick else None  # while a level fades in, it is computed
    paces = {}
    for tick in ticks:
        paces[size(tick)] = min(tick["sec_per_kimg"], paces.get(size(tick), math.inf))
    total, seen, found = 0.0, 0, {0: 0.0}
    for tick in ticks:
        total, seen = total + (tick["nimg"] - seen) / 1000 * paces[size(tick)], tick["nimg"]
        found[seen] = total
    return found


def seconds_at(record: dict, point: dict) -> float:
    """Records of before 2026-11-24 have the pace alone, and no growing runs."""
    return point["seconds"] if "seconds" in point else point["kimg"] * record["sec_per_kimg"]


def strip_of(config: TrainingConfig, kimg: int, records: Path) -> Path:
    return records / f"{run_name(config)}-{kimg:03d}.png"


def read_record(config: TrainingConfig, records: Path) -> dict | None:
    """The record of a run with these settings and up to `config.kimg`, if there is one."""
    path = records / f"{run_name(config)}.json"
    record = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
    if not record or record["settings"] != settings(config.to_json()) or record["points"][-1]["kimg"] < config.kimg:
        return None
    return record | dict(points=[point for point in record["points"] if point["kimg"] <= config.kimg])


def parameters(config: TrainingConfig, resolution: int, channels: int) -> int:
    return sum(p.numel() for p in TrainingState(config, resolution, channels, 0).G.parameters())


def section(table: str, data: Path, kimg: int, seeds: int, docs: Path) -> list[str]:
    """Markdown of one table on one set of images: numbers, curves, samples. Rows without a record are left out."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    dataset, records = ImageDataset(data), docs / "ablation"
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.8), constrained_layout=True, sharey=True)
    lines = [
        "| setting | G, parameters | distance by seed | mean | share of the way left | sec/kimg |",
        "| --- " * 6 + "|",
    ]
    strips = []
    for i, (row, changes) in enumerate(TABLES[table].items()):
        configs = [configure(changes, data, dataset.width, kimg, 1, seed) for seed in range(seeds)]
        found = [record for config in configs if (record := read_record(config, records))]
        if not found:
            continue
        ends = [record["points"][-1] for record in found]
        values, left = [end["value"] for end in ends], statistics.mean(end["way_left"] for end in ends)
        pace = min(seconds_at(record, end) / end["kimg"] for record, end in zip(found, ends))
        cells = [row, f"{parameters(configs[0], dataset.width, dataset.channels):,}", ", ".join(f"{v:.1f}" for v in values)]
        lines.append(f"| {' | '.join(cells)} | {statistics.mean(values):.1f} | {left:.2f} | {pace:.1f} |")
        for axis, progress in zip(axes, (lambda record, point: point["kimg"], seconds_at)):
            for j, record in enumerate(found):
                x, y = zip(*((progress(record, point), point["value"]) for point in record["points"]))
                axis.plot(x, y, "o-", ms=3, lw=1.2, color=plt.cm.tab20(i % 20), label=None if j else row)
            axis.axhline(ends[0]["floor"], color="grey", lw=0.8, ls="--")
        strips.append(strip_of(configs[0], kimg, records))
    if not strips:
        return []
    axes[0].set(xlabel="thousand images seen", ylabel=configs[0].metrics[0])
    axes[1].set(xlabel="seconds of training")
    axes[0].set_ylim(0, 1.05 * axes[0].dataLim.ymax)
    axes[0].legend(fontsize=8)
    stem = f"ablation-{data.stem}-{table.replace(' ', '-')}"
    with atomic_write(docs / "images" / f"{stem}.png") as file:
        figure.savefig(file, format="png", dpi=80)
    plt.close(figure)
    save_sheet([path for path in strips if path.exists()], docs / "images" / f"{stem}-samples.png")
    return [
        f"#### {data.name}, {kimg} kimg",
        "",
        *lines,
        "",
        f"Floor (dashed below): {ends[0]['floor']:.1f}.",
        "",
        f"![curves](images/{stem}.png)",
        "",
        f"Samples of seed 0 from the same latents, a strip for each row of the table: ![samples](images/{stem}-samples.png)",
        "",
    ]


def save_sheet(paths: list[Path], picture: Path) -> None:
    """Strips of samples one under the other, twice as large."""
    strips = []
    for path in paths:
        with Image.open(path) as strip:
            strips.append(strip.resize((strip.width * 2, strip.height * 2), Image.Resampling.NEAREST))
    height = strips[0].height + 4
    sheet = Image.new("RGB", (strips[0].width, height * len(strips) - 4), "white")
    for i, strip in enumerate(strips):
        sheet.paste(strip, (0, i * height))
    with atomic_write(picture) as file:
        sheet.save(file, format="PNG", optimize=True)


def insert(page: Path, name: str, lines: list[str]) -> None:
    """Put `lines` between the page's two comments of that name, or at its end: the words around them are written by hand."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    text = page.read_text(encoding="utf-8") if page.exists() else "# Ablation\n"
    if begin not in text:
        text += f"\n### {name.capitalize()}\n\n{begin}\n{end}\n"
    before, rest = text.split(begin, 1)
    after = rest.split(end, 1)[1]
    with atomic_write(page, "w") as file:
        file.write("\n".join([before + begin, *lines, end + after]))


@command()
@click.option("--data", type=click.Path(path_type=Path), multiple=True, default=[EMOJI], help="folder or zip; may be repeated")
@click.option("--outdir", type=click.Path(path_type=Path), default=Path("out/study"), help="where the runs go")
@click.option(
    "--docs",
    type=click.Path(path_type=Path),
    default=Path("out/study-docs"),
    help="where ablation.md, its pictures and the records of runs go",
)
@click.option("--table", "tables", multiple=True, type=click.Choice(list(TABLES)), help="may be repeated  [default: all]")
@click.option("--kimg", type=click.IntRange(1), default=8, help="length of each run")
@click.option("--seeds", type=click.IntRange(1), default=1, help="runs of each configuration")
@click.option("--snap", type=click.IntRange(1), default=4, help="kimg between two scores")
@click.option("--write-only", is_flag=True, help="train nothing: write from the records, and leave out what they lack")
@click.option("--device", help="cpu, cuda, mps …  [default: the best there is]")
def main(
    data: tuple[Path, ...],
    outdir: Path,
    docs: Path,
    tables: tuple[str, ...],
    kimg: int,
    seeds: int,
    snap: int,
    write_only: bool,
    device: str | None,
):
    """Train a table of configurations unattended, and write tables, curves and sample grids."""
    device = choose_device(device)
    keep_freed_memory()
    for path in data:
        if not path.exists():
            raise InputError(f"--data {path}: there is no such file")
    tables = tables or tuple(TABLES)
    runs = {}
    for seed in range(seeds):
        for table in tables:
            for path in data:
                side = ImageDataset(path).width
                for changes in TABLES[table].values():
                    config = configure(changes, path, side, kimg, snap, seed)
                    runs[run_name(config)] = config
    for folder in ("ablation", "images"):
        (docs / folder).mkdir(parents=True, exist_ok=True)
    for i, (name, config) in enumerate(runs.items(), 1):
        if not write_only and read_record(config, docs / "ablation") is None:
            print(f"[{i}/{len(runs)}] {name}", flush=True)
            execute(config, outdir / name, device)
            write_record(config, outdir / name, docs / "ablation")
    for table in tables:
        names = [f"--data {shlex.quote(path.name if path.resolve() != EMOJI else 'datasets/emoji32.zip')}" for path in data]
        words = [f"--table {shlex.quote(table)} --kimg {kimg} --seeds {seeds} --snap {snap} --docs docs"]
        lines = [f"`python -m scripts.experiments.ablation {' '.join(names + words)}`", ""]
        for path in data:
            lines += section(table, path, kimg, seeds, docs)
        insert(docs / "ablation.md", table, lines)


if __name__ == "__main__":
    run(main)
