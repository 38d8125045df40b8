"""Smaller model files: weights stored in half precision or in bytes, and what that costs, measured."""

from __future__ import annotations

import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

StorageName = Literal["float32", "float16", "int8"]

_SMALLEST = 256
"""Arrays of fewer numbers stay as they are: biases and scales weigh nothing and are worth their precision."""


def stored(model: bytes, storage: StorageName) -> bytes:
    """Return the ONNX model with its weights stored so.

    - ``float16`` halves the file; ONNX Runtime turns the weights back once, when it loads, and computes as before.
    - ``int8`` quarters what fully connected and attention layers hold, and computes them on bytes, their inputs scaled
      window by window (dynamic quantisation); convolutions stay, which ONNX Runtime is slower at on bytes.
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
    with TemporaryDirectory() as folder:
        file, smaller = Path(folder) / "model.onnx", Path(folder) / "smaller.onnx"
        file.write_bytes(model)
        logging.getLogger().addFilter(_is_no_advice)
        try:
            quantize_dynamic(
                file, smaller, op_types_to_quantize=["MatMul", "Gemm"], per_channel=True, weight_type=QuantType.QInt8
            )
        finally:
            logging.getLogger().removeFilter(_is_no_advice)
        return smaller.read_bytes()


def _is_no_advice(record: logging.LogRecord) -> bool:
    return "pre-processing before quantization" not in record.getMessage()  # which changes nothing here
