"""A style's descriptor as a file: one safetensors file with the tensor, and a fingerprint of the network that it belongs to.

A descriptor means something only to the network that made it.
"""

import json
import os
from pathlib import Path

import safetensors.torch
import torch

from networks.style_transfer.network import StyleTransfer
from torch_utils.files import InputError, atomic_write
from torch_utils.tensor_file import digest, open_tensors

FORMAT = "adaconv-style/1"


def save_descriptor(path: str | Path, descriptor: torch.Tensor, network: StyleTransfer) -> None:
    """Write one style's descriptor [1, …], as `network.encode_style` gives it."""
    header = {FORMAT: fingerprint(network)}  # one entry: safetensors writes several in any order, and bytes should not vary
    with atomic_write(path) as file:
        file.write(safetensors.torch.save({"descriptor": descriptor[0].cpu().contiguous()}, metadata=header))


def load_descriptor(path: str | Path, network: StyleTransfer) -> torch.Tensor:
    """[1, …], where the network is. `InputError` for anything but a descriptor that this network made."""
    if not os.path.isfile(path):
        raise InputError(f"{path}: no such file with a style's descriptor")
    with open_tensors(path, "cannot be read as a style's descriptor") as (file, header):
        if FORMAT not in header or list(file.keys()) != ["descriptor"]:
            raise InputError(f"{path}: found no style's descriptor in it, wanted {FORMAT} as --save-style writes it")
        if header[FORMAT] != fingerprint(network):
            raise InputError(f"{path}: is the descriptor of a style for another network")
        shape = file.get_slice("descriptor").get_shape()
        if shape != list(network.descriptor_shape):
            raise InputError(f"{path}: found a descriptor of shape {shape}, wanted {list(network.descriptor_shape)}")
        descriptor = file.get_tensor("descriptor")
    if descriptor.dtype != torch.float32:
        raise InputError(f"{path}: found {descriptor.dtype}, wanted torch.float32")
    if not descriptor.isfinite().all():
        raise InputError(f"{path}: the descriptor is not finite")
    return descriptor[None].to(network.encoder_means.device)


def fingerprint(network: StyleTransfer) -> str:
    """SHA-256, in hex, of configuration and weights. The weights are rounded to half precision, so that a copy of the network
    in half precision has the same fingerprint."""
    weights = network.state_dict().items()
    parts = [part for name, tensor in weights for part in (name.encode() + b"\0", tensor.half())]
    return digest([json.dumps(network.config, sort_keys=True).encode(), *parts])
