"""ONNX Runtime, the serving backend."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from detection.errors import ModelError


class OnnxBackend:
    """Frames in, raw log-odds out, on the calling thread alone.

    One thread and no spinning: a gateway runs one scorer per core, and idle threads that spin would eat the calls'
    share (measured in other projects as the way fifty calls on a few cores die).
    """

    def __init__(self, file: Path, input_shape: tuple[int, int]) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3  # errors; a damaged model is reported by the exception below
        try:
            self._session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's errors share no base class of their own
            raise ModelError(f"{file}: not a model that ONNX Runtime can run") from error
        given = [tensor.shape[1:] for tensor in self._session.get_inputs()]
        if given != [list(input_shape)]:
            raise ModelError(f"{file}: expected one input of shape (batch, {input_shape[0]}, {input_shape[1]})")
        self._input = self._session.get_inputs()[0].name

    def log_odds(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map ``(batch, n_frames, n_features)`` to raw log-odds ``(batch,)``."""
        (result,) = self._session.run(None, {self._input: frames})
        return np.asarray(result, np.float32)
