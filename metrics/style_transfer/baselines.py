"""What a style transfer has to be better than: the content in the colours of the style, for which no network is needed."""

import torch

from torch_utils.ops import to_double


@torch.no_grad()
def recoloured(content: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
    """RGB [N, 3, H, W] in [-1, 1], and styles of any size -> contents with the styles' mean and covariance of colours.

    The linear map that moves the colours least (Pitié and Kokaram 2007, "The linear Monge-Kantorovitch linear colour mapping
    for example-based colour transfer"); values outside [-1, 1] are clipped.
    """
    x, y = (to_double(images).flatten(2) for images in (content, style))
    mean_x, mean_y = (colours.mean(dim=2, keepdim=True) for colours in (x, y))
    x, y = x - mean_x, y - mean_y
    covariance_x, covariance_y = (colours @ colours.mT / colours.shape[2] for colours in (x, y))
    root, inverse = _power(covariance_x, 0.5), _power(covariance_x, -0.5)
    map_ = inverse @ _power(root @ covariance_y @ root, 0.5) @ inverse
    return (map_ @ x + mean_y).clamp(-1, 1).view_as(content).to(content.dtype).to(content.device)


def _power(matrices: torch.Tensor, exponent: float) -> torch.Tensor:
    """Of symmetric matrices [N, 3, 3]; a direction without any variance, as in a grey image, gets a little."""
    values, vectors = torch.linalg.eigh(matrices)
    return vectors @ torch.diag_embed(values.clamp(min=1e-8) ** exponent) @ vectors.mT
