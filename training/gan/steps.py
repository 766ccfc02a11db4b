"""One update of the discriminator, and one of the generator."""

from collections.abc import Iterator

import torch

from torch_utils import distributed
from torch_utils.precision import autocast
from torch_utils.stats import Means
from training.gan.ada import r_t
from training.gan.augment import augment
from training.gan.config import TrainingConfig
from training.gan.losses import discriminator_loss, generator_loss, gradient_penalty, path_lengths, path_penalty
from training.gan.magnitudes import make_tangent, renormalise
from training.gan.state import TrainingState
from training.run.health import check_finite


def generate(state: TrainingState, config: TrainingConfig, real: torch.Tensor, c: torch.Tensor | None) -> torch.Tensor | None:
    """Images for both updates, as many and as large as `real` and of its classes: D's update leaves G as it is.

    None with `batch_gpu`, which saves memory: then each update makes its own, a part at a time.
    """
    return None if config.batch_gpu else _generate(state, config, real, c, update_w_avg=True)


def discriminator_step(
    state: TrainingState,
    config: TrainingConfig,
    real: torch.Tensor,  # [N, C, H, W] about [-1, 1], as large as the networks have grown
    c: torch.Tensor | None,  # one-hot [N, c_dim]
    means: Means,
    generated: torch.Tensor | None = None,  # from `generate`
):
    """Rate real above generated images; at every `reg_interval`-th step also flatten D around them."""
    penalise = config.gamma > 0 and state.step % config.reg_interval == 0
    alike = not penalise or config.loss == "relativistic"  # R1 and R2: then both kinds of images go through D as one
    state.D.requires_grad_(True)
    state.D.freeze(config.freezed)
    state.opt_D.zero_grad(set_to_none=True)
    r_t_mean: torch.Tensor | float = 0.0
    parts = list(_parts(real, c, config))
    for real, c in parts:
        with torch.no_grad():
            fake = _generate(state, config, real, c, update_w_avg=True) if generated is None else generated.detach()
        images = [torch.cat([real, fake])] if alike else [real, fake]
        images[0].requires_grad_(penalise)
        with autocast(config.precision, real.device, twice=penalise):
            rated = [_rate(state, config, x, c, batches=len(x) // len(real)) for x in images]
        real_logits, fake_logits = torch.cat(rated).chunk(2)
        loss = adversarial = discriminator_loss(config.loss, real_logits, fake_logits)
        if penalise:
            norms = gradient_penalty(rated[0], images[0]).split(len(real))
            for name, squared_norm in zip(("r1", "r2"), norms):
                loss = loss + config.gamma / 2 * config.reg_interval * squared_norm.mean()
                means.add(**{name: squared_norm})
        _check("the discriminator's loss", loss, state, {"the real images": real})
        state.scaler_D.scale(loss / len(parts)).backward()
        r_t_mean = r_t_mean + r_t(config.loss, real_logits, fake_logits) / len(parts)
        means.add(loss_D=adversarial, real_logits=real_logits, fake_logits=fake_logits)
    _update(state, config, "D", means)
    means.add(signs=r_t_mean)  # the name that records have
    if config.aug != "noaug":
        means.add(p=state.strength.p)
    if config.aug == "ada":
        everywhere = distributed.average({"r_t": float(r_t_mean)}, real.device)["r_t"]
        state.strength.update(everywhere * config.batch, config.batch)


def generator_step(
    state: TrainingState,
    config: TrainingConfig,
    real: torch.Tensor,
    c: torch.Tensor | None,
    means: Means,
    generated: torch.Tensor | None = None,  # from `generate`
):
    """Make D rate generated images as real; at every `pl_interval`-th step also even out how fast images move with w."""
    regularise = config.pl_weight > 0 and state.step % config.pl_interval == 0
    state.D.requires_grad_(False)
    state.opt_G.zero_grad(set_to_none=True)
    parts = list(_parts(real, c, config))
    for real, c in parts:
        with autocast(config.precision, real.device, twice=regularise):
            real_logits = None
            if config.loss == "relativistic":
                with torch.no_grad():
                    real_logits = _rate(state, config, real, c)
        fake = _generate(state, config, real, c) if generated is None else generated
        with autocast(config.precision, real.device, twice=regularise):
            fake_logits = _rate(state, config, fake, c)
        loss = adversarial = generator_loss(config.loss, fake_logits, real_logits)
        if regularise:
            lengths = _path_lengths(state, config, real, c)
            loss = adversarial + config.pl_weight * config.pl_interval * path_penalty(lengths, state.path_mean)
            means.add(path_length=lengths)
        _check("the generator's loss", loss, state, {"the real images": real})
        state.scaler_G.scale(loss / len(parts)).backward()
        means.add(loss_G=adversarial)
    _update(state, config, "G", means)


def _parts(real: torch.Tensor, c: torch.Tensor | None, config: TrainingConfig) -> Iterator[tuple]:
    """What goes through the networks at once; the gradients of all parts are added up."""
    size = config.batch_gpu or len(real)
    for start in range(0, len(real), size):
        yield real[start : start + size], None if c is None else c[start : start + size]


def _generate(
    state: TrainingState, config: TrainingConfig, like: torch.Tensor, c: torch.Tensor | None, **options
) -> torch.Tensor:
    with autocast(config.precision, like.device):
        return state.G.synthesis(_styles(state, config, like, c, **options), "random", full_size=False)


def _styles(state: TrainingState, config: TrainingConfig, like: torch.Tensor, c: torch.Tensor | None, **options):
    """ws [N, num_ws, w_dim] of fresh noise; with `style_mixing`, of two where some layer is crossed."""
    noise = lambda: torch.randn(len(like), state.G.z_dim, device=like.device)
    ws = state.G.mapping(noise(), c, **options)
    if config.style_mixing > 0 and state.G.num_ws > 1:  # Karras et al. 2019, section 3.1; each image has its own crossover
        crossover = torch.randint(1, state.G.num_ws, (len(like), 1), device=like.device)
        mixed = torch.rand(len(like), 1, device=like.device) < config.style_mixing
        second = mixed & (torch.arange(state.G.num_ws, device=like.device) >= crossover)  # [N, num_ws]
        ws = torch.where(second[:, :, None], state.G.mapping(noise(), c), ws)
    return ws


def _path_lengths(state: TrainingState, config: TrainingConfig, like: torch.Tensor, c: torch.Tensor | None) -> torch.Tensor:
    """Of half as many images as a part has, as in StyleGAN2; keeps their moving average."""
    half = slice(0, max(len(like) // 2, 1))
    ws = _styles(state, config, like[half], None if c is None else c[half])
    images = state.G.synthesis(ws, "random", full_size=False)
    lengths = path_lengths(images, ws, torch.randn_like(images) / (images.shape[2] * images.shape[3]) ** 0.5)
    mean = distributed.average({"length": lengths.mean().item()}, like.device)["length"]
    state.path_mean += 0.01 * (mean - state.path_mean)
    return lengths


def _rate(state: TrainingState, config: TrainingConfig, images: torch.Tensor, c: torch.Tensor | None, batches: int = 1):
    """Logits of `batches` batches behind one another, each with these labels; real and generated images are augmented alike."""
    images = augment(images, state.strength.p, config.augpipe) if config.aug != "noaug" else images
    return state.D(images, None if c is None else c.repeat(batches, 1), batches)


def _check(what: str, value: torch.Tensor, state: TrainingState, inputs: dict[str, torch.Tensor]) -> None:
    check_finite(what, value.detach(), state.nimg, {"G": state.G, "D": state.D}, inputs)


def _update(state: TrainingState, config: TrainingConfig, name: str, means: Means) -> None:
    """Average gradients over processes, check them, and let Adam move the weights."""
    network, optimiser, scaler = (getattr(state, kind + name) for kind in ("", "opt_", "scaler_"))
    distributed.average_gradients(network.parameters())
    scaler.unscale_(optimiser)
    if config.forced_norm:
        make_tangent(network)
    norm = torch.nn.utils.get_total_norm([p.grad for p in network.parameters() if p.grad is not None])
    if not scaler.is_enabled():  # a scaler leaves such a step out, and goes on with smaller numbers
        _check(f"the gradient of {name}", norm, state, {})
    scaler.step(optimiser)
    scaler.update()
    if config.forced_norm:
        renormalise(network)
    means.add(**{f"gradient_{name}": norm})
