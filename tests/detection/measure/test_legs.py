"""How legs go, and the figures of legs and alarms, where scripted scores say what they must be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from detection import Policy, Score
from detection.measure.legs import Course, follow, of_alarms, of_legs, of_outcomes
from detection.offline import decide
from tests.detection.measure.test_figures import clip

POLICY = Policy()


def leg(*log_odds: float) -> list[Score]:
    """Windows a second apart, each with a second of speech that the one before did not hold."""
    return [Score(at, at + 3.0, 2.4, 1.0, value) for at, value in enumerate(log_odds)]


def courses(*heard: list[Score]) -> list[Course]:
    return [follow(scores, POLICY) for scores in heard]


def test_legs_are_judged_when_so_much_speech_was_heard() -> None:
    clips = [clip("real", "a"), clip("real", "b"), clip("fake", "a"), clip("fake", "b")]
    heard = [leg(*[-2.0] * 20), leg(*[-2.0] * 3), leg(*[-2.0] * 3, *[4.0] * 17), leg(*[4.0] * 10)]
    table = of_legs(clips, [(0,), (1,), (2,), (3,)], courses(*heard))
    assert [(row["human"], row["synthetic"]) for row in table.values()] == [(2, 2), (1, 2), (1, 2), (1, 1)]
    assert table["2"]["eer"] == pytest.approx(1 / 3), "one machine still sounds human: on the line from 1/2, 0 to 0, 1"
    assert table["8"]["eer"] == table["16"]["eer"] == 0
    assert [table[seconds]["misses"] for seconds in ("2", "4", "8", "16")] == [1, 0.5, 0, 0]
    assert table["8"]["false_alarms"] == 0
    assert table["4"]["misses_95"] == [0, 1], "one of two sources, drawn with replacement"


def test_alarms_are_counted_per_hour_of_human_speech() -> None:
    clips = [clip("real", "a"), clip("real", "b"), clip("fake", "a")]
    calm, alarmed = leg(*[-2.0] * 900), leg(*[-2.0] * 880, *[4.0] * 20)
    machine = leg(*[4.0] * 900)
    rates = of_alarms(clips, [(0,), (1,), (2,)], courses(calm, alarmed, machine))
    assert (rates["legs"], rates["hours"]) == (2, 0.5)
    assert rates["raised_per_hour"] == rates["confirmed_per_hour"] == pytest.approx(2)
    low, high = rates["raised_per_hour_95"]
    assert low == 0
    assert high == pytest.approx(6), "rule of three"


def test_where_no_human_leg_holds_speech_there_are_no_rates() -> None:
    quiet = [Score(0.0, 3.0, 0.0, 0.0, float("nan"))]
    for clips in ([clip("real"), clip("fake")], [clip("fake"), clip("fake")]):
        assert of_alarms(clips, [(0,), (1,)], courses(quiet, leg(4.0))) == {"legs": 0, "hours": 0.0}


def test_outcomes_are_shares_of_the_legs_of_a_class() -> None:
    clips = [clip("real", "a"), clip("real", "b"), clip("fake", "a"), clip("fake", "b")]
    went = courses(leg(*[-2.0] * 20), leg(-2.0), leg(*[4.0] * 20), leg(*[4.0] * 3))
    figures = of_outcomes(clips, [(0,), (1,), (2,), (3,)], went)
    assert (figures["human_ended_human"], figures["human_alerted"]) == (1.0, 0.0)
    assert (figures["synthetic_ended_synthetic"], figures["synthetic_alerted"]) == (1.0, 1.0)
    assert figures["synthetic_confirmed"] == 0.5, "there was no time for the short one"
    assert figures["synthetic_confirmed_95"] == [0, 1]
    assert of_outcomes(clips, [], []) == {"human": 0, "synthetic": 0}


@pytest.mark.parametrize(
    "heard",
    [
        leg(*[4.0] * 20),
        leg(*[-2.0] * 5, float("nan"), *[4.0] * 20, *[-4.0] * 30),
        [replace(score, speech_s=0.7, fresh_speech_s=0.3) for score in leg(*[5.0] * 30)],
    ],
    ids=["synthetic", "one not scored", "too little speech"],
)
def test_a_leg_goes_as_live_calls_do(heard: list[Score]) -> None:
    heard = [replace(score, speech_s=0.2) if np.isnan(score.log_odds) else score for score in heard]
    decider, changes = decide(heard, POLICY)
    course = follow(heard, POLICY)
    assert course.verdict == decider.verdict()
    assert [move for moment in course.moments for move in moment.moves] == [change.state for change in changes]
    assert course.moments[-1].p_synthetic == decider.verdict().p_synthetic


def test_windows_with_too_little_speech_raise_nothing_at_any_stage() -> None:
    scraps = [replace(score, speech_s=0.7, fresh_speech_s=0.3) for score in leg(*[5.0] * 30)]
    clips = [clip("real"), clip("fake")]
    table = of_legs(clips, [(0,), (1,)], courses(scraps, leg(*[4.0] * 30)))
    assert (table["8"]["human"], table["8"]["false_alarms"], table["8"]["misses"]) == (1, 0, 0)


def test_what_is_not_ranked_has_no_equal_error_rate() -> None:
    went = courses(leg(*[-2.0] * 20), leg(*[4.0] * 20))
    table = of_legs([clip("real"), clip("fake")], [(0,), (1,)], went, ranked=False)
    assert {name for name in table["4"] if not name.endswith("_95")} == {"human", "synthetic", "false_alarms", "misses"}
