"""From the log-likelihood ratios of one leg's windows to alerts and a verdict.  [sans-I/O]

**Evidence.** Each window of the light model says calibrated log-odds; where a verifier heard the same speech, and as
soon as it has answered, the fusion of both counts (`detection.decision.fusion`). Either is clipped so that no window
counts as more than `max_window_log_odds`. Windows overlap, so each weighs only as much as it holds speech that its
predecessors did not. The weighted mean over the last `recent_speech_s` of speech (a rolling view: what the voice is
now), and over the whole leg, then count as

    n_eff = n / (1 + (n - 1) * window_correlation)

independent windows (Kish's design effect; Kish, *Survey Sampling*, 1965), where n is the speech heard in windows'
worth: windows of one leg share speaker, channel and synthesiser, so their errors are alike and certainty must not grow
without end. ``p = sigmoid(mean * n_eff)``.

**Alert.** Speech time moves it, never the clock; silence changes nothing.

==============  =============================================================================  ===============
state           goes on when                                                                   to
==============  =============================================================================  ===============
`undecided`     rolling p >= `raise_p` and enough speech and enough windows lean synthetic     `provisional`
`provisional`   rolling p stayed >= `hold_p` for `confirm_speech_s` more                       `confirmed`
`provisional`   rolling p stayed < `clear_p` for `clear_speech_s`                              `cleared`
`confirmed`     rolling p stayed < `clear_p` for `clear_speech_s`                              `cleared`
`cleared`       as `undecided`                                                                 `provisional`
==============  =============================================================================  ===============

`hold_p` has half the log-odds of `raise_p`: each further window counts by the light model alone until the verifier has
answered, so the rolling p falls a little with every one. `clear_p` lies below both, and each way takes a stretch of
speech, so a confidence that wavers cannot make the alert chatter. Nothing is final: a voice that turns synthetic in
minute ten is caught as in the first, because the rolling view forgets. An answer of the verifier changes what was
counted before, adds no speech, and the alert may move by it as by a window.

**Verdict.** What to say of the leg when it ends, or so far: see `Verdict`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum, StrEnum, auto

from detection.decision.evidence import LegEvidence, Llr, light_alone
from detection.types import Score, Window


class AlertState(StrEnum):
    """Where the alert on one leg stands; the table above tells how it moves."""

    UNDECIDED = "undecided"
    PROVISIONAL = "provisional"
    CONFIRMED = "confirmed"
    CLEARED = "cleared"


class Outcome(StrEnum):
    """What a verdict says of the voice."""

    SYNTHETIC = "synthetic"
    HUMAN = "human"
    INDETERMINATE = "indeterminate"


_CLEAN_SNR_DB = 40.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How much evidence an alert and a verdict take. Defaults come from the development corpus.

    Raises `ValueError`, naming the field, when the values make no sense together.
    """

    min_window_speech_s: float = 0.8
    """A window with less speech isn't scored."""
    recent_speech_s: float = 9.0
    """How much speech the rolling view remembers."""
    max_window_log_odds: float = 4.0
    """One window counts at most this much, either way."""
    window_correlation: float = 0.2
    """How alike the errors of two windows of one leg are, 0 (independent) to 1 (always the same)."""
    raise_p: float = 0.9
    """Rolling probability from which an alert is raised, and whole-leg probability of a `synthetic` verdict."""
    clear_p: float = 0.5
    """Rolling probability below which an alert is on its way to be cleared."""
    human_p: float = 0.35
    """Whole-leg probability up to which a verdict says `human`; between this and `raise_p` lies `indeterminate`."""
    min_alert_speech_s: float = 2.5
    """An alert is never raised on less speech in the rolling view."""
    min_alert_windows: int = 2
    """An alert is never raised unless this many windows in the rolling view lean synthetic."""
    confirm_speech_s: float = 2.0
    clear_speech_s: float = 4.0
    min_verdict_speech_s: float = 1.0
    """A leg with less scored speech ends `indeterminate`."""
    noisy_snr_db: float = 12.0
    """A leg whose speech stands out less from its background is never `human`: noise hides what gives machines away."""
    out_of_domain_share: float = 0.5
    """A leg of whose scored speech more than this share is unlike what models know is never `human`, either. Alerts
    still hold: such speech raises no more of them on people, and some machines are caught in it."""

    @property
    def hold_p(self) -> float:
        """Rolling probability from which a provisional alert is on its way to be confirmed.

        Half of `raise_p`'s log-odds, and never below `clear_p`.
        """
        return max(1 / (1 + math.sqrt(1 / self.raise_p - 1)), self.clear_p)

    def __post_init__(self) -> None:
        for name, low, high in (
            ("raise_p", 0.5, 1.0),
            ("clear_p", 0.0, self.raise_p),
            ("human_p", 0.0, self.raise_p),
            ("recent_speech_s", 0.0, math.inf),
            ("window_correlation", 0.0, 1.0),
            ("min_alert_speech_s", 0.0, self.recent_speech_s),
            ("min_alert_windows", 1, math.inf),
            ("max_window_log_odds", 0.0, math.inf),
            ("min_window_speech_s", 0.0, math.inf),
            ("confirm_speech_s", 0.0, math.inf),
            ("clear_speech_s", 0.0, math.inf),
            ("min_verdict_speech_s", 0.0, math.inf),
            ("noisy_snr_db", 0.0, math.inf),
            ("out_of_domain_share", 0.0, 1.0),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name}: expected {low:g} to {high:g}, got {value!r}")


