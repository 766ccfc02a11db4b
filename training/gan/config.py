"""All that a training is determined by, and the presets of `--cfg`."""

import math
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from networks.generator import LIMITS
from networks.modulation import MODULATIONS
from torch_utils.ops import PADDINGS
from torch_utils.precision import PRECISIONS
from training.gan.augment import AUGPIPES
from training.gan.losses import LOSSES
from training.run.options import checked


@dataclass(frozen=True)
class TrainingConfig:
    """Options after presets and defaults have been resolved. Plain values only: it is written as JSON."""

    # data
    data: str  # folder or zip
    cond: bool = False  # use the labels of dataset.json
    mirror: bool = False  # add flipped copies
    subset: int | None = None  # train on this many images
    skip_bad: bool = False  # leave out images that cannot be read
    workers: int = 2  # processes that read images
    threads: int | None = None  # of the CPU, over all processes; another number may round otherwise. None: as PyTorch likes

    # networks
    modulation: str = "adaconv"
    z_dim: int = 512
    style_depth: int = 64  # s_d of the descriptor [s_d, 3, 3]
    mapping_layers: int = 2
    modulation_options: dict | None = None
    padding: str = "zeros"  # beyond the borders of the maps that predicted kernels act on: one of ops.PADDINGS
    noise: bool = True  # in every layer of the generator
    channel_base: int = 16384  # width of the generator at resolution r: min(channel_base / r, channel_max)
    channel_max: int = 512
    d_channel_base: int | None = None  # the discriminator's channel_base, where it is another

    # recipe
    loss: str = "relativistic"  # one of losses.LOSSES
    batch: int = 32  # over all processes
    batch_gpu: int | None = None  # images of one process that go through the networks at once; None: its share of the batch
    precision: str = "fp32"  # one of precision.PRECISIONS
    glr: float = 0.002
    dlr: float = 0.002
    beta2: float = 0.99  # of Adam; beta1 is 0
    gamma: float = 1.0  # weight of R1, and with the relativistic loss of R2
    reg_interval: int = 8  # the penalties at every so many steps, in the same update as the loss and so many times as strong
    pl_weight: float = 0.0  # path-length regularisation of the generator
    pl_interval: int = 4  # at every so many steps, likewise
    style_mixing: float = 0.0  # probability that the layers of an image are styled by two latents
    freezed: int = 0  # first blocks of the discriminator that do not learn, for fine-tuning
    ema_kimg: float = 10  # half-life of the averaged generator
    ema_rampup: float = 0.05  # the half-life is at most this part of the images seen

    # augmentation of what the discriminator sees
    aug: str = "noaug"  # or fixed, or ada
    p: float = 0.0  # probability of every transformation: for good with `fixed`, at the start with `ada`
    target: float = 0.6  # of ada: how often D rates a training image above zero, or above its partner, minus how often below
    augpipe: str = "bgc"  # one of augment.AUGPIPES
    ada_kimg: float = 500  # of ada: p moves by at most 1 in so many

    # progressive growing
    grow: bool = False
    grow_from: int = 8  # side of the first images
    grow_kimg: float = 600  # each level is trained for so long, and the next faded in over so long

    # schedule of the run
    kimg: float = 25000
    tick: float = 4  # kimg between two lines of the log
    snap: int = 50  # ticks between two snapshots
    save_every: float = 15  # minutes between two saved states, where no snapshot comes sooner
    metrics: tuple[str, ...] = ()
    seed: int = 0
    cfg: str = "auto"
    gpus: int = 1

    BEFORE = {"padding": "replicate"}  # what runs had that were begun before there was a choice

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"metrics": list(self.metrics)}

    @staticmethod
    def from_json(values: Any, where: str | Path = "training_options.json") -> "TrainingConfig":
        """`InputError`, which names the place, for an option, a type or a number that no training has."""
        checked(TrainingConfig, values, {**CHOICES, "cfg": tuple(PRESETS)}, RANGES, where)
        return TrainingConfig(**values | {"metrics": tuple(values.get("metrics", ()))})


# What may stand in training_options.json. A file from elsewhere must not ask for what would never end or never fit.
CHOICES = {
    "modulation": MODULATIONS,
    "padding": PADDINGS,
    "loss": LOSSES,
    "precision": PRECISIONS,
    "aug": ("noaug", "fixed", "ada"),
    "augpipe": AUGPIPES,
}
ABOVE_0, BELOW_1, FINITE, MANY = math.nextafter(0, 1), math.nextafter(1, 0), sys.float_info.max, 2**31
RANGES = {
    **{name: LIMITS[name] for name in ("z_dim", "style_depth", "mapping_layers", "channel_base", "channel_max")},
    "d_channel_base": LIMITS["channel_base"],
    "subset": (1, MANY),
    "workers": (0, 1024),
    "threads": (1, 1024),
    "batch": (1, 2**16),
    "batch_gpu": (1, 2**16),
    "glr": (ABOVE_0, FINITE),
    "dlr": (ABOVE_0, FINITE),
    "beta2": (0, BELOW_1),
    "gamma": (0, FINITE),
    "reg_interval": (1, MANY),
    "pl_weight": (0, FINITE),
    "pl_interval": (1, MANY),
    "style_mixing": (0, 1),
    "freezed": (0, MANY),
    "ema_kimg": (0, FINITE),
    "ema_rampup": (0, FINITE),
    "p": (0, 1),
    "target": (-1, 1),
    "ada_kimg": (1e-6, FINITE),
    "grow_from": (1, MANY),
    "grow_kimg": (1e-6, FINITE),
    "kimg": (1e-6, 1e9),
    "tick": (1e-6, 1e9),
    "snap": (1, MANY),
    "save_every": (ABOVE_0, FINITE),
    "seed": (0, 2**32 - 1),
    "gpus": (1, 1024),
}

