"""Number formats of a training step.

With bf16 and fp16 convolutions and matrix products run in sixteen bits; weights, their updates and the moving average do not.
What stays in float32, and why, is marked where it is computed, by `torch_utils.ops.in_float32`: the mapping network and the
predicted kernels (a style's small differences are the image's), means and variances (sums over many positions), demodulation
(sums of squares), the sum of the levels' images, the minibatch standard deviation, the logits. Losses are float32, and a step
with R1, R2 or path lengths runs in float32 as a whole: it differentiates twice, and squares gradients that are often too
small for sixteen bits.
"""

import contextlib

import torch

PRECISIONS = ("fp32", "tf32", "bf16", "fp16")


def prepare(precision: str) -> None:
    """Settings of the whole process: `fp32` means float32 throughout, though CUDA's default for convolutions is TF32."""
    tf32 = precision != "fp32"
    torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cuda.matmul.allow_tf32 = tf32


def autocast(precision: str, device: torch.device) -> contextlib.AbstractContextManager:
    """Where the networks run."""
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    return torch.autocast(device.type, dtype) if dtype else contextlib.nullcontext()


def scaler(precision: str, device: torch.device) -> torch.amp.GradScaler:
    """Keeps the gradients of fp16 in range; for the others it does nothing."""
    return torch.amp.GradScaler(device.type, init_scale=2.0**12, enabled=precision == "fp16")
