"""The evidence on one leg: weighted sums that a later score of the verifier can still revise.  [sans-I/O]

An `Entry` is one scored window of the light model: its log-odds, and the mean of the verifier's log-odds for the same
speech once they are known. The fusion of both is its log-likelihood ratio (LLR). Two means of LLRs, weighted by seconds
of fresh speech, are kept: over the whole leg, and over the last seconds of speech (the rolling mean).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

Llr = Callable[[float, float | None, bool], float]
"""`Fusion.llr`: (light model's log-odds, verifier's log-odds or None, narrow) -> log-likelihood ratio."""

MEMORY_S = 60.0
"""Entries older than this, in seconds of media time, are no longer revised."""
_SHARE = 0.5
"""A verifier's window counts for an entry if it covers at least this share of the entry's fresh part."""


def light_alone(light: float, verifier: float | None, narrow: bool) -> float:  # noqa: ARG001
    """Return the light model's log-odds; used where there is no verifier."""
    return light


@dataclass(slots=True)
class Entry:
    """A scored window of the light model, with the verifier's log-odds for its fresh part."""

    start_s: float
    """Media time at which the fresh part starts: audio that no earlier scored window contains."""
    end_s: float
    speech_s: float
    """Seconds of speech in the fresh part."""
    window_s: float
    """Length of the whole window."""
    light: float
    """Calibrated log-odds."""
    narrow: bool
    llr: float
    """Log-likelihood ratio after fusion and clipping."""
    verifier: float | None = None
    """Mean of the verifier's calibrated log-odds."""
    verifier_scores: int = 0
    recent: bool = False
    """Whether it counts in the rolling mean."""

    def is_within(self, start_s: float, end_s: float) -> bool:
        """Whether at least half of the fresh part lies between two media times."""
        shared_s = min(self.end_s, end_s) - max(self.start_s, start_s)
        return shared_s > 0 and shared_s >= _SHARE * (self.end_s - self.start_s)

    def add_verifier_score(self, log_odds: float) -> None:
        """Add one more score of the verifier to the mean."""
        self.verifier_scores += 1
        mean = log_odds if self.verifier is None else self.verifier
        self.verifier = mean + (log_odds - mean) / self.verifier_scores


class Evidence:
    """Mean of log-likelihood ratios, weighted by seconds of speech."""

    def __init__(self) -> None:
        self.speech_s = 0.0
        self._weighted_sum = 0.0
        self._window_s = math.inf

    def add(self, entry: Entry) -> None:
        """Add an entry."""
        self.speech_s += entry.speech_s
        self._weighted_sum += entry.speech_s * entry.llr
        self._window_s = entry.window_s

    def revise(self, entry: Entry, llr: float) -> None:
        """Replace the LLR of an entry that was added before."""
        self._weighted_sum += entry.speech_s * (llr - entry.llr)

    def p_synthetic(self, window_correlation: float) -> float:
        """Return the probability of 'synthetic', discounted for correlated windows; 0.5 without any speech."""
        return _probability(self._weighted_sum, self.speech_s, self._window_s, window_correlation)


class RecentEvidence(Evidence):
    """Evidence over the last `span_s` of speech only."""

    def __init__(self, span_s: float) -> None:
        super().__init__()
        self._span_s = span_s
        self._entries: deque[Entry] = deque()
        self.synthetic_windows = 0
        """Number of windows in the span with a positive LLR."""

    def add(self, entry: Entry) -> None:
        """Add an entry, and remove the entries that the span no longer reaches."""
        if entry.speech_s <= 0:
            return
        super().add(entry)
        entry.recent = True
        self._entries.append(entry)
        self.synthetic_windows += entry.llr > 0
        while self.speech_s - self._entries[0].speech_s >= self._span_s:
            old = self._entries.popleft()
            old.recent = False
            self.speech_s -= old.speech_s
            self._weighted_sum -= old.speech_s * old.llr
            self.synthetic_windows -= old.llr > 0

    def revise(self, entry: Entry, llr: float) -> None:
        """See `Evidence.revise`; entries outside the span are ignored."""
        if entry.recent:
            super().revise(entry, llr)
            self.synthetic_windows += (llr > 0) - (entry.llr > 0)

    def light_p_synthetic(self, window_correlation: float, limit: float) -> float:
        """Return the probability from the light model's log-odds alone, each clipped to ±`limit`."""
        weighted_sum = sum(entry.speech_s * _clipped(entry.light, limit) for entry in self._entries)
        return _probability(weighted_sum, self.speech_s, self._window_s, window_correlation)


class LegEvidence:
    """The evidence on one leg: over the whole leg, over the rolling span, and the entries that can be revised."""

    def __init__(self, llr: Llr, span_s: float, limit: float) -> None:
        """Take the fusion, the rolling span in seconds of speech, and the limit to which each LLR is clipped."""
        self.whole = Evidence()
        self.recent = RecentEvidence(span_s)
        self._llr = llr
        self._limit = limit
        self._entries: deque[Entry] = deque()
        self._end_s = -math.inf

    def add(self, start_s: float, end_s: float, speech_s: float, log_odds: float, narrow: bool) -> Entry:
        """Add a scored window of the light model, of which `speech_s` is fresh; return its entry."""
        llr = _clipped(self._llr(log_odds, None, narrow), self._limit)
        entry = Entry(max(start_s, self._end_s), end_s, speech_s, end_s - start_s, log_odds, narrow, llr)
        if self._end_s >= end_s:  # a repeated tail reached further than this window, which begins a new sequence
            entry.start_s = start_s
        self._end_s = end_s
        self.whole.add(entry)
        self.recent.add(entry)
        self._entries.append(entry)
        while self._entries[0].end_s < end_s - MEMORY_S:
            self._entries.popleft()
        return entry

    def add_verifier_score(self, start_s: float, end_s: float, log_odds: float) -> bool:
        """Add the verifier's log-odds for the speech between two media times; return False if no entry matches."""
        matching = [entry for entry in self._entries if entry.is_within(start_s, end_s)]
        for entry in matching:
            entry.add_verifier_score(log_odds)
            llr = _clipped(self._llr(entry.light, entry.verifier, entry.narrow), self._limit)
            self.whole.revise(entry, llr)
            self.recent.revise(entry, llr)
            entry.llr = llr
        return bool(matching)

    def light_p_synthetic(self, window_correlation: float) -> float:
        """Return the rolling probability from the light model's log-odds alone."""
        return self.recent.light_p_synthetic(window_correlation, self._limit)


def _clipped(log_odds: float, limit: float) -> float:
    return min(max(log_odds, -limit), limit)


def _probability(weighted_sum: float, speech_s: float, window_s: float, window_correlation: float) -> float:
    if speech_s <= 0:
        return 0.5
    n = speech_s / window_s
    n_effective = n / (1 + (n - 1) * window_correlation)
    return 1 / (1 + math.exp(-weighted_sum / speech_s * n_effective))
