#!/usr/bin/env python3
"""Train a generator on a folder or zip of images."""

import torch_utils.openmp  # noqa: F401  sets what OpenMP reads when PyTorch is loaded, and so comes first

# isort: split

import contextlib
import dataclasses
import json
import shutil
import sys
from pathlib import Path

import click
import torch
import torch.nn.functional as F

from metrics.evaluation.evaluator import Evaluator
from networks.modulation import MODULATIONS
from torch_utils import distributed
from torch_utils.cli import BOOL, NAMES, Progress, command, counted, given, run
from torch_utils.cores import threads_in_words, use_threads
from torch_utils.files import InputError, read_json, write_json
from torch_utils.images import from_uint8
from torch_utils.interrupt import STATUS
from torch_utils.platform import choose_device, keep_freed_memory
from torch_utils.precision import AUTO, PRECISIONS, prepare
from training.dataset import ImageDataset, batches, evaluation_batches
from training.gan.augment import AUGPIPES
from training.gan.config import PRESETS, TrainingConfig, resolve
from training.gan.estimate import estimate
from training.gan.loop import train
from training.gan.losses import LOSSES
from training.gan.state import TrainingState
from training.image_memory import in_words
from training.run.health import Diverged
from training.run.machine import as_begun, decide
from training.run.run_dir import OPTIONS, find_run, new_run_dir, only_trainer, stored_options
from training.run.saved_state import states

CHECKED = "data.json"  # in a run directory: which files were looked at, and which of them are left out


