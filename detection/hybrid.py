"""A light filter that hears every leg all the time, and a heavy verifier that is asked now and then.  [sans-I/O]

**What is judged.** The leg's recent speech (`RecentSpeech`): as much as `RECENT_WINDOWS` windows of the verifier hold.
They are judged by the same rules as a leg (`detection.decision`): clipped log-odds, windows that say the same
discounted. So the verifier's word is *synthetic* (p >= `raise_p` of the policy it is given: its card's, the setting
`verifier_p`, or what `alerts_per_hour` comes to), *human* (p <= `human_p`, and neither drowned in noise nor out of
domain), or none.

**When.** Every leg, as soon as there is enough speech for an alert. After that a leg in doubt: an alert stands that the
verifier did not confirm, or that it did but the filter would clear; or no alert stands, and the filter's rolling p lies
above `human_p`. First after `FIRST_INTERVAL_S` of further speech, which doubles with each answer up to
`LAST_INTERVAL_S`; it starts from the first again when the filter moves the alert, or begins to say the contrary of what
the verifier said. A leg out of doubt is asked about every `LAST_INTERVAL_S`: a voice may change, and what the filter
cannot hear it cannot doubt.

**What comes of it.**

============================  ===========  =======================================  ==============
the alert                     the word     then the alert is                        `Ruling`
============================  ===========  =======================================  ==============
`undecided`, `cleared`        synthetic    `provisional`                            `escalated`
`provisional`                 synthetic    `confirmed`                              `confirmed`
`confirmed`                   synthetic    `confirmed`, as before                   `confirmed`
`undecided`, `cleared`        human        the same: there is nothing to raise      `cleared`
`provisional`                 human        `cleared`                                `cleared`
`confirmed`                   human        the same, until the verifier has said    `inconclusive`
                                           so on `clear_speech_s` of further
                                           speech; then `cleared`                   `cleared`
any                           none         the same                                 `inconclusive`
============================  ===========  =======================================  ==============

What the verifier alone finds is thus provisional until it finds it again in more speech, as with the filter; what both
find is certain at once; and what was certain takes more than one answer to undo.

**How long its word holds.** For twice the interval to the next question, the filter doesn't undo it: raises nothing
after *human*, clears nothing after *synthetic*. In doubt the verifier is asked again before that. When it cannot
answer (`unanswered`: too much to do), its word is gone and the filter's counts as if there were no verifier: one that
is busy or broken takes nothing away.

**Verdict.** While the verifier's word *human* holds, `uncertain` ends as `human`, reason `verifier_human`; so does
`alert_cleared`, if no alert was ever confirmed and the verifier cleared them all; but a leg that is mostly out of
domain, or noisy, is `indeterminate` for that reason (`Decider.unfit_for_human`), whoever vouches for its speaker. Where
the filter heard a synthetic voice over the whole leg (`p_above_raise`), the two contradict each other: `indeterminate`,
`models_disagree`. Confirmed alerts stay `synthetic`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from detection.decision import AlertState, Change, Decider, Outcome, Policy, Verdict
from detection.types import SAMPLE_RATE_HZ, Score, Window

RECENT_WINDOWS = 2
"""How many windows of the verifier are judged at once."""
FIRST_INTERVAL_S = 2.0
"""Seconds of further speech before the verifier is asked again, the first time."""
LAST_INTERVAL_S = 32.0

_FULL_SCALE = np.float32(32_767)


class Ruling(StrEnum):
    """What a verification comes to; the table above tells when."""

    CONFIRMED = "confirmed"
    CLEARED = "cleared"
    ESCALATED = "escalated"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class Verification:
    """An answer of the verifier, and what came of it."""

    ruling: Ruling
    reason: str
    """Why the verifier says so: the reason of a `Verdict`, or `more_human_speech_needed` to clear what was certain."""
    p_synthetic: float
    """The verifier's, of the speech it judged."""
    speech_s: float
    """Seconds of speech it judged."""
    at_s: float
    """Media time up to which it heard."""
    change: Change | None
    """The move of the alert."""


