"""The trained networks for torch.hub: `torch.hub.load("path/to/checkout", "generator", source="local")`."""

from pathlib import Path

dependencies = ["torch", "numpy", "safetensors", "PIL"]


def generator(name_or_path="emoji32", device="cpu"):
    """A generator in eval mode: `.mapping(z)` -> ws, `.synthesis(ws)` -> images [N, C, H, W], about [-1, 1].

    name_or_path: the name of a network in `pretrained/`, a snapshot, a run directory, or a folder of run directories.
    """
    from torch_utils.checkpoint import load_generator
    from torch_utils.pretrained import find_network

    return load_generator(find_network(name_or_path, "generator"), device)


def stylizer(name_or_path="adaconv-style", encoder_weights=None, device="cpu", precision="fp32"):
    """A style transfer: `.stylize(contents, s.network.kernels(s.encode_style(styles)))`, images [N, 3, H, W] in [-1, 1].

    name_or_path: as above. encoder_weights: a file with VGG's weights, with torchvision's keys; None: for VGG-16 the file in
    `pretrained/`, while VGG-19's are fetched once.
    """
    from networks.style_transfer.stylizer import load_stylizer
    from torch_utils.pretrained import find_network

    network = find_network(name_or_path, "style_transfer")
    return load_stylizer(network, encoder_weights and Path(encoder_weights), device, precision)
