"""All that the training of a style transfer is determined by, and its presets."""

from dataclasses import dataclass
from typing import Any

import torch

from networks.style_transfer.feature_losses import CONTENT_LOSSES, STYLE_LOSSES
from networks.style_transfer.network import PAPER_STYLE_SIDE, STATISTICS, TRANSFERS
from networks.style_transfer.peers import DEFAULT_STEPS, PEERS
from networks.style_transfer.vgg import CONVOLUTIONS
from torch_utils.ops import PADDINGS
from torch_utils.precision import UNSCALED
from training.run.options import DATA, LENGTH, NETWORKS, RECIPE, REQUIRED, RUN, RunConfig, number_format, option, tracker
from training.run.schedule import cosine

UNTRAINED = {
    name: f"there is nothing to train: python stylize.py --transfer {name} --network NETWORK, "
    + ("of any transfer" if name in DEFAULT_STEPS else "one of --transfer adain")
    for name in PEERS
}
DECODER_STARTS = ("random", "mirrored")  # the latter: the encoder's layers, backwards


def paper_preset() -> dict[str, Any]:
    """Chandran et al. 2021, section 3.3: VGG-19, s_d = 512, style images of 256×256 cut from 512, batches of 8. The learning
    rate is for equalised layers, where it is relative to weights of unit variance."""
    return dict(style_depth=512, style_width=512, adaptive=False, crop=PAPER_STYLE_SIDE, resize=512)


def small_preset() -> dict[str, Any]:
    """For an hour of a CPU core: a tenth of the parameters, squares of 128 pixels, style images of any size, statistics that
    need not be learned, and a decoder that can draw before it learns to stylise. docs/style.md says why."""
    return dict(
        encoder="vgg16",
        encoder_padding="reflect",
        style_depth=32,
        style_width=96,
        adaptive=True,
        statistics="exact",
        identity=1.0,
        padding="reflect",
        noise=True,
        decoder_start="mirrored",
        crop=128,
        style_crop=256,  # as they are described in use
        resize=256,
        content_augment=True,
        style_augment=True,
        balance_sources=True,
        batch=4,
        lr=0.003,
        lr_end=0.05,
        ramp_kimg=13,
        content_loss="normalized",
        content_weight=10.0,
        style_loss="structure",
        style_weight=2.0,
        style_ramp=1,
        identity_weight=50.0,
        kimg=13,
        tick=0.2,
        snap=5,
        workers=0,
    )


AUTO = "auto"
PRESETS = {"paper": paper_preset, "small": small_preset}


def auto_choice(device: torch.device) -> str:
    """The preset that `--cfg auto` stands for: the paper's would take a CPU months."""
    return "paper" if device.type == "cuda" else "small"


