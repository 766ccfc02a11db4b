#!/usr/bin/env python3
"""Train a style transfer on a folder or zip of contents and one of styles."""

import torch_utils.openmp  # noqa: F401  sets what OpenMP reads when PyTorch is loaded, and so comes first

# isort: split

import dataclasses
import json
import shutil
import sys
from pathlib import Path

import click
import torch

from networks.style_transfer.feature_losses import STYLE_LOSSES
from networks.style_transfer.network import PAPER_STYLE_SIDE, TRANSFERS
from networks.style_transfer.vgg import CONVOLUTIONS, load_vgg
from torch_utils.archive import Archive
from torch_utils.cli import BOOL, Progress, command, given, run
from torch_utils.cores import threads_in_words, use_threads
from torch_utils.files import InputError, write_json
from torch_utils.interrupt import STATUS
from torch_utils.platform import choose_device, keep_freed_memory
from torch_utils.precision import AUTO, UNSCALED
from training.image_memory import in_words
from training.run.health import Diverged
from training.run.machine import as_begun, decide
from training.run.run_dir import OPTIONS, find_run, new_run_dir, only_trainer, stored_options
from training.run.saved_state import states
from training.style_transfer.config import DECODER_STARTS, PRESETS, StyleConfig
from training.style_transfer.crops import Crops
from training.style_transfer.loop import train_style
from training.style_transfer.state import StyleState

PATHS = ("content", "style", "encoder_weights")


@command()
@click.option("--outdir", required=True, type=click.Path(file_okay=False, path_type=Path), help="where run directories go")
@click.option("--content", type=click.Path(path_type=Path), help="folder or zip of images, e.g. COCO")
@click.option("--style", type=click.Path(path_type=Path), help="folder or zip of images, e.g. WikiArt")
@click.option("--cfg", type=click.Choice(list(PRESETS)), default="paper", help="preset; every option below overrides it")
@click.option("--transfer", type=click.Choice(TRANSFERS), help="predicted kernels, or a scale and a shift  [default: adaconv]")
@click.option("--encoder", type=click.Choice(list(CONVOLUTIONS)), help="the network that looks  [default: by preset]")
@click.option("--encoder-weights", type=click.Path(path_type=Path), help="its weights, torchvision's  [default: fetched]")
@click.option("--style-depth", type=click.IntRange(1, 4096), help="s_d of the descriptor  [default: by preset]")
@click.option("--style-width", type=click.IntRange(1, 4096), help="channels of the style encoder  [default: by preset]")
@click.option("--adaptive", type=BOOL, help=f"style images of any size, not only {PAPER_STYLE_SIDE}×{PAPER_STYLE_SIDE}")
@click.option("--kernel-size", type=click.Choice(["1", "3", "5"]), help="of the predicted kernels  [default: 3]")
@click.option("--decoder-start", type=click.Choice(DECODER_STARTS), help="first weights  [default: by preset]")
@click.option("--crop", type=click.IntRange(32, 4096), help="side of the squares trained on  [default: by preset]")
@click.option("--style-crop", type=click.IntRange(32, 4096), help="likewise, of the styles  [default: the same]")
@click.option("--resize", type=click.IntRange(32, 8192), help="shorter side of what they are cut from  [default: by preset]")
@click.option(
    "--hold-out-content", type=click.IntRange(1, 1000), help="so many, the last by name, are only shown  [default: 8]"
)
@click.option("--hold-out-style", type=click.IntRange(1, 1000), help="likewise, of the styles  [default: 4]")
@click.option("--batch", type=click.IntRange(1), help="pairs per step  [default: by preset]")
@click.option(
    "--precision",
    type=click.Choice([AUTO, *UNSCALED]),
    default=AUTO,
    help="number format of the networks; auto: bf16 where the device is fast in it, else fp32; in a resumed run, what it has",
)
@click.option("--kimg", type=click.FloatRange(0, 1e9, min_open=True), help="thousand contents to be seen  [default: by preset]")
@click.option("--tick", type=click.FloatRange(0, 1e9, min_open=True), help="kimg between two log lines  [default: by preset]")
@click.option("--snap", type=click.IntRange(1), help="ticks between two snapshots  [default: by preset]")
@click.option("--save-every", type=click.FloatRange(0, min_open=True), help="minutes between two saved states  [default: 15]")
@click.option("--lr", type=click.FloatRange(0, min_open=True), help="learning rate of Adam  [default: by preset]")
@click.option("--content-weight", type=click.FloatRange(0), help="of the content loss  [default: 1]")
@click.option("--style-weight", type=click.FloatRange(0), help="of the style loss  [default: 10]")
@click.option("--style-ramp", type=click.FloatRange(0, 1e9), help="kimg over which it rises to that  [default: by preset]")
@click.option("--style-loss", type=click.Choice(list(STYLE_LOSSES)), help="statistics that are compared  [default: moments]")
@click.option("--identity-weight", type=click.FloatRange(0), help="of an image in its own style  [default: by preset]")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, help="of everything random")
@click.option("--skip-bad", type=BOOL, default=False, help="leave out images that cannot be read")
@click.option("--workers", type=click.IntRange(0), help="processes that read contents not in memory, and as many for styles")
@click.option("--threads", type=click.IntRange(1, 1024), help="of the CPU  [default: cores that no other training has]")
@click.option("--device", help="cpu, cuda, mps …  [default: the best there is]")
@click.option("--resume", metavar="RUN_DIR|auto", help="continue a run; auto: the last run like this")
@click.option("-n", "--dry-run", is_flag=True, help="print what would be done, and stop")
def main(outdir: Path, resume: str | None, device: str | None, dry_run: bool, **options):
    """Train a style transfer on a folder or zip of contents and one of styles.

    Makes OUTDIR/00000-<content>-<style>-…/ with snapshots, pictures, statistics and held-out losses. To go on after an
    interruption, run the same command with --resume auto.
    """
    chosen = choose_device(device)
    keep_freed_memory()
    if options["kernel_size"]:
        options["kernel_size"] = int(options["kernel_size"])
    for name in PATHS:
        if options[name]:
            options[name] = str(options[name].absolute())
    run_dir = Path(resume) if resume not in (None, "auto") else None
    if run_dir and not run_dir.is_dir():
        raise InputError(f"--resume {run_dir}: no such run directory")
    if run_dir and "cfg" in given(options):
        raise InputError(f"--cfg belongs to new runs; {run_dir} has its options already")
    unasked, why = decide(options, chosen)
    if run_dir:
        now = {name: value for name, value in _given_now(options).items() if name not in unasked}
        config = dataclasses.replace(stored_options(StyleConfig, run_dir), **now)
    else:
        config = resolve(options)
        run_dir = find_run(outdir, config, unasked) if resume == "auto" else None
    saved = run_dir if run_dir and (states(run_dir) or resume != "auto") else None
    if saved and unasked:
        config, why = as_begun(config, saved, unasked), "as the run was begun" if "precision" in unasked else ""
    use_threads(config.threads)

    contents, styles = open_images(config)
    encoder = load_vgg(config.encoder, config.encoder_weights and Path(config.encoder_weights))
    encoder.to(chosen)
    state = build_state(config, chosen)
    if saved:
        state.load(saved, chosen)
    describe(config, contents, styles, state, chosen, why, saved)
    if dry_run:
        return
    new = None if run_dir else new_run_dir(outdir, contents.name, styles.name, config.cfg, config.transfer, config.encoder)
    run_dir = run_dir or new
    print(f"Run directory: {run_dir}")
    try:
        with only_trainer(run_dir):
            write_json(run_dir / OPTIONS, config.to_json())
            finished = train_style(config, contents, styles, state, encoder, run_dir, chosen)
    except (InputError, OSError) as error:
        if new and not states(new) and not isinstance(error, Diverged):  # nothing was learned: do not leave it lying about
            shutil.rmtree(new)
        raise
    if not finished:
        sys.exit(STATUS)
    print(f"Done. Pictures, snapshots and held-out losses are in {run_dir}")


