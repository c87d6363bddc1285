"""Networks written as ONNX files."""

import importlib
import io
import logging
import tempfile
import warnings
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import torch
from torch import nn

from storage.files import written_whole

PACKAGES = 'pip install onnx onnxscript onnxruntime, or -e ".[export]"'
FRONT_END = "front_end/"  # begins the names of its nodes, whose tensors keep their precision
SCOPES = "pkg.torch.onnx.name_scopes"  # the names of the modules around a node
LEAST_HALVED = 256  # values of a tensor that is stored in half precision
HALF, INT8 = "fp16", "int8"
VARIANTS = ("", HALF, INT8)


def onnx_model(module: nn.Module, example: torch.Tensor, names: tuple[str, str]) -> Any:
    """A module, an input (B, T, ...) to trace it with, names of input and output -> ONNX model.

    Batch and length stay open.

    Raises:
        ValueError: it can't be exported, or the packages aren't installed.
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        require(package)
    logging.getLogger("torch").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad(), redirect_stdout(io.StringIO()):  # it prints graphs
        warnings.simplefilter("ignore")
        try:
            program: Any = torch.onnx.export(
                module,
                (example,),
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC},),
                input_names=[names[0]],
                output_names=[names[1]],
                external_data=False,
                verbose=False,
            )
        except Exception as error:  # torch.onnx.errors and whatever the tracer raises
            raise not_exportable(error) from error
    return without_traces(program.model_proto)


def without_traces(model: Any) -> Any:
    """A model as PyTorch exports it -> the same without stack traces, which show the paths of this machine.

    The nodes of the front end get names that tell.
    """
    for node in model.graph.node:
        scopes = next((entry.value for entry in node.metadata_props if entry.key == SCOPES), "")
        if scopes.startswith("['', 'features'"):
            node.name = FRONT_END + node.name
        del node.metadata_props[:]
    del model.graph.value_info[:]
    return model


def not_exportable(error: Exception) -> ValueError:
    """What the exporter raised -> the error for the user, in one line."""
    cause = error.__cause__ or error
    lines = [line for line in str(cause).splitlines() if line.strip()]
    reason = lines[0][:200] if lines else type(cause).__name__
    return ValueError(f"the network can't be exported: {reason}; use the model file itself")


def require(package: str) -> Any:
    """Name of an optional package -> the package; raises ValueError if it isn't installed."""
    try:
        return importlib.import_module(package)
    except ImportError:
        raise ValueError(f"export to ONNX needs packages: {PACKAGES}") from None


def write(path: Path, model: Any, metadata: Mapping[str, str]) -> None:
    """Write an ONNX model with metadata, whole or not at all."""
    del model.metadata_props[:]
    for key, value in metadata.items():
        entry = model.metadata_props.add()
        entry.key = key
        entry.value = value
    with written_whole(path) as stream:
        stream.write(model.SerializeToString())


def with_numbers(model: Any, variant: str) -> Any:
    """An ONNX model, one of VARIANTS -> the same with weights of these numbers."""
    if variant == HALF:
        return halved(model)
    return quantised(model) if variant == INT8 else model


def halved(model: Any) -> Any:
    """An ONNX model -> the same with weights in half precision, which are cast when it is loaded.

    All is computed in float32: CPUs are no faster with float16, and the power of a spectrum overflows it.
    """
    onnx = require("onnx")
    result = onnx.ModelProto()
    result.CopyFrom(model)
    of_front_end = {name for node in front_end(model) for name in node.input}
    casts = []
    for tensor in result.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype != "float32" or values.size < LEAST_HALVED or tensor.name in of_front_end:
            continue
        name = tensor.name
        tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype("float16"), f"{name}.half"))
        casts.append(onnx.helper.make_node("Cast", [f"{name}.half"], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *result.graph.node]
    del result.graph.node[:]
    result.graph.node.extend(nodes)
    return result


def quantised(model: Any) -> Any:
    """An ONNX model -> the same with weights of 8 bits; activations are quantised while it runs."""
    onnx = require("onnx")
    quantization = require("onnxruntime.quantization")
    with tempfile.TemporaryDirectory(prefix="speakernet-") as folder:
        source, target = Path(folder, "source.onnx"), Path(folder, "target.onnx")
        source.write_bytes(model.SerializeToString())
        logging.getLogger().setLevel(logging.ERROR)  # it advises a step that changes nothing here
        quantization.quantize_dynamic(
            source,
            target,
            op_types_to_quantize=["Conv", "MatMul", "Gemm"],
            weight_type=quantization.QuantType.QUInt8,
            nodes_to_exclude=[node.name for node in front_end(model)],
        )
        return onnx.load(target)


def front_end(model: Any) -> list[Any]:
    """An ONNX model -> the nodes of its front end."""
    return [node for node in model.graph.node if node.name.startswith(FRONT_END)]
