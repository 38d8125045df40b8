"""Reloads a policy file: on SIGHUP, and when it has changed.  [IO]

An invalid file changes nothing: the current policy stays in force, the log has the error, and a gauge is 1 until a
valid file was read.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from prometheus_client import Counter, Gauge

from gateway import logs
from gateway.call.policies import Policies
from gateway.errors import ConfigError
from gateway.policy import Loaded, read

POLL_S = 1.0
"""Interval of the checks for changes. A changed file is read when it was unchanged between two checks."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One of the policies that a gateway has."""

    name: str
    reloads: Counter
    refused: Gauge


LIVE = Kind(
    "policy",
    Counter("callscreen_policy_reloads_total", "The policy file was read again, by result.", ["result"]),
    Gauge("callscreen_policy_refused", "1 while the policy file is refused, and an earlier policy is in force."),
)
SHADOW = Kind(
    "shadow policy",
    Counter("callscreen_shadow_policy_reloads_total", "The candidate policy was read again, by result.", ["result"]),
    Gauge("callscreen_shadow_policy_refused", "1 while the candidate policy is refused, and an earlier one is tried."),
)
_State = tuple[int, int, int] | None
_log = logs.get(__name__)


class PolicyWatch:
    """Keeps the policy in force up to date with its file."""

    def __init__(self, kind: Kind, file: Path, policies: Policies, on_new: Callable[[Loaded], None]) -> None:
        """`on_new` is called with each policy that has come into force."""
        self._kind = kind
        self._file = file
        self._policies = policies
        self._on_new = on_new
        self._asked = asyncio.Event()

    def reload(self) -> None:
        """Request that the file is read soon."""
        self._asked.set()

    async def run(self) -> None:
        """Watch the file until cancelled."""
        read_state: _State | Literal["at the start"] = "at the start"  # it may have changed since
        seen = await asyncio.to_thread(_state, self._file)
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):
                    await self._asked.wait()
            state = await asyncio.to_thread(_state, self._file)
            if self._asked.is_set() or (state == seen and state != read_state):
                self._asked.clear()
                read_state = state
                await self._read(self._file)
            seen = state

    async def _read(self, file: Path) -> None:
        before = self._policies.version
        try:
            loaded = await asyncio.to_thread(read, file)
            await asyncio.to_thread(self._policies.use, loaded)  # checks all pairs of rules
        except ConfigError as error:
            self._kind.reloads.labels("refused").inc()
            self._kind.refused.set(1)
            _log.error(f"{self._kind.name} refused", file=str(file), error=str(error), in_force=before)
            return
        self._kind.refused.set(0)
        if loaded.version == before:
            self._kind.reloads.labels("unchanged").inc()
            return
        self._kind.reloads.labels("loaded").inc()
        _log.info(f"{self._kind.name} loaded", file=str(file), version=loaded.version, rules=len(loaded.policy.rule))
        self._on_new(loaded)


@contextlib.asynccontextmanager
async def watching(
    kind: Kind, file: Path, policies: Policies, on_new: Callable[[Loaded], None]
) -> AsyncIterator[PolicyWatch]:
    """Watch a policy file while the body runs."""
    watch = PolicyWatch(kind, file, policies, on_new)
    running = asyncio.create_task(watch.run(), name=f"{kind.name} watch")
    try:
        yield watch
    finally:
        running.cancel()
        await asyncio.wait([running])
        kind.refused.set(0)


def _state(file: Path) -> _State:
    """Return a value that changes when the file is written or replaced; None: there is no file."""
    try:
        stat = file.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
