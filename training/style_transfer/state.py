"""Everything that changes during the training of a style transfer."""

import torch

from networks.style_transfer.network import StyleTransfer
from networks.style_transfer.vgg import VGG
from torch_utils.rng import mix
from torch_utils.stats import Means
from training.run.saved_state import SavedState, load_optimiser
from training.style_transfer.config import StyleConfig

COUNTERS = ("nimg", "step", "seconds", "snapshot_nimg", "first_scores")


class StyleState(SavedState):
    """Network, optimiser and counters; the encoder, which does not change, is rescaled to the means that are stored here."""

    def __init__(self, config: StyleConfig, device: torch.device | str = "cpu"):
        """Raises `ValueError` where the network cannot be made. Weights depend on `config.seed` only."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(mix("weights", config.seed))
            self.network = StyleTransfer(
                config.transfer,
                config.encoder,
                config.style_depth,
                config.style_width,
                config.adaptive,
                config.kernel_size,
            )
        self.network.to(device=device, memory_format=torch.channels_last)
        fused = torch.device(device).type in ("cpu", "cuda")
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=config.lr, betas=(0.9, config.beta2), fused=fused)
        self.nimg = 0  # content images seen
        self.step = 0  # updates done
        self.snapshot_nimg = -1  # images seen at the last snapshot
        self.means = Means()  # of the tick that is under way
        self.seconds = 0.0  # of training, held-out losses not counted
        self.first_scores: dict[str, float] = {}  # of the untrained network

    def measure_encoder(self, encoder: VGG, batches) -> None:
        """Before the first step: mean activations over images, and which weights they are of."""
        self.network.encoder_means.copy_(encoder.mean_activations(batches))
        self.network.encoder_norms.copy_(encoder.norms())

    def state_dict(self) -> dict:
        values = {name: getattr(self, name).state_dict() for name in ("network", "optimiser", "means")}
        return values | {name: getattr(self, name) for name in COUNTERS}

    def load_state_dict(self, values: dict) -> None:
        self.network.load_state_dict(values["network"])
        load_optimiser(self.optimiser, values["optimiser"])
        self.means.load_state_dict(values["means"])
        for name in COUNTERS:
            setattr(self, name, values[name])
