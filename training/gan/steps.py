"""One update of the discriminator, and one of the generator.

What is drawn for image i of a batch depends on the seed, the images seen and i: not on the number of processes that share the
batch, nor on `batch_gpu`.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch

from torch_utils import distributed
from torch_utils.precision import autocast
from torch_utils.rng import BatchDraws
from torch_utils.stats import Means
from training.gan.ada import r_t
from training.gan.augment import augment
from training.gan.config import TrainingConfig
from training.gan.losses import discriminator_loss, generator_loss, gradient_penalty, path_lengths, path_penalty
from training.gan.magnitudes import keep_lengths, make_tangent
from training.gan.projected import Maps, look_at, projected_discriminator_loss, projected_generator_loss
from training.gan.state import TrainingState
from training.run.health import check_finite


class Shared(NamedTuple):
    """What is made once, for both updates."""

    images: torch.Tensor  # generated
    real_maps: Maps | None = None  # what a projected discriminator sees of the real images,
    fake_maps: Maps | None = None  # and of the generated ones


class Part(NamedTuple):
    """What goes through the networks at once."""

    real: torch.Tensor  # [N, C, H, W] about [-1, 1], as large as the networks have grown
    c: torch.Tensor | None  # one-hot [N, c_dim]
    first: int  # number of its first image in the batch
    batch: int  # images of all processes together

    def draws(self, state: TrainingState, config: TrainingConfig, use: str, batches: int = 1) -> BatchDraws:
        """The same every time, for one `use`."""
        return BatchDraws(self.batch, self.first, "step", config.seed, state.nimg, use, batches=batches)

    def half(self) -> "Part":
        """Every second image of the batch; of an odd number, as many of the first ones."""
        n = len(self.real)
        take = slice(None, None, 2) if n % 2 == 0 else slice(0, max(n // 2, 1))
        shrunk = 2 if n % 2 == 0 else 1
        return Part(self.real[take], None if self.c is None else self.c[take], self.first // shrunk, self.batch // shrunk)


def generate(state: TrainingState, config: TrainingConfig, real: torch.Tensor, c: torch.Tensor | None) -> Shared | None:
    """Images for both updates, as many and as large as `real` and of its classes: D's update leaves G as it is.

    None with `batch_gpu`, which saves memory: then each update makes them anew, a part at a time.
    """
    if config.batch_gpu:
        return None
    (part,) = _parts(real, c, config)
    images, w_mean = _generate(state, config, part)
    state.G.mapping.update_w_avg(distributed.average_tensor(w_mean))
    return _look(state, config, part, images)


def discriminator_step(
    state: TrainingState,
    config: TrainingConfig,
    real: torch.Tensor,  # [N, C, H, W] about [-1, 1], as large as the networks have grown
    c: torch.Tensor | None,  # one-hot [N, c_dim]
    means: Means,
    generated: Shared | None = None,  # from `generate`
) -> float:
    """Rate real above generated images; at every `reg_interval`-th step also flatten D around them.

    Returns the sum of r_t over this process's images, for `adapt`.
    """
    penalise = config.gamma > 0 and state.step % config.reg_interval == 0
    alike = not penalise or config.loss == "relativistic"  # R1 and R2: then both kinds of images go through D as one
    state.D.requires_grad_(True)
    state.D.freeze(config.freezed)
    state.opt_D.zero_grad(set_to_none=True)
    signs: torch.Tensor | float = 0.0  # sum over this process's images; whole, so that it is the same in whatever parts
    w_mean: torch.Tensor | float = 0.0
    parts = list(_parts(real, c, config))
    for part in parts:
        real, draws = part.real, part.draws(state, config, "discriminator", batches=2 if alike else 1)
        if generated is None:
            with torch.no_grad():
                fake, w_of_part = _generate(state, config, part)
                shared = _look(state, config, part, fake)
            w_mean = w_mean + w_of_part / len(parts)
        else:
            shared, fake = generated, generated.images.detach()
        images = [torch.cat([real, fake])] if alike else [real, fake]
        images[0].requires_grad_(penalise)
        with autocast(config.precision, real.device, twice=penalise):
            rated = [_rate(state, config, x, part.c, draws) for x in images]
        real_logits, fake_logits = torch.cat(rated).chunk(2)
        loss = adversarial = discriminator_loss(config.loss, real_logits, fake_logits)
        if penalise:
            norms = gradient_penalty(rated[0], images[0]).split(len(real))
            for name, squared_norm in zip(("r1", "r2"), norms):
                loss = loss + config.gamma / 2 * config.reg_interval * squared_norm.mean()
                means.add(**{name: squared_norm})
        if shared.fake_maps:
            now = config.projected_gamma > 0 and state.step % config.reg_interval == 0
            loss = loss + projected_discriminator_loss(state, config, shared.real_maps, shared.fake_maps, part.c, now, means)
        _check("the discriminator's loss", loss, state, {"the real images": real})
        state.scaler_D.scale(loss / len(parts)).backward()
        signs = signs + (r_t(config.loss, real_logits, fake_logits) * len(real)).round()
        means.add(loss_D=adversarial, real_logits=real_logits, fake_logits=fake_logits)
    if isinstance(w_mean, torch.Tensor):
        state.G.mapping.update_w_avg(distributed.average_tensor(w_mean))
    _update(state, config, "D", means)
    r_t_mean = signs / sum(len(part.real) for part in parts)
    means.add(signs=r_t_mean)  # the name that records have
    if config.aug != "noaug":
        means.add(p=state.strength.p)
    return float(signs)


def adapt(state: TrainingState, config: TrainingConfig, r_t_sum: float, device: torch.device) -> None:
    """Augment more, or less. After both updates, which share what they see of augmented images."""
    if config.aug == "ada":
        of_all = distributed.average({"signs": r_t_sum}, device)["signs"] * distributed.place()[1]
        state.strength.update(of_all, config.batch)


def generator_step(
    state: TrainingState,
    config: TrainingConfig,
    real: torch.Tensor,
    c: torch.Tensor | None,
    means: Means,
    generated: Shared | None = None,  # from `generate`
):
    """Make D rate generated images as real; at every `pl_interval`-th step also even out how fast images move with w."""
    regularise = config.pl_weight > 0 and state.step % config.pl_interval == 0
    state.D.requires_grad_(False)
    state.opt_G.zero_grad(set_to_none=True)
    parts = list(_parts(real, c, config))
    length: torch.Tensor | float = 0.0
    for part in parts:
        real, draws = part.real, part.draws(state, config, "generator")
        with autocast(config.precision, real.device, twice=regularise):
            real_logits = None
            if config.loss == "relativistic":
                with torch.no_grad():
                    real_logits = _rate(state, config, real, part.c, draws)
        shared = generated or _look(state, config, part, _generate(state, config, part)[0])
        with autocast(config.precision, real.device, twice=regularise):
            fake_logits = _rate(state, config, shared.images, part.c, draws)
        loss = adversarial = generator_loss(config.loss, fake_logits, real_logits)
        if shared.fake_maps:
            loss = loss + projected_generator_loss(state, config, shared.real_maps, shared.fake_maps, part.c, means)
        if regularise:
            lengths = _path_lengths(state, config, part.half())
            loss = loss + config.pl_weight * config.pl_interval * path_penalty(lengths, state.path_mean)
            length = length + lengths.detach().mean() / len(parts)
            means.add(path_length=lengths)
        _check("the generator's loss", loss, state, {"the real images": real})
        state.scaler_G.scale(loss / len(parts)).backward()
        means.add(loss_G=adversarial)
    _update(state, config, "G", means)
    if regularise:  # after the penalty, which all parts and processes take against the same mean
        length = distributed.average({"length": float(length)}, real.device)["length"]
        state.path_mean += 0.01 * (length - state.path_mean)


def _parts(real: torch.Tensor, c: torch.Tensor | None, config: TrainingConfig) -> Iterator[Part]:
    """Of this process's share of the batch; the gradients of all parts are added up."""
    rank, world = distributed.place()
    size = config.batch_gpu or len(real)
    for start in range(0, len(real), size):
        part = slice(start, start + size)
        yield Part(real[part], None if c is None else c[part], rank * len(real) + start, world * len(real))


