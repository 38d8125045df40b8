from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

from rich.console import Console

from sim import report
from sim.judge import judge, metrics
from sim.live import faults, results_table
from sim.scenario import Scenario
from tests.sim.test_judge import RIGHT, heard, played, raised

SCENARIO = Scenario([played().plan], name="mine", seed=3)
CALLS = [played()]
RESULTS = judge(CALLS, heard({"caller": RIGHT, "callee": [raised("confirmed", 3.0)]}), {})


def shown(renderable: object, width: int = 120) -> str:
    console = Console(width=width)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


def test_the_json_report_holds_every_leg_and_the_figures(tmp_path: Path) -> None:
    figures = metrics(RESULTS, CALLS)
    report.write(tmp_path / "new" / "folder", SCENARIO, RESULTS, figures)
    written = json.loads((tmp_path / "new" / "folder" / "report.json").read_text())
    assert (written["scenario"], written["seed"], written["speed"], written["passed"]) == ("mine", 3, 1.0, False)
    assert written["metrics"] == json.loads(json.dumps(figures))
    caller, callee = written["legs"]
    assert (caller["call_id"], caller["leg"], caller["passed"], caller["faults"]) == ("c.r", "caller", True, [])
    assert caller["observed"]["alerts"][1]["stage"] == "confirmed"
    assert (callee["passed"], callee["faults"]) == (False, ["false alarm: confirmed at 3.0 s (p 0.97)"])


def test_the_junit_report_has_a_case_a_leg(tmp_path: Path) -> None:
    report.write(tmp_path, SCENARIO, RESULTS, metrics(RESULTS, CALLS))
    suite = ET.parse(tmp_path / "junit.xml").getroot().find("testsuite")
    assert suite is not None
    assert suite.attrib == {
        "name": "callscreen.mine",
        "tests": "2",
        "failures": "1",
        "errors": "0",
        "skipped": "0",
    }
    caller, callee = suite.findall("testcase")
    assert caller.attrib == {"classname": "mine.c", "name": "caller (a human then vox)", "time": "7.500"}
    assert caller.find("failure") is None
    failure = callee.find("failure")
    assert failure is not None
    assert failure.get("message") == "false alarm: confirmed at 3.0 s (p 0.97)"


def test_summary_contains_the_figures() -> None:
    text = shown(report.summary(metrics(RESULTS, CALLS)))
    assert "1 of 2 legs right, in 1 calls" in text
    assert "1 of 1 expected ones confirmed" in text
    assert "median 7.5 s, slowest 7.5 s" in text
    assert "0 provisional (0.0/h), 1 confirmed (300.0/h) in 0.2 min of human talk" in text
    assert "skipped" not in text


def test_summary_warns_of_late_packets_and_skipped_windows() -> None:
    call = played()
    call.late_s = 0.8
    ledger = heard({})
    ledger.legs["c.r", "callee"].windows_skipped = 3
    text = shown(report.summary(metrics(judge([call], ledger, {}), [call])))
    assert "3 windows skipped by the gateway" in text
    assert "sent 0.80 s late" in text


def test_the_table_shows_each_leg_and_the_lines_each_fault() -> None:
    table = shown(results_table(RESULTS, "title"))
    assert "✓ alert" in table
    assert "✗ no alert" in table
    assert "a human → vox" in table
    assert "7.5 s" in table
    assert shown(faults(RESULTS)).strip() == "✗ c/callee: false alarm: confirmed at 3.0 s (p 0.97)"


def test_of_many_legs_only_the_wrong_ones_are_shown() -> None:
    table = shown(results_table(RESULTS * 30, "title"))
    assert "✓" not in table
    assert table.count("✗") == 30
    assert "30 legs are not shown" in table
