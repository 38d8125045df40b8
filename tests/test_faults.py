"""The table of faults names tests that exist."""

from __future__ import annotations

import re

from tests.conftest import REPOSITORY


def test_every_fault_in_the_table_has_its_test() -> None:
    named = set(re.findall(r"`(test_\w+)`", (REPOSITORY / "docs" / "faults.md").read_text(encoding="utf-8")))
    found = {
        name
        for path in (REPOSITORY / "tests").rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)\(", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert len(named) > 10
    assert named - found == set()
