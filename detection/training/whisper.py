"""Whisper's published encoder weights, read from a CTranslate2 model file (`model.bin` of faster-whisper's base)."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detection.errors import ModelError
from detection.models.whisperstat import LAYERS, MAX_POSITIONS

_DTYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}

_LAYER_PARTS = {
    "attention_norm": "self_attention/layer_norm",
    "attend": "self_attention/linear_0",
    "attended": "self_attention/linear_1",
    "feed_norm": "ffn/layer_norm",
    "widen": "ffn/linear_0",
    "narrow": "ffn/linear_1",
}


def read_encoder(file: Path) -> dict[str, Tensor]:
    """Return the state of `whisperstat.Encoder`, float32.

    Raises:
        ModelError: no such file, or not Whisper base as CTranslate2 writes it.
    """
    try:
        variables = _variables(file.read_bytes())
        state = _state(variables)
    except OSError as error:
        raise ModelError(f"{file}: {error.strerror}") from error
    except (KeyError, ValueError, struct.error, UnicodeDecodeError) as error:
        raise ModelError(f"{file}: expected model.bin of Whisper base, as faster-whisper uses it") from error
    return state


def _state(variables: Mapping[str, NDArray[np.generic]]) -> dict[str, Tensor]:
    def tensor(name: str) -> Tensor:
        return torch.from_numpy(variables[f"encoder/{name}"].astype(np.float32))

    state = {"positions": tensor("position_encodings/encodings")[:MAX_POSITIONS]}
    for conv in ("conv1", "conv2"):
        state |= {f"{conv}.weight": tensor(f"{conv}/weight"), f"{conv}.bias": tensor(f"{conv}/bias")}
    for number in range(LAYERS):
        for ours, theirs in _LAYER_PARTS.items():
            weight, bias = ("gamma", "beta") if theirs.endswith("norm") else ("weight", "bias")
            state[f"layers.{number}.{ours}.weight"] = tensor(f"layer_{number}/{theirs}/{weight}")
            state[f"layers.{number}.{ours}.bias"] = tensor(f"layer_{number}/{theirs}/{bias}")
    return state


def _variables(data: bytes) -> dict[str, NDArray[np.generic]]:
    """Parse CTranslate2's binary model format: a header, then name, shape, type and values of each variable."""
    place = 0

    def number(kind: str) -> int:
        nonlocal place
        (value,) = struct.unpack_from(f"<{kind}", data, place)
        place += struct.calcsize(f"<{kind}")
        return int(value)

    def text() -> str:
        nonlocal place
        size = number("H")
        place += size
        return data[place - size : place].rstrip(b"\0").decode()

    number("I")  # version of the format
    if text() != "WhisperSpec":
        raise ValueError("not a Whisper model")
    number("I")  # revision of the specification
    variables = {}
    for _ in range(number("I")):
        name = text()
        shape = [number("I") for _ in range(number("B"))]
        dtype = np.dtype(_DTYPES[number("B")])
        size = number("I")
        variables[name] = np.frombuffer(data, dtype, size // dtype.itemsize, place).reshape(shape)
        place += size
    return variables
