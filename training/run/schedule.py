"""How an option moves during a run."""

import math


def cosine(nimg: int, start: float, end: float, kimg: float) -> float:
    """`start` at the first image, `end` from `kimg` thousand on, half a cosine between them (R3GAN: Huang et al. 2024)."""
    part = min(nimg / (1000 * kimg), 1)
    return end + (start - end) * (1 + math.cos(math.pi * part)) / 2
