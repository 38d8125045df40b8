from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.network import OVERTAKEN_MS, PERFECT, InFlight, Line, Network

MANY = 20_000


def fates(network: Network, seed: int = 1, count: int = MANY) -> list[tuple[float, ...]]:
    line = Line(network, random.Random(seed))
    return [line.fate() for _ in range(count)]


def test_a_perfect_line_changes_nothing() -> None:
    assert set(fates(PERFECT)) == {(0.0,)}


def test_same_seed_gives_the_same_impairments() -> None:
    bad = Network(loss=0.1, burst=2.0, jitter_ms=40.0, reorder=0.1, duplicate=0.1)
    assert fates(bad, seed=5) == fates(bad, seed=5)
    assert fates(bad, seed=5) != fates(bad, seed=6)


@pytest.mark.parametrize(("loss", "burst"), [(0.02, 1.0), (0.1, 1.0), (0.1, 4.0), (0.5, 3.0)])
def test_losses_have_their_share_and_come_in_bursts(loss: float, burst: float) -> None:
    lost = [not fate for fate in fates(Network(loss=loss, burst=burst))]
    assert sum(lost) / MANY == pytest.approx(loss, rel=0.15)
    runs = sum(now and not before for before, now in zip([False, *lost], lost, strict=False))
    assert sum(lost) / runs == pytest.approx(burst if burst > 1 else 1 / (1 - loss), rel=0.15)


def test_total_loss_loses_all() -> None:
    assert set(fates(Network(loss=1.0), count=1000)) == {()}


def test_loss_too_high_for_its_bursts_is_refused() -> None:
    with pytest.raises(ValueError, match=r"burst: expected 1, or at least 9 with this loss"):
        Network(loss=0.9, burst=2.0)


def test_jitter_is_spread_evenly_up_to_its_limit() -> None:
    delays_ms = [fate[0] for fate in fates(Network(jitter_ms=40.0))]
    assert 0 <= min(delays_ms) < 1
    assert 39 < max(delays_ms) <= 40
    assert sum(delays_ms) / MANY == pytest.approx(20, abs=0.5)


def test_overtaken_and_doubled_packets_have_their_share() -> None:
    reordered = fates(Network(reorder=0.05))
    assert sum(fate == (OVERTAKEN_MS,) for fate in reordered) / MANY == pytest.approx(0.05, rel=0.15)
    doubled = fates(Network(duplicate=0.05))
    assert sum(len(fate) == 2 for fate in doubled) / MANY == pytest.approx(0.05, rel=0.15)


def test_one_impairment_leaves_the_others_as_they_were() -> None:
    alone = fates(Network(loss=0.1))
    assert [not fate for fate in fates(Network(loss=0.1, jitter_ms=40.0, duplicate=0.2))] == [not f for f in alone]


def test_packets_overtake_where_order_is_not_kept() -> None:
    air = InFlight[str](in_order=False)
    air.push(0.00, [50.0], "late")
    air.push(0.02, [0.0], "on time")
    air.push(0.04, [], "lost")
    assert air.arrived(0.04) == ["on time"]
    assert air.arrived(0.06) == ["late"]


def test_a_late_packet_holds_up_the_others_where_order_is_kept() -> None:
    air = InFlight[str](in_order=True)
    air.push(0.00, [50.0], "late")
    air.push(0.02, [0.0], "behind")
    assert air.arrived(0.04) == []
    assert air.arrived(0.05) == ["late", "behind"]


@given(st.lists(st.lists(st.floats(0, 200), max_size=2)), st.booleans())
def test_all_copies_arrive_in_the_end(delays_ms: list[list[float]], in_order: bool) -> None:
    air = InFlight[int](in_order=in_order)
    for number, delays in enumerate(delays_ms):
        air.push(number * 0.02, delays, number)
    arrived = air.arrived(math.inf)
    assert sorted(arrived) == [number for number, delays in enumerate(delays_ms) for _ in delays]
    if in_order and all(len(delays) < 2 for delays in delays_ms):
        assert arrived == sorted(arrived)


def test_a_slow_clock_comes_later_and_later_and_a_fast_one_catches_up() -> None:
    slow, fast = (Line(Network(drift_ppm=ppm), random.Random(1)) for ppm in (100.0, -100.0))
    slow_ms, fast_ms = ([line.fate()[0] for _ in range(50 * 60)] for line in (slow, fast))
    assert slow_ms[0] == 0.0
    assert slow_ms[-1] == pytest.approx(6.0, abs=0.01)  # 100 ppm of a minute
    assert fast_ms[0] - fast_ms[-1] == pytest.approx(6.0, abs=0.01)
    assert min(fast_ms) > 0


def test_silence_is_not_sent_after_a_while() -> None:
    line = Line(Network(dtx=True), random.Random(1))
    sent = [bool(line.fate(silent=silent)) for silent in [True] * 15 + [False] + [True] * 15]
    assert sent == [True] * 10 + [False] * 5 + [True] * 11 + [False] * 5