class Hybrid:
    """Follows one leg beside its `Decider`: `hear` each scored window, put the `question` if there is one.

    A question is to be followed by `answered` or `unanswered`; until then there is no other.
    """

    def __init__(self, decider: Decider, policy: Policy, window_s: float) -> None:
        """Take the filter's decider; the verifier's policy, with its own `raise_p`; and its window in seconds."""
        self._decider = decider
        self._policy = policy
        self._recent = RecentSpeech(window_s, policy)
        self._interval_s = FIRST_INTERVAL_S
        self._asked_at_speech_s = -math.inf
        self._asked_at_s = 0.0
        self._is_asked = False
        self._word: Outcome | None = None
        self._human_from_speech_s: float | None = None
        """How much speech was heard when the verifier began to call a confirmed alert human."""
        self._contradicted = False
        self._alarmed = False
        """Whether an alert was confirmed, or cleared by the filter: then a part of the leg did sound synthetic."""

    def hear(self, window: Window, change: Change | None) -> None:
        """Take the next window that `Decider.update` took, and the move of the alert it returned."""
        self._recent.push(window)
        contradicted = self._is_contradicted()
        if change is not None:
            self._alarmed |= change.state is not AlertState.PROVISIONAL
        if change is not None or (contradicted and not self._contradicted):
            self._interval_s = FIRST_INTERVAL_S
        self._contradicted = contradicted

    def question(self) -> list[Window]:
        """Return the windows that the verifier should judge now, in order of time; most of the time none."""
        heard_s = self._decider.speech_s
        wait_s = self._interval_s if self._is_in_doubt() else LAST_INTERVAL_S
        if self._is_asked or heard_s - self._asked_at_speech_s < wait_s:
            return []
        if self._recent.speech_s < self._decider.policy.min_alert_speech_s:
            return []
        windows = self._recent.windows()
        if windows:
            self._is_asked = True
            self._asked_at_speech_s, self._asked_at_s = heard_s, self._recent.end_s
        return windows

    def unanswered(self) -> None:
        """The last question will not be answered."""
        self._is_asked = False
        self._speak(None)

    def answered(self, scores: Sequence[Score]) -> Verification:
        """Take the verifier's scores of the windows of the last question, in order of time, at least one."""
        self._is_asked = False
        judge = Decider(self._policy)
        for score in scores:
            judge.update(score)
        verdict = judge.verdict()
        self._interval_s = min(2 * self._interval_s, LAST_INTERVAL_S)
        ruling, state, reason = self._rule(verdict)
        change = self._decider.settle(state, at_s=self._asked_at_s, p_synthetic=verdict.p_synthetic, reason=reason)
        self._alarmed |= state is AlertState.CONFIRMED
        return Verification(ruling, reason, verdict.p_synthetic, verdict.speech_s, self._asked_at_s, change)

    def verdict(self) -> Verdict:
        """Return what to say of the leg if it ended now."""
        verdict = self._decider.verdict()
        if self._word is not Outcome.HUMAN or self._decider.withheld is None:
            return verdict
        if verdict.reason == "p_above_raise":
            return replace(verdict, outcome=Outcome.INDETERMINATE, reason="models_disagree")
        if verdict.reason == "uncertain" or (verdict.reason == "alert_cleared" and not self._alarmed):
            if (unfit := self._decider.unfit_for_human) is not None:
                return replace(verdict, outcome=Outcome.INDETERMINATE, reason=unfit)
            return replace(verdict, outcome=Outcome.HUMAN, reason="verifier_human")
        return verdict

    def _rule(self, verdict: Verdict) -> tuple[Ruling, AlertState, str]:
        """Return what the verifier's verdict comes to, where the alert then stands, and why."""
        state = self._decider.state
        human_from_speech_s, self._human_from_speech_s = self._human_from_speech_s, None
        if verdict.outcome is Outcome.INDETERMINATE:
            self._speak(None)
            return Ruling.INCONCLUSIVE, state, verdict.reason
        if verdict.outcome is Outcome.SYNTHETIC:
            self._speak(Outcome.SYNTHETIC)
            if _stands(state):
                return Ruling.CONFIRMED, AlertState.CONFIRMED, "verifier_synthetic"
            return Ruling.ESCALATED, AlertState.PROVISIONAL, "verifier_synthetic"
        if state is AlertState.CONFIRMED:
            since_s = self._asked_at_speech_s if human_from_speech_s is None else human_from_speech_s
            if self._asked_at_speech_s - since_s < self._policy.clear_speech_s:
                self._human_from_speech_s = since_s
                self._interval_s = FIRST_INTERVAL_S
                self._speak(None)
                return Ruling.INCONCLUSIVE, state, "more_human_speech_needed"
        self._speak(Outcome.HUMAN)
        return Ruling.CLEARED, AlertState.CLEARED if _stands(state) else state, "verifier_human"

    def _speak(self, word: Outcome | None) -> None:
        """Let the verifier's word hold from now on, and keep the filter from undoing it."""
        self._word = word
        undoing = {Outcome.HUMAN: AlertState.PROVISIONAL, Outcome.SYNTHETIC: AlertState.CLEARED}
        self._decider.withhold(None if word is None else undoing[word], 2 * self._interval_s)

    def _is_in_doubt(self) -> bool:
        if self._decider.state is AlertState.CONFIRMED:
            return self._word is not Outcome.SYNTHETIC or self._is_contradicted()
        return _stands(self._decider.state) or self._decider.recent_p_synthetic > self._decider.policy.human_p

    def _is_contradicted(self) -> bool:
        """Whether the filter would undo what the verifier said."""
        p, policy = self._decider.recent_p_synthetic, self._decider.policy
        if self._word is Outcome.HUMAN:
            return p >= policy.raise_p
        return self._word is Outcome.SYNTHETIC and p < policy.clear_p


