"""All that a training is determined by, and the presets of `--cfg`."""

from dataclasses import asdict, dataclass, fields
from typing import Any

from torch_utils.files import InputError


@dataclass(frozen=True)
class TrainingConfig:
    """Options after presets and defaults have been resolved. Plain values only: it is written as JSON."""

    # data
    data: str  # folder or zip
    cond: bool = False  # use the labels of dataset.json
    mirror: bool = False  # add flipped copies
    subset: int | None = None  # train on this many images
    workers: int = 2  # processes that read images

    # networks
    modulation: str = "adaconv"
    z_dim: int = 512
    style_depth: int = 64  # s_d of the descriptor [s_d, 3, 3]
    mapping_layers: int = 2
    modulation_options: dict | None = None
    noise: bool = True  # in every layer of the generator
    channel_base: int = 16384  # width of the generator at resolution r: min(channel_base / r, channel_max)
    channel_max: int = 512
    d_channel_base: int | None = None  # the discriminator's channel_base, where it is another

    # recipe
    batch: int = 32  # over all processes
    glr: float = 0.002
    dlr: float = 0.002
    beta2: float = 0.99  # of Adam; beta1 is 0
    gamma: float = 1.0  # weight of R1 and R2
    reg_interval: int = 8  # R1 and R2 at every so many steps
    ema_kimg: float = 10  # half-life of the averaged generator
    ema_rampup: float = 0.05  # the half-life is at most this part of the images seen

    # schedule of the run
    kimg: float = 25000
    tick: float = 4  # kimg between two lines of the log
    snap: int = 50  # ticks between two snapshots
    metrics: tuple[str, ...] = ()
    seed: int = 0
    cfg: str = "auto"
    gpus: int = 1

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"metrics": list(self.metrics)}

    @staticmethod
    def from_json(values: dict[str, Any]) -> "TrainingConfig":
        """`InputError` for a table that is not ours."""
        names = {field.name for field in fields(TrainingConfig)}
        if not isinstance(values, dict) or "data" not in values or set(values) - names:
            raise InputError("training_options.json is not a table of training options")
        for field in fields(TrainingConfig):
            value, like = values.get(field.name), field.default
            if value is not None and isinstance(like, (int, float, str)) and not isinstance(value, (type(like), int, float)):
                raise InputError(f"training_options.json: found {field.name} = {value!r}, wanted something like {like!r}")
        if not isinstance(values.get("metrics", []), (list, tuple)):
            raise InputError("training_options.json: found metrics that are no list")
        return TrainingConfig(**values | {"metrics": tuple(values.get("metrics", ()))})


def auto_preset(resolution: int) -> dict[str, Any]:
    """Settings by image size.

    Widths, learning rate, EMA and the form of gamma follow StyleGAN2's configurations by resolution (Karras et al. 2020),
    where gamma is proportional to resolution² / batch.
    """
    batch = max(8, min(32, 4096 // resolution))
    return dict(
        batch=batch,
        channel_base=32768 if resolution >= 512 else 16384,
        glr=0.002 if resolution >= 1024 else 0.0025,
        dlr=0.002 if resolution >= 1024 else 0.0025,
        gamma=max(0.0002 * resolution**2 / batch, 0.1),
        ema_kimg=batch * 10 / 32,
        metrics=("fid50k_full",),
    )


def tiny_preset(resolution: int) -> dict[str, Any]:
    """Narrow networks that learn something visible in minutes on two CPU cores."""
    return dict(
        batch=8,  # steps count for more than images so early in a training
        z_dim=128,
        style_depth=16,
        channel_base=8 * resolution,
        channel_max=128,
        d_channel_base=16 * resolution,  # twice the generator's width: with a narrower one it draws patterns and stays there
        glr=0.001,
        dlr=0.0016,
        gamma=1.0,
        reg_interval=4,
        ema_kimg=1,
        kimg=24,
        tick=1,
        snap=6,
        workers=0,
        metrics=("fd1k_full-efficientnet_lite0",),
    )


PRESETS = {"auto": auto_preset, "tiny": tiny_preset}
