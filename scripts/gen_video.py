"""A seamless walk between seeds: `python -m scripts.gen_video --seeds 0-7 --output walk.webp`."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import torch
from PIL import Image
from scipy.interpolate import CubicSpline

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from networks.generator import Generator
from networks.sampling import class_vector, seed_noise
from scripts.video_files import MAX_FRAMES, check_frames, writer_of
from torch_utils.checkpoint import load_generator, read_snapshot
from torch_utils.cli import PSI, SEEDS, Progress, command, run
from torch_utils.files import InputError, make_folders
from torch_utils.images import enlarge, grid, to_pil, to_uint8
from torch_utils.local_path import LocalPath
from torch_utils.ops import to_double
from torch_utils.platform import choose_device, keep_freed_memory
from torch_utils.precision import float32
from torch_utils.pretrained import find_network


def parse_grid(text: str) -> tuple[int, int]:
    """`3x2` -> columns, rows."""
    match = re.fullmatch(r"([1-9]\d?)x([1-9]\d?)", text)
    if not match:
        raise click.BadParameter(f"{text!r} does not read as a grid; write 3x2: three columns, two rows")
    return int(match[1]), int(match[2])


def loop(keys: np.ndarray, frames: int) -> np.ndarray:
    """keys [K, …] -> [K · frames, …]: a smooth closed curve through all of them, in equal times, which ends where it began."""
    if len(keys) == 1:
        return np.repeat(keys, frames, axis=0)
    closed = np.concatenate([keys, keys[:1]])
    return CubicSpline(range(len(closed)), closed, bc_type="periodic")(np.arange(len(keys) * frames) / frames)


@torch.inference_mode()
def walk(
    G: Generator,
    seeds: list[int],  # a multiple of `cells`: each cell walks through those of its own
    frames: int,  # from one seed to the next
    cells: int = 1,
    space: str = "w",  # w: between styles; z: between noises, brought back to their sphere by the mapping
    psi: float = 1,
    c: torch.Tensor | None = None,  # [1, c_dim]
    noise_mode: str = "const",
) -> Iterator[torch.Tensor]:
    """The pictures of all cells, uint8 [cells, C, H, W], frame by frame: len(seeds) / cells · frames of them."""
    device = next(G.parameters()).device
    keys = seed_noise(G, seeds).to(device)
    styles = lambda z: G.mapping(z, None if c is None else c.to(device).expand(len(z), -1), psi)
    keys = styles(keys) if space == "w" else keys
    paths = [loop(to_double(own).cpu().numpy(), frames) for own in keys.split(len(seeds) // cells)]
    for step in range(len(paths[0])):
        at = torch.from_numpy(np.stack([path[step] for path in paths])).float().to(device)
        with float32():
            pictures = to_uint8(G.synthesis(at if space == "w" else styles(at), noise_mode))
        yield pictures


@command()
@click.option("--seeds", type=SEEDS, required=True, help="that the walk goes through, as 0-7; it ends where it began")
@click.option("--output", type=LocalPath(dir_okay=False), required=True, help=".mp4 (extra `video`), .webp or .gif")
@click.option("--frames", type=click.IntRange(1), default=60, show_default=True, help="from one seed to the next")
@click.option("--fps", type=click.FloatRange(1, 100), default=30, show_default=True, help="frames a second")
@click.option(
    "--grid", "shape", type=parse_grid, default="1x1", metavar="COLUMNSxROWS", help="of pictures, which share the seeds"
)
@click.option("--space", type=click.Choice(["w", "z"]), default="w", show_default=True, help="in which the walk is smooth")
@click.option("--scale", type=click.IntRange(1, 64), default=1, show_default=True, help="how often every pixel is repeated")
@click.option("--network", type=click.Path(path_type=Path), default="emoji32", show_default=True, help="as of generate.py")
@click.option("--trunc", "psi", type=PSI, default=1, show_default=True, help="truncation psi")
@click.option("--class", "label", help="number or name of a class, for conditional networks")
@click.option("--noise-mode", type=click.Choice(["const", "none"]), default="const", show_default=True)
@click.option("--device", help="cpu, cuda, mps …  [default: the best there is]")
def main(seeds, output, frames, fps, shape, space, scale, network, psi, label, noise_mode, device):
    """Draw a walk through the pictures of several seeds, as a video that can be repeated without a jump.

    \b
    Example:
      python -m scripts.gen_video --seeds 0-31 --grid 4x2 --output walk.mp4
    """
    write = writer_of(output, fps)
    columns, cells = shape[0], shape[0] * shape[1]
    if len(seeds) % cells:
        raise InputError(f"--grid {shape[0]}x{shape[1]}: found {len(seeds)} seeds, wanted a multiple of {cells}")
    if (total := len(seeds) // cells * frames) > MAX_FRAMES:
        raise InputError(f"--frames {frames}: found {total} frames in all, wanted {MAX_FRAMES} at most")
    chosen = choose_device(device)
    keep_freed_memory()
    network = find_network(network, "generator")
    G = load_generator(network, chosen)
    height, width = G.img_resolution if isinstance(G.img_resolution, tuple) else (G.img_resolution, G.img_resolution)
    check_frames(output, width * scale * columns, height * scale * shape[1], total)
    c = class_vector(G.c_dim, label, read_snapshot(network, tensors=False).info.get("label_names"), network)
    make_folders(output.absolute().parent)
    progress = Progress("drawing", total, "frame")

    def pictures() -> Iterator[Image.Image]:
        for i, images in enumerate(walk(G, seeds, frames, cells, space, psi, c, noise_mode)):
            yield to_pil(grid(enlarge(images, scale), columns))
            progress.update(i + 1)

    write(output, pictures(), fps)
    progress.close()
    print(f"{output}: {total} frames, {total / fps:.1f} s")


if __name__ == "__main__":
    run(main)
