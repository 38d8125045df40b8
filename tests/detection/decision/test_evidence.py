"""Answers that come late: the sums are the same as if they had been there at once."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection.decision.evidence import MEMORY_S, LegEvidence, light_alone
from tests.detection.fakes import mean_fusion

FUSED = mean_fusion().llr
LIMIT = 4.0
llrs = st.floats(-8, 8)


def whole_and_recent(evidence: LegEvidence) -> tuple[float, float, int]:
    recent = evidence.recent
    return evidence.whole.p_synthetic(0.5), recent.p_synthetic(0.5), recent.synthetic_windows


def leg(said: list[float], llr: object = light_alone) -> LegEvidence:
    assert callable(llr)
    evidence = LegEvidence(llr, 6.0, LIMIT)
    for at, log_odds in enumerate(said):
        evidence.add(at, at + 3.0, 0.8, log_odds, narrow=False)
    return evidence


@given(said=st.lists(llrs, min_size=1, max_size=40), answers=st.lists(llrs, min_size=10, max_size=10))
def test_late_verifier_scores_count_as_if_they_had_come_with_their_windows(
    said: list[float], answers: list[float]
) -> None:
    late = leg(said, FUSED)
    for number, log_odds in enumerate(answers):
        late.add_verifier_score(4.0 * number, 4.0 * number + 4, log_odds)

    def heard_by(at: int) -> float | None:
        """A window's fresh second ends at ``at + 3``; the first window is fresh from its start."""
        number = int((at + 2) // 4) if at else 0
        return answers[number] if number < len(answers) else None

    fused = [FUSED(one, heard_by(at), False) for at, one in enumerate(said)]
    assert whole_and_recent(late) == pytest.approx(whole_and_recent(leg(fused)), abs=1e-9)


def test_several_verifier_scores_of_one_window_are_averaged() -> None:
    twice, once = leg([1.0] * 6, FUSED), leg([1.0] * 6, FUSED)
    for log_odds in (4.0, 0.0):
        assert twice.add_verifier_score(0.0, 4.0, log_odds)
    once.add_verifier_score(0.0, 4.0, 2.0)
    assert whole_and_recent(twice) == pytest.approx(whole_and_recent(once))


def test_verifier_score_applies_to_windows_with_half_of_their_fresh_part_in_it() -> None:
    evidence = LegEvidence(FUSED, 6.0, LIMIT)
    first, second = (evidence.add(at, at + 4.0, 1.0, 0.0, narrow=False) for at in (0.0, 1.0))
    assert evidence.add_verifier_score(0.0, 3.0, 2.0), "of the first four seconds, three"
    assert (first.verifier, second.verifier) == (2.0, None)
    assert evidence.add_verifier_score(3.0, 6.0, 4.0)
    assert (first.verifier, second.verifier) == (2.0, 4.0)
    assert not evidence.add_verifier_score(5.0, 9.0, 4.0), "nothing was scored there"


def test_window_after_a_repeated_tail_is_all_fresh() -> None:
    evidence = LegEvidence(FUSED, 6.0, LIMIT)
    evidence.add(0.0, 3.0, 1.0, 0.0, narrow=False)
    evidence.add(2.0, 5.0, 1.0, 0.0, narrow=False)
    assert evidence.add(1.5, 4.5, 1.0, 0.0, narrow=False).start_s == 1.5


def test_windows_older_than_a_minute_are_not_revised() -> None:
    evidence = leg([0.0] * round(MEMORY_S + 10), FUSED)
    before = whole_and_recent(evidence)
    assert not evidence.add_verifier_score(0.0, 8.0, 4.0)
    assert whole_and_recent(evidence) == before
    assert evidence.add_verifier_score(20.0, 24.0, 4.0), "that still counts in the whole"
    whole, recent, leaning = whole_and_recent(evidence)
    assert whole > before[0]
    assert (recent, leaning) == pytest.approx(before[1:])


def test_each_window_is_clipped_to_the_limit() -> None:
    evidence = leg([100.0], FUSED)
    assert evidence.whole.p_synthetic(0.0) == pytest.approx(1 / (1 + math.exp(-LIMIT * 0.8 / 3)))
    evidence.add_verifier_score(0.0, 4.0, 500.0)
    assert evidence.whole.p_synthetic(0.0) == pytest.approx(1 / (1 + math.exp(-LIMIT * 0.8 / 3)))


def test_probability_of_the_light_model_alone_is_kept() -> None:
    evidence = leg([1.0, -2.0, 9.0], FUSED)
    alone = evidence.recent.p_synthetic(0.5)
    evidence.add_verifier_score(0.0, 10.0, -4.0)
    assert evidence.recent.p_synthetic(0.5) < alone
    assert evidence.light_p_synthetic(0.5) == pytest.approx(alone)
