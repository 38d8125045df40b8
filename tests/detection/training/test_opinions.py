"""A teacher's opinions, written and read again."""

from __future__ import annotations

from dataclasses import replace
from math import nan
from pathlib import Path

import numpy as np
import pytest

from detection.errors import DataError
from detection.training.data import Clip
from detection.training.opinions import CERTAIN, or_labels, read_opinions, write_opinions


def clip(name: str) -> Clip:
    return Clip(Path(name), "real", "human", "human", "p", "en", "train", "page")


def test_scores_are_read_by_path_and_missing_ones_stay_nan(tmp_path: Path) -> None:
    file = tmp_path / "teacher.csv"
    write_opinions(file, [clip("a.wav"), clip("b.wav"), clip("c.wav")], np.array([1.5, nan, -2], np.float32))
    read = read_opinions(file, [clip("c.wav"), clip("b.wav"), clip("a.wav"), clip("d.wav")])
    np.testing.assert_array_equal(read, np.array([-2, nan, 1.5, nan], np.float32))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path,score\na.wav,1\n", "log_odds"),
        ("path,log_odds\na.wav,high\n", "a number"),
        ("path,log_odds\nz.wav,1\n", "expected scores of these clips"),
    ],
)
def test_says_what_is_wrong_with_the_file(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "teacher.csv"
    file.write_text(text)
    with pytest.raises(DataError, match=said):
        read_opinions(file, [clip("a.wav")])
    with pytest.raises(DataError, match="No such file"):
        read_opinions(tmp_path / "none.csv", [clip("a.wav")])


def test_label_replaces_missing_teacher_scores() -> None:
    clips = [replace(clip("a.wav"), label=label) for label in ("real", "fake", "fake")]
    teacher_log_odds = or_labels(np.array([np.nan, np.nan, -2.5], np.float32), clips)
    assert teacher_log_odds.tolist() == [-CERTAIN, CERTAIN, -2.5]
