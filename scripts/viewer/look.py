"""Everything that decides what the generator's page shows, as one value."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from networks.generator import PARTS
from torch_utils.files import InputError

MAX_SEED = 2**32 - 1
MAX_PSI = 1.5  # of the slider
LONGEST = 4.0  # way along a direction, of its slider, in standard deviations
NOISE_MODES = ("const", "random", "none")


@dataclass(frozen=True)
class Look:
    """`InputError` for values that the page does not offer: a browser may send others."""

    seed: int = 0
    seed_to: int = 1
    position: float = 0  # of the way in w from `seed` (0) to `seed_to` (1)
    psi: float = 1
    cutoff: int | None = None  # layers that are truncated, from the coarsest; None: all
    label: str | None = None  # number or name of a class
    noise_mode: str = "const"
    mix_seed: int = 0  # whose style `mix_layers` have
    mix_layers: tuple[int, ...] = ()
    part_seeds: Mapping[str, int] = field(default_factory=dict)  # of generator.PARTS -> whose they are in `part_layers`
    part_layers: tuple[int, ...] = ()
    amounts: tuple[float, ...] = ()  # along each direction, in standard deviations

    def __post_init__(self):
        for seed in (self.seed, self.seed_to, self.mix_seed, *self.part_seeds.values()):
            if not isinstance(seed, int) or not 0 <= seed <= MAX_SEED:
                raise InputError(f"found seed {str(seed)[:40]}, wanted a whole number from 0 to {MAX_SEED}")
        _within("position", self.position, 0, 1)
        _within("truncation", self.psi, 0, MAX_PSI)
        for amount in self.amounts:
            _within("direction", amount, -LONGEST, LONGEST)
        if self.noise_mode not in NOISE_MODES:
            raise InputError(f"found noise {str(self.noise_mode)[:40]!r}, wanted {', '.join(NOISE_MODES)}")
        if not set(self.part_seeds) <= set(PARTS):
            raise InputError(f"found parts {', '.join(self.part_seeds)[:80]}, wanted {', '.join(PARTS)}")
        for layer in (*self.mix_layers, *self.part_layers, self.cutoff or 0):
            if not isinstance(layer, int) or layer < 0:
                raise InputError(f"found layer {str(layer)[:40]}, wanted a whole number")


def _within(name: str, value: float, low: float, high: float) -> None:
    if not isinstance(value, (int, float)) or math.isnan(value) or not low <= value <= high:
        raise InputError(f"found {name} {str(value)[:40]}, wanted a number from {low:g} to {high:g}")


def look_of(page: dict[str, Any]) -> Look:
    """From the values of the controls, by name. A number beside a slider counts as the nearest one on it, none as the usual."""
    return Look(
        seed=page["seed"],
        seed_to=page["seed_to"],
        position=_nearest(page["position"], 0, 1, 0),
        psi=_nearest(page["psi"], 0, MAX_PSI, 1),
        cutoff=None if page["cutoff"] is None else int(max(_number(page["cutoff"]), 0)),
        label=page["label"],
        noise_mode=page["noise_mode"],
        mix_seed=page["mix_seed"],
        mix_layers=_layers(page["mix_layers"]),
        part_seeds={part: page[f"{part}_seed"] for part in PARTS if page[part]},
        part_layers=_layers(page["part_layers"]),
        amounts=tuple(_nearest(page[name], -LONGEST, LONGEST, 0) for name in page if name.startswith("direction")),
    )


def _nearest(value: Any, low: float, high: float, usual: float) -> float:
    return usual if value is None else round(min(max(_number(value), low), high), 4)


def _number(value: Any) -> float:
    if not isinstance(value, (int, float)) or math.isnan(value):
        raise InputError(f"found {str(value)[:40]!r}, wanted a number")
    return value


def _layers(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(isinstance(layer, int) for layer in value):
        raise InputError(f"found layers {str(value)[:40]!r}, wanted whole numbers")
    return tuple(sorted(value))
