"""The stripes-and-dots test: tiny transfers learn to draw textures that mean and variance cannot tell apart.

AdaIN gets each channel's mean and standard deviation of the style. All textures share these, so AdaIN cannot know which one is
asked for; AdaConv gets kernels. Both have the same decoder and see the same images in the same order.
"""

import sys
import time
from pathlib import Path
from typing import NamedTuple

import torch

from metrics.style_transfer.structure import StructureScore, between, from_distances, mean_score, slices, stroke_descriptors
from scripts.experiments.tiny_transfer import TRANSFERS, TinyTransfer, train
from scripts.output import markdown
from torch_utils.images import from_uint8, save_png, to_uint8
from torch_utils.labelled_grid import labelled_grid
from training.style_transfer.textures import KINDS, Texture, field_batch, texture_batch

PERIODS = (4, 8, 16)  # of the structure score
SIDE = 128  # of the images to examine
SHOWN = (0, 2, 4, 9, 12, 16)  # indices of the held-out textures in the picture


class Styles(NamedTuple):
    """Every period in every direction; stripes look the same after a turn of 180°, dots after 90°."""

    periods: tuple[float, ...]
    stripes: tuple[float, ...]  # degrees
    dots: tuple[float, ...]

    def by_kind(self) -> dict[str, list[Texture]]:
        return {kind: [Texture(kind, p, d) for p in self.periods for d in getattr(self, kind)] for kind in KINDS}

    def all(self) -> list[Texture]:
        return [one for group in self.by_kind().values() for one in group]


TRAINED = Styles((8, 11, 16), tuple(range(0, 180, 15)), tuple(range(0, 90, 15)))
HELD_OUT = Styles((9.5, 13.5), tuple(d + 7.5 for d in range(0, 180, 30)), tuple(d + 7.5 for d in range(0, 90, 30)))


class Examined(NamedTuple):
    """The scores of one transfer."""

    score: StructureScore  # of all held-out textures
    stripes: StructureScore
    dots: StructureScore
    recognised: float  # share of outputs that are nearer to their own style than to any other held-out texture
    images: torch.Tensor  # uint8 [N, 3, H, W]


def held_out_images(held_out: Styles, size: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Contents and styles [N, 3, size, size] that were not trained on."""
    styles = held_out.all()
    return field_batch(len(styles), size, seed), texture_batch(styles, size, seed)


def examine(network: TinyTransfer, held_out: Styles = HELD_OUT, size: int = SIDE, seed: int = 0) -> Examined:
    """Draw every held-out texture over a content of its own, all with the same noise."""
    contents, styles = held_out_images(held_out, size, seed)
    noise = network.noise(1, size, torch.Generator().manual_seed(seed))
    with torch.no_grad():
        images = to_uint8(network(contents, styles, noise.expand(len(styles), -1, -1, -1)))
    output, content, style = (slices(stroke_descriptors(x, PERIODS)) for x in (from_uint8(images), contents, styles))
    scores = [from_distances(float(a), float(b)) for a, b in zip(between(output, style), between(content, style))]
    nearest = torch.stack([between(one[None], style) for one in output]).argmin(dim=1)
    by_kind = {kind: [s for s, texture in zip(scores, held_out.all()) if texture.kind == kind] for kind in KINDS}
    return Examined(
        mean_score(scores),
        **{kind: mean_score(part) for kind, part in by_kind.items()},
        recognised=float((nearest == torch.arange(len(styles))).float().mean()),
        images=images,
    )


def run_test(steps: int, seed: int, picture: Path) -> dict[str, Examined]:
    """Train and examine all transfers; the picture has a row of styles above a row of outputs for each transfer."""
    results = {}
    for transfer in TRANSFERS:
        began = time.monotonic()
        results[transfer] = examine(train(transfer, steps, TRAINED.by_kind(), seed=seed))
        print(f"{transfer}: {steps} steps and {SIDE}×{SIDE} images in {time.monotonic() - began:.0f} s", file=sys.stderr)
    _, styles = held_out_images(HELD_OUT, SIDE)
    rows = [to_uint8(styles), *(examined.images for examined in results.values())]
    textures = [HELD_OUT.all()[i] for i in SHOWN]
    heads = [f"{texture.kind}, {texture.degrees:g}°" for texture in textures]
    save_png(picture, labelled_grid([list(row[list(SHOWN)]) for row in rows], heads, ["style", *results]))
    return results


def table(results: dict[str, Examined]) -> str:
    """Markdown"""
    heads = ["transfer", "structure score", "stripes", "dots", "recognised"]
    scores = {name: [f"{part.score:.3f}" for part in (e.score, e.stripes, e.dots)] for name, e in results.items()}
    return markdown(heads, [[name, *scores[name], f"{e.recognised:.0%}"] for name, e in results.items()])


def record(steps: int, seed: int, results: dict[str, Examined]) -> dict:
    """For a JSON file."""
    transfers = {
        name: {part: getattr(examined, part)._asdict() for part in ("score", *KINDS)} | dict(recognised=examined.recognised)
        for name, examined in results.items()
    }
    return dict(steps=steps, seed=seed, trained=TRAINED._asdict(), held_out=HELD_OUT._asdict(), transfers=transfers)
