"""All that the training of a style transfer is determined by, and its presets."""

import math
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from networks.style_transfer.feature_losses import STYLE_LOSSES
from networks.style_transfer.network import PAPER_STYLE_SIDE, TRANSFERS
from networks.style_transfer.vgg import CONVOLUTIONS
from torch_utils.precision import UNSCALED
from training.run.options import checked

DECODER_STARTS = ("random", "mirrored")  # the latter: the encoder's layers, backwards


@dataclass(frozen=True)
class StyleConfig:
    """Options after presets have been resolved. Plain values only: it is written as JSON."""

    # data
    content: str  # folder or zip
    style: str
    crop: int = 256  # side of the squares that are trained on
    style_crop: int | None = None  # likewise, of the styles; None: the same
    resize: int = 512  # shorter side of the images that they are cut from
    hold_out_content: int = 8  # images that are not trained on, the last by name: pictures and held-out losses are made of them
    hold_out_style: int = 4
    skip_bad: bool = False
    workers: int = 2
    threads: int | None = None  # of the CPU; another number may round otherwise. None: as PyTorch likes

    # networks
    transfer: str = "adaconv"
    encoder: str = "vgg19"
    encoder_weights: str | None = None  # file; None: fetched
    style_depth: int = 512  # s_d
    style_width: int = 512  # channels of the style encoder
    adaptive: bool = False  # style images of any size
    kernel_size: int = 3
    decoder_start: str = "random"  # one of DECODER_STARTS

    # recipe
    batch: int = 8
    precision: str = "fp32"  # one of precision.UNSCALED
    lr: float = 0.002
    beta2: float = 0.99
    content_weight: float = 1.0
    style_weight: float = 10.0
    style_ramp: float = 0.0  # thousand contents over which the style weight rises from 0: first learn to draw
    style_loss: str = "moments"  # one of STYLE_LOSSES
    identity_weight: float = 0.0  # of the pixels' difference when an image is stylised with itself
    # schedule of the run
    kimg: float = 1280  # thousand content images: 160,000 steps of 8
    tick: float = 1
    snap: int = 20
    save_every: float = 15
    seed: int = 0
    cfg: str = "paper"

    @property
    def metrics(self) -> tuple[str, ...]:
        return "style_loss", "content_loss"

    @property
    def style_side(self) -> int:
        return self.style_crop or self.crop

    def style_weight_at(self, nimg: int) -> float:
        return self.style_weight * min(1, nimg / (1000 * self.style_ramp)) if self.style_ramp else self.style_weight

    BEFORE = {"precision": "fp32"}  # what runs had that were begun before there was a choice

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(values: Any, where: str | Path = "training_options.json") -> "StyleConfig":
        """`InputError`, which names the place, for what no training has."""
        checked(StyleConfig, values, CHOICES, RANGES, where)
        return StyleConfig(**values)


def paper_preset() -> dict[str, Any]:
    """Chandran et al. 2021, section 3.3: VGG-19, s_d = 512, style images of 256×256 cut from 512, batches of 8. The learning
    rate is for equalised layers, where it is relative to weights of unit variance."""
    return dict(style_depth=512, style_width=512, adaptive=False, crop=PAPER_STYLE_SIDE, resize=512)


def small_preset() -> dict[str, Any]:
    """For a CPU and an hour: a tenth of the parameters, squares of 64 pixels, style images of any size, and a decoder that
    can draw before it learns to stylise; docs/style.md says why. What pretrained/adaconv-style.safetensors was trained with is
    in its card."""
    return dict(
        encoder="vgg16",
        style_depth=32,
        style_width=128,
        adaptive=True,
        decoder_start="mirrored",
        crop=64,
        style_crop=256,  # as they are described in use
        resize=256,
        batch=2,
        lr=0.005,
        style_weight=1.5,
        style_ramp=4,
        identity_weight=50.0,
        kimg=10,
        tick=0.1,
        snap=5,
        workers=0,
    )


PRESETS = {"paper": paper_preset, "small": small_preset}
CHOICES = {
    "transfer": TRANSFERS,
    "encoder": tuple(CONVOLUTIONS),
    "style_loss": tuple(STYLE_LOSSES),
    "kernel_size": (1, 3, 5),
    "decoder_start": DECODER_STARTS,
    "precision": UNSCALED,
    "cfg": tuple(PRESETS),
}
ABOVE_0, BELOW_1, FINITE, MANY = math.nextafter(0, 1), math.nextafter(1, 0), sys.float_info.max, 2**31
RANGES = {
    "crop": (32, 4096),
    "style_crop": (32, 4096),
    "resize": (32, 8192),
    "hold_out_content": (1, 1000),
    "hold_out_style": (1, 1000),
    "workers": (0, 1024),
    "threads": (1, 1024),
    "style_depth": (1, 4096),
    "style_width": (1, 4096),
    "batch": (1, 2**16),
    "lr": (ABOVE_0, FINITE),
    "beta2": (0, BELOW_1),
    "content_weight": (0, FINITE),
    "style_weight": (0, FINITE),
    "style_ramp": (0, 1e9),
    "identity_weight": (0, FINITE),
    "kimg": (1e-6, 1e9),
    "tick": (1e-6, 1e9),
    "snap": (1, MANY),
    "save_every": (ABOVE_0, FINITE),
    "seed": (0, 2**32 - 1),
}
