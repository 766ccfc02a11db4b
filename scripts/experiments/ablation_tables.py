"""The tables of the ablation: what each row changes in the `tiny` preset, and what its run is called."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

from training.gan.config import TrainingConfig, resolve
from training.gan.state import TrainingState


def adaconv(**options) -> dict:
    return dict(modulation="adaconv", modulation_options=options or None)


def with_lr(lr: float, modulation: str, **more) -> dict:
    return dict(modulation=modulation, modulation_options={"lr_multiplier": lr}, **more)


adain, demod = (functools.partial(with_lr, modulation=name) for name in ("adain", "demod"))


STYLEGAN2_LOSS: dict[str, Any] = dict(loss="logistic", pl_weight=2.0, style_mixing=0.9)

# table -> row -> what differs from the `tiny` preset. An empty row is the preset itself.
TABLES: dict[str, dict[str, dict]] = {
    "style learning rate": {
        "adaconv, style lr ×1": adaconv(lr_multiplier=1.0),
        "adaconv, style lr ×4": dict(),
        "adaconv, style lr ×16": adaconv(lr_multiplier=16.0),
        "adaconv, style lr ×64": adaconv(lr_multiplier=64.0),
        **{f"adain, style lr ×{lr}": adain(float(lr)) for lr in (1, 4, 16, 64, 256)},
        **{f"demod, style lr ×{lr}": demod(float(lr)) for lr in (1, 4, 16, 64, 256)},
    },
    "modulation": {  # each at its best style learning rate
        "adaconv": dict(),
        "adain": adain(64.0),
        "demod": demod(64.0),
    },
    "same parameters": {
        "adaconv": dict(),
        "adain, wider": adain(64.0, channel_base=488, channel_max=244),
        "demod, wider": demod(64.0, channel_base=536, channel_max=268),
    },
    "initialisation": {
        "identity 0.9": dict(),
        "plain (identity 0)": adaconv(identity=0.0),
        "identity 0.5": adaconv(identity=0.5),
        "demodulated kernels": adaconv(demodulate=True),
        "demodulated kernels, plain": adaconv(demodulate=True, identity=0.0),
    },
    "kernel size": {"k = 3": dict(), "k = 1": adaconv(kernel_size=1), "k = 5": adaconv(kernel_size=5)},
    "groups": {
        "paper's schedule (here 8 channels a group)": dict(),
        "1 channel a group": adaconv(per_group=1),
        "2 channels a group": adaconv(per_group=2),
        "4 channels a group": adaconv(per_group=4),
    },
    "descriptor": {"s_d = 16": dict(), "s_d = 4": dict(style_depth=4), "s_d = 64": dict(style_depth=64)},
    "noise": {"noise": dict(), "no noise": dict(noise=False)},
    "loss": {
        "relativistic": dict(),
        "logistic": dict(loss="logistic"),
        "logistic, path lengths, mixing": STYLEGAN2_LOSS,
        "logistic, path lengths, mixing, demod (StyleGAN2)": demod(1.0, **STYLEGAN2_LOSS),
        "relativistic, demod": demod(1.0),
    },
    "few images": {
        "1000 images": dict(subset=1000),
        "1000 images, ada": dict(subset=1000, aug="ada"),
        "1000 images, ada to signs of 0.3": dict(subset=1000, aug="ada", target=0.3, ada_kimg=10.0),
        "all images": dict(),
    },
    "growing": {
        "all levels from the start": dict(),
        "grown from 8×8, 1 kimg a phase": dict(grow=True, grow_kimg=1.0),
        "grown from 8×8, 2 kimg a phase": dict(grow=True, grow_kimg=2.0),
    },
}


def configure(
    changes: dict, data: Path, resolution: int, kimg: float, snap: int, seed: int, cfg: str = "tiny"
) -> TrainingConfig:
    """A preset with a row's changes."""
    values = resolve(cfg, resolution, dict(kimg=kimg, snap=snap, seed=seed, cfg=cfg) | changes)
    return TrainingConfig(data=str(data.absolute()), **values)


def run_name(config: TrainingConfig) -> str:
    """A folder's name with all that differs between runs, so that rows that are equal in several tables are run once."""
    preset = TrainingConfig(data=config.data, **resolve(config.cfg, 32, {}))
    skip = ("data", "cfg", "kimg", "snap", "seed", "metrics", "modulation_options", "channel_base", "d_channel_base")
    changed = {f.name: getattr(config, f.name) for f in dataclasses.fields(config) if f.name not in skip}
    changed = {name: value for name, value in changed.items() if value != getattr(preset, name)}
    changed |= config.modulation_options or {}
    traits = [f"{name}={value}" for name, value in sorted(changed.items()) if name != "modulation"]
    return "-".join([Path(config.data).stem, config.modulation, *traits, f"seed{config.seed}"])


def settings(options: dict) -> dict:
    """Of `training_options.json`, what the result depends on; what this version knows and an older one did not is left out."""
    free = {"kimg", "snap", "data"}
    if options.get("aug", "noaug") == "noaug":
        free |= {"p", "target", "augpipe", "ada_kimg"}
    if not options.get("grow"):
        free |= {"grow_from", "grow_kimg"}
    defaults = TrainingConfig(data="").to_json()
    return {name: value for name, value in options.items() if name not in free and value != defaults.get(name)}


def parameters(config: TrainingConfig, resolution: int, channels: int) -> int:
    return sum(p.numel() for p in TrainingState(config, resolution, channels, 0).G.parameters())
