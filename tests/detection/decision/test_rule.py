from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection import AlertState, Change, Decider, Outcome, Policy, Score, VerificationOutcome, Window
from tests.detection.fakes import mean_fusion

POLICY = Policy()
WINDOW_S = 3.0
UNDECIDED, PROVISIONAL, CONFIRMED, CLEARED = AlertState
LEGAL = {
    (UNDECIDED, PROVISIONAL),
    (PROVISIONAL, CONFIRMED),
    (PROVISIONAL, CLEARED),
    (CONFIRMED, CLEARED),
    (CLEARED, PROVISIONAL),
}

any_log_odds = st.floats(-20, 20)
any_leg = st.lists(st.tuples(any_log_odds, st.floats(0, 1)), max_size=60)
"""Log-odds and fresh speech of successive windows."""


def scores(leg: Iterable[tuple[float, float]]) -> list[Score]:
    """Return the scores of windows one second apart; the first holds no more speech than any other."""
    return [
        Score(float(at), at + WINDOW_S, speech_s=WINDOW_S * 0.8, fresh_speech_s=fresh_s, log_odds=log_odds)
        for at, (log_odds, fresh_s) in enumerate(leg)
    ]


def steady(*log_odds: float) -> list[tuple[float, float]]:
    return [(one, 0.8) for one in log_odds]


def play(decider: Decider, leg: Iterable[tuple[float, float]]) -> list[Change]:
    return [change for score in scores(leg) if (change := decider.update(score))]


def states(leg: Sequence[tuple[float, float]], policy: Policy = POLICY) -> list[AlertState]:
    return [change.state for change in play(Decider(policy), leg)]


def unscored(fresh_speech_s: float) -> Window:
    return Window(0.0, np.zeros(48_000, np.float32), 16_000, speech_s=fresh_speech_s, fresh_speech_s=fresh_speech_s)


def test_synthetic_voice_is_raised_then_confirmed() -> None:
    decider = Decider(POLICY)
    raised, confirmed = play(decider, steady(*[3.0] * 10))
    assert (raised.previous, raised.state, raised.reason) == (UNDECIDED, PROVISIONAL, "p_above_raise")
    assert (confirmed.previous, confirmed.state, confirmed.reason) == (PROVISIONAL, CONFIRMED, "p_stayed_above_raise")
    assert raised.p_synthetic >= POLICY.raise_p
    assert raised.speech_s >= POLICY.min_alert_speech_s
    assert (raised.windows, raised.at_s) == (4, 6.0)
    assert confirmed.speech_s - raised.speech_s >= POLICY.confirm_speech_s
    verdict = decider.verdict()
    assert (verdict.outcome, verdict.reason) == (Outcome.SYNTHETIC, "alert_confirmed")
    assert verdict.peak_p_synthetic >= raised.p_synthetic
    assert verdict.windows == 10
    assert verdict.speech_s == decider.speech_s == pytest.approx(8.0)


def test_alert_is_confirmed_although_windows_without_verifier_score_lower_it() -> None:
    policy = Policy(raise_p=0.98)
    decider = Decider(policy)
    changes = play(decider, steady(4.0, 4.0, 4.0, 4.0, -1.0, -1.0, -1.0))
    assert [change.state for change in changes] == [AlertState.PROVISIONAL, AlertState.CONFIRMED]
    assert policy.hold_p <= decider.recent_p_synthetic < policy.raise_p


def test_hold_p_lies_between_raise_p_and_clear_p() -> None:
    assert Policy(raise_p=0.9).hold_p == pytest.approx(0.75)
    assert Policy(raise_p=0.9, clear_p=0.85).hold_p == 0.85


def test_human_voice_raises_nothing() -> None:
    decider = Decider(POLICY)
    assert play(decider, steady(*[-2.0, -1.0, 0.5] * 20)) == []
    verdict = decider.verdict()
    assert (verdict.outcome, verdict.reason) == (Outcome.HUMAN, "p_below_human")
    assert verdict.p_synthetic < 0.5


