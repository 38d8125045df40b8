from __future__ import annotations

import asyncio
import time

import pytest

from sim.virtual import VirtualLoop


def test_time_jumps_to_the_next_timer_in_order() -> None:
    told: list[tuple[str, float]] = []

    async def sleeper(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        told.append((name, asyncio.get_running_loop().time()))

    async def body() -> None:
        async with asyncio.timeout(7200):
            await asyncio.gather(sleeper("late", 3600.0), sleeper("soon", 0.02), sleeper("next", 1.0))

    began_s = time.monotonic()
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(body())
    assert [name for name, _ in told] == ["soon", "next", "late"]
    assert [at_s for _, at_s in told] == pytest.approx([0.02, 1.0, 3600.0])
    assert time.monotonic() - began_s < 60


def test_deadlines_pass_in_virtual_time() -> None:
    async def body() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(100.0):
                await asyncio.get_running_loop().create_future()
        return asyncio.get_running_loop().time()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        assert runner.run(body()) == pytest.approx(100.0)


def test_executor_work_takes_no_virtual_time() -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        assert await asyncio.to_thread(divmod, 7, 2) == (3, 1)
        with pytest.raises(ZeroDivisionError):
            await loop.run_in_executor(None, divmod, 7, 0)
        assert loop.time() == 0.0

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(body())
