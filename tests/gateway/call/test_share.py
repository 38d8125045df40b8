"""A share of a core: never more than it, and a burst; after rest no more than a burst."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.call.share import BURST_S, CpuShare


def test_a_burst_then_what_the_share_gives() -> None:
    share = CpuShare(0.5, 100.0)
    share.spend(BURST_S)
    assert share.wait_s(100.0) == 0, "what the next piece costs is not known yet"
    share.spend(0.2)
    assert share.wait_s(100.0) == pytest.approx(0.4)
    assert share.wait_s(100.1) == pytest.approx(0.3)
    assert share.wait_s(100.4) == pytest.approx(0, abs=1e-9)


def test_rest_is_saved_up_to_a_burst_only() -> None:
    share = CpuShare(0.5, 0.0)
    assert share.wait_s(1e6) == 0
    share.spend(BURST_S + 0.5)
    assert share.wait_s(1e6) == pytest.approx(1.0)


@given(
    cpu_share=st.floats(0.01, 1),
    work=st.lists(st.tuples(st.floats(0, 2), st.floats(0.001, 0.3)), max_size=100),
)
def test_whatever_is_done_it_takes_no_more(cpu_share: float, work: list[tuple[float, float]]) -> None:
    """Pauses of wall time, and what each piece of work then costs; it is waited for as long as it says."""
    share = CpuShare(cpu_share, 0.0)
    now_s = spent_s = dearest_s = 0.0
    for pause_s, cost_s in work:
        now_s += pause_s
        while wait_s := share.wait_s(now_s):
            now_s += max(wait_s, 1e-9)
        share.spend(cost_s)
        spent_s += cost_s
        now_s += cost_s
        dearest_s = max(dearest_s, cost_s)
    assert spent_s <= BURST_S + cpu_share * now_s + dearest_s + 1e-6
