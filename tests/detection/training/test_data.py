"""Manifests: what is in them, and one clear line for each thing that can be wrong."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from detection.errors import DataError
from detection.training.data import BY_TELEPHONE, Clip, data_hash, file_hash, read_manifest, refuse_shared_speakers

HEADER = "path,label,system,family,speaker,language,split,source"


def write(folder: Path, *rows: str, header: str = HEADER) -> Path:
    for name in ("a.wav", "b.wav"):
        (folder / name).write_bytes(name.encode())
    manifest = folder / "manifest.csv"
    manifest.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return manifest


HUMAN_ROW = "a.wav,real,human,human,ann,en,train,page"
FAKE_ROW = "b.wav,fake,vits,end-to-end,ann,en,val,page"


def test_reads_the_splits_asked_for(tmp_path: Path) -> None:
    manifest = write(tmp_path, HUMAN_ROW, FAKE_ROW)
    assert [clip.file.name for clip in read_manifest(manifest)] == ["a.wav", "b.wav"]
    (clip,) = read_manifest(manifest, ["val"])
    assert clip == Clip(tmp_path / "b.wav", "fake", "vits", "end-to-end", "ann", "en", "val", "page")
    assert clip.is_fake
    assert clip.channel == ""


def test_channel_column_is_optional(tmp_path: Path) -> None:
    (clip,) = read_manifest(write(tmp_path, HUMAN_ROW + ",phone", header=HEADER + ",channel"))
    assert clip.channel in BY_TELEPHONE


@pytest.mark.parametrize(
    ("rows", "header", "said"),
    [
        ([HUMAN_ROW], HEADER.replace(",source", ""), "expected a column source"),
        ([HUMAN_ROW.replace("real", "maybe")], HEADER, "manifest.csv:2: label: expected real or fake, got 'maybe'"),
        ([FAKE_ROW.replace("end-to-end", "magic")], HEADER, "csv:2: family: expected one of human, .*got 'magic'"),
        ([FAKE_ROW + ",lift"], HEADER + ",channel", "manifest.csv:2: channel: expected one of studio, .*got 'lift'"),
        ([FAKE_ROW.replace("b.wav", "c.wav")], HEADER, "manifest.csv:2: path: expected an existing file"),
        ([HUMAN_ROW], HEADER, "expected clips with split 'val', got none"),
        ([FAKE_ROW.replace("b.wav", "")], HEADER, "manifest.csv:2: path: expected the name of a file, got none"),
        ([HUMAN_ROW, "", "b.wav,fake"], HEADER, "manifest.csv:4: expected a value for system, family, .*source"),
        ([HUMAN_ROW, "x" * 140_000], HEADER, "manifest.csv: expected CSV in UTF-8: field larger than"),
        ([], HEADER, "manifest.csv: expected at least one clip"),
    ],
    ids=["column", "label", "family", "channel", "file", "split", "no path", "short", "no CSV", "empty"],
)
def test_a_bad_manifest_is_refused(tmp_path: Path, rows: list[str], header: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_manifest(write(tmp_path, *rows, header=header), ["val"] if "label" not in said else ["train"])


def test_a_spreadsheets_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    manifest = write(tmp_path, HUMAN_ROW)
    manifest.write_text(manifest.read_text(), encoding="utf-8-sig")
    assert [clip.speaker for clip in read_manifest(manifest)] == ["ann"]


def test_another_encoding_is_refused(tmp_path: Path) -> None:
    manifest = write(tmp_path, HUMAN_ROW)
    manifest.write_text(manifest.read_text().replace("ann", "Jörg"), encoding="latin-1")
    with pytest.raises(DataError, match=r"manifest\.csv: expected CSV in UTF-8: 'utf-8' codec can't decode"):
        read_manifest(manifest)


def test_a_missing_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.csv: No such file"):
        read_manifest(tmp_path / "none.csv")


def clip(speaker: str, label: str = "real") -> Clip:
    return Clip(Path("x"), label, "human", "human", speaker, "en", "train", "page")


@pytest.mark.parametrize("pool", ["", "vctk?", "ljs_unk"])
def test_pools_of_unknown_people_may_be_on_both_sides(pool: str) -> None:
    refuse_shared_speakers([clip(pool)], [clip(pool)], Path("m.csv"))


def test_a_person_on_both_sides_is_refused_but_their_clone_is_not() -> None:
    refuse_shared_speakers([clip("ann")], [clip("ann", "fake"), clip("bob")], Path("m.csv"))
    with pytest.raises(DataError, match=r"m\.csv: human speakers in both train and validation: ann"):
        refuse_shared_speakers([clip("ann")], [clip("ann")], Path("m.csv"))


def test_the_hash_follows_names_labels_and_sizes(tmp_path: Path) -> None:
    before = data_hash(read_manifest(write(tmp_path, HUMAN_ROW)))
    assert before == data_hash(read_manifest(write(tmp_path, HUMAN_ROW)))
    assert before != data_hash(read_manifest(write(tmp_path, FAKE_ROW)))
    manifest = write(tmp_path, HUMAN_ROW)
    (tmp_path / "a.wav").write_bytes(b"more than before")
    assert before != data_hash(read_manifest(manifest))


def test_the_hash_of_a_file_follows_all_that_it_holds(tmp_path: Path) -> None:
    manifest = write(tmp_path, HUMAN_ROW)
    assert file_hash(manifest) == hashlib.sha256(manifest.read_bytes()).hexdigest()[:16]
    before = file_hash(manifest)
    assert before != file_hash(write(tmp_path, HUMAN_ROW.replace("ann", "bob")))
