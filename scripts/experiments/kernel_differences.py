"""How far predicted kernels are from the identity, and how they differ from style to style:
`python -m scripts.experiments.kernel_differences`, for docs/structure.md.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import torch

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from networks.adaconv import AdaptiveKernels
from networks.generator import Generator
from networks.sampling import draw_labels, seed_noise
from networks.style_transfer.network import PAPER_STYLE_SIDE, StyleTransfer
from networks.style_transfer.style_files import read_picture
from networks.style_transfer.stylizer import load_stylizer
from networks.style_transfer.vgg import VGG, style_features
from scripts.output import markdown, save_figure
from torch_utils.archive import open_images
from torch_utils.checkpoint import load_generator, read_snapshot
from torch_utils.cli import PNG, Progress, command, run
from torch_utils.files import InputError
from torch_utils.images import as_square, from_uint8
from torch_utils.platform import choose_device, keep_freed_memory
from torch_utils.pretrained import find_network

Layer = tuple[str, AdaptiveKernels]  # its title, and its kernels in N styles
PANELS = {  # of the figure: title -> scale of its axis, and keys of `differences` for CURVES
    "energy outside of the identity": ("linear", ["spatial outside identity", "mixing outside identity"]),
    "energy that varies with the style": ("log", ["spatial varies", "mixing varies", "offsets vary"]),
    "effective rank over styles": ("linear", ["spatial rank", "mixing rank", "offsets rank"]),
}
CURVES = ("spatial", "mixing", "offsets")


# ---------------------------------------------------------------- measures


def outside_identity(kernels: torch.Tensor) -> float:
    """[N, C, I, taps] that each read I channels of a group -> share of a kernel's energy outside of the identity's one tap.

    It is 1 − cos² of the angle to the identity: whatever the scale, 0 for multiples of the identity, 1 for kernels without it.
    Mean over styles and channels.
    """
    channels = torch.arange(kernels.shape[1], device=kernels.device)
    tap = kernels[:, channels, channels % kernels.shape[2], kernels.shape[3] // 2]  # as `KernelPredictor` lays it
    return float((1 - tap.square() / kernels.square().sum(dim=(2, 3)).clamp(min=1e-20)).mean())


def spread(values: torch.Tensor) -> float:
    """[N, …] -> E‖x − E x‖² / E‖x‖²: 0 where all styles have the same, 1 where they have nothing in common."""
    energy = values.square().mean(dim=0).sum()
    return float(_centred(values).square().mean(dim=0).sum() / energy) if energy > 0 else 0.0


def effective_rank(values: torch.Tensor) -> float:
    """[N, …] -> participation ratio (Σλ)² / Σλ² of the covariance over styles: in how many directions, about, they differ.

    At most N − 1; 0 where they do not differ.
    """
    x = _centred(values).flatten(1).double()
    gram = x.t() @ x if x.shape[1] < len(x) else x @ x.t()  # have the same eigenvalues, but for zeros
    return float(gram.trace().square() / gram.square().sum()) if gram.any() else 0.0


def _centred(values: torch.Tensor) -> torch.Tensor:
    """Equal values become zeros to the last bit."""
    values = values - values[:1]
    return values - values.mean(dim=0)


def differences(kernels: AdaptiveKernels) -> dict[str, float]:
    """Of one layer, in N styles."""
    spatial, pointwise, bias = kernels
    norm = spatial.flatten(2).norm(dim=2).clamp(min=1e-10)  # [N, C]
    unit = spatial / norm[:, :, None, None, None]
    return {
        "spatial outside identity": outside_identity(spatial.flatten(3)),
        "spatial varies": spread(spatial),
        "its gain": spread(norm),  # of each output channel's kernel
        "its shape": spread(unit),
        "its spectrum": spread(torch.fft.fft2(unit, s=[2 * side for side in unit.shape[3:]]).abs()),  # orientation, frequency
        "spatial rank": effective_rank(spatial),
        "mixing outside identity": outside_identity(pointwise[..., None]),
        "mixing varies": spread(pointwise),
        "mixing rank": effective_rank(pointwise),
        "offsets vary": spread(bias),
        "offsets rank": effective_rank(bias),
    }


# ---------------------------------------------------------------- kernels in many styles


@torch.inference_mode()
def generator_layers(G: Generator, count: int) -> Iterator[Layer]:
    """Of seeds 0 to count − 1; of a conditional generator with classes drawn evenly."""
    device = next(G.parameters()).device
    labels = draw_labels(count, G.c_dim)
    ws = G.mapping(seed_noise(G, range(count)).to(device), None if labels is None else labels.to(device))
    for i, layer in enumerate(G.synthesis.layers):
        kernels = layer.modulation.kernels(ws[:, i])  # type: ignore[union-attr, operator]
        yield f"{i}: {kernels.bias.shape[1]} channels", kernels


@torch.inference_mode()
def descriptors(encoder: VGG, networks: Sequence[StyleTransfer], path: Path, count: int) -> list[torch.Tensor]:
    """[N, …] for each network, of `count` style images at most, spread evenly over those at the path. As squares of 256 pixels,
    which every style encoder takes."""
    archive = open_images(path)
    names = archive.names[:: -(-len(archive.names) // count)]
    if len(names) < 2:
        raise InputError(f"--style {path}: found {len(names)} styles, wanted two at least")
    found, progress = [], Progress("encoding", len(names), "style")
    for name in names:
        picture = as_square(read_picture(archive, name), PAPER_STYLE_SIDE)
        seen = style_features(encoder(from_uint8(picture)[None].to(encoder.shift.device)))
        found.append([network.encode_style(seen) for network in networks])
        progress.update(len(found))
    progress.close()
    return [torch.cat(one) for one in zip(*found)]


@torch.inference_mode()
def decoder_layers(network: StyleTransfer, styles: torch.Tensor) -> Iterator[Layer]:
    for i, kernels in enumerate(network.kernels(styles)):
        yield f"{i}: {kernels.bias.shape[1]} channels", AdaptiveKernels(*kernels[:3])


def trained_and_not(path: Path, style: Path | None, count: int, device: torch.device) -> list[Iterator[Layer]]:
    """Kernels of a network, and of the same before its training, with seed 0. `InputError` for one that predicts none."""
    torch.manual_seed(0)
    if read_snapshot(path, tensors=False).kind == "generator":
        G = load_generator(path, device)
        if G.config["modulation"] != "adaconv":
            raise InputError(f"{path}: wanted an AdaConv generator")
        return [generator_layers(network, count) for network in (G, Generator(**G.config).eval().to(device))]
    if style is None:
        raise InputError(f"{path}: a style transfer's kernels are those of style images; --style says where they are")
    stylizer = load_stylizer(path, device=device)
    if stylizer.network.transfer != "adaconv":
        raise InputError(f"{path}: wanted an AdaConv style transfer")
    networks = (stylizer.network, StyleTransfer(**stylizer.network.config).eval().to(device))
    return [decoder_layers(*pair) for pair in zip(networks, descriptors(stylizer.encoder, networks, style, count))]


# ---------------------------------------------------------------- what is shown


def table(trained: dict[str, dict[str, float]], untrained: dict[str, dict[str, float]]) -> str:
    """A row for each layer, and the mean over the layers before training."""
    columns = list(next(iter(trained.values())))
    before = {name: sum(row[name] for row in untrained.values()) / len(untrained) for name in columns}
    share = lambda value: f"{float(f'{100 * value:.2g}'):g} %"  # two digits
    write = lambda name, value: f"{value:.1f}" if name.endswith("rank") else share(value)
    rows = [[title, *(write(name, row[name]) for name in columns)] for title, row in (*trained.items(), ("untrained", before))]
    return markdown(["layer", *columns], rows)


def draw(found: dict[str, list[dict[str, dict[str, float]]]], path: Path) -> None:
    """A row of panels for each network: layers along x, solid as trained, dashed before."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 2.8 * len(found)), layout="constrained")
    for axes, (network, (trained, untrained)) in zip(figure.subplots(len(found), len(PANELS), squeeze=False), found.items()):
        for axis, (title, (scale, keys)) in zip(axes, PANELS.items()):
            for colour, (curve, key) in enumerate(zip(CURVES, keys)):
                axis.plot([row[key] for row in trained.values()], "o-", color=f"C{colour}", ms=4, label=curve)
                axis.plot([row[key] for row in untrained.values()], "--", color=f"C{colour}")
            axis.set(title=f"{network}: {title}", xlabel="layer", xticks=range(len(trained)), yscale=scale)
    axis.plot([], "k--", label="untrained")
    figure.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=len(CURVES) + 1)
    save_figure(figure, path)


