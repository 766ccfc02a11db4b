"""The configuration of a generator's training run: one field for each option."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import NoneType
from typing import Any, get_args

import torch

from networks.generator import LIMITS, option_types
from networks.modulation import MODULATIONS
from networks.projected import SEEN
from torch_utils.files import InputError
from torch_utils.ops import PADDINGS
from torch_utils.precision import PRECISIONS
from training.gan.augment import AUGPIPES
from training.gan.losses import LOSSES
from training.gan.names_elsewhere import CONFIGS
from training.gan.presets import AUTO, FIXED_P, LOSS_SETTINGS, PRESETS
from training.run.options import (
    AUGMENTATION,
    DATA,
    GROWING,
    LENGTH,
    NETWORKS,
    RECIPE,
    REQUIRED,
    RUN,
    SIDES,
    RunConfig,
    number_format,
    option,
    tracker,
)


def _within(name: str) -> dict[str, int]:
    """A file from elsewhere must not ask for a network that nobody could build."""
    least, most = LIMITS[name]
    return dict(min=least, max=most)


def check_options(modulation: str, options: dict[str, Any]) -> None:
    """`InputError` for names, types and values that this modulation has not."""
    types = option_types(modulation)
    for name, value in options.items():
        found = f"--modulation-options {name}={value!r}"
        if name not in types:
            raise InputError(f"{found}: {modulation} has {', '.join(types)}")
        kinds = get_args(types[name]) or (types[name],)
        if type(value) not in kinds and not (type(value) is int and float in kinds):
            raise InputError(f"{found}: wanted {' or '.join('none' if k is NoneType else k.__name__ for k in kinds)}")
    try:
        with torch.device("meta"):  # takes no memory and no random numbers
            MODULATIONS[modulation](8, 8, 9, **options)
    except ValueError as error:
        raise InputError(f"--modulation-options: {error}") from None


@dataclass(frozen=True)
class TrainingConfig(RunConfig):
    """Options after presets and defaults have been resolved. Plain values only: it is written as JSON."""

    data: str = option(REQUIRED, DATA, "folder, zip or URL of images; needed unless --resume RUN_DIR has it", path=True)
    cond: bool = option(False, DATA, "condition on labels: of dataset.json, metadata.csv, or a folder for each class")
    mirror: bool = option(False, DATA, "add the images flipped left to right")
    subset: int | None = option(None, DATA, "train on this many of the images", min=1, shown="all")
    skip_bad: bool = option(False, DATA, "leave out images that cannot be read")
    workers: int = option(2, DATA, "processes that read images that are not in memory", min=0, max=1024)
    threads: int | None = option(
        None, RUN, "of the CPU, for all processes", min=1, max=1024, shown="cores that no other training run has"
    )  # another number may round otherwise

    modulation: str = option("adaconv", NETWORKS, "how styles act on feature maps", choices=MODULATIONS)
    z_dim: int = option(512, None, "length of the latent z", **_within("z_dim"))
    style_depth: int = option(64, None, "s_d of the descriptor [s_d, 3, 3]", **_within("style_depth"))
    mapping_layers: int = option(2, None, "layers of the mapping network", **_within("mapping_layers"))
    modulation_options: dict | None = option(
        None, NETWORKS, "further arguments of the modulation, such as kernel_size=1,parts=spatial", shown="the preset's, if any"
    )
    padding: str = option("zeros", None, "beyond the borders of maps that predicted kernels act on", choices=PADDINGS)
    noise: bool = option(True, None, "noise in every layer of the generator")
    channel_base: int = option(
        16384, NETWORKS, "widths: min(cbase / r, cmax) channels at resolution r", name="cbase", **_within("channel_base")
    )
    channel_max: int = option(512, NETWORKS, "most channels of a layer", name="cmax", **_within("channel_max"))
    d_channel_base: int | None = option(
        None, NETWORKS, "--cbase of the discriminator", name="d-cbase", shown="that of the generator", **_within("channel_base")
    )

    projected: float = option(
        0.0, NETWORKS, "weight of a second discriminator, which sees features of EfficientNet-Lite0; 1 is usual", min=0
    )
    projected_gamma: float = option(5.0, NETWORKS, "its --gamma: weight of R1 and R2 by those features", min=0)

    loss: str = option("relativistic", RECIPE, "R3GAN's, or StyleGAN2's", choices=LOSSES)
    batch: int = option(32, RECIPE, "images per step, over all processes", min=1, max=2**16)
    batch_gpu: int | None = option(
        None, RECIPE, "images of a process at once, to save memory", min=1, max=2**16, shown="its share of the batch"
    )
    precision: str = number_format(PRECISIONS)
    glr: float = option(0.002, RECIPE, "learning rate of the generator", above=0)
    dlr: float = option(0.002, RECIPE, "learning rate of the discriminator", above=0)
    lr_warmup_kimg: float = option(0, RECIPE, "kimg in which both learning rates rise from 0", min=0, max=1e9)
    lr_decay_kimg: float | None = option(
        None, RECIPE, "after so many kimg they fall as 1 / √images", min=1e-6, max=1e9, shown="never"
    )
    lr_end: float = option(1.0, RECIPE, "what is left of them after --ramp-kimg, as a factor", min=0)
    forced_norm: bool = option(False, RECIPE, "weights keep their magnitude, and only their direction learns")
    beta2: float = option(0.99, RECIPE, "of Adam; beta1 is 0", min=0, below=1)
    beta2_end: float | None = option(None, RECIPE, "beta2 after --ramp-kimg", min=0, below=1, shown="--beta2")
    gamma: float = option(1.0, RECIPE, "weight of R1 (and of R2, if relativistic)", min=0)
    gamma_end: float | None = option(None, RECIPE, "gamma after --ramp-kimg", min=0, shown="--gamma")
    ramp_kimg: float = option(
        200, RECIPE, "kimg of the half cosine in which options move to their -end, where one is given", min=1e-6, max=1e9
    )
    reg_interval: int = option(8, None, "R1 and R2 are added to every n-th step's loss, n times as strong", min=1)
    pl_weight: float = option(
        0.0, RECIPE, "weight of path-length regularisation; StyleGAN2 has 2", min=0, shown="by preset and loss"
    )
    pl_interval: int = option(4, None, "likewise, of path lengths", min=1)
    style_mixing: float = option(
        0.0, RECIPE, "share of images with two styles; StyleGAN2 has 0.9", min=0, max=1, shown="by preset and loss"
    )
    freezed: int = option(
        0, NETWORKS, "blocks of a resumed run's discriminator of pixels, from the image on, that learn no more", min=0
    )
    ema_kimg: float = option(10, None, "half-life of the averaged generator", min=0)
    ema_rampup: float = option(0.05, None, "the half-life is at most this part of the images seen", min=0)

    aug: str = option("noaug", AUGMENTATION, "augment what the discriminator sees", choices=("noaug", "fixed", "ada"))
    p: float = option(
        0.0,
        AUGMENTATION,
        "probability of each transformation: throughout with --aug fixed, at the start with ada",
        min=0,
        max=1,
        shown="0.2 with fixed, 0 with ada",
    )
    p_end: float | None = option(None, AUGMENTATION, "p after --ramp-kimg, with --aug fixed", min=0, max=1, shown="--p")
    target: float = option(
        0.6,
        AUGMENTATION,
        "r_t that ada aims at: mean sign of the discriminator's logits for training images",
        min=-1,
        max=1,
        shown="0.77, with --loss logistic 0.6",
    )
    augpipe: str = option("bgc", AUGMENTATION, "which transformations", choices=AUGPIPES)
    ada_kimg: float = option(500, AUGMENTATION, "kimg in which ada may move p from 0 to 1", min=1e-6)

    grow: bool = option(False, GROWING, "begin with small images and fade larger ones in")
    grow_from: int = option(8, GROWING, "side of the first images", min=4)
    grow_kimg: float = option(600, GROWING, "kimg of each size, and of fading in the next", min=1e-6)

    cfg: str = option(
        AUTO,
        LENGTH,
        "preset, which the other options override (auto: by the size of images on an NVIDIA GPU, elsewhere small); "
        "--cfg NAME --help shows its numbers",
        choices=PRESETS,
        hints=CONFIGS,
    )
    kimg: float = option(25000, LENGTH, "length, in thousands of images seen", min=1e-6, max=1e9)
    tick: float = option(4, RUN, "kimg between two log lines", min=1e-6, max=1e9)
    snap: int = option(50, RUN, "ticks between two snapshots", min=1)
    save_every: float = option(15, RUN, "minutes between two saved states, where no snapshot comes sooner", above=0)
    track: str = tracker()
    posthoc_ema: bool = option(False, RUN, "keep averages from which scripts/ema.py makes one of any width afterwards")
    metrics: tuple[str, ...] = option((), RUN, "scores at each snapshot: NAME,… or none")
    seed: int = option(0, RUN, "of everything random", min=0, max=2**32 - 1)
    gpus: int = option(1, RUN, "number of processes, one per GPU", min=1, max=1024)
    run: str = option("", None, "fingerprint of the options and images that it was begun with, as its states have it")
    warm_start: bool = option(False, None, "begun from a network, by --resume SNAPSHOT")
    features_seen: tuple[str, ...] = option((), None, "by the training of that network: scores on these are not independent")

    BEFORE = {"padding": "replicate"}
    FOR_CPUS = "small"

    @property
    def penalises(self) -> bool:
        """Whether some steps of the discriminator have penalties."""
        return self.gamma > 0 or (self.projected > 0 and self.projected_gamma > 0)

    @property
    def seen(self) -> tuple[str, ...]:
        """Networks whose features training looks at: scores on these are not independent."""
        return tuple(sorted({*self.features_seen, *([SEEN] if self.projected else [])}))

    def going_with(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """With another loss or augmentation, what is its default, in place of what was that of the former."""
        before = _defaults_by_choice(self.cfg, self.loss, self.aug)
        after = _defaults_by_choice(self.cfg, given.get("loss", self.loss), given.get("aug", self.aug))
        return {name: value for name, value in after.items() if getattr(self, name) == before[name]}


def _defaults_by_choice(cfg: str, loss: str, aug: str) -> dict[str, Any]:
    """The options of a new run that depend on its loss and augmentation; none of them goes by the size of its images."""
    values = resolve(cfg, SIDES[0], dict(loss=loss, aug=aug))
    return {name: values.get(name, getattr(TrainingConfig, name)) for name in (*LOSS_SETTINGS[loss], "p")}


def resolve(cfg: str, side: int, given: dict[str, Any]) -> dict[str, Any]:
    """Options given, over the preset for images with this longer side, over what goes with the loss and --aug fixed.

    `InputError` for options that the modulation has not.
    """
    preset, given = PRESETS[cfg](side), {name: value for name, value in given.items() if value is not None}
    modulation, options = given.get("modulation"), preset.get("modulation_options") or {}
    if modulation not in (None, preset.get("modulation", TrainingConfig.modulation)):
        preset.pop("modulation_options", None)
        options = {}
    values = preset | given
    if given.get("modulation_options"):
        values["modulation_options"] = options | given["modulation_options"]
        check_options(values.get("modulation", TrainingConfig.modulation), given["modulation_options"])
    if values.get("aug") == "fixed":
        values.setdefault("p", FIXED_P)
    return LOSS_SETTINGS[values.get("loss", TrainingConfig.loss)] | values
