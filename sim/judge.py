"""Was every alert right? Calls and what was observed of them in, results and figures out.  [S]

An alert is *confirmed* or only *provisional*. A leg that ought to raise one is missed unless it was confirmed after the
synthetic speech began; any alert that is raised elsewhere, even a provisional one, is a false alarm.
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
    """One leg, judged."""

    call_id: str
    leg: str
    transport: str
    voices: tuple[str, ...]
    """Names of who spoke, in order."""
    systems: tuple[str, ...]
    """The synthetic ones among them, by system."""
    expects_alert: bool
    synthetic_from_s: float | None
    human_talk_s: float
    observed: Observed
    time_to_alert_s: dict[str, float]
    """By stage: from the first synthetic speech leaving the caller to the alert's arrival at the subscriber."""
    false_alarms: dict[str, int]
    """By stage."""
    faults: tuple[str, ...]
    """What is wrong, in words; empty when all is right."""

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults


def judge(calls: Sequence[Call], ledger: Ledger, failures: Mapping[str, str]) -> list[LegResult]:
    """Judge every leg.

    Args:
        calls: as played.
        ledger: what the gateway said.
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
    fair_from_s = (onset_s or 0.0) if expects else math.inf
    fair = [alert for alert in observed.alerts if _in_call_s(call, alert) >= fair_from_s]
    unfair = [alert for alert in observed.alerts if _in_call_s(call, alert) < fair_from_s]
    reached = {stage: _first(fair, stage) for stage in STAGES}
    heard_from_s = (call.began_s or 0.0) + (onset_s or 0.0)
    times_s = {stage: alert.received_s - heard_from_s for stage, alert in reached.items() if alert}
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
        false_alarms={stage: sum(alert.stage == stage for alert in unfair) for stage in STAGES},
        faults=tuple(_faults(observed, failure, unfair, plan, times_s)),
    )


def _in_call_s(call: Call, alert: Alert) -> float:
    """Return which moment of the call an alert speaks of: each connection's media time begins at 0."""
    began_s = call.connected_at_s[alert.session] if alert.session < len(call.connected_at_s) else 0.0
    return began_s + alert.media_time_s


def _first(alerts: Sequence[Alert], stage: str) -> Alert | None:
    return next((alert for alert in alerts if alert.stage == stage), None)


def _faults(
    observed: Observed, failure: str | None, unfair: Sequence[Alert], plan: LegPlan, times_s: Mapping[str, float]
) -> list[str]:
    if failure is not None:
        return [f"not played: {failure}"]
    faults = []
    if unfair:
        first = unfair[0]
        faults.append(f"false alarm: {first.stage} at {first.media_time_s:.1f} s (p {first.p_synthetic:.2f})")
    if plan.expects_alert and "confirmed" not in times_s:
        stages = [alert.stage for alert in observed.alerts] or ["none"]
        faults.append(f"missed: no confirmed alert ({stages[-1]} raised)")
    elif plan.expects_alert and plan.alert_within_s is not None and times_s["confirmed"] > plan.alert_within_s:
        faults.append(f"late: confirmed after {times_s['confirmed']:.1f} s, expected within {plan.alert_within_s:g} s")
    if observed.verdict is None:
        faults.append("no verdict: the gateway never said that the leg ended")
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
    """How many legs each synthetic system spoke on, and how many of them raised a confirmed alert."""
    systems: dict[str, dict[str, int]] = {}
    for result in expected:
        for system in result.systems:
            counts = systems.setdefault(system, {"legs": 0, "confirmed": 0})
            counts["legs"] += 1
            counts["confirmed"] += "confirmed" in result.time_to_alert_s
    return dict(sorted(systems.items()))
