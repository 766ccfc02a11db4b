"""The study of modulations as it is planned, before it is run: its stages in order, their rows, what each is to answer.

Every row is the `small` preset without its projected discriminator, with the changes of `recipe` and its own: the same images
in the same order, discriminator, loss and augmentation. Within a stage all rows come with seed 0, then all with seed 1, and so
on: wherever it stops, rows have equally many seeds.
"""

import bisect
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from networks.generator import Generator
from scripts.experiments.ablation_tables import configure
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
EQUAL = dict(lr_multiplier=1.0)  # of the style path: as fast as all other weights


def recipe(side: int) -> dict:
    """Of all rows: half the widths of `small`, and learning rates that are equal by construction.

    With --forced-norm each step turns the weights of every layer by an angle that the rate alone sets, whatever the modulation.
    The rates fall as 1 / √images (EDM2: Karras et al. 2024), which needs no end of the run: a run of 64 kimg is the beginning
    of one of 128.
    """
    widths = dict(channel_base=16 * side, d_channel_base=16 * side)
    return widths | dict(projected=0.0, forced_norm=True, glr=0.003, dlr=0.004, lr_end=1.0, lr_decay_kimg=10.0)


def row(modulation: str = BASE, changes: dict | None = None, **options) -> dict:
    """A modulation with `options` of its own, and other changes of the recipe."""
    return dict(modulation=modulation, modulation_options=EQUAL | options) | (changes or {})


@dataclass(frozen=True)
class Stage:
    question: str
    rows: dict[str, dict]  # row -> changes of the preset
    kimg: int = 64
    seeds: int = 4
    same_parameters: bool = False  # the others are widened until they have as many parameters as AdaConv


MODULATIONS = {name: row(name) for name in (BASE, *OTHERS, "none")}
STAGES = {
    "modulations": Stage("Which modulation learns most from equally many images, at equal widths?", MODULATIONS),
    "rates": Stage("Does the order depend on the learning rates?", {
        **{name: MODULATIONS[name] for name in (BASE, *OTHERS)},
        **{f"{name}, style ×{lr}": row(name, lr_multiplier=float(lr)) for name in (BASE, *OTHERS) for lr in (4, 16)},
        **{f"{name}, all ×½": row(name, dict(glr=0.0015, dlr=0.002)) for name in (BASE, "demod")},
    }, seeds=3),
    "parts": Stage("Which part of AdaConv's kernels has to depend on the style, and how large have they to be?", {
        BASE: row(),
        **{f"{part} alone": row(parts=part) for part in ("spatial", "pointwise", "bias")},
        "all but spatial": row(parts="pointwise+bias"),  # they hardly depend on the style: docs/structure.md
        **{f"k = {k}": row(kernel_size=k) for k in (1, 5)},
    }),
    "same parameters": Stage("And at equal parameters?", MODULATIONS, same_parameters=True),
}  # fmt: skip


@dataclass(frozen=True)
class Run:
    row: str
    changes: dict  # of the recipe
    config: TrainingConfig
    side: int
    channels: int
    content: str  # hash of the images

    @property
    def name(self) -> str:
        """Of its folder and its record: equal runs of several stages are run once."""
        traits = self.changes | {k: v for k, v in self.changes["modulation_options"].items() if (k, v) not in EQUAL.items()}
        shown = [f"{k}={v}" for k, v in sorted(traits.items()) if k not in ("modulation", "modulation_options")]
        return "-".join([Path(self.config.data).stem, self.config.modulation, *shown, f"seed{self.config.seed}"])

    @property
    def parameters(self) -> int:
        """Of the generator."""
        changes = {name: value for name in NETWORK if (value := getattr(self.config, name)) is not None}
        return parameters(changes, self.side, self.channels)


def planned(
    stage: Stage,
    images: dict[Path, tuple[int, int, str]],
    kimg: float,
    seeds: int,
    rows: Iterable[str],
    snap: int,
    precision: str,
) -> list[Run]:
    """In the order in which they are to be run; `images`: data -> side, channels and content hash of its images."""
    found = []
    for seed, name, (data, (side, channels, content)) in itertools.product(range(seeds), rows, images.items()):
        changes = stage.rows[name]
        if stage.same_parameters and name != BASE:
            changes = changes | dict(channel_base=widened(changes, side, channels))
        settings = recipe(side) | changes | dict(metrics=METRICS, precision=precision)
        found.append(Run(name, changes, configure(settings, data, side, kimg, snap, seed, CFG), side, channels, content))
    return found


def parameters(changes: dict, side: int, channels: int) -> int:
    """Of the generator; nothing is allocated."""
    values = resolve(CFG, side, changes)
    with torch.device("meta"):
        G = Generator(side, channels, **{name: values[name] for name in NETWORK if name in values})
    return sum(p.numel() for p in G.parameters())


def widened(changes: dict, side: int, channels: int) -> int:
    """The generator's `channel_base` that comes nearest to AdaConv's number of parameters; the discriminator keeps its own."""
    count = lambda channel_base: parameters(recipe(side) | changes | dict(channel_base=channel_base), side, channels)
    wanted = parameters(recipe(side) | row(), side, channels)
    bases = range(side, MAX_WIDTH * side, max(side // 8, 1))
    above = bisect.bisect_left(bases, wanted, lo=1, key=count)
    return min(bases[above - 1 : above + 1], key=lambda channel_base: abs(count(channel_base) - wanted))
