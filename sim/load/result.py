"""The result of a load: figures, JSON, tables.  [S]"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from rich import box
from rich.table import Table

PERCENTILES = (50, 90, 95, 99)
SENDER_LATE_S = 0.2
"""If a packet is later than this, the sending machine is too slow, and the figures do not describe the gateway."""
DELAYED_MS = 1000.0
"""If the 99th percentile of the delay exceeds this, the gateway does not keep up."""
SHOWN_MOMENTS = 12
GIVEN_UP = ("nothing", "verifications", "short hops", "windows", "new calls")
"""Names of the values of ``callscreen_overload_step``."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The requested load."""

    calls: int
    ramp_per_s: float
    """Calls started in a second."""
    seconds: float
    """How long all calls are held, once all have started."""
    processes: int

    @property
    def ramp_s(self) -> float:
        """Time until all calls have started."""
        return self.calls / self.ramp_per_s

    @property
    def duration_s(self) -> float:
        """Time from the start of the first call to the end of all."""
        return self.ramp_s + self.seconds


@dataclass(frozen=True, slots=True)
class Moment:
    """The state at one second; values of the gateway's metrics are None if they cannot be read."""

    at_s: float
    calls_open: int
    """As counted by the senders."""
    calls: int | None
    """As counted by the gateway."""
    cpu_cores: float | None
    """CPU time since the previous moment, divided by the elapsed time."""
    rss_mb: float | None
    windows_scored: int | None
    """Of this load, so far."""
    windows_skipped: int | None
    overload_step: int | None
    delay_p50_ms: float | None
    """Median delay of the scores received since the previous moment."""
    delay_p99_ms: float | None


@dataclass(slots=True)
class LoadResult:
    """The measurements, while they are collected."""

    plan: Plan
    url: str
    began: dict[str, float] = field(default_factory=dict)
    """Start of each call by call id, in seconds from the start of the load."""
    failed: dict[str, str] = field(default_factory=dict)
    """Why a call was refused or broken off, by call id."""
    ended: set[str] = field(default_factory=set)
    """Calls with a `call.ended` event."""
    delays: list[tuple[float, float]] = field(default_factory=list)
    """Arrival of each score, in seconds from the start, and its delay from the sending of its audio in ms."""
    moments: list[Moment] = field(default_factory=list)
    windows: dict[str, int] = field(default_factory=dict)
    """Windows of speech by outcome; empty if the metrics cannot be read."""
    events_lost: int = 0
    """Number of gaps in the events of this subscriber."""
    sender_late_s: float = 0.0
    unread: str = ""
    """Why the gateway's metrics could not be read."""
    partial: str = ""
    """Why the load was not played completely; empty if it was."""

    @property
    def open_calls(self) -> int:
        """Number of calls in progress."""
        return len(self.began.keys() - self.failed.keys())

    @property
    def skipped(self) -> int | None:
        """Windows of speech skipped because of overload; None if the metrics cannot be read."""
        return self.windows.get("skipped", 0) if self.windows else None

    @property
    def held(self) -> list[Moment]:
        """The moments at which all calls should be in progress."""
        return [moment for moment in self.moments if self.plan.ramp_s <= moment.at_s <= self.plan.duration_s]

    def faults(self) -> list[str]:
        """Return why the gateway did not hold the load, or why it is not known; empty if it did."""
        found = [f"not played completely: {self.partial}"] if self.partial else []
        if self.failed:
            call_id, reason = next(iter(self.failed.items()))
            found.append(
                f"{len(self.failed)} of {self.plan.calls} calls were refused or broken off; {call_id}: {reason}"
            )
        if self.skipped:
            found.append(f"{self.skipped} windows of speech were skipped")
        if self.delays and (late_ms := _percentiles(self._delays_ms())["p99"]) > DELAYED_MS:
            found.append(f"events were late: 99th percentile {late_ms:.0f} ms")
        if self.events_lost:
            found.append(f"this subscriber lost events {self.events_lost} times; delays are of the others")
        if not self.delays and not found:
            found.append("no score was received")
        if self.sender_late_s > SENDER_LATE_S:
            found.append(f"packets were sent {self.sender_late_s:.2f} s late: this machine is too slow for the load")
        return found

    def as_json(self) -> dict[str, Any]:
        """Return all figures."""
        held = [moment.calls if moment.calls is not None else moment.calls_open for moment in self.held]
        late_ms = {
            "all": self._delays_ms(),
            "while_held": [ms for at_s, ms in self.delays if self.plan.ramp_s <= at_s <= self.plan.duration_s],
        }
        return {
            "partial": bool(self.partial),
            "failure": self.partial or None,
            "held": not self.faults(),
            "faults": self.faults(),
            "url": self.url,
            "asked": asdict(self.plan),
            "calls": {
                "begun": len(self.began),
                "failed": self.failed,
                "ended": len(self.ended),
                "most_at_once": max((moment.calls or moment.calls_open for moment in self.moments), default=0),
                "least_while_held": min(held, default=None),
            },
            "delay_ms": {name: _percentiles(values) if values else None for name, values in late_ms.items()},
            "windows": self.windows or None,
            "events_lost": self.events_lost,
            "sender_late_s": round(self.sender_late_s, 4),
            "gateway": self._gateway(),
            "moments": [asdict(moment) for moment in self.moments],
        }

    def _gateway(self) -> dict[str, Any] | None:
        """Return CPU and memory while all calls were held; if never, of the whole load."""
        over = [moment for moment in self.held or self.moments if moment.cpu_cores is not None]
        if not over:
            return None
        cores = [moment.cpu_cores for moment in over if moment.cpu_cores is not None]
        rss_mb = [moment.rss_mb for moment in self.moments if moment.rss_mb is not None]
        return {
            "cpu_cores_mean": round(float(np.mean(cores)), 3),
            "cpu_cores_max": max(cores),
            "rss_mb_first": rss_mb[0],
            "rss_mb_max": max(rss_mb),
            "overload_step_max": max(moment.overload_step or 0 for moment in self.moments),
        }

    def _delays_ms(self) -> list[float]:
        return [ms for _, ms in self.delays]