@command()
@click.option("--outdir", required=True, type=click.Path(file_okay=False, path_type=Path), help="where run directories go")
@click.option("--data", type=click.Path(path_type=Path), help="folder or zip of images; needed unless --resume RUN_DIR has it")
@click.option("--cfg", type=click.Choice(list(PRESETS)), default="auto", help="preset; every option below overrides it")
@click.option("--gpus", type=click.IntRange(1), default=1, help="number of processes, one per GPU")
@click.option("--device", help="cpu, cuda, mps …  [default: the best there is]")
@click.option("--batch", type=click.IntRange(1), help="images per step, over all processes  [default: by preset]")
@click.option(
    "--kimg", type=click.FloatRange(0, 1e9, min_open=True), help="length, in thousands of images seen  [default: by preset]"
)
@click.option("--tick", type=click.FloatRange(0, 1e9, min_open=True), help="kimg between two log lines  [default: by preset]")
@click.option("--snap", type=click.IntRange(1), help="ticks between two snapshots  [default: by preset]")
@click.option("--save-every", type=click.FloatRange(0, min_open=True), help="minutes between two saved states  [default: 15]")
@click.option("--metrics", type=NAMES, help="scores at each snapshot, NAME,… or none  [default: by preset]")
@click.option("--inception", type=click.Path(path_type=Path), help="file with Inception's weights, for fid…")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, help="of everything random")
@click.option("--mirror", type=BOOL, help="add the images flipped left to right  [default: by preset]")
@click.option("--cond", type=BOOL, default=False, help="condition on the labels in dataset.json")
@click.option("--subset", type=click.IntRange(1), help="train on so many of the images")
@click.option(
    "--precision",
    type=click.Choice([AUTO, *PRECISIONS]),
    default=AUTO,
    help="number format of the networks; auto: bf16 where the device is fast in it, else fp32; in a resumed run, what it has",
)
@click.option("--batch-gpu", type=click.IntRange(1), help="images of a process at once, to save memory  [default: all]")
@click.option("--skip-bad", type=BOOL, default=False, help="leave out images that cannot be read")
@click.option("--modulation", type=click.Choice(list(MODULATIONS)), help="how styles act on feature maps  [default: adaconv]")
@click.option("--loss", type=click.Choice(LOSSES), help="R3GAN's, or StyleGAN2's  [default: relativistic]")
@click.option("--gamma", type=click.FloatRange(0), help="weight of R1 (and of R2, if relativistic)  [default: by preset]")
@click.option("--pl-weight", type=click.FloatRange(0), help="path-length regularisation  [default: 2 with logistic, else 0]")
@click.option("--style-mixing", type=click.FloatRange(0, 1), help="share of mixed styles  [default: 0.9 with logistic, else 0]")
@click.option("--glr", type=click.FloatRange(0, min_open=True), help="learning rate of the generator  [default: by preset]")
@click.option("--dlr", type=click.FloatRange(0, min_open=True), help="learning rate of the discriminator  [default: by preset]")
@click.option("--aug", type=click.Choice(["noaug", "fixed", "ada"]), help="augment what D sees  [default: noaug]")
@click.option("--p", type=click.FloatRange(0, 1), help="strength with --aug fixed, first one with ada  [default: 0.2, 0]")
@click.option("--target", type=click.FloatRange(-1, 1), help="how sure D may be with ada  [default: 0.77, logistic: 0.6]")
@click.option("--augpipe", type=click.Choice(list(AUGPIPES)), help="which transformations  [default: bgc]")
@click.option("--ada-kimg", type=click.FloatRange(0, min_open=True), help="kimg in which p may go from 0 to 1")
@click.option("--grow", type=BOOL, help="begin with small images and fade larger ones in  [default: 0]")
@click.option("--grow-from", type=click.IntRange(4), help="side of the first images  [default: 8]")
@click.option(
    "--grow-kimg",
    type=click.FloatRange(0, min_open=True),
    help="kimg of each size, and of each fading in",
)
@click.option("--freezed", type=click.IntRange(0), help="blocks of the discriminator, from the image on, that do not learn")
@click.option("--workers", type=click.IntRange(0), help="processes that read what is not in memory  [default: by preset]")
@click.option(
    "--threads", type=click.IntRange(1, 1024), help="of the CPU, for all processes  [default: cores that no other training has]"
)
@click.option(
    "--resume", metavar="RUN_DIR|SNAPSHOT|auto", help="continue a run, or start from a network; auto: the last run like this"
)
@click.option("-n", "--dry-run", is_flag=True, help="print what would be done, and stop")
def main(outdir: Path, resume: str | None, device: str | None, inception: Path | None, dry_run: bool, **options):
    """Train a generator on a folder or zip of images.

    Makes OUTDIR/00000-<data>-<cfg>-…/ with snapshots, pictures, statistics and scores. To go on after an interruption,
    run the same command with --resume auto.
    """
    chosen = choose_device(device)
    run_dir = snapshot = None
    if resume not in (None, "auto"):
        if not Path(resume).exists():
            raise InputError(f"--resume {resume}: no such run directory or network file")
        run_dir, snapshot = (Path(resume), None) if Path(resume).is_dir() else (None, Path(resume))
    if run_dir and "cfg" in given(options):
        raise InputError(f"--cfg belongs to new runs; {run_dir} has its options already")
    unasked, why = decide(options, chosen)
    if run_dir:
        config = restore_config(run_dir, {name: value for name, value in given(options).items() if name not in unasked})
    else:
        config = resolve_config(options)
    if resume == "auto":
        run_dir = find_run(outdir, config, unasked)
    saved = run_dir if run_dir and (states(run_dir) or resume != "auto") else None
    if saved and unasked:
        config, why = as_begun(config, saved, unasked), "as the run was begun" if "precision" in unasked else ""
    check_processes(config, chosen)
    use_threads(config.threads)

    dataset = open_dataset(config)
    check_images(dataset, run_dir)
    state = build_state(config, dataset, torch.device("cpu"), saved, snapshot)
    build_evaluator(config, dataset, chosen, inception)  # says now what would be missing at the first snapshot

    describe(config, dataset, state, chosen, why, saved, resume)
    if dry_run:
        describe_costs(config, dataset, chosen)
        return
    resumed = saved is not None or snapshot is not None
    new = None if run_dir else make_run_dir(outdir, config, dataset)
    run_dir = run_dir or new
    try:
        print(f"Run directory: {run_dir}")
        if snapshot:
            state.save(run_dir)  # what the processes begin with
        del state
        finished = distributed.launch(work, config.gpus, chosen, config, dataset, run_dir, inception, resumed)
    except (InputError, OSError) as error:
        if isinstance(error, Diverged):  # what was learned, and the log of it, stay
            raise
        if new and not states(new):  # nothing was learned: do not leave it lying about
            shutil.rmtree(new)
        raise
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
) -> bool:
    """One process of the training; whether it came to its end. The first one writes, and so holds the lock."""
    keep_freed_memory()
    use_threads(config.threads, world)
    evaluator = None
    with only_trainer(run_dir) if rank == 0 else contextlib.nullcontext():
        if rank == 0:
            write_json(run_dir / OPTIONS, config.to_json())
            write_json(run_dir / CHECKED, dataset.findings())
            evaluator = build_evaluator(config, dataset, device, inception)
        state = build_state(config, dataset, device, run_dir if resumed else None)
        return train(config, dataset, state, run_dir, evaluator, device, rank, world)


