"""The kernels that a generator predicts from its styles."""

from collections.abc import Mapping

import torch

from networks.generator import Generator


@torch.inference_mode()
def predicted_kernels(
    G: Generator,
    ws: torch.Tensor,  # [1, num_ws, w_dim]
    parts: Mapping[str, torch.Tensor] | None = None,  # as of `SynthesisNetwork.forward`
) -> list[tuple[str, torch.Tensor]]:
    """Title and kernels [C_out, C_in / groups, k, k] of every layer of an AdaConv generator."""
    found = []
    for i, layer in enumerate(G.synthesis.layers):
        own = {name: other[:, i] for name, other in (parts or {}).items()}
        kernels = layer.modulation.kernels(ws[:, i], **own).composed()[0]  # type: ignore[union-attr, operator]
        found.append((f"layer {i}, {kernels.shape[0]} channels", kernels))
    return found