def test_alert_clears_and_can_be_raised_again() -> None:
    assert states(steady(*[4.0] * 10, *[-4.0] * 15, *[4.0] * 15)) == [
        PROVISIONAL,
        CONFIRMED,
        CLEARED,
        PROVISIONAL,
        CONFIRMED,
    ]


def test_provisional_alert_that_was_a_mistake_clears_unconfirmed() -> None:
    assert states(steady(*[4.0] * 4, *[-4.0] * 15)) == [PROVISIONAL, CLEARED]


@given(leg=any_leg)
def test_states_only_move_along_the_table(leg: list[tuple[float, float]]) -> None:
    changes = play(Decider(POLICY), leg)
    state = UNDECIDED
    for change in changes:
        assert change.previous is state
        assert (change.previous, change.state) in LEGAL
        state = change.state


@given(leg=any_leg)
def test_alert_does_not_flap(leg: list[tuple[float, float]]) -> None:
    changes = play(Decider(POLICY), leg)
    for before, after in pairwise(changes):
        speech_s = after.speech_s - before.speech_s + 1e-9
        if after.state is CONFIRMED:
            assert speech_s >= POLICY.confirm_speech_s
        if after.state is CLEARED:
            assert speech_s >= POLICY.clear_speech_s


@given(leg=st.lists(st.tuples(st.floats(-20, 0), st.floats(0, 1)), min_size=1, max_size=40), data=st.data())
def test_single_window_never_raises_an_alert(leg: list[tuple[float, float]], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(leg) - 1))
    leg[at] = (data.draw(st.floats(0, 1e9)), data.draw(st.floats(0, WINDOW_S)))
    assert states(leg) == []


@given(leg=any_leg.filter(bool), raised_by=st.floats(0, 20), data=st.data())
def test_evidence_is_monotone(leg: list[tuple[float, float]], raised_by: float, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(leg) - 1))
    more = list(leg)
    more[at] = (leg[at][0] + raised_by, leg[at][1])
    low, high = Decider(POLICY), Decider(POLICY)
    play(low, leg)
    play(high, more)
    assert high.recent_p_synthetic >= low.recent_p_synthetic - 1e-9
    assert high.verdict().p_synthetic >= low.verdict().p_synthetic - 1e-9


@given(human=st.lists(st.floats(-20, 0), max_size=200), synthetic=st.floats(2, 20))
def test_voice_that_turns_synthetic_is_detected_whatever_came_before(human: list[float], synthetic: float) -> None:
    hop_s = 0.8
    windows = math.ceil(POLICY.recent_speech_s / hop_s) + 1
    decider = Decider(POLICY)
    changes = play(decider, steady(*human, *[synthetic] * windows))
    assert [change.state for change in changes][:1] == [PROVISIONAL]
    assert changes[0].windows > len(human)


def test_overlap_is_not_counted_twice() -> None:
    dense = Decider(POLICY)
    play(dense, [(1.0, 0.2)] * 40)
    sparse = Decider(POLICY)
    play(sparse, [(1.0, 0.8)] * 10)
    assert dense.verdict().p_synthetic == pytest.approx(sparse.verdict().p_synthetic)


def test_certainty_from_one_leg_is_bounded() -> None:
    decider = Decider(POLICY)
    play(decider, steady(*[1.0] * 10_000))
    limit = 1 / POLICY.window_correlation
    assert decider.verdict().p_synthetic <= 1 / (1 + math.exp(-limit))


def test_window_without_new_speech_changes_nothing() -> None:
    decider = Decider(POLICY)
    play(decider, steady(*[2.0] * 3))
    before = decider.recent_p_synthetic
    assert play(decider, [(20.0, 0.0)] * 50) == []
    assert decider.recent_p_synthetic == before


def test_speech_of_skipped_windows_counts_with_the_next_scored_one() -> None:
    scored, skipping = Decider(POLICY), Decider(POLICY)
    play(scored, [(1.0, 1.6)])
    skipping.skip(unscored(0.8))
    play(skipping, [(1.0, 0.8)])
    assert skipping.verdict().p_synthetic == scored.verdict().p_synthetic
    assert skipping.verdict().speech_s == scored.verdict().speech_s


