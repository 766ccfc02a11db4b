"""Everything that changes during a training run, in one object that can be saved and restored exactly.

Random generators and the data order are missing on purpose: both are functions of (seed, rank, images seen).
"""

import copy
from collections.abc import Iterator
from pathlib import Path

import torch

from networks.discriminator import Discriminator
from networks.generator import Generator
from torch_utils.checkpoint import load_generator
from torch_utils.files import InputError
from torch_utils.memory import without_memory
from torch_utils.precision import scaler
from torch_utils.rng import mix
from training.dataset import ImageDataset
from training.gan.ada import AdaptiveStrength
from training.gan.config import TrainingConfig
from training.gan.ema_profile import WIDTHS
from training.gan.magnitudes import normalise
from training.run.saved_state import SavedState


class TrainingState(SavedState):
    """Networks, optimisers and counters."""

    NETWORKS: tuple[str, ...] = ("G", "D", "ema")  # and "averages", where there are any
    OPTIMISERS = ("opt_G", "opt_D")
    SCALARS = ("scaler_G", "scaler_D", "strength", "means")
    COUNTERS = (*SavedState.COUNTERS, "path_mean")

    def __init__(
        self,
        config: TrainingConfig,
        img_resolution: int | tuple[int, int],  # side, or (height, width)
        img_channels: int,
        c_dim: int,
        device: torch.device | str = "cpu",
    ):
        """Raises `ValueError` where the networks cannot be made. Weights depend on `config.seed` only."""
        super().__init__(config.run)
        sketch = torch.device(device).type == "meta"  # its weights are the same whatever any other device
        padding = {"padding": config.padding} if config.modulation == "adaconv" else {}
        with torch.random.fork_rng(devices=[]), without_memory() if sketch else torch.device("cpu"):
            torch.manual_seed(mix("weights", config.seed))
            self.G = Generator(
                img_resolution,
                img_channels,
                c_dim,
                z_dim=config.z_dim,
                modulation=config.modulation,
                style_depth=config.style_depth,
                mapping_layers=config.mapping_layers,
                modulation_options=padding | (config.modulation_options or {}),
                noise=config.noise,
                channel_base=config.channel_base,
                channel_max=config.channel_max,
            )
            d_base = config.d_channel_base or config.channel_base
            self.D = Discriminator(
                img_resolution,
                img_channels,
                c_dim,
                channel_base=d_base,
                channel_max=config.channel_max,
                growing=config.grow,
                projected=config.projected > 0,
            )
        self.G.to(device=device, memory_format=torch.channels_last)
        self.D.to(device=device, memory_format=torch.channels_last)
        if config.forced_norm:
            normalise(self.G)
            normalise(self.D)
        self.ema = copy.deepcopy(self.G).eval().requires_grad_(False)

        # Power functions, see `training.gan.ema_profile`
        self.averages = torch.nn.ModuleList(copy.deepcopy(self.ema) for _ in WIDTHS if config.posthoc_ema)
        if config.posthoc_ema:
            self.NETWORKS = (*self.NETWORKS, "averages")

        device = torch.device(device)
        fused = device.type in ("cpu", "cuda")  # one pass over all parameters instead of a dozen
        self.opt_G = torch.optim.Adam(self.G.parameters(), lr=config.glr, betas=(0.0, config.beta2), fused=fused)
        self.opt_D = torch.optim.Adam(self.D.parameters(), lr=config.dlr, betas=(0.0, config.beta2), fused=fused)

        self.scaler_G, self.scaler_D = scaler(config.precision, device), scaler(config.precision, device)
        self.strength = AdaptiveStrength(config.p, config.target, config.ada_kimg)  # of the augmentation
        self.path_mean = 0.0  # moving average of the path lengths

    def shared_values(self) -> Iterator[tuple[str, torch.Tensor]]:
        yield from super().shared_values()
        for name, value in (("p", self.strength.p), ("path_mean", self.path_mean)):
            yield name, torch.tensor(value, dtype=torch.float64)

    def load_state_dict(self, values: dict) -> None:
        if "averages" in self.NETWORKS and "averages" not in values:
            raise ValueError("it has no averages for --posthoc-ema, which begins with a run or not at all")
        super().load_state_dict(values)

    def grow(self, growth: float | None) -> None:
        """Use the networks up to this level, see `training.gan.growth`."""
        for network in (self.G, self.D, self.ema, *self.averages):
            network.growth = growth

    def follow(self, config: TrainingConfig) -> None:
        """Use its learning rates, beta2 and fixed p from the next step on, see `training.gan.schedule`."""
        for optimiser, lr in ((self.opt_G, config.glr), (self.opt_D, config.dlr)):
            for group in optimiser.param_groups:
                group.update(lr=lr, betas=(0.0, config.beta2))
        if config.aug == "fixed":
            self.strength.p = float(config.p)

    def warm_start(self, snapshot: str | Path) -> str:
        """Take from a network file what fits the generator; everything else stays new. Says what that was.

        `InputError` where nothing fits.
        """
        theirs, own = load_generator(snapshot).state_dict(), self.G.state_dict()
        taken = {name: value for name, value in theirs.items() if name in own and value.shape == own[name].shape}
        weights = lambda names: sum(own[name].numel() for name in names)
        if not any(name.startswith("synthesis.") for name in taken):
            raise InputError(f"{snapshot}: nothing of it fits this generator")
        self.G.load_state_dict(own | taken)
        self.ema.load_state_dict(own | taken)
        new = [name for name in own if name not in taken]
        left = sum(name not in taken for name in theirs)
        return (
            f"took {len(taken)} of the generator's {len(own)} tensors ({weights(taken):,} of {weights(own):,} numbers)"
            + (f"; new are {', '.join(new[:4])}{' …' if len(new) > 4 else ''}" if new else "")
            + (f"; {left} of the file's tensors are not used" if left else "")
            + "; the discriminator and both optimisers are new"
        )


def build_state(
    config: TrainingConfig, dataset: ImageDataset, device: torch.device, run_dir: Path | None = None
) -> TrainingState:
    """A fresh state, or that of a run directory. `InputError` where the networks cannot be made, or it cannot be read.

    Options that come from outside are looked at by `budget.check_networks` first.
    """
    try:
        state = TrainingState(config, dataset.resolution, dataset.channels, dataset.c_dim, device)
    except (ValueError, TypeError, MemoryError) as error:
        raise InputError(f"{config.data}: {error}") from None
    if run_dir:
        state.load(run_dir, device)
    return state
