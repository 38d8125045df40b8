"""The decision rule: from the log-likelihood ratios of one leg's windows to alerts and a verdict.  [sans-I/O]

**Evidence.** Each window has a log-likelihood ratio (LLR): the light model's calibrated log-odds, or, once the verifier
has scored the same speech, the fusion of both (`detection.decision.fusion`). It is clipped to ±`max_window_log_odds`,
so that no single window decides. Windows overlap, so the weight of each is the speech that earlier windows did not
contain. Two weighted means are kept: over the last `recent_speech_s` of speech (the rolling mean), and over the whole
leg. The windows of a leg share speaker, channel and synthesiser, so their errors are correlated, and n windows count as
only

    n_eff = n / (1 + (n - 1) * window_correlation)

independent ones (Kish's design effect; Kish, *Survey Sampling*, 1965). n is the speech divided by the window length.
The probability is ``p = sigmoid(mean * n_eff)``.

**Alert.** Its state depends on seconds of speech, not on time; silence changes nothing.

| state         | condition                                                               | next state    |
|---------------|-------------------------------------------------------------------------|---------------|
| `undecided`   | rolling p >= `raise_p`, enough speech, and enough windows with LLR > 0  | `provisional` |
| `provisional` | rolling p stayed >= `hold_p` for `confirm_speech_s` more                | `confirmed`   |
| `provisional` | rolling p stayed < `clear_p` for `clear_speech_s`                       | `cleared`     |
| `confirmed`   | rolling p stayed < `clear_p` for `clear_speech_s`                       | `cleared`     |
| `cleared`     | as `undecided`                                                          | `provisional` |

`hold_p` has half the log-odds of `raise_p`: a new window counts by the light model alone until the verifier has scored
it, so the rolling p first falls a little with each window. `clear_p` is below both. Confirming and clearing each take a
stretch of speech (hysteresis), so a probability near a threshold does not make the alert flap. No state is final: the
rolling mean forgets, so a voice that turns synthetic after ten minutes is detected as in the first minute. A score of
the verifier revises windows counted before; it adds no speech, but can change the alert's state.

**Verdict.** The statement about the whole leg, at its end or at any time before: see `Verdict`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum, StrEnum, auto

from detection.decision.evidence import LegEvidence, Llr, light_alone
from detection.types import Score, Window


class AlertState(StrEnum):
    """State of the alert on one leg; the table above gives the transitions."""

    UNDECIDED = "undecided"
    PROVISIONAL = "provisional"
    CONFIRMED = "confirmed"
    CLEARED = "cleared"


class Outcome(StrEnum):
    """Outcome of a verdict."""

    SYNTHETIC = "synthetic"
    HUMAN = "human"
    INDETERMINATE = "indeterminate"


_CLEAN_SNR_DB = 40.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Parameters of the decision rule. The defaults were tuned on the development corpus.

    Raises:
        ValueError: a field is out of range, or the fields contradict each other; names the field.
    """

    min_window_speech_s: float = 0.8
    """A window with less speech is not scored."""
    recent_speech_s: float = 9.0
    """Span of the rolling mean, in seconds of speech."""
    max_window_log_odds: float = 4.0
    """Limit of one window's log-likelihood ratio, in both directions."""
    window_correlation: float = 0.2
    """Correlation of the errors of two windows of one leg: 0 (independent) to 1 (identical)."""
    raise_p: float = 0.9
    """Rolling probability from which an alert is raised, and whole-leg probability of a `synthetic` verdict."""
    clear_p: float = 0.5
    """Rolling probability below which an alert is cleared, after `clear_speech_s`."""
    human_p: float = 0.35
    """Whole-leg probability up to which the verdict is `human`; between this and `raise_p` it is `indeterminate`."""
    min_alert_speech_s: float = 2.5
    """Least speech in the rolling mean for an alert to be raised."""
    min_alert_windows: int = 2
    """Least number of windows with LLR > 0 in the rolling mean for an alert to be raised."""
    confirm_speech_s: float = 2.0
    clear_speech_s: float = 4.0
    min_verdict_speech_s: float = 1.0
    """A leg with less scored speech ends `indeterminate`."""
    noisy_snr_db: float = 12.0
    """A leg with a lower SNR is never called `human`: noise hides the artefacts of synthesis."""
    out_of_domain_share: float = 0.5
    """A leg with a larger share of out-of-domain speech is never called `human`. Alerts are not suppressed: such speech
    causes no more false alarms, and some synthetic voices are detected in it."""

    @property
    def hold_p(self) -> float:
        """Rolling probability from which a provisional alert is confirmed, after `confirm_speech_s`.

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
    """A transition of a leg's alert to another state."""

    state: AlertState
    previous: AlertState
    at_s: float
    """Media time at the end of the window that caused it."""
    p_synthetic: float
    """Rolling probability that the voice is synthetic, 0 to 1."""
    speech_s: float
    """Speech received on this leg so far, in seconds."""
    windows: int
    """Windows scored on this leg so far."""
    reason: str
    """`p_above_raise`, `p_stayed_above_raise` or `p_stayed_below_clear`."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The statement about a leg as a whole.

    | outcome         | reason              | when (first match)                                                    |
    |-----------------|---------------------|-----------------------------------------------------------------------|
    | `synthetic`     | `alert_confirmed`   | an alert is confirmed, whatever the whole-leg p is                    |
    | `indeterminate` | `too_little_speech` | less than `min_verdict_speech_s` of speech was scored                 |
    | `synthetic`     | `p_above_raise`     | whole-leg p >= `raise_p`                                              |
    | `indeterminate` | `alert_provisional` | an alert is provisional and was not confirmed in time                 |
    | `indeterminate` | `alert_cleared`     | an alert was cleared: a part of the leg sounded synthetic             |
    | `indeterminate` | `out_of_domain`     | more than `out_of_domain_share` of the scored speech is out of domain |
    | `indeterminate` | `noisy`             | mean SNR of the scored windows, weighted by speech, < `noisy_snr_db`  |
    | `human`         | `p_below_human`     | whole-leg p <= `human_p`                                              |
    | `indeterminate` | `uncertain`         | otherwise                                                             |

    `out_of_domain` (`detection.signal.domain`) is tested before `noisy`, because the SNR of clipped speech cannot be
    measured.
    """

    outcome: Outcome
    reason: str
    p_synthetic: float
    """Whole-leg probability that the voice is synthetic, 0 to 1; 0.5 if no window was scored."""
    speech_s: float
    """Speech received, scored or not, in seconds."""
    windows: int
    """Windows scored."""
    peak_p_synthetic: float
    """Highest rolling probability while there was enough speech to raise an alert; 0 if there never was enough."""


