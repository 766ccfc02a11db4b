"""Train a table of configurations, one after the other, and write their results: `python -m scripts.experiments.ablation`.

Resumable: run the same command again and it goes on where it stopped. Nothing but the named settings differs between the rows
of a table: the same images in the same order, the same discriminator and loss, equally many images. The numbers of a run are
kept as a line of JSON, so that tables can grow later, on another machine, without the runs; only samples need the runs.
Several of these may run at once on different `--data`; a last one, with all of the data, then only writes.
"""

import itertools
import json
import shlex
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

import click
import torch

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from metrics.evaluation.evaluator import Evaluator
from scripts.experiments.ablation_page import insert, read_record, section, write_record
from scripts.experiments.ablation_tables import TABLES, configure, run_name, settings
from scripts.experiments.record_file import STARTS, read_records, records_option
from torch_utils.cli import command, counted, run
from torch_utils.files import InputError, append_jsonl, make_folders, write_json
from torch_utils.interrupt import STATUS
from torch_utils.platform import choose_device, keep_freed_memory, machine_in_words
from torch_utils.stats import read_jsonl
from training.dataset import ImageDataset, evaluation_batches
from training.gan.config import TrainingConfig
from training.gan.loop import train
from training.gan.state import TrainingState
from training.run.report import unscored
from training.run.saved_state import states

PATH = click.Path(path_type=Path)
PAGE = "ablation-appendix.md"
EMOJI = Path(__file__).resolve().parents[2] / "datasets" / "emoji32.zip"
DATA = click.option(
    "--data",
    type=PATH,
    multiple=True,
    default=[EMOJI],
    show_default=False,
    help="folder or zip; may be repeated  [default: datasets/emoji32.zip]",
)


def execute(config: TrainingConfig, run_dir: Path, device: torch.device) -> None:
    """Train to the end, and score it; a run that has begun goes on from its last saved state."""
    content = ImageDataset(config.data).content_hash()
    starts = read_jsonl(run_dir / STARTS)
    if any(start["content"] != content for start in starts):
        raise InputError(f"{run_dir}: was trained on other images; move it away, or give another --outdir")
    options = run_dir / "training_options.json"
    if options.exists() and settings(json.loads(options.read_text(encoding="utf-8"))) != settings(config.to_json()):
        raise InputError(f"{run_dir}: was trained with other settings; move it away, or give another --outdir")
    dataset = ImageDataset(config.data, config.mirror, config.cond, config.subset, config.seed)
    state = TrainingState(config, (dataset.height, dataset.width), dataset.channels, dataset.c_dim, device)
    if states(run_dir):
        state.load(run_dir, device)
        if state.nimg >= config.kimg * 1000 and not unscored(run_dir, config.metrics, state.nimg):
            return
    elif run_dir.exists():  # stopped before anything was saved
        shutil.rmtree(run_dir)
    dataset.check()
    real = (lambda: evaluation_batches(dataset, 32), len(dataset), dataset.content_hash())
    evaluator = Evaluator(list(config.metrics), *real, device, mirrored=dataset.mirror, seen=config.seen)
    run_dir.mkdir(parents=True, exist_ok=True)
    write_json(options, config.to_json())
    if state.nimg < config.kimg * 1000:
        machine = f"{machine_in_words(device)}, {counted(torch.get_num_threads(), 'thread')}"
        append_jsonl(run_dir / STARTS, dict(nimg=state.nimg, machine=machine, content=content))
    if not train(config, dataset, state, run_dir, evaluator, device):  # a signal; the same command goes on from here
        sys.exit(STATUS)


def check_data(data: Iterable[Path]) -> None:
    """`InputError` for images that are not there, and for two files of one name, by which runs and pictures are called."""
    for path in data:
        if not path.exists():
            raise InputError(f"--data {path}: there is no such file")
    names = [path.stem for path in data]
    if twice := [path for path in data if names.count(path.stem) > 1]:
        raise InputError(f"--data {twice[0]} and {twice[1]}: wanted files of different names, by which runs are called")


def data_words(data: Iterable[Path]) -> list[str]:
    """`--data` as a page shows it: without folders of this machine."""
    return [f"--data {shlex.quote(path.name if path.resolve() != EMOJI else 'datasets/emoji32.zip')}" for path in data]


@command()
@DATA
@click.option("--outdir", type=PATH, default=Path("out/study"), help="where the runs go")
@click.option("--docs", type=PATH, default=Path("out/study-docs"), help=f"for {PAGE} and its pictures")
@records_option("ablation.jsonl")
@click.option("--table", "tables", multiple=True, type=click.Choice(list(TABLES)), help="may be repeated  [default: all]")
@click.option("--kimg", type=click.IntRange(1), default=8, help="length of each run")
@click.option("--seeds", type=click.IntRange(1), default=1, help="runs of each configuration")
@click.option("--snap", type=click.IntRange(1), default=4, help="kimg between two scores")
@click.option("--write-only", is_flag=True, help="train nothing: write from the records, and leave out what they lack")
@click.option("--device", help="cpu, cuda, mps …  [default: the best there is]")
def main(data, outdir, docs, records, tables, kimg, seeds, snap, write_only, device):
    """Train a table of configurations unattended, and write tables, curves and sample grids."""
    chosen = choose_device(device)
    keep_freed_memory()
    check_data(data)
    tables = tables or tuple(TABLES)
    sides, runs = {path: ImageDataset(path).width for path in data}, {}
    contents = {path.stem: ImageDataset(path).content_hash() for path in data}
    for seed, table, path in itertools.product(range(seeds), tables, data):
        for changes in TABLES[table].values():
            config = configure(changes, path, sides[path], kimg, snap, seed)
            runs[run_name(config)] = config
    make_folders(docs, docs / "images")
    for i, (name, config) in enumerate(runs.items(), 1):
        content = contents[Path(config.data).stem]
        if not write_only and read_record(config, read_records(records), content) is None:
            print(f"[{i}/{len(runs)}] {name}", flush=True)
            execute(config, outdir / name, chosen)
            write_record(config, outdir / name, records)
    numbers = read_records(records)
    for table in tables:
        names = data_words(data)
        words = [f"--table {shlex.quote(table)} --kimg {kimg} --seeds {seeds} --snap {snap} --docs docs"]
        lines = [f"`python -m scripts.experiments.ablation {' '.join(names + words)}`", ""]
        for path in data:
            lines += section(table, TABLES[table], path, contents[path.stem], kimg, seeds, docs, numbers, outdir)
        insert(docs / PAGE, table, lines)


if __name__ == "__main__":
    run(main)
