"""Scores of style transfers: `python -m scripts.eval_style`, for docs/structure.md and docs/style.md.

Three parts, each of which runs alone: trained networks on held-out pairs (`--network`), the stripes-and-dots test
(`--textures`), and time and memory of AdaConv against AdaIN (`--speed`).
"""

import platform
import random
import statistics
import sys
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace

import click
import torch
from PIL import Image, ImageOps

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from metrics.style_transfer.ssim import edge_ssim
from metrics.style_transfer.structure import PERIODS, mean_score, smallest_side, structure_score
from networks.style_transfer.feature_losses import content_loss, gram_distance, moments_loss
from networks.style_transfer.stylizer import Stylizer, load_stylizer
from scripts.benchmarks import style_transfer as style_speed
from scripts.benchmarks.style_transfer import whole
from scripts.benchmarks.timing import timed
from scripts.experiments import stripes_and_dots
from scripts.output import markdown
from torch_utils.archive import Archive
from torch_utils.checkpoint import read_snapshot
from torch_utils.cli import Progress, command, run
from torch_utils.files import InputError, write_json
from torch_utils.images import from_pil, from_uint8, to_rgb, to_uint8
from torch_utils.platform import choose_device, keep_freed_memory
from torch_utils.pretrained import find_network

PATH = click.Path(path_type=Path)
COLUMNS = {
    "content_loss": "content loss",
    "style_loss": "style loss",
    "gram": "Gram distance",
    "edges": "SSIM of edges",
    "structure": "structure score",
    "seconds": "s / image",
}


Images = dict[str, torch.Tensor]  # by name, each [1, 3, H, W] in [-1, 1]


def read_images(archive: Archive, names: Iterable[str], size: int, device: torch.device | str = "cpu") -> Images:
    """Of `size`×`size` pixels: the largest square in the middle, resized."""
    fitted = {name: ImageOps.fit(archive.image(name), (size, size), Image.Resampling.LANCZOS) for name in names}
    return {name: from_uint8(to_rgb(from_pil(image)[None])).to(device) for name, image in fitted.items()}