@dataclass(frozen=True, slots=True)
class Change:
    """The alert of a leg moved to another state."""

    state: AlertState
    previous: AlertState
    at_s: float
    """Media time of the end of the window that tipped it."""
    p_synthetic: float
    """Rolling probability that the voice is synthetic, 0 to 1."""
    speech_s: float
    """Speech heard on this leg so far."""
    windows: int
    """Windows scored on this leg so far."""
    reason: str
    """`p_above_raise`, `p_stayed_above_raise` or `p_stayed_below_clear`."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the detector says of a leg as a whole.

    ===============  ======================  =================================================================
    outcome          reason                  when (first match)
    ===============  ======================  =================================================================
    `synthetic`      `alert_confirmed`       an alert stands confirmed, however human the leg began
    `indeterminate`  `too_little_speech`     less than `min_verdict_speech_s` of speech was scored
    `synthetic`      `p_above_raise`         whole-leg p >= `raise_p`
    `indeterminate`  `alert_provisional`     an alert stands that there was no time to confirm
    `indeterminate`  `alert_cleared`         an alert was cleared: a part of the leg sounded synthetic
    `indeterminate`  `out_of_domain`         more than `out_of_domain_share` of the scored speech is unlike any
                                             that models were trained on (`detection.signal.domain`); before `noisy`,
                                             for clipped speech has no background to be measured against
    `indeterminate`  `noisy`                 the scored windows' mean SNR < `noisy_snr_db`, by speech
    `human`          `p_below_human`         whole-leg p <= `human_p`
    `indeterminate`  `uncertain`             all else
    ===============  ======================  =================================================================
    """

    outcome: Outcome
    reason: str
    p_synthetic: float
    """Whole-leg probability that the voice is synthetic, 0 to 1; 0.5 when nothing was scored."""
    speech_s: float
    """Speech heard, scored or not."""
    windows: int
    """Windows scored."""
    peak_p_synthetic: float
    """Highest rolling probability while there was enough speech to raise an alert; 0 if there never was."""


class Ruling(StrEnum):
    """What an answer of the verifier did beside the alert; the first that holds."""

    ESCALATED = "escalated"
    """It raised an alert."""
    CONFIRMED = "confirmed"
    """It leans synthetic, and an alert stands."""
    CLEARED = "cleared"
    """It leans human, and no alert stands."""
    INCONCLUSIVE = "inconclusive"
    """It contradicts what all evidence together says, or leans to neither side."""


