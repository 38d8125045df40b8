"""What is said of a leg, and in which words.  [S]"""

from __future__ import annotations

from dataclasses import replace

from detection import Decider, Outcome, Verdict

EXPECTED_MACHINE = "expected_machine"
"""Verdict on a leg where only an expected machine spoke."""
EXPECTED_SYNTHETIC = "expected_synthetic"
"""Reason of ``voice.expected``, and of that verdict."""
NOT_SCREENED = "not_screened"
"""Reason of the verdict on a leg that the policy leaves out."""


def verdict_on(decider: Decider, expected_decider: Decider, unjudged: str | None) -> Verdict:
    """Return what is to say of a leg now: of an expected machine only when nobody else spoke enough.

    Args:
        decider: of what counts for or against the leg's speaker.
        expected_decider: of what was said where a machine is expected.
        unjudged: why nothing can be said, whatever was scored; None: it can.
    """
    verdict, expected = decider.verdict(), expected_decider.verdict()
    windows = verdict.windows + expected.windows
    if unjudged is not None:
        return replace(verdict, windows=windows, outcome=Outcome.INDETERMINATE, reason=unjudged)
    if verdict.reason == "too_little_speech" and expected.outcome is Outcome.SYNTHETIC:
        return replace(expected, windows=windows, speech_s=verdict.speech_s, reason=EXPECTED_SYNTHETIC)
    return replace(verdict, windows=windows)


def word(verdict: Verdict) -> str:
    """Return what events call it: nobody should take a machine that is meant to be there for one that is not."""
    return EXPECTED_MACHINE if verdict.reason == EXPECTED_SYNTHETIC else verdict.outcome.value
