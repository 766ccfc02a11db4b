"""Scores of style transfers: `python -m scripts.eval_style`, for docs/structure.md and docs/style.md.

Four parts, each of which runs alone: trained networks on held-out pairs (`--network`), whether strokes turn with the style
(`--turning`), the stripes-and-dots test (`--textures`), and time and memory of AdaConv against AdaIN (`--speed`).
"""

import functools
import platform
import random
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace

import click
import torch
from PIL import Image, ImageOps

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from metrics.detectors.base import Detector
from metrics.detectors.load import load_detector
from metrics.detectors.names import EFFICIENTNET
from metrics.style_transfer.structure import PERIODS, smallest_side
from networks.style_transfer.peers import DEFAULT_STEPS, PEERS, STEPS, Method, make_peer
from networks.style_transfer.stylizer import Stylizer, load_stylizer
from networks.style_transfer.vgg import load_vgg
from scripts.benchmarks import style_transfer as style_speed
from scripts.experiments import stripes_and_dots, turning
from scripts.style_scores import TRIVIAL, Judges, evaluate, evaluation_tables, kinds_table, over_networks
from torch_utils.archive import Archive
from torch_utils.checkpoint import read_snapshot
from torch_utils.cli import NAMES, command, run
from torch_utils.files import InputError, make_folders, write_json
from torch_utils.images import from_pil, from_uint8, save_png, to_pil, to_rgb
from torch_utils.platform import choose_device, keep_freed_memory
from torch_utils.precision import float32
from torch_utils.pretrained import find_network
from training.style_transfer.sources import spread, within

PATH = click.Path(path_type=Path)
TURNED = 4  # contents of the turning test
CANDIDATES = 64  # styles among which it looks for the one with the clearest direction


def read_picture(archive: Archive, name: str) -> Image.Image:
    """RGB; alpha is laid over white."""
    return to_pil(to_rgb(from_pil(archive.image(name))[None])[0])


