"""Options that contradict one another, or the images: an option that does nothing is a mistake, so it is refused."""

from networks.discriminator import GROUP
from networks.modulation import STYLED_ONCE
from networks.resolutions import resolutions
from torch_utils.cli import counted
from torch_utils.files import InputError
from training.dataset import ImageDataset
from training.gan.config import TrainingConfig
from training.gan.state import TrainingState


def check_given(given: set[str], config: TrainingConfig, dataset: ImageDataset, state: TrainingState) -> None:
    """`InputError` for options on the command line that have no say beside the others, or none for these images or networks."""
    blocks = len(state.D.blocks)
    moves = config.lr_end != 1 or any(getattr(config, name) is not None for name in ("gamma_end", "beta2_end", "p_end"))
    idle = {
        "p": config.aug == "noaug" and "--aug",
        "p_end": config.aug != "fixed" and "--aug fixed",
        "target": config.aug != "ada" and "--aug ada",
        "ada_kimg": config.aug != "ada" and "--aug ada",
        "augpipe": config.aug == "noaug" and "--aug",
        "grow_from": not config.grow and "--grow 1",
        "grow_kimg": not config.grow and "--grow 1",
        "style_mixing": config.modulation in STYLED_ONCE and "a style for each layer, and --modulation none has one in all",
        "projected_gamma": not config.projected and "--projected",
        "ramp_kimg": not moves and "an option that ends in -end",
    }
    for name in sorted(given & set(idle)):
        if idle[name]:
            raise InputError(f"--{name.replace('_', '-')} has no say without {idle[name]}")
    if config.freezed > blocks:
        raise InputError(f"--freezed {config.freezed}: for these images the discriminator has {counted(blocks, 'block')}")
    if "freezed" in given and not state.nimg:
        raise InputError(
            f"--freezed {config.freezed}: the discriminator is new, and has learned nothing that could be kept; "
            "to freeze a trained one, copy its run directory and --resume the copy"
        )
    if config.grow and config.grow_from > max(dataset.resolution):
        raise InputError(f"--grow-from {config.grow_from}: the images have {max(dataset.resolution)} pixels a side")


def check_size(dataset: ImageDataset) -> None:
    """`InputError` for images that no generator is made for, before any of them is decoded."""
    try:
        resolutions(dataset.resolution)
    except ValueError as error:
        raise InputError(f"{dataset.name}: {error}") from None


def group_notes(config: TrainingConfig) -> list[str]:
    """Where the minibatch standard deviation depends on how the batch is shared out."""
    share = config.batch_gpu or config.batch // config.gpus
    if share % GROUP == 0 or share == config.batch:
        return []
    return [f"Groups:        of {share} images, not of {GROUP}, in the minibatch standard deviation: other --gpus, another run"]
