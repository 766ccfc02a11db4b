"""How the structure distance responds to known changes of an image, for docs/structure.md.

`python -m scripts.experiments.structure_response`
"""

import sys
from pathlib import Path

import torch

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from metrics.style_transfer.structure import distance, stroke_descriptors
from scripts.output import markdown
from torch_utils.cli import command, run
from training.style_transfer.textures import smooth_field, texture

SIDE = 256


def changes() -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Name of a change -> the images [3, H, W] before and after."""
    draw = lambda kind="stripes", period=10, degrees=0, size=SIDE, seed=0: texture(kind, period, degrees, size, seed)
    stripes = draw()
    noise = torch.randn(SIDE, SIDE, generator=torch.Generator().manual_seed(0)).mul(0.3).expand(3, -1, -1)
    halves = torch.cat([stripes[:, :, : SIDE // 2], draw(degrees=90)[:, :, SIDE // 2 :]], dim=2)
    swapped = torch.cat([draw(degrees=90)[:, :, : SIDE // 2], stripes[:, :, SIDE // 2 :]], dim=2)
    return {
        "another phase": (stripes, draw(seed=1)),
        "half the contrast, lighter": (stripes, stripes / 2 + 0.3),
        "another colour of the same luminance": (stripes, recoloured(stripes)),
        "128×128 pixels": (stripes, draw(size=128, seed=2)),
        **{f"turned by {angle}°": (stripes, draw(degrees=angle)) for angle in (7.5, 22.5, 45, 90)},
        "1.2 times the period": (stripes, draw(period=12)),
        "twice the period": (stripes, draw(period=20)),
        "stripes → dots": (stripes, draw("dots")),
        "stripes → white noise": (stripes, noise),
        "stripes → no strokes": (stripes, smooth_field(SIDE, 0)),
        "half horizontal, half vertical → the halves swapped": (halves, swapped),
        "half horizontal, half vertical → both everywhere": (halves, (stripes + draw(degrees=90)) / 2),
    }


def recoloured(image: torch.Tensor) -> torch.Tensor:
    """Part of green's luminance moves to red: another colour of the same luminance."""
    red, green, blue = image
    return torch.stack([red + 0.1 * green * 0.587 / 0.299, 0.9 * green, blue])


def responses() -> dict[str, float]:
    return {name: float(distance(*(stroke_descriptors(x[None]) for x in pair))) for name, pair in changes().items()}


@command()
def main():
    """Distances between synthetic textures, as a Markdown table. Two textures with nothing in common are √2 apart."""
    print(markdown(["change", "distance"], [[name, f"{value:.3f}"] for name, value in responses().items()]))


if __name__ == "__main__":
    run(main)
