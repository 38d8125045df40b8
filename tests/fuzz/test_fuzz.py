"""Whatever is sent, a parser returns what it read or raises the error that it promises, soon and within its memory."""

from __future__ import annotations

import pytest

from tests.fuzz.mutations import Input
from tests.fuzz.runner import explore, fuzz
from tests.fuzz.target import check, findings
from tests.fuzz.targets import TARGETS

EXPLORED, RANDOM = 50, 200
"""Inputs for each target, by hypothesis and by plain randomness; a tenth for those that are slow."""
KEPT = list(findings())


@pytest.mark.parametrize("name", TARGETS)
def test_inputs_that_are_nearly_right(name: str) -> None:
    target = TARGETS[name]
    share = 10 if target.slow else 1
    assert fuzz(target, RANDOM // share, number=1) == []
    assert explore(target, EXPLORED // share, number=1) is None


@pytest.mark.parametrize(
    ("name", "given"), [case[1:] for case in KEPT], ids=[f"{path.parent.name}-{path.stem}" for path, _, _ in KEPT]
)
def test_findings_stay_fixed(name: str, given: Input) -> None:
    check(TARGETS[name], given)
