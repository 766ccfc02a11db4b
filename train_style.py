#!/usr/bin/env python3
"""Train a style transfer on a folder or zip of contents and one of styles."""

import torch_utils.before_torch  # noqa: F401  what has to be set before PyTorch is loaded

# isort: split

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from networks.style_transfer.network import PAPER_STYLE_SIDE
from networks.style_transfer.vgg import MEGABYTES, load_vgg, needs_download
from torch_utils import torchrun
from torch_utils.archive import Archive
from torch_utils.cli import Progress, command, counted, run
from torch_utils.cores import use_threads
from torch_utils.files import InputError
from torch_utils.interrupt import STATUS
from torch_utils.platform import choose_device, keep_freed_memory
from torch_utils.run_dir import only_trainer
from training.image_memory import in_words
from training.run.options import config_options, length_option, run_options
from training.run.start import begin, fingerprint, print_config, run_directory, warn_of_left_out, write_start
from training.style_transfer.augment_styles import augment_style
from training.style_transfer.budget import check_network
from training.style_transfer.config import AUTO, PRESETS, StyleConfig, auto_choice
from training.style_transfer.crops import Crops
from training.style_transfer.held_out import KINDS, check_held_out, write_held_out
from training.style_transfer.loop import train_style
from training.style_transfer.squares import augment_content
from training.style_transfer.state import build_state

STYLE_STREAM = (1,)  # of the squares of styles; contents have the first one


@command()
@config_options(StyleConfig, lambda cfg, side: PRESETS[cfg](), PRESETS)
@length_option("--resume", metavar="RUN_DIR|auto", help="continue a run; auto: the last run like this")
@run_options
def main(outdir, resume, device, desc, dry_run, **options):
    """Train a style transfer on a folder or zip of contents and one of styles.

    Makes OUTDIR/00000-<content>-<style>-…/ with snapshots, pictures, statistics and held-out losses. To go on after an
    interruption, run the same command with --resume auto.

    \b
    Example:
      python train_style.py --outdir runs --content photos/ --style paintings/ --cfg small
    """
    torchrun.check_alone("the training of a style transfer")
    chosen = choose_device(device)
    keep_freed_memory()
    by_device = options["cfg"] in (None, AUTO)
    options["cfg"] = None if by_device else options["cfg"]  # a run that goes on has its own
    start = begin(StyleConfig, lambda given: resolve(given, chosen), options, outdir, resume, chosen)
    config: StyleConfig = start.config
    use_threads(config.threads)

    check_network(config, chosen, start.run_dir if start.saved else None)
    (contents, styles), data = open_images(config, start.run_dir if start.saved else None)
    if not start.saved:
        sets = [f"{images.name} {len(images)}" for images in (contents, styles)]
        config = start.config = dataclasses.replace(config, run=fingerprint(config, *sets))
    weights, notes = Path(config.encoder_weights) if config.encoder_weights else None, []
    if dry_run and needs_download(config.encoder, weights):
        notes.append(f"Encoder:       {config.encoder}, {MEGABYTES[config.encoder]} MB to be fetched once")
    else:
        encoder = load_vgg(config.encoder, weights, config.encoder_padding).to(chosen)
    if by_device and not start.run_dir and config.cfg == StyleConfig.FOR_CPUS:
        notes.append(f"Preset:        {config.cfg} (auto: there is no NVIDIA GPU to use; --help names others)")
    state = build_state(config, chosen)
    if start.saved:
        state.load(start.run_dir, chosen)
    header = print_config(start, state, data, state.network.named_children(), chosen, notes=notes)
    if dry_run:
        return
    traits = [contents.name, styles.name, config.cfg, config.transfer, config.encoder, *([desc] if desc else [])]
    with run_directory(start, outdir, *traits) as run_dir, only_trainer(run_dir):
        write_start(run_dir, config, header)
        if not start.saved:
            write_held_out(run_dir, set_aside((contents, styles)))
        finished = train_style(config, contents, styles, state, encoder, run_dir, chosen)
    if not finished:
        sys.exit(STATUS)
    print(f"Done. Pictures, snapshots and held-out losses are in {run_dir}")


def resolve(options: dict, device: torch.device) -> StyleConfig:
    """Options given, over the preset for this device, over the defaults of `StyleConfig`."""
    for name in ("content", "style"):
        if not options[name]:
            raise InputError(f"--{name} is missing: a folder or zip of images")
    cfg = options["cfg"] or auto_choice(device)
    values = PRESETS[cfg]() | {name: value for name, value in options.items() if value is not None} | dict(cfg=cfg)
    config = StyleConfig.from_json(values)  # what could not be resumed does not start
    if config.transfer != "adain" and not config.adaptive:
        encoded = {"--style-crop" if config.style_crop else "--crop": config.style_side}
        if config.identity_weight:  # then contents are styles, too
            encoded["--crop"] = config.crop
        for option, side in encoded.items():
            if side != PAPER_STYLE_SIDE:
                only = f"the paper's style encoder takes {PAPER_STYLE_SIDE} only"
                raise InputError(f"{option} {side}: {only}; --adaptive 1 takes any")
    return config


def open_images(config: StyleConfig, begun: Path | None) -> tuple[list[Crops], list[str]]:
    """Contents and styles, their headers looked at; and what to say of them.

    `InputError` where the run directory `begun` held out others.
    """
    crops, lines = list_images(config), []
    if begun:
        check_held_out(begun, set_aside(crops))
    for what, images in zip(("Contents:", "Styles:"), crops):
        progress = Progress(f"checking {images.name}", len(images) + len(images.held_out), "img")
        left_out = warn_of_left_out(images.check(progress.update))
        progress.close()
        count = f"{counted(len(images), 'image')} of {images.name}{in_words(images.nbytes, partly=not config.workers)}"
        lines.append(f"{what:<14} {count}; {len(images.held_out)} held out{left_out}")
    return crops, lines


def set_aside(crops: Sequence[Crops]) -> dict[str, Sequence[str]]:
    """Names by kind, of `list_images`."""
    return {kind: images.set_aside for kind, images in zip(KINDS, crops)}


def list_images(config: StyleConfig) -> list[Crops]:
    """Contents and styles."""
    crops = []
    for what, path, side, last, folders, augment in (
        ("content", config.content, config.crop, config.hold_out_content, config.hold_out_content_folders, augment_content),
        ("style", config.style, config.style_side, config.hold_out_style, config.hold_out_style_folders, augment_style),
    ):
        if not (last or folders):
            wanted = f"--hold-out-{what}-folders, as pictures and losses are made of what is held out"
            raise InputError(f"--hold-out-{what} 0: wanted more, or {wanted}")
        images = Crops(
            Archive(path),
            side,
            config.resize,
            last,
            config.seed,
            config.skip_bad,
            folders,
            config.balance_sources,
            augment if getattr(config, f"{what}_augment") else None,
            STYLE_STREAM if config.squares_apart and what == "style" else (),
        )
        crops.append(images)
    return crops


if __name__ == "__main__":
    run(main)
