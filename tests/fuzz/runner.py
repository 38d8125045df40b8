"""Give a target many inputs, and keep what breaks its promise, as small as it can be made."""

from __future__ import annotations

import warnings
from collections.abc import Callable

from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from hypothesis.errors import HypothesisWarning

from tests.fuzz.mutations import Input
from tests.fuzz.target import Finding, Target, check, why

CHUNK = 2000
"""Inputs that hypothesis keeps in mind to make new ones; it would remember a million, too, and run out of memory."""


def fuzz(target: Target, inputs: int, first_seed: int, on_input: Callable[[], None] = lambda: None) -> list[Finding]:
    """Give `target` at least so many inputs; return one finding, the smallest met, for each fault.

    Args:
        first_seed: the same one makes the same inputs.
        on_input: called after each.
    """
    found: dict[str, Finding] = {}
    number, played = first_seed, 0
    while played < inputs:  # hypothesis stops at a fault; the next chunk goes on with others
        played += _chunk(target, min(CHUNK, inputs - played), number, found, on_input)
        number += 1
    return list(found.values())


def smaller(target: Target, finding: Finding) -> Finding:
    """Return the finding without the parts, and without the pieces of parts, that it does not need."""
    best = finding
    for _ in range(2):
        for at in reversed(range(len(best.input))):
            best = _if_still(target, best, (*best.input[:at], *best.input[at + 1 :]))
        for at in range(len(best.input)):
            size = len(best.input[at]) // 2
            while size:
                for start in reversed(range(0, len(best.input[at]), size)):
                    part = best.input[at]
                    less = part[:start] + part[start + size :]  # type: ignore[operator]  # both are of the same kind
                    best = _if_still(target, best, (*best.input[:at], less, *best.input[at + 1 :]))
                size //= 2
    return best


def _if_still(target: Target, finding: Finding, less: Input) -> Finding:
    """Return `finding` with `less` as input, if that shows the same fault."""
    try:
        check(target, less)
    except Exception as error:
        if why(error) == finding.why:
            return Finding(finding.target, less, finding.why)
    return finding


def _chunk(target: Target, inputs: int, number: int, found: dict[str, Finding], on_input: Callable[[], None]) -> int:
    """Play so many inputs, fewer if a new fault is found; return how many, but for those that made it smaller."""
    new: dict[str, Finding] = {}
    played = 0

    @seed(number)
    @settings(
        max_examples=inputs,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
        verbosity=Verbosity.quiet,
    )
    @given(target.inputs)
    def run(one: Input) -> None:
        nonlocal played
        if not new:
            played += 1
            on_input()
        try:
            check(target, one)
        except Exception as error:
            reason = why(error)
            if reason in found:  # a fault that is known already must not keep others from being found
                return
            finding = Finding(target.name, one, reason)
            if reason not in new or finding.size < new[reason].size:
                new[reason] = finding
            raise

    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", HypothesisWarning
            )  # of inputs that are long to show: we show them ourselves
            run()
    except Exception:
        if not new:
            raise
    found |= {reason: smaller(target, finding) for reason, finding in new.items()}
    return max(1, played)
