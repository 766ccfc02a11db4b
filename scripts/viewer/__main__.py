"""A page in the browser: `python -m scripts.viewer`."""

import torch_utils.before_torch  # noqa: F401  what has to be set before PyTorch is loaded

# isort: split

import importlib.util
import signal
import sys
import webbrowser
from pathlib import Path

import click

from scripts.viewer.open_network import OpenNetwork
from scripts.viewer.server import FIRST_PORT, address, free_socket, quiet_gradio, serve
from scripts.viewer.studio import Studio
from torch_utils.cli import command, run
from torch_utils.files import InputError
from torch_utils.interrupt import SIGNALS
from torch_utils.platform import choose_device, keep_freed_memory

PATH, FILE = click.Path(path_type=Path), click.Path(dir_okay=False, path_type=Path)


@command()
@click.option(
    "--network",
    "networks",
    type=PATH,
    multiple=True,
    default=["emoji32"],
    help="generator, as of generate.py; several can be compared",
)
@click.option("--stylizer", type=PATH, default="adaconv-style", help="style transfer, as --network of stylize.py")
@click.option("--directions", type=FILE, help=".npz of scripts.directions  [default: the principal ones of each network]")
@click.option("--encoder-weights", type=FILE, help="of VGG, as of stylize.py")
@click.option("--host", default="127.0.0.1", help="address to listen on; any but this one lets others in")
@click.option("--port", type=click.IntRange(0, 65535), help=f"[default: the first free one from {FIRST_PORT}]")
@click.option("--open/--no-open", "opened", default=False, help="open the page in a browser")
@click.option("--device", help="cpu, cuda, mps …  [default: the best there is]")
def main(networks, stylizer, directions, encoder_weights, host, port, opened, device):
    """Try generators and style transfer on a page in the browser, on this machine alone.

    \b
    Example:
      python -m scripts.viewer
      python -m scripts.viewer --network emoji32 --network runs --open
    """
    if importlib.util.find_spec("gradio") is None:
        raise InputError('the page is made by Gradio, which is not installed: pip install -e ".[viewer]"')
    chosen = choose_device(device)
    keep_freed_memory()
    generators = [OpenNetwork(network, chosen, directions) for network in networks]
    if len({network.name for network in generators}) < len(generators):
        raise InputError("--network: found one twice, wanted each once")
    studio = Studio(stylizer, encoder_weights, chosen)
    for number in SIGNALS[1:]:  # SIGTERM, SIGHUP: not at once, as the folder of uploads is removed first
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: sys.exit(143))
    with free_socket(host, port) as bound, quiet_gradio():
        from scripts.viewer.page import make_page  # it imports Gradio

        page = make_page(generators, studio, device)

        def ready() -> None:
            print(f"Viewer:        {address(bound)} (Ctrl-C ends it)", flush=True)
            if opened:
                webbrowser.open(address(bound))

        serve(page, bound, ready)


if __name__ == "__main__":
    run(main)
