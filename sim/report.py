"""The report of a play: a summary for the terminal, JSON, and JUnit XML for CI."""

from __future__ import annotations

import dataclasses
import json
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from sim.judge import STAGES, LegResult
from sim.scenario import Scenario


def write(
    folder: Path,
    scenario: Scenario,
    results: Sequence[LegResult],
    figures: dict[str, Any],
    failure: str | None = None,
) -> None:
    """Write ``report.json`` and ``junit.xml`` into `folder`, which is created if necessary.

    Args:
        failure: why not everything was played; the report is then marked as partial.
    """
    folder.mkdir(parents=True, exist_ok=True)
    report = {
        "scenario": scenario.name,
        "seed": scenario.seed,
        "speed": scenario.speed,
        "passed": all(result.passed for result in results),
        "partial": failure is not None,
        "failure": failure,
        "metrics": figures,
        "legs": [dataclasses.asdict(result) | {"passed": result.passed} for result in results],
    }
    (folder / "report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    _junit(scenario, results).write(folder / "junit.xml", encoding="utf-8", xml_declaration=True)


def summary(figures: dict[str, Any]) -> Table:
    """Return the figures as a table."""
    table = Table(show_header=False, box=None, padding=(0, 2))
    legs = f"{figures['legs_passed']} of {figures['legs']} legs right, in {figures['calls']} calls"
    table.add_row("result", legs)
    table.add_row("alerts", f"{figures['alerts_confirmed']} of {figures['alerts_expected']} expected ones confirmed")
    for stage in STAGES:
        spread = figures["time_to_alert_s"][stage]
        text = f"median {spread['median']:.1f} s, slowest {spread['max']:.1f} s" if spread else "none"
        table.add_row(f"time to alert, {stage}", text)
    false_alarms, per_h = figures["false_alarms"], figures["false_alarms_per_h"]
    rates = [f"{false_alarms[s]} {s}" + (f" ({per_h[s]:.1f}/h)" if per_h[s] is not None else "") for s in STAGES]
    table.add_row("false alarms", f"{', '.join(rates)} in {figures['human_talk_h'] * 60:.1f} min of human talk")
    lag = figures["gateway_lag_ms"]
    table.add_row("lag in the gateway", f"median {lag['median']:.0f} ms, worst {lag['max']:.0f} ms" if lag else "none")
    if figures["windows_skipped"]:
        table.add_row("not scored", f"{figures['windows_skipped']} windows skipped by the gateway", style="yellow")
    if figures["caller_late_s"] > _LATE_S:
        late = f"a packet was sent {figures['caller_late_s']:.2f} s late: this machine is too slow for the scenario"
        table.add_row("callers", late, style="yellow")
    return table


_LATE_S = 0.5


def _junit(scenario: Scenario, results: Sequence[LegResult]) -> ET.ElementTree[ET.Element]:
    """Return one test case for each leg."""
    failed = sum(not result.passed for result in results)
    suite = ET.Element(
        "testsuite",
        name=f"callscreen.{scenario.name}",
        tests=str(len(results)),
        failures=str(failed),
        errors="0",
        skipped="0",
    )
    for result in results:
        case = ET.SubElement(
            suite,
            "testcase",
            classname=f"{scenario.name}.{result.call_id.rpartition('.')[0]}",
            name=f"{result.leg} ({' then '.join(result.voices)})",
            time=f"{result.time_to_alert_s.get('confirmed', 0.0):.3f}",
        )
        if not result.passed:
            message = "; ".join(result.faults)
            ET.SubElement(case, "failure", message=message, type="expectation").text = message
    root = ET.Element("testsuites")
    root.append(suite)
    return ET.ElementTree(root)
