"""Every data set, read from a tiny stand-in of the same layout."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from detection.__main__ import main
from detection.datasets.command import DATA_SETS
from detection.training.data import read_manifest
from sim.clips import read_manifest as read_for_calls

MLAAD_COLUMNS = (
    "path|original_file|language|is_original_language|duration|training_data|model_name|architecture|transcript"
)


def touch(root: Path, *files: str) -> None:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()


def write(root: Path, file: str, *lines: str) -> None:
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    (root / file).write_text("\n".join(lines) + "\n", encoding="utf-8")


def asvspoof2019(root: Path) -> None:
    protocols = "LA/ASVspoof2019_LA_cm_protocols/ASVspoof2019.LA.cm"
    write(root, f"{protocols}.train.trn.txt", "LA_0079 LA_T_1138215 - - bonafide", "LA_0079 LA_T_2 - A01 spoof")
    write(root, f"{protocols}.dev.trl.txt", "LA_0069 LA_D_1 - A05 spoof")
    write(root, f"{protocols}.eval.trl.txt", "LA_0039 LA_E_2834763 - A16 spoof", "LA_0030 LA_E_5 - - bonafide")
    for part, files in (
        ("train", ("LA_T_1138215", "LA_T_2")),
        ("dev", ("LA_D_1",)),
        ("eval", ("LA_E_2834763", "LA_E_5")),
    ):
        touch(root, *(f"LA/ASVspoof2019_LA_{part}/flac/{file}.flac" for file in files))


def asvspoof2021_la(root: Path) -> None:
    keys = (
        "LA_0009 LA_E_9332881 alaw ita_tx A07 spoof notrim eval",
        "LA_0010 LA_E_2 opus mad_tx bonafide bonafide notrim progress",
    )
    write(root, "keys/LA/CM/trial_metadata.txt", *keys)
    touch(root, "ASVspoof2021_LA_eval/flac/LA_E_9332881.flac", "ASVspoof2021_LA_eval/flac/LA_E_2.flac")


def asvspoof2021_df(root: Path) -> None:
    write(
        root,
        "DF-keys-full/keys/DF/CM/trial_metadata.txt",
        "LA_0023 DF_E_2000011 nocodec asvspoof A14 spoof notrim progress traditional_vocoder - - - -",
        "TEF2 DF_E_2000013 low_m4a vcc2020 Task1-team20 spoof notrim eval traditional_vocoder Task1 team20 FF E",
        "TEF1 DF_E_2000014 nocodec vcc2020 bonafide bonafide notrim eval bonafide - - - -",
    )
    part = "ASVspoof2021_DF_eval_part0{}/ASVspoof2021_DF_eval/flac/DF_E_{}.flac"
    touch(root, part.format(0, 2000011), part.format(1, 2000013), part.format(3, 2000014))


def asvspoof5(root: Path) -> None:
    write(root, "ASVspoof5_protocols/ASVspoof5.train.tsv", "T_4850 T_0000000000 F - - - AC3 A05 spoof -")
    write(root, "ASVspoof5_protocols/ASVspoof5.dev.track_1.tsv", "D_0062 D_0000000001 M - - - - bonafide bonafide -")
    write(root, "ASVspoof5_protocols/ASVspoof5.eval.track_1.tsv", "E_1607 E_0009538969 M C05 3 - AC1 A20 spoof -")
    touch(root, "flac_T/T_0000000000.flac", "flac_D/D_0000000001.flac", "flac_E_eval/E_0009538969.flac")


def in_the_wild(root: Path) -> None:
    write(
        root,
        "release_in_the_wild/meta.csv",
        "file,speaker,label",
        "0.wav,Alec Guinness,spoof",
        "4.wav,C. Hitchens,bona-fide",
    )
    touch(root, "release_in_the_wild/0.wav", "release_in_the_wild/4.wav")


def wavefake(root: Path) -> None:
    touch(
        root,
        "generated_audio/ljspeech_melgan/LJ001-0001_gen.wav",
        "generated_audio/jsut_parallel_wavegan/BASIC5000_0001_gen.wav",
        "generated_audio/common_voices_prompts_from_conformer_fastspeech2_pwg_ljspeech/gen_0.wav",
        "LJSpeech-1.1/wavs/LJ001-0001.wav",
    )


def mlaad(root: Path) -> None:
    row = './fake/de/griffin_lim/a.wav|./de_DE/x.wav|de|True|3.1|M-AILABS|griffin_lim|Griffin-Lim|Er sagte "nein'
    write(root, "fake/de/griffin_lim/meta.csv", MLAAD_COLUMNS, row)
    touch(root, "fake/de/griffin_lim/a.wav")


def librispeech(root: Path) -> None:
    touch(
        root,
        "LibriSpeech/dev-clean/84/121123/84-121123-0000.flac",
        "LibriSpeech/test-other/367/130732/367-130732-0001.flac",
    )
    touch(root, "LibriSpeech/dev-clean/84/121123/84-121123.trans.txt")


def common_voice(root: Path) -> None:
    columns = "client_id\tpath\tsentence\tup_votes\tdown_votes\tage\tgender\taccents\tlocale\tsegment"
    rest = '\tSie sagte "ja\t2\t0\t\t\t\tde\t'
    write(root, "de/test.tsv", columns, f"{'ab' * 64}\tcommon_voice_de_1.mp3{rest}")
    write(root, "de/train.tsv", columns, f"{'cd' * 64}\tcommon_voice_de_2.mp3{rest}")
    touch(root, "de/clips/common_voice_de_1.mp3", "de/clips/common_voice_de_2.mp3")


def folder(root: Path) -> None:
    touch(root, "human/anna/1.wav", "human/2.mp3", "human/notes.txt", "Synthetic/robo/1.flac")


def table(root: Path) -> None:
    write(root, "mine.csv", "file,label,speaker", "a.wav,real,anna", "b.wav,spoof,")
    touch(root, "a.wav", "b.wav")


LAYOUTS: dict[str, tuple[Callable[[Path], None], list[tuple[str, str, str, str, str, str]]]] = {
    "asvspoof2019-la": (asvspoof2019, [
        ("real", "", "human", "LA_0079", "train", "en"), ("fake", "A01", "acoustic+vocoder", "LA_0079", "train", "en"),
        ("fake", "A05", "vc", "LA_0069", "val", "en"), ("fake", "A16", "concatenative", "LA_0039", "test", "en"),
        ("real", "", "human", "LA_0030", "test", "en"),
    ]),
    "asvspoof2021-la": (asvspoof2021_la, [
        ("fake", "A07", "acoustic+vocoder", "LA_0009", "eval", "en"),
        ("real", "", "human", "LA_0010", "progress", "en"),
    ]),
    "asvspoof2021-df": (asvspoof2021_df, [
        ("fake", "A14", "vc", "LA_0023", "progress", "en"), ("fake", "Task1-team20", "unknown", "TEF2", "eval", "en"),
        ("real", "", "human", "TEF1", "eval", "en"),
    ]),
    "asvspoof5": (asvspoof5, [
        ("fake", "A05", "unknown", "T_4850", "train", "en"), ("real", "", "human", "D_0062", "val", "en"),
        ("fake", "A20", "unknown", "E_1607", "test", "en"),
    ]),
    "in-the-wild": (in_the_wild, [
        ("fake", "in-the-wild", "unknown", "Alec Guinness", "test", "en"),
        ("real", "", "human", "C. Hitchens", "test", "en"),
    ]),
    "wavefake": (wavefake, [
        ("fake", "conformer-fastspeech2-pwg", "acoustic+vocoder", "LJ", "test", "en"),
        ("fake", "parallel_wavegan", "vocoder-copy-synthesis", "JSUT", "test", "ja"),
        ("fake", "melgan", "vocoder-copy-synthesis", "LJ", "test", "en"), ("real", "", "human", "LJ", "test", "en"),
    ]),
    "mlaad": (mlaad, [("fake", "griffin_lim", "unknown", "", "test", "de")]),
    "librispeech": (librispeech, [
        ("real", "", "human", "libri-84", "dev-clean", "en"), ("real", "", "human", "libri-367", "test-other", "en"),
    ]),
    "common-voice": (common_voice, [
        ("real", "", "human", "cv-cdcdcdcdcdcdcdcd", "train", "de"),
        ("real", "", "human", "cv-abababababababab", "test", "de"),
    ]),
    "folder": (folder, [
        ("fake", "robo", "unknown", "robo", "test", ""), ("real", "", "human", "2", "test", ""),
        ("real", "", "human", "anna", "test", ""),
    ]),
    "csv": (table, [("real", "", "human", "anna", "test", ""), ("fake", "unknown", "unknown", "b", "test", "")]),
}  # fmt: skip


def root_of(name: str, folder: Path) -> Path:
    return folder / "mine.csv" if name == "csv" else folder


@pytest.mark.parametrize("name", DATA_SETS)
def test_a_manifest_of_each_layout(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make, expected = LAYOUTS[name]
    make(tmp_path / "data")
    out = tmp_path / "out" / "manifest.csv"
    assert main(["dataset", name, str(root_of(name, tmp_path / "data")), "--out", str(out)]) == 0
    with out.open(newline="") as file:
        found = [
            tuple(row[column] for column in ("label", "system", "family", "speaker", "split", "language"))
            for row in csv.DictReader(file)
        ]
    assert found == expected
    clips = read_manifest(out)  # as training and measuring read it; checks that every file is there
    assert [clip.is_fake for clip in clips] == [one[0] == "fake" for one in expected]
    assert len(read_for_calls(out)) == len(expected)  # as `sim` reads it
    assert {clip.source.partition("/")[0] for clip in clips} == {name}
    counted = capsys.readouterr()
    assert ("expected" in counted.err) == bool(DATA_SETS[name].counts)  # a stand-in is smaller than the archive


def test_missing_clips_are_reported_and_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    in_the_wild(tmp_path)
    (tmp_path / "release_in_the_wild" / "4.wav").unlink()
    arguments = ["dataset", "in-the-wild", str(tmp_path), "--out", str(tmp_path / "m.csv")]
    assert main(arguments) == 0
    told = capsys.readouterr().err
    missing = tmp_path / "release_in_the_wild" / "4.wav"
    assert f"warning: 1 clips are missing; {missing.parent / 'meta.csv'}:3: {missing}" in told
    assert "warning: split test: expected 31779 clips, found 1" in told
    assert len((tmp_path / "m.csv").read_text().splitlines()) == 2
    assert main([*arguments, "--strict"]) == 1
    assert "error: 1 clips are missing" in capsys.readouterr().err


def test_one_split_alone(tmp_path: Path) -> None:
    asvspoof2019(tmp_path)
    out = tmp_path / "m.csv"
    assert main(["dataset", "asvspoof2019-la", str(tmp_path), "--out", str(out), "--split", "val"]) == 0
    assert len(out.read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("name", "file", "line", "message"),
    [
        ("asvspoof2019-la", "LA/ASVspoof2019_LA_cm_protocols/ASVspoof2019.LA.cm.dev.trl.txt", "LA_0069 LA_D_1 A05 x",
         "ASVspoof2019.LA.cm.dev.trl.txt:1: expected at least 5 fields, got 4"),
        ("asvspoof5", "ASVspoof5_protocols/ASVspoof5.train.tsv", "T_1 T_0 F - - - AC3 A05 maybe -",
         "ASVspoof5.train.tsv:1: label: expected one of"),
        ("in-the-wild", "release_in_the_wild/meta.csv", "file,label", "meta.csv:1: expected a column 'speaker'"),
        ("csv", "mine.csv", "path,kind", "mine.csv:1: expected a column label or key or class or target, got path, k"),
        ("mlaad", "fake/de/griffin_lim/meta.csv", f"{MLAAD_COLUMNS}\n./fake/a.wav|x", "meta.csv:2: expected 9 columns"),
        ("librispeech", "LibriSpeech/dev-clean/84/1/85-1-0.flac", "", "85-1-0.flac: expected SPEAKER/CHAPTER/"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_protocol_names_its_line(
    name: str, file: str, line: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    LAYOUTS[name][0](tmp_path)
    write(tmp_path, file, line)
    out = tmp_path / "m.csv"
    assert main(["dataset", name, str(root_of(name, tmp_path)), "--out", str(out)]) == 2
    (told,) = capsys.readouterr().err.splitlines()
    assert message in told
    assert list(tmp_path.glob("m.csv*")) == []


@pytest.mark.parametrize("name", [name for name in DATA_SETS if name != "csv"])
def test_a_folder_that_is_something_else(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dataset", name, str(tmp_path), "--out", str(tmp_path / "m.csv")]) == 2
    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith(f"callscreen detect dataset: {tmp_path}: expected ")
    assert main(["dataset", name, str(tmp_path / "gone"), "--out", str(tmp_path / "m.csv")]) == 2
    assert "gone: expected an existing file or folder" in capsys.readouterr().err