def resolve_config(options: dict) -> TrainingConfig:
    """Options given, over the preset for this data's resolution, over the defaults of `TrainingConfig`."""
    if not options["data"]:
        raise InputError("--data is missing: a folder or zip of images")
    resolution = max(ImageDataset(options["data"], skip_bad=options["skip_bad"]).resolution)
    values = resolve(options["cfg"], resolution, options)
    if values.get("aug") == "fixed":
        values.setdefault("p", 0.2)
    values |= {"data": str(Path(options["data"]).absolute())}
    return TrainingConfig.from_json(values)  # what could not be resumed does not start


def restore_config(run_dir: Path, given: dict) -> TrainingConfig:
    """The options of an earlier run, but for those given now."""
    changes = dict(given)
    if "data" in changes:
        changes["data"] = str(Path(changes["data"]).absolute())
    if "metrics" in changes:
        changes["metrics"] = tuple(changes["metrics"])
    return dataclasses.replace(stored_options(TrainingConfig, run_dir), **changes)


def open_dataset(config: TrainingConfig) -> ImageDataset:
    return ImageDataset(config.data, config.mirror, config.cond, config.subset, config.seed, config.skip_bad, keep=True)


def check_images(dataset: ImageDataset, run_dir: Path | None) -> None:
    """Decode them all; not again for a run that goes on with the same files."""
    with contextlib.suppress(InputError):  # not there, or damaged
        if run_dir and dataset.trust(read_json(run_dir / CHECKED)):
            return
    progress = Progress(f"checking {dataset.name}", len(dataset), "img")
    dataset.check(progress.update)
    progress.close()
    for why in list(dataset.skipped.values())[:20]:
        print(f"warning: left out: {why}", file=sys.stderr)
    if dataset.skipped:
        print(f"warning: {len(dataset.skipped)} images cannot be read and are left out", file=sys.stderr)


def check_processes(config: TrainingConfig, device: torch.device) -> None:
    if config.batch % config.gpus:
        raise InputError(f"--batch {config.batch} cannot be shared out evenly to --gpus {config.gpus}")
    if config.batch_gpu and config.batch // config.gpus % config.batch_gpu:
        raise InputError(f"--batch-gpu {config.batch_gpu} does not divide a process's {config.batch // config.gpus} images")
    if config.gpus > 1 and (device.type not in ("cpu", "cuda") or device.index is not None):
        raise InputError(f"--gpus {config.gpus} goes with --device cpu or cuda, not {device}")
    if device.type == "cuda" and config.gpus > torch.cuda.device_count():
        raise InputError(f"--gpus {config.gpus}: there are {torch.cuda.device_count()}")


