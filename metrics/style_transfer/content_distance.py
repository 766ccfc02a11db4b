"""Content distance: whether features lie where they lie in the content, whatever their strength.

Features are compared after instance normalisation, as in the domain-invariant perceptual loss of Huang, Liu, Belongie and Kautz
2018, "Multimodal Unsupervised Image-to-Image Translation": the mean and the deviation of a channel are the style's to change.
"""

import torch

from torch_utils.ops import to_double

LAYER = "relu3_3"  # of VGG-16; the content loss of training compares relu4_1, and not normalised


@torch.no_grad()
def content_distance(output: torch.Tensor, content: torch.Tensor) -> torch.Tensor:
    """Feature maps [N, C, H, W] of the same size -> [N]: 1 − the mean over channels of the correlation over positions.

    Half the squared distance of the normalised maps. 0: every channel is that of the content but for a scale and a shift. 1:
    nothing in common. Channels count as much as they vary in the content, so those without any features there do not count; one
    that is flat in the output counts as uncorrelated. `ValueError` for maps of different sizes.
    """
    if output.shape != content.shape:
        raise ValueError(f"found feature maps {list(output.shape)}, wanted {list(content.shape)} as of the content")
    x, y = (to_double(f).flatten(2) for f in (output, content))
    x, y = (f - f.mean(dim=2, keepdim=True) for f in (x, y))
    spread_x, spread_y = (f.square().mean(dim=2).sqrt() for f in (x, y))
    correlation = (x * y).mean(dim=2) / (spread_x * spread_y).clamp(min=1e-12)
    weighted = ((1 - correlation) * spread_y).sum(dim=1) / spread_y.sum(dim=1).clamp(min=1e-12)
    return weighted.clamp(min=0).float().to(output.device)  # rounding can bring it below zero