def resolve(options: dict) -> StyleConfig:
    """Options given, over the preset, over the defaults of `StyleConfig`."""
    for name in ("content", "style"):
        if not options[name]:
            raise InputError(f"--{name} is missing: a folder or zip of images")
    values = PRESETS[options["cfg"]]() | {name: value for name, value in options.items() if value is not None}
    config = StyleConfig.from_json(values)  # what could not be resumed does not start
    described = {"--style-crop" if config.style_crop else "--crop": config.style_side}
    if config.identity_weight:
        described["--crop"] = config.crop
    for option, side in described.items():
        if not config.adaptive and config.transfer == "adaconv" and side != PAPER_STYLE_SIDE:
            raise InputError(
                f"{option} {side}: the paper's style encoder takes {PAPER_STYLE_SIDE} only; --adaptive 1 takes any"
            )
    return config


def _given_now(options: dict) -> dict:
    return {name: value for name, value in given(options).items() if value is not None}


def open_images(config: StyleConfig) -> list[Crops]:
    """Contents and styles, their headers looked at."""
    found = []
    for path, side, held_out in (
        (config.content, config.crop, config.hold_out_content),
        (config.style, config.style_side, config.hold_out_style),
    ):
        crops = Crops(Archive(path), side, config.resize, held_out, config.seed, config.skip_bad)
        progress = Progress(f"checking {crops.name}", len(crops) + held_out, "img")
        bad = crops.check(progress.update)
        progress.close()
        for why in list(bad.values())[:20]:
            print(f"warning: left out: {why}", file=sys.stderr)
        found.append(crops)
    return found


def build_state(config: StyleConfig, device: torch.device) -> StyleState:
    try:
        return StyleState(config, device)
    except (ValueError, MemoryError) as error:
        raise InputError(f"the network cannot be made: {error}") from None


def describe(
    config: StyleConfig,
    contents: Crops,
    styles: Crops,
    state: StyleState,
    device: torch.device,
    why: str,  # this precision; "" where it was asked for
    run_dir: Path | None,
) -> None:
    """Everything that the run is determined by."""
    print(json.dumps(config.to_json(), indent=2))
    for what, crops in (("Contents:", contents), ("Styles:", styles)):
        kept = in_words(crops.nbytes, partly=not config.workers)
        print(f"{what:<14} {len(crops)} images of {crops.name}{kept}; {len(crops.held_out)} held out")
    for name, part in state.network.named_children():
        print(f"{name + ':':<14} {sum(p.numel() for p in part.parameters()):,} parameters")
    print(f"Device:        {device}{threads_in_words(config.threads)}")
    print(f"Precision:     {config.precision}{why and f' ({why})'}")
    if run_dir:
        print(f"Resuming:      {run_dir} at {state.nimg / 1000:.3f} kimg")


if __name__ == "__main__":
    run(main)