def _stands(state: AlertState) -> bool:
    return state in (AlertState.PROVISIONAL, AlertState.CONFIRMED)


@dataclass(frozen=True, slots=True)
class _Piece:
    start_s: float
    samples: NDArray[np.int16]
    speech_s: float
    snr_db: float
    out_of_domain: bool

    @property
    def length_s(self) -> float:
        return len(self.samples) / SAMPLE_RATE_HZ


class RecentSpeech:
    """The last `RECENT_WINDOWS` windows' worth of a leg's audio that holds speech, in 16 bits.

    256 kB a leg for a verifier with windows of 4 s. What a call brings has 16 bits at most, so nothing is lost.
    """

    def __init__(self, window_s: float, policy: Policy) -> None:
        """Take the length of the windows to be returned, in seconds, and the policy they will be judged by."""
        self._window = round(window_s * SAMPLE_RATE_HZ)
        self._policy = policy
        self._pieces: deque[_Piece] = deque()
        self.end_s = 0.0
        """Media time after the last sample."""

    @property
    def speech_s(self) -> float:
        """Seconds of speech held."""
        return sum(piece.speech_s for piece in self._pieces)

    def push(self, window: Window) -> None:
        """Take the filter's next window, in order of time: keep what of it is new, let go what is too old."""
        new = window.fresh_samples
        if new < len(window.samples):  # else windows started over, and the one before may end in a repeated tail
            new = min(len(window.samples), round((window.end_s - self.end_s) * SAMPLE_RATE_HZ))
        if new <= 0:
            return
        speech_s = window.fresh_speech_s if new == window.fresh_samples else min(window.speech_s, new / SAMPLE_RATE_HZ)
        start_s = window.end_s - new / SAMPLE_RATE_HZ
        samples = np.rint(np.clip(window.samples[-new:], -1, 1) * _FULL_SCALE).astype(np.int16)
        self._pieces.append(_Piece(start_s, samples, speech_s, window.snr_db, window.out_of_domain))
        self.end_s = window.end_s
        held = sum(len(piece.samples) for piece in self._pieces)
        while held - len(self._pieces[0].samples) >= RECENT_WINDOWS * self._window:
            held -= len(self._pieces.popleft().samples)

    def windows(self) -> list[Window]:
        """Return what is held as at most `RECENT_WINDOWS` windows, the newest ones, in order of time.

        No window joins two moments with a pause between. A stretch longer than a window becomes as many as cover it,
        evenly; a shorter one is repeated until it fills the window, as `Windower.flush` does.
        """
        windows = [window for stretch in self._stretches() for window in self._cut(stretch)]
        return windows[-RECENT_WINDOWS:]

    def _stretches(self) -> list[list[_Piece]]:
        """Return the pieces, those together that follow each other without a pause."""
        stretches: list[list[_Piece]] = []
        end_s = -math.inf
        for piece in self._pieces:
            if abs(piece.start_s - end_s) > 0.5 / SAMPLE_RATE_HZ:
                stretches.append([])
            stretches[-1].append(piece)
            end_s = piece.start_s + piece.length_s
        return stretches

    def _cut(self, stretch: list[_Piece]) -> list[Window]:
        """Cut one stretch; its speech is taken to be spread evenly over it, its noise to be that of its worst piece.

        It is out of domain as a leg is, by its share of speech: one odd second doesn't silence the verifier.
        """
        audio = np.concatenate([piece.samples for piece in stretch]).astype(np.float32) / _FULL_SCALE
        length = len(audio)
        speech_s = sum(piece.speech_s for piece in stretch)
        strange_s = sum(piece.speech_s for piece in stretch if piece.out_of_domain)
        if length < self._window:
            audio = np.resize(audio, self._window)
        count = math.ceil(length / self._window)
        starts = np.linspace(0, len(audio) - self._window, count).round().astype(int)
        in_window_s = speech_s * min(1.0, self._window / length)
        return [
            Window(
                start_s=stretch[0].start_s + start / SAMPLE_RATE_HZ,
                samples=audio[start : start + self._window],
                fresh_samples=self._window if index == 0 else int(start - starts[index - 1]),
                speech_s=in_window_s,
                fresh_speech_s=speech_s / count,
                snr_db=min(piece.snr_db for piece in stretch),
                out_of_domain=strange_s > self._policy.out_of_domain_share * speech_s,
            )
            for index, start in enumerate(starts)
            if in_window_s >= self._policy.min_window_speech_s
        ]
