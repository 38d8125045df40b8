"""The verifier's order, queue, share of CPU and thread, with a scripted model; calls are in `test_verified_calls`."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator
from typing import cast

import numpy as np
import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from prometheus_client import REGISTRY

from detection import AlertState, Decider, Policy, Score, VerifierWindow, Window, WindowScores, open_detector
from detection.decision.evidence import MEMORY_S
from gateway import clock
from gateway.call import verification
from gateway.call.alerting import LegAlerts, VerifierAnswer
from gateway.call.load import Load
from gateway.call.scorer import Job
from gateway.call.verification import (
    NICENESS,
    QUEUE_WINDOWS,
    ByRank,
    LegVerification,
    Rank,
    Verifier,
    _Request,
    own_scorer,
    seconds_per_window,
    verifier_name,
)
from tests.detection.fakes import mean_fusion, wide

UNSURE, SYNTHETIC, HUMAN = 0.0, 4.0, -4.0


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
        self.heard: list[float] = []
        self.burns_s = 0.0
        self.done = threading.Event()
        self.is_mad = False

    def frontend(self) -> Heavy:
        return self

    def inputs(self, window: Window) -> NDArray[np.float32]:
        return window.samples[:1]

    def score(self, inputs: NDArray[np.float32]) -> WindowScores:
        self.free.wait(10)
        began_s = clock.thread_cpu_s()
        while clock.thread_cpu_s() - began_s < self.burns_s:
            pass
        self.niceness = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        self.heard += inputs[:, 0].tolist()
        self.done.set()
        return wide(np.full(len(inputs), np.nan, np.float32) if self.is_mad else inputs[:, 0])


class Told:
    """Stands where a leg's alerts are told."""

    def __init__(self) -> None:
        self.answers: list[VerifierAnswer] = []

    def verified(self, answer: VerifierAnswer) -> None:
        self.answers.append(answer)


class Speaker:
    """A leg in a state of its own, whose windows are as loud as `level`."""

    def __init__(self, verifier: Verifier, light: float, level: float, seconds: int = 0) -> None:
        self.decider = Decider(Policy(), verifier.fusion.llr)
        self.told = Told()
        self.settled = asyncio.Event()
        self.verification = LegVerification(verifier, self.decider, cast("LegAlerts", self.told), self.settled.set)
        self.light, self.level, self.at = light, level, 0
        self.speak(seconds)

    def speak(self, seconds: int) -> None:
        """Be heard by the light model, of which windows of 3 s come every second, and by the verifier."""
        for at in range(self.at, self.at + seconds):
            samples = np.full(48_000, self.level, np.float32)
            window = Window(
                float(at),
                samples,
                48_000 if at == 0 else 16_000,
                2.4,
                2.4 if at == 0 else 0.8,
                speech=np.ones(150, np.bool_),
            )
            self.decider.update(Score.of(window, self.light))
            self.verification.add(window, 0.0)
        self.at += seconds

    async def answered(self, count: int) -> list[VerifierAnswer]:
        async with asyncio.timeout(60):
            while len(self.told.answers) < count:
                self.settled.clear()
                await self.settled.wait()
        return self.told.answers


@pytest.fixture
def heavy() -> Heavy:
    return Heavy()


@pytest_asyncio.fixture
async def verifier(heavy: Heavy) -> AsyncIterator[Verifier]:
    verifier = Verifier(heavy, mean_fusion(), own_scorer(heavy, 1.0), Load(lambda: 0.0))
    verifier.start()
    yield verifier
    heavy.free.set()
    await verifier.close()


def dropped(outcome: str) -> float:
    return REGISTRY.get_sample_value("callscreen_verifier_windows_total", {"outcome": outcome}) or 0.0


async def busy(verifier: Verifier, heavy: Heavy) -> None:
    """Keep the verifier at work until it is let go."""
    heavy.free.clear()
    Speaker(verifier, HUMAN, 0.01, seconds=2)
    await asyncio.sleep(0.05)


async def test_a_leg_is_heard_once_over_and_told_of_each_answer(verifier: Verifier, heavy: Heavy) -> None:
    speaker = Speaker(verifier, HUMAN, 0.5, seconds=10)
    answers = await speaker.answered(3)
    assert [(one.question.start_s, one.question.end_s) for one in answers] == [(0, 4), (4, 8), (8, 12)]
    assert [one.model for one in answers] == [heavy.name] * 3
    assert heavy.heard == pytest.approx([0.5] * 3, abs=1e-4)


async def test_the_doubtful_come_first_then_the_alerted_the_new_and_the_rest(verifier: Verifier, heavy: Heavy) -> None:
    rest = Speaker(verifier, HUMAN, 0.1, seconds=2)
    await rest.answered(1)
    heavy.heard.clear()
    await busy(verifier, heavy)
    rest.speak(4)
    new = Speaker(verifier, HUMAN, 0.2, seconds=2)
    alerted = Speaker(verifier, SYNTHETIC, 0.3, seconds=6)
    assert alerted.decider.state is AlertState.CONFIRMED
    doubtful = Speaker(verifier, UNSURE, 0.4, seconds=2)
    heavy.free.set()
    for speaker, count in ((rest, 2), (new, 1), (alerted, 2), (doubtful, 1)):
        await speaker.answered(count)
    assert heavy.heard == pytest.approx([0.01, 0.4, 0.3, 0.3, 0.2, 0.1], abs=1e-4)