# What goes with a loss, unless a preset or the user says otherwise.
LOSS_SETTINGS: dict[str, dict[str, Any]] = {
    # R3GAN (Huang et al. 2024): R1, R2, nothing else. The target is 0.6 of logistic in other terms, see strength.py
    "relativistic": dict(pl_weight=0.0, style_mixing=0.0, target=0.77),
    "logistic": dict(pl_weight=2.0, style_mixing=0.9, target=0.6),  # StyleGAN2 (Karras et al. 2020, appendix B)
}


def resolve(cfg: str, side: int, given: dict[str, Any]) -> dict[str, Any]:
    """Options given, over the preset for images with this longer side, over what goes with the loss."""
    values = PRESETS[cfg](side) | {name: value for name, value in given.items() if value is not None}
    return LOSS_SETTINGS[values.get("loss", TrainingConfig.loss)] | values


def auto_preset(side: int) -> dict[str, Any]:
    """Settings by image size.

    Widths, learning rate, EMA and the form of gamma follow StyleGAN2's configurations by resolution (Karras et al. 2020),
    where gamma is proportional to resolution² / batch.
    """
    batch = max(8, min(32, 4096 // side))
    return dict(
        batch=batch,
        channel_base=32768 if side >= 512 else 16384,
        glr=0.002 if side >= 1024 else 0.0025,
        dlr=0.002 if side >= 1024 else 0.0025,
        gamma=max(0.0002 * side**2 / batch, 0.1),
        ema_kimg=batch * 10 / 32,
        metrics=("fid50k_full",),
    )


def tiny_preset(side: int) -> dict[str, Any]:
    """Narrow networks that learn something visible in minutes on two CPU cores. The numbers are from docs/ablation.md."""
    return dict(
        batch=8,  # steps count for more than images so early in a training
        z_dim=128,
        style_depth=16,
        channel_base=8 * side,
        channel_max=128,
        d_channel_base=16 * side,  # twice the generator's width: with a narrower one it draws patterns and stays there
        glr=0.001,
        dlr=0.0016,
        gamma=1.0,
        pl_weight=0.0,  # with the logistic loss, too, as in StyleGAN2-ADA's CIFAR-10: docs/ablation.md
        style_mixing=0.0,
        reg_interval=4,
        ema_kimg=1,
        ada_kimg=20,  # a run of a thousand times the length has 500
        grow_kimg=2,
        kimg=24,
        tick=1,
        snap=6,
        workers=0,
        metrics=("fd1k_full-efficientnet_lite0",),
    )


def fashion32_preset(side: int) -> dict[str, Any]:
    """`tiny`, twice as wide and trained ten times as long: for MNIST-like images and a free afternoon on a CPU."""
    return tiny_preset(side) | dict(channel_base=16 * side, channel_max=256, d_channel_base=32 * side, kimg=240, ema_kimg=4)


def cifar_preset(side: int) -> dict[str, Any]:
    """Widths, batch, rates, EMA, the shallow mapping and no path lengths nor mixing: StyleGAN2-ADA's CIFAR-10 (Karras et al.
    2020b, appendix C); gamma is where R3GAN's ends (Huang et al. 2024, appendix), as their relativistic loss is ours."""
    return dict(
        batch=64,
        channel_base=32768,
        glr=0.0025,
        dlr=0.0025,
        gamma=0.005,
        pl_weight=0.0,
        style_mixing=0.0,
        reg_interval=16,
        ema_kimg=500,
        mapping_layers=2,
        kimg=100000,
        metrics=("fid50k_full",),
    )


def ffhq64_preset(side: int) -> dict[str, Any]:
    """StyleGAN2's rules for the size with a batch of 64; gamma is where R3GAN's ends on FFHQ-64 (Huang et al. 2024)."""
    return auto_preset(side) | dict(batch=64, gamma=0.2, reg_interval=16, ema_kimg=20, kimg=25000, mirror=True)


def ffhq256_preset(side: int) -> dict[str, Any]:
    """Batch, widths, rates, EMA and length of StyleGAN2-ADA's FFHQ at 256×256 (Karras et al. 2020b, appendix C), whose gamma
    of 1 is for the logistic loss; R3GAN's on FFHQ-256 ends at 15, for networks of another form: expect to tune it."""
    return dict(
        batch=64,
        channel_base=16384,
        glr=0.0025,
        dlr=0.0025,
        gamma=1.0,
        reg_interval=16,
        ema_kimg=20,
        mapping_layers=8,
        kimg=25000,
        mirror=True,
        metrics=("fid50k_full",),
    )


def stylegan2_preset(side: int) -> dict[str, Any]:
    """The field's baseline (Karras et al. 2020): weight demodulation, logistic loss, R1 every 16 and path lengths every 4
    steps, style mixing, a mapping network of 8 layers; the rest by size as in `auto`."""
    values = auto_preset(side) | dict(modulation="demod", loss="logistic", mapping_layers=8, reg_interval=16, pl_interval=4)
    return values | dict(gamma=0.0002 * side**2 / values["batch"])


PRESETS = {
    "auto": auto_preset,
    "tiny": tiny_preset,
    "fashion32": fashion32_preset,
    "cifar": cifar_preset,
    "ffhq64": ffhq64_preset,
    "ffhq256": ffhq256_preset,
    "stylegan2": stylegan2_preset,
}
