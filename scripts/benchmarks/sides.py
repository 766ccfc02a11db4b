"""What is timed in a process of its own. Packages are imported where they are used: they are those of the checkout in hand.

Each side gives jobs by name, a function for one repetition each, and a table of what there is to tell about them.
"""

import dataclasses
import functools
import importlib
import math
import multiprocessing
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import torch

from scripts.benchmarks.timing import allow_tf32, autocast

Jobs = tuple[dict[str, Callable[[], None]], dict]


def module(name: str, older: str) -> ModuleType:
    """By the name that it has, or had in an older commit."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return importlib.import_module(older)


def draws(G: torch.nn.Module, draw: Callable, formats: Sequence[str], device: torch.device) -> dict[str, Callable[[], None]]:
    """`<format> forward` and `<format> forward+backward` of a generator whose images are draw()."""

    def forward(number_format: str) -> None:
        allow_tf32(number_format)
        with torch.no_grad(), autocast(number_format, device):
            draw()

    def forward_backward(number_format: str) -> None:
        allow_tf32(number_format)
        G.zero_grad(set_to_none=True)
        with autocast(number_format, device):
            images = draw()
        images.float().square().mean().backward()

    works = {"forward": forward, "forward+backward": forward_backward}
    return {f"{form} {name}": functools.partial(work, form) for form in formats for name, work in works.items()}


def generator(modulation: str, formats: list[str], resolution: int, batch: int, widths: dict, device: torch.device) -> Jobs:
    """This project's generator, as its commands use it."""
    from networks.generator import Generator
    from torch_utils.platform import keep_freed_memory

    keep_freed_memory()
    G = Generator(resolution, 3, modulation=modulation, mapping_layers=2, **widths)
    G.to(device=device, memory_format=torch.channels_last)
    z = torch.randn(batch, G.z_dim, device=device)
    return draws(G, lambda: G.synthesis(G.mapping(z), "random"), formats, device), {}


def stylegan2_ada(formats: list[str], resolution: int, batch: int, widths: dict, device: torch.device) -> Jobs:
    """NVIDIA's generator in float32. In its training mode, where it scales activations: faster than its fused weights."""
    from training.networks import Generator

    z_dim = widths.get("z_dim", 512)
    sizes = dict(z_dim=z_dim, c_dim=0, w_dim=z_dim, img_resolution=resolution, img_channels=3)
    options = dict(num_fp16_res=0, channel_base=widths["channel_base"], channel_max=widths["channel_max"])
    G = Generator(**sizes, mapping_kwargs=dict(num_layers=2), synthesis_kwargs=options).to(device)
    z, c = torch.randn(batch, z_dim, device=device), torch.zeros(batch, 0, device=device)
    return draws(G, lambda: G(z, c, noise_mode="random"), formats, device), {}


def training_step(values: dict, resolution: int, formats: list[str], device: torch.device) -> Jobs:
    """All steps between two penalties as one repetition, on random images. `values` are of TrainingConfig."""
    from torch_utils.platform import keep_freed_memory

    TrainingConfig = module("training.gan.config", "training.config").TrainingConfig
    keep_freed_memory()
    known, ignored = known_fields(TrainingConfig, values)
    jobs = {}
    for number_format in formats:
        config = TrainingConfig(**known | dict(data="", precision=number_format))
        jobs[number_format] = cycle_of(config, resolution, device)
    return jobs, dict(images=config.batch * cycle_length(config), steps=cycle_length(config), ignored=ignored)


def cycle_length(config) -> int:
    """Steps after which every penalty has come as often as it does."""
    lengths = [config.reg_interval] if config.gamma > 0 else []
    return math.lcm(*lengths, *([config.pl_interval] if config.pl_weight > 0 else []))


def cycle_of(config, resolution: int, device: torch.device) -> Callable[[], None]:
    TrainingState = module("training.gan.state", "training.state").TrainingState
    state = TrainingState(config, resolution, 3, 0, device)
    real = torch.randn(config.batch, 3, resolution, resolution, device=device).contiguous(memory_format=torch.channels_last)
    step = step_of(config, state, real)

    def cycle() -> None:
        for number in range(cycle_length(config)):
            step(number)

    return cycle


def step_of(config, state, real: torch.Tensor) -> Callable[[int], None]:
    """-> step(number): one update of both networks and of the average; the number says which penalties are due."""
    from torch_utils.stats import Means

    update_ema = module("training.gan.ema", "training.ema").update_ema
    steps = module("training.gan.steps", "training.steps")

    def step(number: int) -> None:
        allow_tf32(config.precision)
        state.step, means = number, Means()
        # Older commits make images for each update.
        generated = [steps.generate(state, config, real, None)] if hasattr(steps, "generate") else []
        steps.discriminator_step(state, config, real, None, means, *generated)
        steps.generator_step(state, config, real, None, means, *generated)
        update_ema(state.ema, state.G, config.batch, 10**6, config.ema_kimg * 1000, config.ema_rampup)

    return step


