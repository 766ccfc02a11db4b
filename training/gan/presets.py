"""The presets of `--cfg`: what each sets in place of the defaults of `TrainingConfig`, by the longer side of the images."""

from typing import Any

import torch

AUTO = "auto"

# What goes with a loss, unless a preset or the user says otherwise.
LOSS_SETTINGS: dict[str, dict[str, Any]] = {
    # R3GAN (Huang et al. 2024): R1, R2, nothing else. The target is 0.6 of logistic in other terms, see ada.py
    "relativistic": dict(pl_weight=0.0, style_mixing=0.0, target=0.77),
    "logistic": dict(pl_weight=2.0, style_mixing=0.9, target=0.6),  # StyleGAN2 (Karras et al. 2020, appendix B)
}
FIXED_P = 0.2  # of --aug fixed, likewise


def auto_choice(device: torch.device) -> str:
    """The preset that `--cfg auto` stands for: its own numbers are for GPUs, and would take a CPU months."""
    return AUTO if device.type == "cuda" else "small"


def auto_preset(side: int) -> dict[str, Any]:
    """Settings by image size.

    Widths, learning rate, EMA and the form of gamma follow StyleGAN2-ADA's rules by resolution, its `auto` configuration
    (Karras et al. 2020b), where gamma is proportional to resolution² / batch.
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
    """Narrow networks that learn something visible in minutes on two CPU cores: docs/ablation-appendix.md has the numbers."""
    return dict(
        batch=8,  # steps count for more than images so early in a training run
        z_dim=128,
        style_depth=16,
        channel_base=8 * side,
        channel_max=128,
        d_channel_base=16 * side,  # twice the generator's width: with a narrower one it draws patterns and stays there
        glr=0.001,
        dlr=0.0016,
        gamma=1.0,
        pl_weight=0.0,  # with the logistic loss, too, as in StyleGAN2-ADA's CIFAR-10: docs/ablation-appendix.md
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


def small_preset(side: int) -> dict[str, Any]:
    """Pictures that a person can name after an hour or two of one CPU core: 32 channels at the images' own size, a
    discriminator of half that width and one that sees features, weights of fixed magnitude, and rates that fall to a tenth.

    `pretrained/emoji32` was made with it, in 160 kimg; docs/ablation-appendix.md has what was tried.
    """
    return tiny_preset(side) | dict(
        batch=16,
        z_dim=256,
        style_depth=32,
        modulation_options=dict(demodulate=True),  # of AdaConv; another modulation has its own defaults
        channel_base=32 * side,
        channel_max=256,
        d_channel_base=16 * side,
        projected=1.0,
        forced_norm=True,
        glr=0.003,
        dlr=0.004,
        lr_end=0.1,
        ramp_kimg=200,
        reg_interval=8,
        ema_kimg=5,
        aug="ada",
        ada_kimg=100,
        grow_kimg=20,
        kimg=200,
        snap=20,
        metrics=("fd1k_full-vgg16", "fd1k_full-efficientnet_lite0"),  # training has not looked at the former's features
    )


def demo_preset(side: int) -> dict[str, Any]:
    """`small` for ten minutes, too few to learn images by heart: nothing is augmented, and rates are twice as high."""
    return small_preset(side) | dict(aug="noaug", glr=0.006, dlr=0.008, ramp_kimg=48, kimg=48, snap=24)


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
    AUTO: auto_preset,
    "tiny": tiny_preset,
    "demo": demo_preset,
    "small": small_preset,
    "fashion32": fashion32_preset,
    "cifar": cifar_preset,
    "ffhq64": ffhq64_preset,
    "ffhq256": ffhq256_preset,
    "stylegan2": stylegan2_preset,
}
