"""Give a target many inputs, and keep what breaks its promise, as small as it can be made."""

from __future__ import annotations

import gc
import time
import warnings
from collections.abc import Collection
from random import Random

from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from hypothesis.errors import HypothesisWarning

from tests.fuzz.mutations import Input
from tests.fuzz.target import CpuLimit, Finding, Target, check, why

SMALLER_S = 10.0
"""CPU seconds for making one finding smaller."""
COLLECT_EVERY = 500
"""Inputs between two runs of the garbage collector, which is off meanwhile."""


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


def fuzz(target: Target, inputs: int, number: int | str, known: Collection[str] = ()) -> list[Finding]:
    """Give `target` so many random inputs, fast; return one finding for each fault.

    Args:
        number: the same one makes the same inputs.
        known: faults that are found already, as `Finding.why` tells them.
    """
    random = Random(number)
    broken: dict[str, Input] = {}
    with CpuLimit() as limit:
        for at in range(inputs):
            one = target.inputs.pick(random)
            try:
                limit.check(target, one)
            except Exception as error:
                broken.setdefault(why(error), one)
            if at % COLLECT_EVERY == COLLECT_EVERY - 1:
                gc.collect()
    return [smaller(target, Finding(target.name, one, fault)) for fault, one in broken.items() if fault not in known]


def smaller(target: Target, finding: Finding) -> Finding:
    """Return the finding without the parts, and without the pieces of parts, that it does not need.

    Each try with an input that takes too long takes that long: after `SMALLER_S` the smallest so far is returned.
    """
    best, until_s = finding, time.process_time() + SMALLER_S
    for _ in range(2):
        for at in reversed(range(len(best.input))):
            best = _if_still(target, best, (*best.input[:at], *best.input[at + 1 :]))
        for at in range(len(best.input)):
            size = len(best.input[at]) // 2
            while size:
                for start in reversed(range(0, len(best.input[at]), size)):
                    if time.process_time() > until_s:
                        return best
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
