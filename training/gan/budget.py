"""Whether a training run can fit into memory, before any of it is taken: options may ask for networks of any size."""

import math
from pathlib import Path
from typing import Any

import torch

from networks import efficientnet
from networks.projected import KEPT
from torch_utils.files import InputError
from torch_utils.memory import check_memory, training_bytes
from training.dataset import ImageDataset
from training.gan.config import TrainingConfig
from training.gan.state import TrainingState, build_state
from training.run.saved_state import check_sizes
from training.run.start import stored_options


def check_networks(config: TrainingConfig, dataset: ImageDataset, device: torch.device, run_dir: Path | None) -> None:
    """`InputError` for networks that cannot be made, that the state in `run_dir` is not of, or that memory does not hold.

    They are looked at without memory of their own.
    """
    if run_dir and bool(stored_options(TrainingConfig, run_dir).projected) != bool(config.projected):
        raise InputError(f"--projected {config.projected:g}: a run has a second discriminator from its beginning, or never")
    if config.projected:
        require_features(resumed=run_dir is not None)
    sketch = build_state(config, dataset, torch.device("meta"))
    if run_dir:
        check_sizes(run_dir, {name: getattr(sketch, name) for name in ("G", "D")})
    processes = 1 if device.type == "cuda" else config.gpus  # each has a GPU of its own, or all share the machine's memory
    images = config.batch_gpu or config.batch // config.gpus
    of = f"{processes} processes with these networks" if processes > 1 else "these networks"
    advice = "wanted a smaller --cbase, --cmax or --batch-gpu" + ", or fewer --gpus" * (processes > 1)
    least = processes * least_bytes(sketch, config, images, device)
    check_memory(f"{of}, and {images:,} images at once,", least, device, advice)


def require_features(resumed: bool) -> None:
    """Says now, and not at the first step, that a projected discriminator's network is missing."""
    try:
        efficientnet.find()
    except InputError as error:
        way_out = "" if resumed else "; or train without it, by --projected 0"
        raise InputError(f"--projected: {error}{way_out}") from None


def least_bytes(sketch: TrainingState, config: TrainingConfig, images: int, device: torch.device) -> int:
    """What a process has at least: weights, what Adam keeps, and averages; and either a map of each layer, in the generator's
    update, or three copies of a snapshot, while it is written."""
    sketch.D.freeze(config.freezed)
    always = sum(map(training_bytes, (sketch.G, sketch.D, sketch.ema, *sketch.averages)))
    maps = 0 if config.grow else images * maps_of_an_image(sketch)  # a short run need not grow to its end
    maps *= 4 if config.precision == "fp32" else 2
    if sketch.D.projected is not None:
        whole = config.precision == "fp32" or device.type == "cpu"  # see `ProjectedDiscriminator.features`
        maps += images * KEPT * math.prod(sketch.D.projected.size) * (4 if whole else 2)
    return always + max(maps, 3 * training_bytes(sketch.ema))


def maps_of_an_image(sketch: TrainingState) -> int:
    """Numbers that backpropagation keeps, one map for each layer of the generator and the discriminator."""
    pixels = [math.prod(level) for level in sketch.G.synthesis.resolutions]
    levels = [pixels[0], *(size for size in pixels[1:] for _ in range(2))]  # two layers each, but for the first
    layers: Any = sketch.G.synthesis.layers  # ModuleList does not say of what
    blocks: Any = sketch.D.blocks
    generator = sum(layer.bias.numel() * size for layer, size in zip(layers, levels, strict=True))
    return generator + sum(block.conv0.bias.numel() * size for block, size in zip(blocks, pixels[::-1]))
