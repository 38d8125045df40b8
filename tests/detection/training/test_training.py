"""From a folder of recordings to a measured model file: the commands as a user runs them, on a toy corpus."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray
from torch import nn

from detection.__main__ import main
from detection.detector import open_detector
from detection.errors import DataError
from detection.training.bank import Ragged
from detection.training.facts import read_facts
from detection.training.fit import Epoch, Trainer
from detection.training.settings import LossName, Settings
from detection.training.train import scores_of, setting
from tests.detection.signal.test_features import speechlike

# Ten pages of two clips each: "people" waver in pitch, "machines" do not.
SOURCES = 10


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    rows = [["path", "label", "system", "family", "speaker", "language", "split", "source"]]
    for source in range(SOURCES):
        for label in ("real", "fake"):
            name = f"{label}-{source}.wav"
            samples = speechlike(40_000, seed=source)
            if label == "fake":
                samples = np.sign(samples) * np.float32(0.1)
            soundfile.write(folder / name, samples, 16_000)
            split = ("train", "train", "train", "val", "test")[source % 5]
            rows.append([name, label, f"{label}-{source}", "unknown", f"p{source}", "en", split, f"page{source}"])
    write_csv(folder / "manifest.csv", rows)
    rng = np.random.default_rng(0)
    soundfile.write(folder / "noise.wav", rng.normal(0, 0.1, 8_000), 16_000)
    soundfile.write(folder / "room.wav", np.exp(-np.arange(2_000) / 300) * rng.normal(0, 1, 2_000) * 0.3, 16_000)
    write_csv(folder / "noise_rir.csv", [["path", "kind"], ["noise.wav", "noise"], ["room.wav", "rir"]])
    return folder


def _first_is_best(trainer: Trainer, error: Mapping[str, float], train_loss: float) -> bool:
    trainer.history.append(Epoch(len(trainer.history) + 1, train_loss, error))
    return len(trainer.history) == 1


def write_csv(file: Path, rows: list[list[str]]) -> None:
    with file.open("w", newline="") as out:
        csv.writer(out).writerows(rows)


def train(corpus: Path, out: Path, *more: str, epochs: int = 2) -> int:
    return main(
        ["train", "--data", f"{corpus / 'manifest.csv'}", "--out", f"{out}", "--cache", f"{corpus / 'cache'}",
         "--heard", "original", "augmented-1", "--workers", "1", "--windows", "128", "--epochs", f"{epochs}", *more]
    )  # fmt: skip


@pytest.mark.slow
def test_train_and_export(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert train(corpus, out) == 0
    assert {file.name for file in out.iterdir()} == {
        "best.pt", "best.json", "final.pt", "final.json", "last.pt", "config.json", "curves.csv", "curves.png",
    }  # fmt: skip
    with (out / "curves.csv").open() as lines:
        assert [row["epoch"] for row in csv.DictReader(lines)] == ["1", "2"]
    config = json.loads((out / "config.json").read_text())
    assert config["settings"]["windows_per_epoch"] == 128
    assert config["settings"]["heard"] == ["original", "augmented-1"]
    assert config["versions"]["torch"] == torch.__version__
    assert len(config["data_hash"]) == 16

    assert main(["export", f"{out}", "--out", f"{tmp_path}", "--name", "toy"]) == 0
    detector = open_detector(tmp_path / "toy.onnx")
    assert detector.name.startswith("toy@")
    assert "--windows 128" in detector.card.provenance.recipe
    frames = np.random.default_rng(0).normal(-40, 20, (3, *detector.card.contract.input_shape)).astype(np.float32)
    (tmp_path / "toy.pt").write_bytes((out / "best.pt").read_bytes())
    by_torch = open_detector(tmp_path / "toy.onnx", backend="torch").score(frames).log_odds
    assert detector.score(frames).log_odds == pytest.approx(by_torch, abs=1e-3)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights_and_several_their_spread(corpus: Path, tmp_path: Path) -> None:
    more = ["--model", "tinystatnet", "--judged", "original", "--set", "masks=2", "--seed"]
    assert train(corpus, tmp_path / "again", *more, "5", epochs=1) == 0
    assert train(corpus, tmp_path / "both", *more, "5", "6", epochs=1) == 0
    runs = [tmp_path / "again", tmp_path / "both" / "seed-5", tmp_path / "both" / "seed-6"]
    weights = [torch.load(run / "final.pt", weights_only=True)["weights"] for run in runs]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    assert not torch.equal(weights[0]["decide.weight"], weights[2]["decide.weight"])
    with (tmp_path / "both" / "seeds.csv").open() as lines:
        assert [(row["seed"], row["epoch"]) for row in csv.DictReader(lines)] == [("5", "1"), ("6", "1")]


def test_any_setting_can_be_set_and_a_wrong_one_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert setting("ranking=0.25") == ("ranking", 0.25)
    assert setting("masks=2") == ("masks", 2)
    assert setting("balanced=False") == ("balanced", False)
    for wrong, said in {
        "colour=1": "'colour': expected one of batch, learning_rate",
        "epochs=1": "'epochs': expected one of",
        "masks=many": "masks=many: expected a value of type int",
        "balanced=no": "balanced=no: expected a value of type bool",
    }.items():
        with pytest.raises(SystemExit, match="2"):
            main(["train", "--data", "x.csv", "--out", "y", "--set", wrong])
        assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--windows 63", "windows_per_epoch: expected at least a batch, which is 64, got 63"),
        ("--windows 0", "windows_per_epoch: expected at least a batch, which is 64, got 0"),
        ("--epochs 0", "epochs: expected at least 1, got 0"),
        ("--seed 1 -1", "seed: expected 0 to 2**64 - 1, got -1"),
        ("--set batch=0", "batch: expected at least 2, since one window alone cannot be normalised"),
        ("--set learning_rate=-1", "learning_rate: expected more than 0, got -1.0"),
        ("--set learning_rate=nan", "learning_rate: expected more than 0, got nan"),
        ("--set weight_decay=inf", "weight_decay: expected at least 0, got inf"),
        ("--set patience=0", "patience: expected at least 1, got 0"),
        ("--set masks=-1", "masks: expected at least 0, got -1"),
        ("--set label_smoothing=2", "label_smoothing: expected 0 to 1, got 2.0"),
        ("--set average=1.5", "average: expected 0 to 1, got 1.5"),
        ("--set temper=-0.5", "temper: expected 0 to 1, got -0.5"),
        ("--set anchors=-2", "anchors: expected at least 0, got -2"),
        ("--set ranking=-1", "ranking: expected at least 0, got -1.0"),
        ("--set teaching=nan", "teaching: expected at least 0, got nan"),
    ],
)
def test_invalid_settings_are_refused_in_one_line(
    arguments: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["train", "--data", f"{tmp_path / 'x.csv'}", "--out", f"{tmp_path / 'run'}", *arguments.split()]
    assert main(given) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"callscreen detect train: {said}")
    assert err.count("\n") == 1


def test_settings_made_in_code_are_checked_alike() -> None:
    with pytest.raises(DataError, match="heard: expected at least one rendering"):
        Settings(heard=())
    with pytest.raises(DataError, match="loss: expected one of cross-entropy, focal, one-class"):
        Settings(loss=cast("LossName", "hinge"))


@pytest.mark.slow
def test_resumed_run_equals_an_uninterrupted_one(corpus: Path, tmp_path: Path) -> None:
    """Stopped after its first epoch: the checkpoint holds the schedule, the average and the state of dropout."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    more = ["--model", "tinystatnet", "--judged", "original"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "done", property(lambda trainer: len(trainer.history) == 1))
        assert train(corpus, parts, *more) == 0
    assert train(corpus, parts, *more) == 0
    assert train(corpus, whole, *more) == 0
    assert (parts / "curves.csv").read_text() == (whole / "curves.csv").read_text()
    weights = [torch.load(run / "final.pt", weights_only=True)["weights"] for run in (whole, parts)]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


