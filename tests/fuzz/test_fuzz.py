"""Whatever is sent, a parser returns what it read or raises the error that it promises, soon and within its memory."""

from __future__ import annotations

import pytest

from tests.fuzz.mutations import Input
from tests.fuzz.runner import fuzz
from tests.fuzz.target import check, findings
from tests.fuzz.targets import TARGETS

INPUTS = 200
"""For each target; `python -m tests.fuzz` gives them many more."""
KEPT = list(findings())


@pytest.mark.parametrize("name", TARGETS)
def test_inputs_that_are_nearly_right(name: str) -> None:
    found = fuzz(TARGETS[name], INPUTS, first_seed=1)
    assert [(finding.why, finding.input) for finding in found] == []


@pytest.mark.parametrize(
    ("name", "given"), [case[1:] for case in KEPT], ids=[f"{path.parent.name}-{path.stem}" for path, _, _ in KEPT]
)
def test_findings_stay_fixed(name: str, given: Input) -> None:
    check(TARGETS[name], given)
