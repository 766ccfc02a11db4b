#!/usr/bin/env python3
"""Train a generator on a folder or zip of images."""

import torch_utils.before_torch  # noqa: F401  what has to be set before PyTorch is loaded

# isort: split

import contextlib
import dataclasses
import os
import sys
from pathlib import Path

import click
import torch

from metrics.evaluation.evaluator import Evaluator
from metrics.evaluation.metric_name import parse_metric
from torch_utils import distributed, torchrun
from torch_utils.checkpoint import features_seen
from torch_utils.cli import Progress, command, counted, run
from torch_utils.cores import use_threads
from torch_utils.files import InputError, read_json, write_json
from torch_utils.interrupt import STATUS
from torch_utils.platform import choose_device, keep_freed_memory
from torch_utils.run_dir import CHECKED, only_trainer
from training.dataset import ImageDataset, evaluation_batches
from training.gan.budget import check_networks
from training.gan.config import TrainingConfig, resolve
from training.gan.contradictions import check_given, check_size, group_notes
from training.gan.estimate import print_costs
from training.gan.loop import train
from training.gan.names_elsewhere import HINTS
from training.gan.pace import find_pace
from training.gan.presets import AUTO, PRESETS, auto_choice
from training.gan.state import build_state
from training.image_memory import in_words as memory_in_words
from training.run.options import config_options, length_option, run_options
from training.run.pace import check_hours, in_words, kimg_within
from training.run.start import begin, fingerprint, print_config, run_directory, warn_of_left_out, write_start


@command(hints=HINTS)
@config_options(TrainingConfig, lambda cfg, side: resolve(cfg, side, {}), PRESETS)
@length_option(
    "--hours", type=float, help="length by the clock, in place of --kimg, by the pace of a few steps; when resumed: from now on"
)
@length_option(
    "--resume", metavar="RUN_DIR|SNAPSHOT|auto", help="continue a run, or start from a network; auto: the last run like this"
)
@run_options
@click.option("--inception", type=click.Path(path_type=Path), help="file with Inception's weights, for fid…")
def main(outdir, resume, device, inception, hours, desc, dry_run, **options):
    """Train a generator on a folder or zip of images.

    Makes OUTDIR/00000-<data>-<cfg>-…/ with snapshots, pictures, statistics and scores. To go on after an interruption,
    run the same command with --resume auto. On several GPUs: --gpus N; on several machines: torchrun, and no --gpus.

    \b
    Example:
      python train.py --outdir runs --data images.zip --cfg tiny
    """
    options["gpus"] = torchrun.processes(options["gpus"])
    chosen = choose_device(device)
    check_hours(hours, options["kimg"])
    by_device = options["cfg"] in (None, AUTO)
    options["cfg"] = None if by_device else options["cfg"]  # a run that goes on has its own
    given = {name for name, value in options.items() if value not in (None, 0, False)}
    start = begin(TrainingConfig, lambda given: resolve_config(given, chosen), options, outdir, resume, chosen, snapshots=True)
    config: TrainingConfig = start.config
    metrics = [parse_metric(name) for name in config.metrics]  # `InputError` for what is no metric
    config = start.config = dataclasses.replace(config, metrics=tuple(dict.fromkeys(map(str, metrics))))  # in full, each once
    check_processes(config, chosen)
    scored = max((metric.count for metric in metrics), default=0)
    use_threads(config.threads)

    dataset = open_dataset(config)
    check_size(dataset)
    left_out = check_images(dataset, start.run_dir, bool(config.metrics))
    if not start.saved:
        config = start.config = dataclasses.replace(config, run=fingerprint(config, dataset.findings()["files"]))
    check_networks(config, dataset, chosen, start.run_dir if start.saved else None)
    state = build_state(config, dataset, torch.device("cpu"), start.run_dir if start.saved else None)
    check_given(given, config, dataset, state)
    notes = group_notes(config)
    if start.snapshot:
        notes.append(f"Starting from: {start.snapshot}: {state.warm_start(start.snapshot)}")
        config = start.config = dataclasses.replace(config, features_seen=features_seen(start.snapshot))
    if by_device and not start.run_dir and config.cfg != AUTO:
        notes.append(f"Preset:        {config.cfg} (auto: there is no NVIDIA GPU to use; --help names others)")
    if hours or not dry_run:
        build_evaluator(config, dataset, chosen, inception)  # says now what would be missing at the first snapshot
    if hours:
        pace = find_pace(config, dataset, chosen, start.run_dir if start.saved else None, inception, build_evaluator)
        if pace is None:
            sys.exit(STATUS)
        config = start.config = dataclasses.replace(config, kimg=kimg_within(hours, pace, config, state))
        notes.append(f"Length:        {in_words(hours, pace, config, state)}")
    size = f"{dataset.width}×{dataset.height}, {counted(dataset.channels, 'channel')}"
    classes = f", {counted(dataset.c_dim, 'class')}" if dataset.c_dim else ""
    data = f"Data:          {counted(len(dataset), 'image')}, {size}{classes}{memory_in_words(dataset.nbytes)}{left_out}"
    networks = ("Generator", state.G), ("Discriminator", state.D)
    header = print_config(start, state, [data], networks, chosen, counted(config.gpus, "process"), notes)
    if dry_run:
        done = state.nimg / 1000
        del state
        print_costs(config, dataset, chosen, done, scored)
        return
    with run_directory(start, outdir, dataset.name, *traits(config), *([desc] if desc else [])) as run_dir:
        if start.snapshot:
            state.save(run_dir)  # what the processes begin with
        resumed = start.saved or start.snapshot is not None
        del state
        finished = distributed.launch(work, config.gpus, chosen, config, dataset, run_dir, inception, resumed, header)
    if not finished:
        sys.exit(STATUS)
    print(f"Done. Pictures, snapshots and scores are in {run_dir}")


