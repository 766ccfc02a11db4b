"""Run the study of modulations, stage by stage, and write its page: `python -m scripts.experiments.study`.

Resumable: run the same command again and it goes on where it stopped, in the middle of a run, too. Each run leaves a record
of a few kilobytes, from which the page is made again after every run; so it can stop early, and says what it has. A run that
was trained elsewhere counts once its folder is in --outdir: what is complete is recorded, and not trained.
"""

import dataclasses
import shlex
import sys
import time
from pathlib import Path

import click
import torch

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from scripts.experiments.ablation import DATA, PATH, check_data, data_words, execute
from scripts.experiments.ablation_page import insert
from scripts.experiments.record_file import read_records, records_option
from scripts.experiments.study_page import read_record, section, write_record
from scripts.experiments.study_plan import STAGES, Run, planned
from torch_utils.cli import command, counted, run
from torch_utils.files import InputError, make_folders
from torch_utils.platform import choose_device, keep_freed_memory
from torch_utils.precision import AUTO, PRECISIONS, resolve_precision
from torch_utils.run_dir import read_options
from training.dataset import ImageDataset

PAGE, APPENDIX = "ablation.md", "ablation-appendix.md"
FIRST = "modulations"  # the stage that is on PAGE; the others are in APPENDIX


@command()
@DATA
@click.option("--outdir", type=PATH, default=Path("out/study"), help="where the runs go")
@click.option("--docs", type=PATH, default=Path("out/study-docs"), help=f"for {PAGE}, {APPENDIX} and their pictures")
@records_option("study.jsonl")
@click.option("--stage", "stages", multiple=True, type=click.Choice(list(STAGES)), help="may be repeated  [default: all]")
@click.option("--row", "chosen", multiple=True, metavar="NAME", help="only this row; may be repeated  [default: all]")
@click.option("--kimg", type=click.IntRange(1), help="length of each run  [default: as planned]")
@click.option("--seeds", type=click.IntRange(1), help="runs of each row  [default: as planned]")
@click.option("--snap", type=click.IntRange(1), default=8, show_default=True, help="kimg between two scores")
@click.option(
    "--precision", type=click.Choice([AUTO, *PRECISIONS]), default=AUTO, show_default=True, help="of runs that begin now"
)
@click.option("--hours", type=click.FloatRange(0, min_open=True), help="begin no run after so many")
@click.option("-n", "--dry-run", is_flag=True, help="print what is planned and what is done, and stop")
@click.option("--device", help="cpu, cuda, mps …  [default: the best there is]")
def main(data, outdir, docs, records, stages, chosen, kimg, seeds, snap, precision, hours, dry_run, device):
    """Train the study's rows unattended, and write what came out.

    Rows come with seed 0, then all with seed 1, …, so that it can stop anywhere. Several may run at once on different --data;
    a last one, with all of it, then only writes.

    \b
    Example:
      python -m scripts.experiments.study --stage modulations --dry-run
      python -m scripts.experiments.study --stage modulations --hours 8 --docs docs
    """
    began = time.monotonic()
    device = choose_device(device)
    keep_freed_memory()
    precision, _ = resolve_precision(precision, device)
    plan = plan_of(data, stages or tuple(STAGES), chosen, kimg, seeds, snap, precision)
    if dry_run:
        print_plan(plan, read_records(records))
        return
    make_folders(docs, docs / "images")
    words = data_words(data)
    for stage, runs in plan.items():
        write = lambda stage=stage, runs=runs: write_page(stage, runs, read_records(records), docs, words, outdir)
        for i, one in enumerate(runs, 1):
            if read_record(one, read_records(records)) is not None:
                continue
            if hours and time.monotonic() - began > hours * 3600:
                write()
                print(f"Stopped after {hours:g} hours; the same command goes on.")
                return
            print(f"[{stage}, {i}/{len(runs)}] {one.name}", flush=True)
            train(one, outdir / one.name, records, device)
            write()
        write()
    print(f"Done: {', '.join(dict.fromkeys(str(page_of(stage, docs)) for stage in plan))}")


def plan_of(data, stages, chosen, kimg, seeds, snap, precision) -> dict[str, list[Run]]:
    """Stage -> its runs. `InputError` for rows that no chosen stage has, and for data that is not there."""
    names = [row for stage in stages for row in STAGES[stage].rows]
    for row in chosen:
        if row not in names:
            raise InputError(f"--row {row}: wanted one of {', '.join(dict.fromkeys(names))}")
    check_data(data)
    found = {path: ImageDataset(path) for path in data}
    images = {path: (max(one.resolution), one.channels, one.content_hash()) for path, one in found.items()}
    runs = {}
    for name in stages:
        stage = STAGES[name]
        rows = [row for row in stage.rows if not chosen or row in chosen]
        runs[name] = planned(stage, images, kimg or stage.kimg, seeds or stage.seeds, rows, snap, precision)
    return {name: some for name, some in runs.items() if some}


def train(one: Run, run_dir: Path, records: Path, device: torch.device) -> None:
    """To the end, in the number format in which the run was begun, and record it."""
    config = dataclasses.replace(one.config, precision=read_options(run_dir).get("precision", one.config.precision))
    execute(config, run_dir, device)
    write_record(dataclasses.replace(one, config=config), run_dir, records)


def print_plan(plan: dict[str, list[Run]], records: dict[str, list[dict]]) -> None:
    for stage, runs in plan.items():
        done = sum(read_record(one, records) is not None for one in runs)
        length = sum(one.config.kimg for one in runs)
        print(f"{stage}: {STAGES[stage].question}\n  {counted(len(runs), 'run')}, {length:g} kimg in all, {done} done")
        for one in runs:
            print(f"  {'done' if read_record(one, records) else '    '}  {one.parameters:>10,}  {one.name}")


def page_of(stage: str, docs: Path) -> Path:
    return docs / (PAGE if stage == FIRST else APPENDIX)


def write_page(stage: str, runs: list[Run], records: dict[str, list[dict]], docs: Path, words: list[str], outdir: Path) -> None:
    """What the records have; the words around it on the page are written by hand."""
    lines = [
        STAGES[stage].question,
        "",
        f"`python -m scripts.experiments.study {' '.join(words)} {options_of(stage, runs)}`",
        "",
    ]
    for data in dict.fromkeys(Path(one.config.data) for one in runs):
        rows: dict[str, list] = {}
        for one in runs:
            if Path(one.config.data) == data and (record := read_record(one, records)):
                rows.setdefault(one.row, []).append((one, record))
        lines += section(stage, data, rows, docs, outdir)
    insert(page_of(stage, docs), f"study: {stage}", lines)


def options_of(stage: str, runs: list[Run]) -> str:
    """Of the command that makes the page again."""
    kimg, seeds = max(one.config.kimg for one in runs), 1 + max(one.config.seed for one in runs)
    rows = list(dict.fromkeys(one.row for one in runs))
    chosen = [f"--row {shlex.quote(row)}" for row in rows if len(rows) < len(STAGES[stage].rows)]
    snap = runs[0].config.snap
    return " ".join([f"--stage {shlex.quote(stage)}", *chosen, f"--kimg {kimg:g} --seeds {seeds} --snap {snap} --docs docs"])


if __name__ == "__main__":
    run(main)