class VerificationOutcome(StrEnum):
    """Effect of a verifier's score on the alert; the first that applies."""

    ESCALATED = "escalated"
    """It raised an alert."""
    CONFIRMED = "confirmed"
    """It supports 'synthetic', and an alert is active."""
    CLEARED = "cleared"
    """It supports 'human', and no alert is active."""
    INCONCLUSIVE = "inconclusive"
    """It contradicts the evidence as a whole, or is neutral."""


@dataclass(frozen=True, slots=True)
class Verification:
    """A score of the verifier and its effect."""

    outcome: VerificationOutcome
    p_synthetic: float
    """Of the verifier's window alone, 0 to 1."""
    light_p_synthetic: float
    """Rolling probability from the light model's log-odds alone, 0 to 1."""
    change: Change | None
    """The transition of the alert, if it caused one."""


class Decider:
    """Applies the rule to one leg.

    Call `update` with each scored window and `skip` with each other one, in order of time, `add_verifier_score` when
    the verifier has scored some of the same speech, and `verdict` at any time.
    """

    def __init__(self, policy: Policy, llr: Llr = light_alone) -> None:
        """Take the parameters, and the fusion of both models' log-odds: `Fusion.llr` where there is a verifier."""
        self.policy = policy
        self.state = AlertState.UNDECIDED
        self._evidence = LegEvidence(llr, policy.recent_speech_s, policy.max_window_log_odds)
        self._zone = _Zone.BETWEEN
        self._zone_speech_s = 0.0
        self._speech_s = 0.0
        self._skipped_s = 0.0
        """Fresh speech of skipped windows since the last scored one, which contains as much of it as it overlaps."""
        self._windows = 0
        self._peak_p = 0.0
        self._snr_db = math.inf
        self._out_of_domain_s = 0.0

    @property
    def recent_p_synthetic(self) -> float:
        """Rolling probability that the voice is synthetic, after the last window or verifier's score; 0.5 at first."""
        return self._evidence.recent.p_synthetic(self.policy.window_correlation)

    @property
    def speech_s(self) -> float:
        """Speech received so far, scored or not, in seconds."""
        return self._speech_s

    @property
    def in_doubt(self) -> bool:
        """Whether an alert is provisional, or there is no alert but the rolling probability is above `human_p`."""
        if _stands(self.state):
            return self.state is AlertState.PROVISIONAL
        return self.recent_p_synthetic > self.policy.human_p

    def skip(self, window: Window | Score) -> None:
        """Take a window that was not scored, for too little speech or for overload; its speech counts as received."""
        self._speech_s += window.fresh_speech_s
        self._skipped_s += window.fresh_speech_s

    def update(self, score: Score) -> Change | None:
        """Take the next score of this leg, in order of time; return the transition of the alert, if there is one.

        Raises:
            ValueError: the log-odds are NaN, which would remain in the sums for ever.
        """
        if math.isnan(score.log_odds):
            raise ValueError("log_odds: expected a number, got nan")
        fresh_s = min(score.speech_s, score.fresh_speech_s + self._skipped_s)
        self._skipped_s = 0.0
        self._speech_s += score.fresh_speech_s
        self._windows += 1
        self._update_snr(fresh_s, score.snr_db)
        self._out_of_domain_s += fresh_s * score.out_of_domain
        self._evidence.add(score.start_s, score.end_s, fresh_s, score.log_odds, score.narrow)
        return self._advance(fresh_s, score.end_s)

    def add_verifier_score(self, start_s: float, end_s: float, log_odds: float) -> Verification | None:
        """Take the verifier's calibrated log-odds for the speech between two media times, and revise those windows.

        Returns:
            The effect on the alert; None if no window of that time is remembered.

        Raises:
            ValueError: the log-odds are NaN.
        """
        if math.isnan(log_odds):
            raise ValueError("log_odds: expected a number, got nan")
        if not self._evidence.add_verifier_score(start_s, end_s, log_odds):
            return None
        change = self._advance(0.0, end_s)
        return Verification(
            outcome=self._verification_outcome(log_odds, change),
            p_synthetic=0.5 + 0.5 * math.tanh(log_odds / 2),
            light_p_synthetic=self._evidence.light_p_synthetic(self.policy.window_correlation),
            change=change,
        )

    def verdict(self) -> Verdict:
        """Return the verdict as if the leg ended now."""
        p = self._evidence.whole.p_synthetic(self.policy.window_correlation)
        outcome, reason = self._outcome(p)
        return Verdict(outcome, reason, p, self._speech_s, self._windows, self._peak_p)

    def _advance(self, fresh_s: float, at_s: float) -> Change | None:
        """Move the alert as the current rolling probability requires, after `fresh_s` more seconds of speech."""
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
        return Change(self.state, previous, at_s, p, self._speech_s, self._windows, reason)

    def _verification_outcome(self, log_odds: float, change: Change | None) -> VerificationOutcome:
        if change is not None and change.state is AlertState.PROVISIONAL:
            return VerificationOutcome.ESCALATED
        if log_odds > 0 and _stands(self.state):
            return VerificationOutcome.CONFIRMED
        if log_odds < 0 and not _stands(self.state):
            return VerificationOutcome.CLEARED
        return VerificationOutcome.INCONCLUSIVE

    def _reason_against_human(self) -> str | None:
        """Return the reason why this leg cannot be called human, `out_of_domain` or `noisy`; None if it can."""
        if self._out_of_domain_s > self.policy.out_of_domain_share * self._evidence.whole.speech_s:
            return "out_of_domain"
        return "noisy" if self._snr_db < self.policy.noisy_snr_db else None

    def _update_snr(self, fresh_s: float, snr_db: float) -> None:
        """Update the mean SNR of the scored speech; values above `_CLEAN_SNR_DB` count as that."""
        snr_db = min(snr_db, _CLEAN_SNR_DB)
        scored_s = self._evidence.whole.speech_s
        self._snr_db = (scored_s * min(self._snr_db, _CLEAN_SNR_DB) + fresh_s * snr_db) / max(scored_s + fresh_s, 1e-9)

    def _zone_of(self, p: float) -> _Zone:
        high_p = self.policy.hold_p if self.state is AlertState.PROVISIONAL else self.policy.raise_p
        if p >= high_p:
            return _Zone.HIGH
        return _Zone.LOW if p < self.policy.clear_p else _Zone.BETWEEN

    def _enough_for_alert(self) -> bool:
        return (
            self._evidence.recent.speech_s >= self.policy.min_alert_speech_s
            and self._evidence.recent.synthetic_windows >= self.policy.min_alert_windows
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
        if (unfit := self._reason_against_human()) is not None:
            return Outcome.INDETERMINATE, unfit
        if p <= self.policy.human_p:
            return Outcome.HUMAN, "p_below_human"
        return Outcome.INDETERMINATE, "uncertain"


class _Zone(Enum):
    """Position of the rolling probability relative to the two thresholds."""

    LOW = auto()
    BETWEEN = auto()
    HIGH = auto()


def _stands(state: AlertState) -> bool:
    return state in (AlertState.PROVISIONAL, AlertState.CONFIRMED)
