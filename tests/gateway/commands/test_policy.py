"""`callscreen policy`: a file is checked, and a leg is explained."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.__main__ import main
from gateway.commands import doctor
from tests.gateway.test_policy import EXAMPLE


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "policy.toml"
    path.write_text(EXAMPLE)
    return path


def test_check_accepts_a_valid_file_and_names_errors(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "check", str(file)]) == 0
    assert f"{file}: ok, 4 rules, version " in capsys.readouterr().out
    file.write_text("[default]\nalert_p = 2\n")
    assert main(["policy", "check", str(file)]) == 2
    assert capsys.readouterr().err == f"callscreen: {file}:2: default.alert_p: Input should be less than 1, got 2\n"


def test_show_names_the_rule_behind_each_value(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "show", str(file), "--role", "agent", "--tenant", "blue", "--band", "narrow"]) == 0
    rows = [line.split(maxsplit=2) for line in capsys.readouterr().out.splitlines()[1:]]
    told = {row[0]: (row[1], row[2].strip()) for row in rows}
    assert told == {
        "alert_p": ("0.95", "rule 3"),
        "clear_p": ("-", "settings"),
        "min_alert_speech_s": ("-", "settings"),
        "min_verdict_speech_s": ("2.0", "default"),
        "verifier": ("false", "rule 2"),
        "screen": ("false", "agents"),
    }


def test_the_doctor_looks_at_it(file: Path, tmp_path: Path) -> None:
    config = tmp_path / "callscreen.toml"
    config.write_text(f'port = 0\njournal = "{tmp_path / "j"}"\nverifier = "off"\npolicy = "{file}"\nclear_p = 0.7')

    def found() -> tuple[str, str]:
        (finding,) = (finding for finding in doctor.examine(config) if finding.check == "policy")
        return finding.state, finding.detail

    assert found()[0] == "ok"
    file.write_text('[[rule]]\nrole = "agent"\nalert_p = 0.6')
    assert found() == ("error", "clear_p: expected less than alert_p, got 0.7 (settings) and 0.6 (rule 1)")
