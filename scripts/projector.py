"""Find the style that draws a picture: `python -m scripts.projector --target face.png --outdir out`.

The projection of StyleGAN2 (Karras et al. 2020, appendix D) without its noise maps, which stay as the network has them: w is
optimised by Adam, with noise that falls, for a perceptual distance on VGG-16 and the difference in pixels.
"""

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import click
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from networks.generator import Generator
from networks.sampling import class_vector
from networks.style_transfer.vgg import VGG, load_vgg
from torch_utils.archive import open_images
from torch_utils.checkpoint import load_generator, read_snapshot
from torch_utils.cli import Progress, command, run
from torch_utils.files import InputError, make_folders
from torch_utils.images import from_pil, from_uint8, save_grid, save_png, to_rgb, to_uint8
from torch_utils.local_path import LocalPath
from torch_utils.ops import to_double
from torch_utils.overwriting import check_files
from torch_utils.platform import choose_device, keep_freed_memory
from torch_utils.precision import float32
from torch_utils.pretrained import find_network
from torch_utils.ws_file import save_ws

SIDE = 64  # pixels, at least, of what VGG sees: of a smaller picture its deeper layers would have hardly a cell
CANDIDATES = 512  # random styles, the nearest of which is the beginning
WRITTEN = ("target.png", "proj.png", "path.png", "projected_w.npz")
SHOWN = 8  # pictures of the path
NOISE, NOISE_UNTIL = 0.05, 0.75  # of one number of w (StyleGAN2: of its length), falling to 0 in this share of the steps
RISE, FALL = 0.05, 0.25  # shares of the steps in which the learning rate rises, and falls


class Projection(NamedTuple):
    ws: torch.Tensor  # [1, num_ws, w_dim]
    distance: float  # of the picture that they draw
    path: list[torch.Tensor]  # pictures on the way, uint8 [C, H, W], the last one the result


