"""The verdict on a leg, and its name in events.  [S]"""

from __future__ import annotations

from dataclasses import replace

from detection import Decider, Outcome, Verdict

EXPECTED_MACHINE = "expected_machine"
"""Verdict on a leg where only an expected machine spoke."""
EXPECTED_SYNTHETIC = "expected_synthetic"
"""Reason of ``voice.expected``, and of that verdict."""
NOT_SCREENED = "not_screened"
"""Reason of the verdict on a leg that the policy excludes."""


def verdict_on(decider: Decider, expected_decider: Decider, unjudged: str | None) -> Verdict:
    """Return the current verdict: that on an expected machine only if no other voice had enough speech.

    Args:
        decider: has the evidence on the leg's speaker.
        expected_decider: has the evidence from where a machine is expected.
        unjudged: why no verdict is possible, whatever was scored; None: it is possible.
    """
    verdict, expected = decider.verdict(), expected_decider.verdict()
    windows = verdict.windows + expected.windows
    if unjudged is not None:
        return replace(verdict, windows=windows, outcome=Outcome.INDETERMINATE, reason=unjudged)
    if verdict.reason == "too_little_speech" and expected.outcome is Outcome.SYNTHETIC:
        return replace(expected, windows=windows, speech_s=verdict.speech_s, reason=EXPECTED_SYNTHETIC)
    return replace(verdict, windows=windows)


def word(verdict: Verdict) -> str:
    """Return the verdict's name in events; an expected machine has a name of its own."""
    return EXPECTED_MACHINE if verdict.reason == EXPECTED_SYNTHETIC else verdict.outcome.value
