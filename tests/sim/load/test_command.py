"""The command line against a gateway in a process of its own, over real sockets."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sim.__main__ import main
from sim.load.command import _LoadDisplay
from sim.load.result import LoadResult
from tests.sim.test_main import serving

CALLS = 3


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    settings = {"CALLSCREEN_MAX_CALLS": str(CALLS), "CALLSCREEN_VERIFIER": "off", "CALLSCREEN_TOKEN": "t0p"}
    with serving(tmp_path_factory.mktemp("gateway"), **settings) as url:
        yield url


def load(url: str, report: Path, *more: str) -> tuple[int, dict[str, Any]]:
    code = main(["load", "--gateway", url, "--token", "t0p", "--report", str(report), *more])
    return code, json.loads((report / "load.json").read_text())


def test_calls_of_two_processes_are_played_and_measured(
    gateway: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--calls", str(CALLS), "--ramp", "10", "--seconds", "4", "--processes", "2"]
    _code, figures = load(gateway, tmp_path, *asked)
    said = capsys.readouterr().out
    assert (figures["partial"], figures["calls"]["failed"]) == (False, {})
    assert (figures["calls"]["begun"], figures["calls"]["ended"]) == (CALLS, CALLS)
    assert figures["calls"]["most_at_once"] == CALLS
    assert CALLS <= figures["delay_ms"]["all"]["scores"] <= figures["windows"]["scored"]
    assert figures["delay_ms"]["all"]["p50"] > 0
    assert figures["gateway"]["rss_mb_max"] > 10
    assert figures["gateway"]["cpu_cores_max"] > 0
    assert "3 started, 3 at once" in said
    assert f"written: {tmp_path / 'load.json'}\n" in said


def test_load_is_not_held_if_a_call_is_refused(
    gateway: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, figures = load(gateway, tmp_path, "--calls", str(CALLS + 1), "--ramp", "100", "--seconds", "2")
    assert code == 1
    assert len(figures["calls"]["failed"]) == 1
    assert figures["held"] is False
    assert "1 of 4 calls were refused or broken off; load-" in capsys.readouterr().out


def test_ctrl_c_gives_a_partial_report(
    gateway: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_shown: _LoadDisplay, result: LoadResult) -> None:
        if result.open_calls:
            monkeypatch.undo()  # once: a second Ctrl-C waits for no report
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(_LoadDisplay, "moment", interrupt)
    code, figures = load(gateway, tmp_path, "--calls", "2", "--ramp", "100", "--seconds", "600")
    assert code == 130
    assert (figures["partial"], figures["failure"], figures["held"]) == (True, "interrupted", False)
    assert figures["calls"]["begun"] >= 1
    assert "load.json" in (said := "".join(capsys.readouterr().out.split()))
    assert "(partial)" in said


def test_user_errors_are_one_line(gateway: str, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in (
        (["--gateway", "http://127.0.0.1:9", "--setting", "workers=2"], "sim: --setting: expected without --gateway"),
        (["--gateway", "ftp://h"], "sim: ftp://h: url: expected http"),
        (["--gateway", gateway, "--token", "wrong"], "token: missing or wrong"),
        (["--gateway", "http://127.0.0.1:9"], "sim: http://127.0.0.1:9: "),
    ):
        assert main(["load", "--calls", "1", "--seconds", "1", *arguments]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line
    for arguments, message in ((["--calls", "0"], "expected 1 to 100000"), (["--calls", "1", "--ramp", "0"], "more")):
        with pytest.raises(SystemExit):
            main(["load", *arguments])
        assert message in capsys.readouterr().err