def summary(result: LoadResult) -> Table:
    """Return the figures as a table."""
    figures, plan = result.as_json(), result.plan
    table = Table(show_header=False, box=None, padding=(0, 2))
    request = (
        f"{plan.calls} calls, {plan.ramp_per_s:g} a second, held for {plan.seconds:g} s, {plan.processes} processes"
    )
    table.add_row("load", request)
    calls = figures["calls"]
    least = "" if calls["least_while_held"] is None else f", at least {calls['least_while_held']} while held"
    table.add_row(
        "calls", f"{calls['begun']} started, {calls['most_at_once']} at once{least}, {len(result.failed)} failed"
    )
    for name, label in (("while_held", "audio sent → event, while held"), ("all", "audio sent → event, all")):
        if (spread := figures["delay_ms"][name]) is not None:
            values = " / ".join(f"{spread[f'p{p}']:.0f}" for p in PERCENTILES)
            table.add_row(label, f"p{' / p'.join(map(str, PERCENTILES))}: {values} ms, max {spread['max']:.0f} ms")
    if result.windows:
        others = {outcome: n for outcome, n in result.windows.items() if outcome not in ("scored", "skipped")}
        judged = [f"{result.windows.get('scored', 0)} scored", f"{result.skipped} skipped"]
        table.add_row("windows", ", ".join([*judged, *(f"{n} {outcome}" for outcome, n in others.items())]))
    if (gateway := figures["gateway"]) is not None:
        table.add_row("gateway's CPU", f"{gateway['cpu_cores_mean']:.2f} cores, at most {gateway['cpu_cores_max']:.2f}")
        table.add_row(
            "gateway's memory", f"{gateway['rss_mb_first']:.0f} MB at first, at most {gateway['rss_mb_max']:.0f}"
        )
        if step := gateway["overload_step_max"]:
            table.add_row("overload", f"step {step}: {GIVEN_UP[step]} were given up", style="yellow")
    else:
        table.add_row("gateway's CPU, memory", f"unknown: {result.unread or 'metrics were never read'}", style="yellow")
    for fault in result.faults():
        table.add_row("not held", fault, style="red")
    return table


def over_time(result: LoadResult) -> Table:
    """Return a table of evenly spaced moments."""
    table = Table(box=box.SIMPLE_HEAD, header_style="bold")
    for name in ("time", "calls", "CPU cores", "RSS MB", "scored", "skipped", "step", "delay p50 / p99"):
        table.add_column(name, justify="right")
    for moment in _spread_evenly(result.moments):
        late = "" if moment.delay_p50_ms is None else f"{moment.delay_p50_ms:.0f} / {moment.delay_p99_ms:.0f} ms"
        table.add_row(
            f"{moment.at_s:.0f} s",
            str(moment.calls_open if moment.calls is None else moment.calls),
            _cell(moment.cpu_cores, ".2f"),
            _cell(moment.rss_mb, ".0f"),
            _cell(moment.windows_scored),
            _cell(moment.windows_skipped),
            _cell(moment.overload_step),
            late,
        )
    return table


def delay_of_second(ms: Sequence[float]) -> tuple[float | None, float | None]:
    """Return median and 99th percentile of delays; None without any."""
    if not ms:
        return None, None
    p50, p99 = np.percentile(ms, [50, 99])
    return round(float(p50), 1), round(float(p99), 1)


def _percentiles(ms: Sequence[float]) -> dict[str, float]:
    found = {f"p{p}": round(float(np.percentile(ms, p)), 1) for p in PERCENTILES}
    return {"scores": len(ms), **found, "max": round(max(ms), 1)}


def _spread_evenly(moments: Sequence[Moment]) -> list[Moment]:
    if len(moments) <= SHOWN_MOMENTS:
        return list(moments)
    return [moments[round(place)] for place in np.linspace(0, len(moments) - 1, SHOWN_MOMENTS)]


def _cell(value: float | None, form: str = "") -> str:
    return "" if value is None else format(value, form)
