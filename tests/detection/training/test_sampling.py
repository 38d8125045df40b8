"""Whole sources and systems are held out, and no source or class is heard too much."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from detection.training.data import Clip, refuse_shared_speakers
from detection.training.sampling import FOLDS, PageSampler, balanced_weights, source_folds, split_by_source, unlike


def clip(source: str, label: str, system: str = "s", speaker: str = "") -> Clip:
    return Clip(Path("x"), label, system, "f", speaker, "en", "train", source)


CLIPS = [clip(f"page{n}", label, f"s{n}") for n in range(20) for label in ("real", "fake") for _ in range(n + 1)]


def test_every_source_is_in_one_fold_and_folds_are_alike() -> None:
    folds = source_folds(CLIPS)
    assert set(folds) == {clip.source for clip in CLIPS}
    sizes = np.bincount([folds[clip.source] for clip in CLIPS], minlength=FOLDS)
    assert sizes.min() > 0.8 * sizes.max()


@pytest.mark.parametrize("fold", range(FOLDS))
def test_no_source_is_on_both_sides(fold: int) -> None:
    train, validation = split_by_source(CLIPS, [fold])
    assert sorted(train + validation) == list(range(len(CLIPS)))
    assert not {CLIPS[index].source for index in train} & {CLIPS[index].source for index in validation}


def test_a_person_of_a_held_out_source_is_not_trained_on_elsewhere() -> None:
    clips = [*CLIPS, clip("page0", "real", speaker="ann"), clip("page1", "real", speaker="Ann")]
    for fold in range(FOLDS):
        train, validation = split_by_source(clips, [fold])
        refuse_shared_speakers([clips[index] for index in train], [clips[index] for index in validation])


def test_a_system_of_a_held_out_source_is_not_trained_on_elsewhere() -> None:
    clips = [*CLIPS, clip("page0", "fake", "tts"), clip("page19", "fake", "tts"), clip("page19", "real", "tts")]
    fold = source_folds(clips)["page0"]
    assert fold != source_folds(clips)["page19"]
    train, _ = split_by_source(clips, [fold])
    assert len(clips) - 2 not in train
    assert len(clips) - 1 in train, "a human is of no system"


def test_a_system_is_the_same_however_it_is_written() -> None:
    assert unlike([clip("b", "fake", "VITS"), clip("b", "fake", "hifi-gan")], [clip("a", "fake", "Vits")]) == [1]


@pytest.mark.parametrize("name", ["", "?", "tts_unk"])
def test_systems_without_a_name_are_not_taken_for_one(name: str) -> None:
    assert unlike([clip("b", "fake", name)], [clip("a", "fake", name)]) == [0]


def test_classes_have_equal_weight_and_large_sources_less() -> None:
    clips = [clip("big", "real")] * 100 + [clip("small", "real")] * 4 + [clip("small", "fake")]
    weights = balanced_weights(clips)
    assert weights.sum() == pytest.approx(1)
    assert weights[-1] == pytest.approx(0.5)
    assert weights[:100].sum() / weights[100:104].sum() == pytest.approx(5)  # sqrt(100 / 4)


def test_a_system_counts_as_one_on_however_many_pages() -> None:
    clips = [clip("page", "real"), *[clip(f"page{n}", "fake", "a") for n in range(9)], clip("page", "fake", "b")]
    weights = balanced_weights(clips, temper=0)
    assert weights[1:10].sum() == pytest.approx(weights[10])


def test_half_of_a_batch_are_pages_with_two_of_either_class() -> None:
    clips = [clip("alone", "real")] * 100 + [
        clip(f"page{n}", label) for n in range(3) for label in ("real", "fake") * 6
    ]
    drawn = PageSampler(clips, temper=0.5, anchors=2).draw(16, np.random.default_rng(0))
    for page in (drawn[:4], drawn[4:8]):
        assert len({clips[position].source for position in page}) == 1
        assert [clips[position].label for position in page] == ["real", "real", "fake", "fake"]
    assert clips[drawn[0]].source != clips[drawn[4]].source


def test_without_anchors_classes_are_drawn_alike() -> None:
    clips = [clip("alone", "real")] * 50 + [clip("page", label) for label in ("real", "fake") for _ in range(10)]
    drawn = np.array(PageSampler(clips, temper=0.5, anchors=0).draw(20_000, np.random.default_rng(0)))
    assert np.mean(drawn >= 60) == pytest.approx(0.5, abs=0.02)


def test_where_clips_are_drawn_as_they_come_the_rarer_class_weighs_more() -> None:
    clips = [clip("page", "real")] * 10 + [clip("page", "fake")] * 30
    pages = PageSampler(clips, temper=0.5, anchors=0, balanced=False)
    drawn = np.array(pages.draw(20_000, np.random.default_rng(0)))
    assert np.mean(drawn >= 10) == pytest.approx(0.75, abs=0.02)
    assert pages.class_weights == pytest.approx((2, 2 / 3))
    assert PageSampler(clips, temper=0.5, anchors=0).class_weights == pytest.approx((1, 1))
