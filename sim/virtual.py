"""An event loop with virtual time: it jumps to the next timer when there is nothing else to do.  [IO]

A call of a minute takes only the time of its computation, and runs in the same order each time. Work for threads runs
at once on the loop's thread, and takes no virtual time.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar, TypeVarTuple, Unpack

_Arguments = TypeVarTuple("_Arguments")
_Result = TypeVar("_Result")


class VirtualLoop(asyncio.SelectorEventLoop):
    """For `asyncio.Runner(loop_factory=VirtualLoop)`. Its tasks must not wait for other processes or machines."""

    def __init__(self) -> None:
        self._virtual_s = 0.0
        super().__init__(_Jumping(self._jump))

    def time(self) -> float:
        """Return the virtual time in seconds since the loop was created."""
        return self._virtual_s

    def run_in_executor(
        self,
        executor: Executor | None,  # noqa: ARG002
        func: Callable[[Unpack[_Arguments]], _Result],
        *args: *_Arguments,
    ) -> asyncio.Future[_Result]:
        """Run `func` at once, whatever the executor."""
        future: asyncio.Future[_Result] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # raised where the result is awaited, as from a thread
            future.set_exception(error)
        return future

    def _jump(self, seconds: float) -> None:
        self._virtual_s += seconds


class _Jumping(selectors.DefaultSelector):
    """Never waits for time to pass; pending socket events come first."""

    def __init__(self, jump: Callable[[float], None]) -> None:
        super().__init__()
        self._jump_by = jump

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:  # no timers: only a socket can bring work
            return super().select(None)
        events = super().select(0)
        if not events and timeout > 0:
            self._jump_by(timeout)
        return events
