"""A traced graph as an ONNX file."""

import contextlib
import io
import logging
import warnings

import torch

from scripts.exporting.graphs import Graph
from torch_utils.files import InputError

try:
    import onnx
    import onnx_ir as ir
    from onnxscript import optimizer
except ImportError:
    onnx = None  # type: ignore[assignment]

FOLDED = 256  # numbers of a tensor that is computed in advance; larger ones stay as the network has them, in half precision


def as_onnx(program: torch.export.ExportedProgram, graph: Graph) -> bytes:
    """The bytes of the file: `graph.inputs` and `graph.output` by name, numbers among the inputs with 1 as their default, and
    `graph.notes` as metadata. `InputError` where the extra `onnx` is not installed."""
    if onnx is None:
        raise InputError('ONNX files need the extra onnx: pip install -e ".[onnx]"')
    with warnings.catch_warnings(), _quiet():
        warnings.simplefilter("ignore")
        model = torch.onnx.export(program, dynamo=True, optimize=False, verbose=False).model
        optimizer.optimize_ir(model, input_size_limit=FOLDED, output_size_limit=FOLDED)
    gains_to_maps(model.graph)
    name_ends(model.graph, graph)
    model.metadata_props.clear()
    model.metadata_props.update(graph.notes)
    for node in model.graph.all_nodes():
        node.metadata_props.clear()  # where in the source each came from: half a megabyte
    for value in [*model.graph.inputs, *model.graph.outputs, *model.graph.initializers.values()]:
        value.metadata_props.clear()
    proto = ir.to_proto(model)
    proto.producer_name, proto.doc_string = "adaconv", ""
    onnx.checker.check_model(proto, full_check=True)
    return proto.SerializeToString()


def gains_to_maps(graph: "ir.Graph") -> None:
    """conv(x, w·gain) becomes conv(x·gain, w) where gain is a number: runtimes want weights that are in the file."""
    for conv in [node for node in graph if node.op_type == "Conv"]:
        x, weight = conv.inputs[:2]
        product = weight.producer()
        if product is None or product.op_type != "Mul":
            continue
        gains = [v for v in product.inputs if ir.convenience.get_const_tensor(v) is not None and v.const_value.size == 1]
        if len(gains) != 1:
            continue
        plain = next(v for v in product.inputs if v is not gains[0])
        scaled = ir.node("Mul", [x, gains[0]])
        scaled.outputs[0].dtype, scaled.outputs[0].shape = x.dtype, x.shape
        graph.insert_before(conv, scaled)
        conv.replace_input_with(0, scaled.outputs[0])
        conv.replace_input_with(1, plain)
        if not product.outputs[0].uses():
            graph.remove(product, safe=True)


def name_ends(model_graph: "ir.Graph", graph: Graph) -> None:
    """Names of sizes; defaults of numbers; inputs that have none first, as runtimes list them."""
    inputs = {value.name: value for value in model_graph.inputs}
    for name, sizes in graph.dynamic.items():
        dims = list(inputs[name].shape)
        inputs[name].shape = ir.Shape([sizes.get(i, size) for i, size in enumerate(dims)])
    for name in graph.optional:
        inputs[name].const_value = ir.tensor(1.0, dtype=ir.DataType.FLOAT, name=name)
        model_graph.initializers[name] = inputs[name]
    model_graph.inputs[:] = sorted(inputs.values(), key=lambda value: value.name in graph.optional)
    model_graph.outputs[0].name = graph.output


@contextlib.contextmanager
def _quiet():
    """The exporter talks to the terminal."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(level)