@command()
@click.option(
    "--network",
    "networks",
    type=click.Path(path_type=Path),
    multiple=True,
    default=["emoji32"],
    show_default=True,
    help="as of generate.py or stylize.py; may be given several times",
)
@click.option("--style", type=click.Path(path_type=Path), help="folder or zip of style images, for a style transfer")
@click.option("--count", type=click.IntRange(2, 2**14), default=512, show_default=True, help="of seeds, or of styles at most")
@click.option("--out", type=PNG, help="also draw the numbers as curves  [default: a table alone]")
@click.option("--device", help="cpu, cuda, mps …  [default: the best there is]")
def main(networks: tuple[Path, ...], style: Path | None, count: int, out: Path | None, device: str | None):
    """Measure, layer by layer, how far the kernels that networks predict are from the identity, and how much of them differs
    between styles, beside the same networks before their training.

    \b
    Example:
      python -m scripts.experiments.kernel_differences --network emoji32 --network adaconv-style --style paintings/
    """
    keep_freed_memory()
    found = {}
    for name in networks:
        path = find_network(name)
        both = trained_and_not(path, style, count, choose_device(device))
        title = path.stem if path.stem not in found else f"{path.parent.name}/{path.stem}"
        found[title] = [{layer: differences(kernels) for layer, kernels in layers} for layers in both]
        print(f"\n{title}\n\n{table(*found[title])}", flush=True)
    if out:
        draw(found, out)


if __name__ == "__main__":
    run(main)
