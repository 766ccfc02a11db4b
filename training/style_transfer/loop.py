"""The training of a style transfer."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F

from networks.style_transfer.decoder_init import init_from_encoder
from networks.style_transfer.feature_losses import CONTENT_LOSSES, STYLE_LOSSES
from networks.style_transfer.stylizer import check_encoder
from networks.style_transfer.vgg import VGG, StyleFeatures, style_features
from torch_utils.images import from_uint8
from torch_utils.precision import autocast, float32, prepare
from torch_utils.rng import reseed
from training.dataset import batches
from training.run.health import check_finite
from training.run.loop import run_steps
from training.style_transfer.config import StyleConfig
from training.style_transfer.crops import Crops
from training.style_transfer.report import StyleReporter
from training.style_transfer.state import StyleState

MEASURED = 32  # images of each kind that the encoder's mean activations are taken over


def train_style(
    config: StyleConfig,
    contents: Crops,
    styles: Crops,
    state: StyleState,
    encoder: VGG,  # with its weights as they are: rescaled here
    run_dir: Path,
    device: torch.device,
) -> bool:
    """Train `state` until `config.kimg` thousand content images are seen; False where a signal ended it before."""
    torch.backends.cudnn.benchmark = True
    with float32():
        if not state.step:
            state.measure_encoder(encoder, sample_images([contents, styles], device))
        check_encoder(state.network, encoder, f"--encoder-weights: {run_dir} was begun with other weights of {config.encoder}")
        encoder.rescale(state.network.encoder_means)
        if not state.step and config.decoder_start == "mirrored":
            features = [style_features(encoder(images)) for images in sample_images([contents], device)]
            init_from_encoder(state.network, encoder, StyleFeatures(*map(torch.cat, zip(*features))))
    prepare(config.precision)
    pin = device.type == "cuda"
    data = [
        batches(crops, config.batch, seed, state.nimg, workers=config.workers, pin_memory=pin, positions=True)
        for crops, seed in zip((contents, styles), config.order_seeds)
    ]

    def step() -> None:
        images = [next(source)[0].to(device, non_blocking=True) for source in data]
        reseed(config.seed, 0, state.nimg)
        style_step(state, config, encoder, *(from_uint8(x).contiguous(memory_format=torch.channels_last) for x in images))

    make_reporter = lambda stop: StyleReporter(config, contents, styles, state, encoder, run_dir, device, stop)
    return run_steps(step, data, config, state, run_dir, device, make_reporter)


def style_step(state: StyleState, config: StyleConfig, encoder: VGG, content: torch.Tensor, style: torch.Tensor) -> None:
    """One update: stylise `content` as `style`, both RGB [N, 3, H, W] in [-1, 1], and compare their features."""
    network = state.network
    with autocast(config.precision, content.device):
        with torch.no_grad():
            of_content, of_style = encoder(content), encoder(style)
        of_result = encoder(network(of_content[-1], network.encode_style(style_features(of_style))))
        if config.identity_weight:
            itself = network(of_content[-1], network.encode_style(style_features(of_content)))
    losses = dict(
        content=CONTENT_LOSSES[config.content_loss](of_result, of_content),
        style=STYLE_LOSSES[config.style_loss](of_result, of_style),
    )
    loss = config.content_weight * losses["content"] + config.style_weight_at(state.nimg) * losses["style"]
    if config.identity_weight:  # an image in its own style is itself (Park and Lee 2019, equation 8, pixels)
        losses["identity"] = F.mse_loss(itself, content)
        loss = loss + config.identity_weight * losses["identity"]
    check_finite("the loss", loss, state.nimg, {"network": network}, {"the content images": content, "the style images": style})
    state.set_lr(config.lr_at(state.nimg))
    state.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    state.optimiser.step()
    state.means.add(**losses)


def sample_images(sources: Sequence[Crops], device: torch.device) -> Iterator[torch.Tensor]:
    """Spread over all names: the first ones are often of one source, such as drawings, in which many channels are off."""
    for crops in sources:
        count = min(len(crops), MEASURED)
        for i in range(count):
            yield from_uint8(crops[i * len(crops) // count, i][0][None].to(device))
