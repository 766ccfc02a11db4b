"""The command that makes a picture again, byte for byte."""

import shlex
from collections.abc import Sequence
from typing import NamedTuple

from networks.generator import PARTS
from scripts.viewer.look import Look
from scripts.viewer.open_network import OpenNetwork
from torch_utils.ws_file import ws_bytes

STYLES = "styles.npz"
STYLES_BESIDE = "styles-beside.npz"  # of a second network on the page: both files may lie in one folder


class Recipe(NamedTuple):
    words: list[str]  # of the command line
    picture: str  # the file's name in `out`, where the command writes it
    noise_seed: int  # of random noise, as the command has it
    styles: bytes | None = None  # contents of the file of styles that the command reads

    @property
    def line(self) -> str:
        return shlex.join(["python", *self.words])


def recipe(network: OpenNetwork, look: Look, device: str | None = None, file: str = STYLES) -> Recipe:
    """By seeds where commands know them; else by the styles in a file of this name."""
    there = look.position == 1
    seed = look.seed_to if there else look.seed
    between = look.position not in (0, 1)
    mixed = bool(network.own(look.mix_layers))
    part_seeds = network.own_parts(look)
    parted = bool(network.own(look.part_layers) and part_seeds)
    end = ["--noise-mode", look.noise_mode] * (look.noise_mode != "const")
    end += ["--device", device] * (device is not None) + ["--outdir", "out"]
    common = ["--network", network.name]
    steps = [word for i, amount in network.moves(look) for word in ("--direction", network.step(i, amount))]
    if between or (mixed and parted) or (steps and (mixed or parted or None in steps)):
        return by_styles(network, look, common, end, file)
    psi, cutoff = network.truncation(look)
    truncation = ["--trunc", f"{psi!r}"] * (psi != 1)
    label = network.label(look)
    kind = [f"--class={label}"] if label is not None and label.startswith("-") else ["--class", label] * (label is not None)
    if not mixed and not parted:
        truncation += ["--trunc-cutoff", str(cutoff)] * (cutoff is not None)
        words = ["generate.py", *common, "--seeds", str(seed), *truncation, *kind, *steps, *end]
        return Recipe(words, f"seed{seed:04d}.png", seed)
    columns = {look.mix_seed} if mixed else set(part_seeds.values())
    if len(columns) > 1 or cutoff is not None:
        return by_styles(network, look, common, end, file)
    (column,) = columns
    layers = as_ranges(network.own(look.mix_layers if mixed else look.part_layers))
    parts = [word for part in PARTS if parted and part in part_seeds for word in ("--part", part)]
    chosen = ["--rows", str(seed), "--cols", str(column), "--layers", layers, *parts]
    return Recipe(["-m", "scripts.style_mixing", *common, *chosen, *truncation, *kind, *end], f"{seed}-{column}.png", seed)


def by_styles(network: OpenNetwork, look: Look, common: list[str], end: list[str], file: str) -> Recipe:
    words = ["generate.py", *common, "--projected-w", file, *end]
    return Recipe(words, "proj00.png", 0, ws_bytes(*network.styles(look)))


def as_ranges(layers: Sequence[int]) -> str:
    """[0, 1, 2, 5] -> `0-2,5`"""
    runs: list[list[int]] = []
    for layer in sorted(set(layers)):
        if runs and layer == runs[-1][1] + 1:
            runs[-1][1] = layer
        else:
            runs.append([layer, layer])
    return ",".join(f"{first}-{last}" if last > first else f"{first}" for first, last in runs)
