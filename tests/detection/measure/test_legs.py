"""How legs go, and the figures of legs and alarms, where scripted scores say what they must be."""

from __future__ import annotations

from dataclasses import replace

import pytest

from detection import Policy, Score
from detection.decision.evidence import light_alone
from detection.measure.legs import Trace, of_alarms, of_detections, of_legs, of_outcomes, trace_of
from detection.offline import VerifierScore
from tests.detection.fakes import mean_fusion
from tests.detection.measure.test_figures import clip

POLICY = Policy()


def leg(*log_odds: float) -> list[Score]:
    """Windows a second apart, each with a second of speech that the one before did not hold."""
    return [Score(at, at + 3.0, 2.4, 1.0, value) for at, value in enumerate(log_odds)]


def traces(*legs: list[Score]) -> list[Trace]:
    return [trace_of(scores, POLICY) for scores in legs]


def test_legs_are_evaluated_by_seconds_of_speech() -> None:
    clips = [clip("real", "a"), clip("real", "b"), clip("fake", "a"), clip("fake", "b")]
    legs = [leg(*[-2.0] * 20), leg(*[-2.0] * 3), leg(*[-2.0] * 3, *[4.0] * 17), leg(*[4.0] * 10)]
    table = of_legs(clips, [(0,), (1,), (2,), (3,)], traces(*legs))
    assert [(row["human"], row["synthetic"]) for row in table.values()] == [(2, 2), (1, 2), (1, 2), (1, 1)]
    assert table["2"]["eer"] == pytest.approx(1 / 3), "one machine still sounds human: on the line from 1/2, 0 to 0, 1"
    assert table["8"]["eer"] == table["16"]["eer"] == 0
    assert [table[seconds]["misses"] for seconds in ("2", "4", "8", "16")] == [1, 0.5, 0, 0]
    assert table["8"]["false_alarms"] == 0
    assert table["4"]["misses_95"] == [0, 1], "one of two sources, drawn with replacement"


def test_false_alarms_are_per_hour_of_human_speech() -> None:
    clips = [clip("real", "a"), clip("real", "b"), clip("fake", "a")]
    calm, alarmed = leg(*[-2.0] * 900), leg(*[-2.0] * 880, *[4.0] * 20)
    machine = leg(*[4.0] * 900)
    rates = of_alarms(clips, [(0,), (1,), (2,)], traces(calm, alarmed, machine))
    assert (rates["legs"], rates["hours"]) == (2, 0.5)
    assert rates["raised_per_hour"] == rates["confirmed_per_hour"] == pytest.approx(2)
    low, high = rates["raised_per_hour_95"]
    assert low == 0
    assert high == pytest.approx(6), "rule of three"


def test_without_human_speech_there_are_no_rates() -> None:
    quiet = [Score(0.0, 3.0, 0.0, 0.0, float("nan"))]
    for clips in ([clip("real"), clip("fake")], [clip("fake"), clip("fake")]):
        assert of_alarms(clips, [(0,), (1,)], traces(quiet, leg(4.0))) == {"legs": 0, "hours": 0.0}


def test_outcomes_are_shares_of_the_legs_of_a_class() -> None:
    clips = [clip("real", "a"), clip("real", "b"), clip("fake", "a"), clip("fake", "b")]
    by_outcome = traces(leg(*[-2.0] * 20), leg(-2.0), leg(*[4.0] * 20), leg(*[4.0] * 3))
    figures = of_outcomes(clips, [(0,), (1,), (2,), (3,)], by_outcome)
    assert (figures["human_ended_human"], figures["human_alerted"]) == (1.0, 0.0)
    assert (figures["synthetic_ended_synthetic"], figures["synthetic_alerted"]) == (1.0, 1.0)
    assert figures["synthetic_confirmed"] == 0.5, "there was no time for the short one"
    assert figures["synthetic_confirmed_95"] == [0, 1]
    assert of_outcomes(clips, [], []) == {"human": 0, "synthetic": 0}


def test_verifier_scores_change_alerts_by_the_fusion() -> None:
    fused = mean_fusion().llr
    verifier_scores = [VerifierScore(at + 1, float(at), at + 4.0, False, 4.0, False) for at in range(0, 16, 4)]
    scores = leg(*[0.5] * 20)
    alone, both = trace_of(scores, POLICY), trace_of(scores, POLICY, verifier_scores, fused)
    assert not any(step.moves for step in alone.steps)
    assert [move for step in both.steps for move in step.moves] == ["provisional", "confirmed"]
    assert both.steps[1].p_synthetic > alone.steps[1].p_synthetic
    assert both.steps[0] == alone.steps[0], "there was no verifier score yet"
    assert trace_of(scores, POLICY, verifier_scores, light_alone).verdict == alone.verdict, "without weight"


def test_overlapping_verifier_windows_count_only_in_doubt() -> None:
    verifier_scores = [VerifierScore(at + 1, float(at), at + 4.0, True, 4.0, False) for at in range(2, 14, 2)]
    for log_odds, counts in ((-4.0, False), (0.0, True)):
        scores = leg(*[log_odds] * 20)
        fused = trace_of(scores, POLICY, verifier_scores, mean_fusion().llr)
        assert (fused.verdict != trace_of(scores, POLICY).verdict) is counts


def test_detections_count_synthetic_legs_alerted_within_twelve_seconds() -> None:
    clips = [clip("fake", "a"), clip("fake", "b"), clip("fake", "c"), clip("fake", "d"), clip("real", "a")]
    legs = [leg(*[4.0] * 20), leg(*[-4.0] * 14, *[4.0] * 20), leg(*[4.0] * 5), leg(4.0), leg(*[4.0] * 20)]
    figures = of_detections(clips, [(number,) for number in range(5)], traces(*legs))
    assert (figures["synthetic"], figures["detected"]) == (4, 0.5), "one too late, one too short"
    assert (figures["synthetic_long"], figures["detected_long"]) == (2, 0.5), "those with twelve seconds of speech"
    assert figures["detected_95"] == [0, 1]


def test_windows_with_too_little_speech_raise_nothing_at_any_stage() -> None:
    scraps = [replace(score, speech_s=0.7, fresh_speech_s=0.3) for score in leg(*[5.0] * 30)]
    clips = [clip("real"), clip("fake")]
    table = of_legs(clips, [(0,), (1,)], traces(scraps, leg(*[4.0] * 30)))
    assert (table["8"]["human"], table["8"]["false_alarms"], table["8"]["misses"]) == (1, 0, 0)
