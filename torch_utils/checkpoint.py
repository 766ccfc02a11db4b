"""Network snapshots: one safetensors file with the weights, and the network's configuration as JSON in its header.

Nothing in a snapshot can run code. Shapes are compared before any memory is taken, so that a small file cannot ask for much.
"""

import functools
import inspect
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import safetensors.torch
import torch

from torch_utils.files import InputError, atomic_write, parse_json
from torch_utils.memory import without_memory
from torch_utils.tensor_file import digest, in_order, open_tensors

FORMAT = "adaconv/1"
Network = TypeVar("Network", bound=torch.nn.Module)


@dataclass(frozen=True)
class Snapshot:
    """What is in a file: which kind of network, how to build it, notes such as label names, and its tensors."""

    kind: str  # generator or style_transfer
    config: dict  # arguments of the network's constructor
    info: dict  # anything that describes the training run
    tensors: dict[str, torch.Tensor]


def records_config(init: Callable[..., None]) -> Callable[..., None]:
    """Decorator of a network's constructor: all its arguments, defaults included, are kept as `self.config`."""
    signature = inspect.signature(init)

    @functools.wraps(init)
    def wrapped(self, *arguments, **named):
        bound = signature.bind(self, *arguments, **named)
        bound.apply_defaults()
        self.config = dict(list(bound.arguments.items())[1:])  # without `self`
        init(self, *arguments, **named)

    return wrapped


def save_snapshot(path: str | Path, kind: str, network: torch.nn.Module, /, half: bool = False, **info) -> None:
    """Write `network.config`, `info` and all parameters and buffers of `network`; with `half`, parameters in float16.

    `ValueError` for what could not be loaded: other formats than float32 and float16, and values too large for float16.
    """
    tensors = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    if half:
        tensors |= {name: tensors[name].half() for name, _ in network.named_parameters()}
    for name, value in tensors.items():
        if value.is_floating_point() and value.dtype not in (torch.float32, torch.float16):
            raise ValueError(f"{name} is in {value.dtype}, which is neither float32 nor float16")
        if half and not value.isfinite().all():
            raise ValueError(f"{name} has values that are not finite in float16")
    header = {"format": FORMAT, "kind": kind, "config": json.dumps(network.config), "info": json.dumps(info)}
    header["digest"] = _digest(tensors)
    with atomic_write(path) as file:
        file.write(in_order(safetensors.torch.save(tensors, metadata=header)))


def _digest(tensors: dict[str, torch.Tensor]) -> str:
    """Of names, types, shapes and values."""
    named = sorted(tensors.items())
    return digest(part for name, t in named for part in (f"{name} {t.dtype} {list(t.shape)}".encode(), t))


def read_snapshot(path: str | Path, tensors: bool = True) -> Snapshot:
    """Read a file that `save_snapshot` wrote; `InputError` for anything else. Without `tensors`, only what the header says."""
    path = Path(path)
    if not os.path.isfile(path):
        raise InputError(f"{path}: no such network file")
    if path.suffix in (".pkl", ".pickle", ".pt", ".pth", ".ckpt"):
        raise InputError(
            f"{path}: a pickle, as StyleGAN's networks are, runs whatever code it carries, so it is not opened; wanted a "
            ".safetensors as train.py writes it"
        )
    with open_tensors(path, "not a network snapshot") as (file, header):
        if header.get("format") != FORMAT:
            raise InputError(f"{path}: found format {header.get('format')!r}, wanted {FORMAT!r} as train.py writes it")
        contents = {name: file.get_tensor(name) for name in file.keys()} if tensors else {}  # noqa: SIM118  not a dict
        if tensors and "digest" in header and header["digest"] != _digest(contents):  # older files have none
            raise InputError(f"{path}: its tensors are not those that were saved: the file is damaged")
        config, info = (parse_json(header[name], f"{path}: not a network snapshot: its {name}") for name in ("config", "info"))
    if not isinstance(config, dict) or not isinstance(info, dict):
        raise InputError(f"{path}: not a network snapshot (its configuration is not a table)")
    names = [info.get(key) or [] for key in ("label_names", "features_seen")]
    if type(info.get("nimg", 0)) is not int or not all(
        isinstance(n, list) and all(isinstance(x, str) for x in n) for n in names
    ):
        raise InputError(
            f"{path}: not a network snapshot (its nimg is no number, or its label_names or features_seen no names)"
        )
    if "c_dim" in config and len(info.get("label_names") or []) != config["c_dim"]:
        info.pop("label_names", None)  # of other classes than the network's
    return Snapshot(header.get("kind", ""), config, info, contents)


def features_seen(path: str | Path) -> tuple[str, ...]:
    """Names of detectors whose features the training of this network has looked at."""
    return tuple(read_snapshot(path, tensors=False).info.get("features_seen") or ())


def build(
    snapshot: Snapshot,
    constructor: type[Network],
    limits: dict[str, tuple[int, int]],  # of whole numbers in the config: a file must not ask for what nobody could build
    path: str | Path,
) -> Network:
    """The network, built without memory of its own and then given the snapshot's tensors, halves as float32.

    `InputError` where it cannot be.
    """
    # Copies: sums round otherwise where memory is aligned as the file happens to be, and two copies of a network should agree.
    tensors = {
        name: value.float() if value.dtype == torch.float16 else value.clone() for name, value in snapshot.tensors.items()
    }
    try:
        for name, (low, high) in limits.items():
            value = snapshot.config.get(name, low)
            if type(value) is not int or not low <= value <= high:
                raise ValueError(f"{name} {value!r} must be a whole number from {low} to {high}")
        with without_memory():
            network = constructor(**snapshot.config)
        for name, tensor in network.state_dict().items():
            if name in tensors and tensors[name].dtype != tensor.dtype:
                raise TypeError(f"{name} is {tensors[name].dtype}, wanted {tensor.dtype}")
        network.load_state_dict(tensors, assign=True)
        for name, tensor in network.state_dict().items():
            if not tensor.isfinite().all():
                raise ValueError(f"{name} is not finite")
    except (TypeError, ValueError, RuntimeError, ArithmeticError, MemoryError) as error:
        raise InputError(
            f"{path}: its weights and its configuration do not fit ({' '.join(str(error).split())[:200]})"
        ) from None
    return network


def load_generator(path: str | Path, device: torch.device | str = "cpu", kind: type | None = None):
    """The EMA generator of a snapshot, in eval mode and without gradients. `kind`: a subclass of `Generator`."""
    from networks.generator import LIMITS, Generator  # the one import that goes up: this name is the project's public loader

    snapshot = read_snapshot(path)
    if snapshot.kind != "generator":
        raise InputError(f"{path}: found a {snapshot.kind or 'network of unknown kind'}, wanted a generator")
    options = snapshot.config.get("modulation_options")
    if snapshot.config.get("modulation") == "adaconv" and isinstance(options, dict):
        options.setdefault("padding", "replicate")  # as it was before there was a choice
    network = build(snapshot, kind or Generator, LIMITS, path).eval().requires_grad_(False)
    return network.to(device=device, memory_format=torch.channels_last)
