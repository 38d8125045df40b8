"""When the verifier is asked, what its word does, and how little it can take away: media time and scripted scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection import AlertState, Change, Decider, Hybrid, Outcome, Policy, Ruling, Score, Verification, Window
from detection.hybrid import FIRST_INTERVAL_S, LAST_INTERVAL_S, RECENT_WINDOWS, RecentSpeech
from tests.detection.test_decision import CLEARED, CONFIRMED, LEGAL, PROVISIONAL, UNDECIDED

POLICY = Policy()
WINDOW_S = 3.0
VERIFIER_WINDOW_S = 4.0
UNSURE, SYNTHETIC, HUMAN = 0.5, 4.0, -4.0
"""Log-odds of a window."""


def window(start_s: float, *, level: float = 0.1, fresh_s: float = 1.0, speech: float = 0.8) -> Window:
    """A window of the filter, of which so much is fresh, and such a share is speech."""
    samples = np.full(round(WINDOW_S * 16_000), level, np.float32)
    return Window(start_s, samples, round(fresh_s * 16_000), WINDOW_S * speech, fresh_s * speech)


class Call:
    """One leg: windows one second apart; the verifier answers at once, unless told to stay away."""

    def __init__(self) -> None:
        self.decider = Decider(POLICY)
        self.hybrid = Hybrid(self.decider, POLICY, VERIFIER_WINDOW_S)
        self.changes: list[Change] = []
        self.answers: list[Verification] = []
        self.asked_at_s: list[float] = []
        """Speech heard when the verifier was asked."""
        self.snr_db = 40.0
        self.out_of_domain = False
        self._at_s = 0.0

    def say(self, filter_log_odds: float, verifier_log_odds: float | None, seconds: int = 1) -> None:
        """Go on for some seconds; the verifier does not answer where it has no log-odds."""
        for _ in range(seconds):
            heard = replace(
                window(self._at_s, fresh_s=1.0 if self._at_s else WINDOW_S),
                snr_db=self.snr_db,
                out_of_domain=self.out_of_domain,
            )
            self._at_s += 1
            change = self.decider.update(Score.of(heard, filter_log_odds))
            self._note(change)
            self.hybrid.hear(heard, change)
            if windows := self.hybrid.question():
                self.asked_at_s.append(self.decider.speech_s)
                self.answer(windows, verifier_log_odds)

    def answer(self, windows: Sequence[Window], log_odds: float | None) -> None:
        if log_odds is None:
            self.hybrid.unanswered()
            return
        answer = self.hybrid.answered([Score.of(one, log_odds) for one in windows])
        self.answers.append(answer)
        self._note(answer.change)

    def _note(self, change: Change | None) -> None:
        if change is not None:
            assert (change.previous, change.state) in LEGAL
            self.changes.append(change)

    @property
    def states(self) -> list[AlertState]:
        return [change.state for change in self.changes]

    @property
    def rulings(self) -> list[Ruling]:
        return [answer.ruling for answer in self.answers]


def test_a_clear_human_voice_is_verified_once_and_then_seldom() -> None:
    call = Call()
    call.say(HUMAN, HUMAN, 120)
    assert call.asked_at_s[0] <= POLICY.min_alert_speech_s + 1
    assert np.all(np.diff(call.asked_at_s) >= LAST_INTERVAL_S)
    assert len(call.asked_at_s) == 3
    assert (call.hybrid.verdict().outcome, call.states) == (Outcome.HUMAN, [])


def test_what_only_the_verifier_hears_is_found_though_the_filter_has_no_doubt() -> None:
    call = Call()
    call.say(HUMAN, SYNTHETIC, 20)
    assert call.states == [PROVISIONAL, CONFIRMED]
    assert call.rulings[0] is Ruling.ESCALATED


def test_a_provisional_alert_is_confirmed_early() -> None:
    both, alone = Call(), Call()
    both.say(SYNTHETIC, SYNTHETIC, 10)
    alone.say(SYNTHETIC, None, 10)
    assert both.states == alone.states == [PROVISIONAL, CONFIRMED]
    assert both.changes[1].at_s < alone.changes[1].at_s
    assert both.rulings[0] is Ruling.CONFIRMED
    assert both.changes[1].reason == "verifier_synthetic"
    assert both.hybrid.verdict().reason == "alert_confirmed"


def test_what_both_are_sure_of_is_asked_again_seldom() -> None:
    call = Call()
    call.say(SYNTHETIC, SYNTHETIC, 200)
    assert np.all(np.diff(call.asked_at_s) >= LAST_INTERVAL_S)


def test_a_provisional_alert_is_cleared_early_and_does_not_come_back_by_itself() -> None:
    call = Call()
    call.say(SYNTHETIC, HUMAN, 200)
    assert call.states == [PROVISIONAL, CLEARED]
    assert call.changes[1].reason == "verifier_human"
    assert call.rulings == [Ruling.CLEARED] * len(call.answers)
    verdict = call.hybrid.verdict()
    assert (verdict.outcome, verdict.reason) == (Outcome.INDETERMINATE, "models_disagree")


def test_questions_come_at_growing_intervals_of_speech() -> None:
    call = Call()
    call.say(UNSURE, UNSURE, 300)
    assert call.asked_at_s[0] <= POLICY.min_alert_speech_s + 1
    gaps = np.diff(call.asked_at_s)
    expected = [min(FIRST_INTERVAL_S * 2**n, LAST_INTERVAL_S) for n in range(1, len(gaps) + 1)]
    assert np.all((gaps >= np.array(expected) - 1e-6) & (gaps < np.array(expected) + 1))
    assert set(call.rulings) == {Ruling.INCONCLUSIVE}
    assert call.states == []


def test_an_uncertain_leg_is_escalated_and_needs_more_speech_to_be_confirmed() -> None:
    call = Call()
    call.say(UNSURE, SYNTHETIC, 20)
    assert call.states == [PROVISIONAL, CONFIRMED]
    assert call.rulings[:2] == [Ruling.ESCALATED, Ruling.CONFIRMED]
    assert call.asked_at_s[1] - call.asked_at_s[0] >= FIRST_INTERVAL_S
    assert {change.reason for change in call.changes} == {"verifier_synthetic"}
    assert call.changes[0].p_synthetic >= POLICY.raise_p


def test_an_uncertain_leg_that_the_verifier_calls_human_ends_human() -> None:
    call = Call()
    call.say(0.2, HUMAN, 20)
    assert call.states == []
    assert set(call.rulings) == {Ruling.CLEARED}
    assert call.decider.verdict().reason == "uncertain"
    assert (call.hybrid.verdict().outcome, call.hybrid.verdict().reason) == (Outcome.HUMAN, "verifier_human")


def test_a_leg_that_both_call_human_is_human_by_the_filters_own_word() -> None:
    call = Call()
    call.say(0.2, HUMAN, 4)
    call.say(-3.0, HUMAN, 6)
    assert call.decider.withheld is PROVISIONAL
    assert call.hybrid.verdict() == call.decider.verdict()
    assert call.hybrid.verdict().reason == "p_below_human"


def test_words_far_apart_are_not_enough_to_ask() -> None:
    decider = Decider(POLICY)
    hybrid = Hybrid(decider, POLICY, 2 * VERIFIER_WINDOW_S)
    for at in range(0, 100, 10):
        heard = replace(window(float(at)), speech_s=0.7, fresh_speech_s=0.7)
        hybrid.hear(heard, decider.update(Score.of(heard, UNSURE)))
        assert hybrid.question() == []


def test_an_alert_that_the_verifier_cleared_unconfirmed_leaves_a_human() -> None:
    call = Call()
    call.say(SYNTHETIC, HUMAN, 5)
    call.say(-1.0, HUMAN, 12)
    assert call.states == [PROVISIONAL, CLEARED]
    assert call.decider.verdict().reason == "alert_cleared"
    assert call.hybrid.verdict().reason == "verifier_human"


def test_a_confirmed_alert_takes_more_than_one_answer_to_clear() -> None:
    call = Call()
    call.say(SYNTHETIC, None, 8)
    assert call.states == [PROVISIONAL, CONFIRMED]
    call.say(SYNTHETIC, HUMAN, 12)
    assert call.states == [PROVISIONAL, CONFIRMED, CLEARED]
    cleared = call.rulings.index(Ruling.CLEARED)
    assert cleared >= 1
    assert {answer.reason for answer in call.answers[:cleared]} == {"more_human_speech_needed"}
    assert call.answers[cleared].at_s - call.answers[0].at_s >= POLICY.clear_speech_s
    call.say(-1.0, HUMAN, 60)
    assert call.hybrid.verdict().reason == "alert_cleared"


def test_human_answers_do_not_add_up_across_a_synthetic_one() -> None:
    call = Call()
    call.say(SYNTHETIC, None, 8)
    call.say(SYNTHETIC, HUMAN, 3)
    call.say(SYNTHETIC, SYNTHETIC, 3)
    call.say(-4.0, HUMAN, 4)
    assert call.states == [PROVISIONAL, CONFIRMED]


def test_the_filter_does_not_clear_what_the_verifier_confirmed_without_asking() -> None:
    call = Call()
    call.say(SYNTHETIC, SYNTHETIC, 8)
    call.say(HUMAN, SYNTHETIC, 40)
    assert call.states == [PROVISIONAL, CONFIRMED]
    call.say(HUMAN, HUMAN, 60)
    assert call.states == [PROVISIONAL, CONFIRMED, CLEARED]


def test_a_voice_that_turns_synthetic_after_a_human_answer_is_caught_at_once() -> None:
    call = Call()
    call.say(0.2, HUMAN, 100)
    assert call.states == []
    call.say(SYNTHETIC, SYNTHETIC, 10)
    assert call.states == [PROVISIONAL, CONFIRMED]
    assert call.changes[0].at_s < 100 + 2 + 6


@pytest.mark.parametrize("before", [HUMAN, SYNTHETIC])
def test_a_verifier_that_falls_silent_takes_nothing_away(before: float) -> None:
    call = Call()
    call.say(0.2, before, 30)
    call.say(-before, None, 60)
    assert call.decider.state is (CONFIRMED if before == HUMAN else CLEARED)


def test_one_question_at_a_time() -> None:
    call = Call()
    hybrid = call.hybrid
    for at in range(20):
        hybrid.hear(heard := window(float(at)), call.decider.update(Score.of(window(float(at)), UNSURE)))
        if windows := hybrid.question():
            break
    assert heard.end_s == windows[-1].end_s
    for at in range(20, 60):
        hybrid.hear(window(float(at)), call.decider.update(Score.of(window(float(at)), UNSURE)))
        assert hybrid.question() == []
    call.answer(windows, UNSURE)
    assert hybrid.question() != []


def test_an_answer_counts_for_where_the_alert_stands_when_it_comes() -> None:
    call = Call()
    questions = []
    for at in range(10):
        heard = window(float(at))
        call.hybrid.hear(heard, call.decider.update(Score.of(heard, SYNTHETIC)))
        questions.append(call.hybrid.question())
    assert call.decider.state is CONFIRMED
    (windows,) = filter(None, questions)
    call.answer(windows, HUMAN)
    assert (call.rulings, call.decider.state) == ([Ruling.INCONCLUSIVE], CONFIRMED)


@given(
    leg=st.lists(st.tuples(st.floats(-8, 8), st.none() | st.floats(-8, 8)), max_size=80),
)
def test_alerts_only_move_along_the_table(leg: list[tuple[float, float | None]]) -> None:
    call = Call()
    for filter_log_odds, verifier_log_odds in leg:
        call.say(filter_log_odds, verifier_log_odds)
    state = UNDECIDED
    for change in call.changes:
        assert change.previous is state
        state = change.state
    assert state is call.decider.state
    assert all(0 <= answer.p_synthetic <= 1 for answer in call.answers)


@given(leg=st.lists(st.floats(-8, 8), max_size=60))
def test_a_verifier_that_never_answers_changes_nothing(leg: list[float]) -> None:
    alone = Decider(POLICY)
    call = Call()
    changes = []
    for at, log_odds in enumerate(leg):
        call.say(log_odds, None)
        heard = window(float(at), fresh_s=1.0 if at else WINDOW_S)
        changes.append(alone.update(Score.of(heard, log_odds)))
    assert call.changes == [change for change in changes if change]
    assert call.hybrid.verdict() == alone.verdict()


def ramp(seconds: float) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """Audio whose every sample tells its media time."""
    return (np.arange(round(seconds * 16_000)) / (60 * 16_000)).astype(np.float32)


def cut(
    audio: np.ndarray[tuple[int], np.dtype[np.float32]], start_s: int, fresh_s: float, speech: float = 1.0
) -> Window:
    samples = audio[start_s * 16_000 : start_s * 16_000 + round(WINDOW_S * 16_000)]
    return Window(float(start_s), samples, round(fresh_s * 16_000), WINDOW_S * speech, fresh_s * speech)


def test_recent_speech_is_what_was_said() -> None:
    audio = ramp(20)
    recent = RecentSpeech(VERIFIER_WINDOW_S, POLICY)
    for at in range(12):
        recent.push(cut(audio, at, WINDOW_S if at == 0 else 1.0))
    first, second = recent.windows()
    assert (first.start_s, second.start_s, second.end_s, recent.end_s) == (6.0, 10.0, 14.0, 14.0)
    for one in (first, second):
        assert one.samples.dtype == np.float32
        assert one.samples.shape == (64_000,)
        np.testing.assert_allclose(one.samples, audio[round(one.start_s * 16_000) :][:64_000], atol=1e-4)
        assert one.fresh_samples == 64_000
        assert one.speech_s == one.fresh_speech_s == pytest.approx(4.0)


def test_a_stretch_that_is_no_whole_number_of_windows_is_covered_evenly() -> None:
    recent = RecentSpeech(VERIFIER_WINDOW_S, POLICY)
    for at in range(5):
        recent.push(cut(ramp(20), at, WINDOW_S if at == 0 else 1.0, speech=0.5))
    first, second = recent.windows()
    assert (first.start_s, second.start_s, second.end_s) == (0.0, 3.0, 7.0)
    assert second.fresh_samples == 48_000
    assert first.fresh_speech_s + second.fresh_speech_s == pytest.approx(recent.speech_s) == pytest.approx(3.5)


def test_no_window_joins_two_moments() -> None:
    audio = ramp(40)
    recent = RecentSpeech(VERIFIER_WINDOW_S, POLICY)
    recent.push(cut(audio, 0, WINDOW_S))
    recent.push(cut(audio, 20, 1.0))
    before, after = recent.windows()
    assert (before.start_s, after.start_s) == (0.0, 20.0)
    np.testing.assert_array_equal(before.samples[48_000:], before.samples[:16_000])
    assert after.speech_s == pytest.approx(3.0)


def test_noise_stays_with_the_voice() -> None:
    recent = RecentSpeech(VERIFIER_WINDOW_S, POLICY)
    for at, snr_db in enumerate((30.0, 5.0, 20.0)):
        recent.push(replace(cut(ramp(20), at, WINDOW_S if at == 0 else 1.0), snr_db=snr_db))
    assert {one.snr_db for one in recent.windows()} == {5.0}


def test_a_human_answer_about_noisy_speech_is_none() -> None:
    call = Call()
    call.say(UNSURE, UNSURE, 3)
    call.snr_db = 3.0
    call.say(UNSURE, HUMAN, 20)
    assert (call.answers[-1].ruling, call.answers[-1].reason) == (Ruling.INCONCLUSIVE, "noisy")


@pytest.mark.parametrize(
    ("strange", "expected"),
    [((False, True, True, False, False), False), ((True, True, False), True), ((False, True, True, True, True), True)],
)
def test_what_is_mostly_out_of_domain_stays_so(strange: tuple[bool, ...], expected: bool) -> None:
    recent = RecentSpeech(VERIFIER_WINDOW_S, POLICY)
    for at, is_strange in enumerate(strange):
        recent.push(replace(cut(ramp(20), at, WINDOW_S if at == 0 else 1.0), out_of_domain=is_strange))
    assert [one.out_of_domain for one in recent.windows()] == [expected] * RECENT_WINDOWS


def test_pieces_out_of_domain_count_by_their_speech() -> None:
    recent = RecentSpeech(VERIFIER_WINDOW_S, POLICY)
    for at, (strange, speech) in enumerate(((False, 1.0), (True, 0.1), (True, 0.1), (True, 0.1), (True, 0.1))):
        piece = cut(ramp(20), at, WINDOW_S if at == 0 else 1.0, speech)
        recent.push(replace(piece, out_of_domain=strange))
    assert not any(one.out_of_domain for one in recent.windows())


@pytest.mark.parametrize("reason", ["out_of_domain", "noisy"])
def test_the_verifier_s_word_does_not_make_a_leg_human_that_is_unfit_for_it(reason: str) -> None:
    call = Call()
    call.out_of_domain, call.snr_db = reason == "out_of_domain", 0.0 if reason == "noisy" else 40.0
    call.say(-1.5, None, 60)
    call.out_of_domain, call.snr_db = False, 40.0
    call.say(-1.5, None, 10)
    while not call.states:
        call.say(SYNTHETIC, None)
    call.say(HUMAN, HUMAN, 5)
    assert call.states == [PROVISIONAL, CLEARED]
    assert call.decider.verdict().reason == "alert_cleared"
    assert call.answers[-1].ruling is Ruling.CLEARED
    verdict = call.hybrid.verdict()
    assert (verdict.outcome, verdict.reason) == (Outcome.INDETERMINATE, reason)


def test_a_human_answer_about_speech_out_of_domain_is_none_and_does_not_make_the_leg_human() -> None:
    call = Call()
    call.out_of_domain = True
    call.say(UNSURE, HUMAN, 20)
    assert (call.answers[-1].ruling, call.answers[-1].reason) == (Ruling.INCONCLUSIVE, "out_of_domain")
    assert (call.hybrid.verdict().outcome, call.hybrid.verdict().reason) == (Outcome.INDETERMINATE, "out_of_domain")


def test_windows_that_started_over_join_nothing_before() -> None:
    audio = ramp(40)
    recent = RecentSpeech(VERIFIER_WINDOW_S, POLICY)
    recent.push(cut(audio, 0, WINDOW_S))
    recent.push(cut(audio, 1, 1.0))  # a tail whose last second never came: the next window lies over it
    recent.push(cut(audio, 3, WINDOW_S))
    before, after = recent.windows()
    assert (before.start_s, before.end_s, after.start_s) == (0.0, 4.0, 3.0)
    np.testing.assert_allclose(after.samples[:48_000], audio[3 * 16_000 : 6 * 16_000], atol=1e-4)


def test_a_window_after_some_that_were_not_scored_brings_what_they_held() -> None:
    audio = ramp(40)
    recent = RecentSpeech(VERIFIER_WINDOW_S, POLICY)
    recent.push(cut(audio, 0, WINDOW_S))
    recent.push(cut(audio, 2, 1.0))
    first, second = recent.windows()
    assert (first.start_s, second.start_s, second.end_s) == (0.0, 1.0, 5.0)
    np.testing.assert_allclose(second.samples, audio[16_000 : 5 * 16_000], atol=1e-4)


def test_too_little_speech_is_no_window() -> None:
    recent = RecentSpeech(VERIFIER_WINDOW_S, POLICY)
    recent.push(cut(ramp(20), 0, WINDOW_S, speech=0.1))
    assert recent.windows() == []


@given(starts=st.lists(st.integers(0, 500), max_size=60), window_s=st.sampled_from([2.0, 3.0, 4.0, 6.5]))
def test_recent_speech_is_bounded(starts: list[int], window_s: float) -> None:
    recent = RecentSpeech(window_s, POLICY)
    for at in sorted(starts):
        recent.push(window(float(at), fresh_s=1.0))
        windows = recent.windows()
        assert len(windows) <= RECENT_WINDOWS
        assert all(len(one.samples) == round(window_s * 16_000) for one in windows)
        assert [one.start_s for one in windows] == sorted(one.start_s for one in windows)
    held = sum(piece.samples.nbytes for piece in recent._pieces)
    assert held <= 2 * 16_000 * (RECENT_WINDOWS * window_s + WINDOW_S)
