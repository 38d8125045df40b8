"""Checks every alert: results and figures from calls and the events observed for them.  [S]

A leg with an expected alert is missed unless an alert was *confirmed* after the synthetic speech began. Any other
alert, even a *provisional* one, is a false alarm.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sim.calls import Call
from sim.observe import Alert, Ledger, Observed
from sim.scenario import LegPlan

STAGES = ("provisional", "confirmed")


@dataclass(frozen=True, slots=True)
class LegResult:
    """The result of one leg."""

    call_id: str
    leg: str
    transport: str
    voices: tuple[str, ...]
    """Names of its voices, in order."""
    systems: tuple[str, ...]
    """Systems of its synthetic voices."""
    expects_alert: bool
    synthetic_from_s: float | None
    human_talk_s: float
    observed: Observed
    time_to_alert_s: dict[str, float]
    """By stage: from the sending of the first synthetic speech to the arrival of the alert at the subscriber."""
    false_alarms: dict[str, int]
    """By stage."""
    faults: tuple[str, ...]
    """Descriptions of what is wrong; empty if the leg passed."""

    @property
    def passed(self) -> bool:
        """Whether there are no faults."""
        return not self.faults


def judge(calls: Sequence[Call], ledger: Ledger, failures: Mapping[str, str]) -> list[LegResult]:
    """Check every leg.

    Args:
        calls: as played.
        ledger: the observed events.
        failures: why a call could not be played to its end, by call id.
    """
    return [
        _judge_leg(call, leg, ledger.legs[call.call_id, leg], failures.get(call.call_id))
        for call in calls
        for leg in call.parts
    ]


def _judge_leg(call: Call, leg: str, observed: Observed, failure: str | None) -> LegResult:
    part, expects = call.parts[leg], call.plan.legs[leg].expects_alert
    onset_s = part.synthetic_from_s
    expected_from_s = (onset_s or 0.0) if expects else math.inf
    expected = [alert for alert in observed.alerts if _in_call_s(call, alert) >= expected_from_s]
    false = [alert for alert in observed.alerts if _in_call_s(call, alert) < expected_from_s]
    reached = {stage: _first(expected, stage) for stage in STAGES}
    onset_at_s = (call.began_s or 0.0) + (onset_s or 0.0)
    times_s = {stage: alert.received_s - onset_at_s for stage, alert in reached.items() if alert}
    plan = call.plan.legs[leg]
    return LegResult(
        call_id=call.call_id,
        leg=leg,
        transport=call.transport,
        voices=tuple(voice.name for voice in part.voices),
        systems=tuple(voice.system for voice in part.voices if voice.label == "synthetic"),
        expects_alert=expects,
        synthetic_from_s=onset_s,
        human_talk_s=part.talk_s("human"),
        observed=observed,
        time_to_alert_s=times_s,
        false_alarms={stage: sum(alert.stage == stage for alert in false) for stage in STAGES},
        faults=tuple(_faults(observed, failure, false, plan, times_s)),
    )


def _in_call_s(call: Call, alert: Alert) -> float:
    """Return the time of an alert within the call; the media time of each connection starts at 0."""
    began_s = call.connected_at_s[alert.session] if alert.session < len(call.connected_at_s) else 0.0
    return began_s + alert.media_time_s


def _first(alerts: Sequence[Alert], stage: str) -> Alert | None:
    return next((alert for alert in alerts if alert.stage == stage), None)


def _faults(
    observed: Observed, failure: str | None, false: Sequence[Alert], plan: LegPlan, times_s: Mapping[str, float]
) -> list[str]:
    if failure is not None:
        return [f"not played: {failure}"]
    faults = []
    if false:
        first = false[0]
        faults.append(f"false alarm: {first.stage} at {first.media_time_s:.1f} s (p {first.p_synthetic:.2f})")
    if plan.expects_alert and "confirmed" not in times_s:
        stages = [alert.stage for alert in observed.alerts] or ["none"]
        faults.append(f"missed: no confirmed alert ({stages[-1]} raised)")
    elif plan.expects_alert and plan.alert_within_s is not None and times_s["confirmed"] > plan.alert_within_s:
        faults.append(f"late: confirmed after {times_s['confirmed']:.1f} s, expected within {plan.alert_within_s:g} s")
    if observed.verdict is None:
        faults.append("no verdict: leg.ended never came")
    elif plan.verdict and observed.verdict not in plan.verdict:
        faults.append(f"verdict: expected {' or '.join(plan.verdict)}, got {observed.verdict} ({observed.reason})")
    if observed.verdict and plan.ended_by and observed.ended_by != plan.ended_by:
        faults.append(f"ended_by: expected {plan.ended_by}, got {observed.ended_by}")
    return faults


def metrics(results: Sequence[LegResult], calls: Sequence[Call]) -> dict[str, Any]:
    """Return the figures of a play; times in seconds, rates per hour of human talk."""
    human_h = sum(result.human_talk_s for result in results) / 3600
    false_alarms = {stage: sum(result.false_alarms[stage] for result in results) for stage in STAGES}
    expected = [result for result in results if result.expects_alert]
    lags_ms = [alert.lag_ms for result in results for alert in result.observed.alerts]
    return {
        "calls": len(calls),
        "legs": len(results),
        "legs_passed": sum(result.passed for result in results),
        "alerts_expected": len(expected),
        "alerts_confirmed": sum("confirmed" in result.time_to_alert_s for result in expected),
        "alerts_missed": sum("confirmed" not in result.time_to_alert_s for result in expected),
        "false_alarms": false_alarms,
        "human_talk_h": human_h,
        "false_alarms_per_h": {s: n / human_h if human_h else None for s, n in false_alarms.items()},
        "time_to_alert_s": {
            stage: _spread([r.time_to_alert_s[stage] for r in expected if stage in r.time_to_alert_s])
            for stage in STAGES
        },
        "gateway_lag_ms": _spread(lags_ms),
        "windows_skipped": sum(result.observed.windows_skipped for result in results),
        "caller_late_s": max((call.late_s for call in calls), default=0.0),
        "systems": _by_system(expected),
    }


def _spread(values: Sequence[float]) -> dict[str, float] | None:
    if not values:
        return None
    ordered = sorted(values)
    return {
        "median": statistics.median(ordered),
        "p90": ordered[math.ceil(0.9 * len(ordered)) - 1],
        "max": ordered[-1],
    }


def _by_system(expected: Sequence[LegResult]) -> dict[str, dict[str, int]]:
    """Return the number of legs of each synthetic system, and of those with a confirmed alert."""
    systems: dict[str, dict[str, int]] = {}
    for result in expected:
        for system in result.systems:
            counts = systems.setdefault(system, {"legs": 0, "confirmed": 0})
            counts["legs"] += 1
            counts["confirmed"] += "confirmed" in result.time_to_alert_s
    return dict(sorted(systems.items()))
