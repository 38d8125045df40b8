"""Messages of no use are counted by reason, and many in a row end their stream."""

from __future__ import annotations

import pytest

from gateway.errors import BadMessage, WrongFrameKind
from gateway.ingest.tolerance import IGNORED, MAX_BAD_MESSAGES, Tolerance


def test_only_many_in_a_row_are_too_many() -> None:
    tolerance, error = Tolerance("tolerance-1"), BadMessage("x: wrong")
    for _ in range(3):
        for _ in range(MAX_BAD_MESSAGES - 1):
            tolerance.bad(error)
        tolerance.good()
    for _ in range(MAX_BAD_MESSAGES - 1):
        tolerance.bad(error)
    with pytest.raises(BadMessage) as fault:
        tolerance.bad(error)
    assert fault.value is error
    assert IGNORED.labels("tolerance-1", "bad_field")._value.get() == 4 * MAX_BAD_MESSAGES - 3


def test_bad_returns_whether_a_reason_is_new_and_keeps_the_last_error() -> None:
    tolerance = Tolerance("tolerance-2")
    errors = [BadMessage("a"), BadMessage("b"), WrongFrameKind("c"), BadMessage("d", "undecodable")]
    assert [tolerance.bad(error) for error in errors] == [True, False, True, True]
    assert tolerance.last is errors[-1]