@dataclass(frozen=True)
class StyleConfig(RunConfig):
    """Options after presets have been resolved. Plain values only: it is written as JSON."""

    content: str = option(REQUIRED, DATA, "folder or zip of images, e.g. COCO", path=True)
    style: str = option(REQUIRED, DATA, "folder or zip of images, e.g. WikiArt", path=True)
    crop: int = option(256, DATA, "side of the squares that are trained on", min=32, max=4096)
    style_crop: int | None = option(None, DATA, "likewise, of the styles", min=32, max=4096, shown="the same")
    resize: int = option(512, DATA, "shorter side of the images that squares are cut from", min=32, max=8192)
    hold_out_content: int = option(
        8, DATA, "images, the last by name, that are not trained on: pictures and losses are made of them", min=0, max=1000
    )
    hold_out_style: int = option(4, DATA, "likewise, of the styles", min=0, max=1000)
    hold_out_content_folders: tuple[str, ...] = option((), DATA, "sub-folders that are not trained on either, A,B,…")
    hold_out_style_folders: tuple[str, ...] = option((), DATA, "likewise, of the styles")
    balance_sources: bool = option(False, DATA, "show sub-folders by the square root of the number of their images")
    content_augment: bool = option(False, DATA, "cut contents at any scale, half of them mirrored")
    style_augment: bool = option(
        False, DATA, "cut styles at any scale, turn, mirror, colour and mix them, and draw some: styles.png shows them"
    )
    skip_bad: bool = option(False, DATA, "leave out images that cannot be read")
    workers: int = option(
        2, DATA, "processes that read contents that are not in memory, and as many for styles", min=0, max=1024
    )
    threads: int | None = option(
        None, RUN, "of the CPU", min=1, max=1024, shown="cores that no other training run has"
    )  # another number may round otherwise

    transfer: str = option(
        "adaconv",
        NETWORKS,
        "predicted kernels; or a scale and a shift, computed or predicted",
        choices=TRANSFERS,
        hints=UNTRAINED,
    )
    encoder: str = option("vgg19", NETWORKS, "VGG whose features describe contents and styles", choices=CONVOLUTIONS)
    encoder_weights: str | None = option(
        None, NETWORKS, "file with its weights, as torchvision has them", path=True, shown="pretrained/, or fetched"
    )
    style_depth: int = option(512, NETWORKS, "s_d of the descriptor", min=1, max=4096)
    style_width: int = option(512, NETWORKS, "channels of the style encoder", min=1, max=4096)
    adaptive: bool = option(False, NETWORKS, f"style images of any size, not only {PAPER_STYLE_SIDE}×{PAPER_STYLE_SIDE}")
    kernel_size: int = option(3, NETWORKS, "of the predicted kernels", choices=(1, 3, 5))
    statistics: str = option(
        "learned",
        NETWORKS,
        "mean and spread of the map that a style modulates first: what the predictors make of them, or exactly the style's",
        choices=STATISTICS,
    )
    identity: float = option(
        0.9, NETWORKS, "share of the first kernels that no style changes; 1: all begin as the identity", min=0, max=1
    )
    padding: str = option("replicate", NETWORKS, "what lies beyond the borders of the decoder's maps", choices=PADDINGS)
    encoder_padding: str = option("zeros", NETWORKS, "likewise, of the encoder's", choices=PADDINGS)
    noise: bool = option(
        False, NETWORKS, "noise beside the decoder's maps, of which kernels make strokes where contents are flat"
    )
    decoder_start: str = option(
        "random", NETWORKS, "the decoder's first weights; mirrored: the encoder's layers, backwards", choices=DECODER_STARTS
    )

    batch: int = option(8, RECIPE, "pairs per step", min=1, max=2**16)
    precision: str = number_format(UNSCALED)
    lr: float = option(0.002, RECIPE, "learning rate of Adam", above=0)
    lr_end: float = option(1.0, RECIPE, "what is left of it after --ramp-kimg, as a factor", min=0)
    ramp_kimg: float = option(
        200, RECIPE, "kimg of the half cosine in which the learning rate moves to --lr-end", min=1e-6, max=1e9
    )
    beta2: float = option(0.99, None, "of Adam", min=0, below=1)
    content_weight: float = option(1.0, RECIPE, "weight of the content loss", min=0)
    style_weight: float = option(10.0, RECIPE, "weight of the style loss", min=0)
    style_ramp: float = option(0.0, RECIPE, "kimg over which the style loss gains its weight", min=0, max=1e9)
    content_loss: str = option(
        "plain", RECIPE, "relu4_1 as it is, or without its channels' means and spreads", choices=CONTENT_LOSSES
    )
    style_loss: str = option("moments", RECIPE, "statistics that are compared", choices=STYLE_LOSSES)
    identity_weight: float = option(0.0, RECIPE, "weight of how far an image in its own style is from itself, in pixels", min=0)

    cfg: str = option(
        "paper",
        LENGTH,
        "preset, which the other options override; --cfg NAME --help shows its numbers",
        choices=PRESETS,
        auto=AUTO,
    )
    kimg: float = option(1280, LENGTH, "length, in thousands of contents seen", min=1e-6, max=1e9)  # 160,000 steps of 8
    tick: float = option(1, RUN, "kimg between two log lines", min=1e-6, max=1e9)
    snap: int = option(20, RUN, "ticks between two snapshots", min=1)
    save_every: float = option(15, RUN, "minutes between two saved states, where no snapshot comes sooner", above=0)
    track: str = tracker()
    seed: int = option(0, RUN, "of everything random", min=0, max=2**32 - 1)
    run: str = option("", None, "fingerprint of the options and images that it was begun with, as its states have it")

    squares_apart: bool = option(
        True, None, "squares of contents and of styles are cut by different numbers; at first, runs cut both at the same place"
    )

    BEFORE = {"precision": "fp32", "squares_apart": False}
    FOR_CPUS = "small"

    @property
    def metrics(self) -> tuple[str, ...]:
        return "style_loss", "content_loss"

    @property
    def style_side(self) -> int:
        return self.style_crop or self.crop

    @property
    def order_seeds(self) -> tuple[int, int]:
        """Of the order of contents, and of that of styles: the style of a content is another at each epoch."""
        return 2 * self.seed, 2 * self.seed + 1

    def lr_at(self, nimg: int) -> float:
        return cosine(nimg, self.lr, self.lr * self.lr_end, self.ramp_kimg)

    def style_weight_at(self, nimg: int) -> float:
        return self.style_weight * min(1, nimg / (1000 * self.style_ramp)) if self.style_ramp else self.style_weight