@pytest.mark.slow
@pytest.mark.parametrize("model", ["rawnet2", "ecapa_tdnn"])
def test_samples_and_frames_are_trained_on_alike(model: str, corpus: Path, tmp_path: Path) -> None:
    more = ["--model", model, "--judged", "original", "--loss", "one-class", "--windows", "64"]
    assert train(corpus, tmp_path, *more, epochs=1) == 0
    facts = json.loads((tmp_path / "best.json").read_text())
    assert 0 <= facts["provenance"]["metrics"]["eer_original"] <= 1


@pytest.mark.slow
def test_a_stopped_run_goes_on_and_another_one_is_refused(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(corpus, tmp_path, epochs=2) == 0
    before = (tmp_path / "curves.csv").read_text()
    assert train(corpus, tmp_path, epochs=2) == 0
    assert (tmp_path / "curves.csv").read_text() == before
    config = (tmp_path / "config.json").read_text()
    capsys.readouterr()
    for other, said in {
        ("--seed", "7"): "last.pt: expected a checkpoint of this run with seed 7, got 1; use another --out",
        ("--hold-out", "1"): "hold_out [1], got [0]",
        ("--judged", "original"): "judged ['original'], got ['original', 'pstn', 'amrnb', 'opus12']",
        ("--model", "tinystatnet"): "model 'tinystatnet', got 'tinyaudionet'",
    }.items():
        assert train(corpus, tmp_path, *other, epochs=2) == 2
        assert said in " ".join(capsys.readouterr().err.split())
    assert (tmp_path / "config.json").read_text() == config


@pytest.mark.slow
def test_a_run_does_not_go_on_with_a_list_that_changed(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Same paths, same clips, other words: the hash of the clips alone sees none of it."""
    lists = {name: tmp_path / name for name in ("manifest.csv", "more.csv", "teacher.csv")}
    head, *rows = (corpus / "manifest.csv").read_text().splitlines()
    lists["manifest.csv"].write_text("\n".join([head, *(f"{corpus}/{row}" for row in rows)]) + "\n")
    lists["more.csv"].write_text("\n".join([head, f"{corpus}/{rows[0]}"]) + "\n")
    lists["teacher.csv"].write_text(f"path,log_odds\n{corpus}/real-0.wav,-3\n")
    given = ["--data", f"{lists['manifest.csv']}", "--surroundings", f"{corpus / 'noise_rir.csv'}"]
    given += ["--more", f"{lists['more.csv']}", "--teacher", f"{lists['teacher.csv']}"]
    given += ["--model", "tinystatnet", "--heard", "original", "--judged", "original", "--windows", "64"]
    assert train(corpus, tmp_path / "run", *given, epochs=1) == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert [len(text) for text in (config["manifest_hash"], *config["more_hashes"], config["teacher_hash"])] == [16] * 3
    assert train(corpus, tmp_path / "run", *given, epochs=1) == 0
    changes = {
        "manifest.csv": (",en,", ",de,", "manifest_hash"),
        "more.csv": (",en,", ",de,", "more_hashes"),
        "teacher.csv": (",-3", ",3", "teacher_hash"),
    }
    for name, (word, other, field) in changes.items():
        before = lists[name].read_text()
        lists[name].write_text(before.replace(word, other))
        capsys.readouterr()
        assert train(corpus, tmp_path / "run", *given, epochs=1) == 2
        said = " ".join(capsys.readouterr().err.split())
        assert f"last.pt: expected a checkpoint of this run with {field} " in said
        lists[name].write_text(before)


@pytest.mark.slow
def test_run_does_not_resume_with_other_renderings(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same lists: other surroundings to augment clips with, and other audio in a further clip."""
    head, *rows = (corpus / "manifest.csv").read_text().splitlines()
    further, surroundings = tmp_path / "real-0.wav", tmp_path / "noise_rir.csv"
    further.write_bytes((corpus / "real-0.wav").read_bytes())
    (tmp_path / "more.csv").write_text("\n".join([head, rows[0]]) + "\n")
    for name in ("noise.wav", "room.wav", "noise_rir.csv"):
        (tmp_path / name).write_bytes((corpus / name).read_bytes())
    given = ["--surroundings", f"{surroundings}", "--more", f"{tmp_path / 'more.csv'}", "--model", "tinystatnet"]
    given += ["--cache", f"{tmp_path / 'cache'}", "--judged", "original", "--windows", "64"]
    assert train(corpus, tmp_path / "run", *given, epochs=1) == 0
    before = surroundings.read_text()
    surroundings.write_text(before + "noise.wav,noise\n")
    capsys.readouterr()
    assert train(corpus, tmp_path / "run", *given, epochs=1) == 2
    assert "last.pt: expected a checkpoint of this run with renderings " in " ".join(capsys.readouterr().err.split())
    surroundings.write_text(before)
    soundfile.write(further, speechlike(30_000, seed=99), 16_000)
    assert train(corpus, tmp_path / "run", *given, epochs=1) == 2
    assert "last.pt: expected a checkpoint of this run with more_data_hashes " in " ".join(
        capsys.readouterr().err.split()
    )


@pytest.mark.slow
def test_facts_belong_to_the_weights_beside_them(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first epoch is said to be the best of two, and the second is then the last."""
    monkeypatch.setattr(Trainer, "validated", _first_is_best)
    more = ["--model", "tinystatnet", "--judged", "original", "--heard", "original", "--windows", "64"]
    assert train(corpus, tmp_path, *more, epochs=2) == 0
    weights = [torch.load(tmp_path / name, weights_only=True)["weights"] for name in ("best.pt", "final.pt")]
    assert not torch.equal(weights[0]["decide.weight"], weights[1]["decide.weight"])
    best, final = read_facts(tmp_path / "best.pt"), read_facts(tmp_path / "final.pt")
    assert best.calibration != final.calibration
    before = (tmp_path / "final.json").read_text()
    assert train(corpus, tmp_path, *more, epochs=2) == 0
    assert (tmp_path / "final.json").read_text() == before


@pytest.mark.slow
def test_a_run_that_holds_nothing_out_has_no_facts_and_none_of_another_run(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored: list[Sequence[str]] = []

    def noted(network: nn.Module, judged: Mapping[str, Ragged], *more: Any) -> dict[str, list[NDArray[np.float32]]]:
        scored.append(list(judged))
        return scores_of(network, judged, *more)

    monkeypatch.setattr("detection.training.train.scores_of", noted)
    for name in ("best.json", "final.json"):
        (tmp_path / name).write_text("{}")
    more = ["--model", "tinystatnet", "--judged", "original", "--heard", "original", "--windows", "64", "--hold-out"]
    assert train(corpus, tmp_path, *more, epochs=1) == 0
    assert {file.name for file in tmp_path.glob("*.json")} == {"config.json"}
    assert scored == [["original"], []], "the one epoch, and nothing at the end, where no figure is wanted"


@pytest.mark.parametrize("content", [b"", b"nonsense", "weights"], ids=["empty", "damaged", "another file"])
def test_a_run_does_not_go_on_from_a_file_that_is_no_checkpoint(
    content: bytes | str, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if isinstance(content, bytes):
        (tmp_path / "last.pt").write_bytes(content)
    else:
        torch.save({content: {}}, tmp_path / "last.pt")
    more = ["--model", "tinystatnet", "--heard", "original", "--judged", "original"]
    assert train(corpus, tmp_path, *more) == 2
    assert "last.pt: not a checkpoint written by `detection train`" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "config.json").exists()


def test_file_that_is_not_weights_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "best.pt").write_bytes(b"nonsense")
    assert main(["export", f"{tmp_path}"]) == 2
    assert "best.pt: not weights written by `detection train`" in capsys.readouterr().err


def test_a_corpus_without_surroundings_is_refused(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "none.csv"
    arguments = ["--surroundings", f"{missing}", "--cache", f"{tmp_path / 'cache'}"]
    assert train(corpus, tmp_path / "run", *arguments) == 2
    assert "none.csv: no such file (noise and room responses" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["cut short", "not finite"])
def test_an_unreadable_clip_is_named(
    content: str, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = tmp_path / "manifest.csv"
    lines = (corpus / "manifest.csv").read_text().splitlines()
    manifest.write_text("\n".join(line if n == 0 else f"{corpus}/{line}" for n, line in enumerate(lines)) + "\n")
    broken = tmp_path / "broken.wav"
    if content == "cut short":
        broken.write_bytes(b"RIFF")
    else:
        soundfile.write(broken, np.full(16_000, np.nan, np.float32), 16_000, subtype="FLOAT")
    with manifest.open("a") as out:
        out.write(f"{broken},real,human,human,x,en,train,page0\n")
    arguments = ["--data", f"{manifest}", "--surroundings", f"{corpus / 'noise_rir.csv'}"]
    assert train(corpus, tmp_path / "run", *arguments, "--cache", f"{tmp_path / 'cache'}") == 2
    said = " ".join(capsys.readouterr().err.split())
    assert (
        "broken.wav: cannot be read" in said
        if content == "cut short"
        else "broken.wav: expected finite samples" in said
    )
    assert "Traceback" not in said