def test_skipped_speech_counts_only_as_far_as_the_next_window_overlaps_it() -> None:
    decider = Decider(POLICY)
    for _ in range(20):
        decider.skip(unscored(1.0))
    play(decider, [(1.0, 1.0)])
    window_full = Decider(POLICY)
    play(window_full, [(1.0, WINDOW_S)])
    assert decider.verdict().p_synthetic == window_full.verdict().p_synthetic
    assert decider.verdict().speech_s == 21.0


@pytest.mark.parametrize("log_odds", [-20.0, 0.0, 20.0])
def test_too_little_speech_is_never_human_nor_synthetic(log_odds: float) -> None:
    decider = Decider(POLICY)
    play(decider, [(log_odds, POLICY.min_verdict_speech_s - 0.01)])
    assert (decider.verdict().outcome, decider.verdict().reason) == (Outcome.INDETERMINATE, "too_little_speech")


def test_unscored_speech_is_no_evidence() -> None:
    decider = Decider(replace(POLICY, min_verdict_speech_s=0))
    decider.skip(unscored(0.5))
    verdict = decider.verdict()
    assert (verdict.outcome, verdict.reason) == (Outcome.INDETERMINATE, "too_little_speech")
    assert (verdict.p_synthetic, verdict.speech_s, verdict.windows, verdict.peak_p_synthetic) == (0.5, 0.5, 0, 0.0)
    assert decider.recent_p_synthetic == 0.5


@pytest.mark.parametrize(
    ("leg", "outcome", "reason"),
    [
        pytest.param(steady(*[-3.0] * 60, *[4.0] * 12), Outcome.SYNTHETIC, "alert_confirmed", id="clone-takes-over"),
        pytest.param([(4.0, 2.4)], Outcome.SYNTHETIC, "p_above_raise", id="one-window"),
        pytest.param(steady(*[-3.0] * 60, *[4.0] * 8), Outcome.INDETERMINATE, "alert_provisional", id="too-late"),
        pytest.param(steady(*[4.0] * 8, *[-4.0] * 40), Outcome.INDETERMINATE, "alert_cleared", id="part-synthetic"),
        pytest.param(steady(*[-3.0] * 5), Outcome.HUMAN, "p_below_human", id="human"),
        pytest.param(steady(*[0.8] * 5), Outcome.INDETERMINATE, "uncertain", id="between"),
    ],
)
def test_verdicts(leg: list[tuple[float, float]], outcome: Outcome, reason: str) -> None:
    decider = Decider(POLICY)
    play(decider, leg)
    assert (decider.verdict().outcome, decider.verdict().reason) == (outcome, reason)


def test_nan_is_refused_and_changes_nothing() -> None:
    decider = Decider(POLICY)
    with pytest.raises(ValueError, match="log_odds"):
        play(decider, [(math.nan, 1.0)])
    assert decider.verdict() == Decider(POLICY).verdict()


@pytest.mark.parametrize("name", [field.name for field in fields(Policy)])
def test_policy_out_of_range_is_refused_with_the_field(name: str) -> None:
    values: dict[str, Any]
    for values in ({name: -1}, {name: math.nan}):
        with pytest.raises(ValueError, match=f"^{name}: expected"):
            replace(POLICY, **values)


def test_policy_thresholds_must_be_in_order() -> None:
    with pytest.raises(ValueError, match="clear_p"):
        Policy(raise_p=0.6, clear_p=0.7)


def noisy(snr_db: float, *log_odds: float) -> list[Score]:
    return [replace(score, snr_db=snr_db) for score in scores(steady(*log_odds))]


def follow(leg: Iterable[Score]) -> tuple[Decider, list[Change]]:
    decider = Decider(POLICY)
    return decider, [change for score in leg if (change := decider.update(score))]


