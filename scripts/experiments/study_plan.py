"""The study of modulations as it is planned, before it is run: its stages in order, their rows, what each is to answer.

Every row is the `small` preset with these changes: the same images in the same order, discriminator, loss and augmentation.
Within a stage all rows come with seed 0, then all with seed 1, and so on: wherever it stops, rows have equally many seeds.
"""

import bisect
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from networks.generator import Generator
from scripts.experiments.ablation_tables import adaconv, configure, run_name, with_lr
from training.gan.config import TrainingConfig, resolve

CFG = "small"
DETECTORS = ("efficientnet_lite0", "vgg16")
METRICS = (
    *(f"{kind}1k_full-{detector}" for kind in ("fd", "mind") for detector in DETECTORS),
    f"pr1k_full-{DETECTORS[0]}",
)
NETWORK = ("z_dim", "style_depth", "mapping_layers", "channel_base", "channel_max", "modulation", "modulation_options")
BASE = "adaconv"  # whose parameters the others get, and which reaches others' ends
MAX_WIDTH = 512  # channels at the images' own size
OTHERS = ("adain", "demod", "bank")  # modulations with a style path in every layer


def of(modulation: str) -> dict:
    """With its own defaults: of AdaConv those of the preset."""
    return {} if modulation == BASE else dict(modulation=modulation)


@dataclass(frozen=True)
class Stage:
    question: str
    rows: dict[str, dict]  # row -> changes of the preset
    kimg: int = 64
    seeds: int = 4
    same_parameters: bool = False  # the others are widened until they have as many parameters as AdaConv


STAGES = {
    "modulations": Stage("Which modulation learns most from equally many images, at equal widths?", {
        name: of(name) for name in (BASE, *OTHERS, "none")
    }),
    "parts": Stage("Which part of AdaConv's kernels has to depend on the style, and how large have they to be?", {
        BASE: {},
        **{f"{part} alone": adaconv(demodulate=True, parts=part) for part in ("spatial", "pointwise", "bias")},
        **{f"k = {k}": adaconv(demodulate=True, kernel_size=k) for k in (1, 5)},
    }),
    "rates": Stage("Does the order depend on how fast the style path learns?", {
        BASE: {},
        **{f"adaconv, style lr ×{lr}": adaconv(demodulate=True, lr_multiplier=float(lr)) for lr in (1, 16)},
        **{f"{name}, style lr ×{lr}": with_lr(float(lr), name) for name in OTHERS for lr in (4, 16, 64)},
    }),
    "same parameters": Stage("And at equal parameters?", {
        name: of(name) for name in (BASE, *OTHERS, "none")
    }, same_parameters=True),
}  # fmt: skip


@dataclass(frozen=True)
class Run:
    row: str
    config: TrainingConfig
    side: int
    channels: int

    @property
    def name(self) -> str:
        """Of its folder and its record: equal runs of several stages are run once."""
        own = self.config.channel_base != resolve(CFG, self.side, {})["channel_base"]
        return run_name(self.config) + f"-cbase={self.config.channel_base}" * own

    @property
    def parameters(self) -> int:
        """Of the generator."""
        changes = {name: value for name in NETWORK if (value := getattr(self.config, name)) is not None}
        return parameters(changes, self.side, self.channels)


def planned(
    stage: Stage, sizes: dict[Path, tuple[int, int]], kimg: float, seeds: int, rows: Iterable[str], snap: int, precision: str
) -> list[Run]:
    """In the order in which they are to be run; `sizes`: data -> side and channels of its images."""
    found = []
    for seed, row, (data, (side, channels)) in itertools.product(range(seeds), rows, sizes.items()):
        changes = stage.rows[row] | dict(metrics=METRICS, precision=precision)
        if stage.same_parameters:
            changes |= widened(stage.rows[row], side, channels)
        found.append(Run(row, configure(changes, data, side, kimg, snap, seed, CFG), side, channels))
    return found


def parameters(changes: dict, side: int, channels: int) -> int:
    """Of the generator; nothing is allocated."""
    values = resolve(CFG, side, changes)
    with torch.device("meta"):
        G = Generator(side, channels, **{name: values[name] for name in NETWORK if name in values})
    return sum(p.numel() for p in G.parameters())


def widened(changes: dict, side: int, channels: int) -> dict[str, int]:
    """The generator's width that comes nearest to AdaConv's number of parameters; the discriminator keeps its own."""
    if not changes:
        return {}
    wanted = parameters({}, side, channels)
    count = lambda channel_base: parameters(changes | dict(channel_base=channel_base), side, channels)
    bases = range(side, MAX_WIDTH * side, max(side // 8, 1))
    above = bisect.bisect_left(bases, wanted, lo=1, key=count)
    return dict(channel_base=min(bases[above - 1 : above + 1], key=lambda channel_base: abs(count(channel_base) - wanted)))