def _generate(state: TrainingState, config: TrainingConfig, part: Part) -> tuple[torch.Tensor, torch.Tensor]:
    """Images, and the mean w [w_dim] of their first layer."""
    draws = part.draws(state, config, "images")
    with autocast(config.precision, part.real.device):
        ws = _styles(state, config, part, draws)
        return state.G.synthesis(ws, "random", full_size=False, draws=draws), ws[:, 0].detach().mean(0)


def _look(state: TrainingState, config: TrainingConfig, part: Part, images: torch.Tensor) -> Shared:
    """Generated images, and what a projected discriminator sees of them and of the real ones, where there is one."""
    if state.D.projected is None:
        return Shared(images)
    draws = lambda: part.draws(state, config, "features")
    with autocast(config.precision, part.real.device):
        with torch.no_grad():
            real = look_at(state, config, part.real, draws())
        return Shared(images, real, look_at(state, config, images, draws()))


def _styles(state: TrainingState, config: TrainingConfig, part: Part, draws: BatchDraws) -> torch.Tensor:
    """ws [N, num_ws, w_dim] of fresh noise; with `style_mixing`, of two where some layer but the first is crossed."""
    ws = state.G.mapping(draws.normal(part.real, state.G.z_dim), part.c)
    if config.style_mixing > 0 and state.G.num_ws > 1:  # Karras et al. 2019, section 3.1; each image has its own crossover
        crossover = draws.integers(part.real, 1, state.G.num_ws, 1)
        mixed = draws.uniform(part.real, 1) < config.style_mixing
        second = mixed & (torch.arange(state.G.num_ws, device=ws.device) >= crossover)  # [N, num_ws]
        ws = torch.where(second[:, :, None], state.G.mapping(draws.normal(part.real, state.G.z_dim), part.c), ws)
    return ws