def test_noisy_legs_are_never_human_but_synthetic_voices_are_detected() -> None:
    low, high = POLICY.noisy_snr_db - 1, POLICY.noisy_snr_db + 1
    for log_odds in (-3.0, 0.8):
        verdict = follow(noisy(low, *[log_odds] * 5))[0].verdict()
        assert (verdict.outcome, verdict.reason) == (Outcome.INDETERMINATE, "noisy")
    assert follow(noisy(high, *[-3.0] * 5))[0].verdict().outcome is Outcome.HUMAN
    decider, changes = follow(noisy(low, *[3.0] * 10))
    assert [change.state for change in changes] == [PROVISIONAL, CONFIRMED]
    assert decider.verdict().outcome is Outcome.SYNTHETIC


def test_noise_is_judged_by_the_mean_over_all_speech() -> None:
    moment = [*noisy(60, *[-3.0] * 8), *noisy(0, -3.0)]
    assert follow(moment)[0].verdict().reason == "p_below_human"
    assert follow([*noisy(0, *[-3.0] * 8), *noisy(math.inf, -3.0)])[0].verdict().reason == "noisy"


def strange(*log_odds: float) -> list[Score]:
    return [replace(score, out_of_domain=True) for score in scores(steady(*log_odds))]


def test_out_of_domain_legs_are_never_human_but_synthetic_voices_are_detected() -> None:
    for log_odds in (-3.0, 0.8):
        verdict = follow(strange(*[log_odds] * 5))[0].verdict()
        assert (verdict.outcome, verdict.reason) == (Outcome.INDETERMINATE, "out_of_domain")
    decider, changes = follow(strange(*[3.0] * 10))
    assert [change.state for change in changes] == [PROVISIONAL, CONFIRMED]
    assert decider.verdict().outcome is Outcome.SYNTHETIC


def test_leg_is_out_of_domain_when_most_of_its_speech_is() -> None:
    known = scores(steady(-3.0))
    assert follow([*strange(*[-3.0] * 4), *known * 5])[0].verdict().reason == "p_below_human"
    assert follow([*strange(*[-3.0] * 5), *known * 4])[0].verdict().reason == "out_of_domain"
    brief = [replace(score, fresh_speech_s=0.1) for score in strange(*[-3.0] * 5)]
    assert follow([*brief, *known * 4])[0].verdict().reason == "p_below_human"


def test_reason_is_too_little_speech_before_out_of_domain_before_noisy() -> None:
    brief = [replace(score, speech_s=0.8, fresh_speech_s=0.8) for score in strange(-3.0)]
    assert follow(brief)[0].verdict().reason == "too_little_speech"
    both = [replace(score, snr_db=POLICY.noisy_snr_db - 1) for score in strange(*[-3.0] * 5)]
    assert follow(both)[0].verdict().reason == "out_of_domain"


def voice(mean: float, windows: int, rng: np.random.Generator) -> list[float]:
    """Return what a model says of successive windows of one voice: its bias for that voice, and errors that linger."""
    bias, lingering, said = rng.normal(mean, 0.5), 0.0, []
    for _ in range(windows):
        lingering = 0.6 * lingering + rng.normal(0, 0.8)
        said.append(bias + lingering)
    return said


def test_longer_speech_raises_accuracy_and_voice_changes_are_detected() -> None:
    rng = np.random.default_rng(7)
    wrong: dict[int, int] = {}
    for seconds in (3, 12, 48):
        humans = [follow(scores(steady(*voice(-0.8, seconds, rng))))[0].verdict() for _ in range(300)]
        wrong[seconds] = sum(verdict.outcome is not Outcome.HUMAN for verdict in humans)
    assert wrong[3] > 1.3 * wrong[12] > 1.3 * wrong[48]

    caught, alarmed = 0, 0
    for _ in range(200):
        leg = steady(*voice(-1.5, 300, rng), *voice(2.5, 20, rng))
        changes = play(Decider(POLICY), leg)
        alarmed += any(change.windows <= 300 for change in changes)
        caught += any(change.state is CONFIRMED and change.windows > 300 for change in changes)
    assert caught >= 190, "a clone that takes over in the sixth minute"
    assert alarmed <= 4, "five minutes of a person"


FUSED = mean_fusion().llr


