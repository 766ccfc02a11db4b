"""Adaptive discriminator augmentation: how strongly to augment, so that the discriminator does not overfit.

Karras et al. 2020b, "Training Generative Adversarial Networks with Limited Data", section 3.
"""

import math

import torch


def r_t(loss: str, real_logits: torch.Tensor, fake_logits: torch.Tensor) -> torch.Tensor:
    """The r_t of section 3 for one batch of logits [N, 1]: mean sign of how D rates its training images. -> [], no gradient.

    0 where D knows nothing, 1 where it is always right. A logistic loss puts the border between real and generated at 0, so
    the sign is that of D(real). A relativistic loss only defines differences (adding a constant to D changes nothing), so it is
    that of D(real) − D(fake) for the pairs that are compared, and the same D scores higher: with logits that are normal and
    equally spread on both sides, 0.6 for the first corresponds to 0.77 for the second.
    """
    if loss == "logistic":
        difference = real_logits
    elif loss == "relativistic":
        difference = real_logits - fake_logits
    else:
        raise ValueError(f"found loss {loss!r}, wanted relativistic or logistic")
    return difference.detach().float().sign().mean()


class AdaptiveStrength:
    """The p that keeps r_t at its target (section 3): raised by a fixed step where D overfits, else lowered by it."""

    def __init__(self, p: float = 0.0, target: float = 0.6, ada_kimg: float = 500, interval: int = 4):
        """p moves once in `interval` updates, by the images since then / (1000 · ada_kimg): from 0 to 1 takes `ada_kimg`."""
        if not 0 <= p <= 1 or not ada_kimg > 0 or interval < 1:
            found = f"p = {p}, ada_kimg = {ada_kimg}, interval = {interval}"
            raise ValueError(f"found {found}, wanted p in [0, 1] and the others above 0")
        self.target = target
        self.ada_kimg = ada_kimg
        self.interval = interval
        self.p = self.start = float(p)
        self.r_t_sum = 0.0  # sum over the images since p was last adjusted
        self.images = 0
        self.updates = 0

    def update(self, r_t_sum: float, images: int) -> None:
        """After a step of D: `r_t_sum` is the sum of r_t over this many images, of all processes."""
        self.r_t_sum += float(r_t_sum)
        self.images += images
        self.updates += 1
        if self.updates >= self.interval:
            excess = self.r_t_sum / max(self.images, 1) - self.target
            step = math.copysign(self.images / (self.ada_kimg * 1000), excess) if excess else 0.0
            self.p = min(max(self.p + step, 0.0), 1.0)
            self.r_t_sum, self.images, self.updates = 0.0, 0, 0

    def at_work(self) -> None:
        """Raise p from 0, with which nothing is transformed, to what is usual later: for timing."""
        self.p = max(self.p, 0.1)

    def state_dict(self) -> dict[str, float | int]:
        """What changes; the settings are options. `signs` is the name that saved states have for `r_t_sum`."""
        return {"p": self.p, "signs": self.r_t_sum, "images": self.images, "updates": self.updates, "start": self.start}

    def load_state_dict(self, values: dict) -> None:
        """p goes on from there, unless the option has changed since: then from the option."""
        values = {"start": self.start} | values  # which older states do not have
        for name, own in self.state_dict().items():
            if type(values[name]) is not type(own):
                raise ValueError(f"found {name} = {values[name]!r}")
        if not (0 <= values["p"] <= 1 and math.isfinite(values["signs"]) and min(values["images"], values["updates"]) >= 0):
            raise ValueError(f"found {values!r} of ada")
        self.r_t_sum, self.images, self.updates = (values[name] for name in ("signs", "images", "updates"))
        self.p = values["p"] if values["start"] == self.start else self.start
