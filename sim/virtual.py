"""An event loop whose time is virtual: it jumps to the next timer as soon as nothing else is left to do.  [IO]

With it a call of a minute plays in as long as its arithmetic takes, and in the same order each time: all that would
run in a thread runs at once, on the loop's own, and takes no virtual time.
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
    """For `asyncio.Runner(loop_factory=VirtualLoop)`. Nothing on it may wait for another process or machine."""

    def __init__(self) -> None:
        self._virtual_s = 0.0
        super().__init__(_Jumping(self._jump))

    def time(self) -> float:
        """Return the virtual time, in seconds since the loop was made."""
        return self._virtual_s

    def run_in_executor(
        self,
        executor: Executor | None,  # noqa: ARG002
        func: Callable[[Unpack[_Arguments]], _Result],
        *args: *_Arguments,
    ) -> asyncio.Future[_Result]:
        """Run `func` here and now, whatever the executor."""
        future: asyncio.Future[_Result] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # whoever awaits it gets it, as from a thread
            future.set_exception(error)
        return future

    def _jump(self, seconds: float) -> None:
        self._virtual_s += seconds


class _Jumping(selectors.DefaultSelector):
    """Never waits for time to pass; what is on sockets already comes first."""

    def __init__(self, jump: Callable[[float], None]) -> None:
        super().__init__()
        self._jump_by = jump

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:  # nothing but a socket can bring anything
            return super().select(None)
        events = super().select(0)
        if not events and timeout > 0:
            self._jump_by(timeout)
        return events
