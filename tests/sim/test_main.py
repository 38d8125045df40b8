"""The command line against a real gateway in a process of its own, over real sockets.

The voices are tones: no detector takes them for speech, so what it will say is known whatever the model.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.alerts.cloud_event import CloudEvent
from sim.__main__ import main
from sim.live import Screen

SCENARIO = """
seed = 1
[[call]]
name = "a"
transport = "twilio"
duration_s = 2.0
[call.legs.inbound]
voice = "human"
[call.legs.outbound]
voice = "human"
[[call]]
name = "b"
transport = "plain"
duration_s = 2.0
[call.legs.caller]
voice = "human"
[call.legs.callee]
voice = "human"
"""
WEBRTC = """
[[call]]
name = "c"
transport = "webrtc"
duration_s = 2.0
[call.legs.customer]
voice = "human"
[call.legs.agent]
voice = "human"
"""


@contextmanager
def serving(folder: Path, **settings: str) -> Iterator[str]:
    """A gateway; yields its URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", "serve", "--port", "0", "--journal", str(folder / "journal.sqlite3")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={name: value for name, value in os.environ.items() if not name.startswith("CALLSCREEN_")} | settings,
    )
    assert process.stdout is not None
    with process.stdout:
        try:
            yield process.stdout.readline().split()[-1]
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("gateway")) as url:
        yield url


@pytest.fixture
def run(clips: Path, tmp_path: Path) -> Runner:
    return Runner(clips, tmp_path)


class Runner:
    """Plays a scenario through the command line."""

    def __init__(self, clips: Path, folder: Path) -> None:
        self.report = folder / "report"
        self._clips = clips
        self._scenario = folder / "mine.toml"

    def __call__(self, scenario: str, gateway: str, *more: str) -> int:
        self._scenario.write_text(scenario)
        arguments = ["--gateway", gateway, "--clips", str(self._clips), "--report", str(self.report)]
        return main(["run", str(self._scenario), *arguments, *more])


def test_right_alerts_are_success_over_every_transport(
    run: Runner, gateway: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(SCENARIO + WEBRTC, gateway) == 0
    said = capsys.readouterr().out
    assert "6 of 6 legs right, in 3 calls" in said
    report = json.loads((run.report / "report.json").read_text())
    assert report["passed"]
    assert [(leg["call_id"].split(".")[0], leg["leg"]) for leg in report["legs"]] == [
        ("a", "inbound"),
        ("a", "outbound"),
        ("b", "caller"),
        ("b", "callee"),
        ("c", "customer"),
        ("c", "agent"),
    ]
    for leg in report["legs"]:
        assert leg["observed"]["verdict"] == "indeterminate"  # nobody spoke
        assert leg["observed"]["missing_s"] == 0
        assert f"{leg['call_id']}/{leg['leg']}" in said
    assert (run.report / "junit.xml").is_file()


def test_a_missing_alert_is_a_failed_run(run: Runner, gateway: str, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = SCENARIO.replace('[call.legs.callee]\nvoice = "human"', '[call.legs.callee]\nvoice = "synthetic"')
    assert run(wrong, gateway, "--speed", "4") == 1
    assert "b/callee: missed: no confirmed alert (none raised)" in capsys.readouterr().out
    assert not json.loads((run.report / "report.json").read_text())["passed"]


def test_lost_packets_are_missed_by_the_gateway(run: Runner, gateway: str) -> None:
    bad_line = WEBRTC.replace("duration_s", "network = {loss = 0.3}\nduration_s")
    assert run(bad_line, gateway) == 0
    for leg in json.loads((run.report / "report.json").read_text())["legs"]:
        assert 0.2 < leg["observed"]["missing_s"] < 1.0


def test_unreachable_gateway_is_not_a_failed_expectation(run: Runner, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(SCENARIO, "http://127.0.0.1:9") == 2
    assert "2 of 2 calls were not played to their end" in capsys.readouterr().err


def test_ctrl_c_over_sockets_writes_a_partial_report(
    run: Runner, gateway: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_screen: Screen, _event: CloudEvent, _received_s: float) -> None:
        monkeypatch.undo()  # once: a second Ctrl-C waits for no report
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Screen, "on_event", interrupt)
    assert run(SCENARIO.replace("duration_s = 2.0", "duration_s = 600.0"), gateway) == 130
    report = json.loads((run.report / "report.json").read_text())
    assert report["partial"] is True
    assert re.match(r"2 of 2 calls were not played to their end; [ab]\.\w+: interrupted", report["failure"])
    assert "report.json and junit.xml (partial)" in " ".join(capsys.readouterr().out.split())


def test_token_is_sent_to_every_endpoint(
    run: Runner, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(tmp_path, CALLSCREEN_TOKEN="t0p", CALLSCREEN_TWILIO_AUTH_TOKEN="tw1lio") as url:
        assert run(SCENARIO, url, "--speed", "4") == 2
        assert "token: missing or wrong" in capsys.readouterr().err
        assert run(SCENARIO, url, "--speed", "4", "--token", "t0p") == 2
        assert "1 of 2 calls were not played to their end; a" in capsys.readouterr().err
        monkeypatch.setenv("CALLSCREEN_TOKEN", "t0p")
        assert run(SCENARIO + WEBRTC, url, "--twilio-auth-token", "tw1lio") == 0


def test_user_errors_are_one_line(clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in (
        (["run", "nowhere", "--gateway", "http://h"], "sim: nowhere: No such file"),
        (["run", "demo", "--clips", str(clips)], "sim: transport: webrtc needs UDP and real time"),
        (
            ["run", "restart", "--gateway", "http://h", "--clips", str(clips)],
            "sim: restart_s: expected a gateway started",
        ),
        (["run", "demo", "--gateway", "http://h", "--speed", "2"], "sim: speed: WebRTC calls run in real time only"),
        (["run", "busy", "--gateway", "ftp://h", "--clips", str(clips)], "sim: ftp://h: events: url: expected http"),
        (["run", "busy", "--gateway", "http://h", "--clips", str(clips / "none")], "expected recordings"),
        (
            ["run", "busy", "--gateway", "http://h", "--clips", str(clips), "--split", "test"],
            "--split: expected together with --manifest",
        ),
        (["run", "swap", "--report", f"{__file__}/out"], f"sim: {__file__}/out: Not a directory"),
    ):
        assert main(arguments) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line


def test_help_of_each_command_is_complete(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    said = capsys.readouterr().out
    assert "examples:" in said
    assert "exit codes: 0 all alerts correct" in said
    with pytest.raises(SystemExit) as stopped:
        main(["run"])
    assert stopped.value.code == 2
    assert "SCENARIO" in capsys.readouterr().err
