"""The verifier's head on a frozen encoder: read, embed, train, export; a toy corpus, an encoder of random weights."""

from __future__ import annotations

import csv
import json
import re
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from detection.__main__ import main
from detection.detector import open_detector
from detection.errors import DataError, ModelError
from detection.models.whisperstat import CONTRACT, LAYERS, MAX_POSITIONS, SETTINGS, WIDTH, WhisperStat, _statistics
from detection.training import transfer
from detection.training.bank import Bank, Ragged
from detection.training.data import Clip, file_hash, read_manifest
from detection.training.sampling import source_folds
from detection.training.transfer import embedded, refuse_one_label
from detection.training.whisper import read_encoder
from tests.detection.test_features import speechlike
from tests.detection.training.test_training import corpus, train

__all__ = ["corpus"]  # a fixture


def written(file: Path, variables: dict[str, NDArray[np.float16]], spec: str = "WhisperSpec") -> Path:
    """Write `variables` as CTranslate2 does, version 6 of its format."""

    def text(value: str) -> bytes:
        return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"

    parts = [struct.pack("<I", 6), text(spec), struct.pack("<II", 3, len(variables))]
    for name, values in variables.items():
        parts += [text(name), struct.pack(f"<B{values.ndim}I", values.ndim, *values.shape)]
        parts += [struct.pack("<BI", 4, values.nbytes), values.tobytes()]
    file.write_bytes(b"".join(parts))
    return file


def random_encoder() -> dict[str, NDArray[np.float16]]:
    rng = np.random.default_rng(0)

    def weights(*shape: int) -> NDArray[np.float16]:
        scale = 1 / np.sqrt(np.prod(shape[1:]))
        values: NDArray[np.float16] = (rng.standard_normal(shape) * scale).astype(np.float16)
        return values

    ones, zeros = np.ones(WIDTH, np.float16), np.zeros(WIDTH, np.float16)
    variables = {
        "encoder/conv1/weight": weights(WIDTH, 80, 3), "encoder/conv1/bias": zeros,
        "encoder/conv2/weight": weights(WIDTH, WIDTH, 3), "encoder/conv2/bias": zeros,
        "encoder/position_encodings/encodings": weights(1_500, WIDTH),
    }  # fmt: skip
    for number in range(LAYERS):
        layer = f"encoder/layer_{number}"
        for norm in ("self_attention/layer_norm", "ffn/layer_norm"):
            variables |= {f"{layer}/{norm}/gamma": ones, f"{layer}/{norm}/beta": zeros}
        for linear, rows, columns in (
            ("self_attention/linear_0", 3, 1),
            ("self_attention/linear_1", 1, 1),
            ("ffn/linear_0", 4, 1),
            ("ffn/linear_1", 1, 4),
        ):
            variables[f"{layer}/{linear}/weight"] = weights(rows * WIDTH, columns * WIDTH)
            variables[f"{layer}/{linear}/bias"] = np.zeros(rows * WIDTH, np.float16)
    return variables


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("encoder") / "model.bin", random_encoder())


def test_reads_every_weight_of_the_encoder(encoder: Path) -> None:
    network = WhisperStat()
    network.encoder.load_state_dict(read_encoder(encoder))  # strict: none missing, none too many
    given = random_encoder()["encoder/layer_2/ffn/linear_0/weight"].astype(np.float32)
    np.testing.assert_array_equal(network.encoder.state_dict()["layers.2.widen.weight"].numpy(), given)


@pytest.mark.parametrize(
    ("data", "said"),
    [(b"", "expected model.bin"), (b"PK\3\4 not a model at all", "expected model.bin")],
)
def test_refuses_another_file(tmp_path: Path, data: bytes, said: str) -> None:
    file = tmp_path / "model.bin"
    file.write_bytes(data)
    with pytest.raises(ModelError, match=said):
        read_encoder(file)
    with pytest.raises(ModelError, match="No such file"):
        read_encoder(tmp_path / "none.bin")


def test_refuses_a_model_without_a_layer(tmp_path: Path) -> None:
    some = {name: values for name, values in random_encoder().items() if "layer_3" not in name}
    with pytest.raises(ModelError, match="of Whisper base"):
        read_encoder(written(tmp_path / "model.bin", some))
    with pytest.raises(ModelError, match="of Whisper base"):
        read_encoder(written(tmp_path / "other.bin", some, spec="TransformerSpec"))


def test_silence_around_speech_does_not_count() -> None:
    """The statistics are of the frames that hold speech: a window half empty says what its speech says."""
    torch.manual_seed(0)
    layer = torch.randn(1, 100, WIDTH)
    is_speech = torch.ones(1, 100, 1)
    padded = torch.cat([layer, torch.full((1, 60, WIDTH), 9.0)], 1)
    flags = torch.cat([is_speech, torch.zeros(1, 60, 1)], 1)
    torch.testing.assert_close(_statistics(padded, flags), _statistics(layer, is_speech))