def perceptual(encoder: VGG, target: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    """The distance [N] of images [N, C, H, W] in [-1, 1] to `target` [1, C, H, W]: of VGG's maps, brought to unit length at
    every place (the form of LPIPS, Zhang et al. 2018, without its learned weights), and of pixels."""

    def maps(images: torch.Tensor) -> list[torch.Tensor]:
        images = images[:, :3] if images.shape[1] > 2 else images[:, :1].expand(-1, 3, -1, -1)
        factor = SIDE / min(images.shape[2:])
        if factor > 1:  # without antialias, which changes nothing where pictures grow: Macs (MPS) have no gradient of it
            images = F.interpolate(images, scale_factor=factor, mode="bilinear")
        return [F.normalize(x, dim=1, eps=1e-6) for x in encoder(images)]

    with torch.no_grad():
        wanted = maps(target)

    def distance(images: torch.Tensor) -> torch.Tensor:
        features = sum((x - y).square().sum(dim=1).mean(dim=(1, 2)) for x, y in zip(maps(images), wanted))
        return features + (images - target).square().mean(dim=(1, 2, 3))  # type: ignore[return-value]

    return distance


@float32()
def project(
    G: Generator,
    distance: Callable[[torch.Tensor], torch.Tensor],
    steps: int,
    lr: float = 0.1,
    free: bool = False,  # W+: a style for each layer; else one for all
    c: torch.Tensor | None = None,  # [1, c_dim]
    seed: int = 0,
    update: Callable[[int], None] = lambda step: None,
) -> Projection:
    """The ws whose picture is nearest, of all that were tried."""
    generator = torch.Generator().manual_seed(seed)
    device = next(G.parameters()).device
    with torch.no_grad():
        z = torch.randn(CANDIDATES, G.z_dim, generator=generator).to(device)
        w = G.mapping(z, None if c is None else c.to(device).expand(CANDIDATES, -1))[:, 0]
        spread = w.std(dim=0).square().mean().sqrt()
        near = torch.cat([distance(G.synthesis(part[:, None].expand(-1, G.num_ws, -1))) for part in w.split(32)])
    w = w[near.argmin()].expand(1, G.num_ws if free else 1, -1).clone().requires_grad_()
    optimiser = torch.optim.Adam([w], lr=lr, betas=(0.9, 0.999))
    best, least, path = w.detach(), math.inf, []
    for step in range(steps + 1):
        part = step / max(steps, 1)
        noise = torch.randn(w.shape, generator=generator).to(device) * spread * NOISE * max(1 - part / NOISE_UNTIL, 0) ** 2
        for group in optimiser.param_groups:
            group["lr"] = lr * float(spread) * min(1, part / RISE, (1 - math.cos(math.pi * min(1, (1 - part) / FALL))) / 2)
        images = G.synthesis((w + noise).expand(-1, G.num_ws, -1))
        loss = distance(images).sum()
        if loss.item() < least:
            best, least = (w + noise).detach(), loss.item()
        if step % max(steps // (SHOWN - 1), 1) == 0 and len(path) < SHOWN - 1:
            path.append(to_uint8(images.detach())[0])
        if step < steps:
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        if step:
            update(step)
    with torch.no_grad():
        ws = best.expand(-1, G.num_ws, -1).contiguous()
        return Projection(ws, least, [*path, to_uint8(G.synthesis(ws))[0]])


def read_target(path: Path, G: Generator) -> torch.Tensor:
    """[1, C, H, W] in [-1, 1] as G draws: the largest part in the middle with its proportions, resized."""
    archive = open_images(path)
    if len(archive.names) != 1:
        raise InputError(f"--target {path}: found {len(archive.names)} images, wanted one")
    if G.img_channels not in (1, 3):
        raise InputError(f"--target: the network draws {G.img_channels} channels, wanted 1 or 3, without alpha")
    height, width = G.img_resolution if isinstance(G.img_resolution, tuple) else (G.img_resolution, G.img_resolution)
    picture = to_rgb(from_pil(archive.image(archive.names[0]))[None])[0]
    fitted = ImageOps.fit(Image.fromarray(picture.permute(1, 2, 0).numpy()), (width, height), Image.Resampling.LANCZOS)
    return from_uint8(from_pil(fitted.convert("L") if G.img_channels == 1 else fitted)[None])


def psnr(image: torch.Tensor, target: torch.Tensor) -> float:
    """Decibels of uint8 images; infinite for equal ones."""
    error = (to_double(image) - to_double(target)).square().mean().item()
    return 10 * math.log10(255**2 / error) if error else math.inf


@command()
@click.option(
    "--target",
    type=click.Path(path_type=Path),
    required=True,
    help="the picture; it is cropped and resized to the network's size",
)
@click.option(
    "--outdir",
    type=LocalPath(file_okay=False),
    required=True,
    help=f"for {', '.join(WRITTEN)}",
)
@click.option("--network", type=click.Path(path_type=Path), default="emoji32", show_default=True, help="as of generate.py")
@click.option(
    "--space", type=click.Choice(["w", "w+"]), default="w", show_default=True, help="one style for all layers, or one for each"
)
@click.option("--steps", type=click.IntRange(1, 10**6), default=500, show_default=True)
@click.option(
    "--lr", type=click.FloatRange(0, 10, min_open=True), default=0.1, show_default=True, help="in units of the spread of w"
)
@click.option("--class", "label", help="number or name of a class, for conditional networks")
@click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="of the first candidates and the noise"
)
@click.option("--device", help="cpu, cuda, mps …  [default: the best there is]")
def main(target, outdir, network, space, steps, lr, label, seed, device):
    """Find the style with which a generator draws a picture, or comes as near as it can.

    \b
    Example:
      python -m scripts.projector --target face.png --space w+ --outdir out
      python generate.py --projected-w out/projected_w.npz --outdir out
    """
    chosen = choose_device(device)
    keep_freed_memory()
    network = find_network(network, "generator")
    G = load_generator(network, chosen).requires_grad_(False)
    c = class_vector(G.c_dim, label, read_snapshot(network, tensors=False).info.get("label_names"), network)
    image = read_target(target, G).to(chosen)
    check_files([("--outdir", outdir / name) for name in WRITTEN], [("--target", target), ("--network", network)])
    distance = perceptual(load_vgg("vgg16").to(chosen), image)
    make_folders(outdir)
    progress = Progress("projecting", steps, "step")
    found = project(G, distance, steps, lr, space == "w+", c, seed, progress.update)
    progress.close()
    wanted = to_uint8(image)[0]
    cropped, result, path, ws = (outdir / name for name in WRITTEN)
    save_png(cropped, wanted)
    save_png(result, found.path[-1])
    save_grid(path, torch.stack([wanted.cpu(), *(picture.cpu() for picture in found.path)]), SHOWN + 1)
    save_ws(ws, found.ws)
    print(f"distance {found.distance:.4f}, {psnr(found.path[-1], wanted):.1f} dB; {ws}, {path.name}")


if __name__ == "__main__":
    run(main)
