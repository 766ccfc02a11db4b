"""Options that move during a run: functions of the images seen alone, so that neither resuming nor --kimg changes them."""

from typing import Any

from training.gan.config import TrainingConfig
from training.run.schedule import cosine


def warmup(nimg: int, kimg: float) -> float:
    """Rises from 0 to 1 in `kimg` thousand images; 1 throughout where that is 0."""
    return min(nimg / (1000 * kimg), 1) if kimg else 1.0


def inverse_sqrt(nimg: int, kimg: float | None) -> float:
    """1 / √max(t / t_ref, 1): falls after `kimg` thousand images (EDM2: Karras et al. 2024, section 2); None: never."""
    return max(nimg / (1000 * kimg), 1) ** -0.5 if kimg else 1.0


def scheduled(config: TrainingConfig, nimg: int) -> dict[str, Any]:
    """The options that a schedule moves, as they are for the step after `nimg` images; none of those that stay."""
    values = {}
    if config.lr_warmup_kimg or config.lr_decay_kimg or config.lr_end != 1:
        factor = cosine(nimg, 1.0, config.lr_end, config.ramp_kimg)
        factor *= warmup(nimg, config.lr_warmup_kimg) * inverse_sqrt(nimg, config.lr_decay_kimg)
        values |= dict(glr=factor * config.glr, dlr=factor * config.dlr)
    for name in ("gamma", "beta2", *(["p"] if config.aug == "fixed" else [])):
        if (end := getattr(config, f"{name}_end")) is not None:
            values[name] = cosine(nimg, getattr(config, name), end, config.ramp_kimg)
    return values