def _path_lengths(state: TrainingState, config: TrainingConfig, part: Part) -> torch.Tensor:
    """Of as many images as the part has."""
    draws = part.draws(state, config, "lengths")
    ws = _styles(state, config, part, draws)
    images = state.G.synthesis(ws, "random", full_size=False, draws=draws)
    return path_lengths(images, ws, draws.normal(images, *images.shape[1:]) / (images.shape[2] * images.shape[3]) ** 0.5)


def _rate(
    state: TrainingState, config: TrainingConfig, images: torch.Tensor, c: torch.Tensor | None, draws: BatchDraws
) -> torch.Tensor:
    """Logits of `draws.batches` batches behind one another, each with labels c; real and generated images are augmented
    alike."""
    images = augment(images, state.strength.p, config.augpipe, draws) if config.aug != "noaug" else images
    return state.D(images, None if c is None else c.repeat(draws.batches, 1), draws.batches)


def _check(what: str, value: torch.Tensor, state: TrainingState, inputs: dict[str, torch.Tensor]) -> None:
    check_finite(what, value.detach(), state.nimg, {"G": state.G, "D": state.D}, inputs)


def _update(state: TrainingState, config: TrainingConfig, name: str, means: Means) -> None:
    """Average gradients over processes, check them, and let Adam move the weights."""
    network, optimiser, scaler = (getattr(state, kind + name) for kind in ("", "opt_", "scaler_"))
    distributed.average_gradients(network.parameters())
    scaler.unscale_(optimiser)
    held = make_tangent(network) if config.forced_norm else []
    norm = torch.nn.utils.get_total_norm([p.grad for p in network.parameters() if p.grad is not None])
    if not scaler.is_enabled():  # a scaler leaves such a step out, and goes on with smaller numbers
        _check(f"the gradient of {name}", norm, state, {})
    scaler.step(optimiser)
    scaler.update()
    keep_lengths(held)
    means.add(**{f"gradient_{name}": norm})
