"""What is known of one leg, as sums that a late answer of the verifier can still change.  [sans-I/O]

An `Entry` is a scored window of the light model: its log-odds, and the mean of what the verifier said of the speech in
it, once that has answered. Its log-likelihood ratio is the fusion of both. Two means of these ratios, weighted by
seconds of fresh speech, are kept: over the whole leg, and over the last seconds of speech (the rolling view).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

Llr = Callable[[float, float | None, bool], float]
"""`Fusion.llr`: light log-odds, verifier log-odds or None, narrow -> log-likelihood ratio."""

MEMORY_S = 60.0
"""Seconds of media after which an entry takes no answer any more."""
_SHARE = 0.5
"""A verifier's window has heard an entry if it holds so much of its fresh part."""


def light_alone(light: float, verifier: float | None, narrow: bool) -> float:  # noqa: ARG001
    """Return what is said where no verifier is: the light model's log-odds."""
    return light


@dataclass(slots=True)
class Entry:
    """A scored window of the light model, and what the verifier said of its fresh part."""

    start_s: float
    """Media time at which its fresh part begins: what no scored window before it held."""
    end_s: float
    speech_s: float
    """Seconds of speech in the fresh part."""
    window_s: float
    """How long the whole window is."""
    light: float
    """Calibrated log-odds."""
    narrow: bool
    llr: float
    """Fused and clipped."""
    verifier: float | None = None
    """Mean of the verifier's answers, calibrated log-odds."""
    answers: int = 0
    recent: bool = False
    """Whether it counts in the rolling view."""

    def is_within(self, start_s: float, end_s: float) -> bool:
        """Whether at least half of the fresh part lies between two media times."""
        shared_s = min(self.end_s, end_s) - max(self.start_s, start_s)
        return shared_s > 0 and shared_s >= _SHARE * (self.end_s - self.start_s)

    def answered(self, log_odds: float) -> None:
        """Take one more answer of the verifier."""
        self.answers += 1
        self.verifier = log_odds if self.verifier is None else self.verifier + (log_odds - self.verifier) / self.answers


class Evidence:
    """Mean of log-likelihood ratios, weighted by seconds of speech."""

    def __init__(self) -> None:
        self.speech_s = 0.0
        self._weighted_sum = 0.0
        self._window_s = math.inf

    def add(self, entry: Entry) -> None:
        """Count an entry."""
        self.speech_s += entry.speech_s
        self._weighted_sum += entry.speech_s * entry.llr
        self._window_s = entry.window_s

    def revise(self, entry: Entry, llr: float) -> None:
        """Count an entry that was added with another ratio from now on."""
        self._weighted_sum += entry.speech_s * (llr - entry.llr)

    def p_synthetic(self, window_correlation: float) -> float:
        """Return the probability after discounting windows that say the same; 0.5 without any speech."""
        return _probability(self._weighted_sum, self.speech_s, self._window_s, window_correlation)


class RecentEvidence(Evidence):
    """The same over the last `span_s` of speech only."""

    def __init__(self, span_s: float) -> None:
        super().__init__()
        self._span_s = span_s
        self._entries: deque[Entry] = deque()
        self.leaning_windows = 0
        """How many windows in the span speak for synthetic."""

    def add(self, entry: Entry) -> None:
        """Count an entry and forget those that lie more than the span behind it."""
        if entry.speech_s <= 0:
            return
        super().add(entry)
        entry.recent = True
        self._entries.append(entry)
        self.leaning_windows += entry.llr > 0
        while self.speech_s - self._entries[0].speech_s >= self._span_s:
            old = self._entries.popleft()
            old.recent = False
            self.speech_s -= old.speech_s
            self._weighted_sum -= old.speech_s * old.llr
            self.leaning_windows -= old.llr > 0

    def revise(self, entry: Entry, llr: float) -> None:
        """See `Evidence.revise`; an entry that is out of the span changes nothing."""
        if entry.recent:
            super().revise(entry, llr)
            self.leaning_windows += (llr > 0) - (entry.llr > 0)

    def light_p_synthetic(self, window_correlation: float, limit: float) -> float:
        """Return the probability by what the light model alone said; ratios are clipped to `limit`."""
        said = sum(entry.speech_s * _clipped(entry.light, limit) for entry in self._entries)
        return _probability(said, self.speech_s, self._window_s, window_correlation)


class LegEvidence:
    """All entries of one leg: the whole, the rolling view, and those that may still be answered."""

    def __init__(self, llr: Llr, span_s: float, limit: float) -> None:
        """Take the fusion; the rolling view's seconds of speech; and what one window counts at most, either way."""
        self.whole = Evidence()
        self.recent = RecentEvidence(span_s)
        self._llr = llr
        self._limit = limit
        self._entries: deque[Entry] = deque()
        self._end_s = -math.inf

    def add(self, start_s: float, end_s: float, speech_s: float, log_odds: float, narrow: bool) -> Entry:
        """Count a window of the light model, of which `speech_s` is new; returns what answers may still change."""
        llr = _clipped(self._llr(log_odds, None, narrow), self._limit)
        entry = Entry(max(start_s, self._end_s), end_s, speech_s, end_s - start_s, log_odds, narrow, llr)
        if self._end_s >= end_s:  # windows started over, before the end of a tail that was repeated to fill its window
            entry.start_s = start_s
        self._end_s = end_s
        self.whole.add(entry)
        self.recent.add(entry)
        self._entries.append(entry)
        while self._entries[0].end_s < end_s - MEMORY_S:
            self._entries.popleft()
        return entry

    def answer(self, start_s: float, end_s: float, log_odds: float) -> bool:
        """Count what the verifier says of the speech between two media times; False if none of it is remembered."""
        heard = [entry for entry in self._entries if entry.is_within(start_s, end_s)]
        for entry in heard:
            entry.answered(log_odds)
            llr = _clipped(self._llr(entry.light, entry.verifier, entry.narrow), self._limit)
            self.whole.revise(entry, llr)
            self.recent.revise(entry, llr)
            entry.llr = llr
        return bool(heard)

    def light_p_synthetic(self, window_correlation: float) -> float:
        """Return the rolling probability by what the light model alone said."""
        return self.recent.light_p_synthetic(window_correlation, self._limit)


def _clipped(log_odds: float, limit: float) -> float:
    return min(max(log_odds, -limit), limit)


def _probability(weighted_sum: float, speech_s: float, window_s: float, window_correlation: float) -> float:
    if speech_s <= 0:
        return 0.5
    n = speech_s / window_s
    n_effective = n / (1 + (n - 1) * window_correlation)
    return 1 / (1 + math.exp(-weighted_sum / speech_s * n_effective))