@dataclass(frozen=True, slots=True)
class Verification:
    """An answer of the verifier, and its result."""

    ruling: Ruling
    p_synthetic: float
    """The verifier's, of the window it heard, 0 to 1."""
    light_p_synthetic: float
    """Rolling probability by what the light model alone said, 0 to 1."""
    change: Change | None
    """The move of the alert."""


class Decider:
    """Follows one leg: `update` with each scored window, `skip` with each that wasn't, `answer`, `verdict` at any time.

    `answer` is for what a verifier says of the same speech, at any time later.
    """

    def __init__(self, policy: Policy, llr: Llr = light_alone) -> None:
        """Take the rules, and how the models' log-odds of a window become one number: `Fusion.llr`, with a verifier."""
        self.policy = policy
        self.state = AlertState.UNDECIDED
        self._evidence = LegEvidence(llr, policy.recent_speech_s, policy.max_window_log_odds)
        self._zone = _Zone.BETWEEN
        self._zone_speech_s = 0.0
        self._heard_s = 0.0
        self._carried_s = 0.0
        """Fresh speech of windows that weren't scored; the next scored window holds it too, as far as it reaches."""
        self._windows = 0
        self._peak_p = 0.0
        self._snr_db = math.inf
        self._out_of_domain_s = 0.0

    @property
    def recent_p_synthetic(self) -> float:
        """Rolling probability that the voice is synthetic, as of the last window or answer; 0.5 before the first."""
        return self._evidence.recent.p_synthetic(self.policy.window_correlation)

    @property
    def speech_s(self) -> float:
        """Speech heard so far, scored or not."""
        return self._heard_s

    @property
    def in_doubt(self) -> bool:
        """Whether an alert is provisional, or none stands and the rolling probability is not that of a person."""
        if _stands(self.state):
            return self.state is AlertState.PROVISIONAL
        return self.recent_p_synthetic > self.policy.human_p

    def skip(self, window: Window | Score) -> None:
        """Take a window that wasn't scored, for too little speech or too much load: its speech was still heard."""
        self._heard_s += window.fresh_speech_s
        self._carried_s += window.fresh_speech_s

    def update(self, score: Score) -> Change | None:
        """Take the next score of this leg, in order of time; return the alert's move, if it makes one.

        Raises `ValueError` when the log-odds are not a number: counted once, they would never leave the sums.
        """
        if math.isnan(score.log_odds):
            raise ValueError("log_odds: expected a number, got nan")
        fresh_s = min(score.speech_s, score.fresh_speech_s + self._carried_s)
        self._carried_s = 0.0
        self._heard_s += score.fresh_speech_s
        self._windows += 1
        self._follow_snr(fresh_s, score.snr_db)
        self._out_of_domain_s += fresh_s * score.out_of_domain
        self._evidence.add(score.start_s, score.end_s, fresh_s, score.log_odds, score.narrow)
        return self._moved(fresh_s, score.end_s)

    def answer(self, start_s: float, end_s: float, log_odds: float) -> Verification | None:
        """Take what the verifier says of the speech between two media times; None if that is no longer remembered.

        Windows of the light model that hold it are counted anew, and the alert may move. Raises `ValueError` when the
        log-odds are not a number.
        """
        if math.isnan(log_odds):
            raise ValueError("log_odds: expected a number, got nan")
        if not self._evidence.answer(start_s, end_s, log_odds):
            return None
        change = self._moved(0.0, end_s)
        return Verification(
            ruling=self._ruling(log_odds, change),
            p_synthetic=0.5 + 0.5 * math.tanh(log_odds / 2),
            light_p_synthetic=self._evidence.light_p_synthetic(self.policy.window_correlation),
            change=change,
        )

    def verdict(self) -> Verdict:
        """Return what to say of the leg if it ended now."""
        p = self._evidence.whole.p_synthetic(self.policy.window_correlation)
        outcome, reason = self._outcome(p)
        return Verdict(outcome, reason, p, self._heard_s, self._windows, self._peak_p)

    def _moved(self, fresh_s: float, at_s: float) -> Change | None:
        """See where the rolling probability lies now, after so much further speech, and move the alert accordingly."""
        p = self.recent_p_synthetic
        if self._enough_for_alert():
            self._peak_p = max(self._peak_p, p)
        zone = self._zone_of(p)
        self._zone_speech_s = self._zone_speech_s + fresh_s if zone is self._zone else fresh_s
        self._zone = zone
        move = self._next_state()
        if move is None:
            return None
        previous, (self.state, reason) = self.state, move
        self._zone_speech_s = 0.0
        return Change(self.state, previous, at_s, p, self._heard_s, self._windows, reason)

    def _ruling(self, log_odds: float, change: Change | None) -> Ruling:
        if change is not None and change.state is AlertState.PROVISIONAL:
            return Ruling.ESCALATED
        if log_odds > 0 and _stands(self.state):
            return Ruling.CONFIRMED
        return Ruling.CLEARED if log_odds < 0 and not _stands(self.state) else Ruling.INCONCLUSIVE

    def _unfit_for_human(self) -> str | None:
        """Why nobody may call this leg human, whatever was said on it: `out_of_domain`, `noisy`; None: one may."""
        if self._out_of_domain_s > self.policy.out_of_domain_share * self._evidence.whole.speech_s:
            return "out_of_domain"
        return "noisy" if self._snr_db < self.policy.noisy_snr_db else None

    def _follow_snr(self, fresh_s: float, snr_db: float) -> None:
        """Keep the mean over all scored speech; beyond `_CLEAN_SNR_DB` it makes no difference how clean."""
        snr_db = min(snr_db, _CLEAN_SNR_DB)
        heard_s = self._evidence.whole.speech_s
        self._snr_db = (heard_s * min(self._snr_db, _CLEAN_SNR_DB) + fresh_s * snr_db) / max(heard_s + fresh_s, 1e-9)

    def _zone_of(self, p: float) -> _Zone:
        high_p = self.policy.hold_p if self.state is AlertState.PROVISIONAL else self.policy.raise_p
        if p >= high_p:
            return _Zone.HIGH
        return _Zone.LOW if p < self.policy.clear_p else _Zone.BETWEEN

    def _enough_for_alert(self) -> bool:
        return (
            self._evidence.recent.speech_s >= self.policy.min_alert_speech_s
            and self._evidence.recent.leaning_windows >= self.policy.min_alert_windows
        )

    def _next_state(self) -> tuple[AlertState, str] | None:
        if not _stands(self.state):
            if self._zone is _Zone.HIGH and self._enough_for_alert():
                return AlertState.PROVISIONAL, "p_above_raise"
        elif self._zone is _Zone.LOW:
            if self._zone_speech_s >= self.policy.clear_speech_s:
                return AlertState.CLEARED, "p_stayed_below_clear"
        elif (
            self.state is AlertState.PROVISIONAL
            and self._zone is _Zone.HIGH
            and self._zone_speech_s >= self.policy.confirm_speech_s
        ):
            return AlertState.CONFIRMED, "p_stayed_above_raise"
        return None

    def _outcome(self, p: float) -> tuple[Outcome, str]:
        if self.state is AlertState.CONFIRMED:
            return Outcome.SYNTHETIC, "alert_confirmed"
        if not self._windows or self._evidence.whole.speech_s < self.policy.min_verdict_speech_s:
            return Outcome.INDETERMINATE, "too_little_speech"
        if p >= self.policy.raise_p:
            return Outcome.SYNTHETIC, "p_above_raise"
        if self.state is not AlertState.UNDECIDED:
            return Outcome.INDETERMINATE, f"alert_{self.state}"
        if (unfit := self._unfit_for_human()) is not None:
            return Outcome.INDETERMINATE, unfit
        if p <= self.policy.human_p:
            return Outcome.HUMAN, "p_below_human"
        return Outcome.INDETERMINATE, "uncertain"


class _Zone(Enum):
    """Where the rolling probability lies between the two thresholds."""

    LOW = auto()
    BETWEEN = auto()
    HIGH = auto()


def _stands(state: AlertState) -> bool:
    return state in (AlertState.PROVISIONAL, AlertState.CONFIRMED)
