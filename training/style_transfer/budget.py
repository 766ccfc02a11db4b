"""Whether the training of a style transfer can fit into memory, before any of it is taken."""

from pathlib import Path

import torch

from networks.style_transfer.vgg import CONVOLUTIONS, WIDTHS
from torch_utils.memory import check_memory, training_bytes
from training.run.saved_state import check_sizes
from training.style_transfer.config import StyleConfig
from training.style_transfer.state import StyleState, build_state


def check_network(config: StyleConfig, device: torch.device, run_dir: Path | None) -> None:
    """`InputError` for a network that cannot be made, that the state in `run_dir` is not of, or that memory does not hold."""
    sketch = build_state(config, torch.device("meta"))
    if run_dir:
        check_sizes(run_dir, {"network": sketch.network})
    what = f"this network, and {config.batch:,} pairs of {config.crop}×{config.crop} at once,"
    check_memory(what, least_bytes(sketch, config), device, "wanted a smaller --style-depth, --style-width, --batch or --crop")


def least_bytes(sketch: StyleState, config: StyleConfig) -> int:
    """Weights and what Adam keeps; and either what the encoder's layers keep of the results for backpropagation, or three
    copies of a snapshot, while it is written."""
    layers = zip(WIDTHS, CONVOLUTIONS[config.encoder])
    maps = sum(width * count * config.crop**2 // 4**level for level, (width, count) in enumerate(layers))
    snapshots = 3 * 4 * sum(tensor.numel() for tensor in sketch.network.state_dict().values())
    return training_bytes(sketch.network) + max(config.batch * maps * (4 if config.precision == "fp32" else 2), snapshots)
