"""The field's Inception network as a detector: the weights file that clean-fid names, behind clean-fid's resizing."""

import http.client
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from metrics.detectors import torchscript
from metrics.detectors.base import Detector
from metrics.detectors.names import INCEPTION
from torch_utils.cli import Progress
from torch_utils.files import InputError, atomic_write, cache_dir, sha256
from torch_utils.platform import keep_freed_memory

DIM = 2048
FILE = "inception-2015-12-05.pt"
SHA256 = "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4"  # of the field's own file
SIZE = 299
RESIZINGS = {
    "clean": "clean-fid: Pillow's antialiased bicubic to 299x299, not rounded",
    "legacy_tensorflow": "bilinear to 299x299 without antialiasing, inside the network, as TensorFlow 1 did",
}
TIMEOUT = 30  # seconds without a byte until a download counts as failed


def clean_fid_folder() -> Path:
    """Where clean-fid keeps the file."""
    return Path(".") if sys.platform == "win32" else Path("/tmp")


def find(path: str | Path | None = None) -> Path:
    """`path`, or else the file in the cache or clean-fid's folder, or a download into the cache. Raises `InputError`."""
    if path is not None:
        return torchscript.find(Path(path), "--inception ", f"; wanted {FILE}")
    places, advice = [cache_dir() / FILE, clean_fid_folder() / FILE], "; delete it, or pass --inception FILE"
    for place in places:
        if place.is_file():
            return torchscript.find(place, "", advice)
    try:
        from cleanfid.downloads_helper import inception_url
    except ImportError as error:
        raise InputError(f"Inception metrics need clean-fid ({error}): pip install clean-fid==0.1.35") from None
    try:
        download(inception_url, places[0])
    except (OSError, http.client.HTTPException) as error:  # URLError and timeouts are OSErrors
        raise InputError(
            f"no Inception weights: not at {places[0]}, not at {places[1]}, and the download failed ({error}). "
            f"Fetch {inception_url} by hand and pass --inception FILE"
        ) from None
    return torchscript.find(places[0], "", advice)


def download(url: str, target: Path) -> None:
    """Fetch `url` to `target`, which appears only when it is complete. Raises `OSError` or `http.client.HTTPException`."""
    with urllib.request.urlopen(url, timeout=TIMEOUT) as response:
        size = int(response.headers.get("Content-Length") or 0)
        progress = Progress(f"downloading {FILE}", size / 1e6, "MB")
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(target) as file:
            while block := response.read(1 << 20):
                file.write(block)
                progress.update(file.tell() / 1e6)
            progress.close()
            if size and file.tell() != size:
                raise http.client.HTTPException(f"{file.tell()} bytes came instead of {size}")
            file.flush()
            if (digest := sha256(file.name)) != SHA256:
                raise http.client.HTTPException(f"another file came: its sha256 is {digest}, not {SHA256}")
    print(f"downloaded {target} (sha256 {SHA256})", file=sys.stderr)


def load(
    device: torch.device,
    path: str | Path | None = None,
    batch_size: int = 32,
    resizing: str = "clean",  # or "legacy_tensorflow", as most papers before 2021 have it
) -> Detector:
    """The network as a `Detector`: 2048 features, equal to clean-fid's in its mode of the same name, and class logits."""
    if resizing not in RESIZINGS:
        raise ValueError(f"resizing should be one of {', '.join(RESIZINGS)}, not {resizing!r}")
    path = find(path)
    if (digest := sha256(path)) != SHA256:  # before anything of it is run
        raise InputError(
            f"{path} is not the field's {FILE} (its sha256 is {digest}): no score by it is a FID; give it as --detector"
        )
    try:
        # Not by clean-fid's loader: it imports torchvision, which the network does not need.
        network, digest = torchscript.run_program(path, SHA256, device)
        layers = network.layers.to(memory_format=torch.channels_last)
    except (RuntimeError, AttributeError) as error:
        raise InputError(f"{path} is not {FILE}: {str(error).strip().splitlines()[0]}") from None

    def clean(pixels: torch.Tensor) -> torch.Tensor:
        return layers(((pixels - 128) / 128).contiguous(memory_format=torch.channels_last)).flatten(1)

    def legacy(images: torch.Tensor) -> torch.Tensor:
        return network(images.to(torch.float32), return_features=True).flatten(1)

    compute, prepare = (clean, clean_resize) if resizing == "clean" else (legacy, None)
    if device.type == "cpu":
        keep_freed_memory()
    return Detector(INCEPTION, DIM, digest, RESIZINGS[resizing], device, compute, batch_size, class_logits(network), prepare)


def class_logits(network: torch.nn.Module) -> Callable[[torch.Tensor], torch.Tensor] | None:
    """features [N, 2048] -> logits [N, 1008], without the last layer's bias, as in the first inception scores."""
    output = getattr(network, "output", None)
    if output is None:
        return None
    weight = output.weight.detach().to("cpu", torch.float32)
    return lambda features: features @ weight.T


def clean_resize(image: torch.Tensor) -> torch.Tensor:
    """uint8 [3, H, W] -> float32 [3, 299, 299] in 0..255, bit for bit what `cleanfid.resize` gives, channels first."""
    resized = np.empty((len(image), SIZE, SIZE), dtype=np.float32)
    for channel, target in zip(image.numpy().astype(np.float32), resized):
        pixels = Image.fromarray(channel).resize((SIZE, SIZE), resample=Image.Resampling.BICUBIC)
        np.clip(np.asarray(pixels), 0, 255, out=target)
    return torch.from_numpy(resized)
