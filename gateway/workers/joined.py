"""Merges the parts of a call whose legs are in several processes.  [S]

Each process sends events as if it had the whole call. Here a call starts with its first part and ends with its last
one, with the verdicts of all parts. A leg that another process already has, and a part of another tenant's call, are
refused: none of their events is published.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from gateway.alerts.event import CallEnded, CallStarted, EventData, LegEnded, LegStarted

Refused = tuple[str, str | None]
"""A call and a leg; leg None: every leg that the process has of the call."""


@dataclass(slots=True)
class _Call:
    tenant: str | None
    parts: set[int]
    verdicts: dict[str, str] = field(default_factory=dict)
    legs: dict[str, int] = field(default_factory=dict)
    """The process of each leg."""


@dataclass(slots=True)
class Load:
    """Number of calls and legs of some processes."""

    calls: int = 0
    legs: int = 0
    calls_of: Counter[str] = field(default_factory=Counter)
    legs_of: Counter[str] = field(default_factory=Counter)
    """Legs by tenant, as `calls_of` has the calls."""


class JoinedCalls:
    """The calls of all processes. `take` every event before it is published."""

    def __init__(self) -> None:
        self._calls: dict[str, _Call] = {}
        self._refused: set[tuple[int, str, str | None]] = set()

    def take(self, process: int, data: EventData) -> tuple[EventData | None, Refused | None]:
        """Return the event to publish for an event of `process`, and what that process must end; None: nothing."""
        call_id, leg = data.call_id, data.leg
        if call_id is None:
            return data, None
        if isinstance(data, CallStarted):
            return self._start_call(process, call_id, data)
        if (process, call_id, None) in self._refused:
            if isinstance(data, CallEnded):
                self._refused.discard((process, call_id, None))
            return None, None
        if isinstance(data, CallEnded):
            return self._end_part(process, call_id, data), None
        if leg is not None and (process, call_id, leg) in self._refused:
            if isinstance(data, LegEnded):
                self._refused.discard((process, call_id, leg))
            return None, None
        call = self._calls.get(call_id)
        if call is not None and leg is not None:
            if isinstance(data, LegStarted) and call.legs.setdefault(leg, process) != process:
                self._refused.add((process, call_id, leg))
                return None, (call_id, leg)
            if isinstance(data, LegEnded):
                call.legs.pop(leg, None)
        return data, None

    def gone(self, process: int) -> tuple[set[tuple[str, str]], set[str]]:
        """Remove the part of a process that ended; return the legs and calls that ended with it."""
        self._refused = {refused for refused in self._refused if refused[0] != process}
        legs, calls = set(), set()
        for call_id, call in list(self._calls.items()):
            for leg in [leg for leg, of in call.legs.items() if of == process]:
                del call.legs[leg]
                legs.add((call_id, leg))
            call.parts.discard(process)
            if not call.parts:
                del self._calls[call_id]
                calls.add(call_id)
        return legs, calls

    def load(self, processes: Iterable[int]) -> Load:
        """Return the load of these processes; a call in two of them counts twice."""
        wanted, load = set(processes), Load()
        for call in self._calls.values():
            calls = len(call.parts & wanted)
            legs = sum(process in wanted for process in call.legs.values())
            load.calls += calls
            load.legs += legs
            if call.tenant is not None:
                load.calls_of[call.tenant] += calls
                load.legs_of[call.tenant] += legs
        return load

    def _start_call(self, process: int, call_id: str, data: CallStarted) -> tuple[EventData | None, Refused | None]:
        call = self._calls.setdefault(call_id, _Call(data.tenant, set()))
        if call.tenant != data.tenant:
            self._refused.add((process, call_id, None))
            return None, (call_id, None)
        first = not call.parts
        call.parts.add(process)
        return (data if first else None), None

    def _end_part(self, process: int, call_id: str, data: CallEnded) -> EventData | None:
        call = self._calls.get(call_id)
        if call is None:
            return data
        call.verdicts |= data.verdicts
        call.parts.discard(process)
        if call.parts:
            return None
        del self._calls[call_id]
        return data.model_copy(update={"verdicts": call.verdicts})