def build_state(
    config: TrainingConfig,
    dataset: ImageDataset,
    device: torch.device,
    run_dir: Path | None = None,
    snapshot: Path | None = None,
) -> TrainingState:
    """A fresh state; or that of a run directory; or one whose generator starts from a snapshot."""
    try:
        state = TrainingState(config, (dataset.height, dataset.width), dataset.channels, dataset.c_dim, device)
    except (ValueError, TypeError, MemoryError) as error:
        raise InputError(f"{config.data}: {error}") from None
    if run_dir:
        state.load(run_dir, device)
    if snapshot:
        print(f"Starting from {snapshot}: {state.warm_start(snapshot)}")
    return state


def build_evaluator(
    config: TrainingConfig, dataset: ImageDataset, device: torch.device, inception: Path | None
) -> Evaluator | None:
    if not config.metrics:
        return None
    real_batches = lambda: evaluation_batches(dataset, 32)
    try:
        return Evaluator(list(config.metrics), real_batches, len(dataset), dataset.content_hash(), device, inception)
    except InputError as error:
        raise InputError(f"{error}; or train without scores, by --metrics none") from None


def describe(
    config: TrainingConfig,
    dataset: ImageDataset,
    state: TrainingState,
    device: torch.device,
    why: str,  # this precision; "" where it was asked for
    run_dir: Path | None,
    resume: str | None,
) -> None:
    """Everything that the run is determined by."""
    print(json.dumps(config.to_json(), indent=2))
    classes = f", {counted(dataset.c_dim, 'class')}" if dataset.c_dim else ""
    about = f"{dataset.width}×{dataset.height}, {counted(dataset.channels, 'channel')}{classes}{in_words(dataset.nbytes)}"
    print(f"Data:          {len(dataset)} images, {about}")
    for name, network in (("Generator", state.G), ("Discriminator", state.D)):
        print(f"{name + ':':<14} {sum(p.numel() for p in network.parameters()):,} parameters")
    print(f"Device:        {device}, {config.gpus} process{'es' if config.gpus > 1 else ''}{threads_in_words(config.threads)}")
    print(f"Precision:     {config.precision}{why and f' ({why})'}")
    if run_dir:
        print(f"Resuming:      {run_dir} at {state.nimg / 1000:.1f} kimg")
    elif resume == "auto":
        print("Resuming:      nothing, as no run with these options has saved a state yet")


def describe_costs(config: TrainingConfig, dataset: ImageDataset, device: torch.device) -> None:
    """Seconds and memory of real steps on real images, with networks that are thrown away."""
    prepare(config.precision)
    keep_freed_memory()
    state = build_state(config, dataset, device)
    images, labels = next(batches(dataset, config.batch // config.gpus, config.seed))
    c = F.one_hot(labels, dataset.c_dim).float().to(device) if dataset.c_dim else None
    found = estimate(state, config, from_uint8(images.to(device)), c, device)
    hours = found.sec_per_kimg * config.kimg / 3600
    where = "of the GPU" if device.type == "cuda" else "resident"
    print(f"Memory:        about {found.bytes / 2**20:,.0f} MB {where}, each process")
    print(f"Time:          {found.sec_per_kimg:.2f} s/kimg, {hours:.2f} hours for {config.kimg:g} kimg, scores not counted")


def make_run_dir(outdir: Path, config: TrainingConfig, dataset: ImageDataset) -> Path:
    traits = [config.cfg, *(name for name in ("cond", "mirror", "grow") if getattr(config, name)), config.modulation]
    traits += [value for value, usual in ((config.loss, "relativistic"), (config.aug, "noaug")) if value != usual]
    traits += [f"batch{config.batch}", f"gamma{config.gamma:g}", f"seed{config.seed}"]
    return new_run_dir(outdir, dataset.name, *traits)


if __name__ == "__main__":
    run(main)
