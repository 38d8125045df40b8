"""The verifier's budget, queue and thread, with a scripted model; what it does in calls is in `test_verified_calls`."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator

import numpy as np
import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from detection import Score, Window, open_detector
from gateway.call import verification
from gateway.call.verification import NICENESS, QUEUE_WINDOWS, Budget, Verifier, seconds_a_window, verifier_name


class Heavy:
    """Says how loud a window is, once it's let go; notes the niceness of the thread it runs in."""

    name = "heavy@00000000"
    window_s = 4.0
    hop_s = 4.0
    raise_p = 0.8

    def __init__(self) -> None:
        self.free = threading.Event()
        self.free.set()
        self.niceness: int | None = None

    def frontend(self) -> Heavy:
        return self

    def inputs(self, window: Window) -> NDArray[np.float32]:
        return window.samples[:1]

    def score(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        self.free.wait(10)
        self.niceness = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        return inputs[:, 0]


class Asker:
    """Asks, and gathers the answers."""

    def __init__(self, verifier: Verifier) -> None:
        self.verifier = verifier
        self.answers: asyncio.Queue[list[Score]] = asyncio.Queue()

    def ask(self, *levels: float, urgent: bool = True) -> None:
        windows = [
            Window(4.0 * at, np.full(64_000, level, np.float32), 64_000, 3, 3) for at, level in enumerate(levels)
        ]
        self.verifier.ask(windows, 0.0, urgent=urgent, done=self.answers.put_nowait)

    async def answer(self) -> list[float]:
        async with asyncio.timeout(5):
            return [score.log_odds for score in await self.answers.get()]


@pytest.fixture
def heavy() -> Heavy:
    return Heavy()


@pytest_asyncio.fixture
async def asker(heavy: Heavy) -> AsyncIterator[Asker]:
    verifier = Verifier(heavy, legs_per_minute=1000, raise_p=0.7)
    verifier.start()
    yield Asker(verifier)
    heavy.free.set()
    await verifier.close()


async def test_windows_of_a_question_are_answered_together_and_in_order(asker: Asker) -> None:
    asker.ask(1.0, 2.0)
    asker.ask(3.0)
    assert asker.answers.empty()
    assert await asker.answer() == [1.0, 2.0]
    assert await asker.answer() == [3.0]


async def test_it_calls_synthetic_from_where_it_is_told_not_from_where_its_card_says(asker: Asker) -> None:
    assert asker.verifier.policy.raise_p == 0.7


async def test_a_full_queue_answers_with_nothing_and_later(asker: Asker, heavy: Heavy) -> None:
    heavy.free.clear()
    asker.ask(1.0, 2.0)
    await asyncio.sleep(0.05)  # these two are being worked on, and wait no longer
    for _ in range(QUEUE_WINDOWS // 2):
        asker.ask(1.0, 2.0)
    asker.ask(3.0, 4.0)
    assert asker.answers.empty()
    assert await asker.answer() == []
    heavy.free.set()
    for _ in range(QUEUE_WINDOWS // 2 + 1):
        assert await asker.answer() == [1.0, 2.0]


async def test_what_is_no_number_is_no_answer(asker: Asker) -> None:
    asker.ask(1.0, float("nan"))
    asker.ask(float("nan"))
    assert [await asker.answer(), await asker.answer()] == [[1.0], []]


async def test_what_is_asked_when_it_closes_gets_no_answer(asker: Asker, heavy: Heavy) -> None:
    heavy.free.clear()
    asker.ask(1.0)
    asker.ask(2.0)
    await asker.verifier.close()
    assert [await asker.answer(), await asker.answer()] == [[], []]
    assert not asker.verifier.healthy


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a niceness for each thread")
async def test_its_thread_stands_back(asker: Asker, heavy: Heavy) -> None:
    here = os.getpriority(os.PRIO_PROCESS, 0)
    asker.ask(1.0)
    await asker.answer()
    assert heavy.niceness == min(19, here + NICENESS)
    assert os.getpriority(os.PRIO_PROCESS, 0) == here


async def test_over_the_budget_there_is_no_answer(heavy: Heavy) -> None:
    verifier = Verifier(heavy, legs_per_minute=1, raise_p=0.7)
    verifier.start()
    asker = Asker(verifier)
    asker.ask(1.0)
    asker.ask(2.0)
    answers = [await asker.answer(), await asker.answer()]
    await verifier.close()
    assert sorted(answers) == [[], [1.0]]


def test_half_of_a_burst_is_kept_for_alerts() -> None:
    budget = Budget(80)
    assert [budget.take(0.0, urgent=False) for _ in range(12)] == [True] * 10 + [False] * 2
    assert [budget.take(0.0, urgent=True) for _ in range(12)] == [True] * 10 + [False] * 2
    assert not budget.take(0.7, urgent=True)
    assert budget.take(0.8, urgent=True)


@given(
    per_minute=st.integers(1, 600),
    asks=st.lists(st.tuples(st.floats(0, 2), st.booleans()), max_size=200),
)
def test_never_more_than_the_budget(per_minute: int, asks: list[tuple[float, bool]]) -> None:
    budget = Budget(per_minute)
    now_s = 1000.0
    taken = 0
    for pause_s, urgent in asks:
        now_s += pause_s
        taken += budget.take(now_s, urgent=urgent)
    assert taken <= max(1, per_minute / 4) + per_minute * (now_s - 1000) / 60 + 1e-6
    assert not asks or budget.take(now_s + 120, urgent=False)


def test_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "VERIFIER", "shipped")
    assert verifier_name("auto") == "shipped"
    assert verifier_name("off") is None
    assert verifier_name("models/mine.onnx") == "models/mine.onnx"
    monkeypatch.setattr(verification, "VERIFIER", None)
    assert verifier_name("auto") is None


def test_what_a_window_costs() -> None:
    assert 0 < seconds_a_window(open_detector("tinyaudionet")) < 1
