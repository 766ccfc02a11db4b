"""Patch swap (Chen and Schmidt 2016, "Fast Patch-based Style Transfer of Arbitrary Style"): relu4_1 of the content, made of
patches of the style's.

The paper trains a decoder for such maps; here it is that of an AdaIN network.
"""

import torch
import torch.nn.functional as F

from networks.style_transfer.peers.peer import FeaturePeer
from networks.style_transfer.vgg import STRIDE
from torch_utils.ops import widen

SIDE = 3  # of a patch, in cells
CHUNK = 1024  # patches of each image that are compared at once: 40 MB


class PatchSwap(FeaturePeer):
    name, least = "patch-swap", SIDE * STRIDE

    @torch.no_grad()
    def encode_style(self, styles: torch.Tensor, tile: int | None = None) -> torch.Tensor:
        """relu4_1 [N, C, h, w]."""
        return widen(self.encode(styles, tile))

    def transform(self, features: torch.Tensor, descriptor: torch.Tensor) -> torch.Tensor:
        return torch.stack([swap(*pair) for pair in zip(widen(features), descriptor)])


def swap(content: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
    """[C, h, w] and [C, h', w'], of SIDE cells at least -> [C, h, w]: each patch of the content replaced by its best match.

    Overlapping patches are averaged. They are added one of their cells after the other, for all patches at once: nine times
    the map would be needed to hold them all.
    """
    rows, columns = (n - SIDE + 1 for n in content.shape[1:])
    best = best_matches(content, style)
    total, count = torch.zeros_like(content), torch.zeros_like(content[:1])
    for y in range(SIDE):
        for x in range(SIDE):
            cells = style[:, y : y + style.shape[1] - SIDE + 1, x : x + style.shape[2] - SIDE + 1].flatten(1)
            total[:, y : y + rows, x : x + columns] += cells[:, best].view(-1, rows, columns)
            count[:, y : y + rows, x : x + columns] += 1
    return total / count


def best_matches(content: torch.Tensor, style: torch.Tensor, chunk: int = CHUNK) -> torch.Tensor:
    """For every patch of the content, row by row, the number of the style's patch that is most like it.

    Normalised cross-correlation (equation 1): argmax over j of ⟨φ_i(C), φ_j(S)⟩ / (‖φ_i(C)‖ ‖φ_j(S)‖). ‖φ_i(C)‖ is the same
    for all j, and so left out. The first of equal ones. Patches are made and compared `chunk` by `chunk`, so that memory does
    not grow with the product of the two numbers, nor by nine times the maps.
    """
    found = []
    for own in patches(content, chunk):
        score = own.new_full((len(own),), -torch.inf)
        best = torch.zeros(len(own), dtype=torch.long, device=own.device)
        first = 0
        for theirs in patches(style, chunk):
            top, which = (own @ F.normalize(theirs, dim=1).mT).max(dim=1)
            better = top > score
            score, best = torch.where(better, top, score), torch.where(better, which + first, best)
            first += len(theirs)
        found.append(best)
    return torch.cat(found)


def patches(features: torch.Tensor, chunk: int):
    """[C, h, w] -> its patches [≤ chunk or one row, C · SIDE²], row by row, some whole rows at a time."""
    height, width = (n - SIDE + 1 for n in features.shape[1:])
    rows = max(chunk // width, 1)
    for top in range(0, height, rows):
        part = features[None, :, top : min(top + rows, height) + SIDE - 1]
        yield F.unfold(part, SIDE)[0].mT
