"""Number formats of networks.

With bf16 and fp16 convolutions and matrix products run in sixteen bits; weights, their updates and the moving average do not.
What stays in float32, and why, is marked where it is computed, by `torch_utils.ops.in_float32` and `widen`: the mapping network
and the predicted kernels (a style's small differences are the image's), means and variances (sums over many positions),
demodulation (sums of squares), the sum of the levels' images, the minibatch standard deviation, the logits, a stylised image.
Losses (but for covariances of features) and path lengths are float32. With fp16, so is a whole step with R1, R2 or path
lengths: it differentiates twice, and squares gradients that are often too small for fp16. bf16 has the range of float32, and
suffices (docs/training.md).
"""

import contextlib
from collections.abc import Iterator

import torch

from torch_utils.platform import has_amx, has_avx512_bf16

PRECISIONS = ("fp32", "tf32", "bf16", "fp16")
UNSCALED = ("fp32", "tf32", "bf16")  # those whose gradients stay in range by themselves
AUTO = "auto"


def resolve_precision(precision: str, device: torch.device) -> tuple[str, str]:
    """One of PRECISIONS; and for `auto` the reason, else "".

    Asked once, when a run begins: it keeps its format, whatever another machine that resumes it would choose.
    """
    if precision != AUTO:
        return precision, ""
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        fast, why = major >= 8, f"this GPU has compute capability {major}.{minor}"
    elif device.type == "cpu":
        fast = has_amx() or has_avx512_bf16()
        why = (
            "this CPU has AMX"
            if has_amx()
            else "this CPU has instructions for bf16"
            if fast
            else "no bf16 in this CPU, or it may not be used"
        )
    else:
        fast, why = False, f"bf16 is for GPUs of NVIDIA and CPUs with AMX or AVX512_BF16, not for {device.type}"
    return "bf16" if fast else "fp32", f"auto: {why}"


def prepare(precision: str) -> None:
    """Settings of the whole process: `fp32` means float32 throughout, though CUDA's default for convolutions is TF32."""
    _allow_tf32(precision != "fp32", precision != "fp32")


@contextlib.contextmanager
def float32() -> Iterator[None]:
    """Float32 throughout, in a process that is prepared for anything else: for pictures and scores, which compare runs."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    _allow_tf32(False, False)
    try:
        yield
    finally:
        _allow_tf32(*before)


def _allow_tf32(convolutions: bool, products: bool) -> None:
    torch.backends.cudnn.allow_tf32 = convolutions
    torch.backends.cuda.matmul.allow_tf32 = products


def autocast(precision: str, device: torch.device, twice: bool = False) -> contextlib.AbstractContextManager:
    """Where the networks run. `twice`: what they compute is differentiated twice, for which the range of fp16 is too small."""
    dtype = {"bf16": torch.bfloat16, "fp16": None if twice else torch.float16}.get(precision)
    return torch.autocast(device.type, dtype) if dtype else contextlib.nullcontext()


def scaler(precision: str, device: torch.device) -> torch.amp.GradScaler:
    """Keeps the gradients of fp16 in range; for the others it does nothing."""
    return torch.amp.GradScaler(device.type, init_scale=2.0**12, enabled=precision == "fp16")