def pairs_of(contents: list[str], styles: list[str], limit: int, seed: int = 0) -> list[tuple[str, str]]:
    """All pairs in order, or `limit` of them drawn by the seed."""
    count = len(contents) * len(styles)
    pick = sorted(random.Random(seed).sample(range(count), min(limit, count)))
    return [(contents[i // len(styles)], styles[i % len(styles)]) for i in pick]


def evaluate(stylizers: dict[str, Stylizer], contents: Images, styles: Images, pairs: list[tuple[str, str]]) -> dict[str, dict]:
    """Name of a network -> means over the pairs. Content and style themselves are scored, too: the ends of each scale.

    Features are those of one encoder, the first network's, for all of them.
    """
    encoder = next(iter(stylizers.values())).encoder
    records = {name: [] for name in (*stylizers, "content", "style")}
    bar = Progress("pairs", len(pairs), "pair")
    for i, (content_name, style_name) in enumerate(pairs):
        content, style = contents[content_name], styles[style_name]
        outputs = {name: timed_stylize(stylizer, content, style) for name, stylizer in stylizers.items()}
        outputs |= {"content": (content, 0.0), "style": (style, 0.0)}
        with torch.no_grad():
            of_content, of_style = encoder(content), encoder(style)
            for name, (output, seconds) in outputs.items():
                output = from_uint8(to_uint8(output))  # as a file has it
                of_output = encoder(output)
                losses = dict(content_loss=content_loss(of_output, of_content), style_loss=moments_loss(of_output, of_style))
                losses |= dict(gram=gram_distance(of_output, of_style), edges=edge_ssim(output, content))
                structure = structure_score(output, content, style)[0]
                records[name].append({k: float(v) for k, v in losses.items()} | dict(structure=structure, seconds=seconds))
        bar.update(i + 1)
    bar.close()
    return {name: means(rows) for name, rows in records.items()}


def timed_stylize(stylizer: Stylizer, content: torch.Tensor, style: torch.Tensor) -> tuple[torch.Tensor, float]:
    """-> the image, and seconds for both encoders and the decoder."""
    images = []
    seconds = timed(lambda: images.append(whole(stylizer, content, style)), content.device)
    return images[0], seconds


def means(rows: list[dict]) -> dict:
    """Over the pairs; seconds are the median, as the first pair is slower."""
    structure = mean_score([row["structure"] for row in rows])
    result = {key: statistics.fmean(row[key] for row in rows) for key in ("content_loss", "style_loss", "gram", "edges")}
    result |= dict(structure=structure.score, structure_distance=structure.output, structure_of_content=structure.content)
    return result | dict(seconds=statistics.median(row["seconds"] for row in rows))


def evaluation_table(results: dict[str, dict]) -> str:
    cell = lambda key, value: f"{value:.3f}" if value or key != "seconds" else ""
    rows = [[name, *(cell(key, scores[key]) for key in COLUMNS)] for name, scores in results.items()]
    return markdown(["network", *COLUMNS.values()], rows)


@command()
@click.option("--network", "networks", type=PATH, multiple=True, help="as of stylize.py; may be given several times")
@click.option("--encoder-weights", type=PATH, help="of VGG, with torchvision's keys  [default: in pretrained/, or fetched]")
@click.option("--content", type=PATH, help="folder or zip of held-out photographs")
@click.option("--style", type=PATH, help="folder or zip of held-out styles")
@click.option("--size", type=click.IntRange(smallest_side(PERIODS)), default=256, help="of both images, cropped to squares")
@click.option("--pairs", type=click.IntRange(1), default=100, help="at most this many, drawn at random")
@click.option("--textures", is_flag=True, help="the stripes-and-dots test, and OUT-textures.png")
@click.option("--steps", type=click.IntRange(2), default=500, help="training steps for each transfer of that test")
@click.option("--seed", type=click.IntRange(0), default=0, help="of the stripes-and-dots test")
@click.option("--speed", is_flag=True, help="time and memory of AdaConv : AdaIN, in the first network's or default widths")
@click.option("--speed-size", type=click.IntRange(8), default=512, help="of both images; the paper's style encoder takes 256")
@click.option("--seconds", type=float, default=60, help="for the repetitions of --speed")
@click.option("--out", type=PATH, default=Path("out/style"), help="OUT.json is written")
@click.option("--device", help="cpu, cuda, mps …  [default: the best there is]")
def main(**options):
    """Score trained style transfers, test what they can transfer at all, and time them."""
    o = SimpleNamespace(**options)
    if bool(o.content) != bool(o.style) or (o.content and not o.networks):
        raise click.UsageError("scoring takes --network, --content and --style together")
    if not (o.content or o.textures or o.speed):
        raise click.UsageError("nothing to do: wanted --network with --content and --style, or --textures, or --speed")
    device = choose_device(o.device)
    keep_freed_memory()
    o.out.parent.mkdir(parents=True, exist_ok=True)
    networks = {str(path): find_network(path, "style_transfer") for path in o.networks}
    results = dict(machine=dict(device=str(device), processor=platform.machine(), threads=torch.get_num_threads()))

    if o.content:
        stylizers = {name: load_stylizer(path, o.encoder_weights, device) for name, path in networks.items()}
        archives = Archive(o.content), Archive(o.style)
        pairs = pairs_of(archives[0].names, archives[1].names, o.pairs)
        contents, styles = (read_images(a, sorted(set(names)), o.size, device) for a, names in zip(archives, zip(*pairs)))
        try:
            scores = evaluate(stylizers, contents, styles, pairs)
        except ValueError as error:  # the paper's style encoder takes one size only
            raise InputError(f"--size {o.size}: {error}") from None
        results["evaluation"] = dict(size=o.size, pairs=pairs, networks=scores)
        print(f"\n{len(pairs)} pairs at {o.size}×{o.size}\n\n{evaluation_table(scores)}", flush=True)
    if o.textures:
        examined = stripes_and_dots.run_test(o.steps, o.seed, o.out.with_name(o.out.name + "-textures.png"))
        results["textures"] = stripes_and_dots.record(o.steps, o.seed, examined)
        print(f"\nheld-out stripes and dots of equal mean and variance\n\n{stripes_and_dots.table(examined)}", flush=True)
    if o.speed:
        config = read_snapshot(next(iter(networks.values())), tensors=False).config if networks else dict(encoder="vgg16")
        stylizers = style_speed.default_stylizers(config, device)
        results["speed"] = style_speed.measure(stylizers, o.speed_size, o.seconds, device)
        print(f"\n{style_speed.table(results['speed'])}", flush=True)
    write_json(o.out.with_name(o.out.name + ".json"), results)


if __name__ == "__main__":
    run(main)
