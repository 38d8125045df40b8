"""Figures of clips and groups, where scripted scores say what they must be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from detection import Outcome
from detection.measure.conditions import add_noise, channel_class, cut_silence, keep_first
from detection.measure.figures import by_group, in_training, of_clips, worst_codec
from detection.measure.pictures import reliability
from detection.measure.scoring import legs_of
from detection.offline import ClipScore
from detection.training.data import Clip
from tests.detection.signals import noise, silence, speech


def clip(label: str, source: str = "page", speaker: str = "ann", system: str = "vits") -> Clip:
    return Clip(Path("x"), label, system, "end-to-end", speaker, "en", "test", source)


def ended(log_odds: float, state: Outcome, reason: str = "uncertain") -> ClipScore:
    return ClipScore(0.5, log_odds, 2.0, 2, state, reason)


def test_legs_hold_the_clips_of_one_known_speaker_of_one_page_and_system() -> None:
    clips = [clip("real"), clip("fake"), clip("real"), clip("real", speaker="ljs?"), clip("real", source="other"),
             clip("fake", system="gan")]  # fmt: skip
    assert sorted(legs_of(clips)) == [(0, 2), (1,), (4,), (5,)]


def test_outcome_shares_and_detection_cost() -> None:
    clips = [clip("real"), clip("real"), clip("fake"), clip("fake")]
    scored = [ended(-2, Outcome.HUMAN, "p_below_human"), ended(1, Outcome.INDETERMINATE, "noisy"),
              ended(3, Outcome.SYNTHETIC, "p_above_raise"), ended(2, Outcome.INDETERMINATE)]  # fmt: skip
    figures = of_clips(clips, scored)
    assert figures["eer"] == 0
    assert figures["act_dcf"] == pytest.approx(0.5), "no human alarmed, half of the machines missed, over 0.5"
    assert (figures["human_ended_human"], figures["human_ended_indeterminate"]) == (0.5, 0.5)
    assert figures["human_unsure_because"] == {"noisy": 1}
    assert figures["synthetic_ended_synthetic"] == 0.5
    assert figures["accuracy"] == 0.75


def test_group_of_one_class_is_compared_with_all_of_the_other() -> None:
    clips = [clip("real", system="human")] * 6 + [clip("fake", system="vits")] * 6 + [clip("fake", system="gan")] * 2
    scores = np.array([0.0] * 6 + [1.0] * 3 + [-1.0] * 3 + [5.0] * 2)
    systems = by_group(clips, scores)["system"]
    assert systems["vits"]["misses"] == 0.5
    assert systems["vits"]["auc"] == 0.5
    assert systems["human"]["false_alarms"] == 0
    assert "eer" not in systems["gan"], "two clips have no error rate"
    low, high = systems["vits"]["misses_95"]
    assert 0 <= low < 0.5 < high <= 1, "of one source, so clips are drawn"


def test_groups_of_several_sources_are_resampled_by_source() -> None:
    clips = [clip("real", source="a")] * 6 + [clip("fake", source=source) for source in "bc" for _ in range(6)]
    scores = np.array([-1.0] * 6 + [1.0] * 6 + [-1.0] * 6)
    row = by_group(clips, scores)["system"]["vits"]
    assert (row["misses"], row["misses_95"]) == (0.5, [0, 1]), "whole sources are missed, or none"
    ranked = ("eer", "auc", "miss_at_1pct_false_alarms", "miss_at_0.1pct_false_alarms", "min_dcf")
    assert set(row) >= {f"{name}{end}" for name in ranked for end in ("", "_95")}


def test_in_training_means_system_for_synthetic_and_speaker_for_human_clips() -> None:
    training = [clip("real", speaker="VCTK_p1", system="human"), clip("fake", speaker="ann", system="vits")]
    clips = [
        clip("real", speaker="vctk_P1"),
        clip("real", speaker="ann"),
        clip("real", speaker="bob", system="vits"),
        clip("real", speaker=""),
        clip("fake", speaker="bob", system="VITS"),
        clip("fake", speaker="ann", system="gan"),
        clip("fake", system="human"),
    ]
    assert in_training(clips, training) == [True, True, False, False, True, False, False]
    assert "heard in training" not in by_group(clips, np.zeros(7))
    table = by_group(clips, np.zeros(7), training)["heard in training"]
    assert {name: (row["human"], row["synthetic"]) for name, row in table.items()} == {"no": (2, 2), "yes": (2, 1)}


@pytest.mark.parametrize("name", ["", "vctk_unk", "ljs?"])
def test_clips_without_a_name_are_not_in_training(name: str) -> None:
    clips = [clip("real", speaker=name), clip("fake", system=name)]
    assert in_training(clips, clips) == [False, False]


def test_the_worst_codec_is_a_codec_among_several_channels() -> None:
    rates = {name: {"eer": eer} for name, eer in (("clean", 0.5), ("pstn", 0.2), ("gsm", 0.3), ("noise 5 dB", 0.4))}
    assert worst_codec(rates) == "gsm"
    assert worst_codec({"clean": rates["clean"]}) is None
    assert worst_codec({"pstn": rates["pstn"], "noise 5 dB": rates["noise 5 dB"]}) is None


def test_reliability_gives_classes_equal_weight() -> None:
    log_odds = np.concatenate([np.full(300, -0.02), np.full(20, -0.02), np.full(20, 3.0)])
    is_fake = np.arange(340) >= 300
    stated, found, share = reliability(log_odds, is_fake)
    assert stated == pytest.approx([0.495, 0.9526], abs=1e-3)
    assert found == pytest.approx([1 / 3, 1])
    assert share.sum() == pytest.approx(1)


def test_noise_has_the_requested_snr_and_is_the_same_at_every_level() -> None:
    noises = [noise(1, -20), noise(2, -40)]
    added = {snr: add_noise(noises, snr, speech(), 3) - speech() for snr in (20.0, 5.0)}
    for snr, what in added.items():
        assert 10 * np.log10(np.mean(speech() ** 2) / np.mean(what**2)) == pytest.approx(snr, abs=0.1)
    assert np.corrcoef(added[20.0], added[5.0])[0, 1] > 0.999


def test_silence_is_cut_at_both_ends_only() -> None:
    audio = np.concatenate([silence(1), speech()[:48_000], silence(1), speech()[48_000:96_000], silence(1)])
    cut = cut_silence(audio)
    assert 6.5 * 16_000 < len(cut) < 7.3 * 16_000
    assert len(cut_silence(silence(2))) == 32_000


def test_two_seconds_are_kept_from_the_first_speech_on() -> None:
    audio = np.concatenate([silence(1), speech()[:96_000]])
    kept = keep_first(audio)
    assert len(kept) == 32_000
    start = next(at for at in range(0, 32_000, 160) if np.array_equal(audio[at : at + 32_000], kept))
    assert start > 12_000, "not the silence before"
    assert len(keep_first(silence(3))) == 32_000
    assert len(keep_first(silence(1))) == 16_000


def test_channels_have_a_class() -> None:
    narrow = ("pstn", "amrnb", "opus6", "opus8")
    assert [channel_class(name) for name in narrow] == ["narrow"] * 4
    assert [channel_class(name) for name in ("clean", "g722", "opus12", "lossy")] == ["wide", "wide", "wide", "lossy"]
