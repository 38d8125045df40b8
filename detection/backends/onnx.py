"""ONNX Runtime, the serving backend."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from detection.errors import ModelError


class OnnxBackend:
    """Runs an ONNX file on the calling thread.

    One thread without spinning: a gateway runs one scorer on each core, and spinning idle threads would take CPU time
    from the calls.
    """

    def __init__(self, file: Path, input_shape: tuple[int, int]) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3  # errors only; a damaged model raises the exception below
        try:
            self._session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's exceptions have no common base class
            raise ModelError(f"{file}: not a model that ONNX Runtime can run") from error
        given = [tensor.shape[1:] for tensor in self._session.get_inputs()]
        if given != [list(input_shape)]:
            raise ModelError(f"{file}: expected one input of shape (batch, {input_shape[0]}, {input_shape[1]})")
        self._input = self._session.get_inputs()[0].name

    def log_odds(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map ``(batch, n_frames, n_features)`` to raw log-odds ``(batch,)``."""
        (result,) = self._session.run(None, {self._input: frames})
        return np.asarray(result, np.float32)
