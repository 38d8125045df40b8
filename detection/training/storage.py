"""Smaller model files: weights stored as float16 or int8; inference stays in float32."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

StorageName = Literal["float32", "float16", "int8"]

_SMALLEST = 256
"""Smaller arrays stay float32: biases and scales take little space and need the precision."""


def stored(model: bytes, storage: StorageName) -> bytes:
    """Return the ONNX model with its weights in this format; ONNX Runtime converts them back and computes in float32.

    - ``float16`` halves the file.
    - ``int8`` quarters the weights of convolutions, fully connected and attention layers: one byte for each weight, one
      scale for each output. Activations are not quantised.
    """
    if storage == "float16":
        return _halved(model)
    return _in_bytes(model) if storage == "int8" else model


def _halved(model: bytes) -> bytes:
    graph = onnx.load_model_from_string(model)
    casts = []
    for weights in graph.graph.initializer:
        if weights.data_type != TensorProto.FLOAT or np.prod(weights.dims) < _SMALLEST:
            continue
        name = weights.name
        half = numpy_helper.to_array(weights).astype(np.float16)
        weights.CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
        casts.append(helper.make_node("Cast", [weights.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.graph.node]
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)
    return bytes(graph.SerializeToString())


def _in_bytes(model: bytes) -> bytes:
    graph = onnx.load_model_from_string(model)
    outputs_axis = dict(_layers(graph.graph.node))
    restored = []
    for weights in list(graph.graph.initializer):
        if weights.name not in outputs_axis or np.prod(weights.dims) < _SMALLEST:
            continue
        name, axis = weights.name, outputs_axis[weights.name]
        values = numpy_helper.to_array(weights)
        inputs = tuple(dimension for dimension in range(values.ndim) if dimension != axis)
        scales = np.maximum(np.abs(values).max(inputs, keepdims=True) / 127, np.finfo(np.float32).tiny)
        weights.CopyFrom(numpy_helper.from_array(np.rint(values / scales).astype(np.int8), f"{name}.bytes"))
        graph.graph.initializer.append(numpy_helper.from_array(scales.ravel().astype(np.float32), f"{name}.scales"))
        restored.append(helper.make_node("DequantizeLinear", [f"{name}.bytes", f"{name}.scales"], [name], axis=axis))
    nodes = [*restored, *graph.graph.node]
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)
    return bytes(graph.SerializeToString())


def _layers(nodes: Iterable[NodeProto]) -> Iterator[tuple[str, int]]:
    """Yield the name of each layer's weights, and the axis of its outputs."""
    for node in nodes:
        is_transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
        if node.op_type == "Conv" or (node.op_type == "Gemm" and is_transposed):
            yield node.input[1], 0
        elif node.op_type in ("Gemm", "MatMul"):
            yield node.input[1], 1
