"""Any TorchScript file as a detector. Metrics on it carry the file's name, never that of a known detector.

TorchScript is a program: it runs as it is loaded, and can write files. So its hash is looked at first (`run_program`), and the
commands load a file with any other hash than those of the field's own files only with --trust-code.
"""

import hashlib
import io
import zipfile
from pathlib import Path

import torch

from metrics.detectors.base import Detector
from metrics.detectors.names import detector_name
from torch_utils.files import InputError, first_line, open_file

RESIZING = "by the network itself"


def is_torchscript(path: Path) -> bool:
    """Quick: reads only the archive's index. A plain checkpoint is an archive, too, but has no constants."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("constants.pkl") for name in archive.namelist())


def find(path: Path, option: str = "--detector ", advice: str = "") -> Path:
    """Returns the path of a TorchScript file; `InputError` for anything else, which names the option and ends in the advice."""
    if not path.is_file():
        raise InputError(f"{option}{path}: no such file{advice}")
    if not is_torchscript(path):
        raise InputError(f"{option}{path} is no TorchScript file{advice}")
    return path


def run_program(path: Path, known: str | None, device: torch.device) -> tuple[torch.jit.ScriptModule, str]:
    """The network on the device, in eval mode, and the SHA-256 of the file, which is `known` unless that is None.

    `InputError` for other bytes, none of which is run. What is hashed is what is run, whatever happens to the file meanwhile.
    """
    with open_file(path) as file:
        program = file.read()
    digest = hashlib.sha256(program).hexdigest()
    if known not in (None, digest):
        raise InputError(f"{path}: its sha256 is {digest}, wanted {known}; nothing of it was run")
    return torch.jit.load(io.BytesIO(program), map_location="cpu").eval().to(device), digest


def check_trust(path: Path, option: str, trusted: bool) -> None:
    """`InputError` for a file that is run only where the user trusts it."""
    if not trusted:
        raise InputError(
            f"{option} {path}: TorchScript is a program, which may do anything as it is loaded; if you trust its author, add "
            "--trust-code"
        )


def load(path: Path, device: torch.device, batch_size: int = 32) -> Detector:
    """The network as a `Detector`.

    It takes float32 [N, 3, H, W] in 0..255 of any size, resizes them itself, and returns features [N, D] or [N, D, 1, 1].
    Tried on a grey 299x299 image: `InputError` where it does not.
    """
    find(path)
    try:
        network, digest = run_program(path, None, device)
        with torch.inference_mode():
            features = network(torch.full((1, 3, 299, 299), 128.0, device=device))
            shape, finite = features.shape, bool(features.isfinite().all())
    except Exception as error:  # the file's own code runs here, and fails in its own ways
        raise InputError(f"--detector {path} does not take float32 images [N, 3, H, W]: {first_line(error)}") from None
    if len(shape) not in (2, 4) or shape[2:].numel() != 1 or not shape[1]:
        raise InputError(f"--detector {path} gives {list(shape)} for one image, not features [1, D]")
    if not finite:
        raise InputError(f"--detector {path} gives features of a grey image that are not finite")

    def compute(images: torch.Tensor) -> torch.Tensor:
        return network(images.to(torch.float32)).flatten(1)

    return Detector(detector_name(path), shape[1], digest, RESIZING, device, compute, batch_size)