def work(
    rank: int,
    world: int,
    device: torch.device,
    config: TrainingConfig,
    dataset: ImageDataset,
    run_dir: Path,
    inception: Path | None,
    resumed: bool,
    header: str,
) -> bool:
    """One process of the run; whether it came to its end. The first one writes, and so holds the lock."""
    keep_freed_memory()
    use_threads(config.threads, torchrun.on_this_machine(world))
    with only_trainer(run_dir) if rank == 0 else contextlib.nullcontext():
        if rank == 0:
            write_start(run_dir, config, header)
            write_json(run_dir / CHECKED, dataset.findings())
        evaluator = build_evaluator(config, dataset, device, inception) if rank == 0 else None
        state = build_state(config, dataset, device, run_dir if resumed else None)
        return train(config, dataset, state, run_dir, evaluator, device, rank, world)


def resolve_config(options: dict, device: torch.device) -> TrainingConfig:
    """Options given, over the preset for this device and this data's resolution, over the defaults of `TrainingConfig`."""
    if not options["data"]:
        raise InputError("--data is missing: a folder, zip or URL of images")
    side = max(ImageDataset(options["data"], skip_bad=bool(options["skip_bad"])).resolution)
    cfg = options["cfg"] or auto_choice(device)
    values = resolve(cfg, side, options) | dict(cfg=cfg)
    return TrainingConfig.from_json(values)  # what could not be resumed does not start


def traits(config: TrainingConfig) -> list[str]:
    """What the name of a run directory says."""
    names = [config.cfg, *filter(vars(config).get, ("cond", "mirror", "grow", "projected")), config.modulation]
    names += [value for value, usual in ((config.loss, "relativistic"), (config.aug, "noaug")) if value != usual]
    return [*names, f"batch{config.batch}", f"gamma{config.gamma:g}", f"seed{config.seed}"]


def open_dataset(config: TrainingConfig) -> ImageDataset:
    return ImageDataset(config.data, config.mirror, config.cond, config.subset, config.seed, config.skip_bad, keep=True)


def check_images(dataset: ImageDataset, run_dir: Path | None, scored: bool) -> str:
    """Decode them all; not again for a run that goes on with the same files. -> words on what is left out."""
    with contextlib.suppress(InputError):  # not there, or damaged
        if run_dir and dataset.trust(read_json(run_dir / CHECKED)):
            return warn_of_left_out(dataset.skipped)
    progress = Progress(f"checking {dataset.name}", len(dataset), "img")
    dataset.check(progress.update, remote=scored and dataset.skip_bad)  # scores are of all images: they replace none
    progress.close()
    return warn_of_left_out(dataset.skipped)


def check_processes(config: TrainingConfig, device: torch.device) -> None:
    if config.batch % config.gpus:
        raise InputError(f"--batch {config.batch} cannot be shared out evenly to --gpus {config.gpus}")
    if config.batch_gpu and config.batch // config.gpus % config.batch_gpu:
        raise InputError(f"--batch-gpu {config.batch_gpu} does not divide a process's {config.batch // config.gpus} images")
    distributed.check_gpus(config.gpus, device)
    if device.type == "cpu" and torchrun.on_this_machine(config.gpus) > (cores := os.cpu_count() or 1):
        there_are = f"this machine has no GPU to use and {counted(cores, 'core')}"
        print(f"warning: --gpus {config.gpus}: {there_are}; more processes than that make it slower", file=sys.stderr)


def build_evaluator(
    config: TrainingConfig, dataset: ImageDataset, device: torch.device, inception: Path | None
) -> Evaluator | None:
    if not config.metrics:
        return None
    try:
        real = (lambda: evaluation_batches(dataset, 32), len(dataset), dataset.content_hash())
        return Evaluator(list(config.metrics), *real, device, inception, mirrored=dataset.mirror, seen=config.seen)
    except InputError as error:
        raise InputError(f"{error}; or train without scores, by --metrics none") from None


if __name__ == "__main__":
    run(distributed.Shared(main))
