"""The plugin as others have it: found by pytest through its entry point, in a project of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import REPOSITORY

FAILING = """
import pytest
from sim.scenario import ScenarioError
from sim.testing import human, listener, synthetic

@pytest.mark.callscreen_gateway(verifier="off")
def test_missed(place_call, expect_alert):
    expect_alert(place_call(caller=listener(), duration_s=12), on="caller")

def test_false_alarm(place_call, expect_no_alert):
    expect_no_alert(place_call(caller=synthetic("flite_slt"), duration_s=40))

def test_passing_expectation(place_call):
    with pytest.raises(ScenarioError, match="no.wav"):
        place_call(caller=human("no.wav"))
    with pytest.raises(ScenarioError, match="colour"):
        human(colour="red")
    with pytest.raises(ScenarioError, match="duration"):
        place_call(caller=listener(), durations=3)
    with pytest.raises(ScenarioError, match="max_cals"):
        place_call.with_settings(max_cals=1)(caller=listener())
"""


def pytest_in(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "CALLSCREEN_"))}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio", *arguments]
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False, timeout=300)


def test_a_project_outside_the_package_tests_its_calls() -> None:
    done = pytest_in(REPOSITORY / "tests" / "example_project")
    assert done.returncode == 0, done.stdout
    assert "4 passed" in done.stdout


def test_failure_shows_the_timeline(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\naddopts = '--strict-markers'\n")
    (tmp_path / "test_ours.py").write_text(FAILING)
    done = pytest_in(tmp_path)
    assert "2 failed, 1 passed" in done.stdout, done.stdout
    assert "expected a confirmed alert on 'caller', got none" in done.stdout
    assert "expected no alert on 'caller', got provisional at " in done.stdout
    assert "call 'call' by plain, 40 s; caller: flite_slt" in done.stdout
    lines = {line.split()[0]: line for line in done.stdout.splitlines() if line.startswith(("talk", "p  ", "alert"))}
    assert lines["talk"].count("S") > 20
    assert any(digit in lines["p"] for digit in "6789")
    assert "p" in lines["alert"].removeprefix("alert").partition("(")[0]


def test_a_gateway_that_does_not_answer_is_told(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "test_ours.py").write_text(
        "from sim.testing import listener\n"
        "def test_it(place_call, expect_no_alert):\n"
        "    expect_no_alert(place_call(caller=listener(), duration_s=1))\n"
    )
    done = pytest_in(tmp_path, "--callscreen-gateway", "http://127.0.0.1:9")
    assert done.returncode == 1
    assert "the call was not played to its end: " in done.stdout
    assert "Connect call failed" in done.stdout