async def test_a_full_queue_drops_the_oldest_of_the_last_rank_and_counts_it(verifier: Verifier, heavy: Heavy) -> None:
    before = dropped("queue_full")
    await busy(verifier, heavy)
    human = Speaker(verifier, HUMAN, 0.1, seconds=4 * QUEUE_WINDOWS + 2)
    doubtful = Speaker(verifier, UNSURE, 0.2, seconds=14)
    heavy.free.set()
    assert len(await doubtful.answered(4)) == 4
    assert dropped("queue_full") == before + 5
    human.verification.close()


async def test_half_a_core_is_half_a_core(heavy: Heavy) -> None:
    """As CPU time is counted: how long that takes is the machine's affair."""
    heavy.burns_s = 0.4
    verifier = Verifier(heavy, mean_fusion(), own_scorer(heavy, 0.5), Load(lambda: 0.0))
    verifier.start()
    began_s = clock.monotonic_s()
    await Speaker(verifier, HUMAN, 0.1, seconds=18).answered(5)
    took_s = clock.monotonic_s() - began_s
    await verifier.close()
    assert 4 * heavy.burns_s <= 1.0 + 0.5 * took_s + heavy.burns_s


async def test_what_is_no_number_is_no_answer(verifier: Verifier, heavy: Heavy) -> None:
    heavy.is_mad = True
    speaker = Speaker(verifier, HUMAN, 0.1, seconds=2)
    assert await asyncio.to_thread(heavy.done.wait, 60)
    async with asyncio.timeout(60):
        await speaker.settled.wait()
    assert speaker.told.answers == []
    assert speaker.verification.ended(0.0), "nothing is waited for"


async def test_what_is_asked_when_it_closes_gets_no_answer(verifier: Verifier, heavy: Heavy) -> None:
    await busy(verifier, heavy)
    speaker = Speaker(verifier, HUMAN, 0.1, seconds=6)
    assert not speaker.verification.ended(0.0)
    await verifier.close()
    await asyncio.sleep(0.05)
    assert speaker.settled.is_set()
    assert speaker.verification.ended(0.0)
    assert not verifier.healthy
    speaker.verification.close()


async def test_a_leg_that_has_ended_is_verified_no_more(verifier: Verifier, heavy: Heavy) -> None:
    before = dropped("too_late")
    await busy(verifier, heavy)
    gone, there = (Speaker(verifier, HUMAN, level, seconds=2) for level in (0.1, 0.2))
    gone.verification.close()
    heavy.free.set()
    await there.answered(1)
    assert (gone.told.answers, dropped("too_late")) == ([], before + 1)
    assert heavy.heard == pytest.approx([0.01, 0.2], abs=1e-4)


async def test_what_is_too_old_to_be_remembered_is_not_asked(verifier: Verifier, heavy: Heavy) -> None:
    before = dropped("too_old")
    await busy(verifier, heavy)
    speaker = Speaker(verifier, HUMAN, 0.1, seconds=round(MEMORY_S) + 11)
    heavy.free.set()
    answers = await speaker.answered(15)
    assert dropped("too_old") == before + 3
    assert answers[0].question.start_s == 12


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a niceness for each thread")
async def test_its_thread_stands_back(verifier: Verifier, heavy: Heavy) -> None:
    here = os.getpriority(os.PRIO_PROCESS, 0)
    await Speaker(verifier, HUMAN, 0.1, seconds=2).answered(1)
    assert heavy.niceness == min(19, here + NICENESS)
    assert os.getpriority(os.PRIO_PROCESS, 0) == here


class _Waiting:
    """A leg whose windows have ranks that are written on them."""

    def rank(self, question: VerifierWindow) -> Rank:
        return Rank(round(question.end_s))

    def why_not(self, question: VerifierWindow) -> str | None:
        return "too_old" if question.overlapping else None


@given(st.lists(st.tuples(st.sampled_from(Rank), st.booleans()), max_size=40), st.integers(1, 8))
def test_the_queue_is_bounded_and_what_is_taken_comes_before_what_stays(
    offered: list[tuple[Rank, bool]], limit: int
) -> None:
    backlog, out = ByRank(limit), list[Job]()
    detector, window = Heavy(), Window(0.0, np.zeros(1, np.float32), 1, 0.0, 0.0)
    for rank, lapsed in offered:
        question = VerifierWindow(window, 0.0, float(rank), lapsed)
        asked = _Request(cast("LegVerification", _Waiting()), question, detector)
        out += [job for job, outcome in backlog.put(Job(asked, window, 0.0)) if outcome == "queue_full"]
        assert len(backlog) <= limit
    waiting = len(backlog)
    taken, lapsed_jobs = backlog.take(3)
    assert len(out) + waiting == len(offered)
    assert len(taken) + len(lapsed_jobs) + len(backlog) == waiting
    ranks = [cast("_Request", job.leg).rank for job in taken]
    left, _ = backlog.take(len(backlog))
    assert ranks == sorted(ranks)
    assert not ranks or all(cast("_Request", job.leg).rank >= ranks[-1] for job in left)


def test_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "VERIFIER", "shipped")
    assert verifier_name("auto", 0.5) == "shipped"
    assert verifier_name("off", 0.5) is None
    assert verifier_name("auto", 0.0) is None
    assert verifier_name("models/mine.onnx", 0.1) == "models/mine.onnx"
    monkeypatch.setattr(verification, "VERIFIER", None)
    assert verifier_name("auto", 0.5) is None


def test_what_a_window_costs() -> None:
    assert 0 < seconds_per_window(open_detector("tinyaudionet")) < 1