def style_step(values: dict, formats: list[str], device: torch.device) -> Jobs:
    """One step of style transfer's training, on random images with an untrained encoder. `values` are of StyleConfig."""
    from torch_utils.platform import keep_freed_memory

    VGG = module("networks.style_transfer.vgg", "networks.vgg").VGG
    StyleConfig = module("training.style_transfer.config", "training.style_config").StyleConfig
    style_step = module("training.style_transfer.loop", "training.style_loop").style_step
    StyleState = module("training.style_transfer.state", "training.style_state").StyleState

    keep_freed_memory()
    known, ignored = known_fields(StyleConfig, values)
    has_precision = any(field.name == "precision" for field in dataclasses.fields(StyleConfig))
    jobs: dict[str, Callable[[], None]] = {}
    for number_format in formats if has_precision else [f for f in formats if f == "fp32"]:
        precision = {"precision": number_format} if has_precision else {}
        config = StyleConfig(**known | dict(content="", style="") | precision)
        state = StyleState(config, device)
        state.nimg = 10**6  # all weights of the loss have risen
        encoder = VGG(config.encoder).to(device=device, memory_format=torch.channels_last)
        content, style = (torch.rand(config.batch, 3, n, n, device=device) * 2 - 1 for n in (config.crop, config.style_side))
        state.measure_encoder(encoder, [content])
        encoder.rescale(state.network.encoder_means)
        images = [x.contiguous(memory_format=torch.channels_last) for x in (content, style)]

        def step(state=state, config=config, encoder=encoder, images=images, number_format=number_format) -> None:
            allow_tf32(number_format)
            style_step(state, config, encoder, *images)

        jobs[number_format] = step
    return jobs, dict(images=values["batch"], steps=1, ignored=ignored)


def known_fields(config: type, values: dict) -> tuple[dict, list[str]]:
    """Those of the options that a commit's config has, and the names of the others."""
    names = {field.name for field in dataclasses.fields(config)}
    return {k: v for k, v in values.items() if k in names}, sorted(set(values) - names)


def our_features(folder: str, network: str, workers: int, result: str, device: torch.device) -> Jobs:
    """As in calc_metrics.py: threads read and resize, the network runs on batches of 32."""
    from metrics.detectors import inception
    from torch_utils.files import sha256
    from torch_utils.prefetch import prefetch, prefetch_one, threads
    from training.dataset import ImageDataset

    inception.SHA256 = sha256(network)  # random weights stand in for the field's file, which would be refused otherwise
    detector = inception.load(device, network)
    dataset = ImageDataset(folder)

    def extract() -> np.ndarray:
        batches = [range(i, min(i + 32, len(dataset))) for i in range(0, len(dataset), 32)]
        images = prefetch(lambda batch: torch.stack([dataset[i][0] for i in batch]), batches, workers, workers + 1)
        with threads(workers) as pool:
            return torch.cat([finish() for finish in prefetch_one(detector.start(batch, pool) for batch in images)]).numpy()

    return extraction(extract, result)


def clean_fid_features(folder: str, network: str, workers: int, result: str, device: torch.device) -> Jobs:
    """clean-fid's `get_folder_features` with its own model class; batches of 32, its default for custom statistics."""
    if "fork" in multiprocessing.get_all_start_methods():
        multiprocessing.set_start_method("fork", force=True)  # its resizer cannot be sent to a process that is spawned
    else:
        workers = 0
    from torch_utils.torchvision_compat import import_torchvision

    import_torchvision()
    from cleanfid import fid
    from cleanfid.inception_torchscript import InceptionV3W

    model = InceptionV3W(str(Path(network).parent), download=False).to(device)
    options = dict(num_workers=workers, batch_size=32, device=device, mode="clean", verbose=False)
    return extraction(lambda: fid.get_folder_features(folder, model, **options), result)


def extraction(extract: Callable[[], np.ndarray], result: str) -> Jobs:
    """Jobs `extract`, and `save` for the last features, which go to the file `result`."""
    found = {}

    def work() -> None:
        found["features"] = extract()

    return {"extract": work, "save": lambda: np.save(result, found["features"])}, {}


SIDES: dict[str, Callable[..., Jobs]] = {
    "generator": generator,
    "stylegan2-ada": stylegan2_ada,
    "training step": training_step,
    "style step": style_step,
    "our features": our_features,
    "clean-fid's features": clean_fid_features,
}
