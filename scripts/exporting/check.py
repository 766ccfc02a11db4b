"""A written graph held to the network that it was made of."""

import contextlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from scripts.exporting.graphs import Graph, without_random_noise
from scripts.exporting.trace import NOTES
from torch_utils.files import InputError

SILENCE = 1e-20  # deviation of random noise that is not to be seen; at 0 onnxruntime 1.32 ends the process
TOLERANCE = 1e-3  # an eighth of a grey level of 8 bits; sums round in another order than in PyTorch
BATCHES = (1, 3)
SIDES = ((72, 80), (72, 150))  # of a stylizer's contents; styles have them the other way round

Runner = Callable[[dict[str, torch.Tensor]], torch.Tensor]


@dataclass
class Checked:
    by: str  # what ran the file
    difference: float  # the largest


def check(contents: bytes, graph: Graph, format: str) -> Checked | None:
    """Run the file and the network, and compare; None where there is nothing to run the file with.

    `InputError` where they differ by more than TOLERANCE (for uint8: by more than one level).
    """
    runner = onnx_runner(contents, graph) if format == "onnx" else torch_runner(contents)
    if runner is None:
        return None
    by, run = runner
    differences = []
    for inputs in examples(graph):
        with torch.no_grad(), without_random_noise(graph.module) if format == "onnx" else contextlib.nullcontext():
            torch.manual_seed(0)  # of random noise
            wanted = graph.module(**inputs)
            torch.manual_seed(0)
            found = run(inputs)
        differences.append(largest_difference(wanted, found))
    worst = torch.tensor(differences).max().item()  # which hands NaN on
    if not worst <= (1 if wanted.dtype == torch.uint8 else TOLERANCE):
        raise InputError(f"the file does not draw as the network does: in {by} they differ by {worst:.1e}; nothing is written")
    return Checked(by, worst)


def largest_difference(wanted: torch.Tensor, found: torch.Tensor) -> float:
    """Of all entries; infinite for other shapes, NaN where one is not a number."""
    if wanted.shape != found.shape:
        return float("inf")
    return (wanted.double() - found.double()).abs().max().item()


def examples(graph: Graph) -> Iterator[dict[str, torch.Tensor]]:
    """Random inputs of several batches, and of several sizes where these are open."""
    generator = torch.Generator().manual_seed(0)
    for batch, (height, width) in zip(BATCHES, SIDES):
        sizes = {"batch": batch, "styles": 1, "height": height, "width": width, "style_height": width, "style_width": height}
        inputs = {}
        for name, example in graph.inputs.items():
            shape = [
                sizes[graph.dynamic[name][i]] if i in graph.dynamic.get(name, {}) else n for i, n in enumerate(example.shape)
            ]
            drawn = torch.randn(shape, generator=generator)
            inputs[name] = drawn.clamp(-1, 1) if name in ("content", "style") else drawn
            if name == "c":
                inputs[name] = torch.eye(shape[1])[torch.arange(batch) % shape[1]]
            elif not shape:
                inputs[name] = torch.tensor(0.7)
        yield inputs


def onnx_runner(contents: bytes, graph: Graph) -> tuple[str, Runner] | None:
    """onnxruntime on the CPU. What draws random numbers is made to draw next to zero, or nothing could be compared."""
    try:
        import onnx
        import onnxruntime
    except ImportError:
        return None
    model = onnx.load_model_from_string(contents)
    for node in model.graph.node:
        if node.op_type in ("RandomNormalLike", "RandomNormal"):
            for attribute in node.attribute:
                if attribute.name == "scale":
                    node.attribute.remove(attribute)
                    break
            node.attribute.append(onnx.helper.make_attribute("scale", SILENCE))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    run = lambda inputs: torch.from_numpy(session.run([graph.output], {k: v.numpy() for k, v in inputs.items()})[0])
    return f"onnxruntime {onnxruntime.__version__}", run


def torch_runner(contents: bytes) -> tuple[str, Runner]:
    """The program as it is loaded from the file."""
    program = torch.export.load(io.BytesIO(contents), extra_files={NOTES: ""}).module()
    return f"torch.export of PyTorch {torch.__version__}", lambda inputs: program(**inputs)