def read_image(archive: Archive, name: str, size: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """[1, 3, size, size] in [-1, 1]: the largest square in the middle, resized."""
    fitted = ImageOps.fit(archive.image(name), (size, size), Image.Resampling.LANCZOS)
    return from_uint8(to_rgb(from_pil(fitted)[None])).to(device)


def pairs_of(contents: list[str], styles: list[str], limit: int, seed: int = 0) -> list[tuple[str, str]]:
    """All pairs in order, or `limit` of them drawn by the seed."""
    count = len(contents) * len(styles)
    pick = sorted(random.Random(seed).sample(range(count), min(limit, count)))
    return [(contents[i // len(styles)], styles[i % len(styles)]) for i in pick]


def offline_detector(device: torch.device) -> Detector | None:
    """EfficientNet-Lite0; None, and a note, where the `offline` extra is not installed."""
    try:
        return load_detector(EFFICIENTNET, device)
    except InputError as error:
        print(f"note: no offline art score: {error}", file=sys.stderr)
        return None


def save_pictures(folder: Path | None, position: int, pictures: dict[str, torch.Tensor]) -> None:
    """FOLDER/<row>/<position>.png, for other tools: the same file name in all rows is the same pair."""
    for row, of_row in row_folders(pictures).items() if folder else ():
        path = folder / of_row / f"{position:05d}.png"
        make_folders(path.parent)
        save_png(path, pictures[row][0])


def row_folders(rows: Iterable[str]) -> dict[str, str]:
    """Row -> the name of its folder, which leads nowhere else, with a number where an earlier row has the same."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    for row in rows:
        plain = name = re.sub(r"[^\w.]+", "-", row).strip("-.") or "row"
        number = 1
        while name.casefold() in taken:  # some file systems do not tell capitals from small letters
            number += 1
            name = f"{plain}-{number}"
        found[row] = name
        taken.add(name.casefold())
    return found


def score(methods: dict[str, Method], archives: dict[str, Archive], names: dict[str, list[str]], o, device) -> dict:
    pairs = pairs_of(names["content"], names["style"], o.pairs)
    judges = Judges(load_vgg("vgg16").to(device), next(iter(methods.values())).encoder, offline_detector(device))
    contents, styles = (functools.partial(read_image, archives[k], size=o.size, device=device) for k in ("content", "style"))
    found = evaluate(methods, contents, styles, pairs, judges, functools.partial(save_pictures, o.save_pictures))
    print(f"\n{len(pairs)} pairs at {o.size}×{o.size}, ± half of the 95 % intervals\n\n{evaluation_tables(found)}", flush=True)
    if several := over_networks(found["networks"], kinds_of(methods)):
        found["kinds"] = several
        print(f"\n{kinds_table(several)}", flush=True)
    if pictures := found.get("pictures"):
        counts = f"{pictures['outputs']} outputs and {pictures['styles']} different styles"
        print(f"\nthe offline art score is of {counts}: small numbers bias it", flush=True)
    return dict(size=o.size, content_folders=o.content_folders, style_folders=o.style_folders, **found)


def kinds_of(methods: dict[str, Method]) -> dict[str, str]:
    """Trained networks: row -> transfer, with a number where networks of one transfer differ in more than their weights."""
    kinds, seen = {}, {}  # type: dict[str, str], dict[str, list[dict]]
    for name, method in methods.items():
        if isinstance(method, Stylizer):
            same = seen.setdefault(method.network.transfer, [])
            same += [] if method.network.config in same else [method.network.config]
            number = same.index(method.network.config) + 1
            kinds[name] = method.network.transfer + (f" ({number})" if number > 1 else "")
    return kinds


def turn(methods: dict[str, Method], archives: dict[str, Archive], names: dict[str, list[str]], o, device) -> dict:
    contents = [read_image(archives["content"], name, o.size, device) for name in spread(names["content"], TURNED)]
    transfers = {name: method.stylize_like for name, method in methods.items()}
    chosen = None
    if "style" in archives:
        clear = lambda name: turning.clearness(read_picture(archives["style"], name), o.size)
        chosen = max(spread(names["style"], CANDIDATES), key=clear)
    picture = read_picture(archives["style"], chosen) if chosen else None
    found, shown = turning.run_turning(transfers, contents, picture, o.size, device)
    turning.save_images(shown, o.out)
    turning.plot(found, o.out.with_name(o.out.name + "-turning.png"))
    print(f"\nstyles turned by 0° … {turning.TURNS[-1]}° on {len(contents)} contents\n\n{turning.table(found)}", flush=True)
    return dict(size=o.size, picture=chosen, **turning.record(found))


@command()
@click.option("--network", "networks", type=PATH, multiple=True, help="as of stylize.py; may be given several times")
@click.option("--peers", type=NAMES, default="none", help=f"{','.join(PEERS)}: these methods, too, on the first network")
@click.option("--peer-steps", type=click.IntRange(1), help=f"of the peers that search: {STEPS}")
@click.option("--encoder-weights", type=PATH, help="of VGG, with torchvision's keys  [default: in pretrained/, or fetched]")
@click.option("--content", type=PATH, help="folder or zip of held-out photographs")
@click.option("--style", type=PATH, help="folder or zip of held-out styles")
@click.option("--content-folders", type=NAMES, default="none", help="a,b: only contents below these folders of --content")
@click.option("--style-folders", type=NAMES, default="none", help="a,b: only styles below these folders of --style")
@click.option("--size", type=click.IntRange(smallest_side(PERIODS)), default=256, help="of both images, cropped to squares")
@click.option("--pairs", type=click.IntRange(0), default=100, help="at most this many, drawn at random; 0: no scores")
@click.option("--save-pictures", type=PATH, help="folder for them, one in it for each row of the table")
@click.option("--turning", "turned", is_flag=True, help="whether strokes turn with the style, and OUT-turning….png")
@click.option("--textures", is_flag=True, help="the stripes-and-dots test, and OUT-textures.png")
@click.option("--steps", type=click.IntRange(2), default=500, help="training steps for each transfer of that test")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, help="of the stripes-and-dots test")
@click.option(
    "--speed",
    is_flag=True,
    help="time and memory of AdaConv : AdaIN, in the first network's or default widths",
)
@click.option("--speed-size", type=click.IntRange(8), default=512, help="of both images; the paper's style encoder takes 256")
@click.option("--seconds", type=float, default=60, help="for the repetitions of --speed")
@click.option("--out", type=PATH, default=Path("out/style"), help="OUT.json is written")
@click.option("--device", help="cpu, cuda, mps …  [default: the best there is]")
def main(**options):
    """Score trained style transfers, test what they can transfer at all, and time them.

    \b
    Examples:
      python -m scripts.eval_style --network runs --content photos/ --style paintings/
      python -m scripts.eval_style --network runs --turning --content photos/
    """
    o = SimpleNamespace(**options)
    check(o)
    device = choose_device(o.device)
    keep_freed_memory()
    o.out.parent.mkdir(parents=True, exist_ok=True)
    networks = {str(path): find_network(path, "style_transfer") for path in o.networks}
    results = dict(machine=dict(device=str(device), processor=platform.machine(), threads=torch.get_num_threads()))

    if o.content:
        folders = dict(content=o.content_folders, style=o.style_folders)
        archives = {kind: Archive(path) for kind, path in dict(content=o.content, style=o.style).items() if path}
        names = {kind: list(archive.names) for kind, archive in archives.items()}
        for kind in (kind for kind in archives if folders[kind]):
            names[kind] = sorted(within(names[kind], folders[kind], archives[kind].path))
        methods = load_methods(networks, o, device)
        try:
            if o.style and o.pairs:
                results["evaluation"] = score(methods, archives, names, o, device)
            if o.turned:
                results["turning"] = turn(methods, archives, names, o, device)
        except ValueError as error:  # the paper's style encoder takes one size only
            raise InputError(f"--size {o.size}: {error}") from None
    if o.textures:
        examined = stripes_and_dots.run_test(o.steps, o.seed, o.out.with_name(o.out.name + "-textures.png"))
        results["textures"] = stripes_and_dots.record(o.steps, o.seed, examined)
        print(f"\nheld-out stripes and dots of equal mean and variance\n\n{stripes_and_dots.table(examined)}", flush=True)
    if o.speed:
        config = read_snapshot(next(iter(networks.values())), tensors=False).config if networks else dict(encoder="vgg16")
        stylizers = style_speed.default_stylizers(config, device)
        with float32():  # on a GPU, the rows in float32 would have TF32
            results["speed"] = style_speed.measure(stylizers, o.speed_size, o.seconds, device)
        print(f"\n{style_speed.table(results['speed'])}", flush=True)
    write_json(o.out.with_name(o.out.name + ".json"), results)


def load_methods(networks: dict[str, Path], o: SimpleNamespace, device: torch.device) -> dict[str, Method]:
    """The rows of all tables: the networks by their paths, and the peers on the first of them."""
    trained = {name: load_stylizer(path, o.encoder_weights, device) for name, path in networks.items()}
    return {**trained, **{name: make_peer(name, next(iter(trained.values())), o.peer_steps) for name in o.peers}}


def check(o: SimpleNamespace) -> None:
    """`UsageError` for options that do not go together."""
    if o.turned and not (o.content and o.networks):
        raise click.UsageError("--turning takes --network and --content, and --style to turn a real picture, too")
    if not o.turned and (bool(o.content) != bool(o.style) or (o.content and not o.networks)):
        raise click.UsageError("scoring takes --network, --content and --style together")
    if (o.content_folders and not o.content) or (o.style_folders and not o.style):
        raise click.UsageError("--content-folders and --style-folders take --content and --style")
    if not ((o.style and o.pairs) or o.turned or o.textures or o.speed):
        raise click.UsageError(
            "nothing to do: wanted --network with --content and --style, or --turning, or --textures, or --speed"
        )
    if o.save_pictures and not (o.style and o.pairs):
        raise click.UsageError("--save-pictures takes --network, --content and --style, whose pairs it writes")
    if o.peers and not (o.content and o.networks):
        raise click.UsageError("--peers takes --network, whose encoder and decoder the peers use, and --content")
    if unknown := [name for name in o.peers if name not in PEERS]:
        raise click.UsageError(f"--peers {','.join(unknown)}: there are {', '.join(PEERS)}")
    if clash := [name for name in map(str, o.networks) if name in TRIVIAL]:
        raise click.UsageError(f"--network {clash[0]}: the tables have a row of this name already, wanted the whole path")
    if clash := [name for name in o.peers if name in map(str, o.networks)]:
        raise click.UsageError(f"--peers {clash[0]}: a --network has this name, too, wanted names that differ")
    if o.peer_steps and not set(o.peers) & set(DEFAULT_STEPS):
        raise click.UsageError(f"--peer-steps takes --peers {' or '.join(DEFAULT_STEPS)}")
    if o.turned:
        turning.require_matplotlib()


if __name__ == "__main__":
    run(main)