@pytest.mark.slow
def test_transfer_export_and_open(corpus: Path, encoder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    given = ["transfer", "--data", f"{corpus / 'manifest.csv'}", "--encoder", f"{encoder}", "--out", f"{run}"]
    given += ["--cache", f"{corpus / 'cache'}", "--workers", "1", "--opinions", f"{tmp_path / 'teacher.csv'}"]
    assert main(given) == 0
    clips = read_manifest(corpus / "manifest.csv", ("train", "val"))
    groups = source_folds(clips)
    with (tmp_path / "teacher.csv").open() as lines:
        asked = {row["path"] for row in csv.DictReader(lines)}
    assert asked == {f"{clip.file}" for clip in clips if groups[clip.source] != 0}  # of group 0, held out, nothing
    taught = tmp_path / "taught"
    assert train(corpus, taught, "--model", "tinystatnet", "--teacher", f"{tmp_path / 'teacher.csv'}", epochs=1) == 0
    assert json.loads((taught / "config.json").read_text())["teacher"] == f"{tmp_path / 'teacher.csv'}"
    assert {file.name for file in run.iterdir()} == {
        "final.pt",
        "config.json",
        "curves.csv",
        "curves.png",
        "final.json",
    }
    config = json.loads((run / "config.json").read_text())
    assert config["model"] == "whisperstat"
    assert config["opinions"] == f"{tmp_path / 'teacher.csv'}"
    assert config["encoder_hash"] == file_hash(encoder)
    assert config["manifest_hash"] == file_hash(corpus / "manifest.csv")
    assert config["more_hashes"] == []
    weights = torch.load(run / "final.pt", weights_only=True)["weights"]
    torch.testing.assert_close(weights["encoder.positions"], read_encoder(encoder)["positions"])  # frozen
    assert len(weights["encoder.positions"]) == MAX_POSITIONS
    assert main(["export", f"{run}", "--weights", "final.pt", "--out", f"{tmp_path}", "--storage", "int8"]) == 0
    detector = open_detector(tmp_path / "whisperstat.onnx")
    frames = CONTRACT.features.stream().push(speechlike(CONTRACT.window_samples, 1))
    assert np.isfinite(detector.score(frames[None]).log_odds).all()


def clip(page: int, label: str, system: str) -> Clip:
    return Clip(Path("x"), label, system, "f", "", "en", "train", f"page{page}")


def test_no_head_is_asked_that_would_hear_humans_alone() -> None:
    clips = [clip(page, label, f"tts{page % 2}") for page in range(10) for label in ("real", "fake")]
    groups = source_folds(clips)
    with pytest.raises(DataError, match=r"^--opinions: expected clips of both labels .* with group 0$"):
        refuse_one_label(clips, [], ())
    refuse_one_label(clips, [[clip(10, "fake", "other")]], ())
    of_first = {one.system for one in clips if groups[one.source] == 0 and one.is_fake}
    assert len(of_first) == 2, "both systems, so that no machine is left beside this group"
    refuse_one_label([clip(page, label, f"tts{page}") for page in range(3) for label in ("real", "fake")], [], (0,))


@pytest.mark.slow
def test_a_head_that_heard_all_has_no_facts_and_none_of_another_run(
    corpus: Path, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the encoder hears doesn't matter here, so that it hears nothing."""

    def drawn(_: WhisperStat, bank: Bank, version: int) -> Ragged:
        rows = np.random.default_rng(version).normal(size=(len(bank.clips), 3 * LAYERS * WIDTH)).astype(np.float16)
        return Ragged(rows, np.arange(len(rows) + 1))

    monkeypatch.setattr(transfer, "embedded", drawn)
    monkeypatch.setattr(transfer, "SETTINGS", replace(SETTINGS, epochs=1, windows_per_epoch=128))
    (tmp_path / "final.json").write_text("{}")
    given = ["transfer", "--data", f"{corpus / 'manifest.csv'}", "--encoder", f"{encoder}", "--out", f"{tmp_path}"]
    assert main([*given, "--cache", f"{tmp_path / 'cache'}", "--hold-out"]) == 0
    assert (tmp_path / "final.pt").exists()
    assert not (tmp_path / "final.json").exists()


@pytest.mark.slow
def test_one_label_is_refused_before_anything_is_embedded(
    corpus: Path, encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head, *rows = (corpus / "manifest.csv").read_text().splitlines()
    alike = [re.sub(r",fake-\d+,", ",tts,", f"{corpus}/{row}") for row in rows]
    (tmp_path / "alike.csv").write_text("\n".join([head, *alike]) + "\n")
    given = [
        "transfer",
        "--data",
        f"{tmp_path / 'alike.csv'}",
        "--encoder",
        f"{encoder}",
        "--out",
        f"{tmp_path / 'run'}",
    ]
    given += ["--cache", f"{tmp_path / 'cache'}", "--opinions", f"{tmp_path / 'teacher.csv'}", "--hold-out"]
    assert main(given) == 2
    assert "--opinions: expected clips of both labels" in capsys.readouterr().err
    assert not (tmp_path / "cache").exists()


def test_what_was_not_embedded_to_the_end_is_embedded_again(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = Bank(read_manifest(corpus / "manifest.csv")[:2], tmp_path / "none.csv", tmp_path / "cache", workers=1)
    bank.audio("original")
    before = set(bank.folder.iterdir())
    network = WhisperStat()

    def interrupted(file: Path, _: NDArray[np.float16]) -> None:
        file.write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", interrupted)
        with pytest.raises(KeyboardInterrupt):
            embedded(network, bank, 0)
    assert set(bank.folder.iterdir()) == before
    assert len(embedded(network, bank, 0)) == 2


def test_says_when_the_encoder_is_missing(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["transfer", "--data", f"{corpus / 'manifest.csv'}", "--encoder", "none.bin", "--out", f"{tmp_path}"]
    assert main(given) == 2
    assert "none.bin: No such file" in capsys.readouterr().err
