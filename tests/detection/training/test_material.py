"""Both sides of a run hold humans and machines, and nobody is heard as human on both."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

from detection.errors import DataError
from detection.models.tinystatnet import CONTRACT
from detection.training.data import COLUMNS
from detection.training.material import Source, gather


def row(source: int, label: str, split: str, speaker: str = "") -> str:
    return f"{label}-{source}.wav,{label},s{source},unknown,{speaker or f'p{source}'},en,{split},page{source}"


PAGES = [row(source, label, "val" if source == 4 else "train") for source in range(5) for label in ("real", "fake")]


def listed(folder: Path, rows: Sequence[str], name: str = "manifest.csv") -> Path:
    for one in rows:
        soundfile.write(folder / one.split(",")[0], np.full(16_000, 0.1), 16_000)
    (folder / name).write_text("\n".join([",".join(COLUMNS), *rows]) + "\n")
    return folder / name


def source(manifest: Path, *held_out: int) -> Source:
    return Source(manifest, manifest.parent / "none.csv", manifest.parent / "cache", 1, held_out)


def test_validation_is_held_out_sources_or_the_val_split(tmp_path: Path) -> None:
    manifest = listed(tmp_path, PAGES)
    clips, train, validation = source(manifest, 0).clips()
    assert {clips[index].source for index in train}.isdisjoint(clips[index].source for index in validation)
    assert sorted(train + validation) == list(range(10))
    clips, train, validation = source(manifest).clips()
    assert train == list(range(10))
    assert [clips[index].split for index in validation] == ["val", "val"]


@pytest.mark.parametrize(
    ("rows", "held_out", "said"),
    [
        ([*PAGES[:-2], row(4, "real", "val")], (), "expected clips of both labels in split val"),
        ([*PAGES[:-2], row(4, "fake", "val")], (), "expected clips of both labels in split val"),
        (PAGES, (0, 1, 2, 3, 4), "expected clips of both labels to train on"),
        ([PAGES[0], PAGES[1], *PAGES[-2:]], (2, 4), "expected clips of both labels in the groups held out 2 4"),
        ([PAGES[0], PAGES[2], PAGES[-2]], (0,), "expected clips of both labels to train on and to validate on"),
        ([PAGES[0], *PAGES[-2:]], (0,), "expected clips of both labels to train on"),
        (PAGES[:-2], (), "expected clips with split 'val', got none"),
        ([*PAGES, row(4, "real", "val", "p0")], (), "human speakers in both train and validation: p0"),
    ],
)
def test_a_side_without_humans_or_without_machines_is_refused(
    tmp_path: Path, rows: Sequence[str], held_out: Sequence[int], said: str
) -> None:
    with pytest.raises(DataError, match=rf"manifest\.csv: {said}"):
        source(listed(tmp_path, rows), *held_out).clips()


def test_a_person_who_is_validated_on_is_not_trained_on_from_further_clips(tmp_path: Path) -> None:
    of = source(listed(tmp_path, PAGES), 0)
    clips, _, validation = of.clips()
    held_out = clips[validation[0]]
    page = int(held_out.source.removeprefix("page"))
    more = listed(tmp_path, [row(9, "real", "train", held_out.speaker)], "more.csv")
    with pytest.raises(DataError, match=rf"more\.csv: human speakers in both train and validation: p{page}"):
        gather(of, CONTRACT, ["original"], ["original"], [more])
    of_its_system = row(8, "fake", "train").replace("s8", held_out.system)
    more = listed(
        tmp_path, [row(9, "fake", "train", held_out.speaker), row(page, "real", "train"), of_its_system], "more.csv"
    )
    material = gather(of, CONTRACT, ["original"], ["original"], [more])
    assert [material.clips[index].source for index in material.train if index >= 10] == ["page9"], "a machine may"
