"""Everything that changes during the training of a style transfer."""

import torch

from networks.style_transfer.network import StyleTransfer
from networks.style_transfer.vgg import VGG
from torch_utils.files import InputError
from torch_utils.memory import without_memory
from torch_utils.rng import mix
from training.run.saved_state import SavedState
from training.style_transfer.config import StyleConfig


class StyleState(SavedState):
    """Network, optimiser and counters; the encoder, which does not change, is rescaled to the means that are stored here."""

    NETWORKS, OPTIMISERS = ("network",), ("optimiser",)

    def __init__(self, config: StyleConfig, device: torch.device | str = "cpu"):
        """Raises `ValueError` where the network cannot be made. Weights depend on `config.seed` only."""
        super().__init__(config.run)
        names = ["style_depth", "style_width", "adaptive", "kernel_size", "identity", "padding", "statistics"]
        names += ["encoder_padding", "noise"]
        sketch = torch.device(device).type == "meta"
        with torch.random.fork_rng(devices=[]), without_memory() if sketch else torch.device("cpu"):
            torch.manual_seed(mix("weights", config.seed))
            self.network = StyleTransfer(config.transfer, config.encoder, **{name: getattr(config, name) for name in names})
        self.network.to(device=device, memory_format=torch.channels_last)
        fused = torch.device(device).type in ("cpu", "cuda")
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=config.lr, betas=(0.9, config.beta2), fused=fused)

    def set_lr(self, lr: float) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = lr

    def measure_encoder(self, encoder: VGG, batches) -> None:
        """Before the first step: mean activations over images, and which weights they are of."""
        self.network.encoder_means.copy_(encoder.mean_activations(batches))
        self.network.encoder_norms.copy_(encoder.norms())


def build_state(config: StyleConfig, device: torch.device) -> StyleState:
    """A fresh state; `InputError` where its network cannot be made."""
    try:
        return StyleState(config, device)
    except (ValueError, MemoryError) as error:
        raise InputError(f"the network cannot be made: {error}") from None
