"""Give a target many inputs, and keep what breaks its promise, as small as it can be made."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from random import Random

from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from hypothesis.errors import HypothesisWarning

from tests.fuzz.mutations import Input
from tests.fuzz.target import Finding, Target, check, why


def explore(target: Target, inputs: int, number: int) -> Finding | None:
    """Have hypothesis give `target` so many inputs; return the smallest that breaks its promise.

    Args:
        number: the same one makes the same inputs.
    """
    found: list[Finding] = []

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
    @given(target.inputs.strategy)
    def run(one: Input) -> None:
        try:
            check(target, one)
        except Exception as error:
            found.append(Finding(target.name, one, why(error)))
            raise

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", HypothesisWarning)  # of inputs that are long to show: we show them
            run()
    except Exception:
        if not found:
            raise
        return smaller(target, found[-1])
    return None


def fuzz(
    target: Target,
    inputs: int,
    number: int,
    on_input: Callable[[], None] = lambda: None,
    *,
    most_cpu_s: float = math.inf,
) -> list[Finding]:
    """Give `target` so many random inputs, fast; return one finding for each fault.

    Args:
        number: the same one makes the same inputs.
        on_input: called after each.
        most_cpu_s: no further input after so much CPU time.
    """
    random = Random(number)
    found: dict[str, Finding] = {}
    over_s = time.process_time() + most_cpu_s
    for _ in range(inputs):
        if time.process_time() > over_s:
            break
        one = target.inputs.pick(random)
        try:
            check(target, one)
        except Exception as error:
            reason = why(error)
            if reason not in found:
                found[reason] = smaller(target, Finding(target.name, one, reason))
        on_input()
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