def heard(log_odds: float, windows: int) -> tuple[Decider, list[Change]]:
    decider = Decider(POLICY, FUSED)
    return decider, play(decider, steady(*[log_odds] * windows))


def test_verifier_score_raises_an_alert_and_more_speech_confirms_it() -> None:
    decider, changes = heard(0.5, 5)
    assert changes == []
    verified = decider.add_verifier_score(0.0, 8.0, 5.0)
    assert verified is not None
    assert verified.change is not None
    assert (verified.change.state, verified.change.reason, verified.change.at_s) == (PROVISIONAL, "p_above_raise", 8.0)
    assert (verified.outcome, verified.p_synthetic > 0.99) == (VerificationOutcome.ESCALATED, True)
    assert verified.light_p_synthetic < 0.7 < POLICY.raise_p < decider.recent_p_synthetic
    assert decider.in_doubt
    more = [decider.update(Score(at, at + 3.0, 2.4, 0.8, 4.0)) for at in (5.0, 6.0, 7.0)]
    assert [change.state for change in more if change] == [CONFIRMED]
    assert not decider.in_doubt


def test_verifier_score_alone_does_not_confirm_an_alert() -> None:
    decider, (raised, *_) = heard(3.0, 5)
    assert raised.state is PROVISIONAL
    for _ in range(10):
        verified = decider.add_verifier_score(0.0, 8.0, 5.0)
        assert verified is not None
        assert (verified.outcome, verified.change) == (VerificationOutcome.CONFIRMED, None)
    assert decider.state is PROVISIONAL


def test_alert_is_cleared_when_the_verifier_scores_human() -> None:
    decider, _ = heard(3.0, 5)
    verified = decider.add_verifier_score(0.0, 8.0, -5.0)
    assert verified is not None
    assert (verified.outcome, verified.change) == (VerificationOutcome.INCONCLUSIVE, None), "an alert still stands"
    changes = []
    for at in range(5, 15):
        changes.append(decider.update(Score(at, at + 3.0, 2.4, 0.8, 1.0)))
        verified = decider.add_verifier_score(at + 2.0, at + 3.0, -5.0)
    assert [change.state for change in changes if change] == [CLEARED]
    assert verified is not None
    assert verified.outcome is VerificationOutcome.CLEARED


def test_verifier_turns_an_uncertain_leg_into_human() -> None:
    decider, _ = heard(0.0, 8)
    assert decider.verdict().reason == "uncertain"
    assert decider.in_doubt
    decider.add_verifier_score(0.0, 11.0, -4.0)
    assert (decider.verdict().outcome, decider.verdict().reason) == (Outcome.HUMAN, "p_below_human")
    assert not decider.in_doubt


def test_verifier_score_for_forgotten_speech_returns_none() -> None:
    decider, _ = heard(0.0, 80)
    before = decider.verdict()
    assert decider.add_verifier_score(0.0, 8.0, 5.0) is None
    assert decider.add_verifier_score(100.0, 104.0, 5.0) is None
    assert decider.verdict() == before
    with pytest.raises(ValueError, match="log_odds: expected a number"):
        decider.add_verifier_score(70.0, 74.0, math.nan)


@given(leg=any_leg, answers=st.lists(st.tuples(st.integers(0, 60), any_log_odds), max_size=20))
def test_with_verifier_scores_states_only_move_along_the_table(
    leg: list[tuple[float, float]], answers: list[tuple[int, float]]
) -> None:
    decider, changes = Decider(POLICY, FUSED), list[Change | None]()
    for number, score in enumerate(scores(leg)):
        changes.append(decider.update(score))
        for _, log_odds in (answer for answer in answers if answer[0] == number):
            verified = decider.add_verifier_score(score.end_s - 4, score.end_s, log_odds)
            changes.append(verified.change if verified else None)
    moves = [(change.previous, change.state) for change in changes if change]
    assert set(moves) <= LEGAL
    assert all(one[1] is other[0] for one, other in pairwise(moves))
    assert 0 <= decider.recent_p_synthetic <= 1
